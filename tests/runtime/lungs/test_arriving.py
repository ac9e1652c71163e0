"""A scan that is reduced as its slices come is what it is reduced to as a whole, to the bit."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest

from builders import chest_phantom
from infnet_runtime.arrays import AnyArray
from infnet_runtime.lungs import find_lungs
from infnet_runtime.lungs.arriving import ArrivingScan
from infnet_runtime.lungs.open_air import air_inside
from infnet_runtime.lungs.reduced import ReducedScan, Reduction, reduce_scan
from infnet_runtime.scan.ct import Intensity

THICK = chest_phantom((20, 72, 96), (12.0, 4.5, 4.0))
THIN = chest_phantom((61, 64, 64), (0.9, 6.0, 6.0))  # every second slice is left out, and one is alone


def round_field(hu: npt.NDArray[np.int16], value: int) -> npt.NDArray[np.int16]:
    """Padded around a circle that leaves the body whole."""
    y, x = np.indices(hu.shape[1:])
    middle = (hu.shape[1] - 1) / 2, (hu.shape[2] - 1) / 2
    outside = ((y - middle[0]) / middle[0]) ** 2 + ((x - middle[1]) / middle[1]) ** 2 > 1.2
    return np.where(outside, np.int16(value), hu)


def empty_ends(hu: npt.NDArray[np.int16], value: int) -> npt.NDArray[np.int16]:
    return np.pad(hu, ((3, 2), (0, 0), (0, 0)), constant_values=value)


GREY = np.clip((THICK.hu.astype(np.float32) + 1150) * (255 / 1500), 0, 255).astype(np.uint8)
Spacing = tuple[float, float, float]
SCANS: dict[str, tuple[AnyArray, Spacing, Intensity]] = {
    "thick": (THICK.hu, THICK.spacing_mm, Intensity.HU),
    "thin": (THIN.hu, THIN.spacing_mm, Intensity.HU),
    "float": (THICK.hu.astype(np.float32), THICK.spacing_mm, Intensity.HU),
    "a child": (THICK.hu, (6.0, 2.25, 2.0), Intensity.HU),
    "one slice": (THICK.hu[8:9], THICK.spacing_mm, Intensity.HU),
    "two slices": (THICK.hu[8:10], THICK.spacing_mm, Intensity.HU),
    "grey": (GREY, THICK.spacing_mm, Intensity.WINDOWED),
    "flat grey": (np.full((4, 30, 30), 7, np.uint8), (5.0, 1.0, 1.0), Intensity.WINDOWED),
    "round, below air": (round_field(THICK.hu, -3024), THICK.spacing_mm, Intensity.HU),
    "round, tissue": (round_field(THICK.hu, 0), THICK.spacing_mm, Intensity.HU),
    "empty ends": (empty_ends(THICK.hu, 0), THICK.spacing_mm, Intensity.HU),
    "both": (empty_ends(round_field(THIN.hu, 40), 40), THIN.spacing_mm, Intensity.HU),
}


def in_order(scan: AnyArray, order: list[int], spacing_mm: Spacing, intensity: Intensity) -> ArrivingScan:
    """A scan whose slices come in some order; what is not there yet is garbage."""
    voxels = np.full_like(scan, 77)
    whole = ArrivingScan(voxels, spacing_mm, intensity)
    for k in order:
        voxels[k] = scan[k]
        whole.arrived(k)
    return whole


def check(found: ReducedScan | None, expected: ReducedScan | None) -> None:
    if found is None or expected is None:
        assert found is expected
        return
    for name in ("values", "padding"):
        mine, theirs = getattr(found, name), getattr(expected, name)
        assert mine.tobytes() == theirs.tobytes(), name
    if found.inside is not None:
        assert np.array_equal(found.inside, list(air_inside(expected)))
    for name in ("pixel_mm", "slice_mm", "step", "air", "open_air", "intensity"):
        assert getattr(found, name) == getattr(expected, name), name


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize("order", ["forwards", "backwards", "shuffled"])
def test_every_order_of_the_slices_gives_the_same(name: str, order: str) -> None:
    scan, spacing_mm, intensity = SCANS[name]
    slices = list(range(len(scan)))
    if order != "forwards":
        slices = (
            slices[::-1]
            if order == "backwards"
            else [int(k) for k in np.random.default_rng(1).permutation(slices)]
        )
    found = in_order(scan, slices, spacing_mm, intensity).finished()
    check(found, reduce_scan(scan, spacing_mm, intensity))
    if found:
        assert (found.inside is None) == (intensity is Intensity.WINDOWED)


def test_most_is_done_before_the_last_slice_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    late: list[int] = []
    taken = Reduction.take

    def counting(
        self: Reduction, group: int, stored: Sequence[AnyArray], filled_with: tuple[float, ...]
    ) -> None:
        late.append(group)
        taken(self, group, stored, filled_with)

    for name, redone in (("thick", 0), ("round, below air", 0), ("round, tissue", 0), ("empty ends", 4)):
        scan, spacing_mm, intensity = SCANS[name]
        whole = in_order(scan, list(range(len(scan))), spacing_mm, intensity)
        monkeypatch.setattr(Reduction, "take", counting)
        whole.finished()
        monkeypatch.setattr(Reduction, "take", taken)
        assert len(late) == redone, name
        late.clear()


def test_slices_may_come_from_several_threads() -> None:
    for name in ("both", "thick"):
        scan, spacing_mm, intensity = SCANS[name]
        expected = reduce_scan(scan, spacing_mm, intensity)
        for seed in range(5):
            voxels = np.full_like(scan, 77)
            whole = ArrivingScan(voxels, spacing_mm, intensity)

            def come(
                k: int, whole: ArrivingScan = whole, voxels: AnyArray = voxels, scan: AnyArray = scan
            ) -> None:
                voxels[k] = scan[k]
                whole.arrived(k)

            with ThreadPoolExecutor(4) as pool:
                order = np.random.default_rng(seed).permutation(len(scan))
                list(pool.map(come, (int(k) for k in order)))
            check(whole.finished(), expected)


def test_the_lungs_are_found_from_what_was_reduced_before() -> None:
    for name in ("thick", "round, tissue", "flat grey", "a child"):
        scan, spacing_mm, intensity = SCANS[name]
        whole = in_order(scan, list(range(len(scan))), spacing_mm, intensity)
        found = find_lungs(scan, spacing_mm, intensity, reduced=whole.finished)
        assert np.array_equal(found, find_lungs(scan, spacing_mm, intensity))


def test_the_end_may_be_asked_for_again() -> None:
    scan, spacing_mm, intensity = SCANS["both"]
    whole = in_order(scan, list(range(len(scan))), spacing_mm, intensity)
    whole.finished()
    check(whole.finished(), reduce_scan(scan, spacing_mm, intensity))
