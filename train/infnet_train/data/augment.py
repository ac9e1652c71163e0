"""Random changes of preprocessed slices, for training only.

All randomness comes from the generator handed in, so that a resumed run draws what the uninterrupted one
does.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from infnet_runtime.arrays import ByteArray, DoubleArray, FloatArray
from infnet_train.errors import check_number


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes of the preprocessed slices. All off is the original recipe.

    Parameters
    ----------
    mirror
        Probability of a left-right mirror image.
    rotation_deg
        Largest rotation.
    shift
        Largest shift, as a fraction of the side.
    scale, aspect
        Largest relative change of the size, of its ratio; 0.2 means between 1/1.2 and 1.2.
    gamma, contrast
        Largest relative change of the grey curve, of the grey range.
    brightness
        Largest shift of the grey, of 0..1.
    noise
        Largest standard deviation of added noise, in grey 0..1.
    blur
        Largest standard deviation of a Gaussian blur, in pixels.
    enhance
        Probability of contrast-limited adaptive histogram equalisation, as enhanced pictures have it.
    drop_neighbours
        Probability that the planes below and above are replaced by the slice itself: both in half of these
        cases, else one. A network that has seen this still reads pictures and the ends of scans.
    """

    mirror: float = 0.0
    rotation_deg: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    aspect: float = 0.0
    gamma: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    enhance: float = 0.0
    drop_neighbours: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mirror", "enhance", "drop_neighbours"):
            check_number(f"augment.{name}", getattr(self, name), 0, 1)
        check_number("augment.rotation_deg", self.rotation_deg, 0, 180)
        for name in ("shift", "scale", "aspect", "gamma", "contrast", "brightness", "noise", "blur"):
            check_number(f"augment.{name}", getattr(self, name), 0)


@dataclass(frozen=True, eq=False)
class SlicePlanes:
    """One slice as it is stored, (size, size) each, 0..255.

    Parameters
    ----------
    ignore
        Absent where nothing is ignored.
    below, above
        Absent where the slice repeats itself.
    classes
        Numbers, as in :mod:`~infnet_train.data.classes`; absent where they are not asked for.
    """

    image: ByteArray
    mask: ByteArray
    edge: ByteArray
    ignore: ByteArray | None = None
    below: ByteArray | None = None
    above: ByteArray | None = None
    classes: ByteArray | None = None


class Augmented(NamedTuple):
    """One slice, 0..1 but the classes.

    Parameters
    ----------
    grey : (3, size, size) or (size, size)
        Below, own, above; the slice alone where it has no neighbours.
    mask, edge : (size, size)
    ignore : (size, size)
        Absent where nothing is ignored.
    classes : (size, size)
        Absent where they are not asked for.
    """

    grey: FloatArray
    mask: FloatArray
    edge: FloatArray
    ignore: FloatArray | None
    classes: ByteArray | None = None


def augment(planes: SlicePlanes, config: AugmentConfig, rng: np.random.Generator) -> Augmented:
    """One slice with its mask and edge, moved together and with changed grey.

    Neighbours move with the slice and get the same change of grey; noise is each plane's own.
    """
    transform = _random_transform(planes.image.shape[0], config, rng)

    def moved(plane: ByteArray, border: int) -> FloatArray:
        scaled = np.divide(plane, 255, dtype=np.float32)
        if transform is None:
            return scaled
        return np.asarray(cv2.warpAffine(scaled, transform, plane.shape[::-1], borderMode=border), np.float32)

    neighbours = [plane for plane in (planes.below, planes.above) if plane is not None]
    greys = np.stack([moved(p, cv2.BORDER_REPLICATE) for p in (planes.image, *neighbours)])
    mask, edge = (moved(p, cv2.BORDER_CONSTANT) for p in (planes.mask, planes.edge))
    ignore = None if planes.ignore is None else moved(planes.ignore, cv2.BORDER_CONSTANT)
    classes = None if planes.classes is None else _moved_classes(planes.classes, transform)
    own, *others = _change_grey(greys, config, rng)
    if not others:
        return Augmented(own, mask, edge, ignore, classes)
    below = others[0] if planes.below is not None else own
    above = others[-1] if planes.above is not None else own
    keeps_below, keeps_above = _kept_neighbours(config, rng)
    grey = np.stack([below if keeps_below else own, own, above if keeps_above else own])
    return Augmented(grey, mask, edge, ignore, classes)


def _moved_classes(classes: ByteArray, transform: DoubleArray | None) -> ByteArray:
    """By the nearest neighbour: a number between two classes would be another class."""
    if transform is None:
        return classes
    moved = cv2.warpAffine(
        classes, transform, classes.shape[::-1], flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT
    )
    return np.asarray(moved, np.uint8)


def _kept_neighbours(config: AugmentConfig, rng: np.random.Generator) -> tuple[bool, bool]:
    if not config.drop_neighbours or rng.uniform() >= config.drop_neighbours:
        return True, True
    return ((False, False), (False, False), (False, True), (True, False))[rng.integers(4)]


def _spread(rng: np.random.Generator, relative: float) -> float:
    """A factor between 1 / (1 + relative) and 1 + relative, log-uniform."""
    return float((1 + relative) ** rng.uniform(-1, 1))


def _random_transform(side: int, config: AugmentConfig, rng: np.random.Generator) -> DoubleArray | None:
    angle = np.deg2rad(rng.uniform(-1, 1) * config.rotation_deg)
    scale, aspect = _spread(rng, config.scale), _spread(rng, config.aspect)
    shift = rng.uniform(-1, 1, 2) * config.shift * side
    mirror = -1.0 if rng.uniform() < config.mirror else 1.0
    if scale == aspect == mirror == 1 and angle == 0 and not shift.any():
        return None
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = rotation @ np.diag([mirror * scale * np.sqrt(aspect), scale / np.sqrt(aspect)])
    centre = np.full(2, (side - 1) / 2)
    return np.column_stack([linear, centre + shift - linear @ centre])


def _change_grey(greys: FloatArray, config: AugmentConfig, rng: np.random.Generator) -> FloatArray:
    """(n, size, size) -> (n, size, size)."""
    gamma, contrast = _spread(rng, config.gamma), _spread(rng, config.contrast)
    brightness = rng.uniform(-1, 1) * config.brightness
    if config.enhance and rng.uniform() < config.enhance:
        clip_limit = rng.uniform(1, 4)
        greys = np.stack([_enhanced(grey, clip_limit) for grey in greys])
    blur, noise = rng.uniform() * config.blur, rng.uniform() * config.noise
    if blur > 0.3:  # below this the kernel is a single pixel
        greys = np.stack([cv2.GaussianBlur(grey, (0, 0), blur) for grey in greys])
    changed: FloatArray = np.clip((greys - 0.5) * contrast + 0.5 + brightness, 0, 1) ** gamma
    if noise > 0:
        changed = changed + noise * rng.standard_normal(greys.shape, dtype=np.float32)
    return np.asarray(np.clip(changed, 0, 1), np.float32)


def _enhanced(grey: FloatArray, clip_limit: float) -> FloatArray:
    """Contrast-limited adaptive histogram equalisation, in eight by eight tiles."""
    levels = np.rint(grey * 255).astype(np.uint8)
    enhanced = cv2.createCLAHE(clip_limit, (8, 8)).apply(levels)
    return np.divide(enhanced, 255, dtype=np.float32)
