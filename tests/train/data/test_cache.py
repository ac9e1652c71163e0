"""The cache of prepared slices: used, and made again when a picture, the configuration or itself changes."""

import dataclasses
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from infnet_train.data import datasets
from infnet_train.data.cache import SliceCache, source_facts
from infnet_train.data.datasets import LabelledSlices, load_source
from infnet_train.data.source import SourceConfig
from infnet_train.machine.ranks import Ranks
from infnet_train.networks import Network
from infnet_train.run import sources
from infnet_train.run.sources import load_slices
from infnet_train.weights.checkpoint import Checkpoint, write_checkpoint
from small_network import Plain
from train_config import changed, train_config
from train_slices import write_slice

SOURCE = SourceConfig(name="small", folder="small")
CONFIG = train_config(name="small", sources=(SOURCE,), validation=SOURCE)


def load(data: Path, cache: Path | None, source: SourceConfig = SOURCE) -> LabelledSlices:
    config = changed(CONFIG, sources=(source,), validation=None)
    config = changed(config, preprocess=dataclasses.replace(config.preprocess, size=64))
    return load_slices(config, data, Ranks(), cache=cache, bf16=False)[0][0][1]


def assert_same(one: LabelledSlices, other: LabelledSlices) -> None:
    assert one.names == other.names
    for found, expected in zip(arrays(one), arrays(other), strict=True):
        assert found.dtype == np.uint8
        assert np.array_equal(found, expected)


def arrays(slices: LabelledSlices) -> tuple[np.ndarray, ...]:
    return slices.images, slices.masks, slices.edges


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Pictures that were opened."""
    paths: list[Path] = []
    original = datasets.read_pair

    def noted(path: Path, *, soft: bool) -> object:
        paths.append(path)
        return original(path, soft=soft)

    monkeypatch.setattr(datasets, "read_pair", noted)
    return paths


def test_the_second_load_opens_no_picture(slices: Path, tmp_path: Path, opened: list[Path]) -> None:
    first = load(slices, tmp_path / "cache")
    assert len(opened) == 6
    assert_same(first, load_source(slices, SOURCE, 64))
    opened.clear()
    assert_same(load(slices, tmp_path / "cache"), first)
    assert opened == []
    # What does not change the slices does not make them again.
    assert_same(load(slices, tmp_path / "cache", dataclasses.replace(SOURCE, name="b", draws=9)), first)
    assert opened == []
    load(slices, None)
    assert len(opened) == 6
    assert {p.suffix for p in (tmp_path / "cache").iterdir()} == {".npy", ".json"}
    assert np.load(next((tmp_path / "cache").glob("*.npy"))).shape == (3, 6, 64, 64)


@pytest.mark.parametrize("kind", ["Imgs", "GT"])
def test_a_changed_file_is_read_again(slices: Path, tmp_path: Path, opened: list[Path], kind: str) -> None:
    first = load(slices, tmp_path / "cache")
    path = slices / "small" / kind / "s3.png"
    state = path.stat()
    write_slice(slices / "small", "s3", seed=77)
    other = {"Imgs": "GT", "GT": "Imgs"}[kind]
    os.utime(slices / "small" / other / "s3.png", ns=(state.st_atime_ns, state.st_mtime_ns))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    opened.clear()
    again = load(slices, tmp_path / "cache")
    assert len(opened) == 6
    assert not np.array_equal(again.masks[3], first.masks[3])


def test_more_files_and_other_configurations_have_entries_of_their_own(slices: Path, tmp_path: Path) -> None:
    facts = source_facts(slices, SOURCE, 64)
    for change in ({"turn": "transpose"}, {"binarise": True}, {"names": ("s1",)}, {"edge": "canny"}):
        assert source_facts(slices, dataclasses.replace(SOURCE, **change), 64) != facts
    assert source_facts(slices, SOURCE, 96) != facts
    write_slice(slices / "small", "s6", seed=6)
    assert source_facts(slices, SOURCE, 64) != facts


@pytest.mark.parametrize("damage", ["pixels", "short", "json", "lacks", "foreign", "no pixels"])
def test_a_damaged_entry_is_made_again(
    slices: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    expected = load(slices, cache)
    pixels, about = next(cache.glob("*.npy")), next(cache.glob("*.json"))
    content = bytearray(pixels.read_bytes())
    content[-1] ^= 1
    if damage == "pixels":
        pixels.write_bytes(content)
    elif damage == "short":
        pixels.write_bytes(content[:500])
    elif damage == "no pixels":
        pixels.unlink()
    else:
        about.write_text({"json": "{", "lacks": "{}", "foreign": "[1, 2]"}[damage])
    with caplog.at_level(logging.INFO):
        assert_same(load(slices, cache), expected)
    assert "does not fit" in caplog.text
    assert "is made again" in caplog.text
    caplog.clear()
    assert_same(load(slices, cache), expected)
    assert "does not fit" not in caplog.text


def test_labels_of_a_teacher_are_kept_with_its_weights(
    slices: Path, small_network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = Plain()
    config = changed(
        CONFIG,
        sources=(dataclasses.replace(SOURCE, teacher_share=0.5),),
        preprocess=dataclasses.replace(CONFIG.preprocess, size=64),
        validation=SOURCE,
        teacher=str(tmp_path / "teacher.safetensors"),
    )
    state = {"config": {"network": small_network, "preprocess": dataclasses.asdict(config.preprocess)}}
    taught: list[float] = []

    def teach(
        given: LabelledSlices, _network: Network, share: float, *_: object, **__: object
    ) -> LabelledSlices:
        taught.append(share)
        return dataclasses.replace(given, masks=given.masks // 2)

    monkeypatch.setattr(sources, "refine_labels", teach)
    for grown, expected in ((False, [0.5]), (False, [0.5]), (True, [0.5, 0.5])):
        if grown:
            with torch.no_grad():
                next(network.parameters()).add_(1)
        tensors = {f"weights/{k}": v for k, v in network.state_dict().items()}
        write_checkpoint(Path(config.teacher), Checkpoint(tensors, state))
        (found,), validation = load_slices(config, slices, Ranks(), cache=tmp_path / "cache", bf16=False)
        assert taught == expected
        assert validation
        assert np.array_equal(found[1].masks, validation.masks // 2)


def test_without_a_folder_nothing_is_asked_or_kept() -> None:
    def facts() -> dict[str, object]:
        raise AssertionError

    made = LabelledSlices(("a",), *(np.zeros((1, 32, 32), np.uint8),) * 3)
    assert SliceCache(None).fetch(facts, lambda: made) is made
