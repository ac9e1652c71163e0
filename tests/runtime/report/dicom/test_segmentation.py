"""A segmentation read back by other code: the same voxels at the same images, whatever order they came in."""

import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

import dicom_world
from dicom_results import PROVENANCE, result_of, stored
from dicom_tools import complaints, read_back
from infnet_runtime import CtVolume, Intensity
from infnet_runtime.arrays import AnyArray
from infnet_runtime.errors import OutputError
from infnet_runtime.io.dicom import read_dicom
from infnet_runtime.report.dicom.segmentation import WrittenSegmentation, write_segmentation
from infnet_runtime.report.dicom.source import SourceImages, read_source, source_images
from infnet_runtime.scan.grid import Grid
from infnet_runtime.scan.phantom import ChestPhantom, chest_phantom
from infnet_runtime.scan.sides import EITHER, LEFT, RIGHT

PHANTOM = dicom_world.small_chest()


def source_of(folder: Path, objects: Sequence[Dataset] | None = None) -> SourceImages:
    return read_source(dicom_world.write(folder / "in", objects or dicom_world.slices(PHANTOM)))


def frames(path: Path) -> dict[tuple[str, str, int], AnyArray]:
    """(label of the segment, image, frame of the image) to pixels, by pydicom alone."""
    made = dcmread(path)
    labels = {item.SegmentNumber: item.SegmentLabel for item in made.SegmentSequence}
    pixels = made.pixel_array if made.NumberOfFrames > 1 else made.pixel_array[np.newaxis]
    found = {}
    for item, frame in zip(made.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        label = labels[item.SegmentIdentificationSequence[0].ReferencedSegmentNumber]
        image = item.DerivationImageSequence[0].SourceImageSequence[0]
        key = (label, image.ReferencedSOPInstanceUID, int(image.get("ReferencedFrameNumber", 1)))
        assert key not in found
        found[key] = frame
    return found


def expected(
    phantom: ChestPhantom, images: Sequence[tuple[str, int]]
) -> dict[tuple[str, str, int], AnyArray]:
    kinds = {
        "Right lung without infection": (phantom.lungs == RIGHT) & ~phantom.infection,
        "Left lung without infection": phantom.lungs == LEFT,
        "Infection": phantom.infection,
    }
    return {
        (label, *image): mask[k].astype(np.uint8)
        for label, mask in kinds.items()
        for k, image in enumerate(images)
        if mask[k].any()
    }


def same(found: dict[tuple[str, str, int], AnyArray], truth: dict[tuple[str, str, int], AnyArray]) -> bool:
    return found.keys() == truth.keys() and all(np.array_equal(found[key], truth[key]) for key in truth)


@pytest.mark.parametrize("order", ["foot to head", "head to foot", "shuffled"])
def test_each_frame_lies_on_its_own_image(tmp_path: Path, order: str) -> None:
    images = dicom_world.slices(PHANTOM)
    uids = [(str(one.SOPInstanceUID), 1) for one in images]
    if order == "head to foot":
        images.reverse()
    elif order == "shuffled":
        random.Random(0).shuffle(images)
    write_segmentation(tmp_path / "a.dcm", result_of(PHANTOM), source_of(tmp_path, images))
    assert same(frames(tmp_path / "a.dcm"), expected(PHANTOM, uids))
    assert not same(frames(tmp_path / "a.dcm"), expected(PHANTOM, uids[::-1]))
    assert complaints(tmp_path / "a.dcm") == []


@pytest.mark.parametrize("sop_class", [EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage])
def test_frames_of_an_enhanced_object(tmp_path: Path, sop_class: UID) -> None:
    one = dicom_world.enhanced(dicom_world.slices(PHANTOM)[::-1])
    one.SOPClassUID = sop_class
    write_segmentation(tmp_path / "a.dcm", result_of(PHANTOM), source_of(tmp_path, [one]))
    count = len(PHANTOM.hu)
    truth = expected(PHANTOM, [(str(one.SOPInstanceUID), count - k) for k in range(count)])
    assert same(frames(tmp_path / "a.dcm"), truth)
    assert complaints(tmp_path / "a.dcm") == []


@pytest.mark.parametrize(
    ("axes", "flips"),
    [((0, 1, 2), (-1, 1, -1)), ((2, 0, 1), (1, -1, 1)), ((1, 2, 0), (1, 1, 1)), ((2, 1, 0), (-1, -1, -1))],
)
def test_a_result_in_another_order_lies_at_the_same_place(
    tmp_path: Path, axes: tuple[int, int, int], flips: tuple[int, int, int]
) -> None:
    plain = result_of(PHANTOM)
    turns = tuple(slice(None, None, flip) for flip in flips)
    affine = plain.volume.affine.copy()
    for axis, flip in enumerate(flips):
        if flip < 0:
            affine[:3, 3] += affine[:3, axis] * (plain.volume.voxels.shape[axis] - 1)
            affine[:3, axis] *= -1
    affine = affine[:, [*axes, 3]]

    def turned(array: AnyArray) -> AnyArray:
        return np.asarray(array)[turns].transpose(axes)

    voxels = turned(np.asarray(plain.volume.voxels))
    volume = CtVolume.on_grid(voxels, Grid(voxels.shape, affine), Intensity.HU, "turned")
    result = replace(plain, volume=volume, mask=turned(plain.mask), lungs=turned(plain.lungs))
    source = source_of(tmp_path)
    write_segmentation(tmp_path / "a.dcm", result, source)
    uids = [(str(one.SOPInstanceUID), 1) for one in dicom_world.slices(PHANTOM)]
    assert same(frames(tmp_path / "a.dcm"), expected(PHANTOM, uids))


def test_a_series_with_a_gap_keeps_its_frames_on_their_images(tmp_path: Path) -> None:
    """The volume has the planes that are there at the usual step; the images lie where they really are."""
    phantom = chest_phantom((20, 24, 32), (12.0, 13.5, 12.0))
    there = [k for k in range(20) if k not in (5, 11)]
    images = [one for k, one in enumerate(dicom_world.slices(phantom)) if k in there]
    dicom_world.write(tmp_path / "in", images)
    scan = read_dicom(tmp_path / "in", allow_gaps=True)
    shown = replace(
        phantom, hu=phantom.hu[there], lungs=phantom.lungs[there], infection=phantom.infection[there]
    )
    result = replace(result_of(shown), volume=scan.volume)
    write_segmentation(tmp_path / "a.dcm", result, scan.source)
    assert same(frames(tmp_path / "a.dcm"), expected(shown, [(str(one.SOPInstanceUID), 1) for one in images]))
    assert complaints(tmp_path / "a.dcm") == []


def test_oblique_planes(tmp_path: Path) -> None:
    """Directions of the images that are along no axis of the body."""
    images = dicom_world.slices(PHANTOM)
    turn = np.linalg.qr(np.array([[1, 0.1, 0.2], [-0.1, 1, 0.1], [-0.2, 0, 1.0]]))[0]
    turn *= np.sign(np.diag(turn))
    step_mm, row_mm, column_mm = PHANTOM.spacing_mm
    for k, image in enumerate(images):
        image.ImageOrientationPatient = [f"{x:.10f}" for x in (*turn[:, 0], *turn[:, 1])]
        image.ImagePositionPatient = [f"{x:.8f}" for x in turn[:, 2] * step_mm * k]
    affine = np.eye(4)
    affine[:3, :3] = np.diag((-1, -1, 1)) @ turn * (column_mm, row_mm, step_mm)
    result = result_of(PHANTOM, affine=affine)
    write_segmentation(tmp_path / "a.dcm", result, source_of(tmp_path, images))
    uids = [(str(one.SOPInstanceUID), 1) for one in images]
    assert same(frames(tmp_path / "a.dcm"), expected(PHANTOM, uids))
    assert complaints(tmp_path / "a.dcm") == []


def test_another_reader_finds_the_same_voxels(tmp_path: Path) -> None:
    """dcmqi is C++ on ITK, and shares no code with what wrote the object."""
    result = result_of(PHANTOM)
    written = write_segmentation(tmp_path / "a.dcm", result, source_of(tmp_path))
    masks = read_back(tmp_path / "a.dcm", tmp_path / "back")
    assert len(masks) == 3
    for segment in written.segments:
        grid, mask = masks[segment.number]
        ml = np.count_nonzero(mask) * grid.voxel_mm3 / 1000
        assert ml == pytest.approx(segment.ml, rel=1e-6)
        truth = {
            "Right lung without infection": (PHANTOM.lungs == RIGHT) & ~PHANTOM.infection,
            "Left lung without infection": PHANTOM.lungs == LEFT,
            "Infection": PHANTOM.infection,
        }[segment.kind.label]
        where = np.argwhere(mask)
        world = where @ grid.affine[:3, :3].T + grid.affine[:3, 3]
        own = np.argwhere(stored(truth)) @ result.volume.affine[:3, :3].T + result.volume.affine[:3, 3]
        assert np.allclose(np.sort(world, axis=0), np.sort(own, axis=0), atol=1e-3)


def test_what_an_object_says_of_itself(tmp_path: Path) -> None:
    written = write_segmentation(tmp_path / "a.dcm", result_of(PHANTOM), source_of(tmp_path))
    again = write_segmentation(tmp_path / "b.dcm", result_of(PHANTOM), source_of(tmp_path))
    made, source = dcmread(tmp_path / "a.dcm"), dicom_world.slices(PHANTOM)[0]
    assert made.StudyInstanceUID == source.StudyInstanceUID
    assert made.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert made.SegmentationType == "BINARY"
    assert made.SegmentsOverlap == "NO"
    assert made.SeriesDescription == "infnet segmentation. Research, not for diagnosis"
    assert made.ContentDescription == "Research, not for diagnosis"
    assert made.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    assert len(made.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == len(PHANTOM.hu)
    assert [item.SegmentAlgorithmType for item in made.SegmentSequence] == ["AUTOMATIC"] * 3
    assert {item.SegmentAlgorithmName for item in made.SegmentSequence} == {"infnet"}
    kinds = [item.SegmentedPropertyTypeCodeSequence[0] for item in made.SegmentSequence]
    assert [kind.CodeValue for kind in kinds] == ["39607008", "39607008", "112033"]
    sides = [kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning for kind in kinds[:2]]
    assert sides == ["Right", "Left"]
    assert PROVENANCE.model_sha256[:12] in made.SoftwareVersions
    new = {written.instance_uid, written.series_uid, again.instance_uid, again.series_uid}
    assert len(new | {source.SeriesInstanceUID}) == 5
    mean = PHANTOM.hu[PHANTOM.infection].mean()
    assert written.segments[2].mean_hu == pytest.approx(mean)


def labels_of(written: WrittenSegmentation) -> list[str]:
    return [segment.kind.label for segment in written.segments]


def test_without_infection_there_are_the_lungs(tmp_path: Path) -> None:
    healthy = chest_phantom(PHANTOM.hu.shape, PHANTOM.spacing_mm, infected=False)
    written = write_segmentation(
        tmp_path / "a.dcm", result_of(healthy), source_of(tmp_path, dicom_world.slices(healthy))
    )
    assert labels_of(written) == ["Right lung without infection", "Left lung without infection"]
    assert complaints(tmp_path / "a.dcm") == []


def test_a_lone_lung_of_unknown_side(tmp_path: Path) -> None:
    lungs = np.where(PHANTOM.lungs == RIGHT, EITHER, 0).astype(np.uint8)
    written = write_segmentation(tmp_path / "a.dcm", result_of(PHANTOM, lungs=lungs), source_of(tmp_path))
    assert labels_of(written) == ["Lung without infection, side unknown", "Infection"]
    assert complaints(tmp_path / "a.dcm") == []


def test_classes_stand_in_the_place_of_infection(tmp_path: Path) -> None:
    result = result_of(PHANTOM, classes=True)
    written = write_segmentation(tmp_path / "a.dcm", result, source_of(tmp_path))
    assert labels_of(written)[2:] == ["Ground glass", "Consolidation"]
    assert result.quantification.both is not None
    told_ml = sum(segment.ml for segment in written.segments[2:])
    assert told_ml == pytest.approx(result.quantification.both.infection_ml)
    assert complaints(tmp_path / "a.dcm") == []


def test_a_scan_without_a_lung_is_refused(tmp_path: Path) -> None:
    result = result_of(PHANTOM, lungs=np.zeros_like(PHANTOM.lungs))
    with pytest.raises(OutputError, match="no lung was found") as error:
        write_segmentation(tmp_path / "a.dcm", result, source_of(tmp_path))
    assert error.value.code == 8052
    assert not (tmp_path / "a.dcm").exists()


@pytest.mark.parametrize("fault", ["mirrored", "shifted", "one plane up", "fewer", "other spacing"])
def test_a_result_on_another_grid_is_refused(tmp_path: Path, fault: str) -> None:
    images, affine = dicom_world.slices(PHANTOM), dicom_world.affine(PHANTOM)
    if fault == "mirrored":
        affine[0, 0] *= -1
    elif fault == "shifted":
        affine[:3, 3] += affine[:3, 0]
    elif fault == "one plane up":
        affine[:3, 3] += affine[:3, 2]
    elif fault == "other spacing":
        affine[1, 1] *= 1.1
    else:
        images = images[1:]
    with pytest.raises(OutputError, match="voxel by voxel; give the series") as error:
        write_segmentation(tmp_path / "a.dcm", result_of(PHANTOM, affine=affine), source_of(tmp_path, images))
    assert error.value.code == 8054


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("thickness", [None, "absent"])
def test_slices_that_do_not_say_how_thick_they_are(
    tmp_path: Path, thickness: str | None, enhanced: bool
) -> None:
    images = dicom_world.slices(PHANTOM)
    for image in images:
        image.SliceThickness = None
        if thickness == "absent":
            del image.SliceThickness
    objects = [dicom_world.enhanced([*images])] if enhanced and thickness is None else images
    written = write_segmentation(tmp_path / "a.dcm", result_of(PHANTOM), source_of(tmp_path, objects))
    grid, mask = read_back(tmp_path / "a.dcm", tmp_path / "back")[3]
    assert np.count_nonzero(mask) * grid.voxel_mm3 / 1000 == pytest.approx(written.segments[2].ml, rel=1e-6)
    assert complaints(tmp_path / "a.dcm") == []


def test_a_series_without_a_frame_of_reference_is_refused() -> None:
    images = dicom_world.slices(PHANTOM)
    del images[3].FrameOfReferenceUID
    with pytest.raises(OutputError, match="the series has no FrameOfReferenceUID") as error:
        source_images(images)
    assert error.value.code == 8055


@pytest.mark.parametrize(
    "keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows"]
)
@pytest.mark.parametrize("enhanced", [False, True])
def test_a_series_that_does_not_say_where_it_lies_is_refused(keyword: str, enhanced: bool) -> None:
    images = dicom_world.slices(PHANTOM)
    objects = [dicom_world.enhanced(images)] if enhanced else images
    if enhanced and keyword != "Rows":
        groups = (
            "PerFrameFunctionalGroupsSequence" if "Position" in keyword else "SharedFunctionalGroupsSequence"
        )
        for item in objects[0][groups].value:
            for sequence in list(item):
                sequence.value[0].pop(keyword, None)
    else:
        del objects[0][keyword]
    with pytest.raises(OutputError, match="the series does not say where its images lie") as error:
        source_images(objects)
    assert error.value.code == 8055


def test_positions_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    source.position_mm[2, 1] = np.nan
    with pytest.raises(OutputError, match="the images do not say where they lie") as error:
        write_segmentation(tmp_path / "a.dcm", result_of(PHANTOM), source)
    assert error.value.code == 8054


def test_a_series_of_several_enhanced_objects_is_refused() -> None:
    images = dicom_world.slices(PHANTOM)
    with pytest.raises(OutputError, match="2 objects of many frames each") as error:
        source_images([dicom_world.enhanced(images[:3]), dicom_world.enhanced(images[3:])])
    assert error.value.code == 8057


def test_single_images_may_say_that_they_have_one_frame(tmp_path: Path) -> None:
    images = dicom_world.slices(PHANTOM)
    for image in images:
        image.NumberOfFrames = 1
    write_segmentation(tmp_path / "a.dcm", result_of(PHANTOM), source_of(tmp_path, images))
    uids = [(str(one.SOPInstanceUID), 1) for one in images]
    assert same(frames(tmp_path / "a.dcm"), expected(PHANTOM, uids))


def test_no_image_is_refused() -> None:
    with pytest.raises(OutputError, match="no DICOM image") as error:
        source_images([])
    assert error.value.code == 8051


def test_what_highdicom_refuses_has_a_number(tmp_path: Path) -> None:
    images = dicom_world.slices(PHANTOM)
    images[2].FrameOfReferenceUID = "1.2.3"
    with pytest.raises(OutputError, match="cannot make the DICOM segmentation: .*same series") as error:
        write_segmentation(tmp_path / "a.dcm", result_of(PHANTOM), source_of(tmp_path, images))
    assert error.value.code == 8056


def test_a_missing_extra_is_named() -> None:
    script = "import sys; sys.modules['highdicom'] = None; import infnet_runtime.report.dicom"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "[INF-8050] DICOM objects are written with highdicom" in done.stderr
    assert "pip install 'infnet[dicom]'" in done.stderr
