"""Pictures of training slices: the slices of a folder, the mask of each, and the pixels if the file is sound.

The layout is that of COVID-SemiSeg: ``Imgs/<name>.jpg`` (or ``.png``), ``GT/<name>.png`` and, where there are
edge maps, ``Edge/<name>.png``. Training, evaluation, preparation and the data check read through this module,
so that a file is refused by all of them or by none.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from infnet_runtime.arrays import AnyArray, ByteArray
from infnet_runtime.errors import InputError
from infnet_runtime.io.images import decode_picture
from infnet_runtime.metrics import LabelledSlice

Turn = Literal["none", "transpose", "transpose_flip"]

INFECTED = 128
"""Labels above it are infection, as in the authors' tool."""

_ENDINGS = (".jpg", ".jpeg", ".png")


class DataError(InputError):
    """Training data are missing or damaged."""


def pictures_in(folder: Path) -> list[Path]:
    """PNG and JPEG files of a folder by their endings, sorted; none if there is no such folder."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in _ENDINGS)


def slices_in(folder: Path) -> list[Path]:
    """Slices of a folder with ``Imgs`` and ``GT``, sorted by name.

    Raises
    ------
    DataError
        If there are none, or two of one name, which would share a mask.
    """
    images = pictures_in(folder / "Imgs")
    if not images:
        raise DataError(
            f"no slices in {folder / 'Imgs'}; expected Imgs/<name>.jpg and GT/<name>.png", code=3111
        )
    for one, other in same_names(images):
        raise DataError(
            f"{one} and {other.name} have one name and would share a mask; remove one of them", code=3116
        )
    return images


def same_names(paths: list[Path]) -> list[tuple[Path, Path]]:
    """Files that differ from an earlier one by their ending alone, each with that one."""
    first: dict[str, Path] = {}
    return [(first[path.stem], path) for path in paths if first.setdefault(path.stem, path) is not path]


def mask_of(image: Path) -> Path:
    """Where the mask of a slice ``Imgs/<name>.jpg`` is: ``GT/<name>.png``.

    Raises
    ------
    DataError
        If there is none.
    """
    mask = _beside(image, "GT")
    if not mask.is_file():
        raise DataError(f"{image} has no mask: expected {mask}", code=3112)
    return mask


def read_pair(image: Path, mask: Path | None = None) -> tuple[ByteArray, ByteArray]:
    """Read a slice and its mask.

    Parameters
    ----------
    mask
        The mask in ``GT`` where absent.

    Returns
    -------
    grey and labels (rows, columns), 0..255, as stored

    Raises
    ------
    DataError
        If the mask is missing, the sizes differ, or a file is refused by :func:`read_grey`.
    """
    mask = mask or mask_of(image)
    grey, labels = read_grey(image), read_grey(mask)
    check_size(image, grey, labels)
    return grey, labels


def upright(image: ByteArray, turn: Turn) -> ByteArray:
    """Turn a slice upright: rows front to back, columns from the patient's right to left."""
    if turn == "none":
        return image
    turned = image.T if turn == "transpose" else image.T[::-1]
    return np.ascontiguousarray(turned)


def read_labelled(folder: Path, turn: Turn) -> Iterator[LabelledSlice]:
    """Upright slices with their truth, each at its own size.

    Raises
    ------
    DataError
        If there is no slice, a mask is missing, sizes differ, or a file is refused.
    """
    return (_labelled(path, turn) for path in slices_in(folder))


def _labelled(path: Path, turn: Turn) -> LabelledSlice:
    image, mask = read_pair(path)
    return path.stem, upright(image, turn), upright(mask, turn) > INFECTED


def read_edge(image: Path, mask: ByteArray) -> ByteArray:
    """Read the edge map ``Edge/<name>.png`` of a slice ``Imgs/<name>.jpg``.

    Parameters
    ----------
    mask : (rows, columns)
        Of the slice, as stored.

    Returns
    -------
    (rows, columns), 0..255, as stored

    Raises
    ------
    DataError
        If it is missing, of another size than the mask, or refused by :func:`read_grey`.
    """
    edge = read_beside(image, "Edge", mask)
    if edge is None:
        raise DataError(
            f"{image} has no edge map: expected {_beside(image, 'Edge')}; infnet-train data edges makes them",
            code=3118,
        )
    return edge


def read_beside(image: Path, kind: str, mask: ByteArray) -> ByteArray | None:
    """Another picture of a slice ``Imgs/<name>.jpg``: ``<kind>/<name>.png``, if there is one.

    Parameters
    ----------
    kind
        ``Ignore``, ``Below``, ``Above`` or ``Edge``.
    mask : (rows, columns)
        Of the slice, as stored.

    Returns
    -------
    (rows, columns), 0..255, as stored

    Raises
    ------
    DataError
        If it is of another size than the mask, or refused by :func:`read_grey`.
    """
    path = _beside(image, kind)
    if not path.is_file():
        return None
    pixels = read_grey(path)
    check_size(path, pixels, mask)
    return pixels


def _beside(image: Path, kind: str) -> Path:
    return image.parents[1] / kind / f"{image.stem}.png"


def check_size(path: Path, pixels: AnyArray, mask: AnyArray) -> None:
    """Refuse a picture that has not the size of its mask, or less than two pixels on a side.

    Raises
    ------
    DataError
        With the sizes found.
    """
    if min(pixels.shape[:2]) < 2:
        raise DataError(
            f"{path} is {pixels.shape[:2]}, expected at least two pixels each way for an edge", code=3113
        )
    if pixels.shape[:2] != mask.shape[:2]:
        raise DataError(
            f"{path} is {pixels.shape[:2]}, its mask is {mask.shape[:2]}; expected equal sizes", code=3113
        )


def read_grey(path: Path) -> ByteArray:
    """Read an 8-bit grey picture; colour is accepted where the channels are equal.

    Returns
    -------
    (rows, columns), 0..255, as stored

    Raises
    ------
    DataError
        If the file is missing, damaged, cut off, neither PNG nor JPEG, turned by an EXIF tag, has 16 bits or
        colours.
    """
    return grey_of(read_stored(path), path)


def read_stored(path: Path) -> AnyArray:
    """Read a picture of any depth, grey (rows, columns) or with channels, if its file is whole.

    Raises
    ------
    DataError
        If the file is missing, damaged, cut off, neither PNG nor JPEG, or turned by an EXIF tag.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})", code=3114) from error
    try:
        return decode_picture(content, str(path))
    except InputError as error:
        raise DataError(str(error.args[0]), code=3114) from error


def grey_of(stored: AnyArray, path: Path) -> ByteArray:
    """The grey (rows, columns) of a picture as :func:`read_stored` gives it.

    Raises
    ------
    DataError
        If it has 16 bits or colours; ``path`` is named.
    """
    if stored.dtype != np.uint8:
        raise DataError(
            f"{path} has {8 * stored.dtype.itemsize} bits per pixel, expected 8-bit grey, 0..255; convert it",
            code=3134,
        )
    if is_coloured(stored):
        raise DataError(f"{path} is in colour, expected 8-bit grey, 0..255; convert it", code=3134)
    return np.ascontiguousarray(stored if stored.ndim == 2 else stored[..., 0], np.uint8)


def is_coloured(stored: AnyArray) -> bool:
    """Whether a picture has channels that differ."""
    return stored.ndim == 3 and bool((stored[..., :3] != stored[..., :1]).any())
