"""A PNG that is whole, and nothing of it but its picture.

A decoder fills what is missing, tells stderr of it at best, and takes memory by what a header claims. So the
file is held against its specification first (https://www.w3.org/TR/png-3/): parts and their checksums, the
order of the parts, and the length of the pixels when they are unpacked. What is left for the decoder are the
parts that the pixels need.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from infnet_runtime.errors import InputError
from infnet_runtime.io.png import MAGIC, part

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of each colour type
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PALETTE = 3
_TRANSPARENCY_BYTES = {0: (2,), 2: (6,), _PALETTE: range(1, 257)}
_TIFF = (b"II*\0", b"MM\0*")
# First row and column, and steps, of each pass of an interlaced picture.
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_MOST_FILTER = 4
_STEP_BYTES = 1 << 14  # of packed pixels; what they unpack to, 17 MB at most, is all that is in memory


@dataclass
class _Parts:
    """What of a file is kept: header, palette, transparency, EXIF block, packed pixels."""

    kept: dict[bytes, bytes] = field(default_factory=dict)
    pixels: list[bytes] = field(default_factory=list)


def whole_png(content: bytes, source: str, largest_side: int) -> bytes:
    """Check a PNG and leave out what its pixels do not need.

    Parameters
    ----------
    content
        The file.
    source
        Its name for messages.
    largest_side
        The most rows and columns.

    Returns
    -------
    A file of the same pixels; an EXIF block that is one is kept

    Raises
    ------
    InputError
        If the file is damaged, or larger than a picture of a CT is.
    """
    parts = _parts(content, source)
    header = parts.kept.get(b"IHDR", b"")
    columns, rows, depth, colour, packing, filtering, interlaced = struct.unpack(">2I5B", header)
    if not (1 <= rows <= largest_side and 1 <= columns <= largest_side):
        raise InputError(
            f"{source} has {columns} x {rows} pixels; expected at most {largest_side} a side", code=3054
        )
    if depth not in _DEPTHS.get(colour, ()) or (packing, filtering) != (0, 0) or interlaced > 1:
        raise damaged(source, "is damaged: its header is none of a PNG")
    kept = {b"IHDR": header} | _colours(parts.kept, colour, depth, source)
    packed = b"".join(parts.pixels)
    lines = _lines(rows, columns, depth * _CHANNELS[colour], bool(interlaced))
    used = _check_pixels(packed, list(lines), source)
    if parts.kept.get(b"eXIf", b"").startswith(_TIFF):
        kept[b"eXIf"] = parts.kept[b"eXIf"]
    kept |= {b"IDAT": packed[:used], b"IEND": b""}
    return MAGIC + b"".join(part(*item) for item in kept.items())


def damaged(source: str, fault: str) -> InputError:
    """The error of a picture that is not whole."""
    return InputError(f"{source} {fault}; copy or export it again", code=3050)


def _parts(content: bytes, source: str) -> _Parts:
    """Parts of a file whose checksums are right and whose order is that of a PNG."""
    found = _Parts()
    position, before, kind = len(MAGIC), b"", b""
    while kind != b"IEND":
        if position + 12 > len(content):
            raise damaged(source, "ends early")
        length, kind = struct.unpack_from(">I4s", content, position)
        end = position + 12 + length
        if end > len(content):
            raise damaged(source, "ends early")
        if zlib.crc32(content[position + 4 : end - 4]) != struct.unpack_from(">I", content, end - 4)[0]:
            raise damaged(source, f"is damaged: the checksum of its part {kind!r} is wrong")
        inside = content[position + 8 : end - 4]
        if (kind == b"IHDR") != (position == len(MAGIC)) or (kind == b"IHDR" and length != 13):
            raise damaged(source, "is damaged: it does not begin with one header")
        if kind == b"IDAT":
            if found.pixels and before != b"IDAT":
                raise damaged(source, "is damaged: its pixels lie in several places")
            found.pixels.append(inside)
        elif kind in (b"IHDR", b"PLTE", b"tRNS", b"eXIf"):
            if kind in found.kept or (found.pixels and kind != b"eXIf"):
                raise damaged(source, f"is damaged: its part {kind!r} is there twice or too late")
            found.kept[kind] = inside
        elif kind != b"IEND" and not kind[0] & 0x20:  # a capital: not to be passed over
            raise damaged(source, f"is damaged: its part {kind!r} is of no known kind")
        position, before = end, kind
    return found


def _colours(kept: dict[bytes, bytes], colour: int, depth: int, source: str) -> dict[bytes, bytes]:
    """The palette where pixels are its entries, and what is transparent."""
    needed = {}
    if colour == _PALETTE:
        palette = kept.get(b"PLTE", b"")
        if not palette or len(palette) % 3 or len(palette) > 3 << depth:
            raise damaged(source, "is damaged: it has no palette, or one of a wrong length")
        needed[b"PLTE"] = palette
    if b"tRNS" in kept:
        transparency = kept[b"tRNS"]
        is_right = len(transparency) in _TRANSPARENCY_BYTES.get(colour, ())
        if colour == _PALETTE:
            is_right &= len(transparency) <= len(needed[b"PLTE"]) // 3
        else:
            is_right = is_right and all(v < 1 << depth for (v,) in struct.iter_unpack(">H", transparency))
        if not is_right:
            raise damaged(source, "is damaged: its transparency is none of its colours")
        needed[b"tRNS"] = transparency
    return needed


def _lines(rows: int, columns: int, bits: int, interlaced: bool) -> Iterator[tuple[int, int]]:
    """Number and bytes of the lines of each pass, the byte of the filter included."""
    for row, column, row_step, column_step in _PASSES if interlaced else ((0, 0, 1, 1),):
        count, width = -(-(rows - row) // row_step), -(-(columns - column) // column_step)
        if count > 0 and width > 0:
            yield count, 1 + -(-width * bits // 8)


def _check_pixels(packed: bytes, lines: list[tuple[int, int]], source: str) -> int:
    """Unpack the pixels a part at a time and keep none; how many bytes they are packed in."""
    expected = sum(count * length for count, length in lines)
    filters = _filter_places(lines)
    job, done, used, place = zlib.decompressobj(), 0, 0, next(filters)
    while not job.eof and done <= expected:
        step = packed[used : used + _STEP_BYTES]
        if not step:
            raise damaged(source, f"ends early: it has {done} bytes of pixels, expected {expected}")
        try:
            unpacked = job.decompress(step)
        except zlib.error as error:
            raise damaged(source, f"is damaged: its pixels cannot be unpacked ({error})") from error
        while place < done + len(unpacked):
            if unpacked[int(place) - done] > _MOST_FILTER:
                raise damaged(source, "is damaged: a line of its pixels is filtered in no known way")
            place = next(filters)
        done += len(unpacked)
        used += len(step) - len(job.unused_data)
    if done != expected:
        more = "more" if done > expected else "less"
        raise damaged(source, f"is damaged: its pixels are {more} than the {expected} bytes of its header")
    return used


def _filter_places(lines: list[tuple[int, int]]) -> Iterator[float]:
    """Where in the unpacked pixels each line begins, with the number of its filter."""
    start = 0
    for count, length in lines:
        yield from range(start, start + count * length, length)
        start += count * length
    yield math.inf
