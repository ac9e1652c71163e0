"""The labelled volumes with two readers, the scans without infection, and what infnet marks in both.

A volume takes minutes, so masks are kept in a folder and are read from there the next time. All arrays are
in LPS: (slices, rows, columns), slices from the feet.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import HEALTHY, healthy_series

from infnet_runtime import CtVolume, Segmenter, load
from infnet_runtime.arrays import AnyArray, BoolArray, ByteArray
from infnet_runtime.io import open_scan
from infnet_runtime.io.lung_masks import read_lungs

NOT_READ = 255
"""In labels of the second reader: a slice that was not read."""

_FIRST = "radiopaedia-covid-volumes"
_MORE = "radiopaedia-covid-volumes-2"
_SECOND = Path("radiopaedia-second-reader")
_PIECES = Path("healthy-ct-volumes")
_NORMAL = Path("iq-othnccd-normal")

NEVER = "never"
PSEUDO_EARLY = "pseudo-labels, first two stages"
MANUAL = "manual labels"


@dataclass(frozen=True)
class Known:
    """A labelled volume, and what of it the shipped model has seen.

    Parameters
    ----------
    training
        What of its pictures was in training: by ``train/configs/default.toml`` and the card.
    """

    name: str
    folder: str
    patient: str
    training: str


VOLUMES = (
    Known("radiopaedia_4_85506_1", _FIRST, "4", NEVER),
    Known("radiopaedia_29_86491_1", _FIRST, "29", PSEUDO_EARLY),
    Known("radiopaedia_29_86490_1", _MORE, "29", PSEUDO_EARLY),
    Known("radiopaedia_10_85902_1", _MORE, "10", MANUAL),
    Known("radiopaedia_10_85902_3", _MORE, "10", MANUAL),
    Known("radiopaedia_7_85703_0", _FIRST, "7", MANUAL),
)


@dataclass(frozen=True, eq=False)
class Marked:
    """What infnet made of one scan.

    Parameters
    ----------
    infection, lungs : (slices, rows, columns)
        Lungs of either side.
    by
        Model, backend and precision, as the provenance names them.
    """

    infection: BoolArray
    lungs: BoolArray
    by: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Case:
    """A labelled volume with its two readers.

    Parameters
    ----------
    grey : (slices, rows, columns), 0 to 255
    lungs
        As labelled by the source.
    first, second
        Infection by each of the readers.
    covered : (slices,)
        Slices that the second reader read.
    """

    known: Known
    voxel_ml: float
    grey: ByteArray
    lungs: BoolArray
    first: BoolArray
    second: BoolArray
    covered: BoolArray


@dataclass(frozen=True, eq=False)
class Healthy:
    """An examination without infection, in one or several pieces, or pictures of several examinations."""

    name: str
    pieces: tuple[CtVolume, ...]
    note: str = ""

    @property
    def has_size(self) -> bool:
        """Whether its voxels have a size; those of pictures have none."""
        return all(piece.grid.has_size for piece in self.pieces)


def labelled_case(data: Path, known: Known) -> Case:
    """Read a volume and the labels of both readers."""
    from infnet_train.data.volumes import labels_on

    scan = scan_of(data, known)
    beside = data / known.folder
    first = labels_on(scan, beside / f"{known.name}_infection.nii.gz")
    second = labels_on(scan, data / _SECOND / f"{known.name}_infection2.nii.gz")
    return Case(
        known=known,
        voxel_ml=scan.voxel_volume_ml,
        grey=np.asarray(scan.to_lps(), np.uint8),
        lungs=labels_on(scan, beside / f"{known.name}_lung.nii.gz") != 0,
        first=np.asarray(first != 0),
        second=np.asarray((second != 0) & (second != NOT_READ)),
        covered=covered_slices(second),
    )


def covered_slices(second: AnyArray) -> BoolArray:
    """Slices that were read, (slices,); a slice is read as a whole or not at all.

    Examples
    --------
    >>> covered_slices(np.array([[[255, 255]], [[0, 1]]]))
    array([False,  True])
    """
    unread = second == NOT_READ
    part = unread.any(axis=(1, 2)) & ~unread.all(axis=(1, 2))
    if part.any():
        sys.exit(f"slices {np.flatnonzero(part).tolist()} were read in part; expected whole slices")
    return ~unread.all(axis=(1, 2))


def healthy_examinations(data: Path) -> Iterator[Healthy]:
    """Examinations without infection: of those in HU the first was in no training, pictures neither."""
    from infnet_train.data.negatives import normal_files

    yield Healthy(HEALTHY.name, (healthy_series(data),))
    pictures = [open_scan(path).volume for path in normal_files(data / _NORMAL, held_back=True)]
    yield Healthy("IQ-OTH-NCCD-normal", tuple(pictures), "slices one by one, held back")
    for name, note in (
        ("LIDC-IDRI-0002", "two pieces, in training"),
        ("Lung_Dx-A0002-B40f", "two pieces, 8 mm, in training"),
        ("Lung_Dx-A0002-B70f", "the same, sharp kernel, in training"),
    ):
        paths = sorted((data / _PIECES).glob(f"{name}_*_ct.nii.gz"))
        yield Healthy(name, tuple(open_scan(path).volume for path in paths), note)


def options_of_masks(description: str | None) -> argparse.ArgumentParser:
    """What a benchmark is asked that makes masks and keeps them."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--masks", type=Path, required=True, help="folder that keeps the masks")
    parser.add_argument("--model", type=Path, help="the shipped one where absent")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision", default="auto", help="f32 gives what processors without bf16 give")
    parser.add_argument("--lungs-by", default="auto", help="network or threshold")
    parser.add_argument("--json", type=Path, help="write every number here")
    return parser


class Masks:
    """Masks of one model, made where they are not kept yet.

    Parameters
    ----------
    folder
        Where they are kept.
    model
        The shipped one where absent; opened only if a mask is missing.
    keep_flat_marks
        As for ``Segmenter.predict``.
    lungs_by, precision
        As for ``load``.
    """

    def __init__(
        self,
        folder: Path,
        model: Path | None = None,
        *,
        backend: str = "auto",
        keep_flat_marks: bool = False,
        lungs_by: str = "auto",
        precision: str = "auto",
    ) -> None:
        self._folder, self._model, self._backend = folder, model, backend
        self._keep_flat_marks, self._lungs_by, self._precision = keep_flat_marks, lungs_by, precision
        self._segmenter: Segmenter | None = None
        self._by: dict[str, Any] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @classmethod
    def of_options(cls, options: argparse.Namespace, *, keep_flat_marks: bool = False) -> "Masks":
        """As a command line asks for them, that of :func:`options_of_masks`."""
        return cls(
            options.masks,
            options.model,
            backend=options.backend,
            keep_flat_marks=keep_flat_marks,
            lungs_by=options.lungs_by,
            precision=options.precision,
        )

    def of(self, name: str, scan: CtVolume, lungs: Path | None = None) -> Marked:
        """Masks of a scan.

        Parameters
        ----------
        name
            Of the file that keeps them.
        lungs
            Lung mask on the grid of the scan; found where absent.
        """
        file = self._folder / f"{name}.npz"
        marked = read_marked(file) if file.exists() else self._make(file, scan, lungs)
        if self._by is None:
            self._by = marked.by
        elif self._by != marked.by:
            sys.exit(f"{file} is by {marked.by}, the others by {self._by}; start with an empty folder")
        return marked

    @property
    def by(self) -> dict[str, Any]:
        """What made the masks; the same for all."""
        return dict(self._by or {})

    def close(self) -> None:
        """Let go of the model."""
        if self._segmenter is not None:
            self._segmenter.close()

    def _make(self, file: Path, scan: CtVolume, lungs: Path | None) -> Marked:
        if self._segmenter is None:
            self._segmenter = load(
                self._model,
                backend=self._backend,
                precision=self._precision,
                threads=1,
                lungs_by=self._lungs_by,
            )
        print(f"segmenting {file.stem}", file=sys.stderr, flush=True)
        result = self._segmenter.predict(
            scan, lungs=lungs and read_lungs(lungs, scan), keep_flat_marks=self._keep_flat_marks
        )
        made = result.provenance
        names = (
            "model",
            "model_version",
            "model_sha256",
            "backend",
            "precision",
            "threshold",
            "keep_flat_marks",
        )
        marked = Marked(
            np.asarray(scan.to_lps(result.mask) > 0),
            np.asarray(scan.to_lps(result.lungs) > 0),
            {name: getattr(made, name) for name in names},
        )
        write_marked(file, marked)
        return marked


def write_marked(file: Path, marked: Marked) -> None:
    """Keep masks in a file."""
    packed = {name: np.packbits(getattr(marked, name)) for name in ("infection", "lungs")}
    shape = np.array(marked.infection.shape)
    np.savez_compressed(file, shape=shape, by=np.array(json.dumps(marked.by)), **packed)


def read_marked(file: Path) -> Marked:
    """Masks that were kept."""
    with np.load(file) as kept:
        shape = tuple(kept["shape"].tolist())
        masks = [
            np.unpackbits(kept[name], count=int(np.prod(shape))).reshape(shape).astype(bool)
            for name in ("infection", "lungs")
        ]
        return Marked(masks[0], masks[1], json.loads(str(kept["by"])))


def masks_of_case(data: Path, known: Known, masks: Masks) -> tuple[Marked, Marked]:
    """What infnet marks in a labelled volume: in lungs that it finds, and in those that are labelled."""
    scan, lungs = scan_of(data, known), data / known.folder / f"{known.name}_lung.nii.gz"
    return masks.of(known.name, scan), masks.of(f"{known.name}-lungs-given", scan, lungs)


def masks_of_healthy(healthy: Healthy, masks: Masks) -> list[Marked]:
    """What infnet marks in each of the pieces."""
    return [masks.of(f"{healthy.name}-{i}", piece) for i, piece in enumerate(healthy.pieces)]


def scan_of(data: Path, known: Known) -> CtVolume:
    """A labelled volume as it is given to infnet."""
    return open_scan(data / known.folder / f"{known.name}_ct.nii.gz").volume
