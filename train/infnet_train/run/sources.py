"""The slices of a run, for training and validation: prepared once, refined by a teacher, kept in a cache."""

import hashlib
import logging
from pathlib import Path

import torch

from infnet_runtime.model.specs import PreprocessSpec
from infnet_runtime.plain import to_plain
from infnet_train.assess.priors import refuse_guided
from infnet_train.config.schema import TrainConfig
from infnet_train.data.batches import Sources
from infnet_train.data.cache import Facts, SliceCache, source_facts
from infnet_train.data.datasets import LabelledSlices, load_source
from infnet_train.data.pack import Pack
from infnet_train.data.preflight import empties, look_at
from infnet_train.data.prepared import check_neighbours
from infnet_train.data.source import SourceConfig
from infnet_train.machine.ranks import Ranks
from infnet_train.run.teacher import refine_labels
from infnet_train.weights.trained import TrainedNetwork, read_network

logger = logging.getLogger(__name__)


def load_slices(
    config: TrainConfig, data_root: Path, ranks: Ranks, *, cache: Path | None, bf16: bool
) -> tuple[Sources, LabelledSlices | None]:
    """Slices of all sources, and those of the validation if there is one.

    With a cache the first rank prepares them and the others read what it kept.

    Raises
    ------
    InfnetError
        If data or the teacher are refused.
    """
    if cache and not ranks.is_first:
        ranks.wait()
    check_neighbours(data_root, config.preprocess)
    store = SliceCache(cache)
    teacher = read_network(Path(config.teacher), purpose="teach") if config.teacher else None
    if teacher:
        refuse_guided(teacher, Path(config.teacher))
    sources: Sources = []
    for source in config.sources:
        slices = (
            _refined(store, data_root, source, config.preprocess, teacher, ranks.device, bf16=bf16)
            if teacher and source.teacher_share
            else _prepared(store, data_root, source, config.preprocess)
        )
        if ranks.is_first:
            logger.info(
                "source %s: %d slices, %d without infection", source.name, len(slices), empties(slices)
            )
        sources.append((source, slices))
    validation = (
        _prepared(store, data_root, config.validation, config.preprocess) if config.validation else None
    )
    if ranks.is_first:
        assert (config.validation is None) == (validation is None)
        look_at(sources, (config.validation, validation) if config.validation and validation else None)
    if cache and ranks.is_first:
        ranks.wait()
    return sources, validation


def _prepared(store: SliceCache, root: Path, source: SourceConfig, spec: PreprocessSpec) -> LabelledSlices:
    size, neighbours = spec.size, spec.channels == "neighbours"
    if root.is_file():
        return Pack(root).load(source, size, neighbours=neighbours)
    return store.fetch(
        lambda: source_facts(root, source, size, neighbours=neighbours),
        lambda: load_source(root, source, size, neighbours=neighbours),
    )


def _refined(
    store: SliceCache,
    root: Path,
    source: SourceConfig,
    spec: PreprocessSpec,
    teacher: TrainedNetwork,
    device: str,
    *,
    bf16: bool,
) -> LabelledSlices:
    """Slices with the labels of the teacher.

    Kept, because a GPU does not give the same labels twice, and a resumed run has to see those of its start.
    """

    def facts() -> Facts:
        return {
            "base": _facts(root, source, spec),
            "teacher": teacher.weights_sha256,
            "share": source.teacher_share,
            "preprocess": to_plain(spec),
            "computed": [device.split(":")[0], "bf16" if bf16 else "fp32", torch.__version__],
        }

    def refine() -> LabelledSlices:
        slices = _prepared(store, root, source, spec)
        return refine_labels(slices, teacher.network, source.teacher_share, spec, device, bf16=bf16)

    return store.fetch(facts, refine)


def _facts(root: Path, source: SourceConfig, spec: PreprocessSpec) -> Facts:
    if root.is_file():
        return {"pack": hashlib.sha256(root.read_bytes()).hexdigest(), "source": to_plain(source)}
    return source_facts(root, source, spec.size, neighbours=spec.channels == "neighbours")
