"""Slices that a run was trained on are known again, whatever they are called, and others are not."""

import logging
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from infnet_train.data.datasets import load_source
from infnet_train.data.pictures import DataError, read_grey, upright
from infnet_train.data.seen import refuse_seen, seen_among, signature, warn_if_seen, write_seen
from infnet_train.data.semiseg import LABELLED
from infnet_train.data.source import SourceConfig
from train_slices import write_picture, write_slice


@pytest.fixture
def run(slices: Path, tmp_path: Path) -> Path:
    """A run folder that knows the slices s0 to s3."""
    source = SourceConfig(name="small", folder="small", names=("s0", "s1", "s2", "s3"))
    (tmp_path / "run").mkdir()
    write_seen(tmp_path / "run", [load_source(slices, source, 64)])
    return tmp_path / "run"


def test_slices_of_the_training_are_known_and_others_are_not(run: Path, slices: Path) -> None:
    assert seen_among(run, slices / "small", "none") == ["s0", "s1", "s2", "s3"]
    assert seen_among(run / "weights.safetensors", slices / "small", "none") == ["s0", "s1", "s2", "s3"]
    assert seen_among(run / "model.onnx", slices / "small", "none") == []
    assert seen_among(slices, slices / "small", "none") == []


def test_other_names_sizes_turns_and_forms_do_not_hide_a_slice(
    run: Path, slices: Path, tmp_path: Path
) -> None:
    grey = read_grey(slices / "small" / "Imgs" / "s2.png")
    other = tmp_path / "other" / "images"
    write_picture(other / "renamed.png", grey)
    write_picture(other / "large.png", cv2.resize(grey, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR))
    write_picture(other / "form.jpg", grey)
    assert seen_among(run, tmp_path / "other", "none") == ["form", "large", "renamed"]
    shutil.rmtree(other)
    write_picture(other / "turned.png", np.ascontiguousarray(grey.T))
    assert seen_among(run, tmp_path / "other", "none") == []
    assert seen_among(run, tmp_path / "other", "transpose") == ["turned"]


def test_calibration_refuses_them_and_evaluation_says_so(
    run: Path, slices: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DataError, match=r"was trained on 4 of the slices in .*small \(s0, ...\)") as caught:
        refuse_seen(run, slices / "small", "none")
    assert caught.value.code == 3154
    with caplog.at_level(logging.WARNING):
        warn_if_seen(run, slices / "small", "none")
    assert "scores on them are no test" in caplog.text
    caplog.clear()
    for seed in (50, 51, 52):
        write_slice(tmp_path / "fresh", f"f{seed}", seed=seed)
    refuse_seen(run, tmp_path / "fresh", "none")
    warn_if_seen(run, tmp_path / "fresh", "none")
    assert not caplog.records


def test_a_slice_of_one_value_is_like_no_other() -> None:
    assert not signature(np.full((50, 60), 7, np.uint8)).any()


@pytest.mark.data
def test_no_public_slice_is_taken_for_another(data_root: Path) -> None:
    folder = data_root / "covid-semiseg"
    paths = [
        path
        for part in (LABELLED, Path("TestingSet/LungInfection-Test"))
        for path in sorted((folder / part / "Imgs").glob("*.jpg"))
    ]
    found = np.stack([signature(upright(read_grey(path), "transpose")) for path in paths])
    alike = found @ found.T - np.eye(len(paths))
    assert alike.max() < 0.9992
