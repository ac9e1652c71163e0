"""What a network costs: weights, multiply-adds of a slice, CPU time of a slice in one thread."""

import platform
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from infnet_train.config.schema import TrainConfig
from infnet_train.networks import build_network
from infnet_train.recipe import CONFIGS, read_recipe
from paper.systems import RECIPE, SYSTEMS

PAPER_SIZE = 352


def config_of(name: str, runs: Path = Path("runs"), changes: tuple[str, ...] = ()) -> TrainConfig:
    """The recipe of a system."""
    (stage,) = read_recipe(CONFIGS / RECIPE, [*SYSTEMS[name].overrides(runs), *changes])
    return stage.config


def multiply_adds(name: str, size: int = PAPER_SIZE) -> int:
    """Of one slice through the network of a system, its prior left out; counted without computing."""
    config = config_of(name).architecture
    with torch.device("meta"):
        network = build_network(config).eval()
        batch = torch.empty(1, config.in_channels, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(batch)
    return counter.get_total_flops() // 2


def cost(name: str, turns: int) -> dict[str, Any]:
    """Of a system's network with random weights.

    Parameters
    ----------
    turns
        Of which the fastest counts; 0 leaves the time out.
    """
    config = config_of(name)
    network = build_network(config.architecture).eval()
    size = config.preprocess.size
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "multiply_adds": {str(PAPER_SIZE): multiply_adds(name), str(size): multiply_adds(name, size)},
        "cpu_s": {"size": size, "turns": turns, "best": _cpu_s(network, config, turns) if turns else None},
        "torch": torch.__version__,
        "processor": processor(),
    }


def _cpu_s(network: torch.nn.Module, config: TrainConfig, turns: int) -> float:
    """Time of the processor, which other processes do not lengthen much; one thread, eager, one slice."""
    torch.set_num_threads(1)
    size = config.preprocess.size
    batch = torch.zeros(1, config.architecture.in_channels, size, size)
    network.to(memory_format=torch.channels_last)
    batch = batch.contiguous(memory_format=torch.channels_last)
    taken = []
    with torch.no_grad():
        for _ in range(turns + 1):  # the first one chooses algorithms
            before = time.process_time()
            network(batch)
            taken.append(time.process_time() - before)
    return min(taken[1:])


def processor() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    named = (
        [line for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.is_file()
        else []
    )
    return named[0].partition(":")[2].strip() if named else platform.processor() or platform.machine()
