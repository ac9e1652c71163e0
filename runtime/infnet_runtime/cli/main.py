"""The command ``infnet-infer``: its commands, and the options of each."""

import logging
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from infnet_runtime.cli.options import (
    AllowGapsOption,
    BackendOption,
    BatchOption,
    DeviceOption,
    IncludePhiOption,
    IntensityOption,
    JsonOption,
    LobesOption,
    LungsByOption,
    ModelOption,
    OrientationOption,
    PrecisionOption,
    ThreadsOption,
    VersionOption,
)
from infnet_runtime.cli.process import DefaultCommandGroup, run_command
from infnet_runtime.cli.progress import ProgressBar
from infnet_runtime.cpu import limit_process, usable_cores


class _Group(DefaultCommandGroup):
    default_command: ClassVar[str] = "infer"


# Plain help: the boxes of rich cost as much time as everything else together.
app = typer.Typer(cls=_Group, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

EXIT_BACKEND = 5
_USAGE = 2


@app.command(
    epilog="Other commands: infnet-infer series (what a DICOM folder holds), "
    "infnet-infer bench (how fast is it here), infnet-infer doctor (what works here), "
    "infnet-infer verify (is what a device gives right), infnet-infer quantify (measure a mask "
    "that is at hand); each has --help. A file of such a name is given as ./bench."
)
def infer(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="INPUT...",
            help="CT volumes (.nii, .nii.gz), DICOM series (a folder, .zip or files) or slices (.png, .jpg), "
            "or folders of them, searched with all folders below.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for the results; beside the input if not given.", envvar="INFNET_OUT"
        ),
    ] = None,
    model: ModelOption = None,
    lungs: Annotated[
        Path | None,
        typer.Option(
            help="Lung mask on the scan's grid: 1 right, 2 left; or the lobes of lungmask or "
            "TotalSegmentator; or one label."
        ),
    ] = None,
    lung_labels: Annotated[
        str | None,
        typer.Option(
            help="Which label of --lungs is which lung, such as right=1,left=2 or right=3+4+5,left=1+2."
        ),
    ] = None,
    lungs_by: LungsByOption = "auto",
    lobes: LobesOption = None,
    backend: BackendOption = "auto",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = 0,
    batch_size: BatchOption = None,
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            help="Where slices are 1.5 mm apart or less, run some and interpolate the others: less time, and "
            "another mask, see docs/fast.md.",
        ),
    ] = False,
    slice_gate: Annotated[
        bool,
        typer.Option(
            "--slice-gate",
            help="Take out what was marked in slices that the model's slice gate does not call infected, see "
            "docs/slice-gate.md.",
        ),
    ] = False,
    keep_flat_marks: Annotated[
        bool,
        typer.Option(
            "--keep-flat-marks",
            help="Leave marks in the mask that are large in one slice and go on in no other, as the dome of "
            "the diaphragm is; else they are left out, see docs/quantification.md.",
        ),
    ] = False,
    flip_check: Annotated[
        bool,
        typer.Option(
            "--flip-check",
            help="Also look at the mirrored slices, and warn where the marks differ: check this scan. Twice "
            "the network's time; see docs/quantification.md.",
        ),
    ] = False,
    intensity: IntensityOption = "auto",
    assume_orientation: OrientationOption = None,
    series: Annotated[
        list[str] | None,
        typer.Option(
            metavar="UID",
            help="The DICOM series that is meant where there are several; infnet-infer series lists them.",
        ),
    ] = None,
    allow_gaps: AllowGapsOption = False,
    lungs_out: Annotated[
        bool,
        typer.Option("--lungs-out", help="Also write NAME.lungs.nii.gz: 1 right, 2 left, 3 unknown side."),
    ] = False,
    probability_out: Annotated[
        bool, typer.Option("--probability-out", help="Also write NAME.probability.nii.gz, 0 to 1, float32.")
    ] = False,
    report: Annotated[
        bool,
        typer.Option(
            "--report", help="Also write NAME.report.html: numbers, pictures and charts on one page."
        ),
    ] = False,
    montage: Annotated[
        bool,
        typer.Option(
            "--montage",
            "--overlay",
            help="Also write NAME.montage.png: axial, coronal and sagittal planes, lungs and infection "
            "outlined.",
        ),
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            help="Also write a table with a row for each scan; those that failed have their error.",
        ),
    ] = None,
    csv_regions: Annotated[
        bool,
        typer.Option("--csv-regions", help="Also write NAME.regions.csv: measures by lung, and by lobe."),
    ] = False,
    classes: Annotated[
        bool,
        typer.Option(
            "--classes",
            help="Also write NAME.classes.nii.gz: 1 ground glass, 2 consolidation, where infection is; and "
            "report both in ml. For models that tell them apart.",
        ),
    ] = False,
    dicom_out: Annotated[
        bool,
        typer.Option(
            "--dicom-out",
            help="Also write NAME.seg.dcm and NAME.sr.dcm, a DICOM segmentation and report in the study of "
            "the scan, for an archive; see docs/dicom.md. For scans from DICOM.",
        ),
    ] = False,
    include_phi: IncludePhiOption = False,
    demo: Annotated[bool, typer.Option("--demo", help="Make a phantom volume and run on it.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report of each scan as one line of JSON.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is chosen.")] = False,
    version: VersionOption = False,
) -> None:
    """Find and measure COVID-19 lung infection in chest CT.

    Writes NAME.infection.nii.gz, in the geometry of the scan, and NAME.infnet.json.

    Research software, not a medical device.
    """
    _log(verbose)
    paths = list(inputs or [])
    if demo:
        from infnet_runtime.cli.demo import write_demo

        paths.append(write_demo(out or Path("infnet-demo")))
    if not paths:
        typer.echo(
            "nothing to do: give a CT volume, for example infnet-infer scan.nii.gz, or --demo", err=True
        )
        raise typer.Exit(_USAGE)
    _check_intensity(intensity)
    _check_lung_labels(lung_labels, lungs)
    _check_lungs_by(lungs_by)
    if dicom_out:
        import infnet_runtime.report.dicom  # noqa: F401 - says now that an extra is missing
    limit_process(threads)
    from infnet_runtime.cli.batch import run_plan
    from infnet_runtime.cli.case import CaseDone, CaseOptions
    from infnet_runtime.cli.cohort import CohortTable
    from infnet_runtime.cli.plan import plan_cases
    from infnet_runtime.io.lobe_masks import expect_lobes
    from infnet_runtime.io.lung_masks import expect_mask_file
    from infnet_runtime.model.shipped import named_model
    from infnet_runtime.report.text_and_json import json_line
    from infnet_runtime.scan.ct import Intensity
    from infnet_runtime.scan.lung_labels import LungLabels
    from infnet_runtime.segment.segmenter import Segmenter, load

    _check_orientation(assume_orientation)
    labels = None if lung_labels is None else LungLabels.parse(lung_labels)
    if lungs:
        expect_mask_file(lungs)
    if lobes:
        expect_lobes(lobes)
    others = [path for path in (lungs, lobes, model or named_model()) if path]
    wanted = {"mask": True, "lungs": lungs_out, "probability": probability_out, "montage": montage}
    wanted |= {"report": report, "regions": csv_regions, "classes": classes}
    wanted |= {"seg": dicom_out, "sr": dicom_out}
    kinds = tuple(kind for kind, is_wanted in wanted.items() if is_wanted)
    plan = plan_cases(paths, out=out, kinds=kinds, others=others, series=series or ())
    for option, given in (("lung", lungs), ("lobe", lobes)):
        if given and len(plan.cases) > 1:
            raise typer.BadParameter(
                f"one {option} mask belongs to one scan; give a single input", param_hint=f"--{option}s"
            )
    table = None if csv is None else CohortTable(csv, plan.cases)
    options = CaseOptions(
        lungs=lungs,
        lobes=lobes,
        lung_labels=labels,
        intensity=None if intensity == "auto" else Intensity(intensity),
        assume_orientation=assume_orientation,
        allow_gaps=allow_gaps,
        include_phi=include_phi,
        fast=fast,
        silence_slices=slice_gate,
        keep_flat_marks=keep_flat_marks,
        flip_check=flip_check,
        read_ahead=(threads or usable_cores()) > 1,
        show_progress=not quiet and sys.stderr.isatty(),
    )

    def say(text: str) -> None:
        typer.echo(text, err=True)

    def opened() -> Segmenter:
        segmenter = load(
            model,
            device=device,
            threads=threads,
            backend=backend,
            batch_size=batch_size,
            precision=precision,
            classes=classes,
            lungs_by=lungs_by,
        )
        if slice_gate:
            _ = segmenter.slice_gate  # refuses a model without one, once for all scans
        return segmenter

    def done(case: CaseDone) -> None:
        if table is not None:
            table.add(case.document)
        if as_json or not quiet:
            typer.echo(json_line(case.document) if as_json else case.text)

    def failed(document: dict[str, Any]) -> None:
        if table is not None:
            table.add(document)
        if as_json:
            typer.echo(json_line(document))

    for note in plan.notes:
        say(note)
    try:
        exit_code = run_plan(plan, options, opened, done=done, failed=failed, say=say)
    finally:
        if table is not None:
            table.write()
    if exit_code:
        raise typer.Exit(exit_code)


@app.command()
def series(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="A folder, a zip archive or files of DICOM.")
    ],
    as_json: JsonOption = False,
) -> None:
    """List the CT series of a DICOM folder, without patient fields."""
    _log(verbose=False)
    from infnet_runtime.io.dicom.cases import list_series
    from infnet_runtime.report.series import series_json, series_text

    found, examined = list_series(inputs)
    typer.echo(series_json(found, examined) if as_json else series_text(found, examined))


@app.command()
def bench(
    model: Annotated[
        Path | None,
        typer.Argument(metavar="MODEL", help="As --model of infnet-infer.", envvar="INFNET_MODEL"),
    ] = None,
    scan: Annotated[Path | None, typer.Option(help="A scan; a phantom if not given.")] = None,
    backend: BackendOption = "auto",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = 0,
    batch_size: BatchOption = None,
    repeats: Annotated[int, typer.Option(help="Runs of each backend that count.", min=1)] = 3,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Time every stage on this machine, for every backend that works, in turn."""
    _log(verbose=False)
    limit_process(threads)
    from infnet_runtime.machine.bench import bench as measure

    with ProgressBar(not quiet and sys.stderr.isatty(), "runs") as progress:
        report = measure(
            model,
            scan,
            backend=backend,
            device=device,
            precision=precision,
            threads=threads,
            batch_size=batch_size,
            repeats=repeats,
            progress=progress,
        )
    typer.echo(report.to_json() if as_json else report.to_text(), nl=not as_json)


@app.command()
def verify(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL", help="What is checked, as --model of infnet-infer.", envvar="INFNET_MODEL"
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="The reference, in single precision. MODEL itself if not given, where that computes so.",
        ),
    ] = None,
    scans: Annotated[
        list[Path] | None,
        typer.Option(
            help="A scan, a picture or a folder of them, as often as needed; a phantom if not given."
        ),
    ] = None,
    backend: BackendOption = "auto",
    device: DeviceOption = "auto",
    against_backend: Annotated[str, typer.Option(help="As --backend, for the reference.")] = "onnxruntime",
    against_device: Annotated[str, typer.Option(help="As --device, for the reference.")] = "cpu",
    threads: ThreadsOption = 0,
    batch_size: BatchOption = None,
    precision: PrecisionOption = "auto",
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Compare what a model gives here with a reference: probabilities, masks and millilitres.

    Leaves with 0 if all is within the limits, else with 7.
    """
    _log(verbose=False)
    limit_process(threads)
    from infnet_runtime.machine.verify import verify as compare

    with ProgressBar(not quiet and sys.stderr.isatty(), "scans") as progress:
        report = compare(
            model,
            against,
            scans or (),
            backend=backend,
            device=device,
            against_backend=against_backend,
            against_device=against_device,
            threads=threads,
            batch_size=batch_size,
            precision=precision,
            progress=progress,
        )
    typer.echo(report.to_json() if as_json else report.to_text(), nl=not as_json)
    report.check()


@app.command()
def quantify(
    ct: Annotated[Path, typer.Option(metavar="CT", help="The scan, as INPUT of infnet-infer.")],
    mask: Annotated[
        Path,
        typer.Option(
            help="Infection mask on the scan's grid (NIfTI): 0 and 1, or 1 ground glass and 2 consolidation."
        ),
    ],
    lungs: Annotated[
        Path | None,
        typer.Option(
            help="Lung mask, as --lungs of infnet-infer; those of --lobes if not given, else they are found."
        ),
    ] = None,
    lung_labels: Annotated[
        str | None, typer.Option(help="Which label of --lungs is which lung, as of infnet-infer.")
    ] = None,
    lungs_by: LungsByOption = "auto",
    lobes: LobesOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the report, as JSON, to this file.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="HTML", help="Also write numbers, pictures and charts on one page."),
    ] = None,
    montage: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Also write the planes as one picture.")
    ] = None,
    csv_regions: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Also write measures by lung, and by lobe.")
    ] = None,
    intensity: IntensityOption = "auto",
    assume_orientation: OrientationOption = None,
    series: Annotated[
        str | None,
        typer.Option(metavar="UID", help="The DICOM series that is meant where CT holds several."),
    ] = None,
    allow_gaps: AllowGapsOption = False,
    include_phi: IncludePhiOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure an infection mask that is at hand, without a model: all numbers of docs/quantification.md.

    Research software, not a medical device.
    """
    _log(verbose=False)
    _check_intensity(intensity)
    _check_lung_labels(lung_labels, lungs)
    _check_lungs_by(lungs_by)
    limit_process(0)
    from infnet_runtime.cli.measure import MeasuredPictures, measure_files
    from infnet_runtime.scan.ct import Intensity
    from infnet_runtime.scan.lung_labels import LungLabels

    _check_orientation(assume_orientation)

    measured = measure_files(
        ct,
        mask,
        lungs=lungs,
        lung_labels=None if lung_labels is None else LungLabels.parse(lung_labels),
        lobes=lobes,
        lungs_by=lungs_by,
        out=out,
        intensity=None if intensity == "auto" else Intensity(intensity),
        assume_orientation=assume_orientation,
        series=series,
        allow_gaps=allow_gaps,
        include_phi=include_phi,
        pictures=MeasuredPictures(report, montage, csv_regions),
    )
    typer.echo(measured.line if as_json else measured.text)


@app.command()
def doctor(
    model: Annotated[
        Path | None, typer.Option(help="Try this model instead of the one that would be used.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is installed, what works, and what is missing and how to get it.

    Leaves with 0 if a scan can be segmented here, else with 5.
    """
    _log(verbose=False)
    from infnet_runtime.machine.doctor import examine

    diagnosis = examine(model=model)
    typer.echo(diagnosis.to_json() if as_json else diagnosis.to_text(), nl=not as_json)
    if not diagnosis.works:
        raise typer.Exit(EXIT_BACKEND)


def _check_intensity(intensity: str) -> None:
    if intensity not in ("auto", "hu", "windowed"):
        raise typer.BadParameter(f"{intensity}: expected auto, hu or windowed", param_hint="--intensity")


def _check_lungs_by(lungs_by: str) -> None:
    if lungs_by not in ("auto", "network", "threshold"):
        raise typer.BadParameter(f"{lungs_by}: expected auto, network or threshold", param_hint="--lungs-by")


def _check_lung_labels(lung_labels: str | None, lungs: Path | None) -> None:
    if lung_labels and not lungs:
        raise typer.BadParameter(
            "says what the labels of --lungs are; give --lungs", param_hint="--lung-labels"
        )


def _check_orientation(orientation: str | None) -> None:
    from infnet_runtime.io.nifti.affine import ORIENTATIONS

    if orientation is not None and orientation not in ORIENTATIONS:
        raise typer.BadParameter(
            f"{orientation}: expected three letters of L/R, A/P, S/I such as LAS",
            param_hint="--assume-orientation",
        )


def _log(verbose: bool) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(message)s", stream=sys.stderr
    )
    # pydicom tells of every field that is not as the standard has it, in each of some hundred files.
    logging.getLogger("pydicom").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"pydicom\.")


def main() -> None:
    """Entry point."""
    run_command(app)
