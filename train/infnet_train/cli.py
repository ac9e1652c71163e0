"""The command ``infnet-train``."""

import logging
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from infnet_runtime.cli.process import print_version, run_command

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
data_app = typer.Typer(no_args_is_help=True, help="Look at training data and prepare them.")
app.add_typer(data_app, name="data")

_USAGE = 2
_DEFAULT_DATA = Path("data/prepared")


class _Turn(StrEnum):
    """``config.Turn`` again, because that module loads torch and --help must not."""

    none = "none"
    transpose = "transpose"
    transpose_flip = "transpose_flip"


class _Precision(StrEnum):
    fp32 = "fp32"
    bf16 = "bf16"


class _EdgeDefinition(StrEnum):
    gradient = "gradient"
    canny = "canny"


@app.callback(invoke_without_command=True)
def train(
    context: typer.Context,
    config: Annotated[
        Path,
        typer.Option(
            help="Recipe: a TOML file, or the name of one in train/configs.", envvar="INFNET_CONFIG"
        ),
    ] = Path("default.toml"),
    data: Annotated[
        Path | None,
        typer.Option(
            help="Data folder; the first lines of a recipe say which. data/prepared where not given.",
            envvar="INFNET_TRAIN_DATA",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder of the run; runs/<recipe> where not given.", envvar="INFNET_OUT"
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", envvar="INFNET_DEVICE")] = "auto",
    precision: Annotated[
        _Precision, typer.Option(help="Of the convolutions; weights and losses are fp32.")
    ] = _Precision.fp32,
    backbone_weights: Annotated[
        Path | None, typer.Option(help="ImageNet weights of Res2Net-50 v1b 26w4s (.pth), if you have them.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change one value of the recipe: key=value.")
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads, 0 for all.", min=0)] = 0,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=print_version, is_eager=True),
    ] = False,
) -> None:
    """Train Inf-Net by a recipe. An interrupted run goes on with --resume and gives the same weights."""
    if context.invoked_subcommand is not None:
        _refuse_options_of_training(context)
        return
    from infnet_train.recipe import find_recipe

    recipe_file = find_recipe(config)
    data = data or _default_data()
    out = out or Path("runs") / recipe_file.stem
    import torch

    from infnet_train.machine.device import choose_device
    from infnet_train.recipe import read_recipe, run_recipe

    _log_to_stderr()
    if threads:
        torch.set_num_threads(threads)
    stages = read_recipe(recipe_file, set_)
    chosen = choose_device(device)
    with _Progress() as progress:
        weights = run_recipe(
            stages,
            data,
            out,
            device=chosen,
            bf16=precision is _Precision.bf16,
            resume=resume,
            backbone_weights=backbone_weights,
            progress=progress,
        )
    typer.echo(weights)


@app.command("eval")
def evaluate(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_OR_ONNX",
            help="Weights (.safetensors) or folder of a run, the authors' .pth, or an .onnx file.",
        ),
    ],
    data: Annotated[Path, typer.Argument(help="Folder with Imgs/ and GT/.")],
    turn: Annotated[_Turn, typer.Option(help="What turns the slices upright.")] = _Turn.none,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", envvar="INFNET_DEVICE")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON instead of a table.")] = False,
) -> None:
    """Score a model on labelled slices, by the protocol of the paper and by the clinical one."""
    import json

    from infnet_train.assess.evaluate import evaluate_file

    result = evaluate_file(model, data, turn=turn.value, device=device)
    typer.echo(json.dumps(result.to_dict(), indent=2, allow_nan=False) if as_json else result.to_text())


@data_app.command("check")
def check(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Root of COVID-SemiSeg, or a folder with Imgs/ and GT/.")
    ],
    hard: Annotated[
        bool, typer.Option("--hard", help="The masks are said to be 0 and 255 only: name those that are not.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON instead of text.")] = False,
) -> None:
    """Read every picture of a data folder and say what is there and what is wrong."""
    import json

    from infnet_train.data.check import check_data
    from infnet_train.data.pictures import DataError

    report = check_data(folder, hard_labels=hard)
    typer.echo(json.dumps(report.to_dict(), indent=2) if as_json else report.to_text())
    if report.problems:
        raise DataError(f"{len(report.problems)} problems in {folder}, listed in the report", code=3139)


@data_app.command("edges")
def edges(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with Imgs/ and GT/.")],
    definition: Annotated[
        _EdgeDefinition,
        typer.Option(
            help="gradient: two pixels wide, as of the labelled slices; canny: one, as of pseudo-labels."
        ),
    ] = _EdgeDefinition.gradient,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON instead of text.")] = False,
) -> None:
    """Write Edge/<name>.png for each mask that has none. Nothing is overwritten."""
    import json

    from infnet_runtime.version import __version__
    from infnet_train.data.edges import write_edges

    done = write_edges(folder, definition.value)
    values = {
        "schema": "infnet.edges/1",
        "infnet": __version__,
        "folder": str(done.folder),
        "definition": done.definition,
        "written": done.written,
        "kept": done.kept,
    }
    text = f"{done.folder}: {done.written} edge maps written ({done.definition}), {done.kept} were there"
    typer.echo(json.dumps(values, indent=2) if as_json else text)


@data_app.command("prepare")
def prepare(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Holds covid-semiseg and, if there, radiopaedia-covid-volumes and coronacases-slices.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The training folder.", envvar="INFNET_OUT")],
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON instead of text.")] = False,
) -> None:
    """Make one training folder of the public sets: upright, in one grey scale, without reserved cases."""
    import json

    from infnet_runtime.version import __version__
    from infnet_train.data.prepare import prepare as run

    _log_to_stderr()
    slices = run(data, out)
    values = {"schema": "infnet.prepared/1", "infnet": __version__, "out": str(out), "slices": slices}
    text = "\n".join(f"{count:5d} slices  {out / name}" for name, count in slices.items())
    typer.echo(json.dumps(values, indent=2) if as_json else text)


@app.command()
def calibrate(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_OR_ONNX",
            help="Weights (.safetensors) or folder of a run, the authors' .pth, or an .onnx file.",
        ),
    ],
    data: Annotated[
        Path, typer.Argument(help="Folder with Imgs/ and GT/: validation slices, never the test set.")
    ],
    turn: Annotated[_Turn, typer.Option(help="What turns the slices upright.")] = _Turn.none,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", envvar="INFNET_DEVICE")] = "auto",
    inside_lungs: Annotated[
        bool, typer.Option("--inside-lungs", help="Count pixels inside the lungs only; the lungs are found.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON instead of a table.")] = False,
) -> None:
    """Fit the temperature that makes a model's probabilities mean what they say.

    The slices must be neither those of the training nor the test set: scores on slices that the temperature
    was fitted on are no test.
    """
    import json

    from infnet_train.assess.calibrate import calibrate_file

    result = calibrate_file(model, data, turn=turn.value, device=device, inside_lungs=inside_lungs)
    typer.echo(json.dumps(result.to_dict(), indent=2, allow_nan=False) if as_json else result.to_text())


def _default_data() -> Path:
    """The prepared data of a checkout, or what to do to get there."""
    if _DEFAULT_DATA.is_dir():
        return _DEFAULT_DATA
    typer.echo(
        f"a training needs data: there is no folder {_DEFAULT_DATA} here and no --data\n"
        "1. get COVID-SemiSeg, and if you can the Radiopaedia volumes and the coronacases slices\n"
        f"2. infnet-train data prepare FOLDER_OF_THE_SETS --out {_DEFAULT_DATA}\n"
        "3. infnet-train\n"
        "other commands are 'infnet-train eval', 'calibrate' and 'data'; see infnet-train --help",
        err=True,
    )
    raise typer.Exit(_USAGE)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)


def _refuse_options_of_training(context: typer.Context) -> None:
    """Options before a sub-command would be ignored; environment variables may be there for other runs."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = name.rstrip("_").replace("_", "-")
            typer.echo(
                f"--{option} belongs to a training, not to '{context.invoked_subcommand}'; "
                "give options after the sub-command",
                err=True,
            )
            raise typer.Exit(_USAGE)


class _Progress:
    """A bar with the time left on a terminal, a line now and then elsewhere."""

    def __enter__(self) -> "_Progress":
        from rich.console import Console
        from rich.progress import Progress

        self._bar = Progress(console=Console(stderr=True), disable=not sys.stderr.isatty())
        self._bar.start()
        self._task = self._bar.add_task("training", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int, text: str) -> None:
        self._bar.update(self._task, completed=done, total=total, description=text)
        if not sys.stderr.isatty() and done % 50 == 0:
            logging.getLogger(__name__).info("step %d of %d, %s", done, total, text)


def main() -> None:
    """Entry point."""
    run_command(app)


if __name__ == "__main__":
    main()
