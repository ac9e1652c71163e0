"""Whether the slices of a folder are upright: lungs side by side, as the runtime gives them to the network.

A forgotten ``turn`` costs .10 of Dice and looks like a bad training. Single slices can deceive, where one
lung is small; the median of some does not.
"""

import logging
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from infnet_runtime.arrays import ByteArray
from infnet_runtime.plausible.upright import side_by_side
from infnet_runtime.scan.ct import Intensity
from infnet_train.data.pictures import DataError, Turn, read_grey, upright

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
Lie = Literal["upright", "sideways", "unknown"]

_NOMINAL_MM = (1.0, 1.0, 1.0)  # as the runtime takes for pictures
_LOOKED_AT = 24  # slices of a folder; finding their lungs takes half a second
_LEAST_SLICES = 3
# Of the median over a folder: the 18 upright sets and volumes at hand have .09 to .70, the same turned -.09
# to -.71, and -.46 or less where the slices show the chest and not its ends alone.
_SIDEWAYS, _UPRIGHT = -0.2, 0.05


def lie_of(slices: Iterable[ByteArray]) -> Lie:
    """How the lungs of some slices lie.

    Parameters
    ----------
    slices
        Grey (rows, columns), whole or cut at the lungs.
    """
    if find_spec("cc3d") is None:  # a machine that trains from a pack does without
        return "unknown"
    from infnet_runtime.lungs import find_lungs

    lungs = (find_lungs(grey[None], _NOMINAL_MM, Intensity.WINDOWED)[0] > 0 for grey in slices)
    found = [value for lung in lungs if (value := side_by_side(lung)) is not None]
    if len(found) < _LEAST_SLICES:
        return "unknown"
    median = float(np.median(found))
    return "sideways" if median < _SIDEWAYS else "upright" if median > _UPRIGHT else "unknown"


def some_of(slices: Sequence[_T]) -> list[_T]:
    """A bounded number of slices or their files, evenly spaced."""
    step = max(1, len(slices) // _LOOKED_AT)
    return list(slices[::step][:_LOOKED_AT])


def lie_of_files(paths: Sequence[Path], turn: Turn = "none") -> Lie:
    """How the lungs lie in some of the files, once turned; damaged ones are left out."""
    return lie_of(upright(grey, turn) for path in some_of(paths) if (grey := _grey(path)) is not None)


def warn_if_sideways(lie: Lie, what: str, turn: Turn) -> None:
    """Say that slices seem to be turned by a quarter, and how that is told."""
    if lie == "sideways":
        logger.warning(
            "%s",
            f"{what}: the lungs lie one above the other, not side by side, with turn '{turn}'; "
            f"{advice(turn)}",
        )


def advice(turn: Turn) -> str:
    """What to do about slices that lie sideways."""
    if turn == "none":
        return (
            'the slices seem to be stored turned by a quarter. Give turn = "transpose" in the source, or '
            "--turn transpose (transpose_flip where the spine is then at the top); a model of sideways "
            "slices does not fit the runtime"
        )
    return "they seem to be stored upright already: take the turn away"


def _grey(path: Path) -> ByteArray | None:
    try:
        return read_grey(path)
    except DataError:
        return None
