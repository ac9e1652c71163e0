"""How a varied sample is lit: windows, curves, noise, coarse pixels, padding, arms in the picture."""

import cv2
import numpy as np

from infnet_runtime.arrays import BoolArray, FloatArray
from infnet_runtime.lungs.contract import LungSpec

# HU outside the field of view: air, what scanners write there, and 0.
_PADDING_HU = (-1050.0, -1024.0, -1024.0, -2000.0, 0.0)
_REFERENCE = 160.0  # pixels; lengths below are for a square of this side


def add_arms(rng: np.random.Generator, hu: FloatArray, lungs: FloatArray) -> None:
    """One or two limbs with a bone in the open air, away from the lungs; in place.

    Parameters
    ----------
    hu : (planes, size, size)
    lungs : (2, size, size)
    """
    size = hu.shape[-1]
    unit = size / _REFERENCE
    away = cv2.dilate(lungs.max(axis=0), np.ones((int(25 * unit),) * 2, np.uint8)) < 0.01
    for _ in range(int(rng.integers(1, 3))):
        limb = np.zeros((size, size), np.uint8)
        column = rng.uniform(0, 25) if rng.random() < 0.5 else rng.uniform(135, 160)
        centre = int(unit * column), int(unit * rng.uniform(20, 140))
        axes = int(unit * rng.uniform(6, 18)), int(unit * rng.uniform(6, 22))
        cv2.ellipse(limb, centre, axes, rng.uniform(0, 180), 0, 360, 1, -1)
        tissue = (limb > 0) & away
        cv2.ellipse(limb, centre, (max(1, axes[0] // 3), max(1, axes[1] // 3)), 0, 0, 360, 2, -1)
        for value, part in ((rng.uniform(-80, 80), tissue), (rng.uniform(300, 900), (limb == 2) & away)):
            np.copyto(hu, np.float32(value), where=part & (hu < -900))


def lit(rng: np.random.Generator, hu: FloatArray, seen: BoolArray, spec: LungSpec) -> FloatArray:
    """Grey 0..1 of some planes, with everything that differs between scanners and pictures.

    Parameters
    ----------
    hu : (planes, size, size)
    seen : (size, size)
        The rest is padding.
    """
    low, high = spec.window_hu
    pad = float(rng.choice(_PADDING_HU)) if rng.random() < 0.9 else rng.uniform(-1000, 100)
    if rng.random() < 0.6:
        low += rng.normal(0, 70)
        high += rng.uniform(-130, 260) + (rng.uniform(0, 500) if rng.random() < 0.25 else 0)
    grey = (hu + np.float32(rng.normal(0, 12) - low)) / np.float32(high - low)
    if rng.random() < 0.25:
        grey = np.clip(grey, 0, 1.5) ** np.float32(rng.uniform(0.65, 1.5))
    if rng.random() < 0.25:
        grey = grey * np.float32(rng.uniform(0.7, 1.1)) + np.float32(rng.uniform(-0.05, 0.15))
    grey = _coarse_or_soft(rng, grey)
    if rng.random() < 0.5:
        noise = rng.standard_normal(grey.shape, dtype=np.float32)
        if rng.random() < 0.4:
            noise = np.stack([2 * cv2.GaussianBlur(plane, (0, 0), 0.8) for plane in noise])
        grey = grey + noise * np.float32(rng.exponential(0.02))
    grey = np.clip(grey, 0, 1)
    if rng.random() < 0.08:  # contrast-enhanced pictures
        enhance = cv2.createCLAHE(rng.uniform(1, 4), (int(rng.integers(4, 10)),) * 2)
        grey = np.stack([enhance.apply((plane * 255).astype(np.uint8)) for plane in grey]) / np.float32(255)
    grey[:, ~seen] = np.clip((pad - low) / (high - low), 0, 1)
    return np.asarray(grey, np.float32)


def round_field(rng: np.random.Generator, size: int) -> BoolArray:
    """A circle as the field of view of a scanner is: (size, size)."""
    row, column = np.mgrid[0:size, 0:size]
    centre = size / 2 + rng.normal(0, size / 40, 2)
    radius = rng.uniform(0.42, 0.6) * size
    return np.asarray((row - centre[0]) ** 2 + (column - centre[1]) ** 2 < radius**2)


def _coarse_or_soft(rng: np.random.Generator, grey: FloatArray) -> FloatArray:
    size = grey.shape[-1]
    chosen = rng.random()
    if chosen < 0.25:
        few = max(40 * size // 160, int(size * rng.uniform(0.3, 0.65)))
        way = cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_NEAREST
        coarse = [cv2.resize(plane, (few, few), interpolation=cv2.INTER_AREA) for plane in grey]
        return np.stack([cv2.resize(plane, (size, size), interpolation=way) for plane in coarse])
    if chosen < 0.4:
        width = rng.uniform(0.4, 1.1)
        return np.stack([cv2.GaussianBlur(plane, (0, 0), width) for plane in grey])
    return grey
