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
from infnet_runtime.report.overlay import _TILE, overlay_png

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


def blue(shown: npt.NDArray[np.int16]) -> npt.NDArray[np.bool_]:
    return (shown[..., 0] > 220) & (shown[..., 2] < 90)


def tiles(shown: npt.NDArray[np.int16], rows: int) -> npt.NDArray[np.int16]:
    """The lowest row of slices."""
    return shown[-rows:]


def test_every_way_to_store_a_scan_gives_the_same_picture() -> None:
    first = overlay_png(result_in())
    for orientation in ORIENTATIONS[::5]:
        assert overlay_png(result_in(orientation)) == first


def test_the_patients_right_is_at_the_left_and_the_front_at_the_top() -> None:
    largest = int(PHANTOM.infection.sum((1, 2)).argmax())
    middle = slice(largest, largest + 1)
    one = slices_of(
        PHANTOM.hu[middle],
        PHANTOM.infection[middle].astype(np.uint8),
        PHANTOM.lungs[middle],
        PHANTOM.spacing_mm,
    )
    shown = picture(overlay_png(one))
    rows, columns = 60 * 5.0, 80 * 4.5
    height = round(900 * rows / columns)
    tile = tiles(shown, height)[:, :900]
    marked = np.argwhere(red(tile))
    truth = np.argwhere(PHANTOM.infection[largest]).mean(0) / PHANTOM.infection[largest].shape
    assert (marked.mean(0) / tile.shape[:2]) == pytest.approx(truth, abs=0.03)
    assert marked[:, 1].max() < 450  # the infection of the phantom is on the right
    outline = np.argwhere(blue(tile))
    assert outline[:, 1].min() < 400 < 500 < outline[:, 1].max()


def test_a_mark_of_one_voxel_is_seen() -> None:
    hu = np.full((2, 1200, 1200), -800, np.int16)
    lungs = np.ones(hu.shape, np.uint8)
    mask = np.zeros_like(lungs)
    mask[1, 611, 301] = 1
    shown = picture(overlay_png(slices_of(hu, mask, lungs, (5.0, 0.3, 0.3))))
    marked = np.argwhere(red(tiles(shown, _TILE)))
    assert 1 <= len(marked) <= 4
    # Slices from the head down: the second slice is the first tile.
    assert marked.mean(0) == pytest.approx([_TILE * 611 / 1200, _TILE * 301 / 1200], abs=2)


def test_the_slice_with_the_most_infection_is_always_shown() -> None:
    hu = np.full((101, 20, 20), -800, np.int16)
    lungs = np.ones(hu.shape, np.uint8)
    for marked in (0, 13, 49, 88, 100):
        mask = np.zeros_like(lungs)
        mask[marked, 5:9, 5:9] = 1
        result = slices_of(hu, mask, lungs, (5.0, 1, 1))
        for most in (2, 5):
            assert red(tiles(picture(overlay_png(result, most=most)), _TILE)).any()


def test_a_millimetre_is_as_long_one_way_as_the_other() -> None:
    hu = np.full((1, 30, 60), -800, np.int16)
    lungs = np.ones(hu.shape, np.uint8)
    flat = picture(overlay_png(slices_of(hu, np.zeros_like(lungs), lungs, (5.0, 4.0, 2.0))))
    wide = picture(overlay_png(slices_of(hu, np.zeros_like(lungs), lungs, (5.0, 2.0, 2.0))))
    assert flat.shape[0] - wide.shape[0] == 450
    assert flat.shape[1] == wide.shape[1] == 900


def test_no_lung_and_warnings_stand_on_it() -> None:
    hu = np.full((3, 20, 20), -800, np.int16)
    nothing = np.zeros(hu.shape, np.uint8)
    plain = slices_of(hu, nothing, nothing, (5.0, 1, 1))
    warned = replace(plain, quantification=quantify(nothing, nothing, 0.001, flags=(NO_LUNG,)))
    without, with_warning = (picture(overlay_png(r)) for r in (plain, warned))
    assert with_warning.shape[0] > without.shape[0]  # one more line
    assert red(with_warning).any()


def test_the_truth_is_green_and_a_name_in_other_letters_is_no_trouble() -> None:
    result = result_in(name="\u75c5\udcff.nii")
    without = picture(overlay_png(result))
    with_truth = picture(overlay_png(result, truth=np.roll(result.mask, 3, axis=0) > 0))

    def green(shown: npt.NDArray[np.int16]) -> int:
        return int(np.count_nonzero((shown[..., 1] > 200) & (shown[..., 0] < 90) & (shown[..., 2] < 90)))

    assert green(with_truth) > green(without) == 0


def test_classes_have_a_colour_each_in_the_place_of_the_infection() -> None:
    plain = result_in()
    classes = plain.mask.copy()
    classes[int(np.median(np.nonzero(classes)[0])) :] *= 2

    def slices_with(marked: ByteArray | None) -> list[bool]:
        """Which colours stand in the slices, below the caption: infection, ground glass, consolidation."""
        shown = picture(overlay_png(replace(plain, classes=marked)))[200:, :, ::-1]
        return [bool((shown == colour).all(axis=-1).any()) for colour in ((255, 40, 40), *CLASS_COLOURS[1:])]

    assert slices_with(None) == [True, False, True], "infection has the colour of consolidation"
    assert slices_with(classes) == [True, True, True]
    assert slices_with(plain.mask) == [False, True, False]
