"""Labelled slices from folders, upright and at network size, ready to draw batches from.

Files and their layout are the business of :mod:`~infnet_train.data.pictures`. Slices go through
``infnet_runtime.slices.preprocess``, the same code as at inference, and are kept as 8-bit arrays in memory.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import BoolArray, ByteArray, FloatArray
from infnet_runtime.slices.preprocess import resize
from infnet_train.data.classes import (
    BACKGROUND,
    IGNORED,
    class_mask_of,
    read_classified,
    resized_classes,
    unknown_classes,
)
from infnet_train.data.edges import edges
from infnet_train.data.masks import read_pair
from infnet_train.data.pictures import (
    EXPECTED,
    INFECTED,
    DataError,
    read_beside,
    read_edge,
    slices_in,
    upright,
)
from infnet_train.data.source import SourceConfig

# For dropping false labels outside the lungs; sizes in pixels of the slices, about 300 wide.
_DARK = 0.45
_HULL_BLUR = 1.5
_HULL_MIN_FRACTION = 0.015
_HULL_GROWTH = 9
_MOST_NAMES = 8  # of folders in a message


@dataclass(frozen=True)
class LabelledSlices:
    """Slices of one source at network size.

    Parameters
    ----------
    names
        File names without ending.
    images, masks, edges : (n, size, size), 0..255
        Grey, infection (soft where labels or the resize made it so) and its edge.
    ignore : (n, size, size), 0..255
        How much of a pixel is to be ignored; absent where nothing is.
    below, above : (n, size, size), 0..255
        Grey of the planes towards the feet and towards the head, the slice itself where they are not known;
        absent where none is.
    classes : (n, size, size)
        As in :mod:`~infnet_train.data.classes`, or the grey codes of the released code where the source says
        ``class_resize = "bilinear"``; absent where the source has none.
    """

    names: tuple[str, ...]
    images: ByteArray
    masks: ByteArray
    edges: ByteArray
    ignore: ByteArray | None = None
    below: ByteArray | None = None
    above: ByteArray | None = None
    classes: ByteArray | None = None

    def __len__(self) -> int:
        return len(self.names)

    def planes(self) -> dict[str, ByteArray]:
        """The arrays that there are, by name."""
        names = ("images", "masks", "edges", "ignore", "below", "above", "classes")
        found = {name: getattr(self, name) for name in names}
        return {name: array for name, array in found.items() if array is not None}

    def grey(self, chosen: slice | npt.NDArray[np.intp]) -> FloatArray:
        """Grey 0..1 of some slices for ``preprocess.normalise_planes``.

        Returns
        -------
        (n, 1, size, size), or (n, 3, size, size) with the planes below and above where they are known
        """
        planes = self.images[chosen][:, None]
        if self.below is not None and self.above is not None:
            planes = np.stack([self.below[chosen], planes[:, 0], self.above[chosen]], axis=1)
        return planes.astype(np.float32) / np.float32(255)

    def known_classes(self, chosen: int | slice) -> ByteArray:
        """Classes of some slices; of unknown class where the source has none."""
        if self.classes is not None:
            return self.classes[chosen]
        return unknown_classes(self.masks[chosen], None if self.ignore is None else self.ignore[chosen])


def load_source(root: Path, source: SourceConfig, size: int, *, neighbours: bool = False) -> LabelledSlices:
    """Read every slice of a source.

    Parameters
    ----------
    root
        The data folder.
    size : pixels
        Side of the square network input.
    neighbours
        Also the planes below and above, in the folders ``Below`` and ``Above``.

    Raises
    ------
    DataError
        If the folder is missing or empty, a mask or an edge map asked for is missing, sizes differ, or a file
        is refused.
    """
    chosen = chosen_slices(root, source)
    loaded = [_load_slice(path, source, size, neighbours=neighbours) for path in chosen]
    arrays = {name: np.stack([planes[name] for planes in loaded]) for name in ("images", "masks", "edges")}
    if any("ignore" in planes for planes in loaded):
        nothing = np.zeros((size, size), np.uint8)
        arrays["ignore"] = np.stack([planes.get("ignore", nothing) for planes in loaded])
    if any("below" in planes or "above" in planes for planes in loaded):
        for name in ("below", "above"):
            arrays[name] = np.stack([planes.get(name, planes["images"]) for planes in loaded])
    if source.classes:
        arrays["classes"] = np.stack([planes["classes"] for planes in loaded])
    return LabelledSlices(tuple(p.stem for p in chosen), **arrays)


def chosen_slices(root: Path, source: SourceConfig) -> list[Path]:
    """Files of the slices of a source, sorted by name.

    Raises
    ------
    DataError
        If there are none, or two of one name.
    """
    folder = root / source.folder
    _refuse_absent(root, source)
    images = slices_in(folder)
    chosen = [p for p in images if is_chosen(p.stem, source)]
    if not chosen:
        raise DataError(
            f"source '{source.name}': {len(images)} slices in {images[0].parent}, none of them chosen; "
            "expected names that match include and names",
            code=3111,
        )
    return chosen


def _refuse_absent(root: Path, source: SourceConfig) -> None:
    """Say which of the two is not there: the data folder, or the folder of a source in it."""
    if not root.is_dir() and not Path(source.folder).is_absolute():
        raise DataError(
            f"there is no data folder {root}; source '{source.name}' of the recipe expects "
            f"{source.folder}/ in it, with {EXPECTED}. Give the folder that holds it by --data",
            code=3111,
        )
    if not (root / source.folder).is_dir():
        there = sorted(path.name for path in root.iterdir() if path.is_dir())
        raise DataError(
            f"no slices in {root / source.folder}: source '{source.name}' of the recipe expects this folder, "
            f"with {EXPECTED}; {root} has {', '.join(there[:_MOST_NAMES]) or 'no folders'}. Give another "
            "--data, or set the folder of the source",
            code=3111,
        )


def regrade(image: ByteArray, source: SourceConfig) -> FloatArray:
    """Grey 0..1 from the grey scale of a source, see ``SourceConfig.grey_range``."""
    low, high = source.grey_range
    return np.asarray(np.clip((image.astype(np.float32) - low) / (high - low), 0, 1), np.float32)


def is_chosen(name: str, source: SourceConfig) -> bool:
    """Whether a source takes the slice of this name."""
    if source.names and name not in source.names:
        return False
    if source.include and not any(part in name for part in source.include):
        return False
    return not any(part in name for part in source.exclude)


def _load_slice(path: Path, source: SourceConfig, size: int, *, neighbours: bool) -> dict[str, ByteArray]:
    """Planes of one slice at network size, those that there are."""
    pair, classes = _read(path, source)
    image, mask = (upright(pixels, source.turn) for pixels in pair)
    grey = regrade(image, source)
    infected = mask > INFECTED
    soft = mask.astype(np.float32) / 255
    inside = _lung_hulls(grey) if source.inside_lungs else np.ones_like(infected)
    if (infected & inside).mean() < source.min_fraction:
        inside = np.zeros_like(infected)
    soft, infected = soft * inside, infected & inside
    if source.edge == "file":
        edge = (upright(read_edge(path, pair[1]), source.turn) > INFECTED) & inside
    else:
        edge = edges(infected, source.edge)
    if source.binarise:
        soft = infected.astype(np.float32)
    planes: dict[str, FloatArray] = {
        "images": grey,
        "masks": np.asarray(soft, np.float32),
        "edges": edge.astype(np.float32),
    }
    others = {"ignore": "Ignore"} | ({"below": "Below", "above": "Above"} if neighbours else {})
    for name, kind in others.items():
        pixels = read_beside(path, kind, pair[1])
        if pixels is not None:
            turned = upright(pixels, source.turn)
            planes[name] = (
                (turned > INFECTED).astype(np.float32) if name == "ignore" else regrade(turned, source)
            )
    ignored = planes["ignore"] > 0 if "ignore" in planes else np.zeros_like(infected)
    if classes is not None:
        classes = upright(classes, source.turn)
        ignored = ignored | (classes == IGNORED)
        if ignored.any():
            planes["ignore"] = ignored.astype(np.float32)
    small = np.rint(resize(np.stack(list(planes.values())), size, size) * 255).astype(np.uint8)
    made = dict(zip(planes, small, strict=True))
    if classes is not None:
        kept = np.where(ignored, IGNORED, np.where(inside, classes, BACKGROUND)).astype(np.uint8)
        where = class_mask_of(path, source.classes)
        made["classes"] = resized_classes(kept, size, source.class_resize, where)
    return made


def _read(path: Path, source: SourceConfig) -> tuple[tuple[ByteArray, ByteArray], ByteArray | None]:
    """A slice with its mask, and its classes where the source has them; as stored."""
    if not source.classes:
        return read_pair(path, soft=source.soft_labels), None
    grey, mask, classes = read_classified(path, source.classes, soft=source.soft_labels)
    return (grey, mask), classes


def _lung_hulls(grey: FloatArray) -> BoolArray:
    """Convex hull of each large dark region of a lung crop, grown a little.

    Enough to drop false labels on ribs, spine and image borders; the lung finder of the runtime works on
    whole scans and is not meant for slices that are cut at the lungs.
    """
    dark = (cv2.GaussianBlur(grey, (0, 0), _HULL_BLUR) < _DARK).astype(np.uint8)
    count, regions, statistics, _ = cv2.connectedComponentsWithStats(dark)
    hulls = np.zeros_like(dark)
    for label in range(1, count):
        if statistics[label, cv2.CC_STAT_AREA] < _HULL_MIN_FRACTION * dark.size:
            continue
        points = cv2.findNonZero((regions == label).astype(np.uint8))
        cv2.fillConvexPoly(hulls, cv2.convexHull(points), 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_HULL_GROWTH, _HULL_GROWTH))
    return cv2.dilate(hulls, kernel) > 0
