"""A recipe: one training, or several stages one after the other, from one TOML file.

Without ``[stages]`` the file is one training. With it, the keys at the top hold for all stages, and each
table ``[stages.<name>]`` changes some of them. Its own ``sources`` table chooses among the sources at the top
by name and may change their keys; ``validation = false`` leaves the validation of the top out. ``init_from``,
``teacher`` and ``priors.model`` may name the weights of an earlier stage as ``stage:<name>``, and the
``folder`` of a source the labels that an earlier stage of kind ``propagate`` made.
"""

import dataclasses
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from infnet_runtime.errors import ModelError
from infnet_runtime.io.atomic import refuse_existing
from infnet_train.config.fill import build, nearest, read_values
from infnet_train.config.schema import TrainConfig
from infnet_train.data.pack import QUALITY, Packed, pack
from infnet_train.errors import ConfigError
from infnet_train.run.folder import WEIGHTS, claimed, traces
from infnet_train.run.loop import Progress, train
from infnet_train.run.state import is_finished
from infnet_train.semi.pseudo_labels import propagate

logger = logging.getLogger(__name__)

StageKind = Literal["train", "propagate"]

_OF_CHECKOUT = Path(__file__).parents[1] / "configs"
CONFIGS = _OF_CHECKOUT if _OF_CHECKOUT.is_dir() else Path(__file__).parent / "configs"
"""The recipes of infnet: of a checkout, or of the wheel."""

_REFERENCE = "stage:"
_SLICES_OF_A_SOURCE = 100  # where a recipe does not say how many are drawn; for the cost of a stage alone


@dataclass(frozen=True)
class Stage:
    """One stage; ``name`` is empty in a recipe without stages."""

    name: str
    kind: StageKind
    config: TrainConfig


def find_recipe(path: Path) -> Path:
    """The file itself, or the recipe of that name, with or without its ending, among those of infnet.

    Raises
    ------
    ConfigError
        If there is none, with the names that there are.
    """
    if path.is_file():
        return path
    shipped = CONFIGS / path.with_suffix(".toml").name
    if path.parent == Path() and path.suffix in ("", ".toml") and shipped.is_file():
        return shipped
    raise ConfigError(
        f"there is no recipe {path}; {nearest(path.stem, sorted(p.stem for p in CONFIGS.glob('*.toml')))} "
        f"(in {CONFIGS}), or give a TOML file of your own",
        code=3101,
    )


def read_recipe(path: Path, overrides: list[str] | None = None) -> tuple[Stage, ...]:
    """Read and check all stages of a recipe.

    Parameters
    ----------
    overrides
        ``key=value`` for all stages, ``stages.<name>.key=value`` for one of them, in TOML syntax.

    Raises
    ------
    ConfigError
        If the file is refused, or a stage names a source or an earlier stage that is not there.
    """
    values = read_values(path, overrides)
    if "stages" not in values:
        return (Stage("", "train", build(TrainConfig, values, str(path))),)
    tables = values.pop("stages")
    if not isinstance(tables, dict) or not tables:
        raise ConfigError(f"{path}: stages is {tables!r}, expected tables [stages.<name>]", code=3101)
    stages: list[Stage] = []
    for name, table in tables.items():
        stage = _stage(values, name, table, f"{path}: stages.{name}")
        earlier = {s.name for s in stages}
        for reference in _references(stage.config):
            if reference not in earlier:
                raise ConfigError(
                    f"{path}: stage '{name}' builds on stage '{reference}', "
                    f"which does not come before it; before it come {', '.join(sorted(earlier)) or 'none'}",
                    code=3101,
                )
        stages.append(stage)
    return tuple(stages)


def run_recipe(
    stages: tuple[Stage, ...],
    data_root: Path,
    out: Path,
    *,
    device: str = "cpu",
    bf16: bool = False,
    resume: bool = False,
    force: bool = False,
    backbone_weights: Path | None = None,
    progress: Progress | None = None,
    augment_on_device: bool = False,
    compiled: bool = False,
    budget_s: float | None = None,
) -> Path:
    """Run the stages in ``out/<name>`` and return the weights of the last.

    The prepared slices are kept in ``out/cache``, for all stages and for a resume.

    Parameters
    ----------
    resume
        Leave out stages that are complete, and go on within the one that is not.
    force
        Move a run that is in ``out`` aside, the folder whole; without it or ``resume`` such a run is refused.
    backbone_weights
        For each stage that starts from random weights.
    augment_on_device, compiled
        As for :func:`~infnet_train.run.loop.train`.
    budget_s : s
        For all stages together; each gets the share that its steps would take of all.

    Raises
    ------
    InfnetError
        If data, configuration or a checkpoint are refused.
    """
    if budget_s is not None and any(stage.kind != "train" for stage in stages):
        raise ConfigError("a recipe that makes labels while it runs takes no time budget", code=3101)
    result, began, names = out / stages[-1].name / WEIGHTS, time.monotonic(), [stage.name for stage in stages]
    starts = [Path(p) for stage in stages for p in _weights(stage.config) if not p.startswith(_REFERENCE)]
    needed = [data_root, *starts, *([backbone_weights] if backbone_weights else [])]
    with claimed(out, names, resume=resume, force=force, needed=needed):
        complete = _complete(stages, out) if resume else frozenset[str]()
        if stages[-1].name in complete:
            logger.info("%s is finished; there is nothing to go on with", out)
            return result
        if not data_root.exists():
            raise ConfigError(
                f"--data {data_root} is not there; expected a folder of slices, which the first lines of the "
                "recipe describe, or a file of infnet-train data pack",
                code=3160,
            )
        if resume and not traces(out, names):
            logger.info("there is no run in %s to go on with; it begins", out)
        for number, stage in enumerate(stages):
            folder = out / stage.name
            config = _resolved(stage.config, out)
            if stage.name:
                logger.info("stage %s", stage.name)
            if stage.kind == "propagate":
                propagate(config, data_root, folder, device=device, bf16=bf16, progress=progress)
                continue
            result = folder / WEIGHTS
            if stage.name in complete:
                logger.info("stage %s is complete: %s", stage.name, result)
                continue
            left_s = None
            if budget_s is not None:
                costs = [_cost(later.config) for later in stages[number:]]
                left_s = max(budget_s - (time.monotonic() - began), 0.0) * costs[0] / sum(costs)
            train(
                config,
                data_root,
                folder,
                device=device,
                bf16=bf16,
                resume=resume,
                backbone_weights=None if config.init_from else backbone_weights,
                progress=progress,
                cache=out / "cache",
                augment_on_device=augment_on_device,
                compiled=compiled,
                budget_s=left_s,
            )
    return result


def _complete(stages: tuple[Stage, ...], out: Path) -> frozenset[str]:
    """Names of the trainings that came to their end by this very recipe; all of them, if the last did.

    Raises
    ------
    ModelError
        If one was made with another configuration, or builds on an earlier one whose weights are gone.
    """
    trainings = [stage for stage in stages if stage.kind == "train"]
    done = {s.name for s in trainings if is_finished(_resolved(s.config, out), out / s.name)}
    if stages[-1].name in done:
        return frozenset(s.name for s in stages)
    for stage in trainings:
        gone = [n for n in _references(stage.config) if n in {s.name for s in trainings} - done]
        if stage.name in done and gone:
            raise ModelError(
                f"stage '{stage.name}' in {out} is complete, and the weights of stage '{gone[0]}' on which "
                f"it builds are gone; put them back, or remove {out / stage.name} to train both again",
                code=4004,
            )
    return frozenset(done)


def _cost(config: TrainConfig) -> float:
    """About how much a training computes, to be compared with others: pixels of all its steps."""
    slices = sum(source.draws or _SLICES_OF_A_SOURCE for source in config.sources)
    sizes = config.batching.sizes
    pixels = sum(size**2 for size in sizes) / (len(sizes) if config.batching.random_size else 1)
    return config.schedule.epochs * slices * pixels


def pack_recipe(stages: tuple[Stage, ...], data_root: Path, file: Path, *, quality: int = QUALITY) -> Packed:
    """Put the slices that all stages of a recipe train and validate on into one file.

    Raises
    ------
    InfnetError
        If a source is refused or takes labels that a stage makes, the stages differ in size, or the file
        is there already or cannot be written.
    """
    refuse_existing(file)
    configs = [stage.config for stage in stages]
    made = [s.folder for c in configs for s in c.sources if s.folder.startswith(_REFERENCE)]
    if made or any(stage.kind != "train" for stage in stages):
        raise ConfigError(
            "a recipe that makes labels while it runs cannot be packed; pack its stages of kind train",
            code=3101,
        )
    sizes = {c.preprocess.size for c in configs}
    if len(sizes) > 1:
        raise ConfigError(f"the stages have sizes {sorted(sizes)}, expected one for a pack", code=3101)
    sources = [s for c in configs for s in (*c.sources, *((c.validation,) if c.validation else ()))]
    neighbours = any(c.preprocess.channels == "neighbours" for c in configs)
    return pack(file, data_root, sources, sizes.pop(), neighbours=neighbours, quality=quality)


def _stage(shared: dict[str, Any], name: str, table: object, place: str) -> Stage:
    if not isinstance(table, dict):
        raise ConfigError(f"{place} is {table!r}, expected a table", code=3101)
    changes = dict(table)
    kind = changes.pop("kind", "train")
    if kind not in get_args(StageKind):
        raise ConfigError(
            f"{place}: kind is {kind!r}, expected {' or '.join(get_args(StageKind))}", code=3101
        )
    chosen = changes.pop("sources", None)
    values = _merged(shared, {"name": f"{shared.get('name', '')} {name}".strip()} | changes)
    if values.get("validation") is False:
        del values["validation"]
    if chosen is not None:
        values["sources"] = _chosen_sources(shared.get("sources", []), chosen, place)
    return Stage(name, kind, build(TrainConfig, values, place))


def _merged(shared: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Shared values with changes, in nested tables too."""
    merged = dict(shared)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _chosen_sources(sources: list[dict[str, Any]], chosen: object, place: str) -> list[dict[str, Any]]:
    if not isinstance(chosen, dict):
        raise ConfigError(f"{place}.sources is {chosen!r}, expected a table of source names", code=3101)
    known = {source.get("name"): source for source in sources}
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise ConfigError(
            f"{place}.sources names {', '.join(unknown)}; the recipe has {', '.join(map(str, known))}",
            code=3101,
        )
    return [known[name] | changes for name, changes in chosen.items()]


def _references(config: TrainConfig) -> list[str]:
    """Names of the stages that a stage builds on."""
    values = [*_weights(config), *(source.folder for source in config.sources)]
    return [v.removeprefix(_REFERENCE).split("/")[0] for v in values if v.startswith(_REFERENCE)]


def _weights(config: TrainConfig) -> list[str]:
    """Weights that a stage needs besides its own."""
    priors = config.priors.model if config.priors else ""
    return [path for path in (config.init_from, config.teacher, priors) if path]


def _resolved(config: TrainConfig, out: Path) -> TrainConfig:
    """With paths in place of the names of stages."""

    def path(value: str, last: str) -> str:
        if not value.startswith(_REFERENCE):
            return value
        return str((out / value.removeprefix(_REFERENCE) / last).resolve())

    sources = tuple(dataclasses.replace(s, folder=path(s.folder, "")) for s in config.sources)
    priors = config.priors
    if priors is not None:
        priors = dataclasses.replace(priors, model=path(priors.model, WEIGHTS))
    return dataclasses.replace(
        config,
        priors=priors,
        init_from=path(config.init_from, WEIGHTS),
        teacher=path(config.teacher, WEIGHTS),
        sources=sources,
    )
