"""A C++ host over infnet.hpp: what works, every refusal, callbacks, cancelling, beginnings and ends."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import infnet_runtime
from embedded import Given
from infnet_runtime.io import open_scan

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow  # a C++ compiler takes its time


def names(file: str, start: str, end: str) -> list[str]:
    """The cases that a C++ file lists, so that each is a test here."""
    text = (HERE / file).read_text("utf-8").partition(start)[2].partition(end)[0]
    words = text.replace("{", "(").replace("}", ")").split("(")
    return [word.partition(")")[0].partition(",")[0].strip('" ') for word in words[1:]]


CASES = [*names("host.cpp", "} cases[] = {", "};"), "process_is_as_it_was"]
LIVES = names("lives.hpp", "> cases{", "};")


@dataclass(frozen=True)
class Ran:
    lines: dict[str, str]
    stderr: str
    code: int
    folder: Path


@pytest.fixture(scope="module")
def ran(host: Path, given: Given, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("host")
    # A host in another country, started by a script with Python variables of its own.
    environment = os.environ | {"LC_ALL": "C", "PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere"}
    done = subprocess.run(
        [host, given.model, given.volume, folder],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    words = (line.split(maxsplit=2) for line in done.stdout.splitlines())
    return Ran(
        {w[1].rstrip(":"): " ".join((w[0], *w[2:])) for w in words}, done.stderr, done.returncode, folder
    )


def test_all_cases_are_known() -> None:
    assert len(CASES) > 30
    assert len(LIVES) == 9
    assert "cancel_half_way" in CASES
    assert "outlive" in LIVES


@pytest.mark.parametrize("case", CASES)
def test_host(case: str, ran: Ran) -> None:
    assert ran.lines.get(case) == "ok"


def test_nothing_else_is_said(ran: Ran) -> None:
    assert ran.code == 0
    assert ran.stderr == ""
    assert set(ran.lines) == set(CASES)


def test_the_result_is_that_of_python(ran: Ran, given: Given) -> None:
    scan = open_scan(given.volume)
    with infnet_runtime.load(given.model, device="cpu", threads=1, lungs_by="threshold") as model:
        result = model.predict_buffer(np.ascontiguousarray(scan.volume.voxels), scan.volume.grid)
    mask = np.fromfile(ran.folder / "mask.bin", np.uint8).reshape(scan.volume.voxels.shape)
    assert np.array_equal(mask, result.mask)
    report = json.loads((ran.folder / "result.json").read_text())
    assert report["quantification"] == json.loads(json.dumps(result.quantification.to_dict()))
    assert result.quantification.both
    infection_ml = float.fromhex((ran.folder / "infection_ml.txt").read_text())
    assert infection_ml == result.quantification.both.infection_ml


def test_the_mask_file_is_that_of_python(ran: Ran, given: Given, tmp_path: Path) -> None:
    scan = open_scan(given.volume)
    mask = np.fromfile(ran.folder / "mask.bin", np.uint8).reshape(scan.volume.voxels.shape)
    scan.write_mask(tmp_path / "mask.nii.gz", mask)
    assert (tmp_path / "mask.nii.gz").read_bytes() == (ran.folder / "mask.nii.gz").read_bytes()


@pytest.mark.parametrize("case", LIVES)
def test_life(case: str, host: Path, given: Given) -> None:
    done = subprocess.run(
        [host, "--life", case, given.model, given.volume],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr, done.returncode) == (["ok", case], "", 0)
