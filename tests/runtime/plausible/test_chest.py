"""Scans that show hardly any lung, or one lung that is mostly dense, warn."""

import numpy as np
import numpy.typing as npt
import pytest

from builders import LEFT, RIGHT, chest_phantom
from infnet_runtime.plausible.chest import chest_doubts
from infnet_runtime.plausible.coarse import coarse_chest
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.lung_mask import lung_mask
from infnet_runtime.segment.region import lungs_of

PHANTOM = chest_phantom((40, 72, 96), (6.0, 4.5, 4.0))

Labels = npt.NDArray[np.uint8]


def names(hu: npt.NDArray[np.int16], lungs: Labels) -> list[str]:
    scan = CtVolume(hu, PHANTOM.affine, Intensity.HU, "scan")
    chest = coarse_chest(scan, lung_mask(lungs, scan.grid))
    assert chest
    flags = chest_doubts(chest)
    assert all(flag.warns for flag in flags)
    return [flag.name for flag in flags]


def below(slices: int, added: int) -> tuple[npt.NDArray[np.int16], Labels]:
    """The lowest slices of the chest on top of a body without lung."""
    body = np.repeat(PHANTOM.hu[:1], added, axis=0)
    hu = np.concatenate([body, PHANTOM.hu[:slices]])
    return hu, np.concatenate([np.zeros(body.shape, np.uint8), PHANTOM.lungs[:slices]])


def test_a_whole_chest_and_a_part_of_it_are_chests() -> None:
    assert names(PHANTOM.hu, PHANTOM.lungs) == []
    assert names(PHANTOM.hu[10:20], PHANTOM.lungs[10:20]) == []
    assert names(PHANTOM.hu[:25], PHANTOM.lungs[:25]) == []
    assert names(*below(40, 80)) == []  # chest and abdomen in one scan


@pytest.mark.parametrize(("slices", "added"), [(14, 30), (16, 60), (18, 80)])
def test_an_abdomen_with_the_base_of_the_lungs(slices: int, added: int) -> None:
    hu, lungs = below(slices, added)
    assert "no_chest" in names(hu, lungs)
    assert "no_chest" in names(hu[::-1], lungs[::-1])  # a neck with the apices


@pytest.mark.parametrize("side", [RIGHT, LEFT])
@pytest.mark.parametrize("left_over", [0.15, 0.4])
def test_a_lung_that_is_mostly_dense(side: int, left_over: float) -> None:
    lungs = PHANTOM.lungs.copy()
    # Dense from below: the volume that is left has about this share of the slices.
    other = np.count_nonzero(lungs == RIGHT + LEFT - side)
    for k in range(len(lungs)):
        if np.count_nonzero(lungs == side) <= left_over * other:
            break
        lungs[k][lungs[k] == side] = 0
    assert names(PHANTOM.hu, lungs) == ["lung_far_smaller"]


def test_values_of_lung_without_a_body_are_no_lung() -> None:
    hu = np.random.default_rng(0).integers(-1024, -770, PHANTOM.hu.shape).astype(np.int16)
    lungs, flags = lungs_of(CtVolume(hu, PHANTOM.affine, Intensity.HU, "noise"), None)
    assert not lungs.labels.any()
    assert "no_lung_found" in [flag.name for flag in flags]
