"""One training slice as preparation writes it: upright, in one grey scale, with what is known about it."""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from infnet_runtime.arrays import ByteArray
from infnet_runtime.io.atomic import atomic_write, prepare_folder
from infnet_runtime.io.png import png_bytes
from infnet_runtime.model.specs import NEIGHBOURS, PreprocessSpec
from infnet_train.data.pictures import DataError

logger = logging.getLogger(__name__)

ABOUT = "prepared.json"
"""File beside the folders of slices that says how they were made."""


@dataclass(frozen=True, eq=False)
class PreparedSlice:
    """One upright slice, 8-bit grey as the labelled slices have it, and its infection 0..255.

    Parameters
    ----------
    name
        File name without ending.
    grey, infection : (rows, columns)
    ignore : (rows, columns), 0 or 255
        Pixels that nobody can call infected or not; absent where there are none.
    below, above : (rows, columns)
        The same part of the planes towards the feet and towards the head, at the distance that the set was
        prepared with; absent where they are not known.
    """

    name: str
    grey: ByteArray
    infection: ByteArray
    ignore: ByteArray | None = None
    below: ByteArray | None = None
    above: ByteArray | None = None

    def pictures(self) -> dict[str, ByteArray]:
        """Its pictures by the names of their folders."""
        known = {
            "Imgs": self.grey,
            "GT": self.infection,
            "Ignore": self.ignore,
            "Below": self.below,
            "Above": self.above,
        }
        return {kind: pixels for kind, pixels in known.items() if pixels is not None}


def write_slices(folder: Path, slices: Iterable[PreparedSlice]) -> int:
    """Write ``Imgs/<name>.png``, ``GT/<name>.png`` and what else is known; gives the number of slices.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    count = 0
    for one in slices:
        for kind, pixels in one.pictures().items():
            with atomic_write(prepare_folder(folder / kind) / f"{one.name}.png") as file:
                file.write(png_bytes(pixels))
        count += 1
    logger.info("%s: %d slices", folder.name, count)
    return count


def check_neighbours(root: Path, spec: PreprocessSpec) -> None:
    """Refuse prepared data whose neighbours are not as far away as a training wants.

    Parameters
    ----------
    root
        The data folder.

    Raises
    ------
    DataError
        If ``prepared.json`` says another distance, or is damaged.
    """
    about = root / ABOUT
    if spec.channels != NEIGHBOURS or not about.is_file():
        return
    try:
        step_mm = json.loads(about.read_text("utf-8"))["neighbour_step_mm"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{about} is damaged ({error}); prepare the data again", code=3153) from error
    if step_mm != spec.neighbour_step_mm:
        raise DataError(
            f"{root} was prepared with neighbours at {step_mm} mm, the recipe wants "
            f"{spec.neighbour_step_mm} mm; prepare the data with that --neighbour-step, or change the recipe",
            code=3153,
        )
