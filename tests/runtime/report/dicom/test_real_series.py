"""Series as users have them: each frame of a segmentation is what its own image says, read by pydicom."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian

from dicom_results import PROVENANCE
from dicom_tools import complaints, measured, read_back
from infnet_runtime import Segmentation
from infnet_runtime.arrays import AnyArray
from infnet_runtime.io.dicom import DicomScan, read_dicom
from infnet_runtime.measure.burden import quantify
from infnet_runtime.report.dicom.segmentation import WrittenSegmentation, write_segmentation
from infnet_runtime.report.dicom.source import read_source
from infnet_runtime.report.dicom.structured_report import write_structured_report
from infnet_runtime.scan.sides import RIGHT

pytestmark = [pytest.mark.data, pytest.mark.slow]
DERIVED = (
    *(
        "reversed_order",
        "implicit_vr",
        "big_endian",
        "deflated",
        "no_preamble",
        "rescale_per_slice",
        "jitter",
    ),
    *("anisotropic_pixels", "coronal", "oblique", "duplicate_files", "charset", "enhanced"),
)
REAL = ("lidc_chest", "coded_j2k")
INFECTION_BELOW_HU, LUNG_BELOW_HU = -850, -300  # no infection: whatever lies asymmetrically will do
LABELS = {
    "Infection": (None, INFECTION_BELOW_HU),
    "Right lung without infection": (INFECTION_BELOW_HU, LUNG_BELOW_HU),
}


@pytest.fixture(scope="module")
def derived(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    script, series = data_root / "dicom-field/make_cases.py", data_root / "ct-misc/cip-ct64-dicom"
    if not script.is_file() or not series.is_dir():
        pytest.skip(f"{script} or {series} is not there")
    subprocess.run(
        [sys.executable, script, series, folder, "--only", *DERIVED], check=True, capture_output=True
    )
    return folder


def by_values(scan: DicomScan) -> Segmentation:
    """A result that can be told from each image alone."""
    volume = scan.volume
    hu = np.asarray(volume.voxels)
    mask = (hu < INFECTION_BELOW_HU).astype(np.uint8)
    lungs = (hu < LUNG_BELOW_HU).astype(np.uint8) * np.uint8(RIGHT)
    numbers = quantify(volume.to_lps(mask), volume.to_lps(lungs), volume.grid.voxel_ml, hu=volume.to_lps())
    return Segmentation(volume, mask, lungs, numbers, PROVENANCE, None)


def images(files: list[Path]) -> dict[tuple[str, int], AnyArray]:
    """(image, frame) to HU."""
    found = {}
    for path in files:
        image = dcmread(path, force=True)
        if "SOPClassUID" not in image or not str(image.SOPClassUID).startswith("1.2.840.10008.5.1.4.1.1.2"):
            continue
        if "PixelData" not in image or "LOCALIZER" in image.ImageType:
            continue
        if "TransferSyntaxUID" not in image.file_meta:  # of old archives
            image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        pixels = image.pixel_array
        for number, plane in enumerate(pixels if pixels.ndim == 3 else pixels[np.newaxis], start=1):
            rescale = image
            if "PerFrameFunctionalGroupsSequence" in image:
                groups = image.PerFrameFunctionalGroupsSequence[number - 1]
                shared = image.SharedFunctionalGroupsSequence[0]
                name = "PixelValueTransformationSequence"
                rescale = (groups if name in groups else shared)[name][0]
            found[str(image.SOPInstanceUID), number] = plane * float(rescale.RescaleSlope) + float(
                rescale.RescaleIntercept
            )
    return found


def check(folder: Path, out: Path) -> tuple[Segmentation, WrittenSegmentation]:
    scan = read_dicom(folder)
    result, source = by_values(scan), read_source(scan.source)
    written = write_segmentation(out / "a.seg.dcm", result, source)
    write_structured_report(out / "a.sr.dcm", result, source, written)
    made = dcmread(out / "a.seg.dcm")
    labels = {item.SegmentNumber: item.SegmentLabel for item in made.SegmentSequence}
    assert set(labels.values()) == set(LABELS)
    left = {(label, *key): hu for label in LABELS for key, hu in images(own_files(scan)).items()}
    for item, frame in zip(made.PerFrameFunctionalGroupsSequence, made.pixel_array, strict=True):
        image = item.DerivationImageSequence[0].SourceImageSequence[0]
        label = labels[item.SegmentIdentificationSequence[0].ReferencedSegmentNumber]
        key = label, str(image.ReferencedSOPInstanceUID), int(image.get("ReferencedFrameNumber", 1))
        low, high = LABELS[label]
        hu = left.pop(key)
        assert np.array_equal(frame > 0, (hu < high) & (hu >= (-np.inf if low is None else low)))
    for (label, *_), hu in left.items():  # those without a frame have nothing to show
        low, high = LABELS[label]
        assert not ((hu < high) & (hu >= (-np.inf if low is None else low))).any()
    return result, written


def errors(path: Path) -> list[str]:
    """Warnings are about what is copied, such as the names of physicians."""
    return [line for line in complaints(path) if line.startswith("Error")]


def own_files(scan: DicomScan) -> list[Path]:
    return sorted({file.path for file in scan.source.files})


@pytest.mark.parametrize("case", DERIVED)
def test_derived_series(derived: Path, tmp_path: Path, case: str) -> None:
    check(derived / case, tmp_path)
    for name in ("a.seg.dcm", "a.sr.dcm"):
        assert errors(tmp_path / name) == []


@pytest.mark.parametrize("case", REAL)
def test_real_series(data_root: Path, tmp_path: Path, case: str) -> None:
    check(data_root / "dicom-field/real" / case, tmp_path)
    for name in ("a.seg.dcm", "a.sr.dcm"):
        assert errors(tmp_path / name) == []


def test_a_whole_chest(data_root: Path, tmp_path: Path) -> None:
    result, written = check(data_root / "lidc-idri-dicom/LIDC-IDRI-0001", tmp_path)
    for name in ("a.seg.dcm", "a.sr.dcm"):
        assert errors(tmp_path / name) == []
    infection = written.segments[-1]
    grid, mask = read_back(tmp_path / "a.seg.dcm", tmp_path / "back")[infection.number]
    assert np.count_nonzero(mask) == np.count_nonzero(result.mask)
    assert np.count_nonzero(mask) * grid.voxel_mm3 / 1000 == pytest.approx(infection.ml, rel=1e-5)
    both = result.quantification.both
    assert both is not None
    assert infection.ml == pytest.approx(both.infection_ml, rel=1e-9)
    assert infection.mean_hu == pytest.approx(both.infection_mean_hu, abs=1e-6)
    groups = {group.get("ReferencedSegment"): group for group in measured(tmp_path / "a.sr.dcm", tmp_path)}
    values = [float(item["value"]) for item in groups[infection.number]["measurementItems"]]
    assert values[0] == pytest.approx(infection.ml, abs=1e-6)
