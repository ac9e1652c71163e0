"""What the tests of distributed training do in each rank; see ``two_ranks``."""

import faulthandler
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from infnet_train.data.augment import AugmentConfig
from infnet_train.data.source import SourceConfig
from infnet_train.machine.normalisation import synchronise_normalisation
from infnet_train.machine.ranks import join
from infnet_train.networks import Network, NetworkConfig, build_network
from infnet_train.networks.losses import total_loss
from infnet_train.run.loop import train
from small_network import CLASSES_NAME, NAME, register
from train_config import train_config
from two_ranks import LIMIT_S

# Five slices in batches of three: shares of 2 and 1, then of 1 and 1.
CONFIG: dict[str, Any] = dict(
    name="two ranks",
    network=NAME,
    sources=(SourceConfig(name="small", folder="small", names=("s0", "s1", "s2", "s3", "s4")),),
    validation=SourceConfig(name="small", folder="small", names=("s5",)),
    augment=AugmentConfig(mirror=0.5, rotation_deg=10, noise=0.05, blur=1.0),
    epochs=2,
    batch_size=3,
    sizes=(64,),
    learning_rate=1e-3,
    ema=0.5,
    clip_norm=1.0,
)
SPLITS = ((3, 3), (5, 1), (6, 0), (0, 6))
TOTALS = (("inf-net", 3), ("inf-net", 1), ("gated-unet", 3))
"""A network, and slices of a batch."""
JOINED = 40


def classes_config(infection: str) -> dict[str, Any]:
    """Five slices with classes in batches of two, the priors by a network and by the truth."""
    source = {"name": "small", "folder": "small", "classes": "Classes"}
    return CONFIG | {
        "network": CLASSES_NAME,
        "labels": "classes",
        "prior": True,
        "priors": {"model": infection, "truth_share": 0.5},
        "sources": [{**source, "names": ["s0", "s1", "s2", "s3", "s4"]}],
        "validation": {**source, "names": ["s5"]},
        "batch_size": 2,
    }


def normalisation() -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(3).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        layer.bias.copy_(torch.tensor([0.1, 0.0, -0.3]))
    return layer


def normalisation_inputs() -> tuple[Tensor, Tensor]:
    """Values with a mean far from 0, and a gradient, (6, 3, 5, 4)."""
    generator = torch.Generator().manual_seed(3)
    values, gradient = torch.randn((2, 6, 3, 5, 4), generator=generator, dtype=torch.float64)
    return values * 2 + 30, gradient


def network_inputs(name: str, total: int) -> tuple[Network, Tensor, Tensor]:
    torch.manual_seed(0)
    model = build_network(NetworkConfig(network=name)).double().train()
    images = torch.randn(total, 3, 64, 64, dtype=torch.float64)
    return model, images, (torch.rand(total, 1, 64, 64) > 0.6).double()


def save_computed(out: str) -> None:
    """Save what each rank computes: normalised values and gradients of them, and of the whole network."""
    with join("cpu") as ranks:
        results: dict[str, Tensor] = {}
        for split in SPLITS:
            model = nn.Sequential(normalisation())
            synchronise_normalisation(model)
            own = slice(0, split[0]) if ranks.is_first else slice(split[0], 6)
            values, gradient = (t[own].clone() for t in normalisation_inputs())
            values.requires_grad_()
            found = model(values)
            (found * gradient).sum().backward()
            assert values.grad is not None
            results |= {f"{split} output": found.detach(), f"{split} input": values.grad}
            results |= {f"{split} {k} gradient": p.grad for k, p in model[0].named_parameters()}
            results |= {f"{split} {k}": b for k, b in model[0].named_buffers()}
            results[f"{split} evaluated"] = model.eval()(values).detach()
        for name, total in TOTALS:
            network, images, masks = network_inputs(name, total)
            share = ranks.share(total)
            part = slice(share.start, share.stop)
            connected = ranks.connect(network)  # lives until backward: it averages the gradients
            outputs = connected(images[part])
            if len(share):
                loss = total_loss(outputs, masks[part], masks[part]) * (len(share) * ranks.count / total)
            else:
                loss = torch.stack([o.sum() for o in outputs]).sum()
            loss.backward()
            if ranks.is_first:
                results |= {f"{name} {total} {k}": p.grad for k, p in network.named_parameters()}
        torch.save(results, Path(out) / f"{ranks.rank}.pt")


def train_and_resume(data: str, out: str, begun: str, cache: str) -> None:
    """A whole run, and the rest of one that a single process has begun; then join as often as in a recipe."""
    torch.set_num_threads(1)
    config = train_config(**CONFIG)
    train(config, Path(data), Path(out), cache=Path(cache))
    train(config, Path(data), Path(begun), cache=Path(cache), resume=True)
    for _ in range(JOINED):
        with join("cpu") as ranks:
            ranks.wait()


def train_classes(data: str, out: str, infection: str) -> None:
    """A run of a network that is given priors, in whose last batch the second rank has no slice."""
    torch.set_num_threads(1)
    train(train_config(**classes_config(infection)), Path(data), Path(out))


def train_and_report(data: str, out: str) -> None:
    """A run that says when a step is done, waits for a line, and writes a checkpoint."""
    torch.set_num_threads(1)

    def report(step: int, _total: int, _text: str) -> None:
        print(f"step {step}", flush=True)  # noqa: T201 - read by the test
        sys.stdin.readline()

    train(train_config(**CONFIG), Path(data), Path(out), progress=report, checkpoint_seconds=0)


if __name__ == "__main__":
    faulthandler.dump_traceback_later(LIMIT_S - 20, exit=True)  # a rank that stands still says where
    register()
    globals()[sys.argv[1]](*sys.argv[2:])
