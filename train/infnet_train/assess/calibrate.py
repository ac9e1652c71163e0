"""The temperature of a model: fitted on labelled slices, with the reliability before and after.

The slices must be ones that neither trained the network nor will be reported on: the validation slices.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infnet_runtime.arrays import BoolArray, ByteArray, FloatArray
from infnet_runtime.lungs import find_lungs
from infnet_runtime.metrics import LabelledSlice
from infnet_runtime.metrics.reliability import (
    LabelledPixels,
    Reliability,
    fit_temperature,
    pooled,
    reliability,
)
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.version import __version__
from infnet_train.assess.predict import open_model
from infnet_train.data.masks import read_labelled
from infnet_train.data.pictures import Turn
from infnet_train.data.preflight import look_at_folder
from infnet_train.data.seen import refuse_seen

logger = logging.getLogger(__name__)


_NOMINAL_MM = (1.0, 1.0, 1.0)  # as the runtime takes for pictures
_SCORES = {"nll": "neg. log-likelihood", "ece": "expected calibration error", "brier": "Brier score"}


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature, with what is needed to quote it.

    Parameters
    ----------
    model_temperature
        Stored in the model already; not applied here.
    temperature
        Fitted to the network's own probabilities, to be stored by ``infnet-export --temperature``.
    inside_lungs
        Whether only pixels inside the lungs were counted.
    before, after
        At temperature 1 and at the fitted one, on the same pixels it was fitted on.
    """

    model: str
    model_sha256: str
    device: str
    data: str
    turn: Turn
    slices: int
    pixels: int
    infected_pixels: int
    inside_lungs: bool
    model_temperature: float
    temperature: float
    before: Reliability
    after: Reliability

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"schema": "infnet.calibration/1", "infnet": __version__, **asdict(self)}

    def to_text(self) -> str:
        """A short table, and how to store the temperature."""
        where = "inside the lungs" if self.inside_lungs else "of whole slices"
        share = self.infected_pixels / self.pixels
        return "\n".join(
            [
                f"model        {self.model}, sha256 {self.model_sha256[:12]}, on {self.device}",
                f"slices       {self.slices} of {self.data}, turn {self.turn}",
                f"pixels       {self.pixels} {where}, {share:.1%} infected",
                f"temperature  {self.temperature:.4f}, in the model now: {self.model_temperature:g}",
                f"  {'':<27} at 1     at {self.temperature:.4f}",
                *(
                    f"  {title:<27} {getattr(self.before, name):.4f}   {getattr(self.after, name):.4f}"
                    for name, title in _SCORES.items()
                ),
                f"store it with infnet-export ... --temperature {self.temperature:.4f}",
            ]
        )


def calibrate_file(
    model: Path, data: Path, *, turn: Turn = "none", device: str = "auto", inside_lungs: bool = False
) -> Calibration:
    """Fit the temperature of a model on a folder; each slice whole, its probability back at its own size.

    Parameters
    ----------
    model
        As of :func:`~infnet_train.assess.evaluate.evaluate_file`.
    data
        A folder with ``Imgs`` and ``GT``, not the test set.
    inside_lungs
        Count pixels inside the lungs only, where the runtime marks infection. A slice on which no lung is
        found counts whole, and is named in the log.

    Raises
    ------
    InfnetError
        If model, device or data are refused, or the labels do not fix a temperature.
    """
    slices = read_labelled(data, turn)
    look_at_folder(data)
    refuse_seen(model, data, turn)
    counted: list[str] = []
    with open_model(model, device, purpose="calibrate") as opened:
        predict = opened.predict_uncalibrated
        pixels = labelled_pixels(_noted(slices, counted), predict, inside_lungs=inside_lungs)
    temperature = fit_temperature(pixels)
    return Calibration(
        model=str(model),
        model_sha256=opened.sha256,
        device=opened.device,
        data=str(data),
        turn=turn,
        slices=len(counted),
        pixels=pixels.infected.size,
        infected_pixels=int(np.count_nonzero(pixels.infected)),
        inside_lungs=inside_lungs,
        model_temperature=opened.output.temperature,
        temperature=temperature,
        before=reliability(pixels),
        after=reliability(pixels, temperature=temperature),
    )


def labelled_pixels(
    slices: Iterable[LabelledSlice], predict: Callable[[ByteArray], FloatArray], *, inside_lungs: bool
) -> LabelledPixels:
    """Pixels of all slices, with the network's own probability beside the truth.

    Parameters
    ----------
    predict
        Grey (rows, columns) to the probability at temperature 1, (rows, columns).
    inside_lungs
        As of :func:`calibrate_file`.
    """
    return pooled(
        (predict(grey), truth, _lungs(name, grey) if inside_lungs else None) for name, grey, truth in slices
    )


def _lungs(name: str, grey: ByteArray) -> BoolArray | None:
    labels = find_lungs(grey[None], _NOMINAL_MM, Intensity.WINDOWED)
    found = np.asarray(labels[0] > 0, np.bool_)  # (1, rows, columns) -> (rows, columns)
    if found.any():
        return found
    logger.warning("no lung was found in slice %s, all of it counts", name)
    return None


def _noted(slices: Iterable[LabelledSlice], names: list[str]) -> Iterator[LabelledSlice]:
    """The slices, their names added to a list as they pass."""
    for item in slices:
        names.append(item[0])
        yield item
