"""One scan from file to files: its mask and its report."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infnet_runtime.cli.ahead import ReadScan
from infnet_runtime.cli.plan import Case
from infnet_runtime.cli.progress import ProgressBar
from infnet_runtime.errors import OutputError
from infnet_runtime.io import DEFAULT_MAX_BYTES, Scan, open_scan, prepare_folder, read_lungs
from infnet_runtime.io.atomic import atomic_write
from infnet_runtime.io.dicom import DicomScan, read_dicom
from infnet_runtime.io.dicom.patient import Patient, read_patient
from infnet_runtime.io.lobe_masks import read_lobes
from infnet_runtime.report.files import ResultFiles, earlier_result, printable
from infnet_runtime.report.text_and_json import json_file, to_document, to_text
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.lung_labels import LungLabels
from infnet_runtime.segment.result import Segmentation
from infnet_runtime.segment.segmenter import Segmenter

if TYPE_CHECKING:
    from infnet_runtime.report.dicom.source import SourceImages


@dataclass(frozen=True, kw_only=True)
class CaseOptions:
    """What holds for all scans of a call.

    Parameters
    ----------
    lungs, lobes
        Lung mask and lobe mask, of the one scan.
    lung_labels
        Which label of the lung mask is which lung, where its numbering is not a known one.
    intensity, assume_orientation
        As for :func:`~infnet_runtime.io.scans.open_scan`.
    allow_gaps
        As for :func:`~infnet_runtime.io.dicom.read_dicom`.
    include_phi
        Patient and study of a DICOM scan go into the report and onto the page.
    fast, silence_slices, keep_flat_marks, flip_check
        As for :meth:`~infnet_runtime.segment.segmenter.Segmenter.predict`.
    read_ahead
        Read the next scan while one is segmented, see :mod:`~infnet_runtime.cli.ahead`.
    """

    lungs: Path | None = None
    lobes: Path | None = None
    lung_labels: LungLabels | None = None
    intensity: Intensity | None = None
    assume_orientation: str | None = None
    allow_gaps: bool = False
    include_phi: bool = False
    fast: bool = False
    silence_slices: bool = False
    keep_flat_marks: bool = False
    flip_check: bool = False
    read_ahead: bool = False
    show_progress: bool = False


@dataclass(frozen=True)
class CaseDone:
    """What is said of a scan whose files are written.

    Parameters
    ----------
    text
        For people.
    document
        The report, and the paths of what was written.
    """

    text: str
    document: dict[str, Any]


def open_case(case: Case, options: CaseOptions) -> Scan:
    """Read the scan of a case.

    Raises
    ------
    InfnetError
        If it is refused.
    """
    if case.dicom is not None:
        return read_dicom(
            case.dicom.paths,
            series=case.dicom.series,
            allow_gaps=options.allow_gaps,
            intensity=options.intensity,
            max_bytes=DEFAULT_MAX_BYTES,
        )
    return open_scan(case.path, intensity=options.intensity, assume_orientation=options.assume_orientation)


def process_case(
    segmenter: Segmenter, case: Case, options: CaseOptions, read: Callable[[Case], ReadScan]
) -> CaseDone:
    """Segment a scan and write its files.

    Parameters
    ----------
    read
        Gives the scan.

    Raises
    ------
    InfnetError
        If the scan or its lung mask is refused, or a file cannot be written.
    """
    opened = read(case)
    scan = opened.scan
    started = time.perf_counter()
    lungs = read_lungs(options.lungs, scan.volume, options.lung_labels) if options.lungs else None
    lobes = read_lobes(options.lobes, scan.volume) if options.lobes else None
    read_s = opened.seconds + time.perf_counter() - started
    refuse_other_scan(case, scan.volume)
    source = _images_of(scan, case) if "seg" in case.files.files else None
    prepare_folder(case.files.folder)
    with ProgressBar(options.show_progress) as progress:
        result = segmenter.predict(
            scan.volume,
            lungs=lungs,
            lobes=lobes,
            keep_probability="probability" in case.files.files,
            fast=options.fast,
            silence_slices=options.silence_slices,
            keep_flat_marks=options.keep_flat_marks,
            flip_check=options.flip_check,
            progress=progress,
        )
    result = _with_reading(result, read_s)
    if source is not None:
        _write_dicom(result, source, case.files.files)
    patient = read_patient(scan) if options.include_phi else None
    _write(scan, result, case.files.files, patient)
    document = to_document(
        result,
        outputs=case.files.listed,
        path=case.path,
        earlier=_left_of_earlier(case.files),
        patient=patient,
    )
    with atomic_write(case.files.report) as file:
        file.write(json_file(document).encode())
    return CaseDone(
        to_text(result, files=case.files.all),
        document | {"written": [printable(str(path)) for path in case.files.all]},
    )


def _images_of(scan: Scan, case: Case) -> "SourceImages":
    """The images that DICOM objects refer to; what is wrong with them is said before the network runs."""
    from infnet_runtime.report.dicom.source import placement, read_source

    if not isinstance(scan, DicomScan):
        raise OutputError(
            f"{case.path} is no DICOM series, and --dicom-out writes objects that refer to the images of one,"
            " in its study; give the folder of the series, or no --dicom-out",
            code=8051,
        )
    source = read_source(scan.source)
    placement(scan.volume, source)
    return source


def _write_dicom(result: Segmentation, source: "SourceImages", files: dict[str, Path]) -> None:
    from infnet_runtime.report.dicom.segmentation import write_segmentation
    from infnet_runtime.report.dicom.structured_report import write_structured_report

    written = write_segmentation(files["seg"], result, source)
    write_structured_report(files["sr"], result, source, written)


def _write(scan: Scan, result: Segmentation, files: dict[str, Path], patient: Patient | None) -> None:
    """All files but the report and the DICOM objects."""
    scan.write_mask(files["mask"], result.mask)
    if "lungs" in files:
        scan.write_mask(files["lungs"], result.lungs)
    if "probability" in files and result.probability is not None:
        scan.write_probability(files["probability"], result.probability)
    kinds = result.quantification.classes
    if "classes" in files and result.classes is not None and kinds is not None:
        scan.write_classes(files["classes"], result.classes, kinds.labels)
    if "montage" in files:
        from infnet_runtime.report.montage import montage_png

        with atomic_write(files["montage"]) as file:
            file.write(montage_png(result))
    if "report" in files:
        from infnet_runtime.report.html import report_html

        with atomic_write(files["report"]) as file:
            file.write(report_html(result, patient=patient).encode())
    if "regions" in files:
        from infnet_runtime.report.tables import region_table

        with atomic_write(files["regions"]) as file:
            file.write(region_table(result.quantification).encode())


def refuse_other_scan(case: Case, scan: CtVolume) -> None:
    """Keep the result of another scan that was of the same name, as ``ct.nii.gz`` of the next patient is.

    Beside its scan a result belongs to what lies there: a scan that was converted again gets it anew.

    Raises
    ------
    OutputError
        If the report at hand is that of another scan.
    """
    earlier = earlier_result(case.files.report)
    if earlier is None:
        return
    same_name = earlier.scan == printable(scan.source)
    same_bytes = earlier.sha256 == scan.id.sha256
    if earlier.sha256 is None:  # no more can be told
        same_bytes = earlier.shape == scan.voxels.shape
    beside = case.files.folder == case.path.parent
    if same_name and (same_bytes or beside):
        return
    raise OutputError(
        f"{case.files.report} is the result of another scan, {earlier.scan} with sha256 "
        f"{(earlier.sha256 or 'not known')[:12]}, {case.path} has {(scan.id.sha256 or 'not known')[:12]}; "
        "choose another folder with -o, or move the older result away",
        code=8016,
    )


def _left_of_earlier(files: ResultFiles) -> tuple[str, ...]:
    """Files of an earlier run that are not written again; the report goes on to know them."""
    earlier = earlier_result(files.report)
    names = earlier.names - set(files.listed.values()) if earlier else ()
    return tuple(sorted(name for name in names if (files.folder / name).is_file()))


def _with_reading(result: Segmentation, read_s: float) -> Segmentation:
    """The result, with the time that reading took before the segmenter saw the scan."""
    provenance = result.provenance
    seconds = {**provenance.seconds, "read": round(read_s, 3)}
    return replace(result, provenance=replace(provenance, seconds=seconds))
