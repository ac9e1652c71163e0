"""The command ``infnet-train``: a training, and the other commands by name."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from infnet_runtime.cli.extras import extra_named
from infnet_runtime.cli.options import VersionOption
from infnet_runtime.cli.process import run_command
from infnet_runtime.cpu import limit_process
from infnet_train.cli import assess, data, lungs
from infnet_train.cli.options import DeviceOption
from infnet_train.cli.progress import Progress, log_to_stderr, what_to_do_next

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    subcommand_metavar="[COMMAND]",
)
app.command("eval")(assess.evaluate)
app.add_typer(data.app, name="data")
app.add_typer(lungs.app, name="lungs")
app.command()(assess.calibrate)


@app.command()
def average(
    first: Annotated[Path, typer.Argument(help="Weights (.safetensors), as of the second of two trainings.")],
    second: Annotated[Path, typer.Argument(help="Weights of the same network, as those it went on from.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The mean, a new file.")],
    share: Annotated[float, typer.Option(help="Of the first; the second has the rest.")] = 0.5,
) -> None:
    """Average two trainings of one network, weight by weight."""
    from infnet_runtime.io.atomic import refuse_existing
    from infnet_train.weights.average import average_weights

    refuse_existing(out)
    average_weights(first, second, out, share=share)
    typer.echo(out)


@app.command()
def keys() -> None:
    """Print all keys of a recipe with their types and defaults: docs/recipe.md."""
    from infnet_train.config.table import recipe_keys

    typer.echo(recipe_keys(), nl=False)


_USAGE = 2
_DEFAULT_DATA = Path("data/prepared")


class _Precision(StrEnum):
    fp32 = "fp32"
    bf16 = "bf16"


class _AugmentOn(StrEnum):
    auto = "auto"
    cpu = "cpu"
    device = "device"


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
            help="Data folder, or a file of data pack; the first lines of a recipe say which. data/prepared "
            "where not given.",
            envvar="INFNET_TRAIN_DATA",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder of the run; where not given runs/<recipe>, then runs/<recipe>-2 and so on.",
            envvar="INFNET_OUT",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Move a run that is in --out aside, to OUT.1, and begin anew.")
    ] = False,
    device: DeviceOption = "auto",
    precision: Annotated[
        _Precision, typer.Option(help="Of the convolutions; weights and losses are fp32.")
    ] = _Precision.fp32,
    backbone_weights: Annotated[
        Path | None,
        typer.Option(
            help="Backbone to start from: ImageNet weights of Res2Net-50 v1b 26w4s (.pth; train/README.md "
            "says where they are), or that of a checkpoint of infnet (.safetensors)."
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Train this network (docs/networks.md), whatever the recipe says; as --set network=NAME.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change one value of the recipe, key=value; once for each. Keys: infnet-train keys.",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads, 0 for all.", min=0)] = 0,
    augment_on: Annotated[
        _AugmentOn,
        typer.Option(help="Where slices are augmented: auto takes the GPU where one trains, else the CPU."),
    ] = _AugmentOn.auto,
    compile_: Annotated[
        bool, typer.Option("--compile", help="Use torch.compile where it works; it takes a minute a size.")
    ] = False,
    time_budget: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES",
            help="Fit the schedule to this time, whatever epochs the recipe says.",
            min=0.05,
        ),
    ] = None,
    version: VersionOption = False,
) -> None:
    """Train Inf-Net, or another network, by a recipe.

    An interrupted run goes on with --resume and gives the same weights.
    """
    if context.invoked_subcommand is not None:
        _refuse_options_of_training(context)
        return
    limit_process(threads)
    from infnet_train.recipe import find_recipe

    recipe_file = find_recipe(config)
    data = data or _default_data()
    if resume and force:
        raise typer.BadParameter("--resume goes on with a run and --force begins anew; give one of them")
    import torch

    from infnet_train.machine.device import choose_device
    from infnet_train.recipe import read_recipe, run_recipe
    from infnet_train.run.folder import default_folder

    log_to_stderr()
    if threads:
        torch.set_num_threads(threads)
    named = [] if network is None else [f"network={network}"]
    stages = read_recipe(recipe_file, [*(set_ or []), *named])
    chosen = choose_device(device)
    if out is None:
        names = [stage.name for stage in stages]
        out = default_folder(Path("runs") / recipe_file.stem, names, go_on=resume or force)
    with Progress() as progress:
        weights = run_recipe(
            stages,
            data,
            out,
            device=chosen,
            bf16=precision is _Precision.bf16,
            resume=resume,
            force=force,
            backbone_weights=backbone_weights,
            progress=progress,
            augment_on_device=augment_on is _AugmentOn.device
            or (augment_on is _AugmentOn.auto and chosen != "cpu"),
            compiled=compile_,
            budget_s=None if time_budget is None else 60 * time_budget,
        )
    if os.environ.get("RANK", "0") == "0":
        typer.echo(what_to_do_next(weights), err=True)
        typer.echo(weights)


def _default_data() -> Path:
    """The prepared data of a checkout, or what to do to get there."""
    if _DEFAULT_DATA.is_dir():
        return _DEFAULT_DATA
    typer.echo(
        f"a training needs data: there is no folder {_DEFAULT_DATA} here and no --data\n"
        "1. get COVID-SemiSeg, and if you can the Radiopaedia volumes and the coronacases slices\n"
        f"2. infnet-train data prepare FOLDER_OF_THE_SETS --out {_DEFAULT_DATA}\n"
        "3. infnet-train\n"
        "for slices or volumes of yours: infnet-train data prepare FOLDER --out data/mine, and a recipe of "
        "ten lines, as docs/own-data.md says\n"
        "other commands are 'infnet-train eval', 'calibrate' and 'data'; see infnet-train --help",
        err=True,
    )
    raise typer.Exit(_USAGE)


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


def main() -> None:
    """Entry point."""
    with extra_named("train", "torch", "safetensors"):
        run_command(app)
