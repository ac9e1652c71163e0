"""Flat marks are left out of the mask and of all that follows from it, and the report says so."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import ORIENTATIONS, chest_phantom, reorient
from infnet_runtime import CtVolume, Grid, Intensity, Segmentation, Segmenter, load, measure_mask
from infnet_runtime.arrays import AnyArray
from infnet_runtime.report.html import report_html
from infnet_runtime.report.tables import scan_row
from infnet_runtime.report.text_and_json import to_document, to_text
from quantified import check_report
from tiny_models import classes_detector, coarse_detector, mid_grey_detector

GROUND_GLASS_HU = -450
CLEAR = chest_phantom((40, 72, 96), (4.0, 4.5, 4.0))
SPACING_MM = (4.0, 1.5, 1.3)  # pixels that are not square


def with_flat_mark(at: int = 20) -> AnyArray:
    """The phantom, and a disc of ground glass in the left lung of a slice."""
    hu = np.array(CLEAR.hu)
    rows, columns = np.ogrid[: hu.shape[1], : hu.shape[2]]
    lung = (CLEAR.lungs[at] == 2) & ~CLEAR.infection[max(at - 1, 0) : at + 2].any(axis=0)
    row, column = np.argwhere(lung).mean(axis=0)
    disc = lung & (((rows - row) * SPACING_MM[1]) ** 2 + ((columns - column) * SPACING_MM[2]) ** 2 < 9.5**2)
    hu[at, disc] = GROUND_GLASS_HU
    return hu


HU = with_flat_mark()


def scan(code: str = "LPS", plane_mm: float = SPACING_MM[0]) -> CtVolume:
    stored, affine = reorient(HU, (plane_mm, *SPACING_MM[1:]), code)
    return CtVolume(stored, affine, Intensity.HU, "with a flat mark")


LUNGS = np.asarray(CLEAR.lungs, np.uint8)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "whole": mid_grey_detector(folder / "whole.onnx", gain=20),
        "coarse": coarse_detector(folder / "coarse.onnx"),
        "classes": classes_detector(folder / "classes.onnx"),
    }


@pytest.fixture(scope="module")
def segmenter(models: dict[str, Path]) -> Iterator[Segmenter]:
    with load(models["whole"], device="cpu", threads=1) as loaded:
        yield loaded


def both(model: Segmenter, volume: CtVolume, **options: Any) -> tuple[Segmentation, Segmentation]:  # noqa: ANN401
    """With flat marks, and without."""
    lungs = volume.from_lps(LUNGS)
    kept, left_out = (
        model.predict(volume, lungs=lungs, keep_flat_marks=keep, **options) for keep in (True, False)
    )
    return kept, left_out


def taken_out(kept: Segmentation, left_out: Segmentation) -> AnyArray:
    """In LPS; nothing may be added."""
    before, after = (one.volume.to_lps(one.mask) > 0 for one in (kept, left_out))
    assert not (after & ~before).any()
    assert after.any()
    return before & ~after


def ml_of(result: Segmentation) -> float:
    ml = result.quantification.both and result.quantification.both.infection_ml
    assert ml
    return ml


@pytest.mark.parametrize("code", ORIENTATIONS[::7])
def test_the_flat_mark_goes_and_nothing_else(code: str, segmenter: Segmenter) -> None:
    kept, left_out = both(segmenter, scan(code))
    gone = taken_out(kept, left_out)
    assert np.flatnonzero(gone.any(axis=(1, 2))).tolist() == [20]
    assert gone.sum() > 100
    assert not gone[20][CLEAR.infection[20]].any()
    q = left_out.quantification
    assert q.flat_marks_ml == pytest.approx(gone.sum() * kept.volume.voxel_volume_ml)
    assert q.flat_marks_ml == pytest.approx(ml_of(kept) - ml_of(left_out))
    assert "flat_marks_removed" in q.flags
    assert "flat_marks_removed" not in q.warnings
    assert f"{q.flat_marks_ml:.1f} ml of flat marks" in to_text(left_out, files=[])
    assert left_out.slices != kept.slices
    assert left_out.provenance.keep_flat_marks is False


def test_the_option_keeps_them_and_says_so(segmenter: Segmenter) -> None:
    kept, left_out = both(segmenter, scan())
    assert kept.quantification.flat_marks_ml is None
    assert kept.quantification.reasons["flat_marks_ml"] == "flat_marks_kept"
    assert "flat_marks_removed" not in kept.quantification.flags
    assert kept.provenance.keep_flat_marks is True
    for result, told in ((kept, "flat marks kept"), (left_out, "flat marks left out")):
        document = json.loads(json.dumps(to_document(result, outputs={})))
        check_report(document)
        assert scan_row(document)["flat_marks_ml"] == result.quantification.flat_marks_ml
        assert told in report_html(result)


@pytest.mark.parametrize("fast", [False, True])
def test_probabilities_stay_and_the_band_follows(fast: bool, segmenter: Segmenter) -> None:
    kept, left_out = both(segmenter, scan(), keep_probability=True)
    if fast:
        kept, left_out = both(segmenter, scan(plane_mm=1.5), fast=True, keep_probability=True)
        assert kept.provenance.slices_interpolated > 0
    gone = taken_out(kept, left_out)
    assert kept.probability is not None
    assert left_out.probability is not None
    assert np.array_equal(kept.probability, left_out.probability)
    bands = []
    for result in (kept, left_out):
        band = result.quantification.uncertainty.infection_ml_band
        assert band
        assert band["0.5"] == ml_of(result)
        assert band["0.3"] > band["0.5"] > band["0.7"] > 0
        bands.append(band)
    before, after = bands
    assert before["0.3"] - after["0.3"] > before["0.5"] - after["0.5"] > before["0.7"] - after["0.7"]
    if not fast:
        flat = (kept.volume.to_lps(kept.probability)[20] >= 0.3) & (LUNGS[20] == 2)
        voxel_ml = kept.volume.voxel_volume_ml
        assert gone[20].sum() * voxel_ml < before["0.3"] - after["0.3"] <= flat.sum() * voxel_ml + 1e-9


def test_between_slices_that_ran_too(segmenter: Segmenter) -> None:
    kept, left_out = both(segmenter, scan(plane_mm=1.5), fast=True)
    gone = np.flatnonzero(taken_out(kept, left_out).any(axis=(1, 2)))
    assert kept.provenance.slices_interpolated > 0
    assert set(gone.tolist()) <= {19, 20, 21}
    assert left_out.quantification.flat_marks_ml


def test_coarse_logits_and_classes_follow(models: dict[str, Path]) -> None:
    with load(models["coarse"], device="cpu", threads=1) as coarse:
        assert taken_out(*both(coarse, scan()))[20].any()
    with load(models["classes"], device="cpu", threads=1, classes=True) as model:
        kept, left_out = both(model, scan())
    assert kept.classes is not None
    assert left_out.classes is not None
    assert taken_out(kept, left_out).any()
    assert np.array_equal(left_out.classes, np.where(left_out.mask > 0, kept.classes, 0))
    told = left_out.quantification.classes
    assert told
    assert told.both
    assert (told.both.ggo_ml or 0) + (told.both.consolidation_ml or 0) == pytest.approx(ml_of(left_out))


def test_the_mirror_image_loses_them_too(segmenter: Segmenter) -> None:
    left_out = segmenter.predict(scan(), lungs=scan().from_lps(LUNGS), flip_check=True)
    assert left_out.quantification.flat_marks_ml
    uncertainty = left_out.quantification.uncertainty
    assert uncertainty.flip_disagreement == pytest.approx(0, abs=0.01)
    assert uncertainty.flipped_infection_ml == pytest.approx(ml_of(left_out), rel=0.01)


def test_a_buffer_and_a_stream_lose_the_same(segmenter: Segmenter) -> None:
    grid = Grid.from_spacing(HU.shape, SPACING_MM)
    for keep in (False, True):
        options: dict[str, Any] = {"lungs": LUNGS, "keep_flat_marks": keep}
        expected = segmenter.predict(CtVolume.on_grid(HU, grid, Intensity.HU, "a"), **options)
        out = np.full(HU.shape, 7, np.uint8)
        buffer = segmenter.predict_buffer(HU, grid, out=out, **options)
        with segmenter.stream(grid, **options) as stream:
            for k, plane in enumerate(HU):
                stream.push(k, plane)
            streamed = stream.finish()
        assert np.array_equal(out, expected.mask)
        assert np.array_equal(streamed.mask, expected.mask)
        assert buffer.quantification == streamed.quantification == expected.quantification
        assert (expected.quantification.flat_marks_ml is None) is keep


def test_a_tilted_scan_has_the_height_of_its_planes(segmenter: Segmenter) -> None:
    """Planes that are tilted against their stacking lie closer together than their centres do."""
    tilted = np.diag([-SPACING_MM[2], -SPACING_MM[1], SPACING_MM[0], 1.0])
    tilted[1, 2] = 2.0
    volume = CtVolume(HU.transpose(2, 1, 0), tilted, Intensity.HU, "tilted")
    kept, left_out = both(segmenter, volume)
    assert np.array_equal(taken_out(kept, left_out), taken_out(*both(segmenter, scan())))


def test_a_picture_keeps_them(segmenter: Segmenter) -> None:
    kept, left_out = both(segmenter, scan(), quantitative=False)
    assert np.array_equal(kept.mask, left_out.mask)
    assert left_out.quantification.flat_marks_ml is None
    assert left_out.quantification.reasons["flat_marks_ml"] == "no_voxel_size"


def test_what_reaches_the_last_slice_stays(segmenter: Segmenter) -> None:
    cut = CtVolume.on_grid(HU[:21], Grid.from_spacing(HU[:21].shape, SPACING_MM), Intensity.HU, "cut")
    kept, left_out = (
        segmenter.predict(cut, lungs=LUNGS[:21], keep_flat_marks=keep) for keep in (True, False)
    )
    assert np.array_equal(kept.mask, left_out.mask)
    assert left_out.quantification.flat_marks_ml == 0
    assert left_out.quantification.both == kept.quantification.both


def test_a_given_mask_is_measured_as_it_is(segmenter: Segmenter) -> None:
    kept, left_out = both(segmenter, scan())
    measured = measure_mask(scan(), kept.mask, lungs=scan().from_lps(LUNGS))
    assert np.array_equal(measured.mask, kept.mask)
    assert measured.quantification.reasons["flat_marks_ml"] == "flat_marks_kept"
    again = measure_mask(scan(), left_out.mask, lungs=scan().from_lps(LUNGS)).quantification
    assert again.both == left_out.quantification.both
