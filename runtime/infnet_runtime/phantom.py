"""A synthetic chest with known answers, for the demo and the tests. Not a patient.

Ellipsoids in HU: body in air, two lungs of clearly different size, trachea, spine, table, and one
ground-glass region of known volume in the patient's right lung.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infnet_runtime.quantification import LEFT, RIGHT

BoolArray = npt.NDArray[np.bool_]

AIR_HU, BODY_HU, LUNG_HU, GROUND_GLASS_HU, BONE_HU, TABLE_HU = -1000.0, 40.0, -850.0, -450.0, 500.0, 150.0


@dataclass(frozen=True, eq=False)
class ChestPhantom:
    """A synthetic chest in LPS, axes (slice, row, column), with its truth.

    Parameters
    ----------
    hu : (slices, rows, columns), HU
    lungs : (slices, rows, columns)
        1 right, 2 left; the infection belongs to the right lung.
    infection : (slices, rows, columns)
    spacing_mm : mm
        Between slices, rows and columns.
    """

    hu: npt.NDArray[np.int16]
    lungs: npt.NDArray[np.uint8]
    infection: BoolArray
    spacing_mm: tuple[float, float, float]

    @property
    def infection_ml(self) -> float:
        """Volume of the infection in ml."""
        return self.volume_ml(self.infection)

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """Affine (4, 4) of ``hu`` stored as it is: axes to the head, to the back, to the left."""
        affine = np.zeros((4, 4))
        affine[2, 0], affine[1, 1], affine[0, 2] = np.multiply(self.spacing_mm, (1, -1, -1))
        affine[3, 3] = 1
        return affine

    def volume_ml(self, mask: BoolArray) -> float:
        """Volume of a mask in ml."""
        return int(mask.sum()) * float(np.prod(self.spacing_mm)) / 1000.0


def chest_phantom(
    shape: tuple[int, int, int] = (20, 72, 96),
    spacing_mm: tuple[float, float, float] = (12.0, 4.5, 4.0),
    *,
    infected: bool = True,
    noise_hu: float = 15.0,
    seed: int = 0,
) -> ChestPhantom:
    """Build a chest.

    Parameters
    ----------
    shape : (slices, rows, columns)
    spacing_mm : mm
        Between slices, rows and columns.
    noise_hu : HU
        Standard deviation of the noise.
    """
    # Each axis runs from -1 to 1: foot to head, front to back, the patient's right to left.
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij", sparse=True)

    def ellipsoid(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> BoolArray:
        terms = (((axis - c) / r) ** 2 for axis, c, r in zip((z, y, x), centre, radii, strict=True))
        return np.asarray(sum(terms) <= 1.0)

    def tube(centre: tuple[float, float], radii: tuple[float, float]) -> BoolArray:
        inside = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 <= 1.0
        return np.broadcast_to(inside, shape)

    hu = np.full(shape, AIR_HU)
    hu[tube((0.0, 0.0), (0.75, 0.9))] = BODY_HU
    hu[np.broadcast_to((y > 0.86) & (y < 0.92) & (np.abs(x) < 0.7), shape)] = TABLE_HU
    hu[tube((0.5, 0.0), (0.14, 0.1))] = BONE_HU  # spine
    lungs = np.zeros(shape, np.uint8)
    lungs[ellipsoid((0.0, 0.0, -0.46), (0.85, 0.55, 0.34))] = RIGHT
    lungs[ellipsoid((0.05, 0.02, 0.48), (0.7, 0.45, 0.26))] = LEFT
    hu[lungs > 0] = LUNG_HU
    hu[tube((-0.25, 0.0), (0.07, 0.05)) & (z > 0.1)] = AIR_HU + 10  # trachea
    infection = ellipsoid((-0.3, 0.2, -0.5), (0.3, 0.2, 0.15)) & (lungs == RIGHT)
    if not infected:
        infection = np.zeros(shape, np.bool_)
    hu[infection] = GROUND_GLASS_HU
    if noise_hu:
        hu += np.random.default_rng(seed).normal(0.0, noise_hu, shape)
    return ChestPhantom(np.rint(hu).astype(np.int16), lungs, infection, spacing_mm)
