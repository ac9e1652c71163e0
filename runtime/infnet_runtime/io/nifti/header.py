"""The NIfTI-1 header, checked before a single voxel is read.

``validate_header`` is a pure function over the first 352 bytes. It returns the geometry or raises a typed
error; it never reserves memory by what a header claims. Field offsets are those of nifti1.h
(https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from infnet_runtime.arrays import Affine
from infnet_runtime.io.nifti.affine import affine_from_header
from infnet_runtime.io.nifti.fields import HEADER_BYTES, HeaderFields
from infnet_runtime.scan.grid import is_identity

# datatype code -> (numpy type without byte order, bits per voxel)
_DATATYPES = {
    2: ("u1", 8),
    4: ("i2", 16),
    8: ("i4", 32),
    16: ("f4", 32),
    64: ("f8", 64),
    256: ("i1", 8),
    512: ("u2", 16),
    768: ("u4", 32),
    1024: ("i8", 64),
    1280: ("u8", 64),
}
_REFUSED_DATATYPES = {
    1: "1-bit",
    32: "complex",
    128: "RGB colour",
    1536: "128-bit float",
    1792: "complex",
    2048: "complex",
    2304: "RGBA colour",
}


@dataclass(frozen=True)
class Geometry:
    """What a checked header says.

    Parameters
    ----------
    shape : (i, j, k)
        Number of voxels.
    dtype
        Stored type with its byte order.
    affine : (4, 4), mm
        From voxel index to world.
    slope, inter
        Value = slope * stored + inter.
    vox_offset : bytes
        Where the voxels begin.
    byte_order
        ``<`` or ``>``.
    orientation_from
        ``sform``, ``qform`` or ``assumed LAS`` and the like.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    affine: Affine
    slope: float
    inter: float
    vox_offset: int
    byte_order: str
    orientation_from: str

    @property
    def has_size(self) -> bool:
        """Whether the voxel size is known: 1 x 1 x 1 mm of a file without orientation was never filled in."""
        return not (self.orientation_from.startswith("assumed") and is_identity(self.affine))

    @property
    def data_bytes(self) -> int:
        """Length of the stored voxels in bytes."""
        return math.prod(self.shape) * int(self.dtype.itemsize)


def validate_header(
    header: bytes,
    *,
    source: str,
    file_bytes: int | None = None,
    max_bytes: int | None = None,
    assume_orientation: str | None = None,
    labels: bool = False,
) -> Geometry:
    """Check a header and derive the geometry.

    Parameters
    ----------
    header : 352 bytes
        Beginning of the uncompressed file.
    source
        Name of the file for messages.
    file_bytes
        Length of the uncompressed file; for gzip the most it can unpack to.
    max_bytes
        The most bytes of voxels a file may announce.
    assume_orientation
        Where the stored axes point to, such as ``LAS``, for files that do not say, or whose affine is an
        identity. Others ignore it.
    labels
        The file holds labels: a scaling that is not finite is none, as nibabel and ITK take it, and a
        negative slope inverts nothing that is measured.

    Raises
    ------
    InputError
        If this is not one 3-D NIfTI-1 volume of plain numbers that fits the file and the memory.
    GeometryError
        If place, size or orientation of the voxels is missing, damaged or contradicts itself.
    """
    fields = HeaderFields(header, source)
    shape = _shape(fields)
    dtype = _dtype(fields)
    vox_offset = _vox_offset(fields)
    _fits(fields, shape, dtype, vox_offset, file_bytes, max_bytes)
    slope, inter = _scaling(fields, labels)
    affine, origin = affine_from_header(fields, assume_orientation)
    return Geometry(shape, dtype, affine, slope, inter, vox_offset, fields.byte_order, origin)


def _shape(fields: HeaderFields) -> tuple[int, int, int]:
    rank, *dims = fields.get(40, "8h")
    if not 1 <= rank <= 7:
        fields.refuse_geometry(
            3012, f"claims {rank} dimensions (header dim[0]); expected 3. The header is damaged"
        )
    dims = dims[:rank]
    if min(dims) < 1:
        fields.refuse_geometry(3012, f"has dimensions {dims} (header dim); every one must be at least 1")
    if rank < 3:
        fields.refuse(3012, f"has {rank} dimensions {dims}; expected a 3-D volume. Give a 2-D slice as .png")
    if math.prod(dims[3:]) != 1:
        fields.refuse(
            3012, f"is {rank}-D with dimensions {dims}; expected one 3-D volume. Split it and give one part"
        )
    return dims[0], dims[1], dims[2]


def _dtype(fields: HeaderFields) -> np.dtype[Any]:
    code, bitpix = fields.get(70, "2h")
    if code not in _DATATYPES:
        name = _REFUSED_DATATYPES.get(code, "unknown")
        fields.refuse(
            3013, f"stores {name} voxels (header datatype {code}); expected one plain number per voxel"
        )
    name, bits = _DATATYPES[code]
    if bitpix != bits:
        fields.refuse(
            3013, f"has {bitpix} bits per voxel (header bitpix), datatype {code} has {bits}; it is damaged"
        )
    return np.dtype(fields.byte_order + name)


def _vox_offset(fields: HeaderFields) -> int:
    (offset,) = fields.get(108, "f")
    # float32 holds whole numbers up to 2**24; extensions of 16 MB are none.
    if not (math.isfinite(offset) and HEADER_BYTES <= offset <= 2**24 and offset == int(offset)):
        fields.refuse(
            3020, f"says its voxels begin at byte {offset:g} (header vox_offset); expected 352 or more"
        )
    return int(offset)


def _fits(
    fields: HeaderFields,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    vox_offset: int,
    file_bytes: int | None,
    max_bytes: int | None,
) -> None:
    needed = math.prod(shape) * dtype.itemsize
    claim = f"claims {shape[0]} x {shape[1]} x {shape[2]} voxels, {needed} bytes"
    if file_bytes is not None and vox_offset + needed > file_bytes:
        fields.refuse(
            3007,
            f"{claim} from byte {vox_offset} on; the file has {file_bytes} bytes at most, expected "
            f"{vox_offset + needed}. It is truncated or its header is wrong: copy or convert it again",
        )
    if max_bytes is not None and needed > max_bytes:
        fields.refuse(
            3009, f"{claim}; the limit is {max_bytes} bytes. Raise the memory limit or crop the scan"
        )


def _scaling(fields: HeaderFields, labels: bool) -> tuple[float, float]:
    slope, inter = fields.get(112, "2f")
    if labels:
        is_scaled = slope != 0 and math.isfinite(slope) and math.isfinite(inter)
        return (slope, inter) if is_scaled else (1.0, 0.0)
    if not (math.isfinite(slope) and math.isfinite(inter)):
        fields.refuse(
            3015,
            f"has the scaling slope {slope} and intercept {inter} (header scl_slope, scl_inter); HU need "
            "finite ones. If the stored values are HU, set scl_slope to 1 and scl_inter to 0; otherwise "
            "convert the scan again from its DICOM files",
        )
    if slope < 0:
        fields.refuse(
            3015, f"has the negative scaling slope {slope:g} (header scl_slope), which inverts HU; correct it"
        )
    return (slope, inter) if slope else (1.0, 0.0)  # the standard: slope 0 means stored values as they are
