"""What an evaluation says of each case: a row of scores, and the probability as a picture."""

import csv
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from infnet_runtime.arrays import FloatArray
from infnet_runtime.io.atomic import atomic_write, prepare_folder, refuse_existing
from infnet_runtime.io.png import png_bytes
from infnet_runtime.metrics import TABLE_COLUMNS, SliceScores
from infnet_train.data.pictures import Turn, as_stored

_RATIOS = ("dice", "iou", "sensitivity", "precision", "specificity", "mae")
COLUMNS = ("case", "pixels", "truth_pixels", "found_pixels", *_RATIOS, *(f"paper_{n}" for n in TABLE_COLUMNS))
"""Of :func:`case_rows`; ``train/README.md`` explains them."""


def case_rows(scores: SliceScores) -> str:
    """The scores of each case as CSV: by the clinical protocol, and by the paper's. Empty: no value."""
    assert scores.paper
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for case, image in zip(scores.clinical.volumes, scores.images, strict=True):
        counts, paper = case.counts, image.to_dict()
        writer.writerow(
            [
                case.name,
                counts.pixels,
                counts.true_positive + counts.false_negative,
                counts.true_positive + counts.false_positive,
                *(_rounded(getattr(case, name)) for name in _RATIOS),
                *(_rounded(paper[name]) for name in TABLE_COLUMNS),
            ]
        )
    return text.getvalue()


def write_case_rows(path: Path, scores: SliceScores) -> None:
    """Write :func:`case_rows` as a file.

    Raises
    ------
    OutputError
        If it is there already or cannot be written.
    """
    refuse_existing(path)
    with atomic_write(path) as file:
        file.write(case_rows(scores).encode())


@contextmanager
def maps_folder(folder: Path | None, turn: Turn) -> Iterator[Callable[[str, FloatArray], None]]:
    """Take the probability of each case and write ``NAME.png``, 0 to 255, turned as its slice is stored.

    The folder has its name when all of them are in it.

    Parameters
    ----------
    folder
        None writes nothing.

    Raises
    ------
    OutputError
        If the folder is there already or cannot be written to.
    """
    if folder is None:
        yield lambda _name, _found: None
        return
    refuse_existing(folder)
    parent = prepare_folder(folder.absolute().parent)
    part = Path(tempfile.mkdtemp(prefix=".infnet-", suffix=".part", dir=parent))
    part.chmod(0o777 & ~_umask())

    def write(name: str, found: FloatArray) -> None:
        picture = np.rint(np.asarray(found, np.float64) * 255).astype(np.uint8)
        with atomic_write(part / f"{name}.png") as file:
            file.write(png_bytes(as_stored(picture, turn)))

    try:
        yield write
        refuse_existing(folder)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
