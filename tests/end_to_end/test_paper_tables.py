"""``benchmarks/paper_tables.py``: published rows from published maps, and all of it in a tiny form."""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from infnet_runtime.metrics import TABLE_COLUMNS
from paper_sets import write_sets
from tiny_models import classes_detector

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = ("--set", "epochs=1", "--set", "sizes=[64]", "--set", "preprocess.size=64", "--set", "batch_size=2")
LAST_DIGIT = [("Semi-Inf-Net & MC", "consolidation", "Dice")]  # .458, and .4573 in the authors' own files
Load = Callable[[str], ModuleType]
WITHOUT_MAPS = {
    "II": {"Attention-UNet", "Gated-UNet", "Dense-UNet", "U-Net++"},
    "III": {"DeepLabV3+ (stride 16)", "Multi-class U-Net"},
}


@pytest.fixture(scope="module")
def load() -> Iterator[Load]:
    """Modules of the benchmark by name."""
    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module
    sys.path.remove(str(BENCHMARKS))
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture(scope="module")
def script(load: Load) -> ModuleType:
    return load("paper_tables")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("sets"))


@pytest.mark.data
@pytest.mark.slow
def test_published_rows_match_to_the_printed_digits(load: Load, data_root: Path) -> None:
    published, report = load("paper.published"), load("paper.report")
    found = load("paper.scores").score_maps(data_root)
    differing = []
    for number, rows in (("II", published.TABLE_II), ("III", published.TABLE_III)):
        assert {row.method for row in rows} - set(found[number]) == WITHOUT_MAPS[number]
        for row in (row for row in rows if row.method in found[number]):
            measured = found[number][row.method]
            parts = (
                {"infection": (row.values, measured)}
                if number == "II"
                else {
                    "ground_glass": (row.values, measured["ground_glass"]),
                    "consolidation": (row.consolidation, measured["consolidation"]),
                }
            )
            for kind, (printed, scores) in parts.items():
                cells = report._against(printed, scores)
                assert cells[0] == ("38" if kind == "consolidation" else "48")
                differing += (
                    [(row.method, kind, cells[-1].removeprefix("but "))] if cells[-1] != "yes" else []
                )
    assert differing == LAST_DIGIT


def test_a_digit_that_differs_is_named(load: Load) -> None:
    measures = TABLE_COLUMNS
    scores = {"slices": 48, "paper": {m: {"value": 0.5004} for m in measures}}
    against = load("paper.report")._against
    assert against((0.5,) * 6, scores)[-1] == "yes"
    assert against((0.5, 0.5, 0.501, 0.5, 0.5, 0.5), scores)[-1] == "but Spec"
    assert against((0.5,) * 6, None)[-1] == "no maps released"


def test_every_row_stands_beside_a_system(load: Load) -> None:
    published, systems = load("paper.published"), load("paper.systems").SYSTEMS
    tables = (published.TABLE_II, published.TABLE_III, published.TABLE_IV, published.TABLE_V)
    for row in (row for rows in tables for row in rows):
        assert row.system in systems or row.method == "Semi-Inf-Net"
    for system in systems.values():
        assert not system.prior or system.prior in systems


def test_time_is_shared_by_the_work_that_is_left(load: Load) -> None:
    training = load("paper.training")
    small, large = "inf-net-backbone", "inf-net"
    shares = [training.share_of(name, [small, large]) for name in (small, large)]
    assert sum(shares) == pytest.approx(1)
    assert 0.2 < shares[0] < 0.5 < shares[1]
    assert training.share_of(large, [large]) == pytest.approx(1)


@pytest.mark.slow
def test_from_training_to_the_tables(
    script: ModuleType, sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, results = tmp_path / "runs", tmp_path / "tables.json"
    names = ("inf-net", "inf-net-backbone")
    train = ["train", "--data", str(sets / "covid-semiseg"), "--out", str(runs), "--device", "cpu", *TINY]
    assert script.main([*train, "--networks", *names]) == 0
    said = capsys.readouterr().err.splitlines()
    assert [line.split(", ")[0] for line in said] == [f"{name}: 4 slices in 2 steps" for name in names]
    assert not list(runs.rglob("last.safetensors"))
    assert script.main([*train, "--networks", *names]) == 0
    assert capsys.readouterr().err.splitlines() == [f"{name}: finished before" for name in names]

    kept = ["--data", str(sets), "--json", str(results)]
    assert script.main(["score", str(runs), *kept, "--maps", str(tmp_path / "maps")]) == 0
    document = json.loads(results.read_text())
    assert set(document["systems"]) == set(names)
    one = document["systems"]["inf-net"]
    assert one["infection"]["slices"] == 3
    assert one["how"]["slices_seen"] == 4
    assert one["how"]["started_from"] == "random weights"
    text = results.with_suffix(".md").read_text()
    dice = one["infection"]["paper"]["mean_dice"]["value"]
    assert f"| Inf-Net | 0.682 | {dice:.3f} |" in text
    assert "| U-Net | 0.439 | not run |" in text
    assert "| Semi-Inf-Net | 0.739 | not run |" in text
    assert "| inf-net | 4 slices of TrainingSet/LungInfection-Train/Doctor-label | 4 | 2, 64 | 2020 |" in text

    assert script.main(["figures", str(tmp_path / "maps"), "--out", str(tmp_path), "--data", str(sets)]) == 0
    figure = cv2.imread(str(tmp_path / "fig7.png"))
    assert figure.shape == (26 + 3 * 124, 4 * 124, 3), "a row for each slice; CT, truth and both systems"


@pytest.mark.slow
def test_one_that_fails_stops_no_other(
    script: ModuleType, sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", "--data", str(sets / "covid-semiseg"), "--out", str(tmp_path), "--device", "cpu", *TINY]
    blocked = tmp_path / "inf-net"
    blocked.write_text("a file where a folder is needed")
    names = ["inf-net", "inf-net-backbone", "fcn8s-prior"]
    assert script.main([*train, "--networks", *names]) == 1
    said = {line.partition(":")[0]: line for line in capsys.readouterr().err.splitlines()}
    assert "FAILED" in said["inf-net"]
    assert "LEFT OUT" in said["fcn8s-prior"]
    assert "4 slices" in said["inf-net-backbone"]


def test_what_another_machine_measured_is_taken_over(load: Load, script: ModuleType, tmp_path: Path) -> None:
    document = load("paper.document")
    empty = document.read(tmp_path / "none.json")
    own = {**empty, "systems": {"unet": {"sha256": "a", "how": {}, "volumes": {"slices": 1}}}}
    same = {**empty, "systems": {"unet": {"sha256": "a", "infection": {"slices": 3}}}}
    other = {**empty, "systems": {"unet": {"sha256": "b", "infection": {"slices": 4}}}}
    merged = document.merge(json.loads(json.dumps(own)), same)["systems"]["unet"]
    assert set(merged) == {"sha256", "how", "volumes", "infection"}
    merged = document.merge(json.loads(json.dumps(own)), other)["systems"]["unet"]
    assert merged == {"sha256": "b", "infection": {"slices": 4}}, "scores of other weights do not mix"


def test_names_that_are_not_known_are_said(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="resnet: not among unet"):
        script.main(["train", "--data", str(tmp_path), "--out", str(tmp_path), "--networks", "resnet"])
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{}")
    with pytest.raises(SystemExit, match=r"is None, expected infnet\.paper-tables/1"):
        script.main(["cost", "--networks", "inf-net", "--json", str(wrong)])


def test_a_model_file_gives_its_classes_in_their_order(load: Load, tmp_path: Path) -> None:
    opened = load("paper.opened")
    grey = np.full((40, 40), 0.45 * 255, np.uint8)
    grey[:20] -= 25  # the detector calls what is darker than .45 ground glass
    grey[20:] += 25
    with opened.open_system(classes_detector(tmp_path / "classes.onnx"), "cpu") as model:
        infection, classes = model.predict(grey)
    assert infection.shape == (40, 40)
    assert classes.shape == (2, 40, 40)
    assert (classes[0, :18] > 0.8).all()
    assert (classes[1, 22:] > 0.8).all()
