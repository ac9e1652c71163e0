"""A pack gives the slices of the folders: labels exactly, grey up to JPEG, each plane stored once."""

import dataclasses
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from infnet_runtime.errors import OutputError
from infnet_train.cli.main import app
from infnet_train.config.schema import TrainConfig
from infnet_train.data.datasets import load_source
from infnet_train.data.pack import Pack, pack
from infnet_train.data.pictures import DataError, read_grey
from infnet_train.data.source import SourceConfig
from infnet_train.errors import ConfigError
from infnet_train.machine.ranks import Ranks
from infnet_train.recipe import Stage, pack_recipe
from infnet_train.run.sources import load_slices
from train_slices import write_picture

FIRST = SourceConfig(name="first", folder="small", names=("s0", "s1"), draws=4)
SECOND = SourceConfig(name="second", folder="small", names=("s1", "s2"))
HARD = SourceConfig(name="hard", folder="small", names=("s0",), binarise=True)
# Mean grey levels between a noisy slice and its JPEG.
JPEG = 4.0


@pytest.fixture
def data(slices: Path) -> Path:
    """The neighbours of s1 are s0 and s2, as in a scan."""
    for name, kind in (("s0", "Below"), ("s2", "Above")):
        write_picture(
            slices / "small" / kind / "s1.png", read_grey(slices / "small" / "Imgs" / f"{name}.png")
        )
    ignore = np.zeros((70, 90), np.uint8)
    ignore[:20] = 255
    write_picture(slices / "small" / "Ignore" / "s0.png", ignore)
    return slices


@pytest.fixture
def packed(data: Path, tmp_path: Path) -> Path:
    return pack(tmp_path / "slices.pack", data, [FIRST, SECOND, HARD], 64, neighbours=True).file


@pytest.mark.parametrize("source", [FIRST, SECOND, HARD], ids=lambda s: s.name)
def test_the_slices_are_those_of_the_folder(data: Path, packed: Path, source: SourceConfig) -> None:
    found, expected = (
        Pack(packed).load(source, 64, neighbours=True),
        load_source(data, source, 64, neighbours=True),
    )
    assert found.names == expected.names
    planes = expected.planes()
    for name, plane in found.planes().items():
        wanted = planes.get(name, expected.images if name in ("below", "above") else 0 * expected.images)
        if name in ("images", "below", "above"):
            assert 0 < np.abs(plane.astype(int) - wanted).mean() < JPEG
        else:
            assert np.array_equal(plane, wanted)


def test_a_plane_is_stored_once(packed: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        grey = [name for name in archive.namelist() if name.endswith(".jpg")]
    assert len(grey) == 3  # three slices, of which two are neighbours of the third


def test_a_training_takes_it_in_place_of_the_folder(data: Path, packed: Path, tmp_path: Path) -> None:
    spec = dataclasses.replace(
        TrainConfig(name="x", sources=(FIRST,)).preprocess,
        size=64,
        channels="neighbours",
        neighbour_step_mm=5.0,
    )
    config = TrainConfig(name="x", sources=(FIRST, SECOND), validation=HARD, preprocess=spec)
    (one, two), validation = load_slices(config, packed, Ranks(), cache=tmp_path / "cache", bf16=False)
    assert (one[1].names, two[1].names) == (("s0", "s1"), ("s1", "s2"))
    assert validation is not None
    assert validation.names == ("s0",)
    assert not (tmp_path / "cache").exists()  # nothing to be kept


def test_packs_that_do_not_fit_or_are_damaged(packed: Path, tmp_path: Path) -> None:
    slices = Pack(packed)
    with pytest.raises(
        DataError, match="INF-3152.*holds slices of 64 pixels, with neighbours; the recipe wants 96, without"
    ):
        slices.load(FIRST, 96, neighbours=False)
    other = dataclasses.replace(FIRST, folder="elsewhere")
    for source in (
        other,
        dataclasses.replace(FIRST, names=("s5",)),
        dataclasses.replace(FIRST, edge="canny"),
    ):
        with pytest.raises(
            DataError, match="INF-3152.*holds no slices of the source 'first' prepared as the recipe says"
        ):
            slices.load(source, 64, neighbours=True)
    for content in (b"", packed.read_bytes()[:-40], b"PK"):
        path = tmp_path / "damaged.pack"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"INF-3151.*damaged.pack is no pack of slices .*; make it with"):
            Pack(path)
    with zipfile.ZipFile(tmp_path / "foreign.pack", "w") as archive:
        archive.writestr("pack.json", '{"schema": "other"}')
    with pytest.raises(DataError, match="INF-3151.*is marked 'other', expected 'infnet.pack/1'"):
        Pack(tmp_path / "foreign.pack")
    content = bytearray(packed.read_bytes())
    content[content.index(b"\xff\xd8") + 100] ^= 255
    packed.write_bytes(content)
    with pytest.raises(DataError, match="INF-3151.*is damaged at .*; copy it again"):
        slices.load(dataclasses.replace(FIRST, names=()), 64, neighbours=True)


def test_recipes_that_make_labels_are_not_packed(data: Path, tmp_path: Path) -> None:
    made = dataclasses.replace(FIRST, folder="stage:before/labels")
    config = TrainConfig(name="x", sources=(made,))
    with pytest.raises(ConfigError, match="makes labels while it runs cannot be packed"):
        pack_recipe((Stage("train", "train", config),), data, tmp_path / "p")
    plain = TrainConfig(name="x", sources=(FIRST,))
    small = dataclasses.replace(plain, preprocess=dataclasses.replace(plain.preprocess, size=64))
    with pytest.raises(ConfigError, match=r"the stages have sizes \[64, 352\], expected one"):
        pack_recipe((Stage("a", "train", plain), Stage("b", "train", small)), data, tmp_path / "p")


def test_the_command(data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        'name = "small"\n[preprocess]\nsize = 64\n[[sources]]\nname = "small"\nfolder = "small"\n'
    )
    file = tmp_path / "small.pack"
    done = CliRunner().invoke(app, ["data", "pack", str(data), "-o", str(file), "--config", str(recipe)])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0] == "    6 slices  small"
    assert Pack(file).load(dataclasses.replace(FIRST, names=()), 64, neighbours=False).names == tuple(
        f"s{i}" for i in range(6)
    )


def test_a_file_that_is_there_is_not_replaced(data: Path, packed: Path) -> None:
    before = packed.read_bytes()
    config = TrainConfig(name="p", sources=(FIRST,))
    with pytest.raises(OutputError, match=r"\[INF-8023\] .* is there already, and this command"):
        pack_recipe((Stage("", "train", config),), data, packed)
    assert packed.read_bytes() == before
