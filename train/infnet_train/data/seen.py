"""Which slices a run was trained on: kept beside its weights, so that they are not taken for a test later.

A slice is known by what it looks like, not by its name or its bytes: the same slice from another folder, from
a pack or at another size is the same.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from infnet_runtime.arrays import ByteArray, FloatArray
from infnet_runtime.io.atomic import atomic_write
from infnet_train.data.datasets import LabelledSlices
from infnet_train.data.pictures import DataError, Turn, read_grey, slices_in, upright

logger = logging.getLogger(__name__)

FILE = "trained_on.npy"
_SIDE = 24
# Correlation of two signatures. A slice at network size, at 96 pixels or as coarse JPEG keeps .9998 with
# itself; planes 1 mm apart have .998, the most alike two of the 98 labelled slices of the public set .9989.
_SAME = 0.9995


def signature(grey: ByteArray) -> FloatArray:
    """What a slice (rows, columns) looks like, whatever its size and the ends of its grey scale.

    Returns
    -------
    (576,), mean 0 and length 1; all 0 for a slice of one value
    """
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return np.asarray(small / length if length else small, np.float32)


def write_seen(folder: Path, sources: Iterable[LabelledSlices]) -> None:
    """Keep what the slices of a run look like.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    signatures = [signature(image) for slices in sources for image in slices.images]
    with atomic_write(folder / FILE) as file:
        np.save(file, np.stack(signatures).astype(np.float16), allow_pickle=False)


def seen_among(model: Path, folder: Path, turn: Turn) -> list[str]:
    """Names of the slices of a folder that a model was trained on, as far as its run says.

    Parameters
    ----------
    model
        The folder of a run, or weights in it; nothing is known of other files.

    Raises
    ------
    DataError
        If there are no slices, or one is refused.
    """
    record = (model if model.is_dir() else model.parent) / FILE
    if model.suffix.lower() == ".onnx" or not record.is_file():
        return []
    trained = np.load(record, allow_pickle=False).astype(np.float32)  # (n, 576)
    return [
        path.stem
        for path in slices_in(folder)
        if (trained @ signature(upright(read_grey(path), turn))).max() > _SAME
    ]


def warn_if_seen(model: Path, folder: Path, turn: Turn) -> None:
    """Say that scores on some slices are no test, because the model was trained on them."""
    seen = seen_among(model, folder, turn)
    if seen:
        logger.warning(
            "%s was trained on %d of the slices in %s (%s, ...): scores on them are no test",
            model,
            len(seen),
            folder,
            seen[0],
        )


def refuse_seen(model: Path, folder: Path, turn: Turn) -> None:
    """Refuse slices that a model was trained on.

    Raises
    ------
    DataError
        With their number.
    """
    seen = seen_among(model, folder, turn)
    if seen:
        raise DataError(
            f"{model} was trained on {len(seen)} of the slices in {folder} ({seen[0]}, ...), on which it is "
            "surer than it may be; expected slices of patients that it has not seen, such as those of the "
            "validation",
            code=3154,
        )
