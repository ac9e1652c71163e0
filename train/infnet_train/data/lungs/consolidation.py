"""Lungs made dense: what few training scans show, and what a finder must not lose.

Soft tissue, or ground glass, is put into parts of the lungs or into all of one or both. The mask stays: a
white lung is lung. The same places are changed in the slice and in its neighbours.

At the bases and apices no lung is made white as a whole: a dense crescent there cannot be told from spleen,
liver or fat, and a network that is taught it finds lung in the abdomen.
"""

import cv2
import numpy as np

from infnet_runtime.arrays import FloatArray

_WHOLE, _DEPENDENT = 0.28, 0.27  # of the changes; the others are patches
_BOTH_SIDES = 0.35
_TWICE = 0.3
_SMALLEST = 20  # pixels of lung


def consolidate(rng: np.random.Generator, hu: FloatArray, lungs: FloatArray, *, partly: bool = False) -> None:
    """Make lungs dense, in place.

    Parameters
    ----------
    hu : (planes, rows, columns)
        Changed where lung is.
    lungs : (planes, 2, rows, columns)
        Shares of right and left lung.
    partly
        Patches alone, no whole lungs and no dependent parts.
    """
    any_lung = lungs.max(axis=(0, 1)) > 0
    rows, columns = np.flatnonzero(any_lung.any(axis=1)), np.flatnonzero(any_lung.any(axis=0))
    if len(rows) < 4 or len(columns) < 4:
        return
    box = (..., slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    for _ in range(1 + (rng.random() < _TWICE)):
        sides = (0, 1) if rng.random() < _BOTH_SIDES else (int(rng.integers(2)),)
        share = lungs[box][:, list(sides)].sum(axis=1)
        if share[len(share) // 2].sum() >= _SMALLEST:
            _fill(rng, hu[box], share, partly=partly)


def _fill(rng: np.random.Generator, hu: FloatArray, lung: FloatArray, *, partly: bool) -> None:
    """Fill a part of a lung: ``hu`` and ``lung`` are (planes, rows, columns)."""
    shape = lung.shape[1:]
    middle = lung[len(lung) // 2]
    kind = 1.0 if partly else rng.random()
    is_dense = rng.random() < 0.7
    if kind < _WHOLE:
        where = np.ones(shape, np.float32)
        is_dense = is_dense or rng.random() < 0.8
    elif kind < _WHOLE + _DEPENDENT:
        where = _beyond_a_line(rng, middle)
    else:
        where = _patches(rng, middle)
    value = rng.uniform(-60, 90) if is_dense else rng.uniform(-750, -150)
    strength = rng.uniform(0.85, 1.0) if is_dense else rng.uniform(0.5, 1.0)
    if rng.random() < 0.35:  # bronchi that keep their air
        tree = np.abs(smooth_noise(rng, shape, rng.uniform(10, 26)))
        where = where * np.clip(tree / rng.uniform(0.05, 0.15), 0, 1)
    target = value + smooth_noise(rng, shape, rng.uniform(10, 50)) * np.float32(rng.uniform(0, 25))
    weight = np.clip(lung * 1.15, 0, 1) * (where * strength)
    np.copyto(hu, hu * (1 - weight) + target * weight, where=hu < target)


def _beyond_a_line(rng: np.random.Generator, lung: FloatArray) -> FloatArray:
    """Mostly the part towards the back, where a lying patient's lung gets dense."""
    rows, columns = np.nonzero(lung > 0.5)
    if len(rows) < _SMALLEST:
        return np.ones(lung.shape, np.float32)
    row, column = np.mgrid[0 : lung.shape[0], 0 : lung.shape[1]].astype(np.float32)
    line = np.quantile(rows, rng.uniform(0.15, 0.85)) + rng.normal(0, 0.25) * (column - columns.mean())
    beyond = (row - line) * (1 if rng.random() < 0.85 else -1)
    beyond += smooth_noise(rng, lung.shape, rng.uniform(3, 14)) * np.float32(rng.uniform(0.5, 6))
    return np.asarray(np.clip(beyond / rng.uniform(1, 8) + 0.5, 0, 1), np.float32)


def _patches(rng: np.random.Generator, lung: FloatArray) -> FloatArray:
    """Patches of any size, half of the time at the pleura."""
    noise = smooth_noise(rng, lung.shape, rng.uniform(4, 22))
    where = np.clip((noise - rng.uniform(-0.5, 1.3)) / rng.uniform(0.1, 1) + 0.5, 0, 1)
    if rng.random() < 0.5:
        depth = cv2.distanceTransform((lung > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
        where = where * np.clip(1.3 - depth / rng.uniform(4, 18), 0, 1)
    return np.asarray(where, np.float32)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], cells: float) -> FloatArray:
    """Noise of standard deviation 1 with about ``cells`` bumps along each side."""
    side = max(2, int(cells)) + 2
    coarse = rng.standard_normal((side, side), dtype=np.float32)
    noise = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(noise / (noise.std() + 1e-6), np.float32)
