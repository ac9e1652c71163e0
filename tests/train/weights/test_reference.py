"""Weight files of others: the authors' layout and ImageNet backbones, and what is no such file."""

import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from golden_fill import reference_state
from infnet_runtime.errors import ModelError
from infnet_train.networks import InfNet, NetworkConfig
from infnet_train.weights.checkpoint import Checkpoint, write_checkpoint
from infnet_train.weights.reference import (
    fill_backbone,
    load_backbone_weights,
    load_reference_weights,
    read_reference_state,
)
from infnet_train.weights.trained import read_network

pytestmark = pytest.mark.slow  # Inf-Net is built or written again and again


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return {k: v if k.endswith("num_batches_tracked") else v.float() for k, v in reference_state().items()}


@pytest.fixture(scope="module")
def expected(state: dict[str, Tensor]) -> Tensor:
    model = InfNet().eval()
    load_reference_weights(model, state, source="the fill")
    return prediction(model)


@torch.no_grad()
def prediction(model: InfNet) -> Tensor:
    x = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    s3: Tensor = model.eval()(x).s3
    return s3


@pytest.mark.parametrize(
    "variant", ["as saved", "data parallel", "old torch", "without classifier", "old format"]
)
def test_published_layout_loads_from_a_file(
    variant: str, state: dict[str, Tensor], expected: Tensor, tmp_path: Path
) -> None:
    changed = dict(state)
    if variant == "data parallel":
        changed = {f"module.{k}": v for k, v in state.items()}
    if variant == "old torch":
        changed = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    if variant == "without classifier":
        changed = {k: v for k, v in state.items() if ".fc." not in k}
    path = tmp_path / "Inf-Net-100.pth"
    torch.save(changed, path, _use_new_zipfile_serialization=variant != "old format")
    model = InfNet()
    load_reference_weights(model, read_reference_state(path), source=str(path))
    assert torch.equal(prediction(model), expected)


def test_imagenet_weights_fill_the_backbone_alone(state: dict[str, Tensor]) -> None:
    published = {k.removeprefix("resnet."): v for k, v in state.items() if k.startswith("resnet.")}
    assert "fc.weight" in published
    model = InfNet()
    before = model.rfb3.conv_res.conv.weight.clone()
    load_backbone_weights(model.backbone, published, source="res2net50_v1b")
    assert torch.equal(model.backbone.layer4[2].conv3.weight, state["resnet.layer4.2.conv3.weight"])
    assert torch.equal(model.rfb3.conv_res.conv.weight, before)


def test_a_checkpoint_of_infnet_fills_the_backbone_alone(tmp_path: Path) -> None:
    taught, model = InfNet(), InfNet()
    path = tmp_path / "start.safetensors"
    weights = {f"weights/{name}": tensor for name, tensor in taught.state_dict().items()}
    write_checkpoint(path, Checkpoint(weights, {}))
    head = model.rfb3.conv_res.conv.weight.clone()
    fill_backbone(model, path)
    for name, tensor in model.backbone.state_dict().items():
        assert torch.equal(tensor, taught.backbone.state_dict()[name]), name
    assert torch.equal(model.rfb3.conv_res.conv.weight, head)
    write_checkpoint(path, Checkpoint({"weights/stem.weight": torch.zeros(1)}, {}))
    with pytest.raises(ModelError, match=r"INF-4003.*holds no backbone"):
        fill_backbone(model, path)


def test_other_networks_are_refused(state: dict[str, Tensor]) -> None:
    renamed = {k.replace("ParDec", "agg1"): v for k, v in state.items()}
    with pytest.raises(ModelError, match=r"INF-4003.*unknown e\.g\. \['agg1\.conv_upsample1"):
        load_reference_weights(InfNet(), renamed, source="other.pth")
    reshaped = state | {"rfb2_1.conv_res.conv.weight": torch.zeros(32, 256, 1, 1)}
    with pytest.raises(ModelError, match=r"INF-4003.*conv_res\.conv.* has shape .*256.*, expected .*512"):
        load_reference_weights(InfNet(), reshaped, source="other.pth")


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with pytest.raises(ModelError, match="no weight file at"):
        read_reference_state(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="is not a plain PyTorch weight file"):
        read_reference_state(path)
    torch.save({"epoch": 3, "state": {}}, path)
    with pytest.raises(ModelError, match="expected a dictionary of tensors"):
        read_reference_state(path)


class _Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


# PyTorch wonders about the protocol of the plain pickle before it refuses it.
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_file_that_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.pth"
    torch.save(_Attack(), path)
    with pytest.raises(ModelError, match="is not a plain PyTorch weight file"):
        read_reference_state(path)
    path.write_bytes(pickle.dumps(_Attack()))
    with pytest.raises(ModelError, match="is not a plain PyTorch weight file"):
        read_reference_state(path)
    assert "code ran" not in capsys.readouterr().out


def test_the_released_unet_is_recognised_and_its_channels_get_our_order(tmp_path: Path) -> None:
    saved = {k: v if v.dtype is torch.int64 else v.float() for k, v in reference_state("infnet_unet").items()}
    path = tmp_path / "unet_model_200.pkl"
    torch.save(saved, path)
    trained = read_network(path, purpose="evaluate")
    assert trained.config == NetworkConfig(network="multi-class-unet", labels="classes", prior=True)
    head = trained.network.get_submodule("head")
    assert isinstance(head, nn.Conv2d)
    assert torch.equal(head.weight[[1, 2, 0]], saved["outc.conv.weight"])
    assert head.bias is not None
    assert torch.equal(head.bias[[1, 2, 0]], saved["outc.conv.bias"])
    del saved["up4.conv.double_conv.4.bias"]
    torch.save(saved, path)
    with pytest.raises(ModelError, match=r"up4.conv.double_conv.4.bias.*expected multi-class U-Net weights"):
        read_network(path, purpose="evaluate")
