"""The numbers of a result as a DICOM report: Comprehensive 3D SR, template TID 1500 of DICOM PS3.16.

One group (TID 1411) for each segment measures that segment and nothing else; whole lungs and their infection,
which no segment shows alone, are groups without one (TID 1501). Flags and missing numbers are comments: who
reads the report alone must not miss that a number may be wrong.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias
from uuid import NAMESPACE_OID, uuid5

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from infnet_runtime.io.dicom import DicomSource
from infnet_runtime.measure.result import Burden, Quantification
from infnet_runtime.report.dicom import codes
from infnet_runtime.report.dicom.identity import ALWAYS, MANUFACTURER, RESEARCH, ascii_text, take_identity
from infnet_runtime.report.dicom.segmentation import WrittenSegmentation, not_made, version
from infnet_runtime.report.dicom.segments import Segment
from infnet_runtime.report.dicom.source import SourceImages, images_of
from infnet_runtime.report.dicom.whole import write_object
from infnet_runtime.segment.result import Provenance, Segmentation

SERIES_NUMBER = 9602
_DECIMALS = 6
_GIVEN = ("", "lung_ml", "infection_ml", "infection_percent", "lung_mean_hu", "infection_mean_hu")
_SIDES = {"both": None, "right": codes.RIGHT, "left": codes.LEFT}
_LUNGS = {"both": "Lungs", "right": "Right lung", "left": "Left lung"}
_INFECTIONS = {
    "both": "Infection",
    "right": "Infection of the right lung",
    "left": "Infection of the left lung",
}

_Group: TypeAlias = VolumetricROIMeasurementsAndQualitativeEvaluations | MeasurementsAndQualitativeEvaluations


def write_structured_report(
    path: Path, result: Segmentation, source: SourceImages | DicomSource, segmentation: WrittenSegmentation
) -> None:
    """Write the numbers of a result as a DICOM report in the study of its scan, in a series of its own.

    Parameters
    ----------
    path
        File; it gets its name when it is whole.
    source
        The images that the scan was read from: ``source`` of what ``infnet_runtime.read_dicom`` gives.
    segmentation
        Of the same result, which the report refers to.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    source = images_of(source)
    try:
        made = _object(result, source, segmentation)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise not_made("report", error) from error
    take_identity(made, source.header)
    write_object(path, made)


def _object(result: Segmentation, source: SourceImages, segmentation: WrittenSegmentation) -> Dataset:
    provenance = result.provenance
    groups = [
        *_of_lungs(segmentation, result.quantification, provenance),
        *_of_segments(segmentation, source, result.quantification, provenance),
    ]
    _comment(groups[0], _comments(result.quantification))
    report = MeasurementReport(
        observation_context=ObservationContext(
            ObserverContext(
                CodedConcept.from_code(codes.DEVICE),
                DeviceObserverIdentifyingAttributes(
                    uid=_device_uid(provenance),
                    name=f"infnet. {RESEARCH}",
                    manufacturer_name=MANUFACTURER,
                    model_name=ascii_text(provenance.model),
                ),
            )
        ),
        procedure_reported=codes.CT,
        imaging_measurements=groups,
        title=codes.MEASUREMENT_REPORT,
    )
    return Comprehensive3DSR(
        evidence=[_reference(segmentation, source), *source.images],
        content=report,
        series_instance_uid=generate_uid(prefix=None),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=ascii_text(provenance.model),
        software_versions=version(provenance),
        series_description=f"infnet measurements. {RESEARCH}",
        is_complete=True,
        coding_schemes=[
            CodingSchemeIdentificationItem(
                codes.OWN_SCHEME, name="Codes of infnet", responsible_organization=MANUFACTURER
            )
        ],
    )


def _device_uid(provenance: Provenance) -> str:
    """The same for the same program and model."""
    made_of = f"infnet {provenance.infnet} {provenance.model_sha256}"
    return f"2.25.{uuid5(NAMESPACE_OID, made_of).int}"


def _reference(segmentation: WrittenSegmentation, source: SourceImages) -> Dataset:
    """What the evidence of a report says of the segmentation."""
    made = Dataset()
    for keyword in ALWAYS:
        setattr(made, keyword, "")
    made.StudyInstanceUID = source.images[0].StudyInstanceUID
    made.SeriesInstanceUID = segmentation.series_uid
    made.SOPClassUID, made.SOPInstanceUID = segmentation.class_uid, segmentation.instance_uid
    return made


def _of_segments(
    segmentation: WrittenSegmentation, source: SourceImages, found: Quantification, provenance: Provenance
) -> Iterator[_Group]:
    series = SourceSeriesForSegmentation(source.images[0].SeriesInstanceUID)
    for segment in segmentation.segments:
        yield VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(segment.tracking_uid, segment.kind.label),
            referenced_segment=ReferencedSegment(
                segmentation.class_uid, segmentation.instance_uid, segment.number, source_series=series
            ),
            finding_type=segment.kind.code,
            finding_category=segment.kind.category,
            finding_sites=[FindingSite(codes.LUNG, laterality=segment.kind.side)],
            algorithm_id=_algorithm(provenance),
            measurements=list(_of_segment(segment, found)),
        )


def _of_segment(segment: Segment, found: Quantification) -> Iterator[Measurement]:
    yield _measured(codes.VOLUME, segment.ml, codes.ML)
    if segment.kind.code == codes.OPACITY and found.both and found.both.infection_percent is not None:
        yield _measured(codes.PERCENT_OF_LUNG, found.both.infection_percent, codes.PERCENT)
    if segment.mean_hu is not None:
        yield _measured(codes.ATTENUATION, segment.mean_hu, codes.HOUNSFIELD)


def _measured(name: Code, value: float, unit: Code) -> Measurement:
    """A number, the mean of its region where it is one of HU."""
    derivation = codes.MEAN if name == codes.ATTENUATION else None
    return Measurement(name, round(value, _DECIMALS), unit, derivation=derivation)


def _of_lungs(
    segmentation: WrittenSegmentation, found: Quantification, provenance: Provenance
) -> Iterator[_Group]:
    """Whole lungs and their infection; not the whole infection where a segment shows it."""
    is_shown = any(segment.kind.code == codes.OPACITY for segment in segmentation.segments)
    for region, side in _SIDES.items():
        burden: Burden | None = getattr(found, region)
        if burden is None:
            continue
        lung = [
            (codes.VOLUME, burden.lung_ml, codes.ML),
            (codes.ATTENUATION, burden.lung_mean_hu, codes.HOUNSFIELD),
        ]
        infection = [
            (codes.VOLUME, burden.infection_ml, codes.ML),
            (codes.PERCENT_OF_LUNG, burden.infection_percent, codes.PERCENT),
            (codes.ATTENUATION, burden.infection_mean_hu, codes.HOUNSFIELD),
        ]
        yield from _group(_LUNGS[region], codes.ANATOMICAL, codes.LUNG, side, lung, provenance)
        if side is not None or not is_shown:
            yield from _group(_INFECTIONS[region], codes.ABNORMAL, codes.OPACITY, side, infection, provenance)


def _group(
    label: str,
    category: Code,
    finding: Code,
    side: Code | None,
    numbers: Sequence[tuple[Code, float | None, Code]],
    provenance: Provenance,
) -> Iterator[_Group]:
    """A group without a segment, of the numbers that can be given."""
    measured = [_measured(name, value, unit) for name, value, unit in numbers if value is not None]
    if not measured:
        return
    yield MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(generate_uid(prefix=None), label),
        finding_type=finding,
        finding_category=category,
        finding_sites=[FindingSite(codes.LUNG, laterality=side)],
        algorithm_id=_algorithm(provenance),
        measurements=measured,
    )


def _algorithm(provenance: Provenance) -> AlgorithmIdentification:
    return AlgorithmIdentification(
        name=MANUFACTURER,
        version=version(provenance),
        parameters=[
            f"model sha256 {provenance.model_sha256}",
            f"threshold {provenance.threshold:g}",
            f"lungs {provenance.lungs}",
            *([f"lung model {ascii_text(provenance.lung_model)}"] if provenance.lung_model else []),
            RESEARCH,
        ],
    )


def _comments(found: Quantification) -> Iterator[str]:
    yield f"{RESEARCH}."
    for flag in found.warnings:
        yield f"Warning: {found.flag_texts[flag]}."
    for flag, text in found.flag_texts.items():
        if flag not in found.warnings:
            yield f"Note: {text}."
    for name, reason in found.reasons.items():
        region, _, number = name.partition(".")
        if region in _SIDES and number in _GIVEN and reason != "no_infection":
            yield f"Not given: {name}, {reason}."


def _comment(group: _Group, texts: Iterator[str]) -> None:
    """Add comments to a group; TID 1411 may be extended."""
    for text in texts:
        group[0].ContentSequence.append(
            TextContentItem(codes.COMMENT, ascii_text(text, 1024), RelationshipTypeValues.CONTAINS)
        )
