"""Whether a lossless JPEG holds all of its picture.

The decoder goes on where codes end early or fit no more: it fills with zeros and tells stderr. From the
decoded picture it is known how many bits its codes have; a stream of another length is damaged. Annexes are
those of ITU-T T.81 (https://www.w3.org/Graphics/JPEG/itu-t81.pdf).
"""

import re
from functools import cache

import numpy as np

from infnet_runtime.arrays import AnyArray, ByteArray
from infnet_runtime.io.dicom.codestream import START_OF_SCAN, segments

SYNTAXES = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
_SOF3, _DHT, _DRI = 0xC3, 0xC4, 0xDD
_MARKER = re.compile(rb"\xff+[^\x00\xff]")
_DIFFERENCES = 1 << 16


def is_whole(stream: bytes, pixels: AnyArray) -> bool:
    """Whether the codes of a stream are as long as those of the picture it was decoded to.

    True too for what is not followed here: another process than the lossless one, several components,
    restarts.

    Parameters
    ----------
    stream
        Of one frame.
    pixels : (rows, columns)
        As decoded.
    """
    precision, lengths, predictor, shift, codes = 0, None, 0, 0, b""
    for marker, start, end in segments(stream):
        part = stream[start:end]
        if marker == _DRI and any(part):
            return True
        if marker == _SOF3:
            precision = part[0]
        elif marker == _DHT:
            if len(part) < 17 or len(part) != 17 + sum(part[1:17]):
                return True  # several tables: of several components
            lengths = _lengths(part)
        elif marker == START_OF_SCAN:
            if part[0] != 1:
                return True
            predictor, shift = part[3], part[5] & 0xF
            following = _MARKER.search(stream, end)
            codes = stream[end : following.start() if following else len(stream)]
    if not precision or lengths is None:
        return True
    counts = np.bincount(_categories(pixels, precision, predictor, shift).ravel(), minlength=17)
    if (counts[lengths == 0] > 0).any():
        return False
    bits = int((counts * (lengths.astype(np.int64) + np.arange(17) * (np.arange(17) < 16))).sum())
    expected, found = -(-bits // 8), len(codes.replace(b"\xff\0", b"\xff"))
    return found == expected


def _lengths(table: bytes) -> ByteArray:
    """Length of the code of each category of differences; 0 where it has none (annex C)."""
    lengths = np.zeros(17, np.uint8)
    symbols = iter(table[17:])
    for length, count in enumerate(table[1:17], start=1):
        for _ in range(count):
            symbol = next(symbols)
            if symbol < len(lengths):
                lengths[symbol] = length
    return lengths


def _categories(pixels: AnyArray, precision: int, predictor: int, shift: int) -> ByteArray:
    """Number of bits of each difference to what is predicted (annex H)."""
    x = (pixels.astype(np.int32) & ((1 << precision) - 1)) >> shift
    predicted = np.empty_like(x)
    predicted[0, 0] = 1 << (precision - shift - 1)
    predicted[0, 1:] = x[0, :-1]
    predicted[1:, 0] = x[:-1, 0]
    predicted[1:, 1:] = _predicted(predictor, x[1:, :-1], x[:-1, 1:], x[:-1, :-1])
    categories: ByteArray = _bits_of_differences()[(x - predicted) & (_DIFFERENCES - 1)]
    return categories


def _predicted(predictor: int, left: AnyArray, above: AnyArray, corner: AnyArray) -> AnyArray:
    """What is predicted from three neighbours (table H.1)."""
    guess = left
    match predictor:
        case 2:
            guess = above
        case 3:
            guess = corner
        case 4:
            guess = left + above - corner
        case 5:
            guess = left + ((above - corner) >> 1)
        case 6:
            guess = above + ((left - corner) >> 1)
        case 7:
            guess = (left + above) >> 1
    return guess


@cache
def _bits_of_differences() -> ByteArray:
    """Category of each difference modulo 2**16; that of 32768 is 16."""
    differences = np.arange(_DIFFERENCES)
    sizes = np.minimum(differences, _DIFFERENCES - differences)
    bits: ByteArray = np.ceil(np.log2(sizes + 1)).astype(np.uint8)
    return bits
