"""What can be watched of a run: CSV, TensorBoard scalars and pictures, and the run without TensorBoard."""

import logging
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from infnet_runtime.model.manifest import PreprocessSpec
from infnet_train.data.datasets import LabelledSlices
from infnet_train.networks import SideOutputs
from infnet_train.networks.losses import AS_RELEASED, total_loss
from infnet_train.run.monitor import contours, loss_parts, open_monitor

HISTORY: list[dict[str, float]] = [
    {"epoch": 1, "step": 4, "loss": 2.5, "validation_dice": 0.25},
    {"epoch": 2, "step": 8, "loss": 1.5, "validation_dice": 0.5},
]


class Bright(nn.Module):
    """Says that what is bright is infected."""

    def forward(self, images: Tensor) -> SideOutputs:
        logits = images[:, :1]
        return SideOutputs(logits, None, None, logits, None)


def square(*, first: int, last: int) -> np.ndarray:
    mask = np.zeros((40, 40), bool)
    mask[first:last, first:last] = True
    return mask


def written(folder: Path) -> "object":
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return events


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(e.step, e.value) for e in written(folder).Scalars(name)]  # type: ignore[attr-defined]


def test_curves_are_in_the_csv_and_in_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with open_monitor(tmp_path, step=0) as monitor:
        monitor.scalars({"loss/total": 3.0, "learning_rate": 0.5}, 2)
        monitor.epoch(HISTORY[:1])
        monitor.epoch(HISTORY)
    assert (tmp_path / "curves.csv").read_text() == (
        "epoch,step,loss,validation_dice\n1,4,2.5,0.25\n2,8,1.5,0.5\n"
    )
    assert scalars(tmp_path, "loss/total") == [(2, 3.0)]
    assert scalars(tmp_path, "learning_rate") == [(2, 0.5)]
    assert scalars(tmp_path, "epoch/loss") == [(4, 2.5), (8, 1.5)]
    assert scalars(tmp_path, "epoch/validation_dice") == [(4, 0.25), (8, 0.5)]


def test_a_resumed_run_continues_the_curve(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with open_monitor(tmp_path, step=0) as monitor:
        for step in range(1, 8):
            monitor.scalars({"loss/total": float(step)}, step)
    # TensorBoard reads its files by name: the second of their making, then a counter without leading zeros. A
    # resumed run is made in a later second; in the same one the ninth and the tenth file would change places.
    time.sleep(1.1)
    with open_monitor(tmp_path, step=4) as monitor:  # the last checkpoint was after step 4
        for step in range(5, 10):
            monitor.scalars({"loss/total": float(-step)}, step)
    assert scalars(tmp_path, "loss/total") == [(s, float(s)) for s in (1, 2, 3, 4)] + [
        (s, float(-s)) for s in (5, 6, 7, 8, 9)
    ]


def test_predictions_are_pictures_of_slices_spread_over_the_validation(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    masks = np.stack([square(first=8, last=20)] * 9).astype(np.uint8) * 255
    slices = LabelledSlices(tuple(f"s{i}" for i in range(9)), masks // 2, masks, masks)
    with open_monitor(tmp_path, step=0) as monitor:
        model: nn.Module = Bright()
        monitor.predictions(model, slices, PreprocessSpec(), "cpu", 7)  # type: ignore[arg-type]
    events = written(tmp_path)
    assert events.Tags()["images"] == [f"validation/s{i}" for i in (0, 3, 5, 8)]  # type: ignore[attr-defined]
    (picture,) = events.Images("validation/s0")  # type: ignore[attr-defined]
    assert (picture.step, picture.width, picture.height) == (7, 40, 40)


def test_contours_are_green_for_the_truth_and_red_for_the_prediction() -> None:
    grey = np.full((40, 40), 100, np.uint8)
    picture = contours(grey, square(first=5, last=15), square(first=20, last=30))
    assert picture.shape == (40, 40, 3)
    assert tuple(picture[5, 10]) == (0, 200, 0)
    assert tuple(picture[20, 25]) == (230, 0, 0)
    assert tuple(picture[10, 10]) == tuple(picture[25, 25]) == tuple(picture[0, 0]) == (100, 100, 100)
    assert (grey == 100).all()
    nothing = np.zeros((40, 40), bool)
    assert (contours(grey, nothing, nothing) == 100).all()


def test_without_tensorboard_the_run_goes_on_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with caplog.at_level(logging.INFO), open_monitor(tmp_path, step=0) as monitor:
        monitor.scalars({"loss/total": 1.0}, 1)
        monitor.epoch(HISTORY)
    assert [r.message for r in caplog.records if "no TensorBoard files" in r.message]
    assert len(caplog.records) == 1
    assert (tmp_path / "curves.csv").is_file()
    assert not (tmp_path / "tensorboard").exists()


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_monitor(None, step=0) as monitor:
        monitor.scalars({"loss/total": 1.0}, 1)
        monitor.epoch(HISTORY)
    assert list(tmp_path.iterdir()) == []


def test_parts_and_edge_are_the_loss() -> None:
    torch.manual_seed(0)
    maps = torch.randn(5, 2, 1, 48, 48)
    masks, edges = (torch.rand(2, 2, 1, 48, 48) > 0.7).float()
    whole = SideOutputs(*maps)
    parts = loss_parts(whole, masks, AS_RELEASED)
    assert list(parts) == ["s_g", "s5", "s4", "s3"]
    edge = nn.functional.binary_cross_entropy_with_logits(maps[4], edges)
    assert torch.stack(list(parts.values())).sum() + edge == pytest.approx(
        total_loss(whole, masks, edges).item(), rel=1e-6
    )
    assert list(loss_parts(SideOutputs(maps[3], None, None, maps[3], None), masks, AS_RELEASED)) == ["s3"]
