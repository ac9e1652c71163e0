"""The network and its losses reproduce the reference implementation in double precision."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from golden_fill import GOLDEN, reference_shapes, reference_state
from infnet_train.networks import InfNet, SideOutputs
from infnet_train.networks.losses import structure_loss_terms, total_loss
from infnet_train.networks.multi_class_unet import MultiClassUNet
from infnet_train.weights.reference import (
    load_reference_unet,
    load_reference_weights,
    reference_name,
    unet_reference_name,
)

RELATIVE = 1e-9  # double precision, other summation order: 1e-12 was seen
MAPS = {"lateral_map_5": 0, "lateral_map_4": 1, "lateral_map_3": 2, "lateral_map_2": 3, "lateral_edge": 4}
REFERENCE = json.loads((GOLDEN / "infnet_golden.json").read_text())


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return reference_state()


@pytest.fixture
def model(state: dict[str, Tensor]) -> InfNet:
    network = InfNet().double().eval()
    load_reference_weights(network, state, source="the golden fill")
    return network


def samples(x: Tensor) -> list[float]:
    h, w = x.shape[-2:]
    picks = [x[0, 0, 0, 0], x[0, 0, h // 2, w // 3], x[-1, -1, h - 1, w - 1], x[-1, -1, h // 4, 3 * w // 4]]
    return [float(v) for v in picks]


def check(found: Tensor, expected: dict[str, Any]) -> None:
    assert list(found.shape) == expected["shape"]
    numbers = {
        "mean": found.mean(),
        "std": found.std(unbiased=False),
        "min": found.min(),
        "max": found.max(),
        "abs_sum": found.abs().sum(),
    }
    # A mean of near-cancelling values is judged against the mean magnitude.
    scale = float(found.abs().mean())
    for key, value in numbers.items():
        if key == "std":
            options = (float(value), float(found.std(unbiased=True)))
            assert any(v == pytest.approx(expected[key], rel=RELATIVE) for v in options), key
        else:
            assert float(value) == pytest.approx(expected[key], rel=RELATIVE, abs=RELATIVE * scale), key
    assert samples(found) == pytest.approx(expected["samples"], rel=RELATIVE, abs=RELATIVE * scale)


def test_layout_has_946_entries_of_which_two_are_the_unused_head() -> None:
    ours = {reference_name(name) for name in InfNet().state_dict()}
    theirs = set(reference_shapes())
    assert len(theirs) == 946
    assert theirs - ours == {"resnet.fc.weight", "resnet.fc.bias"}
    assert ours <= theirs
    assert sum(p.numel() for p in InfNet().parameters()) == 31_072_721


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("eval_1x3x96x128", (1, 3, 96, 128)),
        pytest.param("eval_2x3x352x352", (2, 3, 352, 352), marks=pytest.mark.slow),
    ],
)
def test_evaluation_outputs(model: InfNet, key: str, shape: tuple[int, ...]) -> None:
    x = torch.from_numpy(np.random.RandomState(7).standard_normal(shape))
    with torch.no_grad():
        outputs = model(x)
    for name, index in MAPS.items():
        check(outputs[index], REFERENCE[key][name])


def test_intermediate_values(model: InfNet) -> None:
    modules: dict[str, nn.Module] = {
        "resnet.layer1": model.backbone.layer1,
        "resnet.layer2": model.backbone.layer2,
        "resnet.layer3": model.backbone.layer3,
        "resnet.layer4": model.backbone.layer4,
        "rfb2_1": model.rfb3,
        "rfb3_1": model.rfb4,
        "rfb4_1": model.rfb5,
        "edge_conv3": model.edge_attention.conv3,
        "ParDec": model.partial_decoder,
        "ra4_conv5": model.reverse_attention5.out,
        "ra3_conv4": model.reverse_attention4.out,
        "ra2_conv4": model.reverse_attention3.out,
    }
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _inputs, output: seen.update({name: output.clone()})

    for name, module in modules.items():
        module.register_forward_hook(keep(name))
    with torch.no_grad():
        model(torch.from_numpy(np.random.RandomState(7).standard_normal((1, 3, 96, 128))))
    expected = REFERENCE["eval_1x3x96x128_intermediate"]
    assert set(seen) == set(expected)
    for name, values in expected.items():
        check(seen[name], values)


def discs(shape: tuple[int, int], circles: list[tuple[int, int, int]]) -> np.ndarray:
    """One disc for each image of the batch: (n, 1, h, w)."""
    row, col = np.mgrid[: shape[0], : shape[1]]
    masks = [(row - r) ** 2 + (col - c) ** 2 < limit for r, c, limit in circles]
    return np.stack(masks)[:, None].astype(float)


def test_training_step(model: InfNet) -> None:
    golden = REFERENCE["train_2x3x128x128"]
    masks = discs((128, 128), [(60, 50, 625), (90, 90, 324)])
    gy, gx = np.gradient(masks, axis=(2, 3))
    mask, edge = torch.from_numpy(masks), torch.from_numpy((gx**2 + gy**2 != 0).astype(float))
    x = torch.from_numpy(np.random.RandomState(13).standard_normal((2, 3, 128, 128)))
    outputs: SideOutputs = model.train()(x)
    for name, index in MAPS.items():
        check(outputs[index].detach(), golden["outputs"][name])
        if name != "lateral_edge":
            assert sum(structure_loss_terms(outputs[index], mask)).item() == pytest.approx(
                golden["losses"][name], rel=RELATIVE
            )
    loss = total_loss(outputs, mask, edge)
    assert loss.item() == pytest.approx(golden["total"], rel=RELATIVE)
    loss.backward()
    gradients = {reference_name(n): p.grad for n, p in model.named_parameters()}
    assert sum(g is not None for g in gradients.values()) == golden["n_params_with_grad"]
    for name, norm in golden["grad_norm"].items():
        gradient = gradients[name]
        assert gradient is not None
        assert float(gradient.norm()) == pytest.approx(norm, rel=1e-8), name


def test_multi_class_unet() -> None:
    state = reference_state("infnet_unet")
    assert len(state) == 128
    network = MultiClassUNet().double().eval()
    assert {unet_reference_name(name) for name in network.state_dict()} == set(state)
    load_reference_unet(network, state, source="the golden fill")
    with torch.no_grad():
        outputs = network(torch.from_numpy(np.random.RandomState(17).standard_normal((1, 6, 64, 96))))
    assert outputs.classes is not None
    background, ground_glass, consolidation = outputs.classes.split(1, dim=1)
    check(torch.cat([ground_glass, consolidation, background], dim=1), REFERENCE["unet_eval_1x6x64x96"])


def test_loss_values() -> None:
    logits = torch.from_numpy(np.random.RandomState(11).standard_normal((2, 1, 64, 80)))
    mask = torch.from_numpy(discs((64, 80), [(30, 25, 225), (5, 70, 144)]))
    for form, key in (("as_run", "as_run_bce_mean"), ("weighted", "weighted_bce")):
        bce, iou = structure_loss_terms(logits, mask, bce=form)  # type: ignore[arg-type]
        assert [float(bce), float(iou), float(bce + iou)] == pytest.approx(
            REFERENCE["loss"][key], rel=RELATIVE
        )
