"""The sum of a file is that of hashlib, however its reader goes about."""

import gzip
import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from builders import chest_phantom, write_nifti
from infnet_runtime.io import open_scan
from infnet_runtime.io.digest import opened

CONTENT = bytes(np.random.default_rng(0).integers(0, 256, 1_000_003, np.uint8))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def go_on(file: io.BufferedReader) -> None:
    while file.read(4099):
        pass


def begin_again(file: io.BufferedReader) -> None:
    file.read(700_000)
    file.seek(0)
    file.read(10)
    file.seek(500_000)
    file.read()


def jump(file: io.BufferedReader) -> None:
    assert file.seek(0, io.SEEK_END) == len(CONTENT)
    file.seek(900_000)
    file.read(5)
    file.seek(3)
    file.read(300_000)


def stop_early(file: io.BufferedReader) -> None:
    file.read(2)


@pytest.mark.parametrize("reader", [go_on, begin_again, jump, stop_early])
def test_each_byte_counts_once(tmp_path: Path, reader: Callable[[io.BufferedReader], None]) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    digest = hashlib.sha256()
    with opened(path, digest) as file:
        reader(file)
    assert digest.hexdigest() == sha256(path)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "slow.nii.gz", "slice.png", "slice.jpg"])
def test_a_scan_knows_its_file(tmp_path: Path, name: str) -> None:
    phantom = chest_phantom()
    path = tmp_path / name
    if name.startswith("slice"):
        middle = phantom.hu[len(phantom.hu) // 2].astype(float)
        cv2.imwrite(str(path), np.clip((middle + 1050) / 1300 * 255, 0, 255).astype(np.uint8))
    else:
        write_nifti(path, phantom.hu, phantom.affine)
    if name.startswith("slow"):  # packed twice over: members, as some tools write them
        content = gzip.decompress(path.read_bytes())
        path.write_bytes(b"".join(gzip.compress(content[k : k + 9999]) for k in range(0, len(content), 9999)))
    assert open_scan(path).volume.id.sha256 == sha256(path)
