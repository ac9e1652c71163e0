"""NIfTI files that are written: what lies on the grid of a scan, under its header, and a CT volume."""

import io
import json
import struct
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import Affine, AnyArray, ByteArray, HalfArray
from infnet_runtime.errors import OutputError
from infnet_runtime.io.atomic import atomic_write
from infnet_runtime.io.gzip_files import packed
from infnet_runtime.io.mask_bytes import LabelNames
from infnet_runtime.io.nifti.fields import HEADER_BYTES
from infnet_runtime.scan.ct import slabs

_COMMENT = 6  # NIFTI_ECODE_COMMENT: plain text
# Kind of number -> datatype and bits per voxel: uint8, float32.
_DATATYPES = {"u": (2, 8), "f": (16, 32)}


def write_labels(path: Path, labels: ByteArray, header: bytes, byte_order: str) -> None:
    """Write a mask in the geometry that a header gives. Equal masks give equal bytes.

    Parameters
    ----------
    path
        Packed where it ends with ``.gz``.
    labels : (i, j, k)
    header : 352 bytes
        Of the scan; its geometry is repeated byte for byte.
    byte_order
        Of the header, ``<`` or ``>``.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    _write_like(path, labels, np.dtype(np.uint8), header, byte_order)


def write_named_labels(
    path: Path, labels: ByteArray, header: bytes, byte_order: str, names: LabelNames
) -> None:
    """:func:`write_labels` with what each value means, as a comment behind the header (extension code 6).

    Parameters
    ----------
    names
        Value to name and code. The comment is JSON in ASCII, ``{"labels": {"1": {"name": ...}}}``.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    text = json.dumps({"labels": names}, sort_keys=True).encode("ascii")
    _write_like(path, labels, np.dtype(np.uint8), header, byte_order, comment=text)


def write_probability(path: Path, probability: HalfArray, header: bytes, byte_order: str) -> None:
    """Write probabilities in the geometry that a header gives.

    NIfTI has no float16. They are stored as float32, which holds each of them exactly and packs as well,
    where a scaled integer would change them once more.

    Parameters
    ----------
    path
        Packed where it ends with ``.gz``.
    probability : (i, j, k)
    header, byte_order
        As for :func:`write_labels`.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    _write_like(path, probability, np.dtype(np.float32), header, byte_order)


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


def header_of(shape: tuple[int, ...], affine: Affine) -> bytes:
    """Header of 352 bytes for masks of a scan that is no NIfTI file, in the machine's byte order.

    Parameters
    ----------
    affine : (4, 4), mm
        From voxel index to NIfTI world coordinates; sheared ones go into the sform alone.
    """
    import nibabel

    header = nibabel.Nifti1Header()  # type: ignore[no-untyped-call]
    header.set_data_shape(shape)  # type: ignore[no-untyped-call]
    header.set_sform(affine, code=1)  # type: ignore[no-untyped-call]
    header.set_zooms(np.linalg.norm(affine[:3, :3], axis=0))  # type: ignore[no-untyped-call]
    header.set_qform(affine, code=1)  # type: ignore[no-untyped-call]
    header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    header["vox_offset"], header["magic"] = HEADER_BYTES, b"n+1"
    return bytes(header.binaryblock) + bytes(4)


def checked_name(path: Path) -> Path:
    """The path of a mask, with an ending that NIfTI has.

    Raises
    ------
    OutputError
        If it has another.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise OutputError(
            f"cannot write {path}: a NIfTI mask ends with .nii.gz or .nii; rename it", code=8008
        )
    return path


def _write_like(
    path: Path,
    values: AnyArray,
    stored: np.dtype[Any],
    header: bytes,
    byte_order: str,
    *,
    comment: bytes = b"",
) -> None:
    stored = stored.newbyteorder(byte_order)  # type: ignore[arg-type]  # < or >, of a checked header
    with atomic_write(path) as file, _packing(path, file) as target:
        extension = _extension(comment, byte_order)
        target.write(_header_like(header, byte_order, stored, extension_bytes=len(extension)))
        target.write(extension)
        for slab in slabs(values):
            target.write(slab.astype(stored, copy=False).tobytes(order="F"))


def _extension(comment: bytes, byte_order: str) -> bytes:
    """A comment as an extension of the header: its size, a multiple of 16, its code, its text."""
    if not comment:
        return b""
    size = 8 + len(comment)
    size += -size % 16
    return struct.pack(f"{byte_order}2i", size, _COMMENT) + comment.ljust(size - 8, b"\0")


def _header_like(header: bytes, byte_order: str, stored: np.dtype[Any], *, extension_bytes: int = 0) -> bytes:
    """Header of the scan turned into the header of a mask or map on its grid.

    Dimensions, pixdim, units, qform and sform stay byte for byte. Free text goes: it can hold patient data.
    """
    out = bytearray(header[:348]) + bytes([extension_bytes > 0, 0, 0, 0])
    out[4:36] = bytes(32)  # data_type, db_name, extents
    struct.pack_into(f"{byte_order}h", out, 36, 0)  # session_error
    struct.pack_into(f"{byte_order}3fh", out, 56, 0.0, 0.0, 0.0, 0)  # intent
    struct.pack_into(f"{byte_order}2h", out, 70, *_DATATYPES[stored.kind])
    struct.pack_into(
        f"{byte_order}3f", out, 108, float(HEADER_BYTES + extension_bytes), 1.0, 0.0
    )  # vox_offset, scl_slope, scl_inter
    struct.pack_into(f"{byte_order}2f", out, 124, 0.0, 0.0)  # cal_max, cal_min
    struct.pack_into(f"{byte_order}2i", out, 140, 0, 0)  # glmax, glmin
    out[148:252] = bytes(104)  # descrip, aux_file
    out[328:344] = bytes(16)  # intent_name
    return bytes(out)


def _packing(path: Path, file: BinaryIO) -> AbstractContextManager[BinaryIO | io.BufferedIOBase]:
    return packed(file) if path.name.endswith(".gz") else nullcontext(file)
