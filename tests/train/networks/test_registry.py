"""Networks by name: one of another kind trains, resumes, evaluates and pre-labels like Inf-Net."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from infnet_export.make.card import ModelCard
from infnet_export.make.from_network import start_from_network
from infnet_export.network.exportable import read_trained
from infnet_runtime.errors import ModelError
from infnet_train.assess.evaluate import evaluate_file
from infnet_train.config.propagation import PropagationConfig
from infnet_train.config.schema import TrainConfig
from infnet_train.data.source import SourceConfig
from infnet_train.errors import ConfigError
from infnet_train.networks import InfNet, NetworkConfig, build_network
from infnet_train.run.loop import train
from infnet_train.semi.pseudo_labels import propagate
from infnet_train.weights.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from infnet_train.weights.trained import read_network
from small_network import Plain
from train_config import changed, train_config
from train_slices import write_slice

ALL = SourceConfig(name="small", folder="small")


@pytest.fixture(autouse=True)
def config(small_network: str) -> TrainConfig:
    """A run of the network, after the one line in the registry."""
    return train_config(
        name="other",
        network=small_network,
        sources=(ALL,),
        validation=ALL,
        epochs=2,
        batch_size=6,
        sizes=(32,),
        ema=0.5,
        preprocess={"size": 32},
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for i in range(6):
        write_slice(root / "small", f"s{i}", seed=i)
    return root


def values(run: Path) -> dict[str, Tensor]:
    return read_checkpoint(run / "weights.safetensors").group("weights")


def test_another_network_trains_and_resumes_to_the_same_weights(
    config: TrainConfig, data: Path, tmp_path: Path
) -> None:
    weights = train(config, data, tmp_path / "whole")
    assert (tmp_path / "whole" / "curves.csv").read_text().count("\n") == 3
    saved = read_checkpoint(weights).state["config"]
    assert (saved["network"], saved["parts"]) == ("plain", list(NetworkConfig().parts))

    def stop(step: int, *_: object) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "broken", progress=stop)
    with pytest.raises(ModelError, match=r"another configuration: network was 'plain' and is 'inf-net\'"):
        train(changed(config, network="inf-net"), data, tmp_path / "broken", resume=True)
    train(config, data, tmp_path / "broken", resume=True)
    whole, resumed = values(tmp_path / "whole"), values(tmp_path / "broken")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole | resumed)


def test_another_network_is_evaluated_and_teaches_and_is_exported(
    config: TrainConfig, data: Path, tmp_path: Path
) -> None:
    weights = train(config, data, tmp_path / "run")
    assert isinstance(read_network(weights, purpose="evaluate").network, Plain)
    assert evaluate_file(weights, data / "small", device="cpu").to_dict()["slices"] == 6
    start, _ = start_from_network(read_trained(weights), "plain", ModelCard())
    assert start.manifest.name == "plain"
    taught = {"name": "small", "folder": "small", "teacher_share": 0.5}
    train(changed(config, sources=[taught], teacher=str(weights), epochs=1), data, tmp_path / "taught")
    propagation = PropagationConfig(unlabelled=(ALL,), group_size=6, epochs=1)
    labels = propagate(
        changed(config, init_from=str(weights), propagation=propagation), data, tmp_path / "labels"
    )
    assert len(list((labels / "0" / "GT").iterdir())) == 6


def test_weights_for_a_res2net_do_not_fit_another_backbone(
    config: TrainConfig, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="the network has none; leave --backbone-weights out"):
        train(config, data, tmp_path, backbone_weights=tmp_path / "res2net.pth")


def test_inf_net_is_the_default_and_a_wrong_name_is_refused() -> None:
    assert isinstance(build_network(NetworkConfig()), InfNet)
    with pytest.raises(ConfigError, match="INF-3101.*there is no network 'inf_net'; did you mean 'inf-net'"):
        NetworkConfig(network="inf_net")
    with pytest.raises(ConfigError, match="there is no network 'abc'; known are .*inf-net.*plain"):
        train_config(name="x", sources=(ALL,), network="abc")


def test_a_checkpoint_of_a_network_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    tensors = {f"weights/{name}": tensor for name, tensor in Plain().state_dict().items()}
    for saved, message in (
        ({"network": "other-net"}, "no network 'other-net'"),
        ({"parts": ["x"]}, "parts is 'x'"),
    ):
        write_checkpoint(path, Checkpoint(tensors, {"config": saved}))
        with pytest.raises(ModelError, match=f"a network that this version does not have .*{message}"):
            read_network(path, purpose="evaluate")
