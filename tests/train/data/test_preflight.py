"""What is said of a folder before a model is scored on it."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from infnet_train.data.datasets import LabelledSlices
from infnet_train.data.pictures import DataError
from infnet_train.data.preflight import look_at, look_at_folder
from infnet_train.data.source import SourceConfig
from train_slices import write_slice


@pytest.fixture
def folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Path:
    caplog.set_level(logging.WARNING)
    for seed, name in enumerate(("p01_1", "p01_2", "p02_1")):
        write_slice(tmp_path / "test", name, seed=seed)
    return tmp_path / "test"


def test_nothing_is_said_of_a_sound_folder(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    look_at_folder(folder)
    assert not caplog.records


@pytest.mark.parametrize(
    "name", ["Data-1_coronacases_org_007_3", "radiopaedia_27_86410_0_12", "coronacases_010"]
)
def test_reserved_cases_are_named(name: str, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_slice(folder, name, seed=9)
    look_at_folder(folder)
    assert f"1 of 4 slices are of reserved cases ({name}, ...)" in caplog.text
    assert "twice" not in caplog.text


def test_a_slice_under_two_names_is_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for part in ("Imgs", "GT"):
        shutil.copy(folder / part / "p01_2.png", folder / part / "p09_7.png")
    look_at_folder(folder)
    assert "1 of 4 slices are there under another name too (p09_7 is p01_2, ...)" in caplog.text
    assert "reserved" not in caplog.text


def test_without_slices_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no slices in"):
        look_at_folder(tmp_path)


def test_a_class_that_no_slice_has_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    masks = np.zeros((2, 64, 64), np.uint8)
    masks[0, 20:30, 20:30] = 255

    def said(*classes: int, resize: str = "nearest") -> list[str]:
        caplog.clear()
        sources = []
        for number, value in enumerate(classes):
            source = SourceConfig(name=f"s{number}", folder=".", classes="Classes", class_resize=resize)
            planes = np.where(masks > 0, value, 0).astype(np.uint8)
            sources.append((source, LabelledSlices(("a", "b"), masks, masks, masks, classes=planes)))
        look_at(sources, None)
        return [record.getMessage() for record in caplog.records]

    assert said(1) == [
        "none of the 2 slices with classes has consolidation: a network cannot learn what it is"
    ]
    assert said(1, 2) == []
    assert [text.split(" has ")[1][:6] for text in said(3)] == ["ground", "consol"]  # of unknown class alone
    assert said(38, 75, resize="bilinear") == []
    assert len(said(1, 2, resize="bilinear")) == 2  # values between the codes are no classes
    caplog.clear()
    plain = LabelledSlices(("a", "b"), masks, masks, masks)
    look_at([(SourceConfig(name="s", folder="."), plain)], None)
    assert not caplog.records
