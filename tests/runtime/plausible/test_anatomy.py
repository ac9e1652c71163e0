"""A body that does not lie as the affine says is refused or flagged; postures and fields of view are not."""

from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from builders import LEFT, RIGHT, chest_phantom
from infnet_runtime import CtVolume, Intensity
from infnet_runtime.arrays import AnyArray, ByteArray
from infnet_runtime.errors import GeometryError
from infnet_runtime.io import open_scan
from infnet_runtime.lungs import find_lungs
from infnet_runtime.plausible.anatomy import narrowing, spine_along, spine_sides
from infnet_runtime.plausible.body import body_doubts
from infnet_runtime.plausible.coarse import CoarseChest, coarse_chest
from infnet_runtime.scan.lung_mask import lung_mask

PHANTOM = chest_phantom((40, 72, 96), (6.0, 4.5, 4.0), noise_hu=0)
MM = PHANTOM.spacing_mm


def scan_of(hu: AnyArray, mm: tuple[float, float, float] = MM) -> CtVolume:
    """An array that is said to be in LPS, whatever it is."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = mm[0], -mm[1], -mm[2], 1
    return CtVolume(np.ascontiguousarray(hu), affine, Intensity.HU, "chest")


def warnings_of(hu: AnyArray, lungs: ByteArray, mm: tuple[float, float, float] = MM) -> list[str]:
    scan = scan_of(hu, mm)
    flags = body_doubts(scan, lung_mask(np.ascontiguousarray(lungs), scan.grid), has_size=True)
    return [flag.name for flag in flags if flag.warns]


def turned(
    order: tuple[int, ...], flips: tuple[int, ...]
) -> tuple[AnyArray, ByteArray, tuple[float, float, float]]:
    """The phantom with its axes (slice, row, column) in another order and direction."""
    step = tuple(slice(None, None, flip) for flip in flips)
    slice_mm, row_mm, column_mm = (MM[axis] for axis in order)
    return (
        PHANTOM.hu.transpose(order)[step],
        PHANTOM.lungs.transpose(order)[step],
        (slice_mm, row_mm, column_mm),
    )


def test_the_phantom_lies_right() -> None:
    assert warnings_of(PHANTOM.hu, PHANTOM.lungs) == []


@pytest.mark.parametrize("flips", [(1, -1, 1), (1, -1, -1), (-1, -1, 1), (-1, -1, -1)])
def test_a_body_on_its_face_by_the_affine_is_refused(flips: tuple[int, int, int]) -> None:
    with pytest.raises(
        GeometryError, match=r"lies at the front of the lungs in 100%.*behind them in 0%"
    ) as error:
        warnings_of(*turned((0, 1, 2), flips))
    assert error.value.code == 3037


@pytest.mark.parametrize("flips", [(1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, -1, -1)])
def test_a_body_on_its_side_by_the_affine_is_refused(flips: tuple[int, int, int]) -> None:
    side = "left side" if flips[2] > 0 else "right side"
    with pytest.raises(GeometryError, match=f"lies at the {side} of the lungs") as error:
        warnings_of(*turned((0, 2, 1), flips))
    assert error.value.code == 3037


@pytest.mark.parametrize(
    ("order", "flips"),
    list(product([p for p in permutations(range(3)) if p[0] != 0], [(1, 1, 1), (-1, 1, -1), (-1, -1, -1)])),
)
def test_slices_that_are_not_axial_are_noticed(order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    assert "spine_along_another_axis" in warnings_of(*turned(order, flips))


def contrast(hu: AnyArray) -> AnyArray:
    """A heart full of contrast agent, in front of the middle, in half of the slices."""
    filled = hu.copy()
    filled[8:26, 22:34, 42:58] = 350
    return filled


def table_in_front(hu: AnyArray) -> AnyArray:
    """Prone: the table is where the front is, and the body is the same."""
    prone = hu.copy()
    prone[:, 2:5, 15:80] = 600
    prone[:, 62:67] = -1000
    return prone


def arms_down(hu: AnyArray) -> AnyArray:
    with_arms = hu.copy()
    for left in (0, 90):
        with_arms[:, 30:44, left : left + 6] = 40
        with_arms[:, 34:40, left + 1 : left + 5] = 700
    return with_arms


def soft_spine(hu: AnyArray) -> AnyArray:
    """Bone that lost its lime; the breastbone calcified."""
    soft = np.where(hu >= 500, 120, hu)
    soft[::2, 15:18, 44:52] = 400
    return np.asarray(soft, np.int16)


@pytest.mark.parametrize("change", [contrast, table_in_front, arms_down, soft_spine])
def test_what_patients_bring_is_no_fault(change: Callable[[AnyArray], AnyArray]) -> None:
    assert warnings_of(change(PHANTOM.hu), PHANTOM.lungs) == []


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (slice(14, 56), slice(8, 88)),  # the lungs and hardly more
        (slice(None), slice(0, 48)),  # one lung
        (slice(20, 60), slice(30, 96)),
    ],
)
def test_a_tight_field_of_view_is_no_fault(rows: slice, columns: slice) -> None:
    assert warnings_of(PHANTOM.hu[:, rows, columns], PHANTOM.lungs[:, rows, columns]) == []


@pytest.mark.parametrize("keep", [slice(18, 19), slice(17, 20), slice(14, 24), slice(4, 30)])
def test_some_slices_are_no_fault(keep: slice) -> None:
    assert warnings_of(PHANTOM.hu[keep], PHANTOM.lungs[keep]) == []


def test_a_wedge_between_the_lungs_tells_head_from_foot() -> None:
    lungs = np.zeros_like(PHANTOM.lungs)
    for k in range(5, 35):  # the heart is widest at the foot
        heart = round(18 * (35 - k) / 30)
        lungs[k, 20:52, 14 : 46 - heart] = RIGHT
        lungs[k, 20:52, 50 + heart : 82] = LEFT
    assert warnings_of(PHANTOM.hu, lungs) == []
    assert warnings_of(PHANTOM.hu[::-1], lungs[::-1]) == ["head_and_foot_exchanged"]
    # Where the lungs are cut, only one end is seen, and nothing is said.
    assert warnings_of(PHANTOM.hu[::-1][8:], lungs[::-1][8:]) == []


# Nearer than this no scan at hand comes to a limit; see docs/plausibility.md for how far they are.
LEAST_BEHIND, MOST_LEAD, MOST_ALONG, MOST_NARROWING = 0.8, 0.0, 0.0, 0.0


@pytest.mark.data
@pytest.mark.slow
def test_no_scan_at_hand_is_refused_or_warned_of(data_root: Path) -> None:
    paths = [
        path
        for pattern in ("radiopaedia-covid*/*_ct.nii.gz", "healthy*/*_ct.nii.gz", "ct-misc/**/*.nii.gz")
        for path in sorted(data_root.glob(pattern))
    ]
    paths += [
        path
        for name in ("lidc_chest", "coded_j2k", "philips_cd", "two_slices_no_modality")
        for path in (data_root / "dicom-field/_truth").glob(f"{name}.nii.gz")
    ]
    assert len(paths) >= 16
    for path in paths:
        scan = open_scan(path).volume
        labels = find_lungs(scan.to_lps(), scan.lps_spacing_mm, scan.intensity)
        lungs = lung_mask(scan.from_lps(labels), scan.grid, origin="threshold")
        flags = body_doubts(scan, lungs, has_size=True)
        expected = ["no_chest"] if path.name.startswith("abdomen") else []
        assert [flag.name for flag in flags if flag.warns] == expected, path.name
        chest = coarse_chest(scan, lungs)
        if chest is not None:
            assert_margins(chest, path.name)


def assert_margins(chest: CoarseChest, name: str) -> None:
    sides, along, narrower = spine_sides(chest), spine_along(chest), narrowing(chest)
    if sides is not None:
        assert sides.shares["back"] > LEAST_BEHIND, name
        assert sides.lead <= MOST_LEAD, name
    if along is not None:
        assert max(along[1:]) - along[0] <= MOST_ALONG, name
    if narrower is not None:
        assert narrower <= MOST_NARROWING, name
