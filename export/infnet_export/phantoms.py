"""Synthetic chest slices, so that an export can be checked where no scan is at hand.

Smooth on purpose: white noise drives the partial decoder's products to values no CT gives.
"""

import numpy as np
import numpy.typing as npt

_AIR, _LUNG, _TISSUE, _BONE, _GROUND_GLASS = -1000.0, -850.0, 40.0, 400.0, -450.0  # HU
_TEXTURE_HU = 40.0
_TEXTURE_WAVES = 8


def phantom_slices(count: int, size: int, *, seed: int = 0) -> npt.NDArray[np.float32]:
    """Axial slices of chests with infections of different size and place.

    Returns
    -------
    (count, size, size), HU

    Examples
    --------
    >>> phantom_slices(2, 64).shape
    (2, 64, 64)
    """
    rng = np.random.default_rng(seed)
    return np.stack([_phantom(size, rng) for _ in range(count)]).astype(np.float32)


def _phantom(size: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]

    def ellipse(
        row: float, column: float, height: float, width: float, softness: float
    ) -> npt.NDArray[np.float64]:
        """1 inside, 0 outside, with a smooth border."""
        radius = np.hypot((y - row) / height, (x - column) / width)
        inside: npt.NDArray[np.float64] = 1 / (1 + np.exp(np.clip((radius - 1) / softness, -50, 50)))
        return inside

    def paint(
        hu: npt.NDArray[np.float64], where: npt.NDArray[np.float64], value: float
    ) -> npt.NDArray[np.float64]:
        return hu + where * (value - hu)

    height, width = rng.uniform(0.6, 0.75), rng.uniform(0.8, 0.92)
    hu = paint(np.full((size, size), _AIR), ellipse(0, 0, height, width, 0.01), _TISSUE)
    hu = paint(hu, ellipse(0.7 * height, 0, 0.13, 0.1, 0.05), _BONE)
    lungs = np.maximum(
        ellipse(0, -0.45, 0.75 * height, rng.uniform(0.25, 0.33), 0.03),
        ellipse(0, 0.47, 0.75 * height, rng.uniform(0.22, 0.3), 0.03),
    )
    hu = paint(hu, lungs, _LUNG)
    for _ in range(int(rng.integers(1, 5))):
        row, column = rng.uniform(-0.4, 0.4), rng.choice([-1, 1]) * rng.uniform(0.3, 0.6)
        blob = ellipse(row, column, rng.uniform(0.06, 0.25), rng.uniform(0.06, 0.25), 0.2)
        hu = paint(hu, blob * lungs, _GROUND_GLASS)
    waves = rng.normal(0, 6, (_TEXTURE_WAVES, 2))
    phases = rng.uniform(0, 2 * np.pi, _TEXTURE_WAVES)
    texture = sum(np.sin(a * y + b * x + p) for (a, b), p in zip(waves, phases, strict=True))
    return hu + _TEXTURE_HU / _TEXTURE_WAVES * np.asarray(texture)
