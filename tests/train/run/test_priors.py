"""Priors in training: from a frozen network and the truth mixed, repeatable, and the same on every rank."""

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from infnet_runtime.errors import ModelError
from infnet_runtime.model.specs import PreprocessSpec
from infnet_train.assess.priors import Prior, read_prior
from infnet_train.config.priors import PriorsConfig
from infnet_train.config.schema import TrainConfig
from infnet_train.data.source import SourceConfig
from infnet_train.errors import ConfigError
from infnet_train.machine.ranks import Ranks
from infnet_train.networks import InfectionMap, Network, build_network
from infnet_train.recipe import read_recipe, run_recipe
from infnet_train.run.loop import train
from infnet_train.run.priors import drawn_truths, training_input
from infnet_train.weights.checkpoint import read_checkpoint
from infnet_train.weights.trained import read_network
from small_network import CLASSES_NAME
from train_config import SMALL, changed, train_config
from train_slices import add_classes, write_slice

STEPS = 8  # of CLASSES: 2 epochs x 2 batches x 2 sizes
SPEC = PreprocessSpec()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for i in range(6):
        write_slice(root / "small", f"s{i}", seed=i)
    add_classes(root / "small", unknown=("s4",))
    return root


@pytest.fixture(scope="module")
def infection(small_network: str, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that finds the infection, badly."""
    torch.set_num_threads(1)
    config = changed(SMALL, network=small_network, epochs=1, sizes=(32,))
    return train(config, data, tmp_path_factory.mktemp("infection") / "run")


def classes_config(**values: Any) -> TrainConfig:  # noqa: ANN401 - any value of a recipe
    source = {"name": "small", "folder": "small", "classes": "Classes"}
    given = {
        "network": CLASSES_NAME,
        "labels": "classes",
        "prior": True,
        "sources": [source],
        "validation": {**source, "names": ["s0", "s1"]},
    }
    return changed(SMALL, **(given | values))


@pytest.fixture(scope="module")
def config(infection: Path) -> TrainConfig:
    return classes_config(priors={"model": str(infection), "truth_share": 0.5})


@pytest.fixture(scope="module")
def whole(config: TrainConfig, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return train(config, data, tmp_path_factory.mktemp("runs") / "whole").parent


def weights(run: Path) -> dict[str, Tensor]:
    return read_checkpoint(run / "weights.safetensors").group("weights")


def equal(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_stopped_run_goes_on_to_the_same_weights_and_curves(
    config: TrainConfig, data: Path, whole: Path, tmp_path: Path
) -> None:
    def stop_in_second_epoch(step: int, _total: int, _text: str) -> None:
        if step == STEPS * 3 // 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path, progress=stop_in_second_epoch)
    train(config, data, tmp_path, resume=True)
    assert equal(whole, tmp_path)
    assert (whole / "curves.csv").read_bytes() == (tmp_path / "curves.csv").read_bytes()
    rows = list(csv.DictReader((whole / "curves.csv").read_text().splitlines()))
    for row in rows:
        classes = [float(row[f"validation_dice_{name}"]) for name in ("ground_glass", "consolidation")]
        assert float(row["validation_dice"]) == pytest.approx(np.mean(classes))
        assert 0 <= float(row["validation_dice_infection"]) <= 1


def test_where_the_prior_comes_from_decides_the_weights(
    config: TrainConfig, data: Path, whole: Path, infection: Path, tmp_path: Path
) -> None:
    for share in (0.0, 1.0):
        train(
            changed(config, priors={"model": str(infection), "truth_share": share}),
            data,
            tmp_path / f"{share}",
        )
    assert not equal(whole, tmp_path / "0.0")
    assert not equal(whole, tmp_path / "1.0")
    assert not equal(tmp_path / "0.0", tmp_path / "1.0")


def test_the_truth_alone_needs_no_network(data: Path, tmp_path: Path) -> None:
    config = classes_config(priors={"truth_share": 1.0}, epochs=1, sizes=(32,))
    path = train(config, data, tmp_path / "run")
    assert read_network(path, purpose="test").prior_sha256 == ""


def test_weights_remember_whose_prior_they_were_trained_with(whole: Path, infection: Path) -> None:
    trained = read_network(whole / "weights.safetensors", purpose="test")
    assert trained.prior_sha256 == read_network(infection, purpose="test").weights_sha256
    assert trained.config.prior
    assert trained.config.network == CLASSES_NAME
    assert read_network(whole / "best.safetensors", purpose="test").prior_sha256 == trained.prior_sha256


def test_a_run_does_not_go_on_with_the_priors_of_other_weights(
    data: Path, small_network: str, tmp_path: Path
) -> None:
    def stop(step: int, _total: int, _text: str) -> None:
        if step == STEPS * 3 // 4:
            raise KeyboardInterrupt

    model = tmp_path / "infection" / "weights.safetensors"
    first = changed(SMALL, network=small_network, epochs=1, sizes=(32,))
    train(first, data, model.parent)
    config = classes_config(priors={"model": str(model)})
    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "run", progress=stop)
    model.unlink()
    train(changed(first, seed=1), data, tmp_path / "other")
    (tmp_path / "other" / "weights.safetensors").rename(model)
    with pytest.raises(
        ModelError, match=r"INF-4142\] the run began with the priors of weights [0-9a-f]{12} and"
    ):
        train(config, data, tmp_path / "run", resume=True)


def test_slices_with_the_truth_are_drawn_by_seed_and_step() -> None:
    drawn = [drawn_truths(0.3, seed, step, 16) for seed, step in ((0, 5), (0, 5), (0, 6), (1, 5))]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert not np.array_equal(drawn[0], drawn[3])
    share = np.mean([drawn_truths(0.3, 0, step, 16).mean() for step in range(500)])
    assert share == pytest.approx(0.3, abs=0.02)
    assert not drawn_truths(0.0, 0, 5, 16).any()
    assert drawn_truths(1.0, 0, 5, 16).all()


class Half(Network):
    """Finds probability 0.5 everywhere."""

    def forward(self, x: Tensor) -> InfectionMap:
        return InfectionMap(x[:, :1] * 0)


def priors_of(joined: Tensor) -> list[float]:
    return (joined[:, 3, 0, 0] * SPEC.std[0] + SPEC.mean[0]).tolist()


@pytest.mark.parametrize("bf16", [False, True])
def test_each_rank_gives_its_slices_what_a_single_process_would(bf16: bool) -> None:
    config = classes_config(priors={"model": "of no matter", "truth_share": 0.5})
    images, masks = torch.randn(5, 3, 32, 32), torch.ones(5, 1, 32, 32)
    prior = Prior(Half(), SPEC)

    def given(ranks: Ranks) -> list[float]:
        own = ranks.share(5)
        part = slice(own.start, own.stop)
        joined = training_input(prior, images[part], masks[part], config, ranks, step=3, total=5, bf16=bf16)
        assert torch.equal(joined[:, :3], images[part])
        assert joined.dtype == torch.float32
        return priors_of(joined)

    alone = given(Ranks())
    expected = np.where(drawn_truths(0.5, config.batching.seed, 3, 5), 1.0, 0.5)
    assert alone == pytest.approx(expected.tolist(), abs=1e-6)
    assert set(np.round(alone, 3)) == {0.5, 1.0}
    for count in (2, 3, 8):  # of eight ranks some have no slice
        assert [v for rank in range(count) for v in given(Ranks(rank, count))] == pytest.approx(alone)


def test_the_network_of_the_priors_is_frozen(infection: Path) -> None:
    prior = read_prior(infection, SMALL.preprocess, "cpu")
    assert prior.network is not None
    assert not prior.network.training
    assert not any(p.requires_grad for p in prior.network.parameters())


def test_a_network_that_needs_a_prior_gives_none(whole: Path) -> None:
    with pytest.raises(ModelError, match=r"INF-4140\] .* holds a plain-classes that needs a prior itself"):
        read_prior(whole / "weights.safetensors", SMALL.preprocess, "cpu")


def test_a_network_that_needs_a_prior_teaches_nobody(whole: Path, data: Path, tmp_path: Path) -> None:
    taught = {"name": "small", "folder": "small", "teacher_share": 0.5}
    config = changed(SMALL, sources=[taught], teacher=str(whole / "weights.safetensors"))
    with pytest.raises(ModelError, match=r"INF-4140\] .* that needs a prior itself"):
        train(config, data, tmp_path / "run")


def test_a_network_whose_slices_were_prepared_otherwise_gives_no_prior(infection: Path) -> None:
    read_prior(infection, dataclasses.replace(SMALL.preprocess, size=64), "cpu")
    other = dataclasses.replace(SMALL.preprocess, channels="neighbours", neighbour_step_mm=3.0)
    text = r"INF-4141\] the priors of .* channels, neighbour_step_mm are \[None, None\] there and \['neigh"
    with pytest.raises(ModelError, match=text):
        read_prior(infection, other, "cpu")


def test_a_network_with_a_prior_and_its_source_belong_together(infection: Path) -> None:
    with pytest.raises(ConfigError, match=r"INF-3176\] prior is true and \[priors\] is not given; a network"):
        classes_config()
    with pytest.raises(ConfigError, match=r"INF-3176\] prior is false and \[priors\] is given"):
        classes_config(prior=False, priors={"model": str(infection)})
    with pytest.raises(ConfigError, match=r"INF-3175\] priors.truth_share is 0.5 and priors.model is empty"):
        PriorsConfig(truth_share=0.5)
    with pytest.raises(ConfigError, match=r"INF-3101\] priors.truth_share is 2.0, expected 0 to 1"):
        PriorsConfig(model="a", truth_share=2.0)


def test_classes_without_a_label_are_refused_before_the_first_step(data: Path, tmp_path: Path) -> None:
    plain = SourceConfig(name="plain", folder="small")
    config = classes_config(prior=False)
    with pytest.raises(
        ConfigError, match=r"INF-3177\] the network 'plain-classes' tells .* no source has classes"
    ):
        train(changed(config, sources=(plain,), validation=None), data, tmp_path / "a")
    with pytest.raises(
        ConfigError, match=r"INF-3177\] .* is chosen by its classes, and the validation has none"
    ):
        train(changed(config, validation=plain), data, tmp_path / "b")


def test_sources_without_classes_train_beside_those_with_them(data: Path, tmp_path: Path) -> None:
    sources = [
        {"name": "known", "folder": "small", "names": ["s0", "s1", "s2"], "classes": "Classes"},
        {"name": "unknown", "folder": "small", "names": ["s3", "s5"]},
    ]
    config = classes_config(prior=False, sources=sources, validation=None, epochs=1, sizes=(32,))
    path = train(config, data, tmp_path / "run")
    moved = read_checkpoint(path).group("weights")
    torch.manual_seed(config.batching.seed)
    start = build_network(config.architecture).state_dict()
    assert any(not torch.equal(moved[k], v) for k, v in start.items())
    assert all(torch.isfinite(v).all() for v in moved.values())


def test_gradient_descent_resumes_to_the_same_weights(data: Path, tmp_path: Path) -> None:
    config = classes_config(prior=False, optimiser="sgd", momentum=0.7, learning_rate=1e-2, sizes=(32,))

    def stop(step: int, _total: int, _text: str) -> None:
        if step == 3:
            raise KeyboardInterrupt

    train(config, data, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "stopped", progress=stop)
    train(config, data, tmp_path / "stopped", resume=True)
    assert equal(tmp_path / "whole", tmp_path / "stopped")


def test_both_steps_of_the_paper_are_one_recipe(data: Path, small_network: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"""
name = "two steps"
epochs = 1
batch_size = 3
sizes = [32]
[[sources]]
name = "small"
folder = "small"
classes = "Classes"
[stages.infection]
network = "{small_network}"
[stages.classes]
network = "{CLASSES_NAME}"
labels = "classes"
prior = true
priors = {{ model = "stage:infection", truth_share = 0.25 }}
""")
    path = run_recipe(read_recipe(recipe), data, tmp_path / "run")
    first = tmp_path / "run" / "infection" / "weights.safetensors"
    trained = read_network(path, purpose="test")
    assert trained.prior_sha256 == read_network(first, purpose="test").weights_sha256
    recipe.write_text(recipe.read_text().replace("stage:infection", "stage:nowhere"))
    with pytest.raises(
        ConfigError, match="stage 'classes' builds on stage 'nowhere', which does not come before"
    ):
        read_recipe(recipe)


def test_the_released_loss_trains_on_the_grey_codes(data: Path, tmp_path: Path) -> None:
    source = {"name": "small", "folder": "small", "classes": "Classes", "class_resize": "bilinear"}
    source["exclude"] = ["s4"]  # it has unknown classes, for which the released code has no number
    config = train_config(
        name="released",
        network=CLASSES_NAME,
        labels="classes",
        prior=True,
        priors={"truth_share": 1.0},
        class_loss="as_released",
        sources=[source],
        epochs=1,
        batch_size=3,
        sizes=(64,),
        preprocess={"size": 64},
        optimiser="sgd",
        momentum=0.7,
        learning_rate=1e-2,
    )
    assert train(config, data, tmp_path / "run").is_file()
    with pytest.raises(ConfigError, match=r"INF-3178\] class_loss is 'softmax' and class_resize 'bilinear'"):
        changed(config, class_loss="softmax")
    with pytest.raises(
        ConfigError, match=r"INF-3178\] class_loss is 'as_released' and class_resize 'nearest'"
    ):
        changed(config, sources=[source | {"class_resize": "nearest"}])
