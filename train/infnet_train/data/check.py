"""What is in a folder of training data, and what is wrong with it, before a run stumbles over it.

Every picture is read. What is wrong is collected, not raised at the first find. ``data`` is the root of
COVID-SemiSeg, or one folder with ``Imgs`` and ``GT`` (or ``images`` and ``masks``).
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from infnet_runtime.arrays import AnyArray, ByteArray
from infnet_train.data.class_check import ClassCheck, ClassReport
from infnet_train.data.classes import FOLDER
from infnet_train.data.edges import EdgeDefinition, edges
from infnet_train.data.masks import MaskScale, folder_scale, levels_of
from infnet_train.data.pictures import (
    EXPECTED,
    INFECTED,
    LAYOUTS,
    DataError,
    check_size,
    image_folder,
    instead_of_slices,
    is_coloured,
    mask_of,
    pictures_in,
    read_edge,
    read_grey,
    read_stored,
    same_names,
)
from infnet_train.data.reserved import is_reserved
from infnet_train.data.upright import Lie, lie_of_files

LabelKind = Literal["hard", "soft", "colour", "none"]
"""Only 0 and one value; values between; colours, of classes or of what no training reads; no labels."""
FoundEdge = Literal["absent", "gradient", "canny", "other"]
"""No edge maps; all of them the nonzero gradient of the mask, or its Canny edge; anything else."""
Part = Literal["training", "testing", "unknown"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Problem:
    """Something to repair: number as in ``docs/errors.md``, file below the root, what was found."""

    code: int
    file: str
    message: str


@dataclass(frozen=True)
class FolderReport:
    """One folder with ``Imgs`` and ``GT``.

    Parameters
    ----------
    folder
        Below the root, ``.`` for the root itself.
    part
        By the name of the path: below ``Training...`` or ``Testing...``.
    pairs
        Slices that have a mask of the same name.
    rows, columns : pixels
        Smallest and largest of the slices; absent if none could be read.
    label_values
        Smallest and largest as stored; absent if no grey label could be read.
    empty_masks
        Names of masks without infection.
    edges, edges_as_gradient, edges_as_canny
        Number of edge maps of the pairs, and of those that equal the edge of their mask by a definition;
        those of empty masks equal both.
    lungs
        Whether the lungs of some slices lie side by side, as stored. Sideways is not a problem: the public
        set is stored that way.
    reserved
        Number of slices of cases that are kept for a final examination, by their names. Not a problem: the
        public set contains them.
    classes
        Of the class masks in ``Classes``, or of masks whose colours are classes; absent where there are none.
    """

    folder: str
    part: Part
    images: int
    masks: int
    pairs: int
    rows: tuple[int, int] | None
    columns: tuple[int, int] | None
    labels: LabelKind
    label_values: tuple[int, int] | None
    empty_masks: tuple[str, ...]
    edge_kind: FoundEdge
    edges: int
    edges_as_gradient: int
    edges_as_canny: int
    reserved: int
    lungs: Lie
    classes: ClassReport | None


@dataclass(frozen=True)
class DataReport:
    """Everything found; ``overlap`` is absent where there are not both training and testing folders."""

    root: str
    folders: tuple[FolderReport, ...]
    overlap: tuple[tuple[str, str], ...] | None
    problems: tuple[Problem, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"schema": "infnet.data-check/1", **dataclasses.asdict(self)}

    def to_text(self) -> str:
        """A few lines for each folder, then the overlap and every problem."""
        lines = [line for folder in self.folders for line in _folder_lines(folder)]
        if self.overlap is not None:
            lines.append(f"overlap    {len(self.overlap)} slices both in training and in testing")
        lines.append(f"reserved   {_reserved_text(self.folders)}")
        lines.append(f"problems   {len(self.problems) or 'none'}")
        lines += [f"  [INF-{p.code}] {p.file}: {p.message}" for p in self.problems]
        return "\n".join(lines)


def check_data(root: Path, *, hard_labels: bool = False) -> DataReport:
    """Read everything below a data folder.

    Parameters
    ----------
    hard_labels
        Whether the masks are said to be 0 and 255 only, so that a value between is a problem.

    Raises
    ------
    DataError
        If there is no folder with ``Imgs`` or ``GT``. Everything else goes into the report.
    """
    folders = _slice_folders(root)
    if not folders:
        raise DataError(
            f"no folder Imgs or GT in {root}; expected the root of COVID-SemiSeg, or a folder with "
            f"{EXPECTED}",
            code=3130,
        )
    problems: list[Problem] = []
    checks = [_FolderCheck(root, folder, problems, hard_labels=hard_labels) for folder in folders]
    reports = tuple(check.run() for check in checks)
    overlap = _overlap(checks)
    problems += [
        Problem(3136, one, f"the same picture as {other}; remove it from the training folder")
        for one, other in overlap or ()
    ]
    return DataReport(str(root), reports, overlap, tuple(problems))


class _FolderCheck:
    """State of the check of one folder; what is wrong is added to ``problems``."""

    def __init__(self, root: Path, folder: Path, problems: list[Problem], *, hard_labels: bool) -> None:
        self._root, self._folder, self._problems = root, folder, problems
        self._hard_labels = hard_labels
        self.part = _part(folder.relative_to(root))
        self.hashes: dict[str, str] = {}  # of the pixels of a slice -> file
        self._sizes: list[tuple[int, int]] = []
        self._values = np.zeros(256, np.bool_)
        self._coloured = False
        self._masks = folder / "GT"
        self._scale = MaskScale()
        self._used: set[Path] = set()
        self._empty: list[str] = []
        self._edges = 0
        self._as: dict[EdgeDefinition, int] = {"gradient": 0, "canny": 0}
        self._classes: ClassCheck | None = None

    def run(self) -> FolderReport:
        where = self._tried(self._folder, lambda: image_folder(self._folder)) or self._folder / "Imgs"
        self._masks = self._folder / LAYOUTS[where.name]
        images, masks = pictures_in(where), pictures_in(self._masks)
        if not images:
            self._note(3111, where, f"no slices; {instead_of_slices(where)}")
        for one, other in same_names(images):
            self._note(3116, other, f"has one name with {one.name} and would share its mask; remove one")
        self._decide_scale()
        self._classes = self._class_check()
        pairs = sum(self._check_slice(path) for path in images)
        for path in masks:
            if path not in self._used:
                self._read_labels(path)  # it may be damaged as well
                self._note(
                    3132,
                    path,
                    f"no slice of this name, expected {where.name}/{path.stem}.jpg and a .png mask",
                )
        names = {path.stem for path in images}
        for path in pictures_in(self._folder / FOLDER):
            if path.stem not in names:
                self._note(3132, path, "no slice of this name; remove it, or put its slice there")
        found = np.flatnonzero(self._values)
        return FolderReport(
            folder=self._name(self._folder),
            part=self.part,
            images=len(images),
            masks=len(masks),
            pairs=pairs,
            rows=_extremes([rows for rows, _ in self._sizes]),
            columns=_extremes([columns for _, columns in self._sizes]),
            labels=self._label_kind(),
            label_values=_extremes(found.tolist()),
            empty_masks=tuple(self._empty),
            edge_kind=self._edge_kind(),
            edges=self._edges,
            edges_as_gradient=self._as["gradient"],
            edges_as_canny=self._as["canny"],
            reserved=sum(is_reserved(path.stem) for path in images),
            lungs=lie_of_files(images),
            classes=self._classes.report() if self._classes else None,
        )

    def _class_check(self) -> ClassCheck | None:
        """Masks in other colours than those of classes are no problem of a folder, training refuses them."""
        folder = self._folder / FOLDER
        if folder.is_dir():
            return self._tried(folder, lambda: ClassCheck(folder, are_masks=False))
        if not self._coloured:
            return None
        try:
            return ClassCheck(self._masks, are_masks=True)
        except DataError:
            return None

    def _check_classes(self, image: Path, mask: ByteArray | None) -> None:
        check = self._classes
        if check is not None:
            infected = None if mask is None or self._coloured else mask > INFECTED
            self._tried(image, lambda: check.look_at(image, infected))

    def _decide_scale(self) -> None:
        """How the masks are stored; classes as colours are no problem of a folder, training refuses them."""
        try:
            self._scale = folder_scale(self._masks)
        except DataError as error:
            self._coloured = any(
                stored is not None and stored.dtype == np.uint8 and is_coloured(stored)
                for stored in map(_stored, pictures_in(self._masks))
            )
            if not self._coloured:
                self._note(error.code, self._masks, str(error.args[0]))

    def _check_slice(self, path: Path) -> bool:
        """Whether the slice has a mask."""
        image = self._tried(path, lambda: read_grey(path))
        if image is not None:
            rows, columns = image.shape
            self._sizes.append((rows, columns))
            digest = hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()
            self.hashes.setdefault(digest, self._name(path))
        mask_path = self._tried(path, lambda: mask_of(path))
        if mask_path is None:
            return False
        self._used.add(mask_path)
        mask = self._read_labels(mask_path)
        self._check_classes(path, mask)
        if mask is not None:
            if image is not None:
                self._tried(path, lambda: check_size(path, image, mask))
            self._check_edge(path, mask)
        return True

    def _read_labels(self, path: Path) -> ByteArray | None:
        stored = self._tried(path, lambda: read_stored(path))
        if stored is None:
            return None
        if self._coloured and stored.dtype == np.uint8 and is_coloured(stored):
            return np.asarray(stored.max(axis=2), np.uint8)
        levels = self._tried(path, lambda: levels_of(stored, path))
        if levels is None:
            return None
        mask = self._scale.labels(levels)
        found = np.bincount(np.minimum(levels, 255).ravel(), minlength=256) > 0
        self._values |= found
        between = np.flatnonzero(found[1:255]) + 1
        if self._hard_labels and len(between) and self._scale.label is None:
            self._note(
                3137,
                path,
                f"has {len(between)} values between 0 and 255 (from {between[0]} to {between[-1]}), expected "
                "0 and 255 only; write it again, or check it as soft labels",
            )
        if not (mask > INFECTED).any():
            self._empty.append(path.stem)
        return mask

    def _check_edge(self, image: Path, mask: ByteArray) -> None:
        path = self._folder / "Edge" / f"{image.stem}.png"
        if not path.is_file():
            return
        self._edges += 1
        edge = self._tried(path, lambda: read_edge(image, mask))
        if edge is not None:
            for definition in self._as:
                expected = edges(mask > INFECTED, definition)
                self._as[definition] += np.array_equal(edge > INFECTED, expected)

    def _label_kind(self) -> LabelKind:
        if self._coloured:
            return "colour"
        if not self._values.any():
            return "none"
        is_soft = self._scale.label is None and self._values[1:255].any()
        return "soft" if is_soft else "hard"

    def _edge_kind(self) -> FoundEdge:
        if not self._edges:
            return "absent"
        return next((kind for kind, count in self._as.items() if count == self._edges), "other")

    def _tried(self, path: Path, read: Callable[[], _T]) -> _T | None:
        """What ``read`` returns; an error becomes a problem of the file."""
        try:
            return read()
        except DataError as error:
            self._note(error.code, path, str(error.args[0]).removeprefix(f"{path} "))
            return None

    def _note(self, code: int, path: Path, message: str) -> None:
        self._problems.append(Problem(code, self._name(path), message))

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()


def _stored(path: Path) -> AnyArray | None:
    """A picture, None where it is damaged; that is said elsewhere."""
    try:
        return read_stored(path)
    except DataError:
        return None


def _slice_folders(root: Path) -> list[Path]:
    names = (*LAYOUTS, *LAYOUTS.values())
    if any((root / name).is_dir() for name in names):
        return [root]
    return sorted({path.parent for name in names for path in root.rglob(name) if path.is_dir()})


def _part(folder: Path) -> Part:
    for name in folder.parts:
        if name.lower().startswith("train"):
            return "training"
        if name.lower().startswith("test"):
            return "testing"
    return "unknown"


def _overlap(checks: list[_FolderCheck]) -> tuple[tuple[str, str], ...] | None:
    """Files of training and testing with the same pixels."""
    if not {"training", "testing"} <= {check.part for check in checks}:
        return None
    testing = {d: file for c in checks if c.part == "testing" for d, file in c.hashes.items()}

    def pairs() -> Iterator[tuple[str, str]]:
        for check in checks:
            if check.part == "training":
                yield from ((file, testing[d]) for d, file in check.hashes.items() if d in testing)

    return tuple(pairs())


def _extremes(values: list[int]) -> tuple[int, int] | None:
    return (min(values), max(values)) if values else None


def _reserved_text(folders: tuple[FolderReport, ...]) -> str:
    found = [f"{folder.reserved} in {folder.folder}" for folder in folders if folder.reserved]
    if not found:
        return "no slice of a reserved case"
    return f"slices of reserved cases, to be left out of any model that is shipped: {', '.join(found)}"


_LUNGS: dict[Lie, str] = {
    "upright": "side by side, as stored",
    "sideways": "one above the other: turned by a quarter, to be read with turn transpose or transpose_flip",
    "unknown": "too few to tell whether the slices are upright",
}


def _folder_lines(report: FolderReport) -> list[str]:
    size = "no readable slice"
    if report.rows and report.columns:
        (top, bottom), (left, right) = report.rows, report.columns
        size = f"{top}-{bottom} rows x {left}-{right} columns"
    values = "" if report.label_values is None else " {}..{}".format(*report.label_values)
    labels = f"{report.labels}{values}, {len(report.empty_masks)} empty"
    if report.labels == "colour":
        labels = "colour: classes" if report.classes else "colour, which the training does not read"
    edges = {
        "absent": "absent; the training makes its own from the masks",
        "gradient": f"{report.edges}, all the gradient of their mask",
        "canny": f"{report.edges}, all the Canny edge of their mask",
        "other": f"{report.edges}, of which {report.edges_as_gradient} the gradient of their mask and "
        f"{report.edges_as_canny} its Canny edge",
    }[report.edge_kind]
    classes = [] if report.classes is None else [f"  classes  {report.classes.to_text()}"]
    return [
        f"folder     {report.folder} ({report.part})",
        f"  slices   {report.images}, masks {report.masks}, pairs {report.pairs}; {size}",
        f"  labels   {labels}",
        *classes,
        f"  edges    {edges}",
        f"  lungs    {_LUNGS[report.lungs]}",
    ]
