"""The slices of a recipe in one file of a few dozen MB, to be carried to a machine that trains.

A pack is a ZIP file without compression of its own: ``pack.json`` lists the sources with their slices, and
each plane is a picture named by its hash, so that a plane which is a slice and the neighbour of two others is
there once. Grey is stored as JPEG, neighbours that are nothing else a little coarser, labels without loss.
A training given a pack in place of a data folder sees the same slices, at the network size that they were
packed for; which of them a source takes, and how often, is still the recipe's.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from infnet_runtime.arrays import ByteArray
from infnet_runtime.io.atomic import atomic_write
from infnet_runtime.version import __version__
from infnet_train.data.datasets import LabelledSlices, chosen_slices, is_chosen, load_source
from infnet_train.data.pictures import DataError
from infnet_train.data.source import SourceConfig

SCHEMA = "infnet.pack/1"
QUALITY = 85
"""Of the slices as JPEG; the pictures of COVID-SemiSeg are JPEG themselves."""

# Of planes that are neighbours and no slices: 0.6 of the bytes, 2.5 grey levels away on average, where
# training adds noise of up to 10.
_NEIGHBOUR_QUALITY = 70
_INDEX = "pack.json"
_GREY = ("images", "below", "above")
_PLAIN = SourceConfig(name="", folder="")


@dataclass(frozen=True)
class Packed:
    """What :func:`pack` wrote: slices by folder of their source, and bytes of the file."""

    file: Path
    slices: dict[str, int]
    size: int


def pack(
    file: Path,
    root: Path,
    sources: Iterable[SourceConfig],
    size: int,
    *,
    neighbours: bool,
    quality: int = QUALITY,
) -> Packed:
    """Write the slices of some sources into one file.

    Sources that prepare their slices alike share them, whatever they choose among them.

    Parameters
    ----------
    root
        The data folder.
    size : pixels
        Side of the square network input.
    neighbours
        Also the planes below and above.
    quality
        Of the slices as JPEG, 1 to 100.

    Raises
    ------
    InfnetError
        If a source is refused, or the file cannot be written.
    """
    kinds = _by_kind(sources)
    loaded = [_load(root, kind, wanted, size, neighbours=neighbours) for kind, wanted in kinds.items()]
    pictures: dict[str, bytes] = {}
    for slices in loaded:  # before the neighbours, which may be the same planes
        for image in slices.images:
            _add(pictures, image, "images", quality)
    entries = [
        {
            "source": asdict(kind),
            "planes": list(slices.planes()),
            "slices": [_packed(pictures, slices, i, quality) for i in range(len(slices))],
        }
        for kind, slices in zip(kinds, loaded, strict=True)
    ]
    about = {"schema": SCHEMA, "infnet": __version__, "size": size, "neighbours": neighbours}
    with atomic_write(file) as target, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_INDEX, json.dumps(about | {"entries": entries}))
        for name, content in sorted(pictures.items()):
            archive.writestr(name, content)
    counts = {kind.folder: len(slices) for kind, slices in zip(kinds, loaded, strict=True)}
    return Packed(file, counts, file.stat().st_size)


class Pack:
    """The slices of a pack, by source; opened and checked when built.

    Raises
    ------
    DataError
        If the file is missing, damaged or no pack.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            with zipfile.ZipFile(file) as archive:
                self._index: dict[str, Any] = json.loads(archive.read(_INDEX))
        except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
            raise DataError(
                f"{file} is no pack of slices ({error}); make it with infnet-train data pack", code=3151
            ) from error
        if self._index.get("schema") != SCHEMA:
            raise DataError(
                f"{file} is marked '{self._index.get('schema')}', expected '{SCHEMA}'; pack the slices again",
                code=3151,
            )

    def load(self, source: SourceConfig, size: int, *, neighbours: bool) -> LabelledSlices:
        """The slices of a source.

        Raises
        ------
        DataError
            If the pack was made for another size or without neighbours, does not hold the source, or holds
            none of its slices.
        """
        if self._index["size"] != size or (neighbours and not self._index["neighbours"]):
            raise DataError(
                f"{self.file} holds slices of {self._index['size']} pixels, "
                f"{'with' if self._index['neighbours'] else 'without'} neighbours; the recipe wants {size}, "
                f"{'with' if neighbours else 'without'}: pack it for this recipe",
                code=3152,
            )
        plain, kind = (json.loads(json.dumps(asdict(_kind(s)))) for s in (_PLAIN, source))
        # A pack of an earlier version does not know every key.
        entry = next((e for e in self._index["entries"] if plain | e["source"] == kind), None)
        slices = [s for s in entry["slices"] if is_chosen(s["name"], source)] if entry else []
        if not slices:
            raise DataError(
                f"{self.file} holds no slices of the source '{source.name}' prepared as the recipe says; "
                "pack it for this recipe",
                code=3152,
            )
        assert entry
        wanted = [name for name in entry["planes"] if neighbours or name not in ("below", "above")]
        with zipfile.ZipFile(self.file) as archive:
            arrays = {name: [self._plane(archive, s, name) for s in slices] for name in wanted}
        stacked = {name: np.stack(planes) for name, planes in arrays.items()}
        return LabelledSlices(tuple(s["name"] for s in slices), **stacked)

    def _plane(self, archive: zipfile.ZipFile, one: dict[str, str], kind: str) -> ByteArray:
        """A plane of a slice; one that was not stored is the slice again, or empty."""
        name = one.get(kind, one["images"])
        try:
            content = archive.read(name)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{self.file} is damaged at {name} ({error}); copy it again", code=3151
            ) from error
        plane = np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)
        return plane if kind in one or kind in _GREY else np.zeros_like(plane)


def _kind(source: SourceConfig) -> SourceConfig:
    """A source with nothing but what decides how its slices are prepared."""
    return replace(source, name="", include=(), exclude=(), names=(), draws=0, teacher_share=0.0)


def _by_kind(sources: Iterable[SourceConfig]) -> dict[SourceConfig, list[SourceConfig]]:
    kinds: dict[SourceConfig, list[SourceConfig]] = {}
    for source in sources:
        kinds.setdefault(_kind(source), []).append(source)
    return kinds


def _load(
    root: Path, kind: SourceConfig, wanted: list[SourceConfig], size: int, *, neighbours: bool
) -> LabelledSlices:
    """What any of some sources takes."""
    paths = {path.stem for source in wanted for path in chosen_slices(root, source)}
    source = replace(kind, name=kind.folder, names=tuple(sorted(paths)))
    return load_source(root, source, size, neighbours=neighbours)


def _packed(pictures: dict[str, bytes], slices: LabelledSlices, i: int, quality: int) -> dict[str, str]:
    """Names of the pictures of a slice: of its grey, and of each plane that says more."""
    one = {"name": slices.names[i]}
    for name, planes in slices.planes().items():
        nothing_new = name in _GREY[1:] and np.array_equal(planes[i], slices.images[i])
        if name == "images" or (planes[i].any() and not nothing_new):
            one[name] = _add(pictures, planes[i], name, quality)
    return one


def _add(pictures: dict[str, bytes], plane: ByteArray, kind: str, quality: int) -> str:
    """Keep a plane as a picture, once; gives its name."""
    ending = ".jpg" if kind in _GREY else ".png"
    name = f"{hashlib.sha256(plane.tobytes()).hexdigest()[:24]}{ending}"
    if name not in pictures:
        used = quality if kind == "images" else min(quality, _NEIGHBOUR_QUALITY)
        options = [cv2.IMWRITE_JPEG_QUALITY, used] if ending == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 9]
        pictures[name] = cv2.imencode(ending, plane, options)[1].tobytes()
    return name
