"""Pictures of COVID-SemiSeg: where they lie, how they are turned, and in which grey scale."""

from pathlib import Path

import numpy as np

from infnet_runtime.arrays import ByteArray
from infnet_train.data.masks import read_pair
from infnet_train.data.pictures import Turn, read_grey, upright
from infnet_train.data.prepared import PreparedSlice

LABELLED = Path("TrainingSet/LungInfection-Train/Doctor-label")
PSEUDO = Path("TrainingSet/LungInfection-Train/Pseudo-label")
MULTI_CLASS = Path("TrainingSet/MultiClassInfection-Train")
"""The labelled slices again, with masks that tell ground glass from consolidation."""

# Grey levels of each coronacases volume of COVID-SemiSeg that become 0 and 255: lines through the modes of
# healthy lung and soft tissue, which stand at 46 and 214.5 in the labelled slices (docs/contract.md).
_CORONACASES_GREY = {
    "coronacases_org_001": (-5.2, 119.4),
    "coronacases_org_002": (-4.4, 110.1),
    "coronacases_org_003": (-5.1, 106.3),
    "coronacases_org_004": (-9.4, 125.1),
    "coronacases_org_005": (-9.7, 124.0),
    "coronacases_org_006": (-5.0, 108.5),
}


def turn_of(name: str) -> Turn:
    """What turns an unlabelled picture upright."""
    return "transpose_flip" if "coronacases" in name else "transpose"


def regraded(grey: ByteArray, name: str) -> ByteArray:
    """A picture in the grey scale of the labelled slices."""
    for case, (low, high) in _CORONACASES_GREY.items():
        if case in name:
            return np.asarray(np.rint(np.clip((grey - low) / (high - low), 0, 1) * 255), np.uint8)
    return grey


def upright_pair(image: Path, turn: Turn) -> PreparedSlice:
    """A picture and its mask in ``GT``, upright.

    Raises
    ------
    DataError
        If one is missing or refused.
    """
    grey, infection = read_pair(image)
    return PreparedSlice(image.stem, upright(grey, turn), upright(infection, turn))


def unlabelled_picture(semiseg: Path, name: str) -> ByteArray:
    """A picture of the unlabelled part, upright and in the grey scale of the labelled slices.

    Raises
    ------
    DataError
        If it is missing or refused.
    """
    path = semiseg / PSEUDO / "Imgs" / f"{name}.jpg"
    return regraded(upright(read_grey(path), turn_of(name)), name)
