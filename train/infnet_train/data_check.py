"""What is in a folder of training data, and what is wrong with it, before a run stumbles over it.

Every picture is read. What is wrong is collected, not raised at the first find. ``data`` is the root of
COVID-SemiSeg, or one folder with ``Imgs`` and ``GT``.
"""

import dataclasses
import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from infnet_train.datasets import ByteArray, DataError, edge_of

LabelKind = Literal["hard", "soft", "colour", "none"]
"""Only 0 and 255; values between; classes as colours, which this training does not read; no labels."""
EdgeKind = Literal["absent", "gradient", "other"]
"""No edge maps; all of them the nonzero gradient of the mask; at least one with another definition."""
Part = Literal["training", "testing", "unknown"]

_ENDINGS = (".jpg", ".jpeg", ".png")
_PNG_MAGIC, _JPEG_MAGIC, _JPEG_END = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\xd9"
_INFECTED = 127  # labels above it are infection


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
        Smallest and largest; absent if no label could be read.
    empty_masks
        Names of masks without a value above 127.
    edges, edges_as_gradient
        Number of edge maps of the pairs, and of those that equal the gradient of their mask.
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
    edge_kind: EdgeKind
    edges: int
    edges_as_gradient: int


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
        lines.append(f"problems   {len(self.problems) or 'none'}")
        lines += [f"  [INF-{p.code}] {p.file}: {p.message}" for p in self.problems]
        return "\n".join(lines)


def check_data(root: Path) -> DataReport:
    """Read everything below a data folder.

    Raises
    ------
    DataError
        If there is no folder with ``Imgs`` or ``GT``. Everything else goes into the report.
    """
    folders = _slice_folders(root)
    if not folders:
        raise DataError(
            f"no folder Imgs or GT in {root}; expected the root of COVID-SemiSeg, or a folder with "
            "Imgs/<name>.jpg and GT/<name>.png",
            code=3130,
        )
    problems: list[Problem] = []
    checks = [_FolderCheck(root, folder, problems) for folder in folders]
    reports = tuple(check.run() for check in checks)
    overlap = _overlap(checks)
    problems += [
        Problem(3136, one, f"the same picture as {other}; remove it from the training folder")
        for one, other in overlap or ()
    ]
    return DataReport(str(root), reports, overlap, tuple(problems))


def read_picture(path: Path) -> npt.NDArray[np.generic]:
    """Pixels as stored, (rows, columns) or (rows, columns, channels), of a file that is whole.

    A decoder fills what is missing with grey, so the end of the file and the checksums are looked at first.

    Raises
    ------
    DataError
        If the file cannot be read, is damaged, or is neither PNG nor JPEG.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", code=3131) from error
    fault = _fault(content)
    pixels = None if fault else cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise DataError(f"{fault or 'cannot be decoded'}; copy it again from its source", code=3131)
    return np.asarray(pixels)


class _FolderCheck:
    """State of the check of one folder; what is wrong is added to ``problems``."""

    def __init__(self, root: Path, folder: Path, problems: list[Problem]) -> None:
        self._root, self._folder, self._problems = root, folder, problems
        self.part = _part(folder.relative_to(root))
        self.hashes: dict[str, str] = {}  # of the pixels of a slice -> file
        self._sizes: list[tuple[int, int]] = []
        self._values = np.zeros(256, np.bool_)
        self._coloured = False
        self._empty: list[str] = []
        self._edges = self._gradients = 0

    def run(self) -> FolderReport:
        images, masks = _pictures(self._folder / "Imgs"), _pictures(self._folder / "GT")
        by_name = {path.stem: path for path in masks if path.suffix.lower() == ".png"}
        names = {path.stem for path in images}
        for path in images:
            self._check_slice(path, by_name.get(path.stem))
        for path in masks:
            if path.stem not in names or path.suffix.lower() != ".png":
                self._read_labels(path)  # it may be damaged as well
                self._note(
                    3132, path, f"no slice of this name, expected Imgs/{path.stem}.jpg and a .png mask"
                )
        found = np.flatnonzero(self._values)
        if len(found) and 0 < found[-1] <= _INFECTED:
            self._note(
                3135,
                self._folder / "GT",
                f"no label is above {found[-1]}, expected 0..255 with infection above {_INFECTED}; "
                "all masks would count as empty",
            )
        return FolderReport(
            folder=self._name(self._folder),
            part=self.part,
            images=len(images),
            masks=len(masks),
            pairs=sum(path.stem in by_name for path in images),
            rows=_extremes([rows for rows, _ in self._sizes]),
            columns=_extremes([columns for _, columns in self._sizes]),
            labels=self._label_kind(),
            label_values=_extremes(found.tolist()),
            empty_masks=tuple(self._empty),
            edge_kind=self._edge_kind(),
            edges=self._edges,
            edges_as_gradient=self._gradients,
        )

    def _check_slice(self, path: Path, mask_path: Path | None) -> None:
        image = self._read(path)
        if image is not None:
            rows, columns = image.shape[:2]
            self._sizes.append((rows, columns))
            digest = hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()
            self.hashes.setdefault(digest, self._name(path))
        if mask_path is None:
            self._note(3132, path, f"no mask of this name, expected GT/{path.stem}.png")
            return
        mask = self._read_labels(mask_path)
        if image is not None and mask is not None and image.shape[:2] != mask.shape:
            self._note(3133, path, f"is {image.shape[:2]}, its mask is {mask.shape}; expected equal sizes")
        self._check_edge(path.stem, mask)

    def _read_labels(self, path: Path) -> ByteArray | None:
        mask = self._read(path)
        if mask is None:
            return None
        if mask.ndim == 3:
            self._coloured = True
            return np.asarray(mask.max(axis=2), np.uint8)
        self._values |= np.bincount(mask.ravel(), minlength=256) > 0
        if not (mask > _INFECTED).any():
            self._empty.append(path.stem)
        return mask

    def _check_edge(self, name: str, mask: ByteArray | None) -> None:
        path = self._folder / "Edge" / f"{name}.png"
        if not path.is_file():
            return
        self._edges += 1
        edge = self._read(path)
        if edge is None or mask is None:
            return
        if edge.shape != mask.shape:
            self._note(3133, path, f"is {edge.shape}, its mask is {mask.shape}; expected equal sizes")
        elif min(mask.shape) > 1:  # a gradient needs two pixels
            self._gradients += np.array_equal(edge > _INFECTED, edge_of(mask > _INFECTED))

    def _label_kind(self) -> LabelKind:
        if self._coloured:
            return "colour"
        if not self._values.any():
            return "none"
        return "soft" if self._values[1:255].any() else "hard"

    def _edge_kind(self) -> EdgeKind:
        if not self._edges:
            return "absent"
        return "gradient" if self._gradients == self._edges else "other"

    def _read(self, path: Path) -> ByteArray | None:
        try:
            pixels = read_picture(path)
        except DataError as error:
            self._note(error.code, path, str(error.args[0]))
            return None
        if pixels.dtype != np.uint8:
            self._note(3134, path, f"values are {pixels.dtype}, expected 8 bits, 0..255")
            return None
        return pixels.astype(np.uint8, copy=False)

    def _note(self, code: int, path: Path, message: str) -> None:
        self._problems.append(Problem(code, self._name(path), message))

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()


def _slice_folders(root: Path) -> list[Path]:
    if any((root / sub).is_dir() for sub in ("Imgs", "GT")):
        return [root]
    return sorted({path.parent for sub in ("Imgs", "GT") for path in root.rglob(sub) if path.is_dir()})


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in _ENDINGS)


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


def _fault(content: bytes) -> str:
    """What is wrong with the bytes of a picture; empty if nothing was seen."""
    if not content:
        return "is empty"
    if content.startswith(_JPEG_MAGIC):
        return "" if content.rstrip(b"\0").endswith(_JPEG_END) else "ends early"
    if not content.startswith(_PNG_MAGIC):
        return f"is neither PNG nor JPEG (it begins with {content[:4]!r})"
    position, kind = len(_PNG_MAGIC), b""
    while kind != b"IEND":
        if position + 12 > len(content):
            return "ends early"
        length, kind = struct.unpack_from(">I4s", content, position)
        end = position + 12 + length
        if end > len(content):
            return "ends early"
        if zlib.crc32(content[position + 4 : end - 4]) != struct.unpack_from(">I", content, end - 4)[0]:
            return f"is damaged: the checksum of its part {kind!r} is wrong"
        position = end
    return ""


def _folder_lines(report: FolderReport) -> list[str]:
    size = "no readable slice"
    if report.rows and report.columns:
        (top, bottom), (left, right) = report.rows, report.columns
        size = f"{top}-{bottom} rows x {left}-{right} columns"
    values = "" if report.label_values is None else " {}..{}".format(*report.label_values)
    labels = f"{report.labels}{values}, {len(report.empty_masks)} empty"
    if report.labels == "colour":
        labels = "colour: classes, which the training does not read"
    edges = {
        "absent": "absent; the training makes its own from the masks",
        "gradient": f"{report.edges}, all the gradient of their mask",
        "other": f"{report.edges}, of which {report.edges_as_gradient} the gradient of their mask",
    }[report.edge_kind]
    return [
        f"folder     {report.folder} ({report.part})",
        f"  slices   {report.images}, masks {report.masks}, pairs {report.pairs}; {size}",
        f"  labels   {labels}",
        f"  edges    {edges}",
    ]
