"""Labelled slices from folders, upright and at network size, ready to draw batches from.

The layout is that of COVID-SemiSeg: ``Imgs/<name>.jpg`` (or ``.png``), ``GT/<name>.png``. Slices go through
``infnet_runtime.preprocess``, the same code as at inference, and are kept as 8-bit arrays in memory.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from infnet_runtime.errors import InputError
from infnet_runtime.preprocess import resize
from infnet_train.config import SourceConfig, Turn

ByteArray = npt.NDArray[np.uint8]

_IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")
# For dropping false labels outside the lungs; sizes in pixels of the slices, about 300 wide.
_DARK = 0.45
_HULL_BLUR = 1.5
_HULL_MIN_FRACTION = 0.015
_HULL_GROWTH = 9


class DataError(InputError):
    """Training data are missing or damaged."""


@dataclass(frozen=True)
class LabelledSlices:
    """Slices of one source at network size.

    Parameters
    ----------
    names
        File names without ending.
    images, masks, edges : (n, size, size), 0..255
        Grey, infection (soft where labels or the resize made it so) and its edge.
    """

    names: tuple[str, ...]
    images: ByteArray
    masks: ByteArray
    edges: ByteArray

    def __len__(self) -> int:
        return len(self.names)


def load_source(root: Path, source: SourceConfig, size: int) -> LabelledSlices:
    """Read every slice of a source.

    Parameters
    ----------
    root
        The data folder.
    size : pixels
        Side of the square network input.

    Raises
    ------
    DataError
        If the folder is missing or empty, a mask is missing, sizes differ, or a file cannot be read.
    """
    chosen = chosen_slices(root, source)
    masks = root / source.folder / "GT"
    loaded = [_load_slice(path, masks / f"{path.stem}.png", source, size) for path in chosen]
    stacked = [np.stack(arrays) for arrays in zip(*loaded, strict=True)]
    return LabelledSlices(tuple(p.stem for p in chosen), *stacked)


def chosen_slices(root: Path, source: SourceConfig) -> list[Path]:
    """Files of the slices of a source, sorted by name.

    Raises
    ------
    DataError
        If there are none.
    """
    folder = root / source.folder / "Imgs"
    images = sorted(p for p in folder.glob("*") if p.suffix.lower() in _IMAGE_ENDINGS)
    chosen = [p for p in images if _is_chosen(p.stem, source)]
    if not chosen:
        raise DataError(
            f"source '{source.name}': {len(images)} slices in {folder}, none of them chosen; "
            "expected COVID-SemiSeg's layout below --data, and names that match include and names",
            code=3111,
        )
    return chosen


def upright(image: ByteArray, turn: Turn) -> ByteArray:
    """Turn a slice upright: rows front to back, columns from the patient's right to left."""
    if turn == "none":
        return image
    turned = image.T if turn == "transpose" else image.T[::-1]
    return np.ascontiguousarray(turned)


def regrade(image: ByteArray, source: SourceConfig) -> npt.NDArray[np.float32]:
    """Grey 0..1 from the grey scale of a source, see ``SourceConfig.grey_range``."""
    low, high = source.grey_range
    return np.asarray(np.clip((image.astype(np.float32) - low) / (high - low), 0, 1), np.float32)


def edge_of(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Edge of a mask: pixels with a nonzero central-difference gradient, a band of two pixels.

    Equals the released edge maps of the 50 labelled slices exactly; the paper says "gradient of the GT".
    """
    vertical, horizontal = np.gradient(mask.astype(np.float32))
    return np.asarray((vertical != 0) | (horizontal != 0), np.bool_)


def _is_chosen(name: str, source: SourceConfig) -> bool:
    if source.names and name not in source.names:
        return False
    if source.include and not any(part in name for part in source.include):
        return False
    return not any(part in name for part in source.exclude)


def _load_slice(
    image_path: Path, mask_path: Path, source: SourceConfig, size: int
) -> tuple[ByteArray, ByteArray, ByteArray]:
    image = upright(read_grey(image_path), source.turn)
    if not mask_path.is_file():
        raise DataError(f"{image_path} has no mask: expected {mask_path}", code=3112)
    mask = upright(read_grey(mask_path), source.turn)
    if image.shape != mask.shape:
        raise DataError(
            f"{image_path} is {image.shape}, its mask is {mask.shape}; expected equal sizes", code=3113
        )
    grey = regrade(image, source)
    soft = mask.astype(np.float32) / 255
    if source.inside_lungs:
        soft = soft * _lung_hulls(grey)
    infected = soft > 0.5
    if infected.mean() < source.min_fraction:
        soft, infected = np.zeros_like(soft), np.zeros_like(infected)
    if source.binarise:
        soft = infected.astype(np.float32)
    planes = np.stack([grey, soft, edge_of(infected).astype(np.float32)])
    small = np.rint(resize(planes, size, size) * 255).astype(np.uint8)
    return small[0], small[1], small[2]


def _lung_hulls(grey: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
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


def read_grey(path: Path) -> ByteArray:
    """Read a picture as 8-bit grey.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    encoded = np.frombuffer(path.read_bytes(), np.uint8)
    image = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE) if encoded.size else None
    if image is None:
        raise DataError(f"{path} cannot be read as a picture; it is damaged or of another kind", code=3114)
    return image.astype(np.uint8)
