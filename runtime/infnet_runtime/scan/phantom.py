"""A synthetic chest with known answers, for the demo and the tests. Not a patient.

Ellipsoids in HU: body in air, two lungs of clearly different size, trachea, spine, table, and one
ground-glass region of known volume in the patient's right lung. ``textured`` adds what a network trained on
patients looks for: vessels, texture and soft borders.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import Affine, BoolArray, ByteArray, FloatArray
from infnet_runtime.scan.sides import LEFT, RIGHT

AIR_HU, BODY_HU, LUNG_HU, GROUND_GLASS_HU, BONE_HU, TABLE_HU = -1000.0, 40.0, -850.0, -450.0, 500.0, 150.0
_FINE_TEXTURE_HU, _COARSE_TEXTURE_HU, _NOISE_HU = 22.0, 28.0, 18.0
_BRANCHES = 60  # in each lung
_VESSEL_MM = (2.6, 0.8)  # radius at the root and at the tip
_SUBPIXEL_BITS = 3  # of OpenCV's drawing


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
    lungs: ByteArray
    infection: BoolArray
    spacing_mm: tuple[float, float, float]

    @property
    def infection_ml(self) -> float:
        """Volume of the infection in ml."""
        return self.volume_ml(self.infection)

    @property
    def affine(self) -> Affine:
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


def textured(phantom: ChestPhantom, *, seed: int = 0) -> ChestPhantom:
    """The same chest with vessels, lung texture, a ground glass with soft borders, and the blur of a scanner.

    The truth stays that of ``phantom``.
    """
    from infnet_runtime.opencv import cv2

    def noise(sigma: float) -> FloatArray:
        white = rng.standard_normal(phantom.hu.shape, dtype=np.float32)
        smooth = np.stack([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in white])
        return np.asarray(smooth / smooth.std(), np.float32)

    rng = np.random.default_rng(seed)
    lung = phantom.lungs > 0
    hu = np.where(phantom.infection, LUNG_HU, phantom.hu).astype(np.float32)
    hu += lung * (_FINE_TEXTURE_HU * noise(1.0) + _COARSE_TEXTURE_HU * noise(6.0))
    soft = np.stack([cv2.GaussianBlur(plane, (0, 0), 4.0) for plane in phantom.infection.astype(np.float32)])
    hu += soft * lung * np.clip(1 + 0.25 * noise(3.0), 0.3, 1.4) * (GROUND_GLASS_HU - LUNG_HU)
    vessels = _vessels(phantom, rng) * lung
    hu += (BODY_HU - hu) * vessels
    hu = np.stack([cv2.GaussianBlur(plane, (0, 0), 0.7) for plane in hu])
    hu += rng.normal(0.0, _NOISE_HU, hu.shape)
    return replace(phantom, hu=np.rint(hu).astype(np.int16))


def _vessels(phantom: ChestPhantom, rng: np.random.Generator) -> FloatArray:
    """Bent branches from the middle of the chest to points of the lungs, thinner outwards; 0..1."""
    from infnet_runtime.opencv import cv2

    slice_mm, row_mm, column_mm = phantom.spacing_mm
    drawn = np.zeros_like(phantom.hu, np.float32)
    middle_mm = phantom.hu.shape[-1] * column_mm / 2
    root_mm, tip_mm = _VESSEL_MM
    for side in (RIGHT, LEFT):
        points = np.argwhere(phantom.lungs == side) * phantom.spacing_mm
        centre = points.mean(axis=0)
        for tip in points[rng.integers(0, len(points), _BRANCHES)]:
            # Each branch leaves the hilum near the height of its tip.
            hilum = np.array([0.3 * centre[0] + 0.7 * tip[0], centre[1], 0.55 * centre[2] + 0.45 * middle_mm])
            bend = rng.normal(0.0, 6.0, 3)
            steps = int(np.linalg.norm(tip - hilum) / 0.7) + 2
            for along in np.linspace(0, 1, steps):
                z, y, x = hilum + (tip - hilum) * along + bend * np.sin(np.pi * along)
                plane = round(z / slice_mm)
                if 0 <= plane < len(drawn):
                    radius_mm = root_mm + (tip_mm - root_mm) * along
                    place = [
                        round(v * 2**_SUBPIXEL_BITS) for v in (x / column_mm, y / row_mm, radius_mm / row_mm)
                    ]
                    cv2.circle(drawn[plane], place[:2], place[2], 1.0, -1, cv2.LINE_AA, _SUBPIXEL_BITS)
    return drawn
