"""The commands ``infnet-train lungs``: data and training of the network that finds the lungs."""

from pathlib import Path
from typing import Annotated

import typer

from infnet_runtime.cpu import limit_process
from infnet_train.cli.progress import Progress, log_to_stderr

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Train the network that finds the lungs.")


@app.command("prepare")
def prepare(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of the public sets.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The training folder.", envvar="INFNET_OUT")],
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON instead of text.")] = False,
) -> None:
    """Make stacks of slices with lung masks of the public sets, without reserved cases."""
    import json

    from infnet_runtime.version import __version__
    from infnet_train.data.lungs.sources import prepare_lungs

    log_to_stderr()
    slices = prepare_lungs(data, out)
    values = {"schema": "infnet.prepared-lungs/1", "infnet": __version__, "out": str(out), "slices": slices}
    text = "\n".join(f"{count:5d} slices  {kind}" for kind, count in slices.items())
    typer.echo(json.dumps(values, indent=2) if as_json else text)


@app.command("train")
def train(
    config: Annotated[
        Path | None, typer.Option(help="Recipe, a TOML file; train/configs/lungs/lungs.toml where not given.")
    ] = None,
    data: Annotated[
        Path, typer.Option(help="What 'infnet-train lungs prepare' wrote.", envvar="INFNET_TRAIN_DATA")
    ] = Path("data/lungs"),
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder of the run; where not given runs/lungs, then runs/lungs-2 and so on.",
            envvar="INFNET_OUT",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Move a run that is in --out aside, to OUT.1, and begin anew.")
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change one value of the recipe: key=value.")
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads, 0 for all.", min=0)] = 0,
) -> None:
    """Train the lung network by a recipe. An interrupted run goes on with --resume."""
    if resume and force:
        raise typer.BadParameter("--resume goes on with a run and --force begins anew; give one of them")
    limit_process(threads)
    import torch

    from infnet_train.config.fill import build, read_values
    from infnet_train.config.lungs import LungTrainConfig
    from infnet_train.recipe import CONFIGS
    from infnet_train.run.folder import default_folder
    from infnet_train.run.lungs import train_lungs

    log_to_stderr()
    if threads:
        torch.set_num_threads(threads)
    file = config or CONFIGS / "lungs" / "lungs.toml"
    recipe = build(LungTrainConfig, read_values(file, set_), str(file))
    out = out or default_folder(Path("runs/lungs"), go_on=resume or force)
    with Progress() as progress:
        weights = train_lungs(recipe, data, out, resume=resume, force=force, progress=progress)
    typer.echo(f"to use them: infnet-export lungs {weights} -o infnet-lungs.onnx", err=True)
    typer.echo(weights)
