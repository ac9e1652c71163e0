"""The voxels of a NIfTI file, as stored and as values.

Nothing is believed before the header has passed ``validate_header``, and no byte more is unpacked than it
announces.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from infnet_runtime.arrays import AnyArray
from infnet_runtime.cpu import usable_cores
from infnet_runtime.errors import InputError
from infnet_runtime.io.digest import Digest, opened
from infnet_runtime.io.gzip_files import GZIP_ERRORS, MAGIC, unpacked
from infnet_runtime.io.nifti.fields import HEADER_BYTES
from infnet_runtime.io.nifti.header import Geometry, validate_header
from infnet_runtime.scan.ct import slabs
from infnet_runtime.scan.labels import whole_labels
from infnet_runtime.scan.rescaled import Rescaled, Voxels, value_type

_CHUNK_BYTES = 1 << 20
# Deflate cannot shrink by more (zlib technical details, https://zlib.net/zlib_tech.html).
_MOST_GZIP_RATIO = 1032
# More threads than this wait for the one that copies what they unpacked.
_MOST_THREADS = 4


def read_stored(
    path: Path,
    *,
    max_bytes: int | None = None,
    assume_orientation: str | None = None,
    labels: bool = False,
    digest: Digest | None = None,
) -> tuple[bytes, Geometry, AnyArray]:
    """Read header and voxels as stored, whatever they mean: a CT or, with ``labels``, a label map.

    Parameters
    ----------
    labels
        The rules of label maps, not those of HU.
    digest
        Gets every byte of the file.

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
    with _reading(path), opened(path, digest) as file:
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
                labels=labels,
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


def read_labels(path: Path) -> tuple[Geometry, AnyArray]:
    """Read a label map: its scaling applied, its values whole numbers.

    Returns
    -------
    geometry, labels (i, j, k) as bytes or 32-bit integers

    Raises
    ------
    InputError
        If the file is damaged, or holds anything but labels.
    GeometryError
        If its geometry cannot be trusted.
    """
    _, geometry, stored = read_stored(path, labels=True)
    if (geometry.slope, geometry.inter) == (1, 0):
        return geometry, whole_labels(stored, path.name)
    values: AnyArray = np.empty(stored.shape, np.float32, order="F")
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused and counted
        for target, slab in zip(slabs(values), slabs(stored), strict=True):
            target[...] = slab.astype(np.float64) * geometry.slope + geometry.inter
    scaling = f"(scl_slope {geometry.slope:g}, scl_inter {geometry.inter:g} applied)"
    return geometry, whole_labels(values, f"{path.name} {scaling}")


def scaled(stored: AnyArray, geometry: Geometry, source: str) -> Voxels:
    """Values from stored numbers: 16- or 32-bit integers while they are whole, float32 otherwise.

    There is never a second volume: values as long as the numbers replace them, longer ones are made plane by
    plane when they are read.

    Parameters
    ----------
    stored : (i, j, k)
        Taken over.

    Raises
    ------
    InputError
        If the values are too large for HU.
    """
    kind = value_type(stored, geometry.slope, geometry.inter, source)
    if kind is None:
        return stored
    values = Rescaled(stored, geometry.slope, geometry.inter, kind)
    if kind.itemsize > stored.itemsize:
        return values
    if 2 * kind.itemsize >= stored.itemsize:
        target: AnyArray = stored.reshape(-1, order="F").view(kind)[: stored.size]
    else:  # a quarter more for a while, rather than four times as much as is needed from then on
        target = np.empty(stored.size, kind)
    target = target.reshape(stored.shape, order="F")
    for to, slab in zip(slabs(target), slabs(values), strict=True):
        to[...] = slab  # a slab is read before it is written, and no later one lies where it is written
    return target


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
