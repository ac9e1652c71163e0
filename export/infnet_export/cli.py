"""The command ``infnet-export``."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from infnet_runtime.cli.extras import extra_named
from infnet_runtime.cli.options import ThreadsOption, VersionOption
from infnet_runtime.cli.process import DefaultCommandGroup, run_command
from infnet_runtime.cpu import limit_process


class _Group(DefaultCommandGroup):
    default_command: ClassVar[str] = "make"


app = typer.Typer(cls=_Group, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class _Weights(StrEnum):
    """``WeightStorage`` again, because that module loads torch and --help must not."""

    fp16 = "fp16"
    fp32 = "fp32"


class _Turn(StrEnum):
    """``pictures.Turn`` as a choice."""

    none = "none"
    transpose = "transpose"
    transpose_flip = "transpose_flip"


@app.command(
    epilog="Other commands: infnet-export inspect (what a model file is), infnet-export judge (may a file "
    "compute in bf16), infnet-export weights (a model file back into weights), infnet-export lungs (the "
    "network that finds the lungs), infnet-export coarse-logits (a model file with coarse logits added), "
    "infnet-export metrics (measured numbers into a model file); each has --help. A file of such a name is "
    "given as ./inspect."
)
def make(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="WEIGHTS|MODEL.onnx",
            help="Weights of a run (.safetensors), the authors' .pth, or an ONNX file of infnet, which needs "
            "no PyTorch. The shipped model where not given.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the files, or the name of the ONNX file in it.")
    ] = Path("infnet-model"),
    classes: Annotated[
        Path | None,
        typer.Option(
            metavar="WEIGHTS",
            help="Weights of a second network, which tells ground glass and consolidation apart: both "
            "become one file. One with a prior is given the infection that WEIGHTS finds.",
        ),
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Also a file that computes in FP16.")] = False,
    borrow: Annotated[
        bool,
        typer.Option(
            "--borrow",
            help="With --fp16: leave out the weights of the plain file and take them from it, which has "
            "to lie beside it: 2 MB in place of 62.",
        ),
    ] = False,
    trt: Annotated[
        bool,
        typer.Option("--trt", help="Also a TensorRT engine of the FP16 file, for the GPU of this machine."),
    ] = False,
    rtx: Annotated[
        bool, typer.Option("--rtx", help="Also an engine of TensorRT for RTX, which builds without a GPU.")
    ] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Also a file that computes in 8 bit.")] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Training slices for --int8: a folder with images and masks, or Imgs and GT."),
    ] = None,
    labelled: Annotated[list[Path] | None, typer.Option(help="More such folders that judge --int8.")] = None,
    turn: Annotated[
        _Turn, typer.Option(help="What turns the slices of --calibration and --labelled upright.")
    ] = _Turn.none,
    bf16: Annotated[
        bool,
        typer.Option(
            "--bf16",
            help="Also judge on volumes of --verify whether the files may compute in bf16, and record it.",
        ),
    ] = False,
    hu: Annotated[
        str | None,
        typer.Option(
            metavar="ROWSxCOLUMNS", help="Also a file that takes slices in HU of this size (int16)."
        ),
    ] = None,
    triton: Annotated[
        Path | None, typer.Option(help="Also a model repository for Triton, in this folder.")
    ] = None,
    coarse_logits: Annotated[
        bool,
        typer.Option(
            help="Beside the probabilities the files give the logits before their last enlargement, which "
            "the runtime then does where it matters. Older versions of infnet refuse such files."
        ),
    ] = True,
    batch: Annotated[str, typer.Option(help="Batch sizes MIN:OPT:MAX.")] = "1:4:8",
    timing_cache: Annotated[
        Path | None, typer.Option(help="Folder of TensorRT's timing caches, for --trt.")
    ] = None,
    workspace: Annotated[int, typer.Option(help="TensorRT's scratch memory, MiB.", min=1)] = 4 * 1024,
    level: Annotated[int, typer.Option(help="TensorRT's effort.", min=0, max=5)] = 3,
    tf32: Annotated[
        bool, typer.Option("--tf32", help="Let an engine's layers in FP32 round to 10 bits: faster, coarser.")
    ] = False,
    verify: Annotated[
        Path | None,
        typer.Option(help="Scan or folder of scans to compare on, instead of synthetic slices."),
    ] = None,
    weights: Annotated[
        _Weights, typer.Option(help="Precision the weights are stored in; arithmetic is FP32 with both.")
    ] = _Weights.fp16,
    name: Annotated[
        str | None, typer.Option(help="Name of the model; without it, that of its network.")
    ] = None,
    model_version: Annotated[str, typer.Option(help="Version of the model.")] = "0.1.0",
    licence: Annotated[str, typer.Option(help="What the weights may be used for.")] = "not stated",
    training_data: Annotated[str, typer.Option(help="One line on the training data.")] = "not stated",
    threshold: Annotated[float, typer.Option(help="Probability from which a voxel is infected.")] = 0.5,
    temperature: Annotated[
        float,
        typer.Option(help="Calibration of the probability, from infnet-train calibrate; 1 changes nothing."),
    ] = 1.0,
    metrics: Annotated[
        Path | None, typer.Option(help="JSON object of measured numbers that travel in the manifest.")
    ] = None,
    slices_alone: Annotated[
        bool,
        typer.Option(
            "--slices-alone",
            help="Weights that were trained on slices between their neighbours: the model takes each slice "
            "alone, three times, as it takes a picture. Measure it so (docs/contract.md).",
        ),
    ] = False,
    threads: ThreadsOption = 0,
    json_: Annotated[bool, typer.Option("--json", help="Report as JSON instead of the paths.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not say what is being done.")] = False,
    version: VersionOption = False,
) -> None:
    """Trained weights to ONNX, FP16, INT8 and TensorRT, with proof that nothing changed.

    Makes model files and compares each with the network it came from. One that differs is not written.
    """
    import json
    import logging

    limit_process(threads)
    say = _Told(quiet)
    from infnet_export.make.products import check_places, make
    from infnet_export.make.start import start_from_onnx
    from infnet_export.make.wanted import Wanted
    from infnet_export.tensorrt.builder import EngineSettings
    from infnet_runtime.backends.tensorrt.library import Package
    from infnet_runtime.backends.tensorrt.sidecar import BatchRange
    from infnet_runtime.model.shipped import default_model

    if trt and rtx:
        raise typer.BadParameter("--trt and --rtx are two engines; make one at a time")
    if borrow and not fp16:
        raise typer.BadParameter("--borrow is about the file of --fp16; give both")
    if classes is not None and (source is None or source.suffix.lower() == ".onnx"):
        raise typer.BadParameter("--classes needs the weights of the network that finds the infection")
    if slices_alone and (source is None or source.suffix.lower() == ".onnx"):
        raise typer.BadParameter("--slices-alone needs weights; a model file says how its slices come")
    source = source or default_model()
    named = output.suffix.lower() == ".onnx"
    folder, file_name = (output.parent, output.stem) if named else (output, "infnet")
    batches = BatchRange.parse(batch)
    engine = None
    if trt or rtx:
        engine = EngineSettings(
            package=Package.RTX if rtx else Package.TENSORRT,
            batch=batches,
            workspace_mib=workspace,
            level=level,
            tf32=tf32,
            timing_cache=timing_cache,
        )
    wanted = Wanted(
        fp16=fp16,
        borrow=borrow,
        int8=int8,
        calibration=calibration,
        labelled=tuple(labelled or ()),
        turn=turn.value,
        batch=batches,
        engine=engine,
        bf16=bf16,
        hu=_rows_and_columns(hu) if hu else None,
        triton=triton,
        coarse=coarse_logits,
        verify=verify,
        threads=threads,
    )
    from_onnx = source.suffix.lower() == ".onnx"
    file_name = source.stem if from_onnx and not named else file_name
    check_places(folder, file_name, wanted)
    if from_onnx:
        start = start_from_onnx(source, file_name)
    else:
        from infnet_export.make.card import ModelCard, read_metrics
        from infnet_export.make.from_network import WeightStorage, start_from_network
        from infnet_export.network.exportable import read_trained, read_two_step

        # PyTorch's exporter tells everyone without torchvision, which is not used here, that it is not there.
        logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
        card = ModelCard(
            name=name,
            version=model_version,
            licence=licence,
            training_data=training_data,
            threshold=threshold,
            temperature=temperature,
            metrics=read_metrics(metrics) if metrics else {},
            slices_alone=slices_alone,
        )
        import torch

        if threads:
            torch.set_num_threads(threads)
        trained = read_two_step(source, classes) if classes else read_trained(source)
        say(f"{source}: building the graph of the network")
        start, _ = start_from_network(trained, file_name, card, WeightStorage(weights.value))
    made = make(start, folder, wanted, say=say)
    if json_:
        typer.echo(json.dumps(made.to_plain(), indent=2, sort_keys=True))
    else:
        assert made.parity
        typer.echo(made.parity.to_markdown(), err=True)
        for path in made.files.values():
            typer.echo(path)
    made.check()


@app.command()
def judge(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL.onnx", help="A file of infnet-export in FP32 or in 8 bit.")
    ],
    verify: Annotated[
        list[Path],
        typer.Option(
            help="CT volume to judge on, or folder of them; given several times, at least two volumes."
        ),
    ],
    reference: Annotated[
        Path | None,
        typer.Option(help="The file in FP32 that MODEL was made from; MODEL itself if not given."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; MODEL itself if not given.")
    ] = None,
    threads: ThreadsOption = 0,
    json_: Annotated[bool, typer.Option("--json", help="Report as JSON instead of the path.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not say what is being done.")] = False,
) -> None:
    """Judge whether a model file may compute in bf16, and record it in the file.

    Compares masks and millilitres of whole scans with those in FP32, on any machine: bf16 is imitated. A file
    that passes gets a record in its metadata, after which infnet-infer takes bf16 where the processor has
    units for it. Weights and graph keep every byte. NAME.bf16.md beside the file says how it did.
    """
    import json

    limit_process(threads)
    from infnet_export.make.recorded import judge_file

    target = output or model
    judged = judge_file(model, reference or model, verify, target, say=_Told(quiet))
    if json_:
        typer.echo(json.dumps(judged.to_plain(), indent=2, sort_keys=True))
    else:
        typer.echo(judged.to_table(target.name), err=True)
        typer.echo(target)
    if judged.fault:
        raise judged.fault


class _Told:
    """Lines on stderr that say what is done, and since when the command runs."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._started = quiet, time.monotonic()

    def __call__(self, text: str) -> None:
        if not self._quiet:
            typer.echo(f"{time.monotonic() - self._started:6.1f} s  {text}", err=True)


@app.command()
def lungs(
    source: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="Of 'infnet-train lungs train'.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file.")] = Path("infnet-lungs.onnx"),
    name: Annotated[str, typer.Option(help="Name of the model.")] = "infnet-lungs",
    model_version: Annotated[str, typer.Option(help="Version of the model.")] = "0.1.0",
    licence: Annotated[str, typer.Option(help="What the weights may be used for.")] = "not stated",
    training_data: Annotated[str, typer.Option(help="One line on the training data.")] = "not stated",
    metrics: Annotated[
        Path | None, typer.Option(help="JSON object of measured numbers that travel in the manifest.")
    ] = None,
) -> None:
    """Make the file of the network that finds the lungs."""
    from infnet_export.graph.onnx_file import model_bytes
    from infnet_export.make.card import read_metrics
    from infnet_export.network.lung_file import lung_model
    from infnet_runtime.io.atomic import atomic_write

    model = lung_model(
        source,
        name=name,
        version=model_version,
        licence=licence,
        training_data=training_data,
        metrics=read_metrics(metrics) if metrics else {},
    )
    with atomic_write(output) as file:
        file.write(model_bytes(model))
    typer.echo(output)


@app.command(name="coarse-logits")
def add_coarse_logits(
    source: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX file of infnet-export.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    threads: ThreadsOption = 0,
) -> None:
    """Give a model file coarse logits beside its probabilities; nothing else of it changes."""
    limit_process(threads)
    from infnet_export.make.coarse_file import coarse_file
    from infnet_runtime.io.atomic import atomic_write

    content, parity = coarse_file(source)
    with atomic_write(output) as file:
        file.write(content)
    typer.echo(
        f"the full map is the same to the bit; enlarged by the runtime the logits differ from it by "
        f"{parity.largest_distance:.1e} at most, masks in {parity.differing_pixels} pixels",
        err=True,
    )
    typer.echo(output)


@app.command(name="metrics")
def add_metrics(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX file of infnet-export.")],
    metrics: Annotated[
        Path,
        typer.Argument(metavar="METRICS.json", help="JSON object of measured numbers, name to number."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; MODEL itself if not given.")
    ] = None,
) -> None:
    """Write measured numbers into a model file: its slice gate, its level of false marks, scores.

    They are added to the metrics of the manifest, or take the place of those of the same names. Weights,
    graph and records keep every byte.
    """
    from infnet_export.make.card import read_metrics
    from infnet_export.make.measured_file import with_metrics
    from infnet_runtime.io.atomic import atomic_write

    content = with_metrics(model, read_metrics(metrics))
    target = output or model
    with atomic_write(target) as file:
        file.write(content)
    typer.echo(target)


def _rows_and_columns(text: str) -> tuple[int, int]:
    rows, _, columns = text.partition("x")
    if not (rows.isdigit() and columns.isdigit() and int(rows) and int(columns)):
        raise typer.BadParameter(f"--hu {text}: expected rows and columns, for example 512x512")
    return int(rows), int(columns)


@app.command()
def inspect(
    file: Annotated[
        Path, typer.Argument(help="An ONNX file of infnet, an engine with its sidecar, or weights of a run.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON instead of a table.")] = False,
) -> None:
    """Say what a model file is: preprocessing, output, origin, hashes.

    Needs the package onnx, which infnet[export] has; neither PyTorch nor a GPU.
    """
    import json

    from infnet_export.graph.inspection import inspect_file

    found = inspect_file(file)
    typer.echo(json.dumps(found.to_dict(), indent=2) if as_json else found.to_text())


@app.command()
def weights(
    file: Annotated[
        Path,
        typer.Argument(help="An ONNX file of infnet-export that computes in FP32.", metavar="MODEL.onnx"),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The checkpoint to write (.safetensors).")],
    slices: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder with images and masks, or Imgs and GT, like the slices of the training, to measure "
            "the normalisations on. Without one the prediction is the same, but training begins with a jolt."
        ),
    ] = None,
    turn: Annotated[_Turn, typer.Option(help="What turns the slices of --slices upright.")] = _Turn.none,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON instead of text.")] = False,
) -> None:
    """Read a model file back into weights that infnet-train can go on from (init_from of a recipe)."""
    import json

    from infnet_export.network.inf_net.normalisations import FRESH
    from infnet_export.network.inf_net.recovered import (
        measuring_slices,
        recover_weights,
        write_recovered,
    )
    from infnet_runtime.io.atomic import refuse_existing

    refuse_existing(output)
    measured = measuring_slices(file, slices, turn=turn.value) if slices else None
    recovered = recover_weights(file, measured)
    write_recovered(output, recovered, file)
    if as_json:
        values = {
            "schema": "infnet.recovered/1",
            "weights": str(output),
            "model": recovered.manifest.name,
            "version": recovered.manifest.version,
            "slices": recovered.slices,
            "fresh": list(FRESH),
            "left_behind": list(recovered.left_behind),
        }
        typer.echo(json.dumps(values, indent=2))
        return
    typer.echo(f"normalisations measured on {recovered.slices} slices; afresh: {', '.join(FRESH)}", err=True)
    if recovered.left_behind:
        typer.echo(f"left behind, with what it needs alone: {', '.join(recovered.left_behind)}", err=True)
    typer.echo(output)


def main() -> None:
    """Entry point."""
    with extra_named("export", "onnx", "onnxscript", "torch", "safetensors"):
        run_command(app)


if __name__ == "__main__":
    main()
