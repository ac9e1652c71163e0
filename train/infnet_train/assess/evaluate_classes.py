"""A model on slices with ground glass and consolidation, by both protocols of the metrics."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infnet_runtime.metrics import TABLE_COLUMNS, ClassifiedSlice, ClassScores, score_classes
from infnet_runtime.metrics.clinical import Estimate
from infnet_runtime.model.specs import PreprocessSpec
from infnet_runtime.plain import to_plain
from infnet_runtime.version import __version__
from infnet_train.assess.evaluate import CLINICAL
from infnet_train.assess.open_classes import TRUTH, OpenClasses, PriorUsed, open_classes
from infnet_train.data.classes import is_infection, read_classified
from infnet_train.data.pictures import Turn, slices_in, upright
from infnet_train.data.seen import warn_if_seen

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassEvaluation:
    """Scores of a model on a folder with classes, with what is needed to quote them.

    Parameters
    ----------
    model_sha256
        Hash of the file.
    prior
        What was put before a network that needs it.
    scores
        Of each class, by name.
    """

    model: str
    model_sha256: str
    device: str
    data: str
    turn: Turn
    preprocess: PreprocessSpec
    prior: PriorUsed | None
    scores: dict[str, ClassScores]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; of a class that no slice has, the paper's protocol says nothing."""
        some = next(iter(self.scores.values())).clinical
        return {
            "schema": "infnet.class-evaluation/1",
            "infnet": __version__,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "device": self.device,
            "data": self.data,
            "turn": self.turn,
            "preprocess": to_plain(self.preprocess),
            "prior": None if self.prior is None else asdict(self.prior),
            "slices": len(some.volumes),
            "paper": {
                "protocol": "paper, classes as 0 and 1, images that have the class",
                **{name: _of_paper(scores) for name, scores in self.scores.items()},
            },
            "clinical": {
                "protocol": some.to_dict()["protocol"],
                **{
                    name: {
                        level: {
                            key: asdict(getattr(getattr(scores.clinical, level), key)) for key in CLINICAL
                        }
                        for level in ("per_slice", "pooled")
                    }
                    for name, scores in self.scores.items()
                },
            },
        }

    def to_text(self) -> str:
        """A short table for each protocol."""
        values = self.to_dict()
        names = list(self.scores)
        lines = [
            f"model     {self.model}, sha256 {self.model_sha256[:12]}, on {self.device}",
            f"slices    {values['slices']} of {self.data}, turn {self.turn}",
            *([f"prior     {_in_words(self.prior)}"] if self.prior else []),
            "paper     classes as 0 and 1, mean over 256 thresholds, images that have the class",
            f"  {'':<17} {''.join(f'{name:<15}' for name in names)}",
        ]
        for key in ("images", *TABLE_COLUMNS):
            found = (values["paper"][name] for name in names)
            lines.append(f"  {key:<17} " + "".join(f"{_shown(f and f[key]):<15}" for f in found))
        lines.append("clinical  the largest of three; both empty counts as 1 in a slice")
        for level in ("per_slice", "pooled"):
            for key in CLINICAL:
                estimates = (getattr(getattr(self.scores[n].clinical, level), key) for n in names)
                row = "".join(f"{_estimate(e):<15}" for e in estimates)
                lines.append(f"  {f'{level} {key}'.replace('_', ' '):<22} {row}".rstrip())
        return "\n".join(line.rstrip() for line in lines)


def evaluate_classes(
    model: Path,
    data: Path,
    *,
    classes: str,
    prior: str = "",
    turn: Turn = "none",
    device: str = "auto",
) -> ClassEvaluation:
    """Score a model on a folder with classes: each slice whole at network size, its classes at its own size.

    Parameters
    ----------
    model
        As of :func:`~infnet_train.assess.evaluate.evaluate_file`, of a network that tells classes apart.
    data
        A folder of slices, with class masks.
    classes
        Folder of the class masks in it: ``Classes``, or ``GT`` where the masks are those of the classes.
    prior
        As of :func:`~infnet_train.assess.open_classes.open_classes`.

    Raises
    ------
    InfnetError
        If model, device, prior or data are refused, or a probability is not finite.
    """
    images = slices_in(data)
    warn_if_seen(model, data, turn)
    with open_classes(model, device, prior=prior) as opened:
        scores = score_classes(_found(opened, images, classes, turn))
    if opened.prior is not None and opened.prior.as_in_training is False:
        logger.warning("the scores are %s", _in_words(opened.prior))
    return ClassEvaluation(
        str(model), opened.sha256, opened.device, str(data), turn, opened.preprocess, opened.prior, scores
    )


def _found(opened: OpenClasses, images: list[Path], folder: str, turn: Turn) -> Iterator[ClassifiedSlice]:
    for path in images:
        grey, _, truth = read_classified(path, folder)
        grey, truth = (upright(np.asarray(pixels), turn) for pixels in (grey, truth))
        yield path.stem, opened.predict(grey, is_infection(truth)), truth


def _of_paper(scores: ClassScores) -> dict[str, Any] | None:
    if scores.paper is None:
        return None
    return {key: getattr(scores.paper, key) for key in ("images", *TABLE_COLUMNS)}


def _in_words(prior: PriorUsed) -> str:
    known = {True: ", as in training", False: ", another one than in training", None: ""}
    if prior.model == TRUTH:
        return f"of the truth, which no slice has in use{known[prior.as_in_training]}"
    return f"of {prior.model}, sha256 {prior.sha256[:12]}{known[prior.as_in_training]}"


def _shown(value: float | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.4f}"


def _estimate(estimate: Estimate) -> str:
    if estimate.value is None:
        return "-"
    spread = "" if estimate.standard_error is None else f" +- {estimate.standard_error:.3f}"
    return f"{estimate.value:.3f}{spread}"
