"""What an installation brings: the base is short enough to read aloud, DICOM is in an extra of its own."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from builders import chest_phantom, reorient, write_nifti
from tiny_models import classes_detector

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
BASE = {"numpy", "nibabel", "isal", "opencv-python-headless", "connected-components-3d", "typer"}
DICOM = {"pydicom", "highdicom", "python-gdcm", "pyjpegls"}
# Names of what they bring, as they are imported.
DICOM_MODULES = {"pydicom", "highdicom", "gdcm", "_gdcm", "jpeg_ls", "_CharLS", "PIL", "pyjpegls"}


def key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names(lines: list[str]) -> set[str]:
    return {key(Requirement(line).name) for line in lines}


def brought(lines: list[str]) -> set[str]:
    """Distributions that requirements bring on this machine, theirs and so on."""
    found: set[str] = set()
    todo = [(Requirement(line), "") for line in lines]
    while todo:
        wanted, extra = todo.pop()
        if wanted.marker and not wanted.marker.evaluate({"extra": extra}):
            continue
        todo_extras = wanted.extras or {""}
        if key(wanted.name) in found and todo_extras == {""}:
            continue
        found.add(key(wanted.name))
        for further in importlib.metadata.requires(wanted.name) or []:
            todo += [(Requirement(further), name) for name in todo_extras]
    return found


def test_the_base_is_what_it_was() -> None:
    assert names(PROJECT["dependencies"]) == BASE
    assert names(EXTRAS["cpu"]) == {"openvino", "onnxruntime"}


def test_dicom_is_an_extra_of_its_own() -> None:
    assert names(EXTRAS["dicom"]) == DICOM
    assert {key(name) for name, lines in EXTRAS.items() if names(lines) & DICOM} == {"dicom"}
    base = brought([*PROJECT["dependencies"], *EXTRAS["cpu"]])
    assert base > BASE  # the walk goes on from what is named
    assert not base & brought(EXTRAS["dicom"]) & (DICOM | {"pillow"})
    assert {"torch", "onnx", "scipy"}.isdisjoint(base | brought(EXTRAS["dicom"]))


def test_no_reader_of_dicom_is_under_the_gpl() -> None:
    """pylibjpeg-libjpeg, which pylibjpeg offers beside openjpeg, is."""
    for name in brought(EXTRAS["dicom"]):
        told = importlib.metadata.metadata(name)
        licences = [told.get("License-Expression", ""), *told.get_all("Classifier", [])]
        assert not [line for line in licences if re.search(r"\bL?GPL|General Public", line)], name
    assert "pylibjpeg-libjpeg" not in brought(EXTRAS["dicom"])


# As an installation without the extra is seen from inside: a module that is None cannot be imported.
RUN = """
import sys
hidden = {hidden!r}
sys.modules.update(dict.fromkeys(hidden))
sys.argv = ["infnet-infer", *{arguments!r}]
from infnet_runtime.cli.main import main
try:
    main()
except SystemExit as left:
    assert not left.code, left
tried = sorted(name for name in sys.modules if name.split(".")[0] in {modules!r} - hidden)
print("loaded:", tried)
"""


@pytest.mark.slow
@pytest.mark.parametrize("hidden", [set(), DICOM_MODULES], ids=["with the extra", "without it"])
def test_a_scan_that_is_no_dicom_loads_nothing_of_it(hidden: set[str], tmp_path: Path) -> None:
    """Every output that needs no DICOM is written, and no module of the extra is looked at."""
    phantom = chest_phantom()
    scan = write_nifti(tmp_path / "scan.nii.gz", *reorient(phantom.hu, phantom.spacing_mm, "RAS"))
    model = classes_detector(tmp_path / "model.onnx")
    outputs = ["--montage", "--lungs-out", "--probability-out", "--classes"]
    arguments = [str(scan), "--model", str(model), *outputs]
    code = RUN.format(hidden=hidden, modules=DICOM_MODULES, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"
    assert (tmp_path / "scan.infection.nii.gz").exists()


def test_a_loaded_module_would_be_seen() -> None:
    code = RUN.format(hidden=set(), modules={"json"}, arguments=["--version"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'json'" in done.stdout.splitlines()[-1]
