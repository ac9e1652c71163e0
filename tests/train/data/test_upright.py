"""Slices that lie sideways are noticed by the check, by evaluation and before training, and no others."""

import dataclasses
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from infnet_train.data.check import check_data
from infnet_train.data.masks import read_labelled
from infnet_train.data.pictures import Turn, read_grey, slices_in, upright
from infnet_train.data.semiseg import LABELLED
from infnet_train.data.source import SourceConfig
from infnet_train.data.upright import lie_of, lie_of_files, some_of
from infnet_train.machine.ranks import Ranks
from infnet_train.run.sources import load_slices
from train_config import SMALL, changed

SIDEWAYS = "the lungs lie one above the other, not side by side"


def turn_files(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).T)


@pytest.mark.parametrize("turn", ["none", "transpose", "transpose_flip"])
@pytest.mark.parametrize("stored_upright", [True, False])
def test_a_wrong_turn_is_said_before_evaluation_and_training(
    slices: Path, turn: Turn, stored_upright: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if not stored_upright:
        turn_files(slices)
    wrong = stored_upright != (turn == "none")
    source = SourceConfig(name="small", folder="small", turn=turn)
    with caplog.at_level(logging.WARNING):
        read_labelled(slices / "small", turn)
        assert (SIDEWAYS in caplog.text) is wrong
        caplog.clear()
        config = changed(SMALL, sources=(source,), validation=None)
        load_slices(config, slices, Ranks(), cache=None, bf16=False)
    assert (f"source small: {SIDEWAYS}, with turn '{turn}'" in caplog.text) is wrong
    advice = 'turn = "transpose"' if turn == "none" else "take the turn away"
    assert (advice in caplog.text) is wrong
    assert check_data(slices / "small").folders[0].lungs == ("upright" if stored_upright else "sideways")


def test_too_few_slices_and_slices_without_lung_say_nothing(slices: Path) -> None:
    images = slices_in(slices / "small")
    assert lie_of_files(images) == "upright"
    assert lie_of_files(images[:2]) == "unknown"
    assert lie_of([np.full((64, 64), 200, np.uint8)] * 6) == "unknown"
    images[0].write_bytes(b"damaged")
    assert lie_of_files(images) == "upright"


def test_a_bounded_number_is_looked_at() -> None:
    paths = [Path(str(n)) for n in range(1600)]
    chosen = some_of(paths)
    assert len(chosen) == 24
    assert int(chosen[-1].name) > 1500
    assert some_of(paths[:5]) == paths[:5]


def test_validation_on_training_slices_is_said(slices: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load_slices(SMALL, slices, Ranks(), cache=None, bf16=False)
    assert "2 of 2 slices of the validation are training slices too (s0, ...)" in caplog.text
    caplog.clear()
    apart = changed(SMALL, sources=(dataclasses.replace(SMALL.sources[0], exclude=("s0", "s1")),))
    with caplog.at_level(logging.WARNING):
        load_slices(apart, slices, Ranks(), cache=None, bf16=False)
    assert not caplog.records


@pytest.mark.data
def test_the_public_slices_are_stored_turned(data_root: Path) -> None:
    images = slices_in(data_root / "covid-semiseg" / LABELLED)
    assert lie_of_files(images) == "sideways"
    assert lie_of_files(images, "transpose") == "upright"
    normal = sorted((data_root / "iq-othnccd-normal" / "images").glob("*"))
    assert lie_of_files(normal) == "upright"
    assert lie_of(upright(read_grey(path), "transpose") for path in some_of(normal)) == "sideways"
