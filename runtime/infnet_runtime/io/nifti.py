"""NIfTI files: a CT volume in, a mask in the same place out.

Nothing is believed before the header has passed ``validate_header``, and no byte more is unpacked than it
announces.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import Affine, AnyArray, ByteArray
from infnet_runtime.cpu import usable_cores
from infnet_runtime.errors import InputError, OutputError
from infnet_runtime.io.atomic import atomic_write
from infnet_runtime.io.gzip_files import GZIP_ERRORS, MAGIC, packed, unpacked
from infnet_runtime.io.nifti_fields import HEADER_BYTES
from infnet_runtime.io.nifti_header import Geometry, validate_header
from infnet_runtime.scan.ct import CtVolume, Intensity, slabs
from infnet_runtime.scan.intensity import decide_intensity

_CHUNK_BYTES = 1 << 20
# Deflate cannot shrink by more (zlib technical details, https://zlib.net/zlib_tech.html).
_MOST_GZIP_RATIO = 1032
# More threads than this wait for the one that copies what they unpacked.
_MOST_THREADS = 4


@dataclass(frozen=True, eq=False)
class NiftiScan:
    """A CT volume from a NIfTI file, and the header that its mask inherits.

    Parameters
    ----------
    volume
        The voxels, scaling applied.
    header : 352 bytes
        As read; ``write_mask`` repeats its geometry byte for byte.
    geometry
        What the header says, checked.
    """

    volume: CtVolume
    header: bytes
    geometry: Geometry
    mask_suffix: ClassVar[str] = ".nii.gz"

    def write_mask(self, path: Path, mask: AnyArray) -> None:
        """Write a mask with shape, affine and orientation of the scan.

        Equal masks give equal bytes: no time and no name is stored.

        Parameters
        ----------
        path
            Ends with ``.nii.gz`` or ``.nii``.
        mask : (i, j, k)
            Booleans or labels 0..255 in the order of the file.

        Raises
        ------
        OutputError
            If the mask does not fit the scan or cannot be written; an earlier file stays as it was.
        """
        if not path.name.endswith((".nii", ".nii.gz")):
            raise OutputError(
                f"cannot write {path}: a NIfTI mask ends with .nii.gz or .nii; rename it", code=8008
            )
        labels = mask_bytes(mask, self.volume)
        with atomic_write(path) as file, _packing(path, file) as target:
            target.write(_mask_header(self.header, self.geometry.byte_order))
            for slab in slabs(labels):
                target.write(slab.tobytes(order="F"))


def read_nifti(
    path: Path,
    *,
    intensity: Intensity | None = None,
    max_bytes: int | None = None,
    assume_orientation: str | None = None,
) -> NiftiScan:
    """Read a CT volume.

    Parameters
    ----------
    path
        A ``.nii`` or ``.nii.gz`` file; which of them it is, is decided by its first bytes.
    intensity
        What the values mean; decided from the values where absent.
    max_bytes
        The most bytes of voxels a file may announce.
    assume_orientation
        Where the stored axes point to, such as ``LAS``, for files that do not say.

    Raises
    ------
    InputError
        If the file is damaged, too large or no chest CT.
    GeometryError
        If its geometry cannot be trusted.
    """
    header, geometry, stored = read_stored(path, max_bytes=max_bytes, assume_orientation=assume_orientation)
    voxels = _scaled(stored, geometry, path.name)
    meaning = decide_intensity(voxels, source=path.name, forced=intensity)
    return NiftiScan(CtVolume(voxels, geometry.affine, meaning, path.name), header, geometry)


def read_stored(
    path: Path, *, max_bytes: int | None = None, assume_orientation: str | None = None
) -> tuple[bytes, Geometry, AnyArray]:
    """Read header and voxels as stored, whatever they mean: a CT or a label map.

    Returns
    -------
    header, geometry, voxels (i, j, k) without scaling

    Raises
    ------
    InputError
        If the file is damaged or too large.
    GeometryError
        If its geometry cannot be trusted.
    """
    source = path.name
    with _reading(path), path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        is_packed = file.read(2) == MAGIC
        file.seek(0)
        threads = min(usable_cores(), _MOST_THREADS)
        with unpacked(file, threads=threads) if is_packed else nullcontext(file) as stream:
            header = _read_up_to(stream, HEADER_BYTES)
            geometry = validate_header(
                header,
                source=source,
                file_bytes=size * _MOST_GZIP_RATIO if is_packed else size,
                max_bytes=max_bytes,
                assume_orientation=assume_orientation,
            )
            _read_up_to(stream, geometry.vox_offset - HEADER_BYTES)
            stored = _read_voxels(stream, geometry, source)
            if stream.read(1):
                raise InputError(
                    f"{source} goes on after the {geometry.data_bytes} bytes of voxels its header announces; "
                    "header and voxels do not belong together: convert the scan again",
                    code=3008,
                )
    return header, geometry, stored


def write_nifti(path: Path, voxels: npt.NDArray[np.int16], affine: Affine) -> None:
    """Write a CT volume, such as a phantom, with sform and qform.

    Parameters
    ----------
    voxels : (i, j, k), HU
    affine : (4, 4), mm
        From voxel index to NIfTI world coordinates.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    import nibabel

    image = nibabel.Nifti1Image(voxels, affine)  # type: ignore[no-untyped-call]
    image.set_sform(affine, code=1)  # type: ignore[no-untyped-call]
    image.set_qform(affine, code=1)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    with atomic_write(path) as file, _packing(path, file) as target:
        target.write(image.to_bytes())


def _packing(path: Path, file: BinaryIO) -> AbstractContextManager[BinaryIO | io.BufferedIOBase]:
    return packed(file) if path.name.endswith(".gz") else nullcontext(file)


def mask_bytes(mask: AnyArray, volume: CtVolume) -> ByteArray:
    """Mask as bytes, refused when it does not belong to the volume.

    Parameters
    ----------
    mask : (i, j, k)
        Booleans or labels 0..255.
    volume
        The scan.

    Raises
    ------
    OutputError
        If shape or values do not fit.
    """
    if mask.shape != volume.voxels.shape:
        raise OutputError(
            f"the mask has shape {mask.shape}, {volume.source} has {volume.voxels.shape}; give the mask in "
            "the order of the file (CtVolume.from_lps)",
            code=8009,
        )
    if mask.dtype.kind not in "bui" or (mask.dtype.kind != "b" and (mask.min() < 0 or mask.max() > 255)):
        raise OutputError(
            f"expected booleans or labels 0..255 in the mask of {volume.source}, found {mask.dtype}",
            code=8009,
        )
    return mask.view(np.uint8) if mask.dtype == np.bool_ else mask.astype(np.uint8, copy=False)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what a damaged file does to gzip and the system into one typed error."""
    try:
        yield
    except GZIP_ERRORS as error:
        raise InputError(
            f"{path.name} is damaged or was not copied completely (gzip: {error}); copy or convert it again",
            code=3006,
        ) from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", code=3005) from error


def _read_up_to(stream: io.BufferedIOBase, count: int) -> bytes:
    parts = []
    while count > 0 and (part := stream.read(min(count, _CHUNK_BYTES))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _read_voxels(stream: io.BufferedIOBase, geometry: Geometry, source: str) -> AnyArray:
    """Fill an array of the announced size; memory that is never filled is never taken from the system."""
    try:
        stored: AnyArray = np.empty(geometry.shape, geometry.dtype, order="F")
    except MemoryError as error:
        raise InputError(
            f"{source} needs {geometry.data_bytes} bytes of memory, which are not there; crop the scan",
            code=3009,
        ) from error
    target = stored.reshape(-1, order="F").view(np.uint8).data
    done = 0
    while done < len(target):
        count = stream.readinto(target[done : done + _CHUNK_BYTES])
        if not count:
            raise InputError(
                f"{source} ends early: found {done} bytes of voxels, expected {len(target)}; copy or "
                "convert it again",
                code=3007,
            )
        done += count
    if not stored.dtype.isnative:
        stored.byteswap(inplace=True)
        stored = stored.view(stored.dtype.newbyteorder("="))
    return stored


def _scaled(stored: AnyArray, geometry: Geometry, source: str) -> AnyArray:
    """Values from stored numbers: 16- or 32-bit integers while they are whole, float32 otherwise."""
    whole = stored.dtype.kind in "iu" and geometry.slope == 1 and geometry.inter == int(geometry.inter)
    if not whole:
        if stored.dtype == np.float32 and (geometry.slope, geometry.inter) == (1, 0):
            return stored
        values: AnyArray = np.empty(stored.shape, np.float32, order="F")
        with np.errstate(over="ignore", invalid="ignore"):  # CtVolume refuses and counts what is not finite
            for target, slab in zip(slabs(values), slabs(stored), strict=True):
                target[...] = slab.astype(np.float64) * geometry.slope + geometry.inter
        return values
    inter = int(geometry.inter)
    if inter == 0 and stored.dtype in (np.uint8, np.int16, np.uint16, np.int32):
        return stored
    lowest, highest = int(stored.min()) + inter, int(stored.max()) + inter
    kept = next(
        (t for t in (np.int16, np.int32) if np.iinfo(t).min <= lowest and highest <= np.iinfo(t).max), None
    )
    if kept is None or abs(inter) > 2**31:
        raise InputError(
            f"{source} has values {lowest}..{highest}; HU are small numbers, give the CT itself", code=3022
        )
    # Numbers of the same length change in place: the slab is read before it is written.
    in_place = stored.dtype.itemsize == np.dtype(kept).itemsize
    values = stored.view(kept) if in_place else np.empty(stored.shape, kept, order="F")
    for target, slab in zip(slabs(values), slabs(stored), strict=True):
        # The sum lies within 32 bits and inter nearly so; then 64 bits hold the stored number too.
        target[...] = slab.astype(np.int64) + inter
    return values


def _mask_header(header: bytes, byte_order: str) -> bytes:
    """Header of the scan turned into the header of a mask.

    Dimensions, pixdim, units, qform and sform stay byte for byte. Free text goes: it can hold patient data.
    """
    out = bytearray(header[:348]) + bytearray(4)  # no extensions
    out[4:36] = bytes(32)  # data_type, db_name, extents
    struct.pack_into(f"{byte_order}h", out, 36, 0)  # session_error
    struct.pack_into(f"{byte_order}3fh", out, 56, 0.0, 0.0, 0.0, 0)  # intent
    struct.pack_into(f"{byte_order}2h", out, 70, 2, 8)  # datatype uint8, bitpix
    struct.pack_into(
        f"{byte_order}3f", out, 108, float(HEADER_BYTES), 1.0, 0.0
    )  # vox_offset, scl_slope, scl_inter
    struct.pack_into(f"{byte_order}2f", out, 124, 0.0, 0.0)  # cal_max, cal_min
    struct.pack_into(f"{byte_order}2i", out, 140, 0, 0)  # glmax, glmin
    out[148:252] = bytes(104)  # descrip, aux_file
    out[328:344] = bytes(16)  # intent_name
    return bytes(out)
