"""Silencing slices: only where it is asked for, only those that the gate rejects, and the report says so."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import infnet_runtime
from builders import ORIENTATIONS, chest_phantom, reorient
from infnet_export.graph.onnx_file import with_metadata
from infnet_runtime import CtVolume, Intensity, Segmentation, Segmenter
from infnet_runtime.errors import ModelError
from infnet_runtime.model.manifest import METADATA_KEY
from infnet_runtime.model.slice_gate import SliceGate
from infnet_runtime.scan.phantom import ChestPhantom
from tiny_models import MANIFEST, WITH_CLASSES, classes_detector, coarse_detector, mid_grey_detector


def gated(mm2: float) -> str:
    gate = SliceGate(mm2=mm2, sensitivity=0.9, specificity=0.9, slices=9)
    return replace(MANIFEST, metrics=gate.metrics()).to_json()


def with_gate(path: Path, manifest: str) -> Path:
    path.write_bytes(with_metadata(path.read_bytes(), METADATA_KEY, manifest))
    return path


@pytest.fixture(scope="module")
def phantom() -> ChestPhantom:
    return chest_phantom()


def volume(phantom: ChestPhantom, code: str = "LPS") -> CtVolume:
    stored, affine = reorient(phantom.hu, phantom.spacing_mm, code)
    return CtVolume(stored, affine, Intensity.HU, "phantom")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Segmenter]:
    model = mid_grey_detector(tmp_path_factory.mktemp("models") / "model.onnx")
    with infnet_runtime.load(model, device="cpu", threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def full(plain: Segmenter, phantom: ChestPhantom) -> Segmentation:
    return plain.predict(volume(phantom))


@pytest.fixture(scope="module")
def middle_mm2(full: Segmentation) -> float:
    """A score that some of the marked slices reach and others do not."""
    return float(np.median([f.score_mm2 or 0 for f in full.slices if f.infection_percent > 0]))


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory, middle_mm2: float) -> Iterator[Segmenter]:
    path = tmp_path_factory.mktemp("models") / "model.onnx"
    with infnet_runtime.load(
        mid_grey_detector(path, manifest=gated(middle_mm2)), device="cpu", threads=1
    ) as loaded:
        yield loaded


def areas_mm2(result: Segmentation) -> np.ndarray:
    planes = result.volume.to_lps(result.mask)
    pixel_mm2 = result.volume.grid.pixel_mm2
    assert pixel_mm2 is not None
    return planes.sum(axis=(1, 2), dtype=float) * pixel_mm2


def scores_mm2(areas: np.ndarray) -> np.ndarray:
    """The rule once more, for all slices at once."""
    beside = np.pad(areas, 1, constant_values=-1)
    return np.minimum(areas, np.maximum(beside[:-2], beside[2:]))


def test_every_slice_with_lung_is_in_the_table(full: Segmentation) -> None:
    lungs = full.volume.to_lps(full.lungs) > 0
    assert [f.number for f in full.slices] == (np.flatnonzero(lungs.any(axis=(1, 2))) + 1).tolist()
    numbers = np.array([f.number for f in full.slices]) - 1
    assert [f.infection_mm2 for f in full.slices] == pytest.approx(areas_mm2(full)[numbers])
    both = full.quantification.both
    assert both
    plane_mm = full.volume.grid.plane_mm
    assert plane_mm
    assert sum(f.infection_mm2 or 0 for f in full.slices) * plane_mm / 1000 == pytest.approx(
        both.infection_ml
    )
    assert {f.infected for f in full.slices} == {None}


def test_without_the_option_the_gate_only_speaks(
    segmenter: Segmenter, full: Segmentation, phantom: ChestPhantom, middle_mm2: float
) -> None:
    result = segmenter.predict(volume(phantom))
    assert np.array_equal(result.mask, full.mask)
    assert result.quantification == full.quantification
    assert result.provenance.slice_gate_mm2 is None
    assert {f.infected for f in result.slices} == {True, False}
    assert all(f.infected == ((f.score_mm2 or 0) >= middle_mm2) for f in result.slices)


@pytest.mark.parametrize("code", ORIENTATIONS[::7])
def test_slices_that_the_gate_rejects_are_silenced_and_no_others(
    code: str, segmenter: Segmenter, phantom: ChestPhantom, middle_mm2: float
) -> None:
    scan = volume(phantom, code)
    full, result = segmenter.predict(scan), segmenter.predict(scan, silence_slices=True)
    before, after = (scan.to_lps(one.mask) for one in (full, result))
    small = scores_mm2(areas_mm2(full)) < middle_mm2 - 1e-6
    assert before[small].any()
    assert not after[small].any()
    assert np.array_equal(after[~small], before[~small])
    assert result.slices == full.slices  # the score is that of before
    assert result.provenance.slice_gate_mm2 == middle_mm2
    assert "slices_silenced" in result.quantification.flags
    assert "slices_silenced" not in result.quantification.warnings
    lost = full.quantification.both.infection_ml - result.quantification.both.infection_ml  # type: ignore[union-attr, operator]
    assert f"{lost:.1f} ml in all" in result.quantification.flag_texts["slices_silenced"]
    assert result.quantification.slices_with_infection == int(after.any(axis=(1, 2)).sum())


def test_probabilities_stay(segmenter: Segmenter, phantom: ChestPhantom) -> None:
    kept, gate = (
        segmenter.predict(volume(phantom), keep_probability=True, silence_slices=on) for on in (False, True)
    )
    assert kept.probability is not None
    assert gate.probability is not None
    assert np.array_equal(gate.probability, kept.probability)
    assert gate.mask.sum() < kept.mask.sum()


@pytest.mark.parametrize("fast", [False, True])
def test_coarse_logits_and_fast_runs_are_silenced_alike(
    fast: bool, tmp_path: Path, middle_mm2: float
) -> None:
    long = chest_phantom((60, 72, 96), (4.0, 4.5, 4.0))
    stored, affine = reorient(long.hu, (1.0, *long.spacing_mm[1:]), "LPS")
    thin = CtVolume(stored, affine, Intensity.HU, "thin")
    model = with_gate(coarse_detector(tmp_path / "coarse.onnx"), gated(middle_mm2))
    with infnet_runtime.load(model, device="cpu", threads=1) as loaded:
        full, gate = (loaded.predict(thin, fast=fast, silence_slices=on) for on in (False, True))
    assert (full.provenance.slices_interpolated > 0) is fast
    before, after = (thin.to_lps(one.mask) for one in (full, gate))
    small = scores_mm2(areas_mm2(full)) < middle_mm2 - 1e-6
    assert before[small].any()
    assert np.array_equal(after, np.where(small[:, None, None], 0, before))


def test_classes_of_silenced_slices_are_taken_out_too(
    tmp_path: Path, phantom: ChestPhantom, middle_mm2: float
) -> None:
    gate = SliceGate(mm2=middle_mm2, sensitivity=0.9, specificity=0.9, slices=9)
    model = with_gate(
        classes_detector(tmp_path / "classes.onnx"), replace(WITH_CLASSES, metrics=gate.metrics()).to_json()
    )
    with infnet_runtime.load(model, device="cpu", threads=1, classes=True) as loaded:
        full, silenced = (loaded.predict(volume(phantom), silence_slices=on) for on in (False, True))
    assert full.classes is not None
    assert silenced.classes is not None
    assert np.array_equal(silenced.classes > 0, silenced.mask > 0)
    assert np.array_equal(silenced.classes, np.where(silenced.mask > 0, full.classes, 0))
    assert 0 < silenced.mask.sum() < full.mask.sum()


def test_a_picture_is_left_as_it_is_and_says_so(segmenter: Segmenter, phantom: ChestPhantom) -> None:
    full, gate = (
        segmenter.predict(volume(phantom), quantitative=False, silence_slices=on) for on in (False, True)
    )
    assert np.array_equal(gate.mask, full.mask)
    assert "no voxel size" in gate.quantification.flag_texts["slice_gate_without_effect"]


def test_a_model_without_a_gate_is_refused(plain: Segmenter, phantom: ChestPhantom) -> None:
    with pytest.raises(ModelError, match="mid-grey 1 has no slice gate.*give a model that has one") as caught:
        plain.predict(volume(phantom), silence_slices=True)
    assert caught.value.code == 4076
