"""Flags on how a scan was taken and stored."""

from dataclasses import replace

import numpy as np

from infnet_runtime.plausible.acquisition import acquisition_remarks
from infnet_runtime.scan.acquisition import Acquisition, Gap
from infnet_runtime.scan.ct import CtVolume, Intensity

PLAIN = Acquisition(kernel="B31f", thickness_mm=1.0)


def scan(acquisition: Acquisition | None) -> CtVolume:
    voxels = np.zeros((2, 2, 2), np.int16)
    return CtVolume(voxels, np.diag([-1.0, -1.0, 2.0, 1.0]), Intensity.HU, "scan", acquisition=acquisition)


def test_an_ordinary_scan_has_no_flag() -> None:
    assert acquisition_remarks(scan(None)) == acquisition_remarks(scan(PLAIN)) == ()


def test_missing_slices_are_told_with_their_places() -> None:
    gaps = (Gap(3, 15.0, 2, "1.2"), Gap(9, 10.0, 1, "1.3"))
    (flag,) = acquisition_remarks(scan(replace(PLAIN, gaps=gaps)))
    assert (flag.name, flag.warns) == ("slices_missing", True)
    assert "3 slices are missing (15 mm after slice 4, 10 mm after slice 10" in flag.text
    assert [gap.to_dict()["after_slice"] for gap in gaps] == [4, 10]


def test_a_loss_is_told() -> None:
    (flag,) = acquisition_remarks(scan(replace(PLAIN, is_lossy=True)))
    assert flag.name == "lossy_compressed"
