"""Options that several commands share, those of the training and the export among them."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from infnet_runtime.cli.process import print_version

ModelOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="ONNX model of infnet-export, or a TensorRT engine with its sidecar; the shipped model that "
        "suits backend and device if not given.",
        envvar="INFNET_MODEL",
    ),
]
BackendOption: TypeAlias = Annotated[
    str,
    typer.Option(
        help="onnxruntime, openvino or tensorrt, used or refused; auto: TensorRT for an engine, else the "
        "first that works of ONNX Runtime on CUDA, OpenVINO, ONNX Runtime; on ARM OpenVINO comes last.",
        envvar="INFNET_BACKEND",
    ),
]
DeviceOption: TypeAlias = Annotated[
    str, typer.Option(help="cpu, cuda or cuda:N, used or refused; or auto.", envvar="INFNET_DEVICE")
]
PrecisionOption: TypeAlias = Annotated[
    str,
    typer.Option(
        help="f32 or bf16 for what is not in 8 bit, used or refused; auto: bf16 in OpenVINO where the "
        "processor has units for it and the model file says that its masks stay the same, else f32.",
        envvar="INFNET_PRECISION",
    ),
]
ThreadsOption: TypeAlias = Annotated[
    int,
    typer.Option(help="CPU threads, 0 for what this process may use.", min=0, envvar="INFNET_THREADS"),
]
BatchOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        "-b",
        help="Slices that the network takes at once; what suits the backend if not given.",
        min=1,
    ),
]
IntensityOption: TypeAlias = Annotated[
    str, typer.Option(help="auto, hu, or windowed (8-bit grey in the lung window).")
]
OrientationOption: TypeAlias = Annotated[
    str | None, typer.Option(help="Orientation, such as LAS, of a NIfTI file that does not say.")
]
AllowGapsOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--allow-gaps",
        help="Take a DICOM series in which slices are missing, and measure what is there "
        "(docs/reading-dicom.md).",
    ),
]
LobesOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Lobe mask on the scan's grid, for numbers and scores of lobes: labels of lungmask's LTRCLobes "
        "or of TotalSegmentator, or TotalSegmentator's folder with lung_*_lobe_* files."
    ),
]
LungsByOption: TypeAlias = Annotated[
    str,
    typer.Option(
        help="How lungs are found where none are given: network, used or refused, or threshold; auto: the "
        "network where its file was shipped.",
        envvar="INFNET_LUNGS_BY",
    ),
]
IncludePhiOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--include-phi",
        help="Put the patient of a DICOM scan into the JSON and onto the page: name, number, birth date, "
        "sex, study date, accession number. Without it they stand in DICOM objects alone.",
    ),
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
VersionOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--version",
        help="Print the versions of package and model.",
        callback=print_version,
        is_eager=True,
    ),
]
