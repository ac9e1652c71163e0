"""The parts of a packed frame before its codes: whether a decoder may be given it.

Decoders take memory by what a frame itself claims, whatever the DICOM header around it says.
"""

import struct
from collections.abc import Iterator

START_OF_SCAN = 0xDA
_JPEG, _JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"
_TILE = b"\xff\x90"
_SIZE = struct.Struct(">2H8IH3B")  # of one component
_MOST_BITS = 32
# Beginnings of transfer syntaxes: all of the families, and those of JPEG 2000, part 15 included.
_JPEGS = "1.2.840.10008.1.2.4."
_JPEGS_2000 = ("1.2.840.10008.1.2.4.9", "1.2.840.10008.1.2.4.20")
_BOX = b"\0\0\0\x0cjP  "  # of a JPEG 2000 file, which some archives store
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # among the markers of frames
_JPEG_LS, _APP0 = 0xF7, 0xE0


def fault_of(stream: bytes, syntax: str, size: tuple[int, int]) -> str:
    """Why a frame in JPEG, JPEG-LS or JPEG 2000 is not to be given to a decoder; empty where it may be.

    GDCM ends the whole process where the parts of a JPEG do not follow each other, or say what is unknown,
    and where a JPEG 2000 does not begin as one or has an odd header.

    Parameters
    ----------
    syntax
        Transfer syntax UID; all others than those three are left to their decoders.
    size : (rows, columns)
        By the DICOM header.
    """
    if not syntax.startswith(_JPEGS):
        return ""
    if not syntax.startswith(_JPEGS_2000):
        return _fault_of_jpeg(stream, size) if stream.startswith(_JPEG) else "the frame is no JPEG"
    at = stream.find(_JPEG_2000) if stream.startswith(_BOX) else 0
    if at < 0 or not stream.startswith(_JPEG_2000, at):
        return "the frame is no JPEG 2000"
    return _fault_of_jpeg_2000(stream, at + 2, size)


def _fault_of_jpeg_2000(stream: bytes, at: int, size: tuple[int, int]) -> str:
    """Of the size of the picture and the parts up to the first tile (ITU-T T.800, annex A)."""
    if len(stream) < at + 4 + _SIZE.size:
        return "a part of the frame is cut off"
    length, _, right, bottom, left, top, across, down, _, _, *kind = _SIZE.unpack_from(stream, at + 2)
    components, depth, *steps = kind
    grey = (length, components, *steps) == (_SIZE.size, 1, 1, 1) and depth & 0x7F < _MOST_BITS
    if not grey or not across or not down:
        return "the frame has another header than that of one grey picture"
    while not stream.startswith(_TILE, at):
        if at + 4 > len(stream) or stream[at] != 0xFF:
            return "the parts of the frame do not follow each other"
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return _wrong_size((bottom - top, right - left), size)


def _fault_of_jpeg(stream: bytes, size: tuple[int, int]) -> str:
    found, last = None, 0
    for marker, start, end in segments(stream):
        last, part = marker, stream[start:end]
        if len(part) != end - start or end < start:
            return "a part of the frame is cut off"
        is_frame = 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES
        if is_frame or marker == _JPEG_LS:
            if found is not None or len(part) != 9 or part[5] != 1:
                return "the frame has another header than that of one grey picture"
            found = struct.unpack_from(">2H", part, 1)
        elif marker == _APP0 and part.startswith(b"JFIF\0") and part[5:6] != b"\x01":
            return "the frame is of an unknown version of JFIF"
        elif marker == START_OF_SCAN and (not part or part[0] != 1):
            return "the frame has another scan than that of one grey picture"
    if found is None or last != START_OF_SCAN:
        return "the parts of the frame do not follow each other"
    return _wrong_size(found, size)


def _wrong_size(found: tuple[int, ...], size: tuple[int, int]) -> str:
    return "" if found == size else f"a frame is {found}, expected {size} by the header"


def segments(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each part of a JPEG up to the codes."""
    at = 2
    while at + 4 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        yield marker, at + 4, end
        if marker == START_OF_SCAN:
            return
        at = end
