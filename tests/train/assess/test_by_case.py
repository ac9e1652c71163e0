"""What eval says of each case: rows that give the means of the report, and maps that lie on their slices."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from infnet_runtime.errors import OutputError
from infnet_train.assess import evaluate
from infnet_train.assess.by_case import COLUMNS
from infnet_train.assess.evaluate import evaluate_file
from infnet_train.cli.main import app
from tiny_models import mid_grey_detector
from train_slices import write_picture, write_slice

README = Path(__file__).parents[3] / "train" / "README.md"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return mid_grey_detector(tmp_path / "model.onnx")


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def grey(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture


def test_the_rows_are_what_the_report_is_the_mean_of(model: Path, slices: Path, tmp_path: Path) -> None:
    found = evaluate_file(model, slices / "small", device="cpu", per_case=tmp_path / "new" / "cases.csv")
    cases = rows(tmp_path / "new" / "cases.csv")
    assert tuple(cases[0]) == COLUMNS
    assert [case["case"] for case in cases] == [f"s{i}" for i in range(6)]
    report = found.to_dict()
    for column in ("dice", "sensitivity", "precision", "specificity"):
        mean = np.mean([float(case[column]) for case in cases])
        assert mean == pytest.approx(report["clinical"][column]["value"], abs=1e-6), column
    for name, value in report["paper"].items():
        if name != "protocol":
            mean = np.mean([float(case[f"paper_{name}"]) for case in cases])
            assert mean == pytest.approx(value, abs=1e-6), name
    truth = grey(slices / "small" / "GT" / "s3.png") > 128
    assert int(cases[3]["truth_pixels"]) == np.count_nonzero(truth)
    assert int(cases[3]["pixels"]) == truth.size


def test_a_case_without_infection_has_no_sensitivity(model: Path, slices: Path, tmp_path: Path) -> None:
    for name, value in (("clean", 45), ("false", 140)):
        write_picture(slices / "small" / "Imgs" / f"{name}.png", np.full((70, 90), value, np.uint8))
        write_picture(slices / "small" / "GT" / f"{name}.png", np.zeros((70, 90), np.uint8))
    evaluate_file(model, slices / "small", device="cpu", per_case=tmp_path / "cases.csv")
    found = {case["case"]: case for case in rows(tmp_path / "cases.csv")}
    assert (found["false"]["dice"], found["false"]["sensitivity"]) == ("0.000000", "")
    assert found["false"]["found_pixels"] == found["false"]["pixels"] == "6300"
    assert (found["clean"]["dice"], found["clean"]["found_pixels"]) == ("1.000000", "0")


@pytest.mark.parametrize("turn", ["none", "transpose", "transpose_flip"])
def test_maps_lie_on_the_slices_as_they_are_stored(model: Path, tmp_path: Path, turn: evaluate.Turn) -> None:
    for number in range(2):
        write_slice(tmp_path / "data", f"s{number}", seed=number)
    maps = tmp_path / "out" / "maps"
    evaluate_file(model, tmp_path / "data", turn=turn, device="cpu", maps=maps)
    assert sorted(p.name for p in maps.iterdir()) == ["s0.png", "s1.png"]
    assert [p.name for p in maps.parent.iterdir()] == ["maps"]
    for number in range(2):
        found, truth = (grey(folder / f"s{number}.png") for folder in (maps, tmp_path / "data" / "GT"))
        assert found.dtype == np.uint8
        assert found.shape == truth.shape
        assert found[truth > 128].mean() > 0.8 * 255  # the disc is what the detector finds


def test_scores_of_the_maps_are_those_of_the_rows(model: Path, slices: Path, tmp_path: Path) -> None:
    evaluate_file(
        model, slices / "small", device="cpu", maps=tmp_path / "maps", per_case=tmp_path / "cases.csv"
    )
    for case in rows(tmp_path / "cases.csv"):
        found = grey(tmp_path / "maps" / f"{case['case']}.png") >= 128
        truth = grey(slices / "small" / "GT" / f"{case['case']}.png") > 128
        dice = 2 * np.count_nonzero(found & truth) / (found.sum() + truth.sum())
        assert dice == pytest.approx(float(case["dice"]), abs=0.02)  # 8 bits round at the threshold


def test_nothing_is_replaced_and_it_is_said_before_the_evaluation(
    model: Path, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, folder = tmp_path / "cases.csv", tmp_path / "maps"
    table.write_text("mine")
    folder.mkdir()
    (folder / "s0.png").write_text("mine")
    monkeypatch.setattr(evaluate, "score_slices", lambda *_, **__: pytest.fail("it was evaluated"))
    with pytest.raises(OutputError, match=r"\[INF-8023\] .*cases.csv is there already"):
        evaluate_file(model, slices / "small", device="cpu", per_case=table)
    with pytest.raises(OutputError, match=r"\[INF-8023\] .*maps is there already"):
        evaluate_file(model, slices / "small", device="cpu", maps=folder)
    with pytest.raises(OutputError, match="is there already"):
        evaluate_file(model, slices / "small", device="cpu", maps=slices / "small" / "Imgs")
    assert (table.read_text(), (folder / "s0.png").read_text()) == ("mine", "mine")


def test_a_failure_leaves_no_part_of_the_maps(model: Path, slices: Path, tmp_path: Path) -> None:
    (slices / "small" / "GT" / "s5.png").write_bytes(b"damaged")
    out = tmp_path / "out"
    with pytest.raises(Exception, match="s5"):
        evaluate_file(model, slices / "small", device="cpu", maps=out / "maps", per_case=out / "cases.csv")
    assert list(out.iterdir()) == []


def test_the_command_writes_both(model: Path, slices: Path, tmp_path: Path) -> None:
    outputs = ["--per-case", f"{tmp_path / 'cases.csv'}", "--maps", f"{tmp_path / 'maps'}"]
    command = ["eval", str(model), str(slices / "small"), "--device", "cpu", *outputs]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert len(rows(tmp_path / "cases.csv")) == len(list((tmp_path / "maps").iterdir())) == 6
    assert isinstance(CliRunner().invoke(app, command).exception, OutputError)


def test_every_column_is_explained() -> None:
    text = README.read_text("utf-8")
    assert [column for column in COLUMNS if f"`{column}`" not in text] == []
