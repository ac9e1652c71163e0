"""A model on labelled slices, by both protocols of the metrics."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infnet_runtime.io.atomic import prepare_folder, refuse_existing
from infnet_runtime.metrics import TABLE_COLUMNS, SliceScores, score_slices
from infnet_runtime.metrics.clinical import Estimate
from infnet_runtime.model.specs import PreprocessSpec
from infnet_runtime.plain import to_plain
from infnet_runtime.slices.temperature import without_temperature
from infnet_runtime.version import __version__
from infnet_train.assess.by_case import maps_folder, write_case_rows
from infnet_train.assess.predict import open_model
from infnet_train.data.masks import read_labelled
from infnet_train.data.pictures import Turn
from infnet_train.data.preflight import look_at_folder
from infnet_train.data.seen import warn_if_seen

CLINICAL = ("dice", "sensitivity", "precision", "specificity")
"""What a reader of masks asks for."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model file on a folder, with what is needed to quote them.

    Parameters
    ----------
    model_sha256
        Hash of the file.
    threshold
        Of the clinical protocol: the model's own, 0.5 for training weights.
    """

    model: str
    model_sha256: str
    device: str
    data: str
    turn: Turn
    preprocess: PreprocessSpec
    threshold: float
    scores: SliceScores

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        clinical = self.scores.clinical
        assert self.scores.paper
        paper = self.scores.paper.to_dict()
        return {
            "schema": "infnet.evaluation/1",
            "infnet": __version__,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "device": self.device,
            "data": self.data,
            "turn": self.turn,
            "preprocess": to_plain(self.preprocess),
            "slices": len(clinical.volumes),
            "paper": {"protocol": "paper", **{name: paper[name] for name in TABLE_COLUMNS}},
            "clinical": {
                "protocol": clinical.to_dict()["protocol"],
                "level": "mean over slices",
                **{name: asdict(getattr(clinical.per_slice, name)) for name in CLINICAL},
            },
        }

    def to_text(self) -> str:
        """A short table for each protocol."""
        values = self.to_dict()
        protocol = self.scores.clinical.protocol
        return "\n".join(
            [
                f"model     {self.model}, sha256 {self.model_sha256[:12]}, on {self.device}",
                f"slices    {values['slices']} of {self.data}, turn {self.turn}",
                "paper     uncalibrated maps, each stretched to 0..1, mean over 256 thresholds",
                *(f"  {name:<17} {values['paper'][name]:.4f}" for name in TABLE_COLUMNS),
                f"clinical  threshold {self.threshold:g}, both empty counts as 1, mean over slices",
                f"  {'':<17} value   std. error  {protocol.confidence:.0%} interval",
                *(f"  {name:<17} {_row(getattr(self.scores.clinical.per_slice, name))}" for name in CLINICAL),
            ]
        )


def evaluate_file(
    model: Path,
    data: Path,
    *,
    turn: Turn = "none",
    device: str = "auto",
    per_case: Path | None = None,
    maps: Path | None = None,
) -> Evaluation:
    """Score a model on a folder: each slice whole at network size, its probability back at its own size.

    Parameters
    ----------
    model
        A checkpoint of a run (.safetensors) or the folder of the run, the authors' ``.pth``, or an ONNX file.
    data
        A folder with ``Imgs`` and ``GT``; labels above 128 are infection, as in the authors' tool.
    turn
        What turns a slice upright.
    device
        ``cpu``, ``cuda`` or ``cuda:N`` are used or refused; ``auto`` takes a CUDA device if one works.
    per_case
        File for the scores of each slice, as of :func:`~infnet_train.assess.by_case.case_rows`.
    maps
        Folder for the calibrated probability of each slice, as it is stored.

    Raises
    ------
    InfnetError
        If model, device or data are refused, a probability is not finite, or an output is there already.
    """
    if per_case is not None:
        refuse_existing(per_case)
        prepare_folder(per_case.absolute().parent)
    slices = read_labelled(data, turn)
    look_at_folder(data)
    warn_if_seen(model, data, turn)
    with open_model(model, device, purpose="evaluate") as opened, maps_folder(maps, turn) as write_map:
        temperature = opened.output.temperature
        scores = score_slices(
            slices,
            opened.predict,
            threshold=opened.output.threshold,
            paper_map=lambda probability: without_temperature(probability, temperature),
            seen=write_map,
        )
    if per_case is not None:
        write_case_rows(per_case, scores)
    return Evaluation(
        str(model),
        opened.sha256,
        opened.device,
        str(data),
        turn,
        opened.preprocess,
        opened.output.threshold,
        scores,
    )


def _row(estimate: Estimate) -> str:
    if estimate.value is None:
        return "no slice has a value"
    if estimate.standard_error is None:
        return f"{estimate.value:.4f}  (one slice, no interval)"
    return f"{estimate.value:.4f}  {estimate.standard_error:.4f}      {estimate.low:.4f}..{estimate.high:.4f}"
