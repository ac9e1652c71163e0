"""A single axial slice as PNG or JPEG: read for a look at it, not for a volume.

A picture has no voxel size and no sides of its own. It is taken as a slice in radiological display, the
patient's right at the left edge and the front at the top, with a spacing of 1 mm that means nothing.
"""

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from infnet_runtime.arrays import AnyArray, ByteArray
from infnet_runtime.errors import InputError, OutputError
from infnet_runtime.io.atomic import atomic_write
from infnet_runtime.io.mask_bytes import LabelNames, mask_bytes, probability_map
from infnet_runtime.io.png import MAGIC, palette_png, png_bytes
from infnet_runtime.io.whole_png import damaged, whole_png
from infnet_runtime.plausible.intensity import decide_intensity
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.ids import ScanId

_JPEG_MAGIC = b"\xff\xd8"
# The name of an EXIF block, and the first bytes of the TIFF header in it: no orientation without them.
_EXIF_MARKS = (b"Exif", b"eXIf", b"exif", b"II*\0", b"MM\0*")
CLASS_COLOURS = ((0, 0, 0), (255, 200, 40), (255, 40, 40))
"""Red, green and blue of nothing, ground glass and consolidation, here and in pictures of results."""

# Four times the side of the largest CT matrix, 2048.
_LARGEST_SIDE = 8192
# Stored axes of a picture are rows (to the back), columns (to the left) and one slice, in RAS+ world.
_UPRIGHT_AXIAL = np.array(
    [[0.0, -1.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)


@dataclass(frozen=True, eq=False)
class ImageScan:
    """One slice from a picture; millilitres cannot be derived from it."""

    volume: CtVolume
    mask_suffix: ClassVar[str] = ".png"

    def write_mask(self, path: Path, mask: AnyArray) -> None:
        """Write a mask as a PNG of the size of the picture, 0 and 255.

        Parameters
        ----------
        path
            Ends with ``.png``.
        mask : (rows, columns, 1)
            Everything but 0 is written as 255.

        Raises
        ------
        OutputError
            If the mask does not fit the picture or cannot be written.
        """
        _check_name(path)
        picture = np.where(mask_bytes(mask, self.volume)[..., 0] > 0, 255, 0).astype(np.uint8)
        with atomic_write(path) as file:
            file.write(png_bytes(picture))

    def write_classes(self, path: Path, classes: AnyArray, names: LabelNames) -> None:
        """Write a label map as a PNG with a palette: its pixels are the labels, and it is seen in colour.

        Parameters
        ----------
        path
            Ends with ``.png``.
        classes : (rows, columns, 1)
        names
            Value to name and code; written into the file as JSON, under ``labels``.

        Raises
        ------
        OutputError
            As of :meth:`write_mask`.
        """
        _check_name(path)
        labels = mask_bytes(classes, self.volume)[..., 0]
        text = json.dumps({"labels": names}, sort_keys=True)
        with atomic_write(path) as file:
            file.write(palette_png(labels, CLASS_COLOURS, labels=text))

    def write_probability(self, path: Path, probability: AnyArray) -> None:
        """Write probabilities as a grey PNG of the size of the picture, 0 to 255.

        Parameters
        ----------
        path
            Ends with ``.png``.
        probability : (rows, columns, 1), float16

        Raises
        ------
        OutputError
            If they do not fit the picture or cannot be written.
        """
        values = probability_map(probability, self.volume)[..., 0].astype(np.float32)
        with atomic_write(path) as file:
            file.write(png_bytes(np.rint(255 * values).astype(np.uint8)))


def _check_name(path: Path) -> None:
    if path.suffix != ".png":
        raise OutputError(f"cannot write {path}: the mask of a picture is a .png; rename it", code=8008)


def read_image(path: Path, *, intensity: Intensity | None = None) -> ImageScan:
    """Read one axial slice.

    Parameters
    ----------
    path
        An 8-bit grey PNG or JPEG; colour is accepted where the channels are equal.
    intensity
        Absent or ``windowed``; a picture cannot hold HU.

    Raises
    ------
    InputError
        If the file is damaged, coloured, 16-bit, turned by an EXIF tag, or no picture of a CT.
    """
    source = path.name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", code=3005) from error
    grey = _grey(decode_picture(content, source), source)
    voxels = grey[..., np.newaxis]
    meaning = decide_intensity(voxels, source=source, forced=intensity)
    identity = ScanId(source, hashlib.sha256(content).hexdigest())
    return ImageScan(CtVolume(voxels, _UPRIGHT_AXIAL.copy(), meaning, identity, has_size=False))


def decode_picture(content: bytes, source: str) -> AnyArray:
    """Pixels of a PNG or JPEG that is whole.

    A decoder fills what is missing with grey, so the end of the file and the checksums are looked at first.

    Parameters
    ----------
    content
        The file.
    source
        Its name for messages.

    Returns
    -------
    (rows, columns) or (rows, columns, channels) as stored, 8 or 16 bits, colours in the order of OpenCV

    Raises
    ------
    InputError
        If the file is damaged, neither PNG nor JPEG, absurdly large, or turned by an EXIF tag.
    """
    from infnet_runtime.opencv import cv2

    buffer = np.frombuffer(_whole(content, source), np.uint8)
    try:
        stored = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
        # Two more pictures only where there may be a tag to differ by.
        turned = any(mark in content for mark in _EXIF_MARKS) and _is_turned(buffer)
    except cv2.error as error:
        raise damaged(source, "cannot be decoded") from error
    if stored is None:
        raise damaged(source, "cannot be decoded")
    if turned:
        raise InputError(
            f"{source} is turned or mirrored by an EXIF orientation tag; a mask would not fit what is "
            "displayed. Save the picture again without the tag",
            code=3053,
        )
    return np.asarray(stored)


def _is_turned(content: ByteArray) -> bool:
    """Whether a viewer shows the picture in another way than it is stored."""
    from infnet_runtime.opencv import cv2

    upright = cv2.imdecode(content, cv2.IMREAD_COLOR)
    unturned = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return not np.array_equal(np.asarray(upright), np.asarray(unturned))


def _grey(stored: AnyArray, source: str) -> ByteArray:
    if stored.dtype != np.uint8:
        raise InputError(
            f"{source} has 16 bits per pixel, whose window is not known; export an 8-bit picture in the lung "
            "window, or give the scan as NIfTI",
            code=3052,
        )
    if stored.ndim == 2:
        return stored
    if stored.shape[2] == 4 and (stored[..., 3] != 255).any():
        raise InputError(f"{source} is partly transparent; save it as a grey picture", code=3051)
    if (stored[..., 0] != stored[..., 1]).any() or (stored[..., 0] != stored[..., 2]).any():
        raise InputError(
            f"{source} is in colour; expected a grey slice without drawings or colour map. Export the CT "
            "again",
            code=3051,
        )
    return np.ascontiguousarray(stored[..., 0])


def _whole(content: bytes, source: str) -> bytes:
    """Refuse what a decoder would fill up with grey, and sizes no CT has; what is left is to be decoded."""
    if not content:
        raise damaged(source, "is empty")
    if content.startswith(MAGIC):
        return whole_png(content, source, _LARGEST_SIDE)
    if not content.startswith(_JPEG_MAGIC):
        raise InputError(f"{source} is neither PNG nor JPEG (it begins with {content[:4]!r})", code=3050)
    height, width = _check_jpeg(content, source)
    if not (1 <= height <= _LARGEST_SIDE and 1 <= width <= _LARGEST_SIDE):
        raise InputError(
            f"{source} has {width} x {height} pixels; expected at most {_LARGEST_SIDE} a side", code=3054
        )
    return content


def _check_jpeg(content: bytes, source: str) -> tuple[int, int]:
    if not content.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise damaged(source, "ends early")
    position = 2
    while position + 9 <= len(content) and content[position] == 0xFF:
        marker, length = content[position + 1], int.from_bytes(content[position + 2 : position + 4], "big")
        if marker == 0xFF:  # fill byte
            position += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width = struct.unpack_from(">2H", content, position + 5)
            return height, width
        else:
            position += 2 + length
    raise damaged(source, "is damaged: it has no frame")
