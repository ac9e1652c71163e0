"""A CT volume from DICOM files: series chosen, planes in order, values in HU."""

import hashlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from infnet_runtime.arrays import AnyArray, DoubleArray
from infnet_runtime.cpu import usable_cores
from infnet_runtime.errors import GeometryError, InputError
from infnet_runtime.io.dicom.found import DicomFile, find_files
from infnet_runtime.io.dicom.headers import Image, examine
from infnet_runtime.io.dicom.library import pydicom
from infnet_runtime.io.dicom.order import Ordered, Plane, ordered
from infnet_runtime.io.dicom.pixels import decode, format_of, pixel_type
from infnet_runtime.io.dicom.series import Series, choose
from infnet_runtime.io.mask_bytes import LabelNames, mask_bytes, probability_map
from infnet_runtime.io.nifti.write import (
    checked_name,
    header_of,
    write_labels,
    write_named_labels,
    write_probability,
)
from infnet_runtime.plausible.intensity import decide_intensity
from infnet_runtime.scan.acquisition import Acquisition
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.ids import ScanId
from infnet_runtime.scan.rescaled import Voxels, rescaled

_MOST_THREADS = 4
_HU_TYPES = ("", "HU", "US")  # US is "unspecified"; the values then have to look like HU
_NATIVE_ORDER = "<" if np.little_endian else ">"


@dataclass(frozen=True, eq=False)
class DicomSource:
    """The objects that a volume was read from, for objects that refer to them.

    Parameters
    ----------
    files
        Of plane k of the volume, the last axis of its voxels.
    frames
        Of plane k, its frame in that file, the first being 1.
    instance_uids
        Of plane k.
    """

    files: tuple[DicomFile, ...]
    frames: tuple[int, ...]
    instance_uids: tuple[str, ...]
    study_uid: str
    series_uid: str
    frame_of_reference_uid: str

    def datasets(self) -> list[Any]:
        """Data sets of pydicom without pixels, each object once, in the order of the planes.

        They hold all patient fields.

        Raises
        ------
        InputError
            If a file is no longer there.
        """
        read = []
        for file in dict.fromkeys(self.files):
            with file.open() as stream:
                read.append(pydicom().dcmread(stream, stop_before_pixels=True, force=True))
        return read


@dataclass(frozen=True, eq=False)
class DicomScan:
    """A CT volume from DICOM, and the way its mask is written: as NIfTI with the affine of the scan.

    Parameters
    ----------
    volume
        The voxels (column, row, plane), planes in the order of the normal.
    source
        Where each plane comes from.
    notes
        What lay beside the series and was left out, for the user.
    """

    volume: CtVolume
    source: DicomSource
    notes: tuple[str, ...] = ()
    header: bytes = field(default=b"", repr=False)
    mask_suffix: ClassVar[str] = ".nii.gz"

    def write_mask(self, path: Path, mask: AnyArray) -> None:
        """Write a mask (i, j, k) as NIfTI with shape and affine of the scan.

        Raises
        ------
        OutputError
            If the mask does not fit the scan or cannot be written.
        """
        write_labels(checked_name(path), mask_bytes(mask, self.volume), self.header, _NATIVE_ORDER)

    def write_classes(self, path: Path, classes: AnyArray, names: LabelNames) -> None:
        """Write a label map as a mask is written, with what its values mean in the file.

        Raises
        ------
        OutputError
            As of :meth:`write_mask`.
        """
        labels = mask_bytes(classes, self.volume)
        write_named_labels(checked_name(path), labels, self.header, _NATIVE_ORDER, names)

    def write_probability(self, path: Path, probability: AnyArray) -> None:
        """Write probabilities (i, j, k), float16, as float32.

        Raises
        ------
        OutputError
            As of :meth:`write_mask`.
        """
        values = probability_map(probability, self.volume)
        write_probability(checked_name(path), values, self.header, _NATIVE_ORDER)


def read_dicom(
    paths: Path | str | Sequence[Path | str],
    *,
    series: str | None = None,
    allow_gaps: bool = False,
    intensity: Intensity | None = None,
    max_bytes: int | None = None,
) -> DicomScan:
    """Read a CT series.

    Parameters
    ----------
    paths
        A folder with all below it, a zip archive, a DICOMDIR, an enhanced file, or a list of files.
    series
        SeriesInstanceUID; the only one where absent.
    allow_gaps
        Take a series in which whole planes are missing. Nothing is filled in: the volume has the planes that
        are there, at the usual step, so that what lies behind a gap is drawn too near by the width of the
        gap.
    intensity
        What the values mean; HU where absent.
    max_bytes
        The most bytes of voxels.

    Raises
    ------
    InputError
        If there is no CT series, or it is not certain which is meant, or its pixels cannot be read.
        Also where pydicom is not installed.
    GeometryError
        If it is not certain where its planes lie.
    """
    pydicom()
    given = [Path(one) for one in ([paths] if isinstance(paths, Path | str) else paths)]
    source = _source(given)
    examined = examine(find_files(given))
    chosen = choose(examined, series, source)
    notes = (f"left out of {source}: {examined.others}",) if examined.set_aside else ()
    name = chosen.name
    images = _once(chosen, name)
    planes = [
        Plane(image, number) for image in images for number, one in enumerate(image.frames) if one.is_slice
    ]
    arranged = ordered(planes, name, allow_gaps=allow_gaps)
    stored, sha256 = _decoded(arranged, name, max_bytes)
    voxels = _values(stored, arranged.planes, name)
    meaning = decide_intensity(voxels, source=name, forced=intensity or Intensity.HU)
    where = DicomSource(
        tuple(plane.image.file for plane in arranged.planes),
        tuple(plane.number + 1 for plane in arranged.planes),
        tuple(plane.image.instance_uid for plane in arranged.planes),
        chosen.study_uid,
        chosen.uid,
        images[0].frame_of_reference_uid,
    )
    identity = ScanId(name, sha256, chosen.study_uid, chosen.uid, where.instance_uids)
    volume = CtVolume(voxels, arranged.affine, meaning, identity, acquisition=_acquisition(images, arranged))
    return DicomScan(volume, where, notes, header_of(volume.voxels.shape, volume.affine))


def _source(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _once(series: Series, name: str) -> tuple[Image, ...]:
    """Each object once: files that are there twice, with the same bytes, are read once.

    Raises
    ------
    InputError
        If two files with one UID differ.
    """
    kept: dict[str, Image] = {}
    for image in series.images:
        first = kept.setdefault(image.instance_uid, image)
        if first is not image and _digest(first.file) != _digest(image.file):
            raise InputError(
                f"{name}: {first.name} and {image.name} have the same SOPInstanceUID {image.instance_uid} "
                "and different bytes; keep the right one",
                code=3262,
            )
    return tuple(kept.values())


def _digest(file: DicomFile) -> bytes:
    with file.open() as stream:
        return hashlib.sha256(stream.read()).digest()


def _decoded(arranged: Ordered, name: str, max_bytes: int | None) -> tuple[AnyArray, str]:
    """Stored numbers (plane, row, column), and the SHA-256 over those of the files, in this order."""
    planes = arranged.planes
    images = tuple(dict.fromkeys(plane.image for plane in planes))
    for plane in planes:
        _check_values(plane, name)
    kinds = {format_of(image.stored): pixel_type(image, name) for image in images}
    if len(kinds) > 1:
        told = " and ".join(sorted(str(kind) for kind in kinds.values()))
        raise GeometryError(
            f"{name}: slices of one series differ in BitsAllocated or PixelRepresentation ({told}); give the "
            "files of one reconstruction",
            code=3258,
        )
    kind = next(iter(kinds.values()))
    shape = len(planes), planes[0].image.stored.rows or 0, planes[0].image.stored.columns or 0
    size = math.prod(shape) * kind.itemsize
    if max_bytes is not None and size > max_bytes:
        raise InputError(
            f"{name} has {size} bytes of voxels, more than the limit of {max_bytes}; crop the scan, or raise "
            "the limit",
            code=3009,
        )
    places = {(id(plane.image), plane.number): k for k, plane in enumerate(planes)}
    stored: AnyArray = _allocated(shape, kind, images, name)

    def one(image: Image) -> bytes:
        def plane_of(number: int) -> AnyArray | None:
            k = places.get((id(image), number))
            return None if k is None else stored[k]

        return decode(image, plane_of, name)

    threads = min(usable_cores(), _MOST_THREADS, len(images))
    with ThreadPoolExecutor(threads, thread_name_prefix="infnet-dicom") as pool:
        digests = list(pool.map(one, images))
    return stored, hashlib.sha256(b"".join(digests)).hexdigest()


def _allocated(
    shape: tuple[int, int, int], kind: np.dtype[Any], images: Sequence[Image], name: str
) -> AnyArray:
    try:
        return np.empty(shape, kind)
    except (MemoryError, ValueError) as error:
        raise InputError(
            f"{name} needs {math.prod(shape) * kind.itemsize} bytes of memory for {len(images)} files, which "
            "are not there; crop the scan",
            code=3009,
        ) from error


def _check_values(plane: Plane, name: str) -> None:
    """Refuse numbers of which nobody knows the HU."""
    frame = plane.frame
    if frame.slope is None or frame.intercept is None:
        table = " (it has a ModalityLUTSequence, which is not read)" if plane.image.stored.has_table else ""
        raise InputError(
            f"{name}: {plane.name} has no RescaleSlope or no RescaleIntercept (0028,1053 and "
            f"0028,1052){table}, so its numbers mean no Hounsfield units; export the original series from "
            "the PACS",
            code=3263,
        )
    if not (math.isfinite(frame.slope) and frame.slope > 0 and math.isfinite(frame.intercept)):
        raise InputError(
            f"{name}: {plane.name} has the RescaleSlope {frame.slope:g} and RescaleIntercept "
            f"{frame.intercept:g}, expected finite numbers and a slope above 0; export the series again",
            code=3264,
        )
    if frame.rescale_type.upper() not in _HU_TYPES:
        raise InputError(
            f"{name}: {plane.name} has the RescaleType {frame.rescale_type} (0028,1054), expected HU; give a "
            "series in Hounsfield units",
            code=3264,
        )


def _values(stored: AnyArray, planes: Sequence[Plane], name: str) -> Voxels:
    """HU (column, row, plane): whole numbers of 16 bits where they fit, else by slope and intercept."""
    slopes: DoubleArray = np.array([plane.frame.slope for plane in planes])
    intercepts: DoubleArray = np.array([plane.frame.intercept for plane in planes])
    voxels = stored.transpose(2, 1, 0)
    if stored.dtype.itemsize == 2 and (slopes == 1).all() and (intercepts == np.rint(intercepts)).all():
        limits = np.iinfo(np.int16)
        lowest, highest = (getattr(stored, end)(axis=(1, 2)) + intercepts for end in ("min", "max"))
        if lowest.min() >= limits.min and highest.max() <= limits.max:
            # Exact: 16 bits count modulo 2**16, and the sums fit.
            hu = stored.view(np.int16)
            for plane, intercept in zip(hu, intercepts.astype(np.int64), strict=True):
                if intercept:
                    np.add(plane, np.array(intercept & 0xFFFF, np.uint16).view(np.int16), out=plane)
            return hu.transpose(2, 1, 0)
    if len({*zip(slopes, intercepts, strict=True)}) == 1:
        return rescaled(voxels, slopes[0], intercepts[0], source=name)
    values = np.empty(stored.shape, np.float32)
    with np.errstate(over="ignore"):  # what is not finite is refused and counted
        for target, plane, slope, intercept in zip(values, stored, slopes, intercepts, strict=True):
            target[...] = slope * plane.astype(np.float64) + intercept
    return values.transpose(2, 1, 0)


def _acquisition(images: Sequence[Image], arranged: Ordered) -> Acquisition:
    first = images[0]
    thicknesses = {image.thickness_mm for image in images}
    return Acquisition(
        description=first.description,
        kernel=first.kernel,
        thickness_mm=first.thickness_mm if len(thicknesses) == 1 else None,
        kvp=first.kvp,
        scanner=first.manufacturer,
        contrast=any(image.contrast for image in images),
        is_lossy=any(image.is_lossy for image in images),
        gaps=arranged.gaps,
    )
