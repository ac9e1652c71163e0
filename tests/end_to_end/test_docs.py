"""The commands of the pages in docs, run in order as printed, on phantom data.

A block after ``<!-- run -->`` is run; keys after ``run:`` shorten a training by ``--set``. A block after
``<!-- file: NAME -->`` is written to that file first.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from builders import chest_phantom, reorient, write_nifti
from train_slices import write_picture, write_slice

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"<!-- (run|file)(?:: ([^\n]*?))? -->\n```\w*\n(.*?)\n```", re.S)
_RUNNABLE = re.compile(r"^infnet-\w+ .*$", re.M)


def own_data(folder: Path) -> None:
    """Two slices of each of five patients, and one volume."""
    for patient in range(5):
        for number in (1, 2):
            write_slice(folder / "small", f"p{patient}_{number:03d}", seed=10 * patient + number)
    for kind, name in (("Imgs", "images"), ("GT", "masks")):
        for path in (folder / "small" / kind).iterdir():
            small = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            large = cv2.resize(small, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
            write_picture(folder / "mine" / name / path.name, large if kind == "Imgs" else large // 255)
    chest = chest_phantom()
    write_nifti(folder / "p77.nii.gz", *reorient(chest.hu, chest.spacing_mm, "LPS"))
    mask = chest.infection.astype(np.uint8)
    write_nifti(folder / "p77_infection.nii.gz", *reorient(mask, chest.spacing_mm, "RAS"))


PAGES: dict[str, Callable[[Path], None]] = {"own-data.md": own_data}


def shortened(command: str, keys: str) -> str:
    settings = " ".join(f"--set {shlex.quote(key)}" for key in keys.split())
    return f"{command} {settings}" if settings else command


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page(page: str, tmp_path: Path) -> None:
    PAGES[page](tmp_path)
    scripts = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    for kind, argument, text in _BLOCK.findall((ROOT / "docs" / page).read_text("utf-8")):
        if kind == "file":
            (tmp_path / argument).write_text(text + "\n", "utf-8")
            continue
        for command in text.splitlines():
            done = subprocess.run(
                ["bash", "-c", shortened(command, argument)],
                cwd=tmp_path, env=environment, capture_output=True, text=True,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES)
def test_no_command_of_a_page_is_left_out(page: str) -> None:
    text = (ROOT / "docs" / page).read_text("utf-8")
    run = "\n".join(block for kind, _, block in _BLOCK.findall(text) if kind == "run")
    commands = [
        line for block in re.findall(r"```\w*\n(.*?)\n```", text, re.S) for line in _RUNNABLE.findall(block)
    ]
    assert commands
    assert [line for line in commands if line not in run] == []
