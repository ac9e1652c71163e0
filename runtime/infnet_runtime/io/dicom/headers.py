"""What the header of a CT image says, read up to the pixels; other objects are named and set aside.

The SOP class is looked at first: only the three classes of CT hold Hounsfield units. No patient field is
kept: two patients are told apart by a digest.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from infnet_runtime.errors import InputError
from infnet_runtime.io.dicom.fields import Fields
from infnet_runtime.io.dicom.found import MAGIC, DicomFile
from infnet_runtime.io.dicom.library import pydicom
from infnet_runtime.io.formats import DICOM_SUFFIXES, POINTERS, looks_like_dataset

CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image",
}
_SINGLE = "1.2.840.10008.5.1.4.1.1.2"
_DIRECTORY = "1.2.840.10008.1.3.10"  # a DICOMDIR
# Pictures that carry the class of a CT and are no slices of one.
_NO_SLICES = {
    "LOCALIZER": "localizer",
    "REF_SURVIEW": "localizer",
    "SCREEN SAVE": "screen save",
    **dict.fromkeys(
        (
            "MIP",
            "CSA MIP",
            "MAXIP",
            "MAXIMUM_IP",
            "MINIP",
            "MINIMUM_IP",
            "VRT",
            "CSA VRT",
            "VOLREN",
            "PROJECTION IMAGE",
        ),
        "projection of a volume",
    ),
}
_PREAMBLE = 128
_MACROS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
)
_TAGS = (  # noqa: SIM905 - forty words
    "ImageType SOPClassUID SOPInstanceUID Modality SeriesDescription PatientName PatientID SliceThickness "
    "KVP ConvolutionKernel StudyInstanceUID SeriesInstanceUID AcquisitionNumber AcquisitionTime "
    "TemporalPositionIdentifier ImagePositionPatient ImageOrientationPatient FrameOfReferenceUID "
    "SamplesPerPixel PhotometricInterpretation NumberOfFrames Rows Columns PixelSpacing BitsAllocated "
    "BitsStored HighBit PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit RescaleIntercept "
    "RescaleSlope RescaleType ModalityLUTSequence LossyImageCompression SharedFunctionalGroupsSequence "
    "PerFrameFunctionalGroupsSequence Manufacturer ManufacturerModelName ContrastBolusAgent"
).split()


@dataclass(frozen=True, slots=True)
class Stored:
    """How the pixels of a file are stored.

    Parameters
    ----------
    syntax
        Transfer syntax UID; empty where the file does not say.
    offset
        Of the tag of the pixels in the file, bytes.
    explicit, little
        Encoding of that tag.
    padding
        Stored numbers from the first to the second are no picture; none where the file does not say.
    """

    rows: int | None
    columns: int | None
    samples: int | None
    photometric: str
    bits_allocated: int | None
    bits_stored: int | None
    high_bit: int | None
    signed: bool
    syntax: str
    offset: int
    explicit: bool
    little: bool
    padding: tuple[int, int] | None
    has_table: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """What belongs to one plane; None where the file does not say, NaN for what is no number."""

    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    slope: float | None
    intercept: float | None
    rescale_type: str
    stack: str
    is_slice: bool = True


@dataclass(frozen=True, slots=True)
class Image:
    """One file of a CT, with one plane or several."""

    file: DicomFile
    sop_class: str
    instance_uid: str
    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    patient: str
    description: str
    kernel: str
    thickness_mm: float | None
    kvp: float | None
    manufacturer: str
    contrast: bool
    acquisition: str
    is_lossy: bool
    stored: Stored
    frames: tuple[Frame, ...]

    @property
    def name(self) -> str:
        """Of the file, for messages."""
        return self.file.name


@dataclass(frozen=True)
class Examined:
    """What was found among files.

    Parameters
    ----------
    images
        Those of CT.
    set_aside
        What else is there, and how often.
    damaged
        Files that are DICOM and could not be read, and why: a slice may be among them.
    """

    images: list[Image] = field(default_factory=list)
    set_aside: Counter[str] = field(default_factory=Counter)
    damaged: list[tuple[DicomFile, str]] = field(default_factory=list)

    def __add__(self, other: "Examined") -> "Examined":
        return Examined(
            self.images + other.images, self.set_aside + other.set_aside, self.damaged + other.damaged
        )

    @property
    def others(self) -> str:
        """What was set aside, in words."""
        return ", ".join(f"{count} x {what}" for what, count in self.set_aside.most_common())


def examine(files: Iterable[DicomFile]) -> Examined:
    """Read the headers of all files that are DICOM.

    Raises
    ------
    InputError
        If a file cannot be read from the disk.
    """
    examined = Examined()
    for file in files:
        try:
            with file.open() as stream:
                _examine(file, stream, examined)
        except OSError as error:
            raise InputError(f"cannot read {file.name}: {error.strerror or error}", code=3005) from error
    return examined


def _examine(file: DicomFile, stream: BinaryIO, into: Examined) -> None:
    start = stream.read(_PREAMBLE + len(MAGIC))
    is_part_10 = start[_PREAMBLE:] == MAGIC
    is_named = file.own_name.lower().endswith(DICOM_SUFFIXES)
    if start.startswith(POINTERS):
        into.damaged.append((file, "a pointer of git-lfs or git-annex, whose content was not fetched"))
        return
    if not is_part_10 and not looks_like_dataset(start):
        if is_named:
            into.damaged.append((file, f"named as DICOM, {'empty' if not start else 'and is none'}"))
        else:
            into.set_aside["empty file" if not start else "file of another kind"] += 1
        return
    stream.seek(0)
    try:
        dataset = pydicom().dcmread(stream, stop_before_pixels=True, force=True, specific_tags=_TAGS)
        fields = Fields(dataset)
        meta = Fields(dataset.file_meta)
        sop_class = fields.text("SOPClassUID") or meta.text("MediaStorageSOPClassUID")
        if not is_part_10 and not is_named and sop_class.count(".") < 4:
            into.set_aside["file of another kind"] += 1
            return
        kind = _kind(sop_class, fields)
        if kind is not None:
            into.set_aside[kind] += 1
            return
        into.images.append(_image(file, stream, dataset, fields, sop_class))
    except _Unusable as error:
        into.damaged.append((file, str(error)))
    except OSError:
        raise
    except Exception as error:  # whatever a damaged header makes of a parser
        into.damaged.append((file, type(error).__name__))


class _Unusable(Exception):
    """A CT image that cannot be one."""


def _kind(sop_class: str, fields: Fields) -> str | None:
    """What an object is that is no CT slice; None for one."""
    if not sop_class:
        raise _Unusable("no SOP class: cut off?")
    modality = fields.text("Modality")
    # The UID of the class comes first and that of the object next: without it the class may be cut off too.
    if sop_class not in (*CT_CLASSES, _DIRECTORY) and "SOPInstanceUID" not in fields:
        raise _Unusable("no SOPInstanceUID: cut off?")
    if sop_class not in CT_CLASSES:
        known = pydicom().uid.UID(sop_class).name
        return f"{known} ({modality})" if modality else str(known)
    if modality not in ("", "CT"):
        return f"{CT_CLASSES[sop_class]} with Modality {modality}"
    kinds = [_NO_SLICES[part] for part in fields.texts("ImageType") if part in _NO_SLICES]
    if kinds:
        return kinds[0]
    samples = fields.whole("SamplesPerPixel")
    return None if samples in (1, None) else "picture in colour"


def _image(
    file: DicomFile,
    stream: BinaryIO,
    dataset: Any,  # noqa: ANN401 - pydicom is loaded late
    fields: Fields,
    sop_class: str,
) -> Image:
    stored = _stored(stream, dataset, fields)
    series_uid, study_uid = fields.text("SeriesInstanceUID"), fields.text("StudyInstanceUID")
    # Some programs that take names away take UIDs too: an empty series is one of its own.
    instance_uid = fields.text("SOPInstanceUID") or Fields(dataset.file_meta).text(
        "MediaStorageSOPInstanceUID"
    )
    if not instance_uid:
        raise _Unusable("no SOPInstanceUID")
    patient = hashlib.sha256(fields.raw("PatientID").strip() or fields.raw("PatientName").strip()).hexdigest()
    shared = fields.first("SharedFunctionalGroupsSequence")
    reconstruction = shared and shared.first("CTReconstructionSequence")
    thickness = fields.numbers("SliceThickness")
    measures = shared and shared.first("PixelMeasuresSequence")
    if thickness is None and measures:
        thickness = measures.numbers("SliceThickness")
    kvp = fields.numbers("KVP")
    kernel = fields.text("ConvolutionKernel") or (
        reconstruction.text("ConvolutionKernel") if reconstruction else ""
    )
    return Image(
        file,
        sop_class,
        instance_uid,
        series_uid,
        study_uid,
        fields.text("FrameOfReferenceUID"),
        patient,
        _described(dataset, fields),
        kernel,
        thickness[0] if thickness else None,
        kvp[0] if kvp else None,
        " ".join(filter(None, (fields.text("Manufacturer"), fields.text("ManufacturerModelName")))),
        bool(fields.text("ContrastBolusAgent")),
        fields.text("AcquisitionNumber"),
        fields.text("LossyImageCompression") == "01",
        stored,
        _frames(fields, sop_class, shared),
    )


def _described(dataset: Any, fields: Fields) -> str:  # noqa: ANN401 - pydicom is loaded late
    """Description of the series in its own letters."""
    if fields.raw("SeriesDescription").isascii():
        return fields.text("SeriesDescription")
    return "".join(
        letter if letter.isprintable() else "?"
        for letter in str(dataset.get("SeriesDescription", "")).strip()
    )


def _stored(stream: BinaryIO, dataset: Any, fields: Fields) -> Stored:  # noqa: ANN401
    offset = stream.tell()
    head = stream.read(12)
    explicit, little = not dataset.original_encoding[0], bool(dataset.original_encoding[1])
    group, element = (int.from_bytes(head[at : at + 2], "little" if little else "big") for at in (0, 2))
    if group != 0x7FE0 or element not in (0x0008, 0x0009, 0x0010):
        raise _Unusable("no pixels: cut off before them?")
    if element != 0x0010:
        raise _Unusable("pixels of floating point (7FE0,0008 or 0009), which no CT scanner writes")
    signed = fields.whole("PixelRepresentation") == 1
    padding = fields.whole("PixelPaddingValue", signed=signed)
    limit = fields.whole("PixelPaddingRangeLimit", signed=signed)
    ends = None if padding is None else sorted((padding, padding if limit is None else limit))
    return Stored(
        fields.whole("Rows"),
        fields.whole("Columns"),
        fields.whole("SamplesPerPixel"),
        fields.text("PhotometricInterpretation"),
        fields.whole("BitsAllocated"),
        fields.whole("BitsStored"),
        fields.whole("HighBit"),
        signed,
        Fields(dataset.file_meta).text("TransferSyntaxUID"),
        offset,
        explicit,
        little,
        None if ends is None else (ends[0], ends[1]),
        "ModalityLUTSequence" in fields,
    )


def _frames(fields: Fields, sop_class: str, shared: Fields | None) -> tuple[Frame, ...]:
    if sop_class == _SINGLE:
        if fields.whole("NumberOfFrames") not in (None, 0, 1):
            raise _Unusable("several frames in a CT Image, which holds one")
        return (_frame(fields, fields, fields, fields, ""),)
    frames = []
    for own in fields.items("PerFrameFunctionalGroupsSequence"):
        position, orientation, measures, transformation = (
            own.first(name) or (shared and shared.first(name)) for name in _MACROS
        )
        content = own.first("FrameContentSequence")
        kind = own.first("CTImageFrameTypeSequence")
        is_slice = kind is None or not any(part in _NO_SLICES for part in kind.texts("FrameType"))
        stack = content.text("StackID") if content else ""
        frames.append(_frame(position, orientation, measures, transformation, stack, is_slice=is_slice))
    count = fields.whole("NumberOfFrames")
    if not frames or count != len(frames):
        raise _Unusable(f"NumberOfFrames {count}, and {len(frames)} groups of them")
    return tuple(frames)


def _frame(
    position: Fields | None,
    orientation: Fields | None,
    measures: Fields | None,
    transformation: Fields | None,
    stack: str,
    *,
    is_slice: bool = True,
) -> Frame:
    slope = transformation and transformation.numbers("RescaleSlope")
    intercept = transformation and transformation.numbers("RescaleIntercept")
    return Frame(
        (position and position.numbers("ImagePositionPatient")) or None,
        (orientation and orientation.numbers("ImageOrientationPatient")) or None,
        (measures and measures.numbers("PixelSpacing")) or None,
        slope[0] if slope else None,
        intercept[0] if intercept else None,
        transformation.text("RescaleType") if transformation else "",
        stack,
        is_slice,
    )
