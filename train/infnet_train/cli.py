"""The command ``infnet-train``."""

import logging
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from infnet_runtime.command import print_version, run_command

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
data_app = typer.Typer(no_args_is_help=True, help="Look at training data.")
app.add_typer(data_app, name="data")

_USAGE = 2


class _Turn(StrEnum):
    """``config.Turn`` again, because that module loads torch and --help must not."""

    none = "none"
    transpose = "transpose"
    transpose_flip = "transpose_flip"


class _Precision(StrEnum):
    fp32 = "fp32"
    bf16 = "bf16"


@app.callback(invoke_without_command=True)
def train(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="Recipe, a TOML file; see train/configs.", envvar="INFNET_CONFIG")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data folder (COVID-SemiSeg layout).", envvar="INFNET_TRAIN_DATA")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the run.", envvar="INFNET_OUT")
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
    if config is None or data is None or out is None:
        given = {"--config": config, "--data": data, "--out": out}
        missing = ", ".join(name for name, value in given.items() if value is None)
        typer.echo(
            f"a training needs {missing}: infnet-train --config RECIPE.toml --data FOLDER --out RUN\n"
            "other commands are 'infnet-train propagate', 'eval' and 'data check'; see infnet-train --help",
            err=True,
        )
        raise typer.Exit(_USAGE)
    import torch

    from infnet_train.config import read_config
    from infnet_train.device import choose_device
    from infnet_train.loop import train as run

    _log_to_stderr()
    if threads:
        torch.set_num_threads(threads)
    chosen = choose_device(device)
    recipe = read_config(config, set_)
    with _Progress() as progress:
        weights = run(
            recipe,
            data,
            out,
            device=chosen,
            bf16=precision is _Precision.bf16,
            resume=resume,
            backbone_weights=backbone_weights,
            progress=progress,
        )
    typer.echo(weights)


@app.command()
def propagate(
    config: Annotated[Path, typer.Option(help="Recipe with a propagation table.", envvar="INFNET_CONFIG")],
    data: Annotated[
        Path, typer.Option(help="Data folder (COVID-SemiSeg layout).", envvar="INFNET_TRAIN_DATA")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the labels.", envvar="INFNET_OUT")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", envvar="INFNET_DEVICE")] = "auto",
    precision: Annotated[_Precision, typer.Option(help="As of a training.")] = _Precision.fp32,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change one value of the recipe: key=value.")
    ] = None,
) -> None:
    """Make pseudo-labels of unlabelled slices (Algorithm 1 of the paper). Called again, it goes on."""
    from infnet_train.config import read_config
    from infnet_train.device import choose_device
    from infnet_train.pseudo_labels import propagate as run

    _log_to_stderr()
    recipe = read_config(config, set_)
    with _Progress() as progress:
        labels = run(
            recipe,
            data,
            out,
            device=choose_device(device),
            bf16=precision is _Precision.bf16,
            progress=progress,
        )
    typer.echo(labels)


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

    from infnet_train.evaluate import evaluate_file

    result = evaluate_file(model, data, turn=turn.value, device=device)
    typer.echo(json.dumps(result.to_dict(), indent=2, allow_nan=False) if as_json else result.to_text())


@data_app.command("check")
def check(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Root of COVID-SemiSeg, or a folder with Imgs/ and GT/.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON instead of text.")] = False,
) -> None:
    """Read every picture of a data folder and say what is there and what is wrong."""
    import json

    from infnet_train.data_check import check_data
    from infnet_train.datasets import DataError

    report = check_data(folder)
    typer.echo(json.dumps(report.to_dict(), indent=2) if as_json else report.to_text())
    if report.problems:
        raise DataError(f"{len(report.problems)} problems in {folder}, listed in the report", code=3139)


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
