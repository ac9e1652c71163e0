"""Synthetic CT series of the phantom as DICOM, with any fault a test wants.

``slices`` gives one data set a slice, foot to head, ``enhanced`` all of them as one object; a test changes
what it likes and ``write`` makes files of them. Patient fields hold ``PLANTED``, to be looked for in outputs.
"""

import copy
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from infnet_runtime.arrays import Affine, AnyArray
from infnet_runtime.scan.phantom import ChestPhantom, chest_phantom

PLANTED = "Geheim"
"""In every patient field that is written."""
CODED = (RLELossless, JPEGLSLossless, JPEG2000Lossless)
"""Syntaxes that pixels are compressed in; the others are ways of writing a file."""
ROOT = "1.2.826.0.1.3680043.10.9998"  # for tests, registered to nobody
ORIGIN_MM = (-190.0, -160.0, -300.0)  # x, y, z of LPS: centre of the first voxel
PATIENT = {
    "PatientName": f"{PLANTED}^Name",
    "PatientID": f"{PLANTED}-ID",
    "PatientBirthDate": "19310507",
    "PatientSex": "F",
    "PatientAge": "095Y",
    "AccessionNumber": f"{PLANTED}-ACC",
    "InstitutionName": f"{PLANTED} Klinik",
    "ReferringPhysicianName": f"{PLANTED}^Arzt",
}


def uid(*parts: object) -> UID:
    """The same number for the same parts."""
    digest = hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()
    return UID(f"{ROOT}.{int(digest, 16) % 10**24 + 1}")


def small_chest() -> ChestPhantom:
    """For tests of reading: 6 slices of 24 x 32."""
    return chest_phantom((6, 24, 32), (40.0, 13.5, 12.0))


def slices(
    phantom: ChestPhantom | None = None,
    *,
    case: str = "plain",
    series: str = "Thorax",
    kernel: str = "B31f",
    intercept: int = -1024,
    signed: bool = True,
) -> list[Dataset]:
    """CT Image objects of a phantom (``small_chest`` where absent), foot to head.

    Parameters
    ----------
    case
        Another one is another patient and study.
    series
        Description; another one is another series of the study.
    intercept
        HU = stored + intercept.
    """
    phantom = phantom or small_chest()
    stored = phantom.hu.astype(np.int32) - intercept
    assert signed or stored.min() >= 0  # noise goes below -1024 HU
    made = []
    for k, plane in enumerate(stored):
        one = _head(case, series, kernel)
        _set_pixels(one, plane, signed=signed)
        one.SOPInstanceUID, one.InstanceNumber = uid(case, series, k), k + 1
        one.RescaleSlope, one.RescaleIntercept, one.RescaleType = "1", str(intercept), "HU"
        one.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        one.ImagePositionPatient = [*ORIGIN_MM[:2], ORIGIN_MM[2] + k * phantom.spacing_mm[0]]
        one.PixelSpacing = list(phantom.spacing_mm[1:])
        one.SliceThickness = phantom.spacing_mm[0]
        made.append(one)
    return made


def _head(case: str, series: str, kernel: str) -> Dataset:
    one = Dataset()
    one.SpecificCharacterSet = "ISO_IR 100"
    one.SOPClassUID, one.Modality = CTImageStorage, "CT"
    one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    for name, value in PATIENT.items():
        setattr(one, name, value)
    if case != "plain":
        one.PatientID = f"{PLANTED}-{case}"
    one.StudyInstanceUID, one.SeriesInstanceUID = uid(case), uid(case, series)
    one.FrameOfReferenceUID = uid(case, "frame of reference")
    one.StudyDate = one.SeriesDate = one.AcquisitionDate = one.ContentDate = "20210401"
    one.StudyTime = one.SeriesTime = one.AcquisitionTime = one.ContentTime = "101500"
    one.StudyID, one.SeriesNumber, one.AcquisitionNumber = "1", 2, 1
    one.Manufacturer, one.ManufacturerModelName = "ACME", "Tube 64"
    one.SeriesDescription, one.ConvolutionKernel, one.KVP = series, kernel, "120"
    one.PatientPosition, one.PositionReferenceIndicator = "HFS", ""
    return one


def _set_pixels(one: Dataset, stored: AnyArray, *, signed: bool) -> None:
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.Rows, one.Columns = stored.shape[-2:]
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, int(signed)
    one.add_new("PixelData", "OW", stored.astype("<i2" if signed else "<u2").tobytes())


def enhanced(single: Sequence[Dataset]) -> Dataset:
    """One Enhanced CT object of single slices, frames in the order given."""
    one = copy.deepcopy(single[0])
    moved = "ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness RescaleSlope "
    for name in (moved + "RescaleIntercept RescaleType ConvolutionKernel KVP").split():
        delattr(one, name)
    one.SOPClassUID, one.ImageType = EnhancedCTImageStorage, ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    one.NumberOfFrames, one.InstanceNumber = len(single), 1
    one.PixelData = b"".join(slice_.PixelData for slice_ in single)
    one.SharedFunctionalGroupsSequence = Items(
        [
            _item(
                PlaneOrientationSequence=_macro(single[0], "ImageOrientationPatient"),
                PixelMeasuresSequence=_macro(single[0], "PixelSpacing", "SliceThickness"),
                CTReconstructionSequence=_macro(single[0], "ConvolutionKernel"),
            )
        ]
    )
    one.PerFrameFunctionalGroupsSequence = Items(
        _item(
            PlanePositionSequence=_macro(slice_, "ImagePositionPatient"),
            PixelValueTransformationSequence=_macro(
                slice_, "RescaleSlope", "RescaleIntercept", "RescaleType"
            ),
            FrameContentSequence=Items(
                [_item(StackID="1", InStackPositionNumber=k, DimensionIndexValues=[1, k])]
            ),
        )
        for k, slice_ in enumerate(single, start=1)
    )
    return one


def _item(**fields: object) -> Dataset:
    item = Dataset()
    for name, value in fields.items():
        setattr(item, name, value)
    return item


def _macro(source: Dataset, *names: str) -> Items:
    return Items([_item(**{name: source[name].value for name in names if name in source})])


def localizer(single: Sequence[Dataset], *, same_series: bool = False) -> Dataset:
    """A scout view beside a series, or in it."""
    one = copy.deepcopy(single[0])
    one.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    one.ImageOrientationPatient = ["1", "0", "0", "0", "0", "-1"]
    one.SOPInstanceUID, one.SeriesDescription = uid(one.SeriesInstanceUID, "scout"), "Topogram"
    if not same_series:
        one.SeriesInstanceUID = uid(one.SeriesInstanceUID, "scouts")
    return one


def other_object(single: Sequence[Dataset], sop_class: UID, modality: str) -> Dataset:
    """An object of the study without pixels, such as a dose report."""
    one = _head("plain", modality, "")
    one.SOPClassUID, one.Modality = sop_class, modality
    one.SOPInstanceUID, one.StudyInstanceUID = uid("other", modality), single[0].StudyInstanceUID
    return one


def write(
    folder: Path,
    objects: Iterable[Dataset],
    *,
    syntax: UID = ExplicitVRLittleEndian,
    names: str = "IM{:04d}.dcm",
    preamble: bool = True,
) -> list[Path]:
    """Write objects as files, and say which.

    Parameters
    ----------
    names
        Of the files, by number from 1.
    preamble
        False writes as old archives did: implicit VR, nothing before it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, given in enumerate(objects, start=1):
        one, path = copy.deepcopy(given), folder / names.format(number)
        if not preamble:
            dcmwrite(path, one, implicit_vr=True, little_endian=True, enforce_file_format=False)
        else:
            _write_part_10(path, one, syntax)
        paths.append(path)
    return paths


def _write_part_10(path: Path, one: Dataset, syntax: UID) -> None:
    meta = one.file_meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = one.get("SOPClassUID", CTImageStorage)
    meta.MediaStorageSOPInstanceUID = one.get("SOPInstanceUID", uid("file", path.name))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax in CODED:
        one.compress(syntax, generate_instance_uid=False)
    else:
        meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian and "PixelData" in one:
        one.PixelData = np.frombuffer(one.PixelData, "<u2").astype(">u2").tobytes()
    if syntax.is_private:
        dcmwrite(path, one, implicit_vr=False, little_endian=True, enforce_file_format=True)
    else:
        dcmwrite(
            path,
            one,
            implicit_vr=syntax == ImplicitVRLittleEndian,
            little_endian=syntax != ExplicitVRBigEndian,
            enforce_file_format=True,
        )


def affine(phantom: ChestPhantom | None = None) -> Affine:
    """Affine of a scan (column, row, slice) of ``slices``, mm, to NIfTI world coordinates."""
    step_mm, row_mm, column_mm = (phantom or small_chest()).spacing_mm
    made = np.diag([-column_mm, -row_mm, step_mm, 1.0])
    made[:3, 3] = np.multiply(ORIGIN_MM, (-1, -1, 1))
    return made


def pack_with_gdcm(path: Path, syntax: str) -> None:
    """Pack a file again, in what pydicom does not write.

    Parameters
    ----------
    syntax
        As GDCM calls it, ``JPEGLosslessProcess14_1`` for one.
    """
    gdcm = pytest.importorskip("gdcm")
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()
