"""Scores of the validation slices after each epoch of a run, at network size."""

import numpy as np
import torch
from torch import Tensor

from infnet_runtime.arrays import BoolArray
from infnet_runtime.model.specs import PreprocessSpec
from infnet_train.assess.predict import input_batches, outputs_of
from infnet_train.assess.priors import Prior
from infnet_train.data.classes import CONSOLIDATION, GROUND_GLASS, IGNORED, UNKNOWN
from infnet_train.data.datasets import LabelledSlices
from infnet_train.networks import CLASSES, Network

DICE = "validation_dice"
"""The score that chooses the best weights."""


def validation_scores(
    model: Network,
    slices: LabelledSlices,
    spec: PreprocessSpec,
    device: str,
    *,
    prior: Prior | None = None,
    bf16: bool = False,
) -> dict[str, float]:
    """Dice of a network on slices, by name; the first of them chooses the best weights.

    Of the infection at probability 0.5: the mean over the slices, 1 where prediction and truth are empty;
    pixels to ignore do not count. A network that tells classes apart is chosen by the mean of both classes,
    each the largest of three and counted over all slices together, because most slices have one class alone;
    pixels of unknown class do not count either.
    """
    model.eval()
    infection: list[float] = []
    counts = np.zeros((len(CLASSES), 2), np.int64)  # pixels in both, and the sum of found and true ones
    tells_classes = False
    for part, images in input_batches(slices, spec, device):
        if prior is not None:
            truth = torch.from_numpy(slices.masks[part, None]).to(device)  # (n, 1, size, size)
            images = prior.beside(images, truth / 255, bf16=bf16)
        outputs = outputs_of(model, images, bf16=bf16)
        kept = None if slices.ignore is None else slices.ignore[part] <= 127
        found = (outputs.prediction[:, 0] >= 0).cpu().numpy()
        infection += _slice_dice(found, slices.masks[part] > 127, kept)
        if outputs.classes is not None:
            tells_classes = True
            counts += _class_counts(outputs.classes, slices, part, kept)
    mean = float(np.mean(infection))
    if not tells_classes:
        return {DICE: mean}
    dice = [2 * float(both) / float(sizes) if sizes else 1.0 for both, sizes in counts]
    named = {f"{DICE}_{name}": value for name, value in zip(CLASSES, dice, strict=True)}
    return {DICE: float(np.mean(dice)), **named, f"{DICE}_infection": mean}


def _slice_dice(found: BoolArray, truth: BoolArray, kept: BoolArray | None) -> list[float]:
    if kept is not None:
        found, truth = found & kept, truth & kept
    overlap = (found & truth).sum((1, 2))
    sizes = found.sum((1, 2)) + truth.sum((1, 2))
    return [2 * o / s if s else 1.0 for o, s in zip(overlap, sizes, strict=True)]


def _class_counts(
    logits: Tensor, slices: LabelledSlices, part: slice, kept: BoolArray | None
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    labels = slices.known_classes(part)
    known = (labels != UNKNOWN) & (labels != IGNORED)
    if kept is not None:
        known &= kept
    largest = logits.argmax(dim=1).cpu().numpy()
    counts = []
    for label in (GROUND_GLASS, CONSOLIDATION):
        found, truth = (largest == label) & known, (labels == label) & known
        counts.append((int((found & truth).sum()), int(found.sum()) + int(truth.sum())))
    return np.array(counts, np.int64)
