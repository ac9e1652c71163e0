"""The data check: what is there is counted, what is wrong is named, all of it."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from infnet_train.cli import app
from infnet_train.data_check import check_data
from infnet_train.datasets import DataError, edge_of
from train_slices import write_slice


def test_a_sound_folder(slices: Path) -> None:
    report = check_data(slices / "small")
    (folder,) = report.folders
    assert (folder.folder, folder.images, folder.masks, folder.pairs) == (".", 6, 6, 6)
    assert (folder.rows, folder.columns) == ((70, 70), (90, 90))
    assert (folder.labels, folder.label_values, folder.empty_masks) == ("hard", (0, 255), ())
    assert folder.edge_kind == "absent"
    assert report.overlap is None
    assert report.problems == ()


def test_soft_coloured_and_empty_labels(slices: Path) -> None:
    masks = slices / "small" / "GT"
    cv2.imwrite(str(masks / "s0.png"), np.zeros((70, 90), np.uint8))
    assert check_data(slices / "small").folders[0].empty_masks == ("s0",)
    cv2.imwrite(str(masks / "s1.png"), np.full((70, 90), 130, np.uint8))
    assert check_data(slices / "small").folders[0].labels == "soft"
    cv2.imwrite(str(masks / "s2.png"), np.full((70, 90, 3), (0, 0, 255), np.uint8))
    assert check_data(slices / "small").folders[0].labels == "colour"


def test_edges_by_gradient_and_by_another_definition(slices: Path) -> None:
    edges = slices / "small" / "Edge"
    edges.mkdir()
    for path in (slices / "small" / "GT").glob("*.png"):
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert mask is not None
        cv2.imwrite(str(edges / path.name), edge_of(mask > 127).astype(np.uint8) * 255)
    folder = check_data(slices / "small").folders[0]
    assert (folder.edge_kind, folder.edges, folder.edges_as_gradient) == ("gradient", 6, 6)
    cv2.imwrite(str(edges / "s0.png"), cv2.Canny(mask, 100, 200))
    folder = check_data(slices / "small").folders[0]
    assert (folder.edge_kind, folder.edges_as_gradient) == ("other", 5)


def test_every_problem_is_collected_and_the_command_leaves_with_3(slices: Path) -> None:
    small = slices / "small"
    truncated = (small / "Imgs" / "s0.png").read_bytes()
    (small / "Imgs" / "s0.png").write_bytes(truncated[: len(truncated) // 2])
    flipped = bytearray((small / "GT" / "s1.png").read_bytes())
    flipped[len(flipped) // 2] ^= 0xFF
    (small / "GT" / "s1.png").write_bytes(flipped)
    (small / "GT" / "s2.png").unlink()
    (small / "Imgs" / "s3.png").unlink()
    cv2.imwrite(str(small / "GT" / "s4.png"), np.zeros((70, 91), np.uint8))
    cv2.imwrite(str(small / "Imgs" / "s5.png"), np.zeros((70, 90), np.uint16))
    (small / "Imgs" / "s6.jpg").write_bytes(b"")
    done = CliRunner().invoke(app, ["data", "check", str(small), "--json"])
    assert isinstance(done.exception, DataError)
    assert (done.exception.code, done.exception.exit_code) == (3139, 3)
    found = {(p["file"], p["code"]): p["message"] for p in json.loads(done.stdout)["problems"]}
    assert set(found) == {
        ("Imgs/s0.png", 3131),
        ("GT/s1.png", 3131),
        ("Imgs/s2.png", 3132),
        ("GT/s3.png", 3132),
        ("Imgs/s4.png", 3133),
        ("Imgs/s5.png", 3134),
        ("Imgs/s6.jpg", 3131),
        ("Imgs/s6.jpg", 3132),
    }
    assert found["Imgs/s0.png", 3131] == "ends early; copy it again from its source"
    assert "the checksum of its part b'IDAT' is wrong" in found["GT/s1.png", 3131]
    assert "is (70, 90), its mask is (70, 91)" in found["Imgs/s4.png", 3133]


def test_a_truncated_jpeg_is_seen_although_a_decoder_would_fill_it(slices: Path) -> None:
    path = slices / "small" / "Imgs" / "s0.jpg"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (70, 90), np.uint8))
    assert check_data(slices / "small").problems == ()
    path.write_bytes(path.read_bytes()[:-100])
    (problem,) = check_data(slices / "small").problems
    assert (problem.code, problem.file) == (3131, "Imgs/s0.jpg")


def test_masks_of_0_and_1_would_all_be_empty(slices: Path) -> None:
    for path in (slices / "small" / "GT").glob("*.png"):
        cv2.imwrite(str(path), np.eye(70, 90, dtype=np.uint8))
    (problem,) = check_data(slices / "small").problems
    assert problem.code == 3135
    assert "no label is above 1, expected 0..255" in problem.message


def test_training_and_testing_that_share_a_slice(tmp_path: Path) -> None:
    training, testing = (tmp_path / part / "Lung" for part in ("TrainingSet", "TestingSet"))
    for i in range(3):
        write_slice(training, f"a{i}", seed=i)
        write_slice(testing, f"b{i}", seed=10 + i)
    report = check_data(tmp_path)
    assert [(f.folder, f.part) for f in report.folders] == [
        ("TestingSet/Lung", "testing"),
        ("TrainingSet/Lung", "training"),
    ]
    assert (report.overlap, report.problems) == ((), ())
    shutil.copy(training / "Imgs" / "a1.png", testing / "Imgs" / "b2.png")
    report = check_data(tmp_path)
    assert report.overlap == (("TrainingSet/Lung/Imgs/a1.png", "TestingSet/Lung/Imgs/b2.png"),)
    assert [p.code for p in report.problems] == [3136]
    assert "overlap    1 slices both in training and in testing" in report.to_text()


def test_a_folder_without_slices(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder Imgs or GT in .* expected the root of COVID-SemiSeg"):
        check_data(tmp_path)


def test_text_of_a_sound_folder(slices: Path) -> None:
    done = CliRunner().invoke(app, ["data", "check", str(slices)])
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "folder     small (unknown)",
        "  slices   6, masks 6, pairs 6; 70-70 rows x 90-90 columns",
        "  labels   hard 0..255, 0 empty",
        "  edges    absent; the training makes its own from the masks",
        "problems   none",
    ]


@pytest.mark.data
def test_the_released_data_are_sound(data_root: Path) -> None:
    folder = data_root / "covid-semiseg" / "TestingSet" / "LungInfection-Test"
    report = check_data(folder)
    assert (report.folders[0].pairs, report.problems) == (48, ())
