"""Sizes that no body has are refused, odd ones are flagged, and bodies of any size pass."""

from pathlib import Path

import numpy as np
import pytest

from builders import ORIENTATIONS, chest_phantom, forge_nifti, reorient
from infnet_runtime import CtVolume, Intensity
from infnet_runtime.arrays import Affine
from infnet_runtime.errors import GeometryError
from infnet_runtime.io import open_scan
from infnet_runtime.plausible.body import body_doubts
from infnet_runtime.plausible.geometry import refuse_lost_geometry
from infnet_runtime.scan.grid import Grid
from infnet_runtime.scan.lung_mask import lung_mask

PHANTOM = chest_phantom(noise_hu=0)
MM = PHANTOM.spacing_mm


def flags_of(scale: tuple[float, float, float], code: str = "SPL", keep: slice = slice(None)) -> list[str]:
    """Flags of the phantom with spacings (slice, row, column) multiplied, and some of its slices."""
    spacing_mm = (MM[0] * scale[0], MM[1] * scale[1], MM[2] * scale[2])
    hu, affine = reorient(PHANTOM.hu[keep], spacing_mm, code)
    lungs, _ = reorient(PHANTOM.lungs[keep], spacing_mm, code)
    scan = CtVolume(hu, affine, Intensity.HU, "chest")
    refuse_lost_geometry(scan.grid, scan.source)
    return [flag.name for flag in body_doubts(scan, lung_mask(lungs, scan.grid), has_size=True)]


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_a_chest_passes_however_it_is_stored(code: str) -> None:
    assert flags_of((1, 1, 1), code) == []


@pytest.mark.parametrize("size", [0.25, 0.5, 1.3])
def test_newborns_and_large_adults_pass(size: float) -> None:
    assert flags_of((size, size, size)) == []


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(3),
        np.diag([-1, -1, 1]),  # of ITK
        np.diag([-1, 1, 1]),  # of nibabel, from a bare array
        np.eye(3)[[2, 1, 0]],  # axes in the order of numpy
    ],
    ids=["RAS", "LPS", "LAS", "SAR"],
)
def test_an_identity_is_refused_and_says_how_to_go_on(matrix: Affine) -> None:
    affine = np.eye(4)
    affine[:3, :3] = matrix
    with pytest.raises(GeometryError, match=r"saved it lost the geometry.*--assume-orientation") as error:
        refuse_lost_geometry(Grid((512, 512, 40), affine), "chest")
    assert error.value.code == 3035


@pytest.mark.parametrize("change", ["origin", "spacing", "tilt", "no size"])
def test_what_was_filled_in_is_no_identity(change: str) -> None:
    affine = np.eye(4)
    if change == "origin":
        affine[0, 3] = -180.0
    elif change == "spacing":
        affine[2, 2] = 1.25
    elif change == "tilt":
        affine[1, 2] = 0.2
    refuse_lost_geometry(Grid((300, 300, 300), affine, has_size=change != "no size"), "chest")


@pytest.mark.parametrize("forms", [(0, 0), (1, 1), (0, 2)], ids=["none", "both", "sform"])
def test_an_identity_is_read_in_an_orientation_that_the_user_states_without_a_size(
    tmp_path: Path, forms: tuple[int, int]
) -> None:
    hu, _ = reorient(PHANTOM.hu, MM, "LPS")
    path = forge_nifti(
        tmp_path / "eye.nii",
        hu,
        dim=(3, *hu.shape, 1, 1, 1, 1),
        pixdim=(1, 1, 1, 1, 0, 0, 0, 0),
        qform_code=forms[0],
        sform_code=forms[1],
        quatern=(0.0, 0.0, 0.0),
        srow_x=(1.0, 0.0, 0.0, 0.0),
        srow_y=(0.0, 1.0, 0.0, 0.0),
        srow_z=(0.0, 0.0, 1.0, 0.0),
    )
    volume = open_scan(path, assume_orientation="LPS").volume
    assert volume.grid.orientation == "LPS"
    assert volume.grid.voxel_ml is None
    refuse_lost_geometry(volume.grid, volume.source)
    if any(forms):
        grid = open_scan(path).volume.grid
        with pytest.raises(GeometryError, match="lost the geometry"):
            refuse_lost_geometry(grid, "eye")


@pytest.mark.parametrize("factor", [0.1, 10, 0.001, 1000])
def test_a_unit_that_is_wrong_is_refused(factor: float) -> None:
    with pytest.raises(GeometryError, match="expected 50 to 1200 mm for a chest") as error:
        flags_of((factor, factor, factor))
    assert error.value.code == 3036


@pytest.mark.parametrize(
    ("factor", "width"), [(0.08, "24 mm wide"), (1.8, "536 mm wide")], ids=["small", "large"]
)
def test_lungs_of_no_possible_width_are_refused(factor: float, width: str) -> None:
    # In a wide field of view, so that the lungs alone tell.
    hu = np.pad(PHANTOM.hu, ((0, 0), (200, 200), (200, 200)), constant_values=-1000)
    lungs = np.pad(PHANTOM.lungs, ((0, 0), (200, 200), (200, 200)))
    mm = np.multiply(MM, factor)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = mm[0], -mm[1], -mm[2], 1
    scan = CtVolume(hu, affine, Intensity.HU, "chest")
    with pytest.raises(GeometryError, match=f"{width}.*expected 30 to 450 mm in width") as error:
        body_doubts(scan, lung_mask(lungs, scan.grid), has_size=True)
    assert error.value.code == 3036
    # Without a size nothing is promised, and nothing of it refused.
    body_doubts(scan, lung_mask(lungs, scan.grid), has_size=False)


@pytest.mark.parametrize(
    ("scale", "what"),
    [
        ((0.1, 1, 1), "0.066 times as high"),  # slices of 1.2 mm instead of 12
        ((3.5, 1, 1), "2.3 times as high"),
        ((0.2, 3, 0.5), "3.5 times as deep"),  # the slice distance given to the rows
        ((1, 1, 0.15), "4.2 times as high"),
    ],
)
def test_a_spacing_of_another_axis_is_refused(scale: tuple[float, float, float], what: str) -> None:
    with pytest.raises(GeometryError, match=what) as error:
        flags_of(scale)
    assert error.value.code == 3038


@pytest.mark.parametrize("scale", [(0.45, 1, 1), (2.6, 1, 1), (1, 2.6, 1), (1, 0.5, 1)])
def test_odd_proportions_warn(scale: tuple[float, float, float]) -> None:
    assert "odd_proportions" in flags_of(scale)


def test_litres_beyond_what_lungs_hold_warn_and_then_are_refused() -> None:
    assert flags_of((1.4, 1.4, 1.4)) == []  # 9.2 litres
    assert "lungs_too_large" in flags_of((1.45, 1.45, 1.45))
    with pytest.raises(GeometryError, match=r"hold 1\d\.\d litres, expected 10 at most") as error:
        flags_of((2.2, 1.45, 1.45))
    assert error.value.code == 3039


@pytest.mark.parametrize(
    ("keep", "where"),
    [
        (slice(6, None), "the first slice of 14"),
        (slice(0, 14), "the last slice of 14"),
        (slice(6, 14), "the first and the last slice of 8"),
        (slice(9, 10), "the only slice of 1"),
    ],
)
def test_a_part_of_the_lungs_is_said_to_be_one(keep: slice, where: str) -> None:
    assert flags_of((1, 1, 1), keep=keep) == ["lungs_cut"]
    scan = CtVolume(PHANTOM.hu[keep], PHANTOM.affine, Intensity.HU, "part")
    (flag,) = body_doubts(scan, lung_mask(PHANTOM.lungs[keep], scan.grid), has_size=True)
    assert where in flag.text
    assert not flag.warns


def test_without_lung_there_is_nothing_to_judge() -> None:
    scan = CtVolume(PHANTOM.hu, PHANTOM.affine, Intensity.HU, "chest")
    none = lung_mask(np.zeros_like(PHANTOM.lungs), scan.grid, origin="threshold")
    assert body_doubts(scan, none, has_size=True) == ()
