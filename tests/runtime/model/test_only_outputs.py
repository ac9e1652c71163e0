"""A file without what only some outputs need: nodes are gone, everything else is the same."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from infnet_runtime.model.only_outputs import with_only_outputs
from tiny_models import SIZE, classes_detector, coarse_detector, mid_grey_detector, two_outputs


def run(content: bytes) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    batch = np.random.default_rng(0).standard_normal((1, 3, SIZE, SIZE), np.float32)
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, {"slices": batch}), strict=True))


def test_one_output_of_two(tmp_path: Path) -> None:
    content = coarse_detector(tmp_path / "model.onnx").read_bytes()
    cut = with_only_outputs(content, ["coarse_logits"])
    before, after = onnx.load_from_string(content), onnx.load_from_string(cut)
    onnx.checker.check_model(after, full_check=True)
    assert [o.name for o in after.graph.output] == ["coarse_logits"]
    gone = {n.op_type for n in before.graph.node} - {n.op_type for n in after.graph.node}
    assert gone == {"Resize", "Sigmoid"}
    weights = {i.name for i in before.graph.initializer} - {i.name for i in after.graph.initializer}
    assert weights == {"scales"}, "only the resize reads it"
    # Put back, they make the model that it was.
    del after.graph.node[:], after.graph.output[:], after.graph.initializer[:]
    after.graph.node.extend(before.graph.node)
    after.graph.output.extend(before.graph.output)
    after.graph.initializer.extend(before.graph.initializer)
    assert after == before
    assert np.array_equal(run(cut)["coarse_logits"], run(content)["coarse_logits"])


def test_the_full_map_of_a_file_with_coarse_logits_is_the_file_without(tmp_path: Path) -> None:
    content = coarse_detector(tmp_path / "model.onnx").read_bytes()
    plain = onnx.load(coarse_detector(tmp_path / "plain.onnx", coarse=False))
    cut = onnx.load_from_string(with_only_outputs(content, ["infection_probability"]))
    assert cut.graph == plain.graph


def test_nothing_changes_where_all_is_wanted(tmp_path: Path) -> None:
    content = two_outputs(tmp_path / "model.onnx").read_bytes()
    cut = with_only_outputs(content, ["infection_probability", "kind_probability"])
    assert onnx.load_from_string(cut) == onnx.load_from_string(content)


def test_without_its_classes_a_file_is_the_one_that_has_none(tmp_path: Path) -> None:
    """To the byte, but for what the manifest says: classes that nobody asks for cost nothing."""
    plain = onnx.load(mid_grey_detector(tmp_path / "plain.onnx"))
    content = classes_detector(tmp_path / "classes.onnx").read_bytes()
    cut = onnx.load_from_string(with_only_outputs(content, ["infection_probability"]))
    assert cut.graph.SerializeToString() == plain.graph.SerializeToString()
    assert len(onnx.load_from_string(content).graph.node) > len(cut.graph.node) == 8


def test_weights_that_were_not_read_before_stay(tmp_path: Path) -> None:
    """What is judged is the hash of a file that is cut: it must not change."""
    model = onnx.load(classes_detector(tmp_path / "classes.onnx"))
    model.graph.initializer.append(helper.make_tensor("unread", TensorProto.FLOAT, [1], [1.0]))
    cut = onnx.load_from_string(with_only_outputs(model.SerializeToString(), ["infection_probability"]))
    kept = {i.name for i in cut.graph.initializer}
    assert "unread" in kept
    assert not kept & {"steep", "minus", "nothing"}


def test_graphs_inside_nodes_may_read_anything() -> None:
    """What a branch reads does not stand among the inputs of its node."""
    branches = [
        helper.make_graph(
            [helper.make_node("Identity", ["doubled"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])],
        )
        for name in ("yes", "no")
    ]
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["x", "x"], ["doubled"]),
            helper.make_node("If", ["which"], ["y"], then_branch=branches[0], else_branch=branches[1]),
            helper.make_node("Neg", ["x"], ["z"]),
        ],
        "outer",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("which", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("y", "z")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    cut = with_only_outputs(model.SerializeToString(), ["y"])
    session = onnxruntime.InferenceSession(cut, providers=["CPUExecutionProvider"])
    given = {"x": np.array([3], np.float32), "which": np.array(True)}
    assert session.run(None, given)[0].tolist() == [6.0]
