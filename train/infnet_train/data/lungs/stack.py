"""Neighbouring slices with their lung masks, in HU and small enough to keep all of them in memory."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import BoolArray, ByteArray
from infnet_runtime.io.atomic import atomic_write
from infnet_runtime.lungs.contract import LungSpec
from infnet_runtime.scan.sides import LEFT, RIGHT
from infnet_train.data.pictures import DataError

HuArray: TypeAlias = npt.NDArray[np.int16]

LONGEST_SIDE = 320
"""Pixels; twice what the network sees, so that a part of a slice can be looked at more closely."""


@dataclass(frozen=True, eq=False)
class LungStack:
    """Slices of one scan, foot to head where the order is known.

    Parameters
    ----------
    name
        Of the scan.
    kind
        Which data set it came from; a recipe gives each kind its share.
    hu : (slice, row, column)
        8-bit grey is brought to the window of the lung network, so its range ends there.
    sides : (slice, row, column)
        1 the right lung, 2 the left.
    spacing_mm : mm
        Distance of slices, rows and columns; nominal for pictures.
    seen : (slice, 4)
        First and last row and column, exclusive, that the picture of a slice covers.
    is_ordered
        Whether slices are known to run from foot to head.
    """

    name: str
    kind: str
    hu: HuArray
    sides: ByteArray
    spacing_mm: tuple[float, float, float]
    seen: npt.NDArray[np.int64]
    is_ordered: bool

    def __post_init__(self) -> None:
        if self.hu.ndim != 3 or self.hu.shape != self.sides.shape or self.seen.shape != (len(self.hu), 4):
            raise DataError(
                f"{self.name}: slices {self.hu.shape}, masks {self.sides.shape}, boxes {self.seen.shape}; "
                "prepare the lung data again",
                code=3113,
            )


def shrunk(
    name: str,
    kind: str,
    hu: npt.NDArray[np.generic],
    sides: ByteArray,
    spacing_mm: tuple[float, float, float],
    *,
    seen: BoolArray | None = None,
    is_ordered: bool = True,
) -> LungStack:
    """A stack of at most ``LONGEST_SIDE`` pixels.

    Parameters
    ----------
    seen : (slice, row, column)
        What the pictures cover; everything where absent.
    """
    count, rows, columns = hu.shape
    scale = min(1.0, LONGEST_SIDE / max(rows, columns))
    size = (max(8, round(columns * scale)), max(8, round(rows * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = np.empty((count, size[1], size[0]), np.int16)
    labels = np.zeros(small.shape, np.uint8)
    boxes = np.tile(np.array([0, size[1], 0, size[0]], np.int64), (count, 1))
    for k in range(count):
        plane = cv2.resize(np.asarray(hu[k], np.float32), size, interpolation=way)
        small[k] = np.clip(np.rint(plane), -2048, 3071)
        for side in (RIGHT, LEFT):
            share = cv2.resize((sides[k] == side).astype(np.float32), size, interpolation=way)
            labels[k][share >= 0.5] = side
        if seen is not None:
            part = cv2.resize(seen[k].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
            row, column = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
            boxes[k] = row[0], row[-1] + 1, column[0], column[-1] + 1
    step_mm, row_mm, column_mm = spacing_mm
    new_mm = (step_mm, row_mm * rows / size[1], column_mm * columns / size[0])
    return LungStack(name, kind, small, labels, new_mm, boxes, is_ordered)


def grey_to_hu(grey: ByteArray, spec: LungSpec | None = None) -> HuArray:
    """8-bit grey of a lung window, in the HU that the lung network would show in the same grey.

    Examples
    --------
    >>> grey_to_hu(np.array([0, 255], np.uint8))
    array([-1050,   250], dtype=int16)
    """
    low, high = (spec or LungSpec()).window_hu
    return np.asarray(np.rint(grey.astype(np.float32) * ((high - low) / 255) + low), np.int16)


def write_stack(folder: Path, stack: LungStack) -> None:
    """Write ``<name>.npz`` as a whole.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with atomic_write(folder / f"{stack.name}.npz") as file:
        np.savez_compressed(
            file,
            kind=np.array(stack.kind),
            hu=stack.hu,
            sides=stack.sides,
            spacing_mm=np.array(stack.spacing_mm),
            seen=stack.seen,
            is_ordered=np.array(stack.is_ordered),
        )


def read_stacks(folder: Path) -> list[LungStack]:
    """All stacks of a folder, by name.

    Raises
    ------
    DataError
        If there is none, or one is damaged.
    """
    paths: Iterable[Path] = sorted(folder.glob("*.npz")) if folder.is_dir() else ()
    stacks = [_read(path) for path in paths]
    if not stacks:
        raise DataError(f"no .npz in {folder}; make them with infnet-train lungs prepare", code=3111)
    return stacks


def _read(path: Path) -> LungStack:
    try:
        with np.load(path, allow_pickle=False) as file:
            step_mm, row_mm, column_mm = file["spacing_mm"].tolist()
            return LungStack(
                path.stem,
                str(file["kind"]),
                file["hu"],
                file["sides"],
                (step_mm, row_mm, column_mm),
                file["seen"],
                bool(file["is_ordered"]),
            )
    except (OSError, KeyError, ValueError, EOFError) as error:
        raise DataError(f"{path} is damaged ({error}); prepare the lung data again", code=3113) from error
