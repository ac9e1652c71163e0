"""What a model file says about itself, read with neither PyTorch nor a GPU."""

import hashlib
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx

from infnet_export.graph.coarse_logits import coarse_in
from infnet_export.graph.onnx_file import manifest_in, onnx_content, operators, read_onnx
from infnet_runtime.backends.candidates import is_engine
from infnet_runtime.backends.tensorrt.sidecar import EngineSidecar, EngineTensor, read_engine
from infnet_runtime.errors import ModelError
from infnet_runtime.model.arithmetic import BF16
from infnet_runtime.model.coarse_logits import CoarseSpec
from infnet_runtime.model.judged import Judgement, judgement
from infnet_runtime.model.manifest import ENTRY_KEY, ModelManifest
from infnet_runtime.model.recognise import holds_weights
from infnet_runtime.model.specs import OutputSpec


@dataclass(frozen=True)
class Inspection:
    """A model file.

    Parameters
    ----------
    opset
        Version of the operators.
    inputs, outputs
        Name to element type and shape.
    operators
        Operator to count, the most frequent first.
    weights
        Element type to number of values.
    entry
        Of a file that takes slices in HU: input, unit, rows and columns.
    bf16
        Figures of the record that the file may compute in bf16; None where it has none that holds.
    coarse
        Of a file that gives coarse logits.
    """

    path: str
    bytes: int
    sha256: str
    producer: str
    opset: int
    inputs: dict[str, str]
    outputs: dict[str, str]
    operators: dict[str, int]
    weights: dict[str, int]
    manifest: ModelManifest
    entry: dict[str, Any] | None = None
    bf16: Judgement | None = None
    coarse: CoarseSpec | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "manifest": _plain(self.manifest)}

    def to_text(self) -> str:
        """The same for a person to read."""
        return _table(
            {
                "file": f"{self.path}, {self.bytes / 1e6:.1f} MB",
                "sha256": self.sha256,
                **_manifest_rows(self.manifest, self.entry),
                "input": _listed(self.inputs),
                "output": _listed(self.outputs),
                **_coarse_row(self.coarse),
                "stored": _listed(self.weights),
                "bf16": _judged(self.bf16),
                "operators": f"{sum(self.operators.values())}, opset {self.opset}: {_listed(self.operators)}",
            }
        )


@dataclass(frozen=True)
class EngineInspection:
    """An engine and its sidecar."""

    path: str
    sidecar: EngineSidecar

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"path": self.path, **json.loads(self.sidecar.to_json())}

    def to_text(self) -> str:
        """The same for a person to read."""
        sidecar = self.sidecar
        gpu = sidecar.gpu
        return _table(
            {
                "file": f"{self.path}, {sidecar.plan_bytes / 1e6:.1f} MB",
                "sha256": sidecar.plan_sha256,
                "from ONNX": f"sha256 {sidecar.onnx_sha256}",
                **_manifest_rows(sidecar.manifest),
                "input": _shapes(sidecar.inputs),
                "output": _shapes(sidecar.outputs),
                **_coarse_row(sidecar.coarse),
                "batch": str(sidecar.batch),
                "layers": _listed(sidecar.layers),
                "in FP32": ", ".join(sidecar.kept_in_fp32) or "what the ONNX file has in FP32",
                "TF32": "FP32 layers may round to 10 bits" if sidecar.tf32 else "no",
                "built by": f"{sidecar.package} {sidecar.version}",
                "built for": f"{gpu.name}, compute capability {gpu.capability}"
                if gpu
                else "no particular GPU",
            }
        )


@dataclass(frozen=True)
class WeightsInspection:
    """Weights of a training, told from outside: what they are is known when they are exported.

    Parameters
    ----------
    format
        Of the file.
    network
        Kind of network, where the file says.
    groups
        Group of tensors to their number: ``weights`` are exported, others let a training go on.
    values
        Numbers in all tensors; 0 where that is not known.
    """

    path: str
    bytes: int
    sha256: str
    format: str
    network: str
    groups: dict[str, int]
    values: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """The same for a person to read."""
        return _table(
            {
                "file": f"{self.path}, {self.bytes / 1e6:.1f} MB",
                "sha256": self.sha256,
                "kind": f"weights of a training ({self.format}), no model that can be run",
                "network": self.network,
                "tensors": f"{_listed(self.groups)}; {self.values} numbers" if self.groups else "not read",
                "to do": f"infnet-export {self.path} -o model.onnx",
            }
        )


def inspect_file(path: Path) -> "Inspection | EngineInspection | WeightsInspection":
    """Look at any file of infnet: a model, an engine, weights.

    Raises
    ------
    ModelError
        If it is missing, damaged or of another kind.
    """
    if is_engine(path):
        return inspect_engine(path)
    content = onnx_content(path)
    if holds_weights(content):
        return _inspect_weights(content, path)
    return inspect_model(path)


def _inspect_weights(content: bytes, path: Path) -> WeightsInspection:
    sha256, size = hashlib.sha256(content).hexdigest(), len(content)
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        state = json.loads(header.get("__metadata__", {}).get("state", "{}"))
        groups = Counter(name.split("/")[0] if "/" in name else "weights" for name in tensors)
        values = sum(math.prod(entry["shape"]) for entry in tensors.values())
    except (ValueError, TypeError, KeyError, AttributeError):  # a pickle or zip file of PyTorch
        return WeightsInspection(str(path), size, sha256, "PyTorch", "not known before it is read", {}, 0)
    network = state.get("config", {}).get("network", "inf-net" if "config" in state else "not stated")
    return WeightsInspection(str(path), size, sha256, "safetensors", str(network), dict(groups), values)


def inspect_model(path: Path) -> Inspection:
    """Read a model file of infnet.

    Raises
    ------
    ModelError
        If the file is missing, no ONNX, or carries no manifest of infnet.
    """
    model, content = read_onnx(path)
    manifest = manifest_in(model, path)
    return Inspection(
        path=str(path),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        producer=model.producer_name,
        opset=next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
        inputs={v.name: _type(v) for v in model.graph.input},
        outputs={v.name: _type(v) for v in model.graph.output},
        operators=operators(model),
        weights=_weights(model.graph),
        manifest=manifest,
        bf16=_record(model, content, manifest, path),
        entry=next((json.loads(p.value) for p in model.metadata_props if p.key == ENTRY_KEY), None),
        coarse=coarse_in(model),
    )


def _record(model: onnx.ModelProto, content: bytes, manifest: ModelManifest, path: Path) -> Judgement | None:
    metadata = {p.key: p.value for p in model.metadata_props}
    try:
        return judgement(metadata, content, manifest, BF16, path)
    except ModelError:
        return None


def _judged(found: Judgement | None) -> str:
    if found is None:
        return "no record that it may be computed in (infnet-export judge)"
    return (
        f"may be computed in: on {found.scans} scans masks agree by a Dice of {found.smallest_dice:g} or "
        f"more, the infection moves by {found.largest_ml:g} ml and {found.largest_percent:g} % at most"
    )


def inspect_engine(path: Path) -> EngineInspection:
    """Read an engine's sidecar and check that the two belong together.

    Raises
    ------
    ModelError
        If either is missing or damaged.
    """
    _, sidecar = read_engine(path)
    return EngineInspection(str(path), sidecar)


def _plain(manifest: ModelManifest) -> dict[str, Any]:
    """As in the file, with a temperature of 1 as well."""
    values: dict[str, Any] = json.loads(manifest.to_json())
    for output in values.get("outputs", [values.get("output")]):
        output.setdefault("temperature", 1.0)
    return values


def _manifest_rows(manifest: ModelManifest, entry: dict[str, Any] | None = None) -> dict[str, str]:
    spec, output = manifest.preprocess, manifest.output
    slices = (
        f"window {spec.window_hu[0]:g}..{spec.window_hu[1]:g} HU, lungs with {spec.crop_margin_mm:g} mm "
        f"around them, {spec.size} x {spec.size} pixels"
    )
    mask = f"probability >= {output.threshold:g}, temperature {output.temperature:g}"
    if entry:
        slices = (
            f"whole pictures of {entry['rows']} x {entry['columns']} pixels in {entry['unit']}, as they are; "
            f"window and resize to {spec.size} x {spec.size} and back are in the file, the crop to the lungs "
            f"with {spec.crop_margin_mm:g} mm around them is the caller's (docs/hu-graph.md)"
        )
        mask = f"probability >= {output.threshold:g}, inside the lungs, both the caller's; temperature "
        mask += f"{output.temperature:g} is in the file"
    return {
        "model": f"{manifest.name} {manifest.version}",
        "licence": manifest.licence,
        "trained on": manifest.training_data,
        "weights": f"{manifest.weights_sha256} (hash of the training weights)",
        "contract": str(manifest.contract_version),
        "slices": slices,
        "mask": mask,
        "labels": _labels(output),
        **_others_row(manifest),
        "metrics": _listed(manifest.metrics) or "none recorded",
        "made with": _listed(manifest.created_with),
    }


def _labels(output: OutputSpec) -> str:
    return ", ".join(
        f"{value} = {label['name']} ({label['scheme']} {label['code']}, {label['meaning']})"
        for value, label in output.labels.items()
    )


def _others_row(manifest: ModelManifest) -> dict[str, str]:
    """What the model gives beside the infection."""
    others = [o for o in manifest.outputs if o is not manifest.output]
    return (
        {"also gives": "; ".join(f"'{o.name}', {o.activation}: {_labels(o)}" for o in others)}
        if others
        else {}
    )


def _coarse_row(coarse: CoarseSpec | None) -> dict[str, str]:
    if coarse is None:
        return {}
    said = f"'{coarse.output}', enlarged {coarse.factor} times ({coarse.mode}, {coarse.positions}), then "
    return {"coarse": f"{said}{coarse.activation}, is '{coarse.probability}'"}


def _table(rows: dict[str, str]) -> str:
    return "\n".join(f"{name:<11}{text}" for name, text in rows.items())


def _shapes(tensors: tuple[EngineTensor, ...]) -> str:
    return ", ".join(f"{t.name} {t.dtype} {t.shape}" for t in tensors)


def _weights(graph: onnx.GraphProto) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for tensor in graph.initializer:
        count = 1
        for size in tensor.dims:
            count *= size
        counts[onnx.TensorProto.DataType.Name(tensor.data_type)] += count
    return dict(counts.most_common())


def _type(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    shape = ", ".join(d.dim_param or str(d.dim_value) for d in tensor.shape.dim)
    return f"{onnx.TensorProto.DataType.Name(tensor.elem_type)} ({shape})"


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
