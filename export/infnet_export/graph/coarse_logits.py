"""Coarse logits as another output of a graph that ends with their enlargement.

That end is recognised by its structure, whatever the network: an output that is the sigmoid of a linear
resize with half-pixel centres by a whole factor. Nothing else of the graph changes.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from infnet_export.graph.onnx_file import BATCH_DIMENSION, check_model
from infnet_runtime.model.coarse_logits import COARSE_KEY, COARSE_OUTPUT, HALF_PIXEL, LINEAR, CoarseSpec
from infnet_runtime.model.manifest import METADATA_KEY, ModelManifest

_NODE = f"{COARSE_OUTPUT}/Identity"


@dataclass(frozen=True)
class _End:
    """The logits that an output begins with, and how many times they are enlarged."""

    logits: str
    factor: int


def with_coarse_logits(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model that gives coarse logits beside the infection; the same model if it ends otherwise.

    Parameters
    ----------
    model
        With its manifest; stays as it is.

    Returns
    -------
    Checked; nodes, weights and outputs as before, then the new ones.
    """
    properties = {p.key: p.value for p in model.metadata_props}
    if COARSE_KEY in properties:
        return model
    manifest = ModelManifest.from_json(properties[METADATA_KEY], source="the model to give coarse logits")
    end = _end_of(model, manifest.output.name)
    if end is None or manifest.preprocess.size % end.factor:
        return model
    spec = CoarseSpec(probability=manifest.output.name, factor=end.factor)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    graph.node.append(helper.make_node("Identity", [end.logits], [spec.output], name=_NODE))
    shape: list[str | int | None] = [BATCH_DIMENSION, *spec.shape(manifest)]
    graph.output.append(helper.make_tensor_value_info(spec.output, TensorProto.FLOAT, shape))
    helper.set_model_props(changed, properties | {COARSE_KEY: spec.to_json()})
    check_model(changed)
    return changed


def without_coarse_logits(model: onnx.ModelProto) -> onnx.ModelProto:
    """Undo :func:`with_coarse_logits`; the same model if it has none."""
    spec = coarse_in(model)
    if spec is None:
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    properties = {p.key: p.value for p in model.metadata_props if p.key != COARSE_KEY}
    helper.set_model_props(changed, properties)
    for kept, name in ((changed.graph.node, _NODE), (changed.graph.output, spec.output)):
        for value in [v for v in kept if v.name == name]:
            kept.remove(value)
    check_model(changed)
    return changed


def coarse_in(model: onnx.ModelProto) -> CoarseSpec | None:
    """What a model says of its coarse logits.

    Raises
    ------
    ManifestError
        If it cannot be read.
    """
    texts = [p.value for p in model.metadata_props if p.key == COARSE_KEY]
    return CoarseSpec.from_json(texts[0], source="the model") if texts else None


def _end_of(model: onnx.ModelProto, output: str) -> _End | None:
    """Resize and sigmoid keep the type, so the logits are in single precision as the output is."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    last = makers.get(output)
    resize = makers.get(last.input[0]) if last is not None and last.op_type == "Sigmoid" else None
    if resize is None or resize.op_type != "Resize" or not _is_bilinear(resize):
        return None
    factor = _factor(graph, resize)
    return None if factor is None else _End(resize.input[0], factor)


def _is_bilinear(resize: onnx.NodeProto) -> bool:
    """Linear with half-pixel centres, over whole pictures, without antialiasing."""
    said = {a.name: helper.get_attribute_value(a) for a in resize.attribute}
    return (
        said.get("mode") == LINEAR.encode()
        and said.get("coordinate_transformation_mode", HALF_PIXEL.encode()) == HALF_PIXEL.encode()
        and not said.get("antialias")
        and not said.get("exclude_outside")
        and "axes" not in said
    )


def _factor(graph: onnx.GraphProto, resize: onnx.NodeProto) -> int | None:
    """The whole number by which rows and columns are enlarged, where it stands in the graph."""
    scales = next((t for t in graph.initializer if t.name in resize.input[2:3]), None)
    if scales is None:
        return None
    values = numpy_helper.to_array(scales)
    factor = int(values[-1]) if len(values) == 4 else 0
    return factor if factor >= 2 and np.array_equal(values, [1, 1, factor, factor]) else None
