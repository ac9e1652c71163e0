"""Which slice is drawn, and how it becomes a sample: three planes and soft labels.

A batch depends on the seed and its number alone, so that a run resumed at any step equals the uninterrupted
one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import FloatArray
from infnet_runtime.lungs.contract import LungSpec
from infnet_runtime.scan.sides import LEFT, RIGHT
from infnet_train.data.lungs.consolidation import consolidate
from infnet_train.data.lungs.grey import add_arms, lit, round_field
from infnet_train.data.lungs.stack import HuArray, LungStack
from infnet_train.data.lungs.view import draw_view
from infnet_train.data.pictures import DataError

_WITH_LUNG = 0.75  # of the slices drawn from a scan that also has slices without
_ALONE = 0.25  # of the samples have no neighbours: pictures have none
_NEIGHBOUR_MM = (6.0, 14.0)
_DENSE = 0.55
# Share of the largest section of a scan's lungs below which a slice is base or apex.
_BASE = 0.25
_ARMS = 0.12
_ROUND = 0.08
# Scans count by their slices to this power: neighbours in a long scan differ little.
_SCAN_POWER = 0.7


@dataclass(frozen=True, eq=False)
class LungBatch:
    """Samples.

    Parameters
    ----------
    planes : (n, 3, size, size)
        Grey 0..1; towards the feet, the slice, towards the head.
    lungs : (n, 2, size, size)
        Shares of right and left lung in each pixel of the slice.
    """

    planes: FloatArray
    lungs: FloatArray


class _Scan:
    """A stack with its labels as shares, and a smaller copy for views of whole slices."""

    def __init__(self, stack: LungStack, size: int) -> None:
        self.stack = stack
        self.lungs = np.stack([stack.sides == RIGHT, stack.sides == LEFT], axis=1).view(np.uint8) * 255
        has_lung = stack.sides.any(axis=(1, 2))
        area = np.count_nonzero(stack.sides, axis=(1, 2))
        self.is_base = area < _BASE * max(1, int(area.max()))
        self.with_lung, self.without = np.flatnonzero(has_lung), np.flatnonzero(~has_lung)
        rows, columns = stack.hu.shape[1:]
        self.reduced = min(1.0, size / max(rows, columns))
        self.small_hu, self.small_lungs = stack.hu, self.lungs
        if self.reduced < 1:
            shape = (round(columns * self.reduced), round(rows * self.reduced))
            self.small_hu = np.stack([_area(plane, shape) for plane in stack.hu]).astype(np.int16)
            self.small_lungs = np.stack(
                [[_area(side, shape) for side in slice_] for slice_ in self.lungs]
            ).astype(np.uint8)

    def planes(self, scale: float) -> tuple[HuArray, npt.NDArray[np.uint8], float]:
        """HU, lungs and their size to that of the stack, for a view of this scale."""
        if self.reduced < 1 and scale < 1.35 * self.reduced:
            return self.small_hu, self.small_lungs, self.reduced
        return self.stack.hu, self.lungs, 1.0


class LungSlices:
    """Slices of many scans, drawn by the shares of their kinds.

    Parameters
    ----------
    shares
        Kind of scan to its share of the samples; kinds of which no scan is there are left out.
    seed
        Of all that is drawn.

    Raises
    ------
    DataError
        If no kind has a scan.
    """

    def __init__(
        self, stacks: list[LungStack], shares: Mapping[str, float], *, seed: int, spec: LungSpec | None = None
    ) -> None:
        self._spec = spec or LungSpec()
        self._seed = seed
        self._scans: dict[str, list[_Scan]] = {}
        for stack in stacks:
            if shares.get(stack.kind, 0) > 0:
                self._scans.setdefault(stack.kind, []).append(_Scan(stack, self._spec.size))
        if not self._scans:
            found = ", ".join(sorted({stack.kind for stack in stacks})) or "none"
            raise DataError(f"the recipe draws {', '.join(shares)}, the data hold {found}", code=3111)
        self._kinds = sorted(self._scans)
        weights = np.array([shares[kind] for kind in self._kinds])
        self._kind_shares = weights / weights.sum()

    def batch(self, number: int, count: int, *, size: int | None = None) -> LungBatch:
        """The batch of a step.

        Parameters
        ----------
        number
            Of the step.
        count
            Samples.
        size : pixels
            Side of the square; that of the network where absent.
        """
        samples = [
            self._sample(np.random.default_rng((self._seed, number, i)), size or self._spec.size)
            for i in range(count)
        ]
        return LungBatch(*(np.stack(part) for part in zip(*samples, strict=True)))

    def _sample(self, rng: np.random.Generator, size: int) -> tuple[FloatArray, FloatArray]:
        scans = self._scans[self._kinds[int(rng.choice(len(self._kinds), p=self._kind_shares))]]
        lengths = np.array([len(scan.stack.hu) for scan in scans]) ** _SCAN_POWER
        scan = scans[int(rng.choice(len(scans), p=lengths / lengths.sum()))]
        has_choice = len(scan.with_lung) and len(scan.without)
        wants_lung = rng.random() < _WITH_LUNG if has_choice else len(scan.with_lung) > 0
        k = int(rng.choice(scan.with_lung if wants_lung else scan.without))
        return self._varied(rng, scan, k, size)

    def _varied(
        self, rng: np.random.Generator, scan: _Scan, k: int, size: int
    ) -> tuple[FloatArray, FloatArray]:
        stack = scan.stack
        top, bottom, left, right = stack.seen[k].tolist()
        view = draw_view(rng, (top, bottom, left, right), scan.lungs[k], size)
        hu_planes, lung_planes, reduced = scan.planes(view.scale)
        planes = _neighbours(rng, stack, k)
        hu = np.stack([view.of(hu_planes[p], size, reduced=reduced, repeat=True) for p in planes])
        lungs = np.stack(
            [[view.of(side, size, reduced=reduced, repeat=False) for side in lung_planes[p]] for p in planes]
        ) / np.float32(255)  # (3, 2, size, size)
        seen = view.seen(stack.hu.shape[1:], size)
        if rng.random() < _ROUND:
            seen = seen & round_field(rng, size)
        lungs[:, :, ~seen] = 0
        if view.is_mirrored:
            lungs = np.ascontiguousarray(lungs[:, ::-1])
        if lungs[1].any() and rng.random() < _DENSE:
            consolidate(rng, hu, lungs, partly=bool(scan.is_base[k]))
        if rng.random() < _ARMS:
            add_arms(rng, hu, lungs[1])
        return lit(rng, hu, seen, self._spec), lungs[1]


def _neighbours(rng: np.random.Generator, stack: LungStack, k: int) -> list[int]:
    """The slice with the planes below and above, at about 10 mm; equal to it where there are none."""
    last = len(stack.hu) - 1
    apart = 0
    if last and rng.random() >= _ALONE:
        apart = max(1, round(rng.uniform(*_NEIGHBOUR_MM) / stack.spacing_mm[0]))
    planes = [max(0, k - apart), k, min(last, k + apart)]
    # Scans are turned upside down rarely, pictures whose order is not known half of the time.
    return planes[::-1] if rng.random() < (0.05 if stack.is_ordered else 0.5) else planes


def _area(plane: npt.NDArray[np.generic], shape: tuple[int, int]) -> FloatArray:
    return np.asarray(cv2.resize(plane.astype(np.float32), shape, interpolation=cv2.INTER_AREA), np.float32)
