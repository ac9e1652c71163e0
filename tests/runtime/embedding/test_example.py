"""The example as the page says: built by two commands, its mask that of infnet-infer to the byte."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from embedded import Given
from infnet_runtime.io import open_scan
from infnet_runtime.io.nifti import write_nifti
from infnet_runtime.scan.realistic_chest import realistic_chest

pytestmark = pytest.mark.slow  # a C++ compiler takes its time


def demo(program: Path, volume: Path, out: Path, *options: str | Path) -> str:
    done = subprocess.run(
        [program, volume, "--out", out, *options], capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


def infer(volume: Path, folder: Path, *options: str | Path) -> bytes:
    done = subprocess.run(
        ["infnet-infer", volume, "-o", folder, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (mask,) = folder.glob("*.infection.nii.gz")
    return mask.read_bytes()


def test_mask_is_that_of_infnet_infer(scanner_demo: Path, given: Given, tmp_path: Path) -> None:
    said = demo(scanner_demo, given.volume, tmp_path / "mask.nii.gz", "--model", given.model)
    expected = infer(given.volume, tmp_path / "cli", "--model", given.model)
    assert (tmp_path / "mask.nii.gz").read_bytes() == expected
    assert "all masks equal" in said
    assert " ml, " in said


def test_wrong_use_and_wrong_files_leave_with_their_codes(scanner_demo: Path, tmp_path: Path) -> None:
    done = subprocess.run([scanner_demo], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage:")
    done = subprocess.run([scanner_demo, tmp_path / "no.nii.gz"], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "[INF-3001]" in done.stderr


def test_the_shipped_model(scanner_demo: Path, tmp_path: Path) -> None:
    volume = tmp_path / "chest.nii.gz"
    chest = realistic_chest((11, 153, 198), (24.0, 2.0, 2.0))  # the phantom of --demo, coarser
    write_nifti(volume, chest.hu, chest.affine)
    said = demo(scanner_demo, volume, tmp_path / "mask.nii.gz")
    assert (tmp_path / "mask.nii.gz").read_bytes() == infer(volume, tmp_path / "cli")
    assert "infection" in said


@pytest.mark.data
def test_a_real_scan(scanner_demo: Path, data_root: Path, tmp_path: Path) -> None:
    scan = data_root / "radiopaedia-covid-volumes" / "radiopaedia_4_85506_1_ct.nii.gz"
    whole = open_scan(scan).volume
    volume = tmp_path / "planes.nii.gz"
    write_nifti(volume, whole.voxels[..., 14:24].astype(np.int16), whole.affine)
    demo(scanner_demo, volume, tmp_path / "mask.nii.gz")
    assert (tmp_path / "mask.nii.gz").read_bytes() == infer(volume, tmp_path / "cli")
