"""Prepared slices kept on disk, so that a run or a resume does not decode and resize every picture again.

An entry is named by a hash of everything that its content depends on: the configuration of the source, the
network size, the files with their sizes and times of change, and the versions of the code. It is an
uncompressed ``.npy`` file and a ``.json`` file beside it, written last, with the names and a hash of the
pixels. Entries that do not fit are made again. Nothing is removed; the folder may be deleted at any time.
"""

import hashlib
import io
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from infnet_runtime.io.atomic import atomic_write, prepare_folder
from infnet_runtime.version import __version__
from infnet_train.data.datasets import LabelledSlices, chosen_slices
from infnet_train.data.pictures import image_folder, mask_folder
from infnet_train.data.source import SourceConfig

logger = logging.getLogger(__name__)

_FORMAT = 3
"""To be raised when slices are prepared differently by the same version of the package."""

Facts = dict[str, object]


@dataclass(frozen=True)
class SliceCache:
    """Slices kept in a folder, or made anew each time where there is no folder."""

    folder: Path | None

    def fetch(self, facts: Callable[[], Facts], make: Callable[[], LabelledSlices]) -> LabelledSlices:
        """Slices from the cache, or made and kept.

        Parameters
        ----------
        facts
            Gives plain values that the slices depend on, all of them. Not asked where nothing is kept.

        Raises
        ------
        OutputError
            If the folder cannot be written to.
        """
        if self.folder is None:
            return make()
        code = {"format": _FORMAT, "infnet": __version__, "opencv": cv2.__version__, "numpy": np.__version__}
        key = _hash(json.dumps({"code": code} | facts(), sort_keys=True).encode())[:32]
        entry = self.folder / f"{key}.json"
        if entry.is_file():
            try:
                return _read(entry)
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                logger.info("cache entry %s does not fit (%s) and is made again", entry, error)
        slices = make()
        prepare_folder(self.folder)
        _write(entry, slices)
        return slices


def source_facts(root: Path, source: SourceConfig, size: int, *, neighbours: bool = False) -> Facts:
    """What the slices of a source depend on.

    Parameters
    ----------
    size : pixels
        Side of the square network input.
    neighbours
        Whether the planes below and above belong to them.

    Raises
    ------
    DataError
        If there are no slices.
    """
    names = {path.stem for path in chosen_slices(root, source)}
    folder = root / source.folder
    files = (
        p
        for kind in (image_folder(folder).name, "Edge", "Ignore", "Below", "Above")
        for p in sorted((folder / kind).glob("*"))
        if p.stem in names
    )
    # All masks decide together how they are read.
    masks = sorted(mask_folder(folder).glob("*"))
    if source.classes and folder / source.classes != mask_folder(folder):
        masks += sorted((folder / source.classes).glob("*"))
    states = [(path, path.stat()) for path in (*files, *masks)]
    # These three do not change the slices.
    prepared = replace(source, name="", draws=0, teacher_share=0.0)
    return {
        "source": asdict(prepared),
        "folder": str(folder.resolve()),
        "size": size,
        "neighbours": neighbours,
        "files": [(str(p.relative_to(folder)), state.st_size, state.st_mtime_ns) for p, state in states],
    }


def _read(entry: Path) -> LabelledSlices:
    """Read an entry, with a ValueError if it is not what was written."""
    about = json.loads(entry.read_text("utf-8"))
    stored = entry.with_suffix(".npy").read_bytes()
    if _hash(stored) != about["sha256"]:
        raise ValueError("the pixels have another hash")
    planes = np.load(io.BytesIO(stored), allow_pickle=False)
    return LabelledSlices(tuple(about["names"]), **dict(zip(about["planes"], planes, strict=True)))


def _write(entry: Path, slices: LabelledSlices) -> None:
    buffer = io.BytesIO()
    planes = slices.planes()
    np.save(buffer, np.stack(list(planes.values())), allow_pickle=False)
    stored = buffer.getbuffer()
    with atomic_write(entry.with_suffix(".npy")) as file:
        file.write(stored)
    with atomic_write(entry) as file:
        file.write(
            json.dumps({"sha256": _hash(stored), "names": slices.names, "planes": list(planes)}).encode()
        )


def _hash(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()
