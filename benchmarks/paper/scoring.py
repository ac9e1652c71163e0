"""Scores of many systems, one after the other, and the maps that the figures show."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from infnet_runtime.arrays import ByteArray, FloatArray
from infnet_train.weights.checkpoint import read_state
from paper.figures import shown_slices
from paper.opened import WEIGHTS, open_system
from paper.scores import VOLUMES, score_system, score_volumes
from paper.systems import SYSTEMS


def score_all(
    files: dict[str, Path],
    data: Path,
    *,
    device: str,
    volumes: list[str] | None,
    maps: Path | None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each system with its scores, as soon as it has them.

    Parameters
    ----------
    volumes
        None leaves Table V out; an empty list stands for the usual ones.
    maps
        Folder for ``NAME.npz`` with the maps of the slices that the figures show.
    """
    lungs: dict[str, ByteArray] = {}
    shown = shown_slices(data) if maps else set[str]()
    for name, path in files.items():
        began = time.monotonic()
        with open_system(path, device, _prior(name, path)) as opened:
            kept = _Kept(shown)
            values = {
                "file": path.name,
                "sha256": opened.sha256,
                "how": opened.how,
                "scored_on": opened.device,
                **score_system(opened, data, kept),
            }
            if volumes is not None:
                values["volumes"] = score_volumes(opened, data, tuple(volumes) or VOLUMES, lungs)
        if maps:
            maps.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(maps / f"{name}.npz", **kept.levels)
        dice = values["infection"]["paper"]["mean_dice"]["value"]
        print(f"{name}: scored in {time.monotonic() - began:.0f} s, Dice {dice:.3f} (paper)", file=sys.stderr)
        yield name, values


class _Kept:
    """Maps of the slices that are shown, in 8 bits."""

    def __init__(self, shown: set[str]) -> None:
        self._shown = shown
        self.levels: dict[str, ByteArray] = {}

    def __call__(self, name: str, infection: FloatArray, classes: FloatArray | None) -> None:
        if name in self._shown:
            maps = infection[None] if classes is None else np.stack([infection, *classes])
            self.levels[name] = np.rint(maps * 255).astype(np.uint8)


def _prior(name: str, path: Path) -> Path | None:
    """The weights that a system takes its prior from: as its checkpoint says, else of the run beside it."""
    weights = path / WEIGHTS if path.is_dir() else path
    if weights.suffix != ".safetensors":
        return None
    config = read_state(weights)["config"]
    if not config.get("prior"):
        return None
    said = Path((config.get("priors") or {}).get("model") or "")
    if said.is_file():
        return said
    beside = path.parent / SYSTEMS[name].prior / WEIGHTS if name in SYSTEMS else Path()
    if beside.is_file():
        return beside
    raise SystemExit(f"{path} needs the network of its prior, {said}, which is not there; put it there")
