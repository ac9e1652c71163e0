"""The command ``infnet-train``."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from infnet_runtime.command import print_version, run_command

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def train(
    config: Annotated[
        Path, typer.Option(help="Recipe, a TOML file; see train/configs.", envvar="INFNET_CONFIG")
    ],
    data: Annotated[
        Path, typer.Option(help="Data folder (COVID-SemiSeg layout).", envvar="INFNET_TRAIN_DATA")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.", envvar="INFNET_OUT")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", envvar="INFNET_DEVICE")] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, or bf16 for the convolutions.")] = "fp32",
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
    import torch

    from infnet_train.config import ConfigError, read_config
    from infnet_train.device import choose_device
    from infnet_train.loop import train as run

    if precision not in ("fp32", "bf16"):
        raise ConfigError(f"--precision {precision}: expected fp32 or bf16", code=3101)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
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
            bf16=precision == "bf16",
            resume=resume,
            backbone_weights=backbone_weights,
            progress=progress,
        )
    typer.echo(weights)


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
