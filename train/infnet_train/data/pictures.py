"""Pictures of training slices: the slices of a folder, the mask of each, and the pixels if the file is sound.

The layout is that of COVID-SemiSeg: ``Imgs/<name>.jpg`` (or ``.png``), ``GT/<name>.png`` and, where there are
edge maps, ``Edge/<name>.png``. ``images`` with ``masks``, and ``imagesTr`` with ``labelsTr``, are read alike.
Training, evaluation, preparation and the data check read through this module and ``masks``, so that a file is
refused by all of them or by none.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from infnet_runtime.arrays import AnyArray, ByteArray
from infnet_runtime.errors import InputError
from infnet_runtime.io.images import decode_picture

Turn = Literal["none", "transpose", "transpose_flip"]

INFECTED = 128
"""Labels above it are infection, as in the authors' tool."""

LAYOUTS = {"Imgs": "GT", "images": "masks", "imagesTr": "labelsTr"}
"""Names that a folder of slices may have, and of the folder of masks beside it."""

EXPECTED = "Imgs/<name>.jpg and GT/<name>.png, or images/ and masks/ with equal names"
"""The layout, for messages."""

VOLUMES = (".nii", ".nii.gz")
"""Endings of what :mod:`~infnet_train.data.own` makes slices of."""

_ENDINGS = (".jpg", ".jpeg", ".png")
_MASK_ENDINGS = (".png", ".jpg", ".jpeg")
# nnU-Net ends the names of images with the number of their channel.
_CHANNEL = "_0000"


class DataError(InputError):
    """Training data are missing or damaged."""


def pictures_in(folder: Path) -> list[Path]:
    """PNG and JPEG files of a folder by their endings, sorted; none if there is no such folder."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in _ENDINGS)


def image_folder(folder: Path) -> Path:
    """Where the slices of a folder are: ``Imgs``, ``images`` or ``imagesTr``.

    Raises
    ------
    DataError
        If there are two of them.
    """
    found = [folder / name for name in LAYOUTS if (folder / name).is_dir()]
    if len(found) > 1:
        raise DataError(
            f"{folder} has the folders {' and '.join(path.name for path in found)}, expected one folder of "
            "slices; take one of them away",
            code=3148,
        )
    return found[0] if found else folder / next(iter(LAYOUTS))


def mask_folder(folder: Path) -> Path:
    """Where the masks of a folder are, beside :func:`image_folder`."""
    return folder / LAYOUTS[image_folder(folder).name]


def slices_in(folder: Path) -> list[Path]:
    """Slices of a folder, sorted by name.

    Raises
    ------
    DataError
        If there are none, or two of one name, which would share a mask.
    """
    if not folder.is_dir():
        raise DataError(
            f"no slices in {folder}: there is no such folder; expected one with {EXPECTED}", code=3111
        )
    images = pictures_in(image_folder(folder))
    if not images:
        where = image_folder(folder)
        raise DataError(f"no slices in {where}; {instead_of_slices(where)}", code=3111)
    for one, other in same_names(images):
        raise DataError(
            f"{one} and {other.name} have one name and would share a mask; remove one of them", code=3116
        )
    return images


def instead_of_slices(where: Path) -> str:
    """What to do with a folder of slices that has none."""
    if any(path.name.endswith(VOLUMES) for path in where.glob("*")):
        return (
            "it holds NIfTI volumes, expected pictures: infnet-train data prepare makes slices of volumes "
            "(docs/own-data.md)"
        )
    return f"expected {EXPECTED}"


def same_names(paths: list[Path]) -> list[tuple[Path, Path]]:
    """Files that differ from an earlier one by their ending alone, each with that one."""
    first: dict[str, Path] = {}
    return [(first[path.stem], path) for path in paths if first.setdefault(path.stem, path) is not path]


def mask_of(image: Path) -> Path:
    """Where the mask of a slice ``Imgs/<name>.jpg`` is: ``GT/<name>.png`` (or ``.jpg``).

    Raises
    ------
    DataError
        If there is none, or there are two.
    """
    folder = image.parents[1] / LAYOUTS.get(image.parent.name, "GT")
    for name in dict.fromkeys((image.stem, mask_name(image.stem))):
        found = [path for ending in _MASK_ENDINGS if (path := folder / f"{name}{ending}").is_file()]
        if len(found) > 1:
            raise DataError(
                f"{image} has two masks, {found[0]} and {found[1].name}; remove one of them", code=3148
            )
        if found:
            return found[0]
    raise DataError(f"{image} has no mask: expected {folder / image.stem}.png", code=3112)


def mask_name(name: str) -> str:
    """Name of the mask where images end with the number of their channel.

    Examples
    --------
    >>> mask_name("case_7_0000"), mask_name("case_7")
    ('case_7', 'case_7')
    """
    return name.removesuffix(_CHANNEL)


def upright(image: ByteArray, turn: Turn) -> ByteArray:
    """Turn a slice upright: rows front to back, columns from the patient's right to left."""
    if turn == "none":
        return image
    turned = image.T if turn == "transpose" else image.T[::-1]
    return np.ascontiguousarray(turned)


def as_stored(image: ByteArray, turn: Turn) -> ByteArray:
    """Inverse of :func:`upright`."""
    if turn == "none":
        return image
    return np.ascontiguousarray(image.T if turn == "transpose" else image[::-1].T)


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
