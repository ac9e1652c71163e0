"""The picture beside the numbers: upright, nothing marked is lost, and what is doubtful stands on it."""

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from builders import ORIENTATIONS, chest_phantom, reorient
from infnet_runtime import CtVolume, Intensity, Provenance, Segmentation
from infnet_runtime.arrays import ByteArray
from infnet_runtime.io.images import CLASS_COLOURS
from infnet_runtime.measure.burden import quantify
from infnet_runtime.measure.flags import NO_LUNG
from infnet_runtime.report.montage import _TILE, montage_png
from infnet_runtime.report.views import View, tilt_words, views

PHANTOM = chest_phantom((14, 60, 80), (16.0, 5.0, 4.5))
PROVENANCE = Provenance(
    "0", "m", "1", "ab", "b", "int8 + bf16", "cpu", 0.5, 1.0, "given", 4, False, 2, 0, 0, {}
)


def result_in(orientation: str = "LPS", name: str = "scan.nii") -> Segmentation:
    """The phantom, stored in some orientation, marked as it is."""
    arrays = (PHANTOM.hu, PHANTOM.infection.astype(np.uint8), PHANTOM.lungs)
    (hu, affine), (mask, _), (lungs, _) = (reorient(a, PHANTOM.spacing_mm, orientation) for a in arrays)
    volume = CtVolume(hu, affine, Intensity.HU, name)
    q = quantify(volume.to_lps(mask), volume.to_lps(lungs), volume.grid.voxel_ml)
    return Segmentation(volume, mask, lungs, q, PROVENANCE, None)


def slices_of(
    hu: npt.NDArray[np.int16], mask: ByteArray, lungs: ByteArray, mm: tuple[float, ...]
) -> Segmentation:
    """A result in LPS, (slice, row, column)."""
    affine = np.array([[0, 0, -mm[2], 0], [0, -mm[1], 0, 0], [mm[0], 0, 0, 0], [0, 0, 0, 1.0]])
    volume = CtVolume(hu, affine, Intensity.HU, "x")
    return Segmentation(volume, mask, lungs, quantify(mask, lungs, 0.001), PROVENANCE, None)


def picture(content: bytes) -> npt.NDArray[np.int16]:
    """(rows, columns, 3) in blue, green, red."""
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return np.asarray(found).astype(np.int16)


def red(shown: npt.NDArray[np.int16]) -> npt.NDArray[np.bool_]:
    return (shown[..., 2] > 200) & (shown[..., 0] < 60) & (shown[..., 1] < 60)


def test_every_way_to_store_a_scan_gives_the_same_picture() -> None:
    first = montage_png(result_in())
    for orientation in ORIENTATIONS[::5]:
        assert montage_png(result_in(orientation)) == first


def tiles_of(result: Segmentation, plane: str) -> list[View]:
    found = views(result, most=(5, 4, 4), pixels=_TILE, one_pixels=900)
    return [view for view in found if view.plane == plane]


def marked(view: View, name: str = "infection") -> npt.NDArray[np.bool_]:
    (mark,) = [mark for mark in view.marks if mark.name == name]
    return mark.where


@pytest.mark.parametrize(
    ("plane", "axes", "edges"),
    [("axial", (1, 2), "RLAP"), ("coronal", (0, 2), "RLHF"), ("sagittal", (0, 1), "APHF")],
)
def test_edges_are_the_sides_that_they_say(plane: str, axes: tuple[int, int], edges: str) -> None:
    for orientation in ("LPS", "RAI", "SAR", "PIL"):
        found = tiles_of(result_in(orientation), plane)
        assert {view.edges for view in found} == {edges}
        view = max(found, key=lambda one: np.count_nonzero(marked(one)))
        axis = {"axial": 0, "coronal": 1, "sagittal": 2}[plane]
        truth = np.argwhere(np.take(PHANTOM.infection, view.number - 1, axis))
        lungs = np.argwhere(np.take(PHANTOM.lungs, view.number - 1, axis))
        # Where the infection lies between the lungs' ends, along both axes of the plane.
        along = (truth.mean(0) - lungs.min(0)) / (lungs.max(0) - lungs.min(0))
        if plane != "axial":  # slices count from the feet, the head is at the top
            along[0] = 1 - along[0]
        shown, around = np.argwhere(marked(view)), np.argwhere(marked(view, "lungs"))
        assert (shown.mean(0) - around.min(0)) / (around.max(0) - around.min(0)) == pytest.approx(
            along, abs=0.04
        )


def test_a_millimetre_is_as_long_in_all_planes() -> None:
    found = [
        max(tiles_of(result_in(), plane), key=lambda v: v.grey.size)
        for plane in ("axial", "coronal", "sagittal")
    ]
    (deep, wide), (high, wide_again), (high_again, deep_again) = (view.grey.shape for view in found)
    assert (wide, high, deep) == (wide_again, high_again, deep_again)
    mm = np.multiply(PHANTOM.hu.shape, PHANTOM.spacing_mm)
    assert high / wide == pytest.approx(mm[0] / mm[2], rel=0.1)  # but for the air at the sides, left out


def test_a_lung_that_was_not_found_is_in_the_picture() -> None:
    result = result_in()
    right_only = replace(result, lungs=np.where(result.lungs == 1, 1, 0).astype(np.uint8))
    for one, other in zip(tiles_of(right_only, "axial"), tiles_of(result, "axial"), strict=True):
        assert one.grey.shape == other.grey.shape


def test_an_axial_plane_has_its_place_in_the_world() -> None:
    for orientation in ("LPS", "RAI", "SAR", "PIL"):
        result = result_in(orientation)
        z_mm = result.volume.grid.slice_z_mm
        assert z_mm is not None
        found = tiles_of(result, "axial")
        assert [view.z_mm for view in found] == [pytest.approx(z_mm[view.number - 1]) for view in found]
        assert np.diff(z_mm) == pytest.approx(PHANTOM.spacing_mm[0])
        assert {view.z_mm for view in tiles_of(result, "coronal")} == {None}


def test_planes_that_are_not_those_of_the_body_are_named() -> None:
    result = result_in()
    assert tilt_words(result.volume) == ""
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    turned = CtVolume(result.volume.voxels, turn @ result.volume.affine, Intensity.HU, "x")
    assert "turned by 17 degrees" in tilt_words(turned)


def test_a_scan_without_a_size_has_axial_planes_alone() -> None:
    result = result_in()
    volume = CtVolume(result.volume.voxels, result.volume.affine, Intensity.HU, "x", has_size=False)
    found = views(replace(result, volume=volume), most=(3, 3, 3), pixels=100, one_pixels=100)
    assert {view.plane for view in found} == {"axial"}
    assert {view.z_mm for view in found} == {None}


def test_a_mark_of_one_voxel_is_seen_in_all_planes() -> None:
    hu = np.full((20, 900, 900), -800, np.int16)
    hu[:, 1, 1] = hu[:, -2, -2] = 0
    lungs = np.ones(hu.shape, np.uint8)
    mask = np.zeros_like(lungs)
    mask[5, 611, 301] = 1
    result = slices_of(hu, mask, lungs, (5.0, 0.3, 0.3))
    shown = {
        plane: [np.argwhere(marked(v)) for v in tiles_of(result, plane)]
        for plane in ("axial", "coronal", "sagittal")
    }
    places = {
        "axial": (611 / 900, 301 / 900),
        "coronal": (1 - 5.5 / 20, 301 / 900),
        "sagittal": (1 - 5.5 / 20, 611 / 900),
    }
    for plane, found in shown.items():
        (where,) = [w for w in found if len(w)]
        size = tiles_of(result, plane)[0].grey.shape
        assert len(where) <= 4 * (1 if plane == "axial" else 8)
        assert where.mean(0) / size == pytest.approx(places[plane], abs=0.01)


def test_the_plane_with_the_most_infection_is_always_shown() -> None:
    hu = np.full((101, 20, 20), -800, np.int16)
    lungs = np.ones(hu.shape, np.uint8)
    for at in (0, 13, 49, 88, 100):
        mask = np.zeros_like(lungs)
        mask[at, 5:9, 5:9] = 1
        result = slices_of(hu, mask, lungs, (5.0, 1, 1))
        for most in (2, 5):
            found = views(result, most=(most, 1, 1), pixels=100, one_pixels=100)
            for plane in ("axial", "coronal", "sagittal"):
                assert any(marked(view).any() for view in found if view.plane == plane)


def test_a_millimetre_is_as_long_one_way_as_the_other() -> None:
    hu = np.full((1, 30, 60), -800, np.int16)
    lungs = np.ones(hu.shape, np.uint8)
    flat = picture(montage_png(slices_of(hu, np.zeros_like(lungs), lungs, (5.0, 4.0, 2.0))))
    wide = picture(montage_png(slices_of(hu, np.zeros_like(lungs), lungs, (5.0, 2.0, 2.0))))
    assert flat.shape[0] - wide.shape[0] == 450
    assert flat.shape[1] == wide.shape[1] == 900


def test_no_lung_and_warnings_stand_on_it() -> None:
    hu = np.full((3, 20, 20), -800, np.int16)
    nothing = np.zeros(hu.shape, np.uint8)
    plain = slices_of(hu, nothing, nothing, (5.0, 1, 1))
    warned = replace(plain, quantification=quantify(nothing, nothing, 0.001, flags=(NO_LUNG,)))
    without, with_warning = (picture(montage_png(r)) for r in (plain, warned))
    assert with_warning.shape[0] > without.shape[0]  # one more line
    assert red(with_warning).any()


def test_the_truth_is_green_and_a_name_in_other_letters_is_no_trouble() -> None:
    result = result_in(name="\u75c5\udcff.nii")
    without = picture(montage_png(result))
    with_truth = picture(montage_png(result, truth=np.roll(result.mask, 3, axis=0) > 0))

    def green(shown: npt.NDArray[np.int16]) -> int:
        return int(np.count_nonzero((shown[..., 1] > 200) & (shown[..., 0] < 90) & (shown[..., 2] < 90)))

    assert green(with_truth) > green(without) == 0


def test_classes_have_a_colour_each_in_the_place_of_the_infection() -> None:
    plain = result_in()
    classes = plain.mask.copy()
    classes[int(np.median(np.nonzero(classes)[0])) :] *= 2

    def slices_with(marked: ByteArray | None) -> list[bool]:
        """Which colours stand in the slices, below the caption: infection, ground glass, consolidation."""
        shown = picture(montage_png(replace(plain, classes=marked)))[200:, :, ::-1]
        return [bool((shown == colour).all(axis=-1).any()) for colour in ((255, 40, 40), *CLASS_COLOURS[1:])]

    assert slices_with(None) == [True, False, True], "infection has the colour of consolidation"
    assert slices_with(classes) == [True, True, True]
    assert slices_with(plain.mask) == [False, True, False]
