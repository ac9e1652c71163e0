"""What can be watched of a run: its curves as files, and scalars and pictures for TensorBoard."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from infnet_runtime.arrays import BoolArray, ByteArray
from infnet_runtime.io.atomic import atomic_write
from infnet_runtime.io.png import png_bytes
from infnet_runtime.model.specs import PreprocessSpec
from infnet_runtime.slices.preprocess import normalise_planes
from infnet_train.assess.predict import logits_of
from infnet_train.assess.priors import Prior
from infnet_train.assess.validation import DICE
from infnet_train.data.datasets import LabelledSlices
from infnet_train.networks import Network, Outputs
from infnet_train.networks.losses import LossConfig, loss_of_classes, pixel_weights, structure_loss_terms
from infnet_train.run.curves import as_csv, as_picture

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

STEPS_BETWEEN_SCALARS = 10
_PICTURES = 4
_TRUTH, _PREDICTION = (0, 200, 0), (230, 0, 0)


class Monitor:
    """Writes ``curves.csv``, ``curves.png`` and ``tensorboard/`` of one run. See :func:`open_monitor`."""

    def __init__(self, out: Path | None, writer: "SummaryWriter | None") -> None:
        self._out, self._writer = out, writer

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Add a point to the curve of each name."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def epoch(self, history: list[dict[str, float]]) -> None:
        """Write the rows of all epochs as CSV and as a picture, and the last one to TensorBoard."""
        if self._out is None:
            return
        row = history[-1]
        with atomic_write(self._out / "curves.csv") as file:
            file.write(as_csv(history).encode())
        with atomic_write(self._out / "curves.png") as file:
            file.write(png_bytes(as_picture(history)))
        curves = {f"epoch/{name}": row[name] for name in row if name == "loss" or name.startswith(DICE)}
        self.scalars(curves, int(row["step"]))

    def predictions(
        self,
        model: Network,
        slices: LabelledSlices,
        spec: PreprocessSpec,
        device: str,
        step: int,
        *,
        prior: Prior | None = None,
    ) -> None:
        """Show a few slices, spread over the validation, with the contours of truth and prediction."""
        if self._writer is None:
            return
        chosen = np.unique(np.linspace(0, len(slices) - 1, _PICTURES).round().astype(int))
        grey = slices.grey(chosen)
        model.eval()
        images = torch.from_numpy(normalise_planes(grey, spec)).to(device)
        if prior is not None:
            truth = torch.from_numpy(slices.masks[chosen, None]).to(device)  # (n, 1, size, size)
            images = prior.beside(images, truth / 255)
        found = logits_of(model, images) >= 0
        for number, prediction in zip(chosen, found.cpu().numpy(), strict=True):
            picture = contours(slices.images[number], slices.masks[number] > 127, prediction)
            name = f"validation/{slices.names[number]}"
            self._writer.add_image(name, picture, step, dataformats="HWC")


@contextmanager
def open_monitor(out: Path | None, *, step: int) -> Iterator[Monitor]:
    """Open the monitor of a run.

    Parameters
    ----------
    out
        Folder of the run; absent on ranks that write nothing.
    step
        Steps done already. What an interrupted run has noted after it is hidden by TensorBoard, and all of it
        where no checkpoint was left.
    """
    if out is None:
        yield Monitor(None, None)
        return
    try:
        # Costs seconds, and a machine without the package can train too.
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        logger.info("no TensorBoard files: %s; pip install 'infnet[train]' adds them", error)
        yield Monitor(out, None)
        return
    writer = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1 if step else 0)
    try:
        yield Monitor(out, writer)
    finally:
        writer.close()


def contours(grey: ByteArray, truth: BoolArray, prediction: BoolArray) -> ByteArray:
    """A slice with the outline of the truth in green and that of the prediction, above it, in red.

    Parameters
    ----------
    grey : (rows, columns), 0..255
    truth, prediction : (rows, columns), bool

    Returns
    -------
    (rows, columns, 3), 0..255
    """
    picture = np.repeat(grey[..., None], 3, axis=2)
    for mask, colour in ((truth, _TRUTH), (prediction, _PREDICTION)):
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, colour)
    return picture


@torch.no_grad()
def loss_parts(
    logits: Outputs,
    masks: Tensor,
    config: LossConfig,
    keep: Tensor | None = None,
    classes: Tensor | None = None,
) -> dict[str, Tensor]:
    """The part of each infection map in the loss, and of the classes; the rest of it is the edge."""
    weights = pixel_weights(masks)
    parts = {}
    for name, found in logits.infection_maps.items():
        bce_term, iou_term = structure_loss_terms(found, masks, weights=weights, bce=config.bce, keep=keep)
        parts[name] = bce_term + iou_term
    if logits.classes is not None and classes is not None:
        parts["classes"] = config.class_weight * loss_of_classes(logits.classes, classes, config, keep=keep)
    return parts
