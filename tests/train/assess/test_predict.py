"""A network on slices: in batches what it says one by one, and nothing that is not finite."""

from pathlib import Path

import numpy as np
import pytest
import torch

import infnet_train.assess.predict as predict_module
from infnet_runtime.backends import Session, open_session
from infnet_runtime.errors import GateError
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_train.assess.predict import input_batches, logits_of, network_runner, open_model
from infnet_train.data.datasets import load_source
from infnet_train.data.source import SourceConfig
from infnet_train.networks import Network, SideOutputs
from tiny_models import mid_grey_detector
from train_slices import write_slice

SPEC = PreprocessSpec(size=32)


class Bright(Network):
    """Says that what is bright is infected."""

    def forward(self, x: torch.Tensor) -> SideOutputs:
        logits = x[:, :1] * 3
        return SideOutputs(logits, None, None, logits, None)


def test_batches_hold_every_slice_once_and_in_order(tmp_path: Path) -> None:
    for i in range(11):
        write_slice(tmp_path / "small", f"s{i:02d}", seed=i)
    slices = load_source(tmp_path, SourceConfig(name="small", folder="small"), 32)
    batches = list(input_batches(slices, SPEC, "cpu"))
    assert [(part.start, len(images)) for part, images in batches] == [(0, 8), (8, 3)]
    network = Bright().eval()
    logits = torch.cat([logits_of(network, images) for _, images in batches])
    assert logits.shape == (11, 32, 32)
    assert not logits.requires_grad
    run = network_runner(network, "cpu")
    for _, images in batches:
        for image in images:
            assert np.array_equal(run(image[None].numpy())[0], torch.sigmoid(3 * image[0]).numpy())
    assert (logits[4] > 0).numpy().mean() == pytest.approx((slices.images[4] > 124).mean(), abs=0.02)


def test_what_is_not_finite_is_refused() -> None:
    run = network_runner(Bright(), "cpu")
    with pytest.raises(GateError, match="not finite") as caught:
        run(np.full((1, 3, 32, 32), np.nan, np.float32))
    assert caught.value.code == 7020


def test_bfloat16_comes_back_in_single_precision() -> None:
    class Convolved(Bright):
        def __init__(self) -> None:
            super().__init__()
            self.last = torch.nn.Conv2d(3, 1, 1)

        def forward(self, x: torch.Tensor) -> SideOutputs:
            logits = self.last(x)
            return SideOutputs(logits, None, None, logits, None)

    torch.manual_seed(0)
    network, images = Convolved().eval(), torch.randn(1, 3, 32, 32)
    half, whole = logits_of(network, images, bf16=True), logits_of(network, images)
    assert half.dtype == whole.dtype == torch.float32
    assert 0 < (half - whole).abs().max() < 0.05


@pytest.mark.parametrize(("device", "stated"), [("cpu", "f32"), ("auto", "f32"), ("cuda:1", "auto")])
def test_scores_do_not_depend_on_the_units_of_a_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, stated: str
) -> None:
    asked: list[str] = []
    path = mid_grey_detector(tmp_path / "m.onnx")

    def opened(model: Path, *, device: str, precision: str) -> Session:
        asked.append(precision)
        return open_session(model, device="cpu", backend="onnxruntime", threads=1)

    monkeypatch.setattr(predict_module, "open_session", opened)
    with open_model(path, device, purpose="evaluate"):
        assert asked == [stated]
