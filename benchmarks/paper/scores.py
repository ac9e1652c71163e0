"""Scores of the paper's tables, of a system and of the authors' maps: test slices, classes, volumes."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from datasets import PUBLISHED, read_grey, test_slices
from measures import ScoredSlice, score_slice, score_volume, summarise

from infnet_runtime.arrays import BoolArray, ByteArray, FloatArray
from infnet_train.networks import CLASSES
from paper.opened import Opened, class_masks
from paper.published import TABLE_II, TABLE_III, Row

CLASS_TRUTH = Path("covid-semiseg/TestingSet/MultiClassInfection-Test")
_OF_CLASSES = PUBLISHED.parent / "Multi-class lung infection segmentation"
CLASS_MAPS = {
    "ground_glass": _OF_CLASSES / "Ground-glass opacities",
    "consolidation": _OF_CLASSES / "Consolidation",
}
_TRUTH_OF = {"ground_glass": "GT-1", "consolidation": "GT-2"}
VOLUMES = ("4_85506_1", "29_86491_1", "29_86490_1")
"""Volumes with healthy slices that no system and no shipped model was trained on."""

Seen = Callable[[str, FloatArray, FloatArray | None], None]


def class_truth(data: Path, name: str) -> dict[str, BoolArray]:
    """Truth of each class of a test slice, upright."""
    return {
        kind: upright(read_grey(data / CLASS_TRUTH / folder / f"{name}.png") > 128)
        for kind, folder in _TRUTH_OF.items()
    }


def score_system(opened: Opened, data: Path, seen: Seen) -> dict[str, Any]:
    """Both protocols on the test slices: the infection, and each class where the system tells them."""
    infection: list[ScoredSlice] = []
    classes: dict[str, list[ScoredSlice]] = {kind: [] for kind in CLASSES}
    for name, grey, truth in test_slices(data):
        found, of_classes = opened.predict(grey)
        seen(name, found, of_classes)
        infection.append(score_slice(name, found, found >= opened.output.threshold, truth, 1.0))
        if of_classes is None:
            continue
        masks, truths = class_masks(found, of_classes, opened.output.threshold), class_truth(data, name)
        for kind, scored in classes.items():
            scored.append(score_slice(name, masks[kind], masks[kind], truths[kind], 1.0))
    told = {kind: summary_of_class(scored, kind) for kind, scored in classes.items() if scored}
    return {"infection": asdict(summarise(infection))} | ({"classes": told} if told else {})


def summary_of_class(scored: list[ScoredSlice], kind: str) -> dict[str, Any]:
    """Of ground glass over all slices, as the paper; of consolidation over those that have it, as the paper.

    ``pooled`` counts the pixels of all slices together.
    """
    taken = scored if kind == "ground_glass" else [one for one in scored if one.is_infected]
    return {**asdict(summarise(taken)), "pooled": summarise(scored).pooled}


def score_maps(data: Path) -> dict[str, Any]:
    """Tables II and III from the authors' maps, by method; methods without maps are left out."""
    table_ii = {row.method: asdict(_score_infection(data, row)) for row in TABLE_II if _has_maps(data, row)}
    table_iii = {
        row.method: {kind: _score_class(data, row, kind) for kind in CLASSES}
        for row in TABLE_III
        if row.maps and (data / CLASS_MAPS["ground_glass"] / row.maps).is_dir()
    }
    return {"II": table_ii, "III": table_iii}


def _has_maps(data: Path, row: Row) -> bool:
    return bool(row.maps) and (data / PUBLISHED / row.maps).is_dir()


def _score_infection(data: Path, row: Row) -> Any:  # noqa: ANN401 - a summary
    scored = []
    for name, _, truth in test_slices(data):
        map_ = upright(read_grey(data / PUBLISHED / row.maps / f"{name}.png"))
        scored.append(_score_map(name, map_, truth))
    return summarise(scored)


def _score_class(data: Path, row: Row, kind: str) -> dict[str, Any]:
    scored = []
    for path in sorted((data / CLASS_TRUTH / "Imgs").glob("*.jpg")):
        map_ = upright(read_grey(data / CLASS_MAPS[kind] / row.maps / f"{path.stem}.png"))
        scored.append(_score_map(path.stem, map_, class_truth(data, path.stem)[kind]))
    return summary_of_class(scored, kind)


def _score_map(name: str, map_: ByteArray, truth: BoolArray) -> ScoredSlice:
    return score_slice(name, map_, map_ >= 128, truth, 1.0)


def score_volumes(
    opened: Opened, data: Path, names: tuple[str, ...], lungs: dict[str, ByteArray]
) -> dict[str, Any]:
    """Table V: every slice of volumes with healthy slices, by each rule for a slice without infection.

    Through the path of ``infnet-infer``: one box around the lungs, the probability inside the lungs counts.

    Parameters
    ----------
    lungs
        Found lungs by volume; filled here, so that they are found once.
    """
    from infnet_runtime import Segmenter
    from infnet_runtime.io import open_scan
    from infnet_train.data.volumes import labels_on

    slices: list[ScoredSlice] = []
    by_volume: dict[str, Any] = {}
    segmenter = Segmenter(opened.session, threads=1)
    for name in names:
        (path,) = data.glob(f"radiopaedia-covid-volumes*/radiopaedia_{name}_ct.nii.gz")
        volume = open_scan(path).volume
        labels = labels_on(volume, path.with_name(path.name.replace("_ct.", "_infection.")))
        result = segmenter.predict(volume, lungs=lungs.get(name), keep_probability=True)
        lungs.setdefault(name, result.lungs)
        scored = score_volume(name, result, volume.from_lps(np.asarray(labels != 0)))
        by_volume[name] = {"slices": len(scored), "pooled": summarise(scored).pooled}
        slices += scored
    infected = [one for one in slices if one.is_infected]
    return {
        "volumes": by_volume,
        "slices": len(slices),
        "infected": len(infected),
        "pooled": summarise(slices).pooled | {"mae": float(np.mean([one.mae for one in slices]))},
        "skip": asdict(summarise(slices, empty="skip"))["clinical"],
        "infected slices": asdict(summarise(infected))["clinical"],
        "healthy slices marked": sum(one.counts.false_positive > 0 for one in slices if not one.is_infected),
    }


def upright(stored: Any) -> Any:  # noqa: ANN401 - any array of rows and columns
    """The slices of COVID-SemiSeg are stored transposed."""
    return np.ascontiguousarray(stored.T)
