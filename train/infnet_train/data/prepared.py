"""One training slice as preparation writes it: upright, in one grey scale, with what is known about it."""

import json
import logging
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infnet_runtime.arrays import ByteArray
from infnet_runtime.errors import OutputError
from infnet_runtime.io.atomic import atomic_write, prepare_folder
from infnet_runtime.io.png import png_bytes
from infnet_runtime.model.specs import NEIGHBOURS, PreprocessSpec
from infnet_runtime.version import __version__
from infnet_train.data.classes import FOLDER
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
    classes : (rows, columns)
        Numbers as in :mod:`~infnet_train.data.classes`; absent where the set has none.
    """

    name: str
    grey: ByteArray
    infection: ByteArray
    ignore: ByteArray | None = None
    below: ByteArray | None = None
    above: ByteArray | None = None
    classes: ByteArray | None = None

    def pictures(self) -> dict[str, ByteArray]:
        """Its pictures by the names of their folders."""
        known = {
            "Imgs": self.grey,
            "GT": self.infection,
            "Ignore": self.ignore,
            "Below": self.below,
            "Above": self.above,
            FOLDER: self.classes,
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


def write_folders(
    makers: Mapping[str, Callable[[], Iterator[PreparedSlice]]],
    out: Path,
    *,
    source: Path,
    about: dict[str, object],
) -> dict[str, int]:
    """Write a folder of slices for each maker, and ``prepared.json``: all of them, or none.

    Parameters
    ----------
    source
        Where the slices come from, for messages.
    about
        What ``prepared.json`` says besides the version and the numbers of slices.

    Returns
    -------
    slices written in each folder

    Raises
    ------
    InfnetError
        If a folder is there already, gets no slice, or cannot be written.
    """
    _refuse_existing([out / name for name in makers])
    part = prepare_folder(out) / f".infnet-{secrets.token_hex(8)}.part"
    try:
        counts = {name: write_slices(part / name, maker()) for name, maker in makers.items()}
        empty = [name for name, count in counts.items() if not count]
        if empty:
            raise DataError(
                f"no slices for {', '.join(empty)} in {source}; complete the set, or take its folder away",
                code=3111,
            )
        _refuse_existing([out / name for name in makers])
        for name in makers:
            _rename(part / name, out / name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    with atomic_write(out / ABOUT) as file:
        file.write(json.dumps({"infnet": __version__, **about, "slices": counts}, indent=2).encode())
    return counts


def _refuse_existing(folders: list[Path]) -> None:
    taken = [str(folder) for folder in folders if folder.exists()]
    if taken:
        raise DataError(f"{', '.join(taken)} exist already; give another --out or remove them", code=3115)


def _rename(part: Path, folder: Path) -> None:
    try:
        part.rename(folder)
    except OSError as error:
        raise OutputError(
            f"cannot give {folder} its name: {error.strerror or error}; choose another --out", code=8007
        ) from error


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
