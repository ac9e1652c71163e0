"""From the network to an ONNX model that is complete, clean and the same every time.

PyTorch's exporter writes the graph. Everything it adds for debugging is left behind (stack traces with local
paths among it): the model is built again from operators, weights and names only. It folds a normalisation
into the convolution before it, where nothing else reads that.

Nodes and weights carry the name of their module, ``decoder.conv5/Conv``, so that a pass over the
graph can choose by module. Such passes are functions from model to model; ``half_weights`` is one.
"""

import ast
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence

import onnx
import torch
from onnx import helper, numpy_helper
from onnx_ir.passes import Sequential, common
from onnxscript.optimizer import fold_constants_ir
from torch import nn

from infnet_export.graph.factors import state_factors
from infnet_export.graph.onnx_file import BATCH_DIMENSION, check_model, set_manifest
from infnet_runtime.arrays import AnyArray
from infnet_runtime.model.manifest import ModelManifest

# The set PyTorch's exporter writes without converting; TensorRT 10, OpenVINO and ONNX Runtime all take it.
OPSET = 18
INPUT_NAME = "slices"
INFECTION_NETWORK, CLASS_NETWORK = "infection_network", "class_network"
"""The parts of two networks in one graph. Nodes of the first are called as in its own file."""
PRODUCER = "infnet-export"
_TRACED_BATCH = 2  # a batch of one would be taken for a constant
_SCOPES = "pkg.torch.onnx.name_scopes"
_OWN_SCOPE = "network."  # our wrapper's name for the network
_WEIGHT = ".weight"


def onnx_model(module: nn.Module, manifest: ModelManifest) -> onnx.ModelProto:
    """Export to ONNX.

    Parameters
    ----------
    manifest
        Travels in the metadata; gives the shape of the slices and the names of the outputs.

    Returns
    -------
    Input ``slices`` (n, channels, size, size), outputs (n, channels, size, size), batch free, FP32, checked.
    """
    program = _trace(module, manifest.preprocess.input_shape, [o.name for o in manifest.outputs])
    state_factors(program.model)
    model = _rebuilt(program.model_proto)
    set_manifest(model, manifest)
    check_model(model)
    return model


def plain_model(network: nn.Module, size: int, outputs: Sequence[str]) -> onnx.ModelProto:
    """A network as trained, in evaluation mode and with nothing rewritten, to compare costs with.

    What the exporter itself would fold is left as well; only its shape arithmetic on constants is gone.

    Parameters
    ----------
    outputs
        Names of what the network gives.

    Returns
    -------
    Input ``slices`` (n, 3, size, size); logits (n, 1, size, size). No manifest.
    """
    training = network.training
    program = _trace(network.eval(), (3, size, size), list(outputs), optimize=False)
    network.train(training)
    fold_constants_ir(program.model)
    Sequential(
        common.RemoveUnusedNodesPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.CommonSubexpressionEliminationPass(),
    )(program.model)
    model = _rebuilt(program.model_proto)
    check_model(model)
    return model


def traced_graph(module: nn.Module, size: int, output_names: list[str]) -> onnx.ModelProto:
    """Any network whose input is three planes, in evaluation mode; no metadata yet.

    Parameters
    ----------
    module
        Keeps the trained network, if it wraps one, in an attribute ``network``.

    Returns
    -------
    Input ``slices`` (n, 3, size, size), batch free.
    """
    return _rebuilt(_trace(module, (3, size, size), output_names).model_proto)


def _trace(
    module: nn.Module, shape: tuple[int, int, int], output_names: list[str], *, optimize: bool = True
) -> torch.onnx.ONNXProgram:
    example = torch.zeros(_TRACED_BATCH, *shape)
    with warnings.catch_warnings():
        # PyTorch 2.13 warns about its own use of a name it deprecates.
        warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning)
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            input_names=[INPUT_NAME],
            output_names=output_names,
            dynamic_shapes=({0: torch.export.Dim(BATCH_DIMENSION)},),
            optimize=optimize,
            verbose=False,
        )
    assert program is not None
    return program


def _rebuilt(traced: onnx.ModelProto) -> onnx.ModelProto:
    """The same computation with nothing but operators, weights and names of our own."""
    assert not traced.functions
    graph = traced.graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    names = _weight_names(graph.node, arrays) | _value_names(graph)
    nodes = [
        helper.make_node(
            node.op_type,
            [names[i] for i in node.input],
            [names[o] for o in node.output],
            name=name,
            domain=node.domain,
            **{a.name: helper.get_attribute_value(a) for a in node.attribute},
        )
        for node, name in zip(graph.node, _node_names(graph.node), strict=True)
    ]
    weights = {names[old]: array for old, array in arrays.items() if old in names}
    rebuilt = helper.make_graph(
        nodes,
        "infnet",
        # Weights are inputs too where the exporter has not optimised.
        [_typed(value) for value in graph.input if value.name not in arrays],
        [_typed(value) for value in graph.output],
        [numpy_helper.from_array(array, name) for name, array in sorted(weights.items())],
    )
    return helper.make_model(
        rebuilt, producer_name=PRODUCER, ir_version=traced.ir_version, opset_imports=traced.opset_import
    )


def _node_names(nodes: Iterable[onnx.NodeProto]) -> list[str]:
    """Module and operator of each node, numbered from the second of the same name on."""
    seen: Counter[str] = Counter()
    modules: dict[str, str] = {}  # value to the module it comes from
    names = []
    for node in nodes:
        # ['', 'network', 'network.rfb3', 'conv2d_7']: the modules around the operation, then its own name
        scopes: list[str] = ast.literal_eval(_metadata(node, _SCOPES) or "[]")
        if owner := _owner(node):
            module = owner
        elif len(scopes) > 1:
            module = _own_name(f"{scopes[-2]}.").removesuffix(".")
        else:  # the exporter forgets where a Split was; it belongs to what it splits
            module = modules.get(node.input[0], "")
        modules |= dict.fromkeys(node.output, module)
        name = f"{module}/{node.op_type}" if module else node.op_type
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return names


def _owner(node: onnx.NodeProto) -> str | None:
    """Module of the weight of a node: where a normalisation was folded, its scope is that of the latter."""
    weight = "".join(node.input[1:2])
    own = weight.startswith(_OWN_SCOPE) and weight.endswith(_WEIGHT)
    return _own_name(weight).removesuffix(_WEIGHT) if own else None


def _own_name(name: str) -> str:
    """What a module or weight is called in the network; of two networks that of the infection has no name."""
    return name.removeprefix(_OWN_SCOPE).removeprefix(f"{INFECTION_NETWORK}.")


def _metadata(node: onnx.NodeProto, key: str) -> str | None:
    return next((p.value for p in node.metadata_props if p.key == key), None)


def _value_names(graph: onnx.GraphProto) -> dict[str, str]:
    """Names of the values between nodes: that of the node, numbered where it has several outputs."""
    names = {"": ""}  # an absent optional input
    for node, name in zip(graph.node, _node_names(graph.node), strict=True):
        single = len(node.output) == 1
        names |= {old: f"{name}:0" if single else f"{name}:{i}" for i, old in enumerate(node.output)}
    return names | {value.name: value.name for value in (*graph.input, *graph.output)}


def _weight_names(nodes: Iterable[onnx.NodeProto], arrays: dict[str, AnyArray]) -> dict[str, str]:
    """Names of the weights in use; equal ones share the name of the first, so that they are stored once."""
    first: dict[tuple[str, tuple[int, ...], bytes], str] = {}
    names: dict[str, str] = {}
    constants = 0
    for old in (i for node in nodes for i in node.input if i in arrays):
        array = arrays[old]
        content = (array.dtype.str, array.shape, array.tobytes())
        if content not in first:
            is_parameter = old.startswith(_OWN_SCOPE)
            first[content] = _own_name(old) if is_parameter else f"constant_{constants}"
            constants += not is_parameter
        names[old] = first[content]
    return names


def _typed(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """An input or output with type and shape and nothing else."""
    return onnx.ValueInfoProto(name=value.name, type=value.type)
