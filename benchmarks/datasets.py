"""The labelled data of the accuracy benchmark, upright, from the folders they were published in."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from infnet_runtime import CtVolume
from infnet_runtime.arrays import BoolArray, ByteArray
from infnet_runtime.io import open_scan
from infnet_runtime.io.dicom import read_dicom
from infnet_runtime.metrics import LabelledSlice

TEST_SLICES = Path("covid-semiseg/TestingSet/LungInfection-Test")
PUBLISHED = Path("covid-semiseg-results/Results/Lung infection segmentation")
PUBLISHED_MODELS = ("Inf-Net", "Semi-Inf-Net")
ENHANCED = Path("coronacases-slices")
VOLUMES = Path("radiopaedia-covid-volumes")
HEALTHY = Path("lidc-idri-dicom/LIDC-IDRI-0001")
TRANSFERRED = Path("transferred")  # below a folder that 'infnet-train data prepare' wrote

_INFECTION = "_infection.nii.gz"
_ENHANCED_MARGIN = 3  # pixels around the lungs, about what the training slices have


def test_slices(data: Path) -> Iterator[LabelledSlice]:
    """The 48 slices of the paper, turned upright."""
    for path in sorted((data / TEST_SLICES / "Imgs").glob("*.jpg")):
        truth = read_grey(data / TEST_SLICES / "GT" / f"{path.stem}.png") > 128
        yield path.stem, np.ascontiguousarray(read_grey(path).T), np.ascontiguousarray(truth.T)


def published_map(data: Path, model: str, name: str) -> ByteArray:
    """The authors' map of a test slice, turned upright. It is stretched to 0..255 in each image."""
    return np.ascontiguousarray(read_grey(data / PUBLISHED / model / f"{name}.png").T)


def enhanced_slices(data: Path) -> Iterator[LabelledSlice]:
    """Slices of coronacases volumes with stretched contrast, cut at the labelled lungs."""
    folder = data / ENHANCED
    for path in sorted((folder / "ct").glob("*.png")):
        lung = read_grey(folder / "lung" / path.name) > 128
        box = tuple(
            slice(max(found[0] - _ENHANCED_MARGIN, 0), found[-1] + _ENHANCED_MARGIN + 1)
            for found in (np.flatnonzero(lung.any(axis=axis)) for axis in (1, 0))
        )
        yield path.stem, read_grey(path)[box], (read_grey(folder / "infection" / path.name) > 128)[box]


def transferred_slices(prepared: Path) -> Iterator[LabelledSlice]:
    """The same labels on the slices of COVID-SemiSeg that show the same planes without enhancement."""
    folder = prepared / TRANSFERRED
    for path in sorted((folder / "Imgs").glob("*.png")):
        yield path.stem, read_grey(path), read_grey(folder / "GT" / path.name) > 128


def case_of(name: str) -> str:
    """Case of a coronacases slice.

    Examples
    --------
    >>> case_of("coronacases_001_0007"), case_of("Data-1_coronacases_org_001_7")
    ('coronacases_001', 'coronacases_001')
    """
    return f"coronacases_{name.split('_')[-2]}"


def case_names(data: Path, prepared: Path | None) -> list[str]:
    """Names of the cases that have slices, enhanced or not."""
    folders = [data / ENHANCED / "ct", *([prepared / TRANSFERRED / "Imgs"] if prepared else [])]
    return sorted({case_of(path.stem) for folder in folders for path in folder.glob("*.png")})


def volume_names(data: Path) -> list[str]:
    """Names of the labelled volumes."""
    return sorted(path.name.removesuffix(_INFECTION) for path in (data / VOLUMES).glob(f"*{_INFECTION}"))


def labelled_volume(data: Path, name: str) -> tuple[CtVolume, BoolArray]:
    """A volume and its infection (i, j, k); every label but 0 is infection."""
    from infnet_train.data.volumes import labels_on  # needs cc3d, which a GPU host lacks

    volume = open_scan(data / VOLUMES / f"{name}_ct.nii.gz").volume
    labels = labels_on(volume, data / VOLUMES / f"{name}{_INFECTION}")
    return volume, volume.from_lps(np.asarray(labels != 0))


def healthy_series(data: Path) -> CtVolume:
    """A chest CT without COVID-19 in HU.

    Raises
    ------
    InputError
        If pydicom is not installed.
    """
    return read_dicom(data / HEALTHY).volume


def read_grey(path: Path) -> ByteArray:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise SystemExit(f"cannot read {path}")
    return np.asarray(image, np.uint8)
