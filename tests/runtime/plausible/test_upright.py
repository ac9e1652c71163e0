"""A picture that lies sideways is said to do so; an upright one, one lung and a scan with a size are not."""

import numpy as np
import pytest

from builders import chest_phantom
from infnet_runtime.plausible.upright import side_by_side, upright_doubts
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.lung_mask import lung_mask

PHANTOM = chest_phantom((20, 96, 128), (12.0, 3.0, 3.0))
MIDDLE = 10
PICTURE = np.array([[0.0, -1.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
Turned = {
    "upright": lambda a: a,
    "mirrored": lambda a: a[:, ::-1],
    "upside down": lambda a: a[::-1],
    "transposed": lambda a: a.T,
    "a quarter to the left": lambda a: np.rot90(a),
    "a quarter to the right": lambda a: np.rot90(a, 3),
}


def flags(labels: np.ndarray, *, has_size: bool = False) -> tuple[str, ...]:
    voxels = np.where(labels > 0, 40, 200).astype(np.uint8)[..., None]
    scan = CtVolume(voxels, PICTURE, Intensity.WINDOWED, "a.png", has_size=has_size)
    found = upright_doubts(scan, lung_mask(np.ascontiguousarray(labels)[..., None], scan.grid))
    assert all(flag.warns for flag in found)
    return tuple(flag.name for flag in found)


@pytest.mark.parametrize("turn", Turned)
def test_a_quarter_is_noticed_however_it_was_turned(turn: str) -> None:
    sideways = turn not in ("upright", "mirrored", "upside down")
    labels = Turned[turn](PHANTOM.lungs[MIDDLE])
    assert flags(labels) == (("lungs_sideways",) if sideways else ())
    assert flags(labels, has_size=True) == ()


@pytest.mark.parametrize("side", [1, 2])
def test_one_lung_alone_says_nothing(side: int) -> None:
    lung = np.where(PHANTOM.lungs[MIDDLE] == side, 1, 0).astype(np.uint8)
    assert flags(lung) == flags(lung.T) == ()


def test_hardly_any_lung_says_nothing() -> None:
    assert side_by_side(np.zeros((50, 60), bool)) is None
    few = np.zeros((50, 60), bool)
    few[20:24, 10:14] = few[30:34, 10:14] = True
    assert side_by_side(few) is None
