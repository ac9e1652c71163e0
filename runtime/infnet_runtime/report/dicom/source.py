"""The images that a result belongs to: what an object says of them, and which plane of the grid each is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from infnet_runtime.arrays import AnyArray, DoubleArray
from infnet_runtime.errors import OutputError
from infnet_runtime.io.dicom import DicomSource
from infnet_runtime.io.dicom.found import DicomFile
from infnet_runtime.report.dicom.identity import ALWAYS, words
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.scan.grid import Grid
from infnet_runtime.scan.rescaled import Voxels

_UIDS = words("StudyInstanceUID SeriesInstanceUID SOPInstanceUID SOPClassUID FrameOfReferenceUID")
_OF_AN_IMAGE = (
    *_UIDS,
    *words(
        "Modality Rows Columns PixelSpacing ImageOrientationPatient ImagePositionPatient SliceThickness "
        "PositionReferenceIndicator LossyImageCompression LossyImageCompressionRatio "
        "LossyImageCompressionMethod"
    ),
)
_FRAMES = "PerFrameFunctionalGroupsSequence"
_LPS_TO_RAS = np.diag((-1.0, -1.0, 1.0))
# A reader evens out positions and cosines that were rounded; a plane or a pixel away is another grid.
_SAME_PLANE, _SAME_PIXEL = 0.25, 0.7


@dataclass(frozen=True, eq=False)
class SourceImages:
    """The images of one series, without a patient.

    Parameters
    ----------
    header
        Of the first file as it was read, the patient with it.
    images
        One a slice, or one with many frames.
    position_mm : (slices, 3), mm
        LPS place of the first pixel of each slice.
    step_mm : (2, 3), mm
        LPS way to the next column and to the next row.
    shape : rows, columns
    """

    header: Dataset
    images: tuple[Dataset, ...]
    position_mm: DoubleArray
    step_mm: DoubleArray
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.position_mm)


@dataclass(frozen=True)
class Placement:
    """How arrays on a grid become the planes of source images.

    Parameters
    ----------
    axes
        Stored axes that are slice, row and column of the images.
    order
        Number along the slice axis, of each image.
    flips
        Of rows and columns.
    """

    axes: tuple[int, int, int]
    order: tuple[int, ...]
    flips: tuple[slice, slice]

    def __len__(self) -> int:
        return len(self.order)

    def plane(self, array: Voxels, number: int) -> AnyArray:
        """View of the plane of an image, (row, column), of an array (i, j, k)."""
        plane: AnyArray = array.transpose(self.axes)[self.order[number]]
        return plane[self.flips]


@dataclass(frozen=True)
class _Plane:
    """Where the numbers of a plane stand."""

    position: Dataset
    orientation: Dataset
    measures: Dataset


def images_of(source: SourceImages | DicomSource) -> SourceImages:
    """The images that an object refers to, read where they are not at hand; as :func:`read_source`."""
    return read_source(source) if isinstance(source, DicomSource) else source


def read_source(source: DicomSource | Sequence[Path]) -> SourceImages:
    """Read the headers of a series.

    Parameters
    ----------
    source
        Of a scan that was read from DICOM; or the files, one a slice in any order, or one with many frames.

    Raises
    ------
    OutputError
        As of :func:`source_images`, and if the files are no longer those that the scan was read from.
    InputError
        If a file can no longer be read.
    """
    files = source.files if isinstance(source, DicomSource) else map(DicomFile, source)
    headers: list[Dataset] = []
    for file in dict.fromkeys(files):
        only = list(_OF_AN_IMAGE) if headers else None
        with file.open() as stream:
            headers.append(dcmread(stream, stop_before_pixels=True, force=True, specific_tags=only))
    if isinstance(source, DicomSource):
        _refuse_changed(headers, source)
    return source_images(headers)


def _refuse_changed(headers: Sequence[Dataset], source: DicomSource) -> None:
    found = {str(header.get("SOPInstanceUID")) for header in headers}
    if found != set(source.instance_uids):
        raise OutputError(
            f"the files of the series {source.series_uid} hold other images than when the scan was read; run "
            "it again on files that stay as they are",
            code=8053,
        )


def source_images(headers: Sequence[Dataset]) -> SourceImages:
    """Take what an object says of its source from headers.

    Parameters
    ----------
    headers
        One a slice, or one with many frames. The texts of the first have not been decoded, if they are to be
        copied byte for byte.

    Raises
    ------
    OutputError
        If there are none, or a number is missing that objects refer to.
    """
    if not headers:
        raise OutputError(
            "there is no DICOM image to write an object for; give the series that the scan was read from",
            code=8051,
        )
    missing = sorted({keyword for header in headers for keyword in _UIDS if not header.get(keyword)})
    if missing:
        raise OutputError(
            f"the series has no {', '.join(missing)}; a DICOM segmentation and report refer to it. Send the "
            "series again from the archive, or take the NIfTI and JSON results",
            code=8055,
        )
    if len(headers) > 1 and _FRAMES in headers[0]:
        raise OutputError(
            f"the series is {len(headers)} objects of many frames each, a segmentation is of one; send the "
            "series as one object, or as single images",
            code=8057,
        )
    try:
        return _taken(headers)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise OutputError(
            f"the series does not say where its images lie ({type(error).__name__}: {error}); send it again "
            "from the archive, or take the NIfTI and JSON results",
            code=8055,
        ) from error


def _taken(headers: Sequence[Dataset]) -> SourceImages:
    first = headers[0]
    if _FRAMES in first:  # NumberOfFrames is 1 in single images of some makers
        planes = _frames(first)
        images: tuple[Dataset, ...] = (_many_frames(first, planes),)
    else:
        images = tuple(_image(header) for header in headers)
        planes = [_Plane(one, one, one) for one in images]
    plane = planes[0]
    row_mm, column_mm = map(float, plane.measures.PixelSpacing)
    across = np.array(plane.orientation.ImageOrientationPatient, np.float64).reshape(2, 3)
    return SourceImages(
        header=first,
        images=images,
        position_mm=np.array([one.position.ImagePositionPatient for one in planes], np.float64).reshape(
            -1, 3
        ),
        step_mm=across * [[column_mm], [row_mm]],
        shape=(int(first.Rows), int(first.Columns)),
    )


def placement(scan: CtVolume, source: SourceImages) -> Placement:
    """Find the planes of the images in a scan, by their place in the patient and by nothing else.

    Where planes are missing and the user allowed it, the grid has those that are there, one behind the other:
    then their order tells which is which.

    Raises
    ------
    OutputError
        If the grid is not that of the images.
    """
    grid, has_gaps = scan.grid, bool(scan.acquisition and scan.acquisition.gaps)
    to_index = np.linalg.inv(grid.affine)
    steps = source.step_mm @ _LPS_TO_RAS @ to_index[:3, :3].T  # (column, row) in voxels of i, j, k
    places = source.position_mm @ _LPS_TO_RAS @ to_index[:3, :3].T + to_index[:3, 3]
    if not (np.isfinite(steps).all() and np.isfinite(places).all()):
        raise _elsewhere(grid, source, "the images do not say where they lie")
    column_axis, row_axis = (int(axis) for axis in np.abs(steps).argmax(axis=1))
    slice_axis = 3 - column_axis - row_axis
    if column_axis == row_axis:
        raise _elsewhere(grid, source, "rows and columns run along one axis")
    axes = (slice_axis, row_axis, column_axis)
    shape = tuple(grid.shape[axis] for axis in axes)
    if shape != (len(source), *source.shape):
        raise _elsewhere(grid, source, f"it has {shape} slices, rows and columns")

    signs = (int(np.sign(steps[1, row_axis])), int(np.sign(steps[0, column_axis])))
    expected = np.zeros((2, 3))
    expected[0, column_axis], expected[1, row_axis] = signs[1], signs[0]
    wrong = np.abs(steps - expected).max(axis=1) * (shape[2], shape[1])
    if wrong.max() > _SAME_PIXEL:
        raise _elsewhere(grid, source, f"its far edge lies {wrong.max():.1f} pixels away")

    along = places[:, slice_axis]
    order = along.argsort().argsort() if has_gaps else np.rint(along).astype(int)
    corner = [0 if sign > 0 else n - 1 for sign, n in zip(signs, shape[1:], strict=True)]
    off = np.abs(places[:, (row_axis, column_axis)] - corner).max()
    apart = np.abs(along - order).min() if has_gaps else np.abs(along - order).max()
    if off > _SAME_PIXEL or apart > _SAME_PLANE or sorted(order) != list(range(shape[0])):
        raise _elsewhere(grid, source, "its slices lie elsewhere")
    flips = tuple(slice(None, None, sign) for sign in signs)
    return Placement(axes, tuple(int(number) for number in order), (flips[0], flips[1]))


def _elsewhere(grid: Grid, source: SourceImages, why: str) -> OutputError:
    return OutputError(
        f"the result lies on a grid of {grid.shape} voxels, the {len(source)} source images of "
        f"{source.shape[0]} rows and {source.shape[1]} columns on another: {why}. A DICOM segmentation lies "
        "on the grid of its images, voxel by voxel; give the series that the scan was read from",
        code=8054,
    )


def _image(header: Dataset) -> Dataset:
    """What highdicom asks of an image of one frame."""
    image = Dataset()
    for keyword in _OF_AN_IMAGE:
        if keyword in header:
            image.add(header[keyword])
    if "SliceThickness" not in image:
        image.SliceThickness = None
    return _with_empty_patient(image)


def _many_frames(header: Dataset, planes: Sequence[_Plane]) -> Dataset:
    """What highdicom asks of an image of many frames: what is alike in all of them stands in one place."""
    image = _image(header)
    image.NumberOfFrames = len(planes)
    shared, first = Dataset(), planes[0]
    shared.PlaneOrientationSequence = [first.orientation]
    shared.PixelMeasuresSequence = [first.measures]
    image.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for plane in planes:
        frame = Dataset()
        frame.PlanePositionSequence = [plane.position]
        frames.append(frame)
    image.PerFrameFunctionalGroupsSequence = frames
    return image


def _with_empty_patient(image: Dataset) -> Dataset:
    """Highdicom checks the patient, and says what it found in the log: it is put in at the end."""
    for keyword in ALWAYS:
        setattr(image, keyword, "")
    return image


def _frames(header: Dataset) -> list[_Plane]:
    shared = header.SharedFunctionalGroupsSequence[0]

    def group(item: Dataset, name: str) -> Dataset:
        found: Dataset = (item if name in item else shared)[name][0]
        return found

    names = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    return [_Plane(*(group(item, name) for name in names)) for item in header[_FRAMES].value]
