"""A model repository for NVIDIA's Triton Inference Server, from an ONNX file or an engine of infnet.

::

    <folder>/<name>/config.pbtxt     names, types, shapes, batching, warm-up
    <folder>/<name>/labels.txt       value in the mask and its meaning, one for each line
    <folder>/<name>/1/model.onnx     or model.plan with its model.plan.json; 2, 3, ... are later ones

A model that is there already gets another version. The server runs the latest unless it is told otherwise.

The server runs the network alone: who sends slices prepares them by the contract, and makes the mask from
the probability. The manifest is therefore among the parameters, which a client can ask for. ``labels.txt`` is
for people and clients; it is not the ``label_filename`` of Triton, which names the classes of a classifier.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx

from infnet_export.graph.coarse_logits import without_coarse_logits
from infnet_export.graph.onnx_file import manifest_in, model_bytes, read_onnx
from infnet_runtime.backends.tensorrt.sidecar import EngineTensor, read_engine, sidecar_path
from infnet_runtime.errors import InputError, ModelError, OutputError
from infnet_runtime.io.atomic import atomic_write, check_folder, prepare_folder
from infnet_runtime.model.manifest import METADATA_KEY, ModelManifest

PLAN_SUFFIXES = (".plan", ".engine", ".trt")

# ONNX's and TensorRT's names of the element types an infnet model can have at its rim, and Triton's.
_ONNX_TYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "FLOAT",
    onnx.TensorProto.FLOAT16: "HALF",
    onnx.TensorProto.UINT8: "UINT8",
}
_TYPES = {"FLOAT": "TYPE_FP32", "HALF": "TYPE_FP16", "UINT8": "TYPE_UINT8"}


@dataclass(frozen=True, kw_only=True)
class TritonSettings:
    """How the server runs the model.

    Parameters
    ----------
    name
        Of the model; clients ask for it.
    largest_batch
        Most slices at once. Of an engine, at most what it was built for.
    queue_delay_us : microseconds
        How long a request waits for others to share a batch with.
    instances
        Copies of the model on each GPU, or on the CPU.
    gpu
        An engine always runs on the GPU.
    """

    name: str = "infnet"
    largest_batch: int = 8
    queue_delay_us: int = 2000
    instances: int = 1
    gpu: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise InputError(
                f"'{self.name}' cannot name a model: expected letters, digits, '.', '_' and '-'", code=3143
            )
        if self.largest_batch < 1 or self.instances < 1 or self.queue_delay_us < 0:
            raise InputError(
                f"batch {self.largest_batch} and instances {self.instances} must be 1 or more, the queue "
                f"delay {self.queue_delay_us} us 0 or more",
                code=3143,
            )


@dataclass(frozen=True)
class _Served:
    """What the server is given."""

    platform: str
    files: dict[str, bytes]
    inputs: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]
    manifest: ModelManifest


def write_triton(model: Path, folder: Path, settings: TritonSettings) -> Path:
    """Write a model repository.

    Parameters
    ----------
    model
        An ONNX file, or an engine (``.plan``) with its sidecar.
    folder
        The repository; made where there is none, other models in it and other versions of this one stay.

    Returns
    -------
    The folder of the model, ``<folder>/<name>``.

    Raises
    ------
    ModelError
        If the model is refused, or its rim has a type that Triton is not told of here.
    InputError
        If the engine does not take the batch, or one slice alone.
    OutputError
        If something else is there, or a model of other inputs, outputs or platform; or if the folder cannot
        be written.
    """
    served = _read(model, settings)
    check_place(folder, settings.name)
    target = prepare_folder(folder) / settings.name
    config, before = _config(served, settings), target / "config.pbtxt"
    if before.is_file() and _rim(before.read_text("utf-8")) != _rim(config):
        raise OutputError(
            f"{target} holds a model of another platform, or of other inputs or outputs, which a version of "
            "it cannot have; remove it or choose another name",
            code=8010,
        )
    version = target / str(1 + max(_versions(target), default=0))
    files = {version / name: content for name, content in served.files.items()}
    files |= {target / "labels.txt": labels_text(served.manifest).encode(), before: config.encode()}
    is_first = not target.exists()
    try:
        for path, content in files.items():
            prepare_folder(path.parent)
            with atomic_write(path) as file:
                file.write(content)
    except BaseException:
        shutil.rmtree(target if is_first else version, ignore_errors=True)
        raise
    return target


def check_place(folder: Path, name: str) -> None:
    """Whether a model of this name, or a version of it, can be written; better before the work than after it.

    Raises
    ------
    OutputError
        If the folder cannot be written, or something else than a model of infnet-export is in the place.
    """
    target = check_folder(folder) / name
    if not target.exists():
        return
    config = target / "config.pbtxt"
    if not (target.is_dir() and config.is_file() and _is_own(config.read_text("utf-8", "replace"))):
        raise OutputError(
            f"{target} is there already and is not as infnet-export wrote it, or was changed by hand; remove "
            "it or choose another name",
            code=8010,
        )
    check_folder(target)


def _versions(target: Path) -> list[int]:
    return [int(path.name) for path in target.glob("[0-9]*") if path.name.isdigit()]


def _is_own(config: str) -> bool:
    head, _, rest = config.partition("\n")
    return head.endswith(_signature(rest))


def _signature(rest: str) -> str:
    """What the first line of a configuration ends with, so that one changed by hand is seen."""
    return f"written by infnet-export, {hashlib.sha256(rest.encode()).hexdigest()[:16]}"


def _rim(config: str) -> list[str]:
    """The lines that all versions of a model share: platform, inputs and outputs."""
    return [line for line in config.splitlines() if line.startswith(("platform:", "input [", "output ["))]


def labels_text(manifest: ModelManifest) -> str:
    """Value in the mask and its name, one for each line."""
    return "".join(f"{value} {label['name']}\n" for value, label in sorted(manifest.labels.items()))


def _read(model: Path, settings: TritonSettings) -> _Served:
    if model.suffix.lower() in PLAN_SUFFIXES:
        plan, sidecar = read_engine(model)
        batch = sidecar.batch
        if not batch.smallest == 1 <= settings.largest_batch <= batch.largest:
            raise InputError(
                f"{model} takes batches {batch}, Triton was asked to send 1 to {settings.largest_batch}; "
                f"choose a batch of at most {batch.largest}, or build the engine for it from 1 on",
                code=3143,
            )
        return _Served(
            "tensorrt_plan",
            {"model.plan.json": sidecar_path(model).read_bytes(), "model.plan": plan},
            sidecar.inputs,
            sidecar.outputs,
            sidecar.manifest,
        )
    found, content = read_onnx(model)
    # Clients get probabilities; coarse logits would make another model of it, which no version may be.
    graph = without_coarse_logits(found)
    return _Served(
        "onnxruntime_onnx",
        {"model.onnx": content if graph is found else model_bytes(graph)},
        tuple(_tensor(v, model) for v in graph.graph.input),
        tuple(_tensor(v, model) for v in graph.graph.output),
        manifest_in(graph, model),
    )


def _tensor(value: onnx.ValueInfoProto, model: Path) -> EngineTensor:
    tensor = value.type.tensor_type
    shape = tuple(d.dim_value or -1 for d in tensor.shape.dim)
    if tensor.elem_type not in _ONNX_TYPES or shape[:1] != (-1,) or -1 in shape[1:]:
        raise ModelError(
            f"{model} has '{value.name}' of type {tensor.elem_type} and shape {shape}, expected floats or "
            "bytes with a free batch (-1) and everything else fixed; export it again with infnet-export",
            code=4033,
        )
    return EngineTensor(name=value.name, dtype=_ONNX_TYPES[tensor.elem_type], shape=shape)


def _config(served: _Served, settings: TritonSettings) -> str:
    on_gpu = settings.gpu or served.platform == "tensorrt_plan"
    preferred = sorted({b for b in (4, settings.largest_batch) if 1 < b <= settings.largest_batch})
    lines = [
        f"name: {_quoted(settings.name)}",
        f"platform: {_quoted(served.platform)}",
        f"max_batch_size: {settings.largest_batch}",
        *_tensors("input", served.inputs),
        *_tensors("output", served.outputs),
        f"instance_group [ {{ count: {settings.instances} kind: {'KIND_GPU' if on_gpu else 'KIND_CPU'} }} ]",
        "dynamic_batching {",
        *([f"  preferred_batch_size: {preferred}"] if preferred else []),
        f"  max_queue_delay_microseconds: {settings.queue_delay_us}",
        "}",
    ]
    for batch in sorted({1, settings.largest_batch}):
        lines += _warmup(batch, served.inputs)
    lines += [
        "parameters {",
        f"  key: {_quoted(METADATA_KEY)}",
        f"  value {{ string_value: {_quoted(served.manifest.to_json())} }}",
        "}",
    ]
    rest = "\n".join(lines) + "\n"
    return f"# {_quoted(f'{served.manifest.name} {served.manifest.version}')}, {_signature(rest)}\n{rest}"


def _tensors(kind: str, tensors: Iterable[EngineTensor]) -> list[str]:
    return [
        f"{kind} [ {{ name: {_quoted(t.name)} data_type: {_TYPES[t.dtype]} dims: {list(t.shape[1:])} }} ]"
        for t in tensors
    ]


def _warmup(batch: int, inputs: Iterable[EngineTensor]) -> list[str]:
    """Black slices, so that the first patient does not wait for kernels to be loaded."""
    lines = ["model_warmup [ {", f"  name: {_quoted(f'batch of {batch}')}", f"  batch_size: {batch}"]
    for t in inputs:
        value = f"{{ data_type: {_TYPES[t.dtype]} dims: {list(t.shape[1:])} zero_data: true }}"
        lines.append(f"  inputs {{ key: {_quoted(t.name)} value: {value} }}")
    return [*lines, "} ]"]


def _quoted(text: str) -> str:
    """A string in the text format of protocol buffers, which takes the escapes of JSON."""
    return json.dumps(text, ensure_ascii=False)
