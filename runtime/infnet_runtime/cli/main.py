"""The command ``infnet-infer``."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from infnet_runtime.cli.process import DefaultCommandGroup, print_version, run_command
from infnet_runtime.errors import InfnetError

if TYPE_CHECKING:
    from infnet_runtime.scan.ct import Intensity
    from infnet_runtime.segment.segmenter import Segmenter


class _Group(DefaultCommandGroup):
    default_command: ClassVar[str] = "infer"

    def parse_args(  # type: ignore[override]  # the base class names a private type
        self, ctx: typer.Context, args: list[str]
    ) -> list[str]:
        """``--help`` alone explains what is used most, and names the other commands."""
        return super().parse_args(ctx, [self.default_command, *args] if args[:1] == ["--help"] else args)


# Plain help: the boxes of rich cost as much time as everything else together.
app = typer.Typer(cls=_Group, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

EXIT_BACKEND = 5
EXIT_SOME_FAILED = 6
_USAGE = 2

_ModelOption = Annotated[
    Path | None,
    typer.Option(
        help="ONNX model of infnet-export, or a TensorRT engine with its sidecar; the shipped model that "
        "suits the device if not given.",
        envvar="INFNET_MODEL",
    ),
]
_BackendOption = Annotated[
    str,
    typer.Option(
        help="onnxruntime, openvino or tensorrt, used or refused; auto: TensorRT for an engine, else ONNX "
        "Runtime on CUDA, ONNX Runtime on the CPU, OpenVINO, the first that works.",
        envvar="INFNET_BACKEND",
    ),
]
_DeviceOption = Annotated[
    str, typer.Option(help="cpu, cuda or cuda:N, used or refused; or auto.", envvar="INFNET_DEVICE")
]
_ThreadsOption = Annotated[
    int,
    typer.Option(help="CPU threads, 0 for what this process may use.", min=0, envvar="INFNET_THREADS"),
]
_BatchOption = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        "-b",
        help="Slices for the network at a time; what suits the backend if not given.",
        min=1,
    ),
]
_JsonOption = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]


@app.command(
    epilog="Other commands: infnet-infer bench (how fast is it here), infnet-infer doctor (what works here); "
    "each has --help. A file of such a name is given as ./bench."
)
def infer(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="INPUT...", help="CT volumes (.nii, .nii.gz) or slices (.png, .jpg)."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for the results; beside the input if not given.", envvar="INFNET_OUT"
        ),
    ] = None,
    model: _ModelOption = None,
    lungs: Annotated[
        Path | None,
        typer.Option(
            help="Lung mask on the scan's grid: 1 right, 2 left; or lungmask's lobes; or one label."
        ),
    ] = None,
    backend: _BackendOption = "auto",
    device: _DeviceOption = "auto",
    threads: _ThreadsOption = 0,
    batch_size: _BatchOption = None,
    intensity: Annotated[
        str, typer.Option(help="auto, hu, or windowed (8-bit grey in the lung window).")
    ] = "auto",
    assume_orientation: Annotated[
        str | None, typer.Option(help="Orientation, such as LAS, of a NIfTI file that does not say.")
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Make a phantom volume and run on it.")] = False,
    as_json: _JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is chosen.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=print_version, is_eager=True),
    ] = False,
) -> None:
    """Find and measure COVID-19 lung infection in chest CT.

    Writes NAME.infection.nii.gz, in the geometry of the scan, and NAME.infnet.json.

    Research software, not a medical device.
    """
    _log(verbose)
    paths = list(inputs or [])
    if demo:
        paths.append(_write_demo(out or Path("infnet-demo")))
    if not paths:
        typer.echo(
            "nothing to do: give a CT volume, for example infnet-infer scan.nii.gz, or --demo", err=True
        )
        raise typer.Exit(_USAGE)
    if intensity not in ("auto", "hu", "windowed"):
        raise typer.BadParameter(f"{intensity}: expected auto, hu or windowed", param_hint="--intensity")
    if lungs and len(paths) > 1:
        raise typer.BadParameter(
            "one lung mask belongs to one scan; give a single input", param_hint="--lungs"
        )

    from infnet_runtime.scan.ct import Intensity
    from infnet_runtime.segment.segmenter import load

    meaning = None if intensity == "auto" else Intensity(intensity)
    failed = 0
    with load(model, device=device, threads=threads, backend=backend, batch_size=batch_size) as segmenter:
        for path in paths:
            try:
                text = _run_one(
                    segmenter,
                    path,
                    out,
                    lungs=lungs,
                    intensity=meaning,
                    assume_orientation=assume_orientation,
                    batch_size=batch_size,
                    as_json=as_json,
                    show_progress=not quiet and sys.stderr.isatty(),
                )
            except InfnetError as error:
                if len(paths) == 1:
                    raise
                typer.echo(f"{path}: error{error}", err=True)
                failed += 1
                continue
            if as_json or not quiet:
                typer.echo(text, nl=not as_json)
    if failed:
        typer.echo(f"{failed} of {len(paths)} inputs failed", err=True)
        raise typer.Exit(EXIT_SOME_FAILED)


@app.command()
def bench(
    model: Annotated[
        Path | None,
        typer.Argument(metavar="MODEL", help="As --model of infnet-infer.", envvar="INFNET_MODEL"),
    ] = None,
    scan: Annotated[Path | None, typer.Option(help="A scan; a phantom if not given.")] = None,
    backend: _BackendOption = "auto",
    device: _DeviceOption = "auto",
    threads: _ThreadsOption = 0,
    batch_size: _BatchOption = None,
    repeats: Annotated[int, typer.Option(help="Runs of each backend that count.", min=1)] = 3,
    as_json: _JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Time every stage on this machine, for every backend that works, in turn."""
    _log(verbose=False)
    from infnet_runtime.machine.bench import bench as measure

    with _progress_bar(not quiet and sys.stderr.isatty(), "runs") as progress:
        report = measure(
            model,
            scan,
            backend=backend,
            device=device,
            threads=threads,
            batch_size=batch_size,
            repeats=repeats,
            progress=progress,
        )
    typer.echo(report.to_json() if as_json else report.to_text(), nl=not as_json)


@app.command()
def doctor(
    model: Annotated[
        Path | None, typer.Option(help="Try this model instead of the one that would be used.")
    ] = None,
    as_json: _JsonOption = False,
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


def _log(verbose: bool) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(message)s", stream=sys.stderr
    )


def _run_one(
    segmenter: "Segmenter",
    path: Path,
    out: Path | None,
    *,
    lungs: Path | None,
    intensity: "Intensity | None",
    assume_orientation: str | None,
    batch_size: int | None,
    as_json: bool,
    show_progress: bool,
) -> str:
    from infnet_runtime.io import open_scan, prepare_folder, read_lungs, stem
    from infnet_runtime.io.atomic import atomic_write
    from infnet_runtime.report.text_and_json import to_json, to_text

    scan = open_scan(path, intensity=intensity, assume_orientation=assume_orientation)
    labels = read_lungs(lungs, scan.volume) if lungs else None
    folder = prepare_folder(path.parent if out is None else out)
    with _progress_bar(show_progress) as progress:
        result = segmenter.predict(
            scan.volume,
            lungs=labels,
            batch_size=batch_size,
            progress=progress,
        )
    mask_path = folder / f"{stem(path)}.infection{scan.mask_suffix}"
    json_path = folder / f"{stem(path)}.infnet.json"
    report = to_json(result, outputs={"mask": mask_path.name})
    scan.write_mask(mask_path, result.mask)
    with atomic_write(json_path) as file:
        file.write(report.encode())
    return report if as_json else to_text(result, files=[mask_path, json_path])


def _write_demo(folder: Path) -> Path:
    from infnet_runtime.io import prepare_folder
    from infnet_runtime.io.nifti import write_nifti
    from infnet_runtime.scan.phantom import chest_phantom, textured

    phantom = textured(chest_phantom((24, 320, 400), (10.0, 1.02, 0.96), noise_hu=0))
    path = prepare_folder(folder) / "phantom.nii.gz"
    write_nifti(path, phantom.hu, phantom.affine)
    typer.echo(
        f"demo: {path}, a synthetic chest with {phantom.infection_ml:.1f} ml of ground glass on the right",
        err=True,
    )
    return path


class _progress_bar:
    """Bar with the time left on stderr, or nothing."""

    def __init__(self, show: bool, what: str = "slices") -> None:
        self._show, self._what = show, what

    def __enter__(self) -> "_progress_bar":
        if self._show:
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._show:
            self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        if self._show:
            self._bar.update(self._task, completed=done, total=total)


def main() -> None:
    """Entry point."""
    run_command(app)
