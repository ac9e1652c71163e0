"""Labels refined by a teacher: between the released label and the prediction, edges with them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from infnet_runtime.model.manifest import PreprocessSpec
from infnet_train.data.datasets import LabelledSlices, load_source
from infnet_train.data.edges import edge_of
from infnet_train.data.source import SourceConfig
from infnet_train.networks import InfNet, SideOutputs
from infnet_train.run.teacher import refine_labels

SIZE = 64
SPEC = dataclasses.replace(PreprocessSpec(), size=SIZE)


class Left(nn.Module):
    """Says that the left half of every slice is infected, wherever the lesion is."""

    def forward(self, images: Tensor) -> SideOutputs:
        logits = torch.full_like(images[:, :1], -50.0)
        logits[..., : SIZE // 2] = 50.0
        return SideOutputs(logits, None, None, logits, None)


class Bright(nn.Module):
    """Says that what is bright is infected: a teacher that is the same on the mirror image."""

    def forward(self, images: Tensor) -> SideOutputs:
        logits = images[:, :1] * 3
        return SideOutputs(logits, None, None, logits, None)


@pytest.fixture
def data(slices: Path) -> LabelledSlices:
    return load_source(slices, SourceConfig(name="small", folder="small"), SIZE)


def refined(data: LabelledSlices, teacher: nn.Module, share: float) -> LabelledSlices:
    return refine_labels(data, teacher, share, SPEC, "cpu", bf16=False)  # type: ignore[arg-type]


def test_no_share_keeps_the_labels(data: LabelledSlices) -> None:
    found = refined(data, Left(), 0.0)
    assert np.array_equal(found.masks, data.masks)
    assert np.array_equal(found.images, data.images)
    assert found.names == data.names


def test_a_full_share_is_the_mean_over_the_slice_and_its_mirror_image(data: LabelledSlices) -> None:
    found = refined(data, Left(), 1.0)
    # A teacher that always says left says both sides with half the probability.
    assert set(np.unique(found.masks)) == {128}
    bright = refined(data, Bright(), 1.0)
    assert bright.masks[data.images > 200].min() > 127
    assert bright.masks[data.images < 60].max() < 127


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_share_lies_between_label_and_prediction(data: LabelledSlices, share: float) -> None:
    predicted = refined(data, Bright(), 1.0).masks.astype(float)
    found = refined(data, Bright(), share)
    expected = (1 - share) * data.masks + share * predicted
    assert np.abs(found.masks - expected).max() <= 1  # both are rounded to whole grey levels
    for mask, edge in zip(found.masks, found.edges, strict=True):
        assert np.array_equal(edge, np.where(edge_of(mask > 127), 255, 0))
    assert data.masks.max() == 255  # the labels given are not touched


@pytest.mark.slow
def test_the_network_teaches_in_evaluation_mode_and_repeatably(data: LabelledSlices) -> None:
    torch.manual_seed(0)
    teacher = InfNet().train()
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    one, other = refined(data, teacher, 1.0), refined(data, teacher, 1.0)
    assert np.array_equal(one.masks, other.masks)
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
