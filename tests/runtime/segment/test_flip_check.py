"""Slices are mirrored on their way into the network, and what it marks is mirrored back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import chest_phantom
from infnet_runtime import CtVolume, Intensity, Segmenter, load
from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends.open import open_session
from tiny_models import classes_detector, coarse_detector, mid_grey_detector

PHANTOM = chest_phantom()
VOLUME = CtVolume(PHANTOM.hu, PHANTOM.affine, Intensity.HU, "phantom")
_CLOSE = chest_phantom((90, 96, 96), (1.5, 4.0, 4.0))
CLOSE = CtVolume(_CLOSE.hu, _CLOSE.affine, Intensity.HU, "slices close together")


@pytest.mark.parametrize("make", [mid_grey_detector, coarse_detector, classes_detector])
@pytest.mark.parametrize("options", [{}, {"keep_probability": True, "batch_size": 3}])
def test_a_network_that_knows_no_sides_agrees_with_itself(
    tmp_path: Path, make: Callable[[Path], Path], options: dict[str, Any]
) -> None:
    with load(
        make(tmp_path / "model.onnx"), backend="onnxruntime", device="cpu", classes=make is classes_detector
    ) as model:
        result = model.predict(VOLUME, flip_check=True, **options)
        without = model.predict(VOLUME, **options)
    q = result.quantification
    assert q.both
    assert q.uncertainty.flip_disagreement == pytest.approx(0, abs=0.01)  # 8 pixels of coarse logits
    assert q.uncertainty.flipped_infection_ml == pytest.approx(q.both.infection_ml, rel=0.02)
    assert "check_this_scan" not in q.flags
    # Nothing else changes.
    assert q == without.quantification
    assert np.array_equal(result.mask, without.mask)
    assert (result.classes is None) == (make is not classes_detector)
    assert (result.probability is None) == (not options)
    assert set(without.quantification.uncertainty.reasons) >= {"flip_disagreement", "flipped_infection_ml"}


class SeesOneSide:
    """A session that marks nothing in the half of the columns at the patient's left."""

    def __init__(self, path: Path) -> None:
        self._session = open_session(path, backend="onnxruntime", device="cpu")

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._session, name)

    def run(self, batch: FloatArray) -> dict[str, FloatArray]:
        outputs = self._session.run(batch)
        for output in outputs.values():
            output[..., output.shape[-1] // 2 :] = 0
        return outputs


@pytest.mark.parametrize("fast", [False, True])
def test_a_network_that_sees_one_side_disagrees(tmp_path: Path, fast: bool) -> None:
    session = SeesOneSide(mid_grey_detector(tmp_path / "model.onnx"))
    calls: list[tuple[int, int]] = []
    # By threshold, so that the middle of the box is that of the body, to the pixel.
    with Segmenter(session, threads=1, lungs_by="threshold") as model:  # type: ignore[arg-type]
        result = model.predict(
            CLOSE if fast else VOLUME,
            fast=fast,
            flip_check=True,
            progress=lambda done, every: calls.append((done, every)),
        )
    q = result.quantification
    assert q.both
    assert q.both.infection_ml  # which lies in the patient's right lung
    assert q.uncertainty.flipped_infection_ml == 0
    assert q.uncertainty.flip_disagreement == 1
    assert "check_this_scan" in q.warnings
    assert "differ by 100 %" in q.flag_texts["check_this_scan"]
    done = [one for one, _ in calls]
    assert done == sorted(done)
    assert calls[-1] == (2 * q.slices_with_lung, 2 * q.slices_with_lung)


def test_a_buffer_and_a_stream_are_checked_too(tmp_path: Path) -> None:
    session = SeesOneSide(mid_grey_detector(tmp_path / "model.onnx"))
    with Segmenter(session, threads=1) as model:  # type: ignore[arg-type]
        expected = model.predict(VOLUME, flip_check=True).quantification
        assert model.predict_buffer(VOLUME.voxels, VOLUME.grid, flip_check=True).quantification == expected
        with model.stream(VOLUME.grid, voxels=VOLUME.voxels, flip_check=True) as stream:
            for k in range(len(PHANTOM.hu)):
                stream.push(k)
            found = stream.finish().quantification
    assert found.uncertainty == expected.uncertainty
    assert found.flags == expected.flags


def test_without_a_lung_there_is_nothing_to_compare(tmp_path: Path) -> None:
    hu = np.where(PHANTOM.lungs > 0, 40, PHANTOM.hu).astype(np.int16)
    tissue = CtVolume(hu, PHANTOM.affine, Intensity.HU, "without lungs")
    model_file = mid_grey_detector(tmp_path / "model.onnx")
    with load(model_file, device="cpu", lungs_by="threshold") as model:  # the network knows white lungs
        q = model.predict(tissue, flip_check=True).quantification
    assert q.uncertainty.reasons["flip_disagreement"] == "no_lung"
    assert "check_this_scan" not in q.flags
