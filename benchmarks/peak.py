"""How far the network is from the arithmetic peak of the processor, as ONNX Runtime reaches it.

    python benchmarks/peak.py MODEL.onnx [MODEL.int8.onnx ...] [--turns 5] [--json FILE]

The peak is measured, not taken from a data sheet: matrix products of 1024 x 1024 x 1024 in float32 and in
8 bit (activations without sign, weights with one), one thread, CPU time, the fastest turn. Multiply-adds of
the network are counted from the shapes of the first model, which has to be the float32 one.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from infnet_export.graph.cost import graph_cost

SIDE = 1024


def float_product() -> onnx.ModelProto:
    """A matrix product with constant weights, float32."""
    weights = np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)
    return _model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weights}, TensorProto.FLOAT)


def byte_product() -> onnx.ModelProto:
    """The same in 8 bit, as quantised graphs run it."""
    constants = {
        "w": np.random.default_rng(0).integers(-127, 128, (SIDE, SIDE)).astype(np.int8),
        "scale": np.array(0.02, np.float32),
        "w_zero": np.array(0, np.int8),
        "zero": np.array(128, np.uint8),
    }
    inputs = ["x", "scale", "zero", "w", "scale", "w_zero", "scale", "zero"]
    return _model([helper.make_node("QLinearMatMul", inputs, ["y"])], constants, TensorProto.UINT8)


def _model(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], kind: int) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, kind, [SIDE, SIDE]) for name in "xy")
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "product", [x], [y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def fastest_s(models: list[bytes], inputs: list[np.ndarray], turns: int) -> list[float]:
    """CPU time of the fastest run of each model, by turns, after one that does not count."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    sessions = [onnxruntime.InferenceSession(m, options, providers=["CPUExecutionProvider"]) for m in models]
    best = [float("inf")] * len(models)
    for turn in range(turns + 1):
        for k, (session, value) in enumerate(zip(sessions, inputs, strict=True)):
            start = time.process_time()
            session.run(None, {session.get_inputs()[0].name: value})
            if turn:
                best[k] = min(best[k], time.process_time() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+", help="float32 first")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write every number here")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    first = onnx.load(options.models[0])
    slices = rng.normal(size=(1, *(d.dim_value for d in first.graph.input[0].type.tensor_type.shape.dim[1:])))
    products = [float_product().SerializeToString(), byte_product().SerializeToString()]
    inputs = [
        rng.normal(size=(SIDE, SIDE)).astype(np.float32),
        rng.integers(0, 256, (SIDE, SIDE)).astype(np.uint8),
        *[slices.astype(np.float32)] * len(options.models),
    ]
    seconds = fastest_s(products + [path.read_bytes() for path in options.models], inputs, options.turns)
    multiply_adds = [SIDE**3, SIDE**3, *[graph_cost(first).total.multiply_adds] * len(options.models)]
    names = ["product, float32", "product, 8 bit", *(path.name for path in options.models)]
    rows: list[dict[str, Any]] = [
        {"what": name, "multiply_adds": n, "ms": 1e3 * s, "giga_multiply_adds_per_s": n / s / 1e9}
        for name, n, s in zip(names, multiply_adds, seconds, strict=True)
    ]
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    print("| one thread | 10⁹ multiply-adds | ms | 10⁹ multiply-adds a second |\n| --- | --- | --- | --- |")
    for row in rows:
        print(
            f"| {row['what']} | {row['multiply_adds'] / 1e9:.2f} | {row['ms']:.1f} "
            f"| {row['giga_multiply_adds_per_s']:.0f} |"
        )


if __name__ == "__main__":
    main()
