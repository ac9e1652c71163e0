"""Training of many systems by one recipe, each in its own folder, within one time."""

import sys
import time
from pathlib import Path

from infnet_runtime.errors import InfnetError
from infnet_train.machine.device import choose_device
from infnet_train.recipe import CONFIGS, read_recipe, run_recipe
from infnet_train.run.folder import LAST
from infnet_train.weights.checkpoint import read_state
from paper.costs import multiply_adds
from paper.opened import WEIGHTS, how_trained
from paper.systems import RECIPE, SYSTEMS

_LEAST_S = 2.0  # in less nothing is trained
_BACKWARD = 2.0  # of a training step, beside its forward pass


def train_all(
    names: list[str],
    data: Path,
    out: Path,
    *,
    device: str = "auto",
    changes: list[str],
    budget_s: float | None = None,
    recipe: Path = CONFIGS / RECIPE,
) -> list[str]:
    """Train systems in their order; those that are finished are left out, interrupted ones go on.

    One that fails stops no other. A finished one keeps its weights alone.

    Parameters
    ----------
    changes
        Of the recipe, for all.
    budget_s : s
        For all that is not finished, shared by multiply-adds.

    Returns
    -------
    Names of those that failed or got no time.
    """
    used, began, failed = choose_device(device), time.monotonic(), list[str]()
    left = [name for name in names if not (out / name / WEIGHTS).is_file()]
    for name in names:
        if name not in left:
            _say(f"{name}: finished before")
            continue
        system, needs = SYSTEMS[name], SYSTEMS[name].prior
        why = "" if system.is_known else f"there is no network '{system.network}'"
        if needs and not (out / needs / WEIGHTS).is_file():
            why = f"needs {out / needs / WEIGHTS}; train {needs} too"
        share_s = None
        if budget_s is not None:
            rest = [n for n in left[left.index(name) :] if SYSTEMS[n].is_known]
            share_s = (budget_s - (time.monotonic() - began)) * share_of(name, rest)
            why = why or ("" if share_s > _LEAST_S else "no time was left")
        if why:
            _say(f"{name}: LEFT OUT, {why}")
            failed.append(name)
            continue
        try:
            before = time.monotonic()
            weights = run_recipe(
                read_recipe(recipe, [*system.overrides(out), *changes]),
                data,
                out / name,
                device=used,
                bf16=used != "cpu",
                resume=True,
                augment_on_device=used != "cpu",
                budget_s=share_s,
            )
            how = how_trained(read_state(weights))
            (weights.parent / LAST).unlink(missing_ok=True)
            _say(
                f"{name}: {how['slices_seen']} slices in {how['steps']} steps, "
                f"{time.monotonic() - before:.0f} s on {used}, loss {how['loss']:.3f}"
            )
        except (InfnetError, RuntimeError, MemoryError) as error:  # out of memory on a GPU is a RuntimeError
            _say(f"{name}: FAILED, {' '.join(str(error).split())[:500]}")
            failed.append(name)
    return failed


def share_of(name: str, left: list[str]) -> float:
    """How much of a time a system gets, of those that are left: as much as it computes."""
    return _work(name) / sum(map(_work, left)) if name in left else 0.0


def _work(name: str) -> float:
    """What a step costs: the network forwards and backwards, and its prior forwards."""
    prior = SYSTEMS[name].prior
    return multiply_adds(name) * (1 + _BACKWARD) + (multiply_adds(prior) if prior else 0)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
