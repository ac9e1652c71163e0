"""Ways in which people's scans had values other than those of a CT, and changes that do no harm.

A change takes the voxels of a good scan and gives other voxels, or None where it does not apply.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from infnet_runtime import Intensity
from infnet_runtime.arrays import AnyArray, ByteArray

_LUNG_WINDOW = (-1050.0, 250.0)


@dataclass(frozen=True, eq=False)
class Source:
    """Voxels of a good scan.

    Parameters
    ----------
    lungs
        On the same grid, where a mask lies beside the scan.
    """

    voxels: AnyArray
    intensity: Intensity
    lungs: ByteArray | None

    @property
    def is_hu(self) -> bool:
        """Whether the values are HU."""
        return self.intensity is Intensity.HU

    @property
    def hu(self) -> AnyArray:
        """The values as HU, 32-bit; grey as if it were the lung window of the contract."""
        values = self.voxels.astype(np.float32)
        if self.is_hu:
            return np.asarray(np.clip(values, -1024, 3071))
        low, high = _LUNG_WINDOW
        return np.asarray(values / 255 * (high - low) + low)

    @property
    def grey(self) -> ByteArray:
        """The values in the lung window."""
        return windowed(self.hu, *_LUNG_WINDOW) if self.is_hu else np.asarray(self.voxels, np.uint8)


Change = Callable[[Source], AnyArray | None]


def windowed(hu: AnyArray, low: float, high: float) -> ByteArray:
    """HU to grey, whole values."""
    return np.asarray(np.rint(np.clip((hu - low) / (high - low), 0, 1) * 255), np.uint8)


def circle(shape: tuple[int, ...]) -> AnyArray:
    """A round field of view in the plane of the two longest axes, to be combined with any of these shapes."""
    first, second = sorted(int(a) for a in np.argsort(shape)[-2:])
    axes = [np.linspace(-1, 1, n) for n in shape]
    sizes = [[1] * len(shape) for _ in range(2)]
    sizes[0][first], sizes[1][second] = -1, -1
    inside = axes[first].reshape(sizes[0]) ** 2 + axes[second].reshape(sizes[1]) ** 2 <= 0.93**2
    return np.asarray(np.broadcast_to(inside, shape))


def hu_only(change: Callable[[AnyArray], AnyArray]) -> Change:
    """A change of HU that grey cannot have."""
    return lambda source: np.asarray(change(source.hu)) if source.is_hu else None


def whole(change: Callable[[AnyArray], AnyArray]) -> Change:
    """As :func:`hu_only`, rounded to 16 bits."""
    return hu_only(lambda hu: np.rint(change(hu)).astype(np.int16))


def in_window(low: float, high: float) -> Change:
    """HU seen in another window; a grey picture seen again in it."""
    return lambda source: windowed(source.hu, low, high)


def in_lung_window(low: float, high: float) -> Change:
    """HU in another lung window, or a grey volume; a published picture has lost too much to be seen again."""

    def change(source: Source) -> AnyArray | None:
        return None if 1 in source.voxels.shape and not source.is_hu else windowed(source.hu, low, high)

    return change


def padded(change: Callable[[AnyArray], AnyArray], padding: float) -> Change:
    """A change of HU inside a round field of view, a constant outside."""
    return whole(lambda hu: np.where(circle(hu.shape), change(hu), padding))


def _equalised(source: Source) -> AnyArray:
    planes = np.moveaxis(source.grey, int(np.argmin(source.voxels.shape)), 0)
    done = np.stack([cv2.equalizeHist(np.ascontiguousarray(plane)) for plane in planes])
    return np.asarray(np.moveaxis(done, 0, int(np.argmin(source.voxels.shape))))


def _without_body(outside: float) -> Change:
    def change(source: Source) -> AnyArray | None:
        if source.lungs is None:
            return None
        values = source.hu if source.is_hu else source.grey
        return np.where(source.lungs > 0, values, outside).astype(np.int16 if source.is_hu else np.uint8)

    return change


def _labels(source: Source) -> AnyArray:
    """117 labels in blocks inside the body."""
    blocks = sum(
        np.asarray((np.arange(n) * 7 // n) * factor).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, (n, factor) in enumerate(zip(source.voxels.shape, (1, 7, 49), strict=True))
    )
    return np.where(source.grey > 150, 1 + np.asarray(blocks) % 117, 0).astype(np.uint8)


def _probability(source: Source) -> AnyArray:
    """A soft map of bone, 0..255."""
    planes = np.moveaxis((source.grey > 245).astype(np.uint8) * 255, int(np.argmin(source.voxels.shape)), 0)
    soft = np.stack(
        [cv2.GaussianBlur(cv2.medianBlur(np.ascontiguousarray(p), 7), (0, 0), 1.5) for p in planes]
    )
    return np.asarray(np.moveaxis(soft, 0, int(np.argmin(source.voxels.shape))))


HARMLESS: dict[str, Change] = {
    "HU clipped to -1000..400": whole(lambda hu: np.clip(hu, -1000, 400)),
    "HU clipped to -1024..3071": whole(lambda hu: np.clip(hu, -1024, 3071)),
    "HU resampled to halves": hu_only(lambda hu: (hu + 0.3).astype(np.float32)),
    "padding -2000": padded(lambda hu: hu, -2000),
    "padding -3024": padded(lambda hu: hu, -3024),
    "padding -32768": padded(lambda hu: hu, -32768),
    "window -1350..150": in_lung_window(-1350, 150),
    "window -1250..250": in_lung_window(-1250, 250),
    "window -1150..350": in_lung_window(-1150, 350),
    "window -1000..400": in_lung_window(-1000, 400),
}
"""These leave a result as it is within a few percent, and must pass."""

SPOILT: dict[str, Change] = {
    **{
        f"HU clipped from below at {at}": whole(lambda hu, at=at: np.clip(hu, at, None))
        for at in (-900, -600, -500, -200)
    },
    **{
        f"HU clipped from above at {at}": whole(lambda hu, at=at: np.clip(hu, None, at))
        for at in (200, 100, -100)
    },
    "HU clipped at -600, padding -2000": padded(lambda hu: np.clip(hu, -600, 400), -2000),
    "HU + 1024": whole(lambda hu: hu + 1024),
    "HU + 1024, padding -1024": padded(lambda hu: hu + 1024, -1024),
    "HU + 1024, padding -2000": padded(lambda hu: hu + 1024, -2000),
    "HU + 1000": whole(lambda hu: hu + 1000),
    "HU - 1024": whole(lambda hu: hu - 1024),
    "HU - 1000": whole(lambda hu: hu - 1000),
    "HU + 300": whole(lambda hu: hu + 300),
    "HU - 300": whole(lambda hu: hu - 300),
    "HU / 10": whole(lambda hu: hu / 10),
    "HU x 0.5": whole(lambda hu: hu * 0.5),
    "HU x 0.9": whole(lambda hu: hu * 0.9),
    "HU x 1.5": whole(lambda hu: hu * 1.5),
    "HU x 2": whole(lambda hu: hu * 2),
    "HU negated": whole(lambda hu: -hu),
    "HU mirrored in its range": whole(lambda hu: hu.max() + hu.min() - hu),
    "mean 0, deviation 1": hu_only(lambda hu: (hu - hu.mean()) / hu.std()),
    "-1..1": hu_only(lambda hu: (hu - hu.min()) / (hu.max() - hu.min()) * 2 - 1),
    "0..1": lambda source: source.grey / np.float32(255),
    "0..65535": lambda source: source.grey.astype(np.int32) * 257,
    "whole range -1024..3071": in_window(-1024, 3071),
    "window -1024..1500": in_window(-1024, 1500),
    "window -1024..1000": in_window(-1024, 1000),
    "window with padding -3024..1378": lambda source: (
        windowed(np.where(circle(source.hu.shape), source.hu, -3024), -3024, 1378) if source.is_hu else None
    ),
    "soft tissue -160..240": in_window(-160, 240),
    "soft tissue -125..225": in_window(-125, 225),
    "bone -500..1500": in_window(-500, 1500),
    "inverted lung window": lambda source: np.asarray(255 - source.grey, np.uint8),
    "equalised": _equalised,
    "body blanked out, black": _without_body(-1024.0),
    "body blanked out, -2000": lambda source: _without_body(-2000.0)(source) if source.is_hu else None,
    "117 labels": _labels,
    "probability map": _probability,
}
"""What must be refused or flagged."""
