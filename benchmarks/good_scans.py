"""Every scan of the data sets as it is read, for rules that must refuse none of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from infnet_runtime import CtVolume, Intensity
from infnet_runtime.arrays import AnyArray, ByteArray
from infnet_runtime.io import open_scan
from infnet_runtime.io.nifti import read_stored

VOLUMES = (
    "healthy-ct-volumes/*_ct.nii.gz",
    "ct-misc/totalsegmentator/*.nii.gz",
    "radiopaedia-covid-volumes*/*_ct.nii.gz",
)
SERIES = ("lidc-idri-dicom/LIDC-IDRI-0001", "ct-misc/cip-ct64-dicom")
SINGLE = "covid-ny-sbu-dicom/axial/*.dcm"
PICTURES = (
    "coronacases-slices/ct/*.png",
    "iq-othnccd-normal/images/*.jpg",
    "covid-semiseg/TestingSet/LungInfection-Test/Imgs/*.jpg",
    "covid-semiseg/TrainingSet/LungInfection-Train/Doctor-label/Imgs/*.jpg",
)


@dataclass(frozen=True, eq=False)
class GoodScan:
    """One scan, opened when it is wanted.

    Parameters
    ----------
    group
        Folder of the data set it belongs to.
    """

    name: str
    group: str
    open: Callable[[], CtVolume]
    lungs: Path | None = None

    @cached_property
    def volume(self) -> CtVolume:
        """The scan, read once."""
        return self.open()


def good_scans(data: Path, *, every: int = 1) -> Iterator[GoodScan]:
    """The scans in a fixed order. Series and single slices in DICOM are left out without pydicom.

    Parameters
    ----------
    every
        Of the pictures only every so many-th.
    """
    for pattern in VOLUMES:
        for path in sorted(data.glob(pattern)):
            lungs = path.with_name(path.name.replace("_ct.nii", "_lung.nii"))
            yield GoodScan(
                path.name,
                _group(path, data),
                lambda p=path: open_scan(p).volume,
                lungs if lungs != path and lungs.exists() else None,
            )
    for folder in SERIES:
        yield GoodScan(Path(folder).name, folder.split("/")[0], lambda f=data / folder: dicom_series(f))
    for path in sorted(data.glob(SINGLE)):
        yield GoodScan(path.name, _group(path, data), lambda p=path: dicom_series(p))
    for pattern in PICTURES:
        for path in sorted(data.glob(pattern))[::every]:
            yield GoodScan(path.name, _group(path, data), lambda p=path: open_scan(p).volume)


def lung_mask_of(scan: GoodScan) -> ByteArray | None:
    """The lung mask beside a scan."""
    return None if scan.lungs is None else np.asarray(read_stored(scan.lungs)[2] > 0, np.uint8)


def dicom_series(path: Path) -> CtVolume:
    """A folder of slices, or one slice, axes (slice, row, column) in LPS. The runtime refuses a single one.

    Raises
    ------
    ImportError
        If pydicom is not installed.
    """
    import pydicom

    files = [pydicom.dcmread(file) for file in ([path] if path.is_file() else sorted(path.iterdir()))]
    files.sort(key=lambda file: float(file.ImagePositionPatient[2]))
    hu: AnyArray = np.stack(
        [file.pixel_array.astype(np.int16) + int(file.get("RescaleIntercept", 0)) for file in files]
    )
    row_mm, column_mm = map(float, files[0].PixelSpacing)
    ends = [float(file.ImagePositionPatient[2]) for file in (files[0], files[-1])]
    step_mm = (ends[1] - ends[0]) / (len(files) - 1) if len(files) > 1 else float(files[0].SliceThickness)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = step_mm, -row_mm, -column_mm, 1
    return CtVolume(hu, affine, Intensity.HU, path.name)


def _group(path: Path, data: Path) -> str:
    return path.relative_to(data).parts[0]
