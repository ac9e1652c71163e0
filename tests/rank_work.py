"""What the tests of distributed training do in each rank; see ``two_ranks``."""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from infnet_train.data.augment import AugmentConfig
from infnet_train.data.source import SourceConfig
from infnet_train.machine.normalisation import synchronise_normalisation
from infnet_train.machine.ranks import join
from infnet_train.networks import InfNet
from infnet_train.networks.losses import total_loss
from infnet_train.run.loop import train
from train_config import train_config

# Five slices in batches of three: shares of 2 and 1, then of 1 and 1. Why the rate is small: see LOSS_RTOL.
CONFIG = train_config(
    name="two ranks",
    sources=(SourceConfig(name="small", folder="small", names=("s0", "s1", "s2", "s3", "s4")),),
    validation=SourceConfig(name="small", folder="small", names=("s5",)),
    augment=AugmentConfig(mirror=0.5, rotation_deg=10, noise=0.05, blur=1.0),
    epochs=2,
    batch_size=3,
    sizes=(64,),
    learning_rate=1e-6,
    ema=0.5,
    clip_norm=1.0,
)
SPLITS = ((3, 3), (5, 1), (6, 0), (0, 6))
TOTALS = (3, 1)


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


def network_inputs(total: int) -> tuple[InfNet, Tensor, Tensor]:
    torch.manual_seed(0)
    model = InfNet().double().train()
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
        for total in TOTALS:
            network, images, masks = network_inputs(total)
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
                results |= {f"{total} {k}": p.grad for k, p in network.named_parameters()}
        torch.save(results, Path(out) / f"{ranks.rank}.pt")


def train_and_resume(data: str, out: str, begun: str, cache: str) -> None:
    """A whole run, and the rest of one that a single process has begun."""
    torch.set_num_threads(1)
    train(CONFIG, Path(data), Path(out), cache=Path(cache))
    train(CONFIG, Path(data), Path(begun), cache=Path(cache), resume=True)


def join_often(times: str) -> None:
    """As the stages of a recipe do, one after the other."""
    for _ in range(int(times)):
        with join("cpu") as ranks:
            ranks.wait()


def train_and_report(data: str, out: str) -> None:
    """A run that says when a step is done and writes a checkpoint after each."""
    torch.set_num_threads(1)

    def report(step: int, _total: int, _text: str) -> None:
        print(f"step {step}", flush=True)  # noqa: T201 - read by the test

    train(CONFIG, Path(data), Path(out), progress=report, checkpoint_seconds=0)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
