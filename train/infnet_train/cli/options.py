"""Options that several commands of ``infnet-train`` share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer


class Turn(StrEnum):
    """``data.pictures.Turn`` again, because that module loads torch and --help must not."""

    none = "none"
    transpose = "transpose"
    transpose_flip = "transpose_flip"


ModelArgument: TypeAlias = Annotated[
    Path,
    typer.Argument(
        metavar="RUN_OR_ONNX",
        help="Weights (.safetensors) or folder of a run, the authors' .pth, or an .onnx file.",
    ),
]
TurnOption: TypeAlias = Annotated[Turn, typer.Option(help="What turns the slices upright.")]
DeviceOption: TypeAlias = Annotated[
    str, typer.Option(help="auto, cpu, cuda or cuda:N.", envvar="INFNET_DEVICE")
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Report as JSON instead of text.")]
TableJsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Report as JSON instead of a table.")
]
