"""The parts of a packed frame, as far as they say how large its picture is.

Decoders take memory by what a frame itself claims, whatever the DICOM header around it says.
"""

import struct
from collections.abc import Iterator

START_OF_SCAN = 0xDA
_JPEG, _JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"
_BOX = b"\0\0\0\x0cjP  "  # of a JPEG 2000 file, which some archives store
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # among the markers of frames
_JPEG_LS = 0xF7


def size_of(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns that a frame in JPEG, JPEG-LS or JPEG 2000 claims; None where it is none of them."""
    if stream.startswith(_JPEG):
        for marker, start, end in segments(stream):
            is_frame = 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES
            if (is_frame or marker == _JPEG_LS) and end - start >= 5 and start + 5 <= len(stream):
                rows, columns = struct.unpack_from(">2H", stream, start + 1)
                return rows, columns
        return 0, 0
    at = stream.find(_JPEG_2000) if stream.startswith(_BOX) else 0
    if at >= 0 and stream.startswith(_JPEG_2000, at) and len(stream) >= at + 24:
        right, bottom, left, top = struct.unpack_from(">4I", stream, at + 8)
        return bottom - top, right - left
    return None


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
