"""Pseudo-labels by random propagation: Algorithm 1 of the paper, the first half of Semi-Inf-Net.

Fan et al., IEEE TMI 2020, section III-F. Unlabelled slices are drawn in random order, a few at a time. The
network labels them, they join the labelled ones, and the network is trained on for a few epochs on all
collected so far. Labels stay as they were first made. The released code does this with four scripts by hand;
here it is one call that goes on where it was stopped.
"""

import dataclasses
import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np

from infnet_runtime.arrays import FloatArray
from infnet_runtime.errors import ModelError
from infnet_runtime.io.atomic import atomic_write
from infnet_runtime.io.png import png_bytes
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_runtime.plain import to_plain
from infnet_runtime.slices.preprocess import predict_grey
from infnet_train.assess.predict import network_runner
from infnet_train.config.propagation import PropagationConfig
from infnet_train.config.schema import TrainConfig
from infnet_train.data.datasets import chosen_slices, regrade
from infnet_train.data.pictures import as_stored, read_grey, upright
from infnet_train.errors import ConfigError
from infnet_train.networks import NetworkConfig, build_network
from infnet_train.run.loop import Progress, train
from infnet_train.run.state import refuse_another
from infnet_train.weights.checkpoint import load_weights

logger = logging.getLogger(__name__)


def propagate(
    config: TrainConfig,
    data_root: Path,
    out: Path,
    *,
    device: str = "cpu",
    bf16: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Label all unlabelled slices and return the folder of labels.

    Called again with the same ``out`` it goes on after the last complete group.

    Parameters
    ----------
    config
        The recipe of the labelled slices and its ``propagation``; ``init_from`` names the network to start
        from, trained on the labelled slices.
    out
        Gets ``labels/<n>/`` with ``Imgs`` and ``GT`` for the n-th unlabelled source, the last two of
        ``rounds/``, and ``propagation.json``.

    Raises
    ------
    InfnetError
        If data, configuration or weights are refused.
    """
    propagation = config.propagation
    if propagation is None:
        raise ConfigError(
            "a stage of kind propagate needs a [propagation] table; see semi_infnet.toml", code=3101
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            f"pseudo-labels are made by one process, torchrun started {os.environ['WORLD_SIZE']}; run the "
            "recipe without torchrun as far as this stage, then go on with torchrun and --resume",
            code=3101,
        )
    if not config.init_from:
        raise ConfigError(
            "pseudo-labels need a network to start from: train on the labelled slices, then set init_from "
            "to its weights.safetensors",
            code=3101,
        )
    unlabelled = [
        (number, path)
        for number, source in enumerate(propagation.unlabelled)
        for path in chosen_slices(data_root, source)
    ]
    order = np.random.default_rng(config.batching.seed).permutation(len(unlabelled))
    groups = [order[i : i + propagation.group_size] for i in range(0, len(order), propagation.group_size)]
    done, weights = _position(out, config, len(unlabelled))
    if done == len(groups):
        logger.info("all %d slices are labelled: %s", len(unlabelled), out / "labels")
    for number in range(done, len(groups)):
        _label(
            [unlabelled[i] for i in groups[number]],
            weights,
            config.architecture,
            config.preprocess,
            propagation,
            out / "labels",
            device,
        )
        folder = out / "rounds" / f"{number:04d}"
        weights = train(
            _with_labels(config, propagation, out / "labels", weights),
            data_root,
            folder,
            device=device,
            bf16=bf16,
            resume=True,
            progress=progress,
        )
        _note(out, number + 1, weights, config, len(unlabelled))
        logger.info("group %d of %d is labelled", number + 1, len(groups))
        shutil.rmtree(out / "rounds" / f"{number - 2:04d}", ignore_errors=True)
    return out / "labels"


def _position(out: Path, config: TrainConfig, slices: int) -> tuple[int, Path]:
    """Groups that are complete, and the weights after the last of them.

    Raises
    ------
    ModelError
        If they were labelled by another configuration, or other slices were to be labelled.
    """
    record = out / "propagation.json"
    if not record.is_file():
        return 0, Path(config.init_from)
    state = json.loads(record.read_text("utf-8"))
    if "config" in state:  # older records do not say
        refuse_another(config, state["config"], record)
        if state["slices"] != slices:
            raise ModelError(
                f"{record} is about {state['slices']} unlabelled slices, and there are {slices} now; go on "
                "with the data of the start, or begin anew in another folder",
                code=4004,
            )
    return int(state["groups_done"]), out / state["weights"]


def _note(out: Path, groups_done: int, weights: Path, config: TrainConfig, slices: int) -> None:
    state = {
        "groups_done": groups_done,
        "weights": str(weights.relative_to(out)),
        "slices": slices,
        "config": to_plain(config),
    }
    with atomic_write(out / "propagation.json") as file:
        file.write(json.dumps(state).encode())


def _label(
    group: list[tuple[int, Path]],
    weights: Path,
    architecture: NetworkConfig,
    spec: PreprocessSpec,
    propagation: PropagationConfig,
    labels: Path,
    device: str,
) -> None:
    """Write slice and soft label of a group, in the orientation and size of the file."""
    model = build_network(architecture)
    load_weights(model, weights)
    run = network_runner(model, device)
    for number, path in group:
        source = propagation.unlabelled[number]
        stored = read_grey(path)
        image = upright(stored, source.turn)
        found = predict_grey(regrade(image, source), spec, run)
        if propagation.stretch == "as_run":
            found = _stretched(found)
        label = as_stored(np.rint(found * 255).astype(np.uint8), source.turn)
        for kind, picture in (("Imgs", stored), ("GT", label)):
            folder = labels / str(number) / kind
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(folder / f"{path.stem}.png") as file:
                file.write(png_bytes(picture))


def _stretched(probability: FloatArray) -> FloatArray:
    low, high = probability.min(), probability.max()
    return np.asarray((probability - low) / (high - low), np.float32) if high > low else probability


def _with_labels(
    config: TrainConfig, propagation: PropagationConfig, labels: Path, weights: Path
) -> TrainConfig:
    labelled_so_far = [
        dataclasses.replace(
            source,
            folder=str((labels / str(n)).resolve()),
            include=(),
            exclude=(),
            names=(),
            soft_labels=True,
        )
        for n, source in enumerate(propagation.unlabelled)
        if (labels / str(n)).is_dir()
    ]
    return dataclasses.replace(
        config,
        sources=(*config.sources, *labelled_so_far),
        schedule=dataclasses.replace(
            config.schedule,
            epochs=propagation.epochs,
            learning_rate=propagation.learning_rate,
            lr_schedule="constant",
        ),
        init_from=str(weights),
        propagation=None,
    )
