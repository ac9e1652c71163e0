"""Tiny real ONNX models for tests: a detector of mid-grey, which on a phantom is its ground glass."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from infnet_runtime.backends import Session
from infnet_runtime.lungs.contract import LUNG_METADATA_KEY, LungManifest, LungSpec
from infnet_runtime.model.coarse_logits import COARSE_KEY, COARSE_OUTPUT, CoarseSpec
from infnet_runtime.model.judged import JUDGED_KEY, Judgement, Record, subject_of
from infnet_runtime.model.manifest import METADATA_KEY, ClassSpec, ModelManifest, OutputSpec, PreprocessSpec
from infnet_runtime.model.specs import CLASS_OUTPUT

SIZE = 192
SPEC = PreprocessSpec(size=SIZE)
MANIFEST = ModelManifest(
    name="mid-grey",
    version="1",
    licence="test",
    training_data="none",
    weights_sha256="0" * 64,
    preprocess=SPEC,
)
KINDS = OutputSpec(
    name="kind_probability",
    activation="softmax",
    classes=(
        ClassSpec(value=2, name="ground glass", scheme="99INFNET", code="GGO", meaning="Ground glass"),
        ClassSpec(value=3, name="consolidation", scheme="99INFNET", code="CONS", meaning="Consolidation"),
    ),
    thresholds=(),
)
WITH_CLASSES = replace(
    MANIFEST, name="mid-grey with classes", outputs=(OutputSpec(), CLASS_OUTPUT), contract_version=2
)
TWO_OUTPUTS = replace(MANIFEST, name="mid-grey and kinds", outputs=(KINDS, OutputSpec()), contract_version=2)
COARSE = CoarseSpec(probability=MANIFEST.output.name, factor=8)


def alone(session: Session, batch: np.ndarray) -> np.ndarray:
    """What a session with one output gives."""
    (found,) = session.run(batch).values()
    return found


def two_outputs(path: Path, *, sum_of_kinds: float = 1.0) -> Path:
    """Write a model of contract 2: the mid-grey detector, and a softmax of (0, p, -p) beside it."""
    model = onnx.load_from_string(mid_grey_detector(path).read_bytes())
    graph, (infection,) = model.graph, model.graph.output
    for name, value in (("minus", -1.0), ("nothing", 0.0), ("sum", sum_of_kinds)):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    graph.node.extend(
        [
            helper.make_node("Mul", [infection.name, "minus"], ["low"]),
            helper.make_node("Mul", [infection.name, "nothing"], ["zero"]),
            helper.make_node("Concat", ["zero", infection.name, "low"], ["logits"], axis=1),
            helper.make_node("Softmax", ["logits"], ["kinds"], axis=1),
            helper.make_node("Mul", ["kinds", "sum"], [KINDS.name]),
        ]
    )
    graph.output.append(
        helper.make_tensor_value_info(KINDS.name, TensorProto.FLOAT, ["n", KINDS.channels, SIZE, SIZE])
    )
    helper.set_model_props(model, {METADATA_KEY: TWO_OUTPUTS.to_json()})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path


def classes_detector(path: Path, *, of: Path | None = None) -> Path:
    """Add ground glass and consolidation to a mid-grey detector: the darker grey, and the lighter.

    Its probabilities are a softmax of (0, 20 d, -20 d), where d is how much darker a pixel is than 0.45.

    Parameters
    ----------
    of
        The detector; a plain one where absent.
    """
    model = onnx.load_from_string((of or mid_grey_detector(path)).read_bytes())
    graph = model.graph
    for name, value in (("steep", -20.0), ("minus", -1.0), ("nothing", 0.0)):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    graph.node.extend(
        [
            helper.make_node("Mul", ["channel", "std"], ["own_spread"]),
            helper.make_node("Add", ["own_spread", "mean"], ["own_from_middle"]),
            helper.make_node("Mul", ["own_from_middle", "steep"], ["dark"]),
            helper.make_node("Mul", ["dark", "minus"], ["light"]),
            helper.make_node("Mul", ["dark", "nothing"], ["neither"]),
            helper.make_node("Concat", ["neither", "dark", "light"], ["class_logits"], axis=1),
            helper.make_node("Softmax", ["class_logits"], [CLASS_OUTPUT.name], axis=1),
        ]
    )
    shape = ["n", CLASS_OUTPUT.channels, SIZE, SIZE]
    graph.output.append(helper.make_tensor_value_info(CLASS_OUTPUT.name, TensorProto.FLOAT, shape))
    properties = {p.key: p.value for p in model.metadata_props} | {METADATA_KEY: WITH_CLASSES.to_json()}
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path


def coarse_detector(
    path: Path, *, coarse: bool = True, spec: CoarseSpec = COARSE, gain: float = 200.0
) -> Path:
    """Write a mid-grey detector that works on means over 8 x 8 pixels and enlarges its logits.

    Parameters
    ----------
    coarse
        Whether the file gives these logits too.
    spec
        What it says of them.
    """
    model = onnx.load_from_string(mid_grey_detector(path, gain=gain).read_bytes())
    graph, small = model.graph, SIZE // COARSE.factor
    *front, sigmoid, scale = graph.node
    channel = front.pop(0)
    pool = helper.make_node("AveragePool", ["channel"], ["means"], kernel_shape=[8, 8], strides=[8, 8])
    front[0].input[0] = "means"
    resize = helper.make_node("Resize", ["logit", "", "scales"], ["large"], mode="linear")
    sigmoid.input[0], sigmoid.output[0] = "large", scale.output[0]
    nodes = [channel, pool, *front, resize, sigmoid]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 8, 8], np.float32), "scales"))
    if coarse:
        graph.node.append(
            helper.make_node("Identity", ["logit"], [COARSE_OUTPUT], name="coarse_logits/Identity")
        )
        shape = ["n", 1, small, small]
        graph.output.append(helper.make_tensor_value_info(COARSE_OUTPUT, TensorProto.FLOAT, shape))
        helper.set_model_props(model, {METADATA_KEY: MANIFEST.to_json(), COARSE_KEY: spec.to_json()})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def mid_grey_detector(
    path: Path,
    *,
    manifest: str | None = MANIFEST.to_json(),
    gain: float = 200.0,
    output: str = "infection_probability",
    scale: float = 1.0,
    channel: int = 0,
) -> Path:
    """Write a model: probability = scale * sigmoid(gain * (0.15 - |grey - 0.45|)).

    Ground glass of the phantom (-450 HU) lies in this band in any usual lung window; lung, tissue and bone do
    not.
    """
    constants = {
        "picked": np.array([channel], np.int64),
        "std": np.array(SPEC.std[channel], np.float32),
        "mean": np.array(SPEC.mean[channel] - 0.45, np.float32),
        "band": np.array(0.15, np.float32),
        "gain": np.array(gain, np.float32),
        "scale": np.array(scale, np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["slices", "picked"], ["channel"], axis=1),
        helper.make_node("Mul", ["channel", "std"], ["spread"]),
        helper.make_node("Add", ["spread", "mean"], ["from_middle"]),
        helper.make_node("Abs", ["from_middle"], ["distance"]),
        helper.make_node("Sub", ["band", "distance"], ["inside"]),
        helper.make_node("Mul", ["inside", "gain"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
        helper.make_node("Mul", ["probability", "scale"], [output]),
    ]
    shape_in, shape_out = ["n", 3, SIZE, SIZE], ["n", 1, SIZE, SIZE]
    graph = helper.make_graph(
        nodes,
        "mid_grey",
        [helper.make_tensor_value_info("slices", TensorProto.FLOAT, shape_in)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape_out)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if manifest is not None:
        helper.set_model_props(model, {METADATA_KEY: manifest})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path


def recorded(path: Path, text: str | None = None, *, passed: tuple[str, ...] = ("bf16",)) -> Path:
    """Write a record into a model, as ``infnet-export judge`` does; or any text in its place."""
    content = path.read_bytes()
    model = onnx.load_from_string(content)
    properties = {p.key: p.value for p in model.metadata_props}
    manifest = ModelManifest.from_json(properties[METADATA_KEY], source="a test")
    figures = Judgement(
        scans=3,
        smallest_dice=0.99,
        largest_ml=0.4,
        largest_percent=0.6,
        infection_ml=120.0,
        reference_sha256="1" * 64,
        method="a test",
    )
    record = Record(subject_sha256=subject_of(content, manifest), passed=dict.fromkeys(passed, figures))
    helper.set_model_props(model, properties | {JUDGED_KEY: record.to_json() if text is None else text})
    path.write_bytes(model.SerializeToString())
    return path


def dark_is_lung(path: Path, *, outputs: int = 2, factor: float = 1.0, metadata: str | None = None) -> Path:
    """Write a lung network that takes what is dark inside the bright body, split in the middle of the square.

    Parameters
    ----------
    outputs
        Channels of the output.
    factor
        Of the probabilities.
    metadata
        In the place of the manifest; empty for none.
    """
    size = LungSpec().size
    halves = np.zeros((1, outputs, size, size), np.float32)
    halves[:, 0, :, : size // 2] = halves[:, -1, :, size // 2 :] = factor
    constants = {
        "from": np.array([1]), "to": np.array([2]), "axis": np.array([1]), "halves": halves,
        "black": np.array(0.06, np.float32), "grey": np.array(0.4, np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Slice", ["slices", "from", "to", "axis"], ["middle"]),
        helper.make_node("Greater", ["middle", "black"], ["body"]),
        helper.make_node("Less", ["middle", "grey"], ["dark"]),
        helper.make_node("And", ["body", "dark"], ["inside"]),
        helper.make_node("Cast", ["inside"], ["lung"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["lung", "halves"], ["lungs"]),
    ]
    graph = helper.make_graph(
        nodes,
        "dark-is-lung",
        [helper.make_tensor_value_info("slices", TensorProto.FLOAT, ["n", 3, size, size])],
        [helper.make_tensor_value_info("lungs", TensorProto.FLOAT, ["n", outputs, size, size])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    manifest = LungManifest(
        name="dark-is-lung",
        version="1",
        licence="test",
        training_data="none",
        weights_sha256="0" * 64,
        created_with={},
    )
    text = manifest.to_json() if metadata is None else metadata
    if text:
        helper.set_model_props(model, {LUNG_METADATA_KEY: text})
    path.write_bytes(model.SerializeToString())
    return path
