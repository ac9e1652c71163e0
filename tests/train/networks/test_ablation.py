"""The rows of the paper's Table IV: every choice of parts trains, and the full network stays what it was."""

from pathlib import Path

import pytest
import torch

from infnet_export.network.exportable import exporter_of, read_trained
from infnet_export.network.inf_net.exporter import ABLATED
from infnet_runtime.errors import ModelError
from infnet_train.data.source import SourceConfig
from infnet_train.errors import ConfigError
from infnet_train.networks import ALL_PARTS, InfNet, Part
from infnet_train.networks.losses import structure_loss_terms, total_loss
from infnet_train.recipe import read_recipe
from infnet_train.run.loop import train
from infnet_train.weights.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from train_config import changed, train_config

pytestmark = pytest.mark.slow  # Inf-Net is built or written again and again


EA: Part = "edge_attention"
PPD: Part = "partial_decoder"
RA: Part = "reverse_attention"
ROWS: dict[str, tuple[Part, ...]] = {
    "backbone": (),
    "EA": (EA,),
    "PPD": (PPD,),
    "RA": (RA,),
    "RA+EA": (RA, EA),
    "PPD+RA": (PPD, RA),
    "all": (PPD, RA, EA),
}
TINY = train_config(
    name="tiny",
    sources=(SourceConfig(name="small", folder="small", draws=3),),
    epochs=1,
    batch_size=3,
    sizes=(32,),
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def size(parts: tuple[Part, ...]) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in InfNet(parts).parameters())


@pytest.mark.parametrize("row", ROWS)
def test_every_row_trains_all_its_parameters(row: str) -> None:
    parts = ROWS[row]
    torch.manual_seed(0)
    network = InfNet(parts)
    outputs = network(torch.randn(2, 3, 64, 64))
    mask = torch.zeros(2, 1, 64, 64)
    mask[:, :, 16:40, 8:32] = 1
    edge = torch.zeros_like(mask)
    edge[:, :, 16, 8:32] = 1
    loss = total_loss(outputs, mask, edge)
    assert torch.isfinite(loss)
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name

    assert all(o.shape == mask.shape for o in outputs if o is not None)
    assert (outputs.edge is None) == (EA not in parts)
    assert (outputs.s5 is None) == (outputs.s4 is None) == (RA not in parts)
    assert (outputs.s3 is outputs.global_map) == (RA not in parts)
    assert len(outputs.infection_maps) == (4 if RA in parts else 1)


def test_an_absent_part_has_no_loss() -> None:
    torch.manual_seed(0)
    outputs = InfNet(())(torch.randn(2, 3, 64, 64))
    mask = (torch.rand(2, 1, 64, 64) > 0.5).float()
    alone = sum(structure_loss_terms(outputs.s3, mask))
    assert torch.equal(total_loss(outputs, mask, edge=mask), alone)


def test_more_parts_have_more_parameters() -> None:
    sizes = {row: size(parts) for row, parts in ROWS.items()}
    pairs = [(a, b) for a in ROWS for b in ROWS if set(ROWS[a]) < set(ROWS[b])]
    assert len(pairs) == 15
    for fewer, more in pairs:
        assert sizes[fewer] < sizes[more], (fewer, more)
    assert sizes["all"] == 31_072_721


def test_the_full_network_is_the_default_and_the_order_of_parts_does_not_matter() -> None:
    assert set(ROWS["all"]) == set(ALL_PARTS) == set(TINY.architecture.parts)
    torch.manual_seed(5)
    default = InfNet().state_dict()
    torch.manual_seed(5)
    named = InfNet(ROWS["all"]).state_dict()
    assert list(default) == list(named)
    assert all(torch.equal(default[name], named[name]) for name in default)


def test_unknown_part(tmp_path: Path) -> None:
    expected = "edge_attention, partial_decoder, reverse_attention"
    with pytest.raises(ValueError, match=rf"the network has no part 'edge'; its parts are {expected}"):
        InfNet(("edge",))  # type: ignore[arg-type]  # the point of the test
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('name = "x"\nparts = ["reverse_attention"]\n[[sources]]\nname = "a"\nfolder = "a"\n')
    assert read_recipe(recipe)[0].config.architecture.parts == (RA,)
    assert read_recipe(recipe, ["parts=[]"])[0].config.architecture.parts == ()
    with pytest.raises(ConfigError, match=r"parts is .*edge.*, expected a list of \"edge_attention\""):
        read_recipe(recipe, ['parts=["edge"]'])


def test_training_without_any_part_with_its_resume_and_export(slices: Path, tmp_path: Path) -> None:
    validation = SourceConfig(name="small", folder="small", names=("s0",))
    config = changed(TINY, parts=(), ema=0.9, validation=validation)
    weights = train(config, slices, tmp_path / "run")
    assert read_checkpoint(weights).state["config"]["parts"] == []
    train(config, slices, tmp_path / "run", resume=True)
    with pytest.raises(ModelError, match=r"another configuration: parts was .* and is "):
        train(changed(config, parts=ALL_PARTS), slices, tmp_path / "run", resume=True)
    assert exporter_of(read_trained(weights)) is ABLATED


def test_training_with_two_parts(slices: Path, tmp_path: Path) -> None:
    weights = train(changed(TINY, parts=ROWS["RA+EA"]), slices, tmp_path / "run")
    names = {name.split(".")[0] for name in read_checkpoint(weights).group("weights")}
    levels = {f"reverse_attention{level}" for level in (3, 4, 5)}
    assert names == {"backbone", "rfb5", "plain_decoder", "edge_attention"} | levels


def test_a_checkpoint_older_than_the_key_is_of_the_full_network(slices: Path, tmp_path: Path) -> None:
    weights = train(TINY, slices, tmp_path / "run")
    for path in (weights, tmp_path / "run" / "last.safetensors"):
        new = read_checkpoint(path)
        config = {k: v for k, v in new.state["config"].items() if k not in ("parts", "mask_resize")}
        del config["augment"]["enhance"], config["sources"][0]["min_fraction"]
        write_checkpoint(path, Checkpoint(new.tensors, {**new.state, "config": config}))
    before = read_checkpoint(weights).group("weights")
    after = read_checkpoint(train(TINY, slices, tmp_path / "run", resume=True)).group("weights")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert read_trained(weights).preprocess == TINY.preprocess
    with pytest.raises(ModelError, match=r"another configuration: parts was .* and is "):
        train(changed(TINY, parts=(RA,)), slices, tmp_path / "run", resume=True)
