"""Every command that the documentation prints is run as printed, on small inputs of the same names.

A training is shortened (one epoch of small pictures), and a command for a GPU has to refuse by name where
there is none; nothing else is changed. What a page tells to write is written. What sets up an environment is
typed by ``test_readme.py``.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from docs_world import (
    ROOT,
    TINY,
    commands,
    dicom_forms,
    files,
    labelled_sets,
    make_world,
    masks_at_hand,
    own_data,
    pages,
    prepared_folder,
    run,
    shortened,
)

PAGES = {str(page.relative_to(ROOT)): commands(page) for page in pages()}
EXPECTED = {
    r"--trt|--rtx": {5, 7},  # no GPU, or the FP16 form before it fails
    # Random weights may or may not stand fewer bits, or mark anything; either way the gate speaks.
    r"--int8|--fp16|judge": {0, 7},
    r"calibrate": {0, 3},  # after one step there may be no temperature that is best
}
# The longest training, run as the first lines of train/README.md.
SAME = "infnet-train data prepare DATA --out data/prepared && infnet-train"
# `just check` runs this test; the others are the parts of it, or measure for minutes.
NOT_RUN = re.compile(r"^just( check| test| quick| bench.*)?$")


def _trained(folder: Path) -> None:
    (folder / "runs/default/finetune").mkdir(parents=True)
    (folder / "runs/default/finetune/weights.safetensors").hardlink_to(folder / "weights.safetensors")
    (folder / "data/prepared").mkdir(parents=True)
    (folder / "data/prepared/labelled").symlink_to("../../VALIDATION_FOLDER")


def _start(folder: Path) -> None:
    (folder / "start.safetensors").hardlink_to(folder / "weights.safetensors")


def _model(folder: Path) -> None:
    (made,) = (folder / "out").glob("*[!8].onnx")
    shutil.copy2(made, folder / "exported.onnx")
    _exported_model(folder)


def _exported_model(folder: Path) -> None:
    shutil.copy2(folder / "exported.onnx", folder / "model.onnx")


def _tiny_model(folder: Path) -> None:
    """In the place of a random Inf-Net, of which every part costs too much in 8 bit, as minutes show."""
    shutil.copy2(folder / TINY, folder / "model.onnx")


# What a page takes for granted before its commands.
BEFORE: dict[str, Callable[[Path], None]] = {
    "export/README.md": _trained,
    "train/README.md": _start,
    "docs/own-data.md": own_data,
    "docs/quantification.md": masks_at_hand,
    "docs/reading-dicom.md": dicom_forms,
    "docs/slice-gate.md": labelled_sets,
}
# And before one of its commands. With the tiny model go those that follow.
BEFORE_LINE: dict[str, Callable[[Path], None]] = {
    "infnet-export model.onnx -o out --int8 --calibration TRAINING_SLICES": _tiny_model,
    "infnet-export weights model.onnx -o start.safetensors --slices data/prepared/labelled": _exported_model,
}
# And between two of its commands.
AFTER: dict[str, Callable[[Path], None]] = {
    "infnet-train data prepare DATA --out data/prepared": lambda folder: prepared_folder(
        folder / "data/prepared"
    ),
    "infnet-export runs/default/finetune/weights.safetensors -o out": _model,
}


def _forget_states(runs: Path) -> None:
    """What only a resume needs: half a gigabyte for each stage of a recipe."""
    for state in runs.glob("**/last.safetensors"):
        state.unlink()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_world(folder)
    return folder


def test_commands_are_found() -> None:
    assert sum(map(len, PAGES.values())) > 25
    assert {"infnet-infer scan.nii.gz", SAME} <= set(PAGES["README.md"])
    prepare, train = SAME.split(" && ")
    assert PAGES["train/README.md"][:2] == [prepare, f"{train} --precision bf16"]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page, lines in PAGES.items() if lines])
def test_the_commands_of_a_page(page: str, world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "world"
    shutil.copytree(world, folder, symlinks=True)
    for name in ("benchmarks", "models"):
        (folder / name).symlink_to(ROOT / name)
    if page in BEFORE:
        BEFORE[page](folder)
    for name, text in files(ROOT / page).items():
        (folder / name).write_text(text, "utf-8")
    for line in PAGES[page]:
        if line == SAME or NOT_RUN.match(line):
            continue
        if line in BEFORE_LINE:
            BEFORE_LINE[line](folder)
        done = run(" && ".join(shortened(part, folder) for part in line.split(" && ")), folder)
        expected = next((codes for pattern, codes in EXPECTED.items() if re.search(pattern, line)), {0})
        assert done.returncode in expected, f"{line}\n{done.stdout}\n{done.stderr}"
        if done.returncode == 0 and line in AFTER:
            AFTER[line](folder)
        _forget_states(folder / "runs")
