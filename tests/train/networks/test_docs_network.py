"""The network that docs/networks.md shows: its file and its line, as printed, make a network that trains."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from docs_world import ROOT, files
from infnet_train.assess.evaluate import evaluate_file
from infnet_train.data.source import SourceConfig
from infnet_train.networks import NETWORKS
from infnet_train.run.loop import train
from infnet_train.weights.channels import start_from
from infnet_train.weights.trained import read_network
from train_config import changed, train_config

PAGE = ROOT / "docs" / "networks.md"
ALL = SourceConfig(name="small", folder="small")


@pytest.fixture
def small_net(monkeypatch: pytest.MonkeyPatch) -> str:
    """Its name, after the file and the line of the page."""
    module = ModuleType("small_net")
    monkeypatch.setitem(sys.modules, "small_net", module)
    exec(compile(files(PAGE)["small_net.py"], "small_net.py", "exec"), module.__dict__)
    (line,) = re.findall(r'^"small-net": .*$', PAGE.read_text("utf-8"), re.M)
    ((name, build),) = eval("{" + line + "}", module.__dict__).items()
    monkeypatch.setitem(NETWORKS, name, build)
    return str(name)


def test_the_network_of_the_page(small_net: str, slices: Path, tmp_path: Path) -> None:
    config = train_config(
        name="own", network=small_net, sources=(ALL,), epochs=1, batch_size=6, sizes=(64,),
        preprocess={"size": 64},
    )  # fmt: skip
    weights = train(config, slices, tmp_path / "run")
    assert evaluate_file(weights, slices / "small", device="cpu").to_dict()["slices"] == 6
    planes = changed(config, preprocess={"size": 64, "channels": "neighbours", "neighbour_step_mm": 5.0})
    start_from(read_network(weights, purpose="go on").network, weights, planes.preprocess)


def test_every_network_is_on_the_page() -> None:
    page = PAGE.read_text("utf-8")
    assert [name for name in NETWORKS if f"`{name}`" not in page] == []
