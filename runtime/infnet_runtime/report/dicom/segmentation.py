"""The DICOM segmentation of a result: BINARY, on the grid of the scan's images, a frame for each slice."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from highdicom.seg import Segmentation as SegObject
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat

from infnet_runtime.arrays import ByteArray
from infnet_runtime.errors import OutputError
from infnet_runtime.io.dicom import DicomSource
from infnet_runtime.report.dicom import codes
from infnet_runtime.report.dicom.identity import MANUFACTURER, RESEARCH, ascii_text, take_identity
from infnet_runtime.report.dicom.segments import Segment, segments
from infnet_runtime.report.dicom.source import SourceImages, images_of, placement
from infnet_runtime.report.dicom.whole import write_object
from infnet_runtime.segment.result import Provenance, Segmentation

SERIES_NUMBER = 9601  # behind those of scanners; nothing needs it to be free
LABEL = "INFNET_SEG"


@dataclass(frozen=True)
class WrittenSegmentation:
    """What a report refers to.

    Parameters
    ----------
    class_uid, instance_uid, series_uid
        Of the object.
    segments
        In the order of their numbers.
    """

    class_uid: str
    instance_uid: str
    series_uid: str
    segments: tuple[Segment, ...]


def write_segmentation(
    path: Path, result: Segmentation, source: SourceImages | DicomSource
) -> WrittenSegmentation:
    """Write a result as a DICOM segmentation in the study of its scan, in a series of its own.

    Right lung, left lung and infection, no voxel in two of them: the lungs are without their infection. Of a
    result with classes ground glass and consolidation stand in the place of infection. A segment without a
    voxel is left out, so that without infection there are the lungs alone. Every run has new UIDs.

    Parameters
    ----------
    path
        File; it gets its name when it is whole.
    source
        The images that the scan was read from: ``source`` of what ``infnet_runtime.read_dicom`` gives.

    Raises
    ------
    OutputError
        If the result does not lie on the grid of the images, no lung was found, or the file cannot be
        written.
    """
    source = images_of(source)
    placed = placement(result.volume, source)
    numbers, found = segments(result, placed)
    step_mm = result.volume.spacing_mm[placed.axes[0]]
    made = _object(numbers, found, source, result.provenance)
    _say_thickness(made, step_mm)
    take_identity(made, source.header)
    write_object(path, made)
    return WrittenSegmentation(
        str(made.SOPClassUID), str(made.SOPInstanceUID), str(made.SeriesInstanceUID), found
    )


def _object(
    numbers: ByteArray,
    found: Sequence[Segment],
    source: SourceImages,
    provenance: Provenance,
) -> Dataset:
    try:
        return SegObject(
            source_images=source.images,
            pixel_array=numbers,
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=[_description(segment, provenance) for segment in found],
            series_instance_uid=generate_uid(prefix=None),
            series_number=SERIES_NUMBER,
            sop_instance_uid=generate_uid(prefix=None),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=ascii_text(provenance.model),
            software_versions=version(provenance),
            device_serial_number=ascii_text(provenance.model_sha256),
            content_label=LABEL,
            content_description=RESEARCH,
            series_description=f"infnet segmentation. {RESEARCH}",
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise not_made("segmentation", error) from error


def _say_thickness(made: Dataset, step_mm: float) -> None:
    """Put the distance between slices where the series does not say how thick they are."""
    measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    if not measures.get("SliceThickness"):
        measures.SliceThickness = DSfloat(step_mm, auto_format=True)


def not_made(what: str, error: Exception) -> OutputError:
    """Error of an object that highdicom refuses to make; it has seen no patient."""
    return OutputError(
        f"cannot make the DICOM {what}: {error}. The headers of the series break a rule of the standard; "
        "send it again from the archive, or take the NIfTI and JSON results",
        code=8056,
    )


def version(provenance: Provenance) -> str:
    """Of the program and its model, for the fields that ask for a version."""
    return ascii_text(
        f"{provenance.infnet}; {provenance.model} {provenance.model_version} {provenance.model_sha256[:12]}"
    )


def _description(segment: Segment, provenance: Provenance) -> SegmentDescription:
    kind = segment.kind
    described = SegmentDescription(
        segment_number=segment.number,
        segment_label=kind.label,
        segmented_property_category=kind.category,
        segmented_property_type=kind.code,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=MANUFACTURER, family=codes.ARTIFICIAL_INTELLIGENCE, version=version(provenance)
        ),
        tracking_uid=segment.tracking_uid,
        tracking_id=kind.label,
        display_color=CIELabColor.from_rgb(*kind.rgb),
    )
    if kind.side is not None:
        kind_item = described.SegmentedPropertyTypeCodeSequence[0]
        kind_item.SegmentedPropertyTypeModifierCodeSequence = [CodedConcept.from_code(kind.side)]
    return described
