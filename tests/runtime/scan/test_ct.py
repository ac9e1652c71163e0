import subprocess
import sys
from dataclasses import FrozenInstanceError

import nibabel as nib
import numpy as np
import pytest

from builders import LEFT, ORIENTATIONS, RIGHT, chest_phantom, reorient, rotation
from infnet_runtime.errors import GeometryError, InputError
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.grid import Grid, orientation_code
from infnet_runtime.scan.ids import ScanId

ML_TOLERANCE = 1e-12  # relative; two orders of float64 multiplication


def volume_of(voxels: np.ndarray, affine: np.ndarray, intensity: Intensity = Intensity.HU) -> CtVolume:
    return CtVolume(voxels, affine, intensity, "scan.nii")


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_every_orientation_goes_to_lps_and_back(code: str) -> None:
    phantom = chest_phantom()
    stored, affine = reorient(phantom.hu, phantom.spacing_mm, code)
    assert "".join(nib.aff2axcodes(affine)) == code  # the builder itself, against nibabel
    volume = volume_of(stored, affine)
    assert orientation_code(affine) == code
    assert np.array_equal(volume.to_lps(), phantom.hu)
    assert np.array_equal(volume.from_lps(volume.to_lps()), stored)
    assert volume.lps_spacing_mm == pytest.approx(phantom.spacing_mm)

    mask = volume.from_lps(phantom.infection)
    assert mask.shape == stored.shape
    assert mask.sum() * volume.voxel_volume_ml == pytest.approx(phantom.infection_ml, rel=ML_TOLERANCE)
    # The infection lies on the patient's right: at greater x than the middle of the body.
    i, j, k = np.argwhere(mask).mean(axis=0)
    x = (affine @ (i, j, k, 1.0))[0]
    middle = (affine @ (*(np.array(stored.shape) - 1) / 2, 1.0))[0]
    assert x > middle + 20


def test_phantom_tells_left_from_right() -> None:
    phantom = chest_phantom()
    right, left = (phantom.lungs == RIGHT).sum(), (phantom.lungs == LEFT).sum()
    assert right > 1.5 * left
    assert phantom.infection.any()
    assert not (phantom.infection & (phantom.lungs != RIGHT)).any()
    assert np.argwhere(phantom.lungs == RIGHT)[:, 2].max() < np.argwhere(phantom.lungs == LEFT)[:, 2].min()
    mirrored = phantom.hu[:, :, ::-1]
    assert not np.array_equal(mirrored, phantom.hu)


def test_oblique_volume_keeps_millilitres_and_voxels() -> None:
    phantom = chest_phantom()
    stored, affine = reorient(phantom.hu, phantom.spacing_mm, "LAS")
    affine[:3, :3] = rotation((12.0, -8.0, 17.0)) @ affine[:3, :3]
    volume = volume_of(stored, affine)
    assert np.array_equal(volume.to_lps(), phantom.hu)
    assert volume.voxel_volume_ml == pytest.approx(12.0 * 4.5 * 4.0 / 1000)


def test_gantry_tilt_makes_voxels_smaller_than_the_product_of_spacings() -> None:
    affine = np.diag([-1.0, -1.0, 5.0, 1.0])
    affine[1, 2] = 5.0 * np.tan(np.radians(20))
    volume = volume_of(np.zeros((2, 2, 2), np.int16), affine)
    assert volume.voxel_volume_ml == pytest.approx(0.005)
    assert np.prod(volume.spacing_mm) / 1000 > 0.0053


def test_views_share_memory() -> None:
    volume = volume_of(np.zeros((4, 3, 2), np.int16), np.diag([-1.0, 1.0, -1.0, 1.0]))
    assert np.shares_memory(volume.to_lps(), volume.voxels)
    assert np.shares_memory(volume.from_lps(volume.to_lps()), volume.voxels)


def test_arrays_on_another_grid_are_refused() -> None:
    volume = volume_of(np.zeros((4, 3, 2), np.int16), np.diag([-1.0, -1.0, 5.0, 1.0]))
    with pytest.raises(GeometryError, match=r"expected shape \(4, 3, 2\) of scan.nii, found \(2, 3, 4\)"):
        volume.to_lps(np.zeros((2, 3, 4)))
    with pytest.raises(GeometryError, match=r"expected LPS shape \(2, 3, 4\) of scan.nii, found \(4, 3, 2\)"):
        volume.from_lps(np.zeros((4, 3, 2)))


def test_a_volume_names_itself_and_its_grid() -> None:
    volume = volume_of(np.zeros((4, 3, 2), np.int16), np.eye(4))
    assert (volume.source, volume.id) == ("scan.nii", ScanId("scan.nii"))
    assert volume.grid.shape == (4, 3, 2)
    assert volume.grid.has_size
    known = ScanId("series", series_uid="1.2.3", instance_uids=("1.2.3.1",))
    picture = CtVolume(volume.voxels, np.eye(4), Intensity.HU, known, has_size=False)
    assert picture.id is known
    assert (picture.source, picture.grid.voxel_ml) == ("series", None)
    with pytest.raises(FrozenInstanceError):
        volume.voxels = volume.voxels  # type: ignore[misc]


def test_an_affine_without_volume_is_refused_by_name() -> None:
    with pytest.raises(GeometryError, match=r"the affine of scan.nii is singular") as caught:
        volume_of(np.zeros((2, 2, 2), np.int16), np.diag([1.0, 1.0, 0.0, 1.0]))
    assert caught.value.code == 3031


@pytest.mark.parametrize(
    "voxels", [np.zeros((2, 2)), np.zeros((2, 2, 2, 2)), np.zeros((0, 2, 2)), np.zeros((2, 2, 2), complex)]
)
def test_only_three_dimensions_of_numbers(voxels: np.ndarray) -> None:
    with pytest.raises(GeometryError, match=r"expected a 3-D array of numbers, scan.nii has shape"):
        volume_of(voxels, np.eye(4))


def test_non_finite_voxels_are_counted() -> None:
    voxels = np.zeros((4, 3, 2), np.float32)
    voxels[0, 0, 0], voxels[1, 1, 1] = np.nan, np.inf
    with pytest.raises(InputError, match=r"2 of 24 voxels of scan.nii are not finite") as caught:
        volume_of(voxels, np.eye(4))
    assert caught.value.code == 3032


def test_windowed_values_leave_no_byte() -> None:
    with pytest.raises(InputError, match=r"expected values 0..255, found -1..0"):
        volume_of(np.array([[[0, -1]]], np.int16), np.eye(4), Intensity.WINDOWED)


def test_import_is_light() -> None:
    program = "import sys, infnet_runtime.io; sys.exit(bool({'nibabel', 'cv2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_volume_keeps_the_grid_it_is_given_and_refuses_another() -> None:
    grid = Grid.from_spacing((2, 3, 4), (5.0, 0.7, 0.8))
    assert CtVolume.on_grid(np.zeros((2, 3, 4), np.int16), grid, Intensity.HU, "buffer").grid is grid
    with pytest.raises(
        GeometryError, match=r"buffer has the shape \(4, 3, 2\), expected \(2, 3, 4\)"
    ) as error:
        CtVolume.on_grid(np.zeros((4, 3, 2), np.int16), grid, Intensity.HU, "buffer")
    assert error.value.code == 3033
