"""Files in, numbers out: a mask that is at hand is read with its scan, measured, and reported."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from infnet_runtime.errors import OutputError
from infnet_runtime.io import open_scan, prepare_folder, read_lungs
from infnet_runtime.io.atomic import atomic_write, refuse_existing
from infnet_runtime.io.dicom.patient import Patient, read_patient
from infnet_runtime.io.infection_masks import read_infection
from infnet_runtime.io.lobe_masks import expect_lobes, read_lobes
from infnet_runtime.io.lung_masks import expect_mask_file
from infnet_runtime.report.files import earlier_result, printable
from infnet_runtime.report.text_and_json import json_file, json_line, measured_text, to_document
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.scan.lung_labels import LungLabels
from infnet_runtime.segment.given_mask import Measured, measure_mask


@dataclass(frozen=True)
class MeasuredPictures:
    """Where more is written for people; nothing is replaced.

    Parameters
    ----------
    report, montage, regions
        A page, a picture and a table, where asked for.
    """

    report: Path | None = None
    montage: Path | None = None
    regions: Path | None = None

    def refuse_existing(self) -> None:
        """Refuse a file that is there already, before any work."""
        for path in filter(None, (self.report, self.montage, self.regions)):
            refuse_existing(path)

    def write(self, measured: Measured, patient: Patient | None = None) -> None:
        """Write those that were asked for."""
        if self.report:
            from infnet_runtime.report.html import report_html

            _write(self.report, report_html(measured, patient=patient).encode())
        if self.montage:
            from infnet_runtime.report.montage import montage_png

            _write(self.montage, montage_png(measured))
        if self.regions:
            from infnet_runtime.report.tables import region_table

            _write(self.regions, region_table(measured.quantification).encode())


@dataclass(frozen=True)
class MeasuredFiles:
    """What is said of a mask.

    Parameters
    ----------
    text
        For people.
    line
        The report as one line of JSON.
    """

    text: str
    line: str


def measure_files(
    ct: Path,
    mask: Path,
    *,
    lungs: Path | None = None,
    lung_labels: LungLabels | None = None,
    lobes: Path | None = None,
    lungs_by: str = "auto",
    out: Path | None = None,
    intensity: Intensity | None = None,
    assume_orientation: str | None = None,
    series: str | None = None,
    allow_gaps: bool = False,
    include_phi: bool = False,
    pictures: MeasuredPictures | None = None,
) -> MeasuredFiles:
    """Measure a mask.

    Parameters
    ----------
    ct
        As for :func:`~infnet_runtime.io.scans.open_scan`, with ``intensity``, ``assume_orientation``,
        ``series`` and ``allow_gaps``.
    mask
        As for :func:`~infnet_runtime.io.infection_masks.read_infection`.
    lungs, lung_labels
        As for :func:`~infnet_runtime.io.lung_masks.read_lungs`.
    lobes
        As for :func:`~infnet_runtime.io.lobe_masks.read_lobes`.
    lungs_by
        As for :func:`~infnet_runtime.segment.segmenter.load`.
    out
        Where the report is written.
    include_phi
        Patient and study of a DICOM scan go into the report and onto the page.
    pictures
        What else is written.

    Raises
    ------
    InfnetError
        If a file is refused, or the report cannot be written.
    """
    expect_mask_file(mask, "infection mask")
    if lungs:
        expect_mask_file(lungs)
    if lobes:
        expect_lobes(lobes)
    if out:
        _refuse_other_file(out)
    if pictures:
        pictures.refuse_existing()
    opened = open_scan(
        ct,
        intensity=intensity,
        assume_orientation=assume_orientation,
        series=series,
        allow_gaps=allow_gaps,
    )
    scan = opened.volume
    measured = measure_mask(
        scan,
        read_infection(mask, scan),
        lungs=read_lungs(lungs, scan, lung_labels) if lungs else None,
        lobes=read_lobes(lobes, scan) if lobes else None,
        lungs_by=lungs_by,
    )
    measured = _named(measured, mask)
    patient = read_patient(opened) if include_phi else None
    document = to_document(measured, outputs={}, path=ct, patient=patient)
    if pictures:
        pictures.write(measured, patient)
    if out:
        _write(out, json_file(document).encode())
    return MeasuredFiles(measured_text(measured), json_line(document))


def _write(path: Path, content: bytes) -> None:
    prepare_folder(path.parent)
    with atomic_write(path) as file:
        file.write(content)


def _named(measured: Measured, mask: Path) -> Measured:
    """The numbers, and which file they are of."""
    with mask.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    how = replace(measured.provenance, mask=printable(mask.name), mask_sha256=sha256)
    return replace(measured, provenance=how)


def _refuse_other_file(out: Path) -> None:
    """Keep what is no report, one of the inputs for example."""
    if out.exists() and earlier_result(out) is None:
        raise OutputError(
            f"{out} is there already and is no report of infnet; choose another name with -o", code=8015
        )
