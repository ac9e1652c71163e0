"""Pixels of a file, decoded into the planes of a volume, as they are stored.

Photometric Interpretation is about display: MONOCHROME1 is not inverted.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from infnet_runtime.arrays import AnyArray, BoolArray
from infnet_runtime.errors import InputError
from infnet_runtime.io.dicom import jpeg_lossless
from infnet_runtime.io.dicom.codestream import fault_of
from infnet_runtime.io.dicom.headers import Image, Stored
from infnet_runtime.io.dicom.library import pydicom

_NATIVE = {"", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}
_JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
_UNDEFINED = 0xFFFFFFFF
_AIR_HU, _MOST_HU = -1024.0, 3071.0
_PIXEL_TAGS = (  # noqa: SIM905 - fourteen words
    "SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns BitsAllocated "
    "BitsStored HighBit PixelRepresentation PixelData ExtendedOffsetTable ExtendedOffsetTableLengths"
).split()


def pixel_type(image: Image, source: str) -> np.dtype[Any]:
    """Type of the stored numbers.

    Raises
    ------
    InputError
        If they are of a kind that is not read.
    """
    stored = image.stored
    bits, used = stored.bits_allocated, stored.bits_stored
    if bits not in (8, 16, 32) or used is None or not 0 < used <= bits:
        raise _refusal(
            image,
            source,
            f"BitsAllocated {bits} and BitsStored {used}",
            "8, 16 or 32 bits, and not more stored",
        )
    if stored.high_bit not in (None, used - 1):
        raise _refusal(
            image, source, f"HighBit {stored.high_bit} with BitsStored {used}", f"HighBit {used - 1}"
        )
    if stored.photometric not in ("MONOCHROME1", "MONOCHROME2", ""):
        raise _refusal(image, source, f"PhotometricInterpretation {stored.photometric}", "MONOCHROME2")
    if bits == 8 and not stored.little:
        raise _refusal(image, source, "8 bits in big endian, whose bytes may be in pairs", "little endian")
    if not stored.rows or not stored.columns:
        raise _refusal(
            image, source, f"Rows {stored.rows} and Columns {stored.columns}", "the size of a picture"
        )
    return np.dtype(f"{'i' if stored.signed else 'u'}{bits // 8}")


def _refusal(image: Image, source: str, found: str, expected: str) -> InputError:
    return InputError(
        f"{source}: {image.name} has {found}, expected {expected}; export the series again as CT Image",
        code=3265,
    )


def decode(image: Image, plane_of: Callable[[int], AnyArray | None], source: str) -> bytes:
    """Decode all frames of a file.

    Parameters
    ----------
    plane_of
        Gives the plane (rows, columns) that a frame fills, the first being 0; None for one that is left out.

    Returns
    -------
    SHA-256 of the bytes of the file

    Raises
    ------
    InputError
        If the file ends early, or its pixels cannot be decoded.
    """
    with image.file.open() as stream:
        if image.stored.syntax in _NATIVE:
            return _native(image, stream, plane_of, source)
        raw = stream.read()
    for number, frame in enumerate(_encapsulated(image, raw, source)):
        plane = plane_of(number)
        if plane is not None:
            _fill(plane, frame, image, number, source)
    return hashlib.sha256(raw).digest()


def _native(image: Image, stream: BinaryIO, plane_of: Callable[[int], AnyArray | None], source: str) -> bytes:
    stored, digest = image.stored, hashlib.sha256()
    order = "little" if stored.little else "big"
    head = stream.read(stored.offset + (12 if stored.explicit else 8))
    digest.update(head)
    length = int.from_bytes(head[-4:], order)  # type: ignore[arg-type]  # one of the two words
    kind = pixel_type(image, source).newbyteorder("<" if stored.little else ">")
    count = (stored.rows or 0) * (stored.columns or 0)
    size, frames = count * kind.itemsize, len(image.frames)
    if length == _UNDEFINED or not size * frames <= length < size * frames + max(
        2, size // (stored.rows or 1)
    ):
        raise InputError(
            f"{source}: {image.name} announces {length} bytes of pixels, expected {size * frames} of "
            f"{frames} x {stored.rows} x {stored.columns}; export the series again",
            code=3266,
        )
    for number in range(frames):
        raw = stream.read(size)
        if len(raw) < size:
            raise InputError(
                f"{source}: {image.name} is cut off: {number * size + len(raw)} bytes of pixels, expected "
                f"{size * frames}; copy it again",
                code=3266,
            )
        digest.update(raw)
        plane = plane_of(number)
        if plane is not None:
            pixels = np.frombuffer(raw, kind).reshape(plane.shape)
            _fill(plane, pixels, image, number, source)
    digest.update(stream.read())
    return digest.digest()


def _encapsulated(image: Image, raw: bytes, source: str) -> Iterator[AnyArray]:
    package, syntax = pydicom(), image.stored.syntax
    from pydicom.pixels.decoders.base import get_decoder

    name = package.uid.UID(syntax).name
    told = syntax if name == syntax else f"{syntax} ({name})"
    try:
        decoder = get_decoder(syntax)
        works, lacking = decoder.is_available, decoder.missing_dependencies
    except NotImplementedError:
        works, lacking = False, ["none is known"]
    if not works:
        raise InputError(
            f"{source}: {image.name} is in the transfer syntax {told}, for which no decoder is installed "
            f"({'; '.join(lacking)}). pip install 'infnet[dicom]' has those for JPEG, JPEG-LS, JPEG 2000 and "
            "RLE; else export the series uncompressed",
            code=3267,
        )
    count = 0
    try:
        dataset = package.dcmread(io.BytesIO(raw), force=True, specific_tags=_PIXEL_TAGS)
        for pixels in _frames(dataset, decoder, syntax) if "PixelData" in dataset else ():
            count += 1
            yield pixels
    except MemoryError:
        raise
    except Exception as error:  # decoders raise what they like
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{source}: the pixels of {image.name} in {told} cannot be decoded ({reason}): damaged or cut "
            "off? Copy it again, or export the series uncompressed",
            code=3268,
        ) from error
    if count != len(image.frames):
        raise InputError(
            f"{source}: {image.name} is cut off: {count} frames of pixels, expected {len(image.frames)}; "
            "copy it again",
            code=3266,
        )


def _frames(dataset: Any, decoder: Any, syntax: str) -> Iterator[AnyArray]:  # noqa: ANN401 - pydicom's
    """Decoded frames, one at a time.

    Raises
    ------
    ValueError
        If a frame is not to be given to a decoder, or its codes are not those of its picture.
    """
    from pydicom.encaps import generate_frames

    offsets = None
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        offsets = dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths
    number = int(dataset.get("NumberOfFrames") or 1)
    # The other one that pydicom would try then never ends on some damaged frames.
    only = "gdcm" if syntax in _JPEG_LS and "gdcm" in decoder.available_plugins else ""
    decoded = decoder.iter_array(dataset, raw=True, decoding_plugin=only)
    for stream in generate_frames(dataset.PixelData, number_of_frames=number, extended_offsets=offsets):
        if fault := fault_of(stream, syntax, (dataset.Rows, dataset.Columns)):
            raise ValueError(fault)
        pixels, _ = next(decoded)
        if syntax in jpeg_lossless.SYNTAXES and not jpeg_lossless.is_whole(stream, pixels):
            raise ValueError("its codes are not as long as those of the picture")
        yield pixels


def _fill(plane: AnyArray, pixels: AnyArray, image: Image, number: int, source: str) -> None:
    limits = np.iinfo(plane.dtype)
    if pixels.shape != plane.shape or (
        pixels.dtype.newbyteorder("=") != plane.dtype
        and not limits.min <= int(pixels.min()) <= int(pixels.max()) <= limits.max
    ):
        raise InputError(
            f"{source}: the pixels of {image.name} are {pixels.shape} of {pixels.dtype}, expected "
            f"{plane.shape} of {plane.dtype} by its header; export the series again",
            code=3268,
        )
    plane[...] = pixels
    stored, frame = image.stored, image.frames[number]
    padded = _extend(plane, image, source)
    slope, intercept = frame.slope or 1.0, frame.intercept or 0.0
    if stored.padding is not None and slope * stored.padding[0] + intercept > _MOST_HU:
        low, high = stored.padding
        padded = np.logical_or(padded, (plane >= low) & (plane <= high))
    if np.any(padded):
        air = round((_AIR_HU - intercept) / slope)
        plane[padded] = min(max(air, limits.min), limits.max)


def _extend(plane: AnyArray, image: Image, source: str) -> BoolArray | bool:
    """Numbers of fewer bits than are allocated, made whole; which of the pixels are padding beyond them.

    The bits above may be those of the sign, 0, or those of a padding value that fits into no fewer bits.
    """
    stored = image.stored
    unused = (stored.bits_allocated or 0) - (stored.bits_stored or 0)
    if not unused:
        return False
    whole = (plane << unused) >> unused
    if np.array_equal(whole, plane):
        return False
    clear = plane & plane.dtype.type((1 << (stored.bits_stored or 0)) - 1)
    odd: BoolArray = (plane != whole) & (plane != clear)
    if odd.any():
        low, high = stored.padding or (1, 0)
        padded = (plane >= low) & (plane <= high)
        if (odd & ~padded).any():
            raise InputError(
                f"{source}: {image.name} has numbers that do not fit into its BitsStored "
                f"{stored.bits_stored} and are no PixelPaddingValue; export the series again",
                code=3265,
            )
    plane[...] = whole
    return odd


def format_of(stored: Stored) -> tuple[object, ...]:
    """What has to be the same in all files of a volume."""
    return stored.bits_allocated, stored.signed
