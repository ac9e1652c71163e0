"""Random changes of preprocessed slices, for training only.

All randomness comes from the generator handed in, so that a resumed run draws what the uninterrupted one
does.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from infnet_runtime.arrays import ByteArray, DoubleArray, FloatArray


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes of the preprocessed slices. All off is the original recipe.

    Parameters
    ----------
    mirror
        Probability of a left-right mirror image.
    rotation_deg, shift
        Largest rotation, and largest shift as a fraction of the side.
    scale, aspect
        Largest relative change of size and of its ratio; 0.2 means between 1/1.2 and 1.2.
    gamma, contrast, brightness
        Largest relative change of the grey curve and of the range, and largest shift, in grey 0..1.
    noise, blur
        Largest standard deviation of added noise, in grey 0..1, and of a Gaussian blur, in pixels.
    enhance
        Probability of contrast-limited adaptive histogram equalisation, as enhanced pictures have it.
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


def augment(
    image: ByteArray, mask: ByteArray, edge: ByteArray, config: AugmentConfig, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """One slice with its mask and edge, moved together and with changed grey.

    Parameters
    ----------
    image, mask, edge : (size, size), 0..255

    Returns
    -------
    three (size, size), 0..1
    """
    planes: list[FloatArray] = [np.divide(a, 255, dtype=np.float32) for a in (image, mask, edge)]
    transform = _random_transform(image.shape[0], config, rng)
    if transform is not None:
        size = (image.shape[1], image.shape[0])
        planes = [
            np.asarray(cv2.warpAffine(p, transform, size, borderMode=border), np.float32)
            for p, border in zip(
                planes, (cv2.BORDER_REPLICATE, cv2.BORDER_CONSTANT, cv2.BORDER_CONSTANT), strict=True
            )
        ]
    grey = _change_grey(planes[0], config, rng)
    return grey, planes[1], planes[2]


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


def _change_grey(grey: FloatArray, config: AugmentConfig, rng: np.random.Generator) -> FloatArray:
    gamma, contrast = _spread(rng, config.gamma), _spread(rng, config.contrast)
    brightness = rng.uniform(-1, 1) * config.brightness
    if config.enhance and rng.uniform() < config.enhance:
        grey = _enhanced(grey, clip_limit=rng.uniform(1, 4))
    blur, noise = rng.uniform() * config.blur, rng.uniform() * config.noise
    if blur > 0.3:  # below this the kernel is a single pixel
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), blur), np.float32)
    changed: FloatArray = np.clip((grey - 0.5) * contrast + 0.5 + brightness, 0, 1) ** gamma
    if noise > 0:
        changed = changed + noise * rng.standard_normal(grey.shape, dtype=np.float32)
    return np.asarray(np.clip(changed, 0, 1), np.float32)


def _enhanced(grey: FloatArray, clip_limit: float) -> FloatArray:
    """Contrast-limited adaptive histogram equalisation, in eight by eight tiles."""
    levels = np.rint(grey * 255).astype(np.uint8)
    enhanced = cv2.createCLAHE(clip_limit, (8, 8)).apply(levels)
    return np.divide(enhanced, 255, dtype=np.float32)
