"""The command ``infnet-export``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from infnet_runtime.command import print_version, run_command

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class _Weights(StrEnum):
    """``WeightStorage`` again, because that module loads torch and --help must not."""

    fp16 = "fp16"
    fp32 = "fp32"


@app.command()
def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="Weights of a run (.safetensors), or the authors' Inf-Net-100.pth.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The ONNX file to write.")],
    weights: Annotated[
        _Weights, typer.Option(help="Precision the weights are stored in; arithmetic is FP32 with both.")
    ] = _Weights.fp16,
    name: Annotated[str, typer.Option(help="Name of the model.")] = "inf-net",
    model_version: Annotated[str, typer.Option(help="Version of the model.")] = "0.1.0",
    licence: Annotated[str, typer.Option(help="What the weights may be used for.")] = "not stated",
    training_data: Annotated[str, typer.Option(help="One line on the training data.")] = "not stated",
    threshold: Annotated[float, typer.Option(help="Probability from which a voxel is infected.")] = 0.5,
    temperature: Annotated[
        float,
        typer.Option(help="Calibration of the probability, from infnet-train calibrate; 1 changes nothing."),
    ] = 1.0,
    verify: Annotated[
        Path | None,
        typer.Option(help="Scan or folder of scans to compare on, instead of synthetic slices."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Report as JSON instead of the path.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=print_version, is_eager=True),
    ] = False,
) -> None:
    """Write trained weights as one ONNX file, and prove on slices that it computes the same."""
    import json
    import logging

    from infnet_export.model_file import ModelCard, WeightStorage, export_model
    from infnet_export.parity import scan_input
    from infnet_export.trained import read_trained

    # PyTorch's exporter tells everyone without torchvision, which is not used here, that it is not there.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    trained = read_trained(checkpoint)
    slices = scan_input(verify, trained.preprocess) if verify else None
    card = ModelCard(
        name=name,
        version=model_version,
        licence=licence,
        training_data=training_data,
        threshold=threshold,
        temperature=temperature,
    )
    report = export_model(trained, output, card, weights=WeightStorage(weights.value), slices=slices)
    if json_:
        typer.echo(json.dumps(report.to_plain(), indent=2, sort_keys=True))
        return
    parity = report.parity
    typer.echo(
        f"{report.bytes / 1e6:.1f} MB, {sum(report.operators.values())} operators; on {parity.slices} slices "
        f"probabilities differ from the network by {parity.mean_distance:.1e} on average, "
        f"{parity.largest_distance:.1e} at most",
        err=True,
    )
    typer.echo(report.path)


def main() -> None:
    """Entry point."""
    run_command(app)


if __name__ == "__main__":
    main()
