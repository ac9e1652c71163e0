"""``benchmarks/validation.py``: known answers, the whole of it on phantoms, and the page it makes."""

import doctest
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from builders import chest_phantom, reorient, write_nifti
from infnet_runtime import CtVolume, Intensity
from infnet_runtime.io.nifti import read_nifti
from infnet_runtime.measure.burden import quantify
from tiny_models import mid_grey_detector

ROOT = Path(__file__).parents[2]
Load = Callable[[str], ModuleType]
# Shrout and Fleiss, Psychological Bulletin 1979, table 2: six subjects, four judges; their ICC(2,1) is .29.
SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], np.float64
)
# What the page calls a number, and what a report calls it.
_NAMES = {
    "ml": "infection_ml",
    "lung_ml": "lung_ml",
    "percent": "infection_percent",
    "mean": "infection_mean_hu",
    "high_percent": "pho_percent",
}


@pytest.fixture(scope="module")
def load() -> Iterator[Load]:
    """Modules of the benchmark by name."""
    before = set(sys.modules)
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module
    sys.path.remove(str(ROOT / "benchmarks"))
    for name in set(sys.modules) - before:
        if str(ROOT / "benchmarks") in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture(scope="module")
def agreement(load: Load) -> ModuleType:
    return load("readers.agreement")


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return dict(json.loads((ROOT / "benchmarks/results/validation-0.3.0.json").read_text("utf-8")))


@pytest.mark.parametrize("module", ["agreement", "cases", "scores"])
def test_examples_are_right(load: Load, module: str) -> None:
    done = doctest.testmod(load(f"readers.{module}"), extraglobs={"np": np})
    assert done.attempted > 0
    assert done.failed == 0


def test_icc_is_that_of_the_publication(agreement: ModuleType) -> None:
    assert agreement.icc_a1(SHROUT_FLEISS) == pytest.approx(0.29, abs=0.005)
    assert agreement.icc_a1(np.ones((3, 2))) is None


def test_a_constant_difference_lowers_icc_and_concordance(agreement: ModuleType) -> None:
    first = np.array([1.0, 2.0, 3.0])
    # Both by hand: variance 1 and mean square of the difference 1; 2/3, 2/3 and 1.
    assert agreement.icc_a1(np.stack([first, first + 1], axis=1)) == pytest.approx(1 / 1.5)
    assert agreement.lins_ccc(first, first + 1) == pytest.approx((4 / 3) / (4 / 3 + 1))


def test_limits_by_arithmetic(agreement: ModuleType) -> None:
    found = agreement.bland_altman(np.array([11.0, 23.0, 35.0]), np.array([10.0, 20.0, 30.0]))
    assert (found.difference.bias, found.cases) == (3.0, 3)
    assert found.difference.high == pytest.approx(3 + 1.96 * 2)
    ratio = agreement.ratio_limits(np.array([20.0, 40.0, 80.0]), np.array([10.0, 20.0, 40.0]))
    assert (ratio.bias, ratio.low, ratio.high) == pytest.approx((2, 2, 2))
    assert agreement.ratio_limits(np.array([0.0, 1.0]), np.array([1.0, 1.0])) is None


@pytest.mark.parametrize(("second", "grows"), [([2.0, 25, 330, 3600], True), ([1.0, 42, 298, 3002], False)])
def test_a_spread_that_grows_is_told(agreement: ModuleType, second: list[float], grows: bool) -> None:
    assert agreement.bland_altman(np.array([1.0, 40, 300, 3000]), np.array(second)).spread_grows is grows


def test_patients_are_drawn_with_all_their_cases(agreement: ModuleType) -> None:
    drawn: list[list[int]] = []
    patients = ["a", "b", "b", "c"]
    agreement.bootstrap(lambda chosen: drawn.append(chosen), patients, draws=50, seed=1)
    assert all(chosen.count(1) == chosen.count(2) for chosen in drawn)
    assert all(len({patients[i] for i in chosen}) > 1 for chosen in drawn)


def test_intervals_hold_the_value_and_repeat(agreement: ModuleType) -> None:
    values = [1.0, 2.0, 3.1, 4.7, 5.0]

    def interval(seed: int, patients: str = "abcde") -> tuple[float, float] | None:
        found: tuple[float, float] | None = agreement.bootstrap(
            lambda chosen: float(np.mean([values[i] for i in chosen])), list(patients), draws=50, seed=seed
        )
        return found

    low, high = interval(1) or (0, 0)
    assert 1 < low < 3.16 < high < 5
    assert interval(1) == interval(1) != interval(2)
    assert interval(1, "aabbb") is None


def test_lesions_by_arithmetic(agreement: ModuleType) -> None:
    reader = np.zeros((4, 40, 40), bool)
    reader[0, :10, :11] = True  # 110 voxels, 0.11 ml
    reader[1, 10:20, 11:20] = True  # joined to it at a corner: one lesion of 200
    reader[3, :9, :11] = True  # 99 voxels: no lesion
    reader[3, 20:30, 20:30] = True  # 100 voxels, exactly 0.1 ml
    other = np.zeros_like(reader)
    other[0, 0, 0] = other[3, 20:25, 20:30] = True
    found = agreement.lesions_found(reader, other, 0.001)
    assert (found.number, found.touched, found.half) == (2, 2, 1)
    assert agreement.lesions_found(reader, np.zeros_like(reader), 0.001).touched == 0
    assert agreement.lesions_found(np.zeros_like(reader), other, 0.001).number == 0


def test_the_numbers_are_those_of_the_runtime(load: Load) -> None:
    random = np.random.default_rng(3)
    infection, lungs = random.random((2, 5, 30, 30)) < np.array([0.03, 0.6])[:, None, None, None]
    hu = random.integers(-900, 100, infection.shape, np.int16)
    infection &= lungs
    both = quantify(infection.view(np.uint8), lungs.astype(np.uint8), 0.06, hu=hu).both
    assert both
    own = load("readers.scores").quantify_mask(infection, lungs, hu, 0.06, high=-200)
    for mine, theirs in _NAMES.items():
        assert own[mine] == pytest.approx(getattr(both, theirs), rel=1e-12)
    lesions = load("readers.agreement").lesions_found(infection, infection, 0.06)
    assert lesions.number == lesions.half == both.component_count
    assert 0 < lesions.number < int(infection.sum())


def test_the_command_gives_the_numbers_of_the_page(load: Load, tmp_path: Path) -> None:
    phantom = chest_phantom()
    lungs = (phantom.lungs > 0) | phantom.infection
    for name, array in (("ct", phantom.hu), ("mask", phantom.infection), ("lungs", lungs)):
        stored = array if name == "ct" else array.astype(np.uint8)
        write_nifti(tmp_path / f"{name}.nii.gz", *reorient(stored, phantom.spacing_mm, "LPS"))
    both = _quantified(tmp_path)
    voxel_ml = float(np.prod(phantom.spacing_mm)) / 1000
    own = load("readers.scores").quantify_mask(phantom.infection, lungs, phantom.hu, voxel_ml, high=-200)
    for mine, theirs in _NAMES.items():
        assert own[mine] == pytest.approx(both[theirs], rel=1e-6)
    lesions = load("readers.agreement").lesions_found(phantom.infection, phantom.infection, voxel_ml)
    assert lesions.number == both["component_count"]


@pytest.mark.data
@pytest.mark.slow
def test_the_command_gives_the_recorded_numbers_of_a_reader(
    load: Load, recorded: dict[str, Any], data_root: Path, tmp_path: Path
) -> None:
    known = load("readers.cases").VOLUMES[1]
    case = load("readers.cases").labelled_case(data_root, known)
    scan = read_nifti(data_root / known.folder / f"{known.name}_ct.nii.gz").volume
    (tmp_path / "ct.nii.gz").symlink_to(data_root / known.folder / f"{known.name}_ct.nii.gz")
    for name, mask in (("mask", case.first), ("lungs", case.lungs | case.first)):
        write_nifti(tmp_path / f"{name}.nii.gz", scan.from_lps(mask.astype(np.uint8)), scan.affine)
    both = _quantified(tmp_path)
    (row,) = (row["whole"] for row in recorded["cases"] if row["name"] == known.name)
    for mine in ("ml", "lung_ml", "percent"):
        assert both[_NAMES[mine]] == pytest.approx(row[mine]["first"], rel=1e-6)
    assert both["component_count"] == row["lesions"]["number"]
    assert both["pho_percent"] is None  # the picture has no HU


def _quantified(folder: Path) -> dict[str, Any]:
    """What ``infnet-infer quantify`` says of both lungs."""
    files = [f"--{name}={folder / name}.nii.gz" for name in ("ct", "mask", "lungs")]
    done = subprocess.run(
        [sys.executable, "-m", "infnet_runtime.cli", "quantify", *files, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout)["quantification"]["both"])


def test_what_is_missing_is_none(load: Load) -> None:
    nothing = np.zeros((1, 4, 4), bool)
    grey = np.zeros(nothing.shape, np.uint8)
    own = load("readers.scores").quantify_mask(nothing, nothing, grey, 0.0028, high=100)
    assert own == {"ml": 0, "lung_ml": 0, "percent": None, "mean": None, "high_percent": None}
    own = load("readers.scores").quantify_mask(nothing, ~nothing, grey, 0.0028, high=100)
    assert (own["percent"], own["mean"], own["high_percent"]) == (0, None, 0)


def test_a_slice_that_was_read_in_part_is_refused(load: Load) -> None:
    with pytest.raises(SystemExit, match=r"slices \[1\] were read in part"):
        load("readers.cases").covered_slices(np.array([[[0, 1]], [[255, 1]]]))


def test_masks_of_two_models_are_not_mixed(load: Load, tmp_path: Path) -> None:
    cases = load("readers.cases")
    mask = np.zeros((2, 3, 5), bool)
    mask[1, 2, 4] = True
    for name in ("one", "two"):
        cases.write_marked(tmp_path / f"{name}.npz", cases.Marked(mask, ~mask, {"model": name}))
    masks = cases.Masks(tmp_path)
    scan = CtVolume(np.zeros((5, 3, 2), np.int16), np.eye(4), Intensity.HU, "s")
    found = masks.of("one", scan)
    assert np.array_equal(found.infection, mask)
    assert np.array_equal(found.lungs, ~mask)
    with pytest.raises(SystemExit, match="two.npz is by {'model': 'two'}, the others by {'model': 'one'}"):
        masks.of("two", scan)


@pytest.mark.slow
def test_volumes_of_phantoms_are_measured(load: Load, tmp_path: Path) -> None:
    cases, validation = load("readers.cases"), load("validation")
    for known in cases.VOLUMES:
        _write_volume(tmp_path / "data", known.folder, known.name)
    model = mid_grey_detector(tmp_path / "tiny.onnx")
    masks = cases.Masks(tmp_path / "kept", model)
    healthy = cases.Healthy("healthy", (_healthy_phantom(),))
    report = validation.measure(tmp_path / "data", masks, [healthy], draws=20)
    masks.close()
    assert len(list((tmp_path / "kept").iterdir())) == 2 * len(cases.VOLUMES) + 1
    for case in report["cases"]:
        here = case["read_by_both"]
        assert here["dice"]["infnet, first"] > 0.8
        assert here["ml"]["second"] < here["ml"]["first"]
        assert (
            here["lesions"]["first's in infnet"]["touched"] == here["lesions"]["first's in infnet"]["number"]
        )
    ratio = report["over_cases"]["all"]["agreement"]["ml"]["second, first"]["ratio"]
    assert ratio["bias"] == pytest.approx(0.5, abs=0.1)
    page = tmp_path / "docs" / "page.md"
    (page.parent / "figures").mkdir(parents=True)
    page.write_text(f"before\n{validation.BEGIN}\nOUTDATED\n{validation.END}\nafter\n")
    validation.write_page(page, json.loads(json.dumps(report, allow_nan=False)))
    text = page.read_text("utf-8")
    assert text.startswith(f"before\n{validation.BEGIN}\n")
    assert text.endswith(f"{validation.END}\nafter\n")
    assert "OUTDATED" not in text
    assert {path.name for path in (page.parent / "figures").iterdir()} == set(validation.FIGURES)


def test_the_page_and_its_figures_are_those_of_the_recorded_run(load: Load, recorded: dict[str, Any]) -> None:
    validation = load("validation")
    page = (ROOT / "docs/validation.md").read_text("utf-8")
    assert validation.with_tables(page, recorded) == page
    for name, draw in validation.FIGURES.items():
        assert draw(recorded) == (ROOT / "docs/figures" / name).read_text("utf-8")
    other = deepcopy(recorded)
    other["cases"][0]["read_by_both"]["ml"]["infnet"] += 1
    assert validation.with_tables(page, other) != page


def test_the_words_of_the_page_have_the_numbers_of_the_run(recorded: dict[str, Any]) -> None:
    page = " ".join((ROOT / "docs/validation.md").read_text("utf-8").split())
    words = page.partition("made by benchmarks/validation.py")[0]
    cases = {case["name"].removeprefix("radiopaedia_"): case for case in recorded["cases"]}
    ml, dice = (cases["4_85506_1"]["read_by_both"][what] for what in ("ml", "dice"))
    both = recorded["over_cases"]["all"]
    apart = both["relative_distance_percent"]
    own_lesions = both["lesions"]["infnet's in first"]["number"]
    false_lesions = both["lesions"]["infnet's in neither"]
    false_share = max(row["false_percent"] for row in recorded["healthy"])
    given = [cases["7_85703_0"]["lungs_given"]["dice"][f"infnet, {name}"] for name in ("first", "second")]
    for said in (
        f"{ml['infnet']:.0f} ml, they {ml['first']:.0f} and {ml['second']:.0f}",
        f"Dice .{100 * dice['infnet, first']:.0f} and .{100 * dice['infnet, second']:.0f} with them",
        f"7_85703_0 .{100 * given[0]:.0f} and .{100 * given[1]:.0f}",
        f"up to {false_share:.1f} % of the lung",
        f"{cases['29_86491_1']['whole']['false_ml_in_them']:.1f} ml in slices of 29_86491_1",
        f"Dice higher by .{100 * both['dice_above_readers']['value']:02.0f} than",
        f"{false_lesions} of its {own_lesions} lesions",
        f"it is {_of(apart['infnet, first'], '(median; largest {:.0f} %)')} from the first and "
        f"{_of(apart['infnet, second'])} from the second, who are {_of(apart['second, first'])}",
        f"marks {both['agreement']['ml']['second, first']['ratio']['bias']:.2f} times the millilitres",
    ):
        assert said in words


def _of(distance: dict[str, float], largest: str = "({:.0f} %)") -> str:
    return f"{distance['median']:.0f} % {largest.format(distance['largest'])}"


@pytest.mark.data
def test_the_readers_are_as_far_apart_as_their_source_says(recorded: dict[str, Any], data_root: Path) -> None:
    """Counted there by another program: voxels of both and their Dice, on the slices that both read."""
    published = json.loads((data_root / "radiopaedia-second-reader/second_reader.json").read_text("utf-8"))
    rows = {f"radiopaedia_{row['volume']}": row for row in published}
    assert {case["name"] for case in recorded["cases"]} == set(rows)
    for case in recorded["cases"]:
        row, here = rows[case["name"]], case["read_by_both"]
        assert case["slices_read_by_both"] == row["slices"]
        assert here["dice"]["second, first"] == pytest.approx(row["dice"], abs=0.0006)
        assert here["ml"]["second"] / here["ml"]["first"] == pytest.approx(
            row["ratio_second_to_first"], abs=0.0006
        )


def _healthy_phantom() -> CtVolume:
    phantom = chest_phantom(infected=False)
    return CtVolume(phantom.hu, phantom.affine, Intensity.HU, "healthy")


def _write_volume(data: Path, folder_name: str, name: str) -> None:
    """A phantom as an 8-bit picture; the second reader marks the front half, and skips the lowest slice."""
    phantom = chest_phantom()
    grey = np.clip((phantom.hu + 1050) / 1300 * 255, 0, 255).astype(np.uint8)
    half = phantom.infection.astype(np.uint8)
    middle = int(np.median(np.nonzero(half)[1]))
    half[:, middle:] = 0
    half[0] = 255
    folder, second = data / folder_name, data / "radiopaedia-second-reader"
    for place in (folder, second):
        place.mkdir(parents=True, exist_ok=True)
    for file, voxels in (
        (folder / f"{name}_ct.nii.gz", grey),
        (folder / f"{name}_infection.nii.gz", phantom.infection.astype(np.uint8)),
        (folder / f"{name}_lung.nii.gz", (phantom.lungs > 0).astype(np.uint8)),
        (second / f"{name}_infection2.nii.gz", half),
    ):
        write_nifti(file, *reorient(voxels, phantom.spacing_mm, "LPS"))
