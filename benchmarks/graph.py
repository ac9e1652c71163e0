"""What the rewrites of the export save: the network as trained beside the exported graph.

    python benchmarks/graph.py [--weights runs/infnet/weights.safetensors] [--size 352] [--repeats 9]

Costs are counted from the shapes. Times are CPU time of ONNX Runtime with one thread and its own
optimisations on, so that the graph before is as fast as a host would run it. Both graphs take turns; the
ratio is that of the medians, with the range of the ratios turn by turn. CPU time leaves out what others
take but not how they fill the caches: compare ratios, and only within one run.
"""

import argparse
import json
import logging
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from infnet_export.graph.cost import Comparison, graph_cost
from infnet_export.graph.onnx_file import model_bytes
from infnet_export.make.card import ModelCard
from infnet_export.make.from_network import manifest_of
from infnet_export.network.exportable import read_trained
from infnet_export.network.inf_net.inference_module import inference_module
from infnet_export.network.tracing import onnx_model, plain_model
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_runtime.segment.sampled import phantom_input
from infnet_train.networks import InfNet, SideOutputs
from infnet_train.weights.trained import TrainedNetwork


def main() -> None:
    options = _options()
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    trained = read_trained(options.weights) if options.weights else _untrained(options.size)
    size = trained.preprocess.size
    before = plain_model(trained.network, size, SideOutputs._fields)
    after = onnx_model(inference_module(trained.network), manifest_of(trained, ModelCard()))
    comparison = Comparison(graph_cost(before), graph_cost(after))
    seconds = cpu_seconds([before, after], phantom_input(trained.preprocess)[:1], options.repeats)
    report = {"size": size, **comparison.to_dict(), "cpu": cpu_summary(*seconds)}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", "utf-8")
    print(f"{comparison.to_markdown()}\n\n{_line(report['cpu'])}")


def cpu_seconds(models: list[onnx.ModelProto], slices: np.ndarray, repeats: int) -> list[list[float]]:
    """CPU time of each run, the models by turns, after one run of each that does not count."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    sessions = [
        onnxruntime.InferenceSession(model_bytes(m), options, providers=["CPUExecutionProvider"])
        for m in models
    ]
    seconds: list[list[float]] = [[] for _ in models]
    for turn in range(repeats + 1):
        for session, times in zip(sessions, seconds, strict=True):
            start = time.process_time()
            session.run(None, {"slices": slices})
            if turn:
                times.append(time.process_time() - start)
    return seconds


def cpu_summary(before: list[float], after: list[float]) -> dict[str, Any]:
    """Medians in seconds, their ratio, and the ratios turn by turn."""
    ratios = [b / a for a, b in zip(before, after, strict=True)]
    old, new = statistics.median(before), statistics.median(after)
    return {
        "onnxruntime": onnxruntime.__version__,
        "turns": len(before),
        "before_s": old,
        "after_s": new,
        "ratio": new / old,
        "lowest_ratio": min(ratios),
        "highest_ratio": max(ratios),
        "fastest_ratio": min(after) / min(before),
    }


def _line(cpu: dict[str, Any]) -> str:
    return (
        f"CPU time of one slice, ONNX Runtime {cpu['onnxruntime']}, one thread, median of {cpu['turns']}: "
        f"{cpu['before_s']:.3f} s before, {cpu['after_s']:.3f} s after; ratio {cpu['ratio']:.3f} "
        f"({cpu['lowest_ratio']:.3f} to {cpu['highest_ratio']:.3f}), of the fastest runs "
        f"{cpu['fastest_ratio']:.3f}"
    )


def _untrained(size: int) -> TrainedNetwork:
    torch.manual_seed(0)
    return TrainedNetwork(InfNet().eval(), PreprocessSpec(size=size))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, help="of a training; random ones where absent")
    parser.add_argument("--size", type=int, default=352, help="of the slices, where weights are random")
    parser.add_argument("--repeats", type=int, default=9, help="turns")
    parser.add_argument("--json", type=Path, help="write every number here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
