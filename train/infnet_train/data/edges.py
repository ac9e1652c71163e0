"""Edges of infection masks, by the two definitions of the released data, and the files that hold them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from infnet_runtime.arrays import BoolArray
from infnet_runtime.io.atomic import atomic_write, prepare_folder
from infnet_runtime.io.png import png_bytes
from infnet_train.data.masks import read_pair
from infnet_train.data.pictures import (
    INFECTED,
    DataError,
    read_edge,
    slices_in,
)

EdgeDefinition = Literal["gradient", "canny"]

# Of the released code; with them all 1600 released edge maps of pseudo-labels come out the same.
_CANNY_THRESHOLDS = (10, 150)


@dataclass(frozen=True)
class WrittenEdges:
    """What :func:`write_edges` did: files written, and files that were there and are the same."""

    folder: Path
    definition: EdgeDefinition
    written: int
    kept: int


def edge_of(mask: BoolArray) -> BoolArray:
    """Edge of a mask: pixels with a nonzero central-difference gradient, a band of two pixels.

    Equals the released edge maps of the 50 labelled slices exactly; the paper says "gradient of the GT".

    Parameters
    ----------
    mask : (rows, columns)
        At least two pixels each way.
    """
    vertical, horizontal = np.gradient(mask.astype(np.float32))
    return np.asarray((vertical != 0) | (horizontal != 0), np.bool_)


def canny_edge_of(mask: BoolArray) -> BoolArray:
    """Edge of a mask by Canny, a line of one pixel.

    Equals the released edge maps of the 1600 pseudo-labels exactly; it is what the released code makes in
    the loop of Algorithm 1.

    Parameters
    ----------
    mask : (rows, columns)
    """
    return np.asarray(cv2.Canny(mask.astype(np.uint8) * 255, *_CANNY_THRESHOLDS) > 0, np.bool_)


_DEFINITIONS: dict[EdgeDefinition, Callable[[BoolArray], BoolArray]] = {
    "gradient": edge_of,
    "canny": canny_edge_of,
}


def edges(mask: BoolArray, definition: EdgeDefinition) -> BoolArray:
    """Edge of a mask by one of the two definitions.

    Parameters
    ----------
    mask : (rows, columns)
        At least two pixels each way.
    definition
        ``gradient`` for the labelled slices and ``canny`` for the pseudo-labels is what was released.
    """
    return _DEFINITIONS[definition](mask)


def write_edges(folder: Path, definition: EdgeDefinition) -> WrittenEdges:
    """Write ``Edge/<name>.png`` for every mask of a folder that has none. Nothing is overwritten.

    Called again after an interruption, it goes on.

    Parameters
    ----------
    folder
        Holds ``Imgs`` and ``GT``; labels above 128 are infection.

    Raises
    ------
    DataError
        If a mask is missing or refused, or an edge map of another definition is there; then nothing is
        written.
    OutputError
        If a file cannot be written.
    """
    target = folder / "Edge"
    absent: list[Path] = []
    images = slices_in(folder)
    for image in images:
        path = target / f"{image.stem}.png"
        _, labels = read_pair(image)
        if not path.is_file():
            absent.append(image)
        elif not np.array_equal(read_edge(image, labels) > INFECTED, edges(labels > INFECTED, definition)):
            raise DataError(
                f"{path} is there and is not the {definition} edge of its mask; remove it, or ask for the "
                "definition that the others have",
                code=3117,
            )
    prepare_folder(target)
    for image in absent:
        edge = edges(read_pair(image)[1] > INFECTED, definition)
        with atomic_write(target / f"{image.stem}.png") as file:
            file.write(png_bytes(np.where(edge, 255, 0).astype(np.uint8)))
    return WrittenEdges(target, definition, len(absent), len(images) - len(absent))
