"""A synthetic chest that a network trained on patients takes for one, with a known infection. Not a patient.

For the demo. The quick chest of :mod:`~infnet_runtime.scan.phantom` has volumes known by arithmetic and
sharp, empty lungs, which is what most tests need and what no patient has; a network marks too much in it.
This one has lungs between ribs, heart and spine, two domes that move with breathing, vessels that branch
from the hila, bronchi, denser lung at the back, an infection with soft rims, and the blur and the noise of a
scanner. Sizes and densities are those of adults. Number and size of the vessels and the softness of the edges
were settled with the shipped model at hand, on seeds 0 to 2; seeds 11 to 13 were looked at afterwards, and
there it measures 6 to 8 % too much. So it shows that an installation works, and not how good a model is.

Planes are computed thinner than slices and averaged. Coordinates are mm from the middle of the chest: z to
the head, y to the back, x to the patient's left.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import ByteArray, DoubleArray
from infnet_runtime.scan.phantom import ChestPhantom
from infnet_runtime.scan.sides import LEFT, RIGHT

_Field: TypeAlias = npt.NDArray[np.floating[Any]]  # float32 throughout, which arithmetic's types do not say

_AIR, _FAT, _MUSCLE, _BLOOD, _LIVER, _BONE = -1000.0, -105.0, 50.0, 45.0, 60.0, 320.0
# Aerated lung of adults, and by how much it is denser at the back than in the middle.
_LUNG, _DEPENDENT = -865.0, 25.0
_GROUND_GLASS = -520.0
_TEXTURE = ((1.6, 20.0), (9.0, 12.0))  # (mm, HU)
_PATCHES = 5
_PATCH_MM = (24.0, 36.0)  # radii
_RIM_MM = 5.0  # within which the infection fades
_RAGGED_MM = 3.5  # by which its outline wanders
_SHOULDER_MM = 50  # between ribs and skin, beside what there is of a wall
_PLANES = 3  # computed for each slice
_EDGE_MM = 1.0  # within which one tissue becomes the next
_BREATHING_MM = 4.0  # of the domes during a scan
_BLUR_MM, _NOISE = 0.7, 20.0  # of the scanner
_NOISE_PIXELS = 0.6
_SIZE_MM = (270.0, 306.0, 396.0)  # that the anatomy below fills: z, y, x
_HILUM = (-8.0, 18.0, 40.0)
_TIPS, _TIP_MM = 80, 0.7  # of the arteries of a lung, and of its veins
_BEFORE_A_FORK = 0.3  # share of the way to what a branch feeds
_MURRAY = 2.3  # power of the radius that is kept at a fork; 3 by Murray's law, 2.3 to 3 measured in lungs
_BARE = 0.1  # share of the way to the pleura that shows no vessel
_BRONCHUS_MM, _NARROWING = 4.5, 0.79  # radius, and of a branch to the one before
_SUBPIXEL_BITS = 3  # of OpenCV's drawing


def realistic_chest(
    shape: tuple[int, int, int] = (45, 340, 440),
    spacing_mm: tuple[float, float, float] = (6.0, 0.9, 0.9),
    *,
    infected: bool = True,
    seed: int = 0,
) -> ChestPhantom:
    """Build a chest; about a second for the default size.

    Parameters
    ----------
    shape : (slices, rows, columns)
        The chest fills the image.
    spacing_mm : mm
        Between slices, rows and columns. Slices of 3 to 10 mm and pixels up to 1.2 mm look like those of
        patients.
    infected
        Whether there is ground glass, in the right lung.
    """
    rng = np.random.default_rng(seed)
    body = _Body.drawn(rng)
    z, y, x = (
        ((np.arange(n) - (n - 1) / 2) * (full / n)).astype(np.float32)
        for n, full in zip((shape[0] * _PLANES, *shape[1:]), _SIZE_MM, strict=True)
    )
    tissue, lungs = _planes(body, z, y[:, None], x)
    inside = lungs.sum(axis=-1)
    labels = np.where(lungs[..., 0] >= lungs[..., 1], RIGHT, LEFT).astype(np.uint8) * (inside >= 0.5)
    vessels, bronchi = _trees(labels, spacing_mm, rng)
    smooth = _Smooth(rng, spacing_mm)
    lung = _LUNG + _DEPENDENT * (y[:, None] / 80) + sum(hu * smooth.noise(shape, mm) for mm, hu in _TEXTURE)
    patches = _patches(labels, spacing_mm, smooth, rng) if infected else np.zeros(shape, np.float32)
    lung += patches * (_GROUND_GLASS - _LUNG) * (1 + 0.12 * smooth.noise(shape, 4.0))
    lung += (_BLOOD - lung) * vessels
    lung += (_AIR - lung) * bronchi
    hu = smooth.blurred(tissue + inside * lung, _BLUR_MM)
    grain = smooth.noise(shape, _NOISE_PIXELS * spacing_mm[1])
    return ChestPhantom(
        np.rint(np.clip(hu + _NOISE * grain, -1024, 3071)).astype(np.int16),
        labels,
        (patches >= 0.5) & (labels == RIGHT),
        spacing_mm,
    )


@dataclass(frozen=True)
class _Body:
    """Sizes in mm, around those of an adult."""

    half_width: float
    half_depth: float
    apex: float
    right_dome: float
    left_dome: float
    heart: float
    fat: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "_Body":
        return cls(
            half_width=rng.uniform(122, 134),
            half_depth=rng.uniform(82, 92),
            apex=rng.uniform(112, 122),
            right_dome=rng.uniform(-52, -38),
            left_dome=rng.uniform(-64, -50),
            heart=rng.uniform(0.9, 1.1),
            fat=rng.uniform(10, 20),
        )

    def cavity(self, z: float, y: _Field, x: _Field) -> _Field:
        """Distance from the inner wall of the ribs, in mm, negative inside."""
        taper = max(1e-3, 1 - max(0.0, (z - 25) / (self.apex - 25)) ** 2) ** 0.5
        width, depth = self.half_width * taper, self.half_depth * taper
        return (_radius(x / width, (y + 2) / depth, 2.4) - 1) * np.float32(min(width, depth))

    def above_dome(self, z: float, y: _Field, x: _Field) -> _Field:
        """How much of the breath the lung is above the diaphragm."""
        right = self.right_dome - 62 * _radius((x + 66) / 66, (y + 6) / 78, 2.0) ** 2
        left = self.left_dome - 56 * _radius((x - 66) / 66, (y + 4) / 78, 2.0) ** 2
        return np.clip(0.5 + (z - np.where(x < 0, right, left)) / np.float32(_BREATHING_MM), 0, 1)


def _planes(body: _Body, z: _Field, y: _Field, x: _Field) -> tuple[_Field, _Field]:
    """All but the inside of the lungs, in HU times its share of the voxel; and the shares of both lungs.

    Returns
    -------
    (slices, rows, columns), (slices, rows, columns, 2)
    """
    slices = len(z) // _PLANES
    tissue = np.zeros((slices, len(y), len(x)), np.float32)
    lungs = np.zeros((*tissue.shape, 2), np.float32)
    for plane, height in enumerate(z.tolist()):
        hu, lung = _tissue(body, height, y, x), _lung(body, height, y, x)
        k = plane // _PLANES
        tissue[k] += (1 - lung) * hu / _PLANES
        lungs[k, ..., 0] += lung * (x < 0) / _PLANES
        lungs[k, ..., 1] += lung * (x >= 0) / _PLANES
    return tissue, lungs


def _lung(body: _Body, z: float, y: _Field, x: _Field) -> _Field:
    """Share of lung."""
    return _within(body.cavity(z, y, x)) * (1 - _mediastinum(body, z, y, x)) * body.above_dome(z, y, x)


def _mediastinum(body: _Body, z: float, y: _Field, x: _Field) -> _Field:
    """Heart, great vessels and spine, and what lies between the lungs."""
    half = 9 + 15 / (1 + np.exp(-(y + 52) / 8))  # narrow in front, where the lungs nearly meet
    heart = body.heart
    parts = (
        np.abs(x) - half,
        (_radius((x - 24) / (56 * heart), (y + 26) / (46 * heart), 2.0, (z + 46) / 58) - 1) * 46,
        (_radius(x / 27, (y - 74) / 27, 2.0) - 1) * 27,
        (_radius((x - 24) / 14, (y - 48) / 14, 2.0) - 1) * 14 + max(0.0, z - 58),  # descending aorta
        (_radius((np.abs(x) - 26) / 20, (y - 15) / 22, 2.0, (z + 6) / 24) - 1) * 20,  # roots of the lungs
    )
    return _within(np.minimum.reduce([np.broadcast_to(p, (y.shape[0], len(x))) for p in parts]))


def _tissue(body: _Body, z: float, y: _Field, x: _Field) -> _Field:
    """HU of a plane without its lungs."""
    hu: _Field = np.full((y.shape[0], len(x)), _AIR, np.float32)

    def paint(distance: _Field, value: float) -> None:
        nonlocal hu
        hu = hu + (np.float32(value) - hu) * _within(distance)

    def disc(at: tuple[float, float], radius: float, value: float, *, stretch: float = 1.0) -> None:
        paint((_radius((x - at[1]) / (radius * stretch), (y - at[0]) / radius, 2.0) - 1) * radius, value)

    inner = body.cavity(z, y, x)
    # The shoulders taper less than the ribs; above the lungs is a neck, and no chest without air.
    wall = inner if z < 20 else np.maximum(body.cavity(20.0, y, x), inner - _SHOULDER_MM)
    paint(wall - 22 - body.fat, _FAT)
    paint(wall - 20, _MUSCLE)
    if z >= 20:
        disc((70, 0), 48, _MUSCLE)  # of the back, around the spine of the neck
    # Ribs slant down to the front, so that a plane cuts several of them.
    phase = ((z - 0.5 * y) / 27) % 1.0
    if z < body.apex:
        paint(np.maximum(np.abs(inner - 9) - 3.5, (np.abs(phase - 0.5) - 0.2) * 27), _BONE)
    paint(inner, _LIVER if z < -30 else _FAT)
    paint(np.maximum(inner, -x - (z + 30) * 0.1), _MUSCLE if z < -30 else _FAT)
    if z < -20:
        disc((20, 70), 32, _MUSCLE - 20)  # stomach and spleen
    paint((_radius((x - 24) / 54, (y + 26) / 44, 2.0, (z + 46) / 56) - 1) * 44, _BLOOD)
    disc((48, 24), 12, _BLOOD)
    if -15 < z < 55:
        disc((-22, -10), 16, _BLOOD)
        disc((-14, -30), 9, _BLOOD)
    if -15 < z < 25:
        disc((-18, 18), 14, _BLOOD)
    if 48 < z < 64:
        disc((12, 10), 12, _BLOOD, stretch=1.2)  # arch of the aorta
    disc((45, 2), 7, _MUSCLE - 15)  # gullet
    disc((72, 0), 21, _BONE - 60, stretch=1.1)
    disc((72, 0), 18, 170, stretch=1.1)
    disc((98, 0), 8, 30)  # canal of the spine
    disc((112, 0), 7, _BONE)
    if z < 80:
        disc((-body.half_depth - 8, 0), 6, 200, stretch=3.0)  # breastbone
    if z > 8:
        disc((14, 0), 10, _MUSCLE)
        disc((14, 0), 8, _AIR)
    paint(np.abs(y - np.float32(143) + (x / 60) ** 2) - 1.5 + 0 * x, 60)  # table
    return hu


def _trees(
    labels: ByteArray, spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> tuple[_Field, _Field]:
    """Shares of vessels and of air in bronchi, (slices, rows, columns)."""
    blood, air = (_Drawing(labels.shape, spacing_mm) for _ in range(2))
    for side, sign in ((RIGHT, -1), (LEFT, 1)):
        places = np.argwhere(labels == side)
        root = np.array((_HILUM[0], _HILUM[1], sign * _HILUM[2]))
        for shift in (-5.0, 5.0):  # arteries, and veins apart from them
            ends = blood.points(
                places[rng.integers(0, len(places), _TIPS)] + rng.uniform(-0.5, 0.5, (_TIPS, 3))
            )
            ends = ends + _BARE * (root - ends)
            for start, end, radius in _branches(ends, root + np.array((0.0, shift, 0.0))):
                blood.draw(start, end, radius)
        for towards in ((0.9, -0.2), (-0.2, -0.5), (-0.9, 0.4)):  # upper, middle and lower lobe
            _bronchus(blood, air, root, np.array((*towards, 0.7 * sign)), rng)
    return blood.shares(), air.shares()


def _branches(ends: DoubleArray, start: DoubleArray) -> Iterator[tuple[DoubleArray, DoubleArray, float]]:
    """Branches from a root to the places that they feed: start, end and radius.

    Each goes a part of the way to the middle of its places and divides them.
    """
    radius = _TIP_MM * len(ends) ** (1 / _MURRAY)
    if len(ends) == 1:
        yield start, ends[0], radius
        return
    fork = start + _BEFORE_A_FORK * (ends.mean(axis=0) - start)
    yield start, fork, radius
    along = ends[:, np.ptp(ends, axis=0).argmax()]
    halves = along < np.median(along)
    for part in (ends[halves], ends[~halves]):
        yield from _branches(part, fork)


def _bronchus(
    walls: "_Drawing", lumen: "_Drawing", start: DoubleArray, direction: DoubleArray, rng: np.random.Generator
) -> None:
    """The first bronchi of a lobe, air in a wall; further out they are too thin to be seen."""
    radius, direction = _BRONCHUS_MM, direction / np.linalg.norm(direction)
    for _ in range(3):
        end = start + direction * 5 * radius
        walls.draw(start, end, radius + 0.9)
        lumen.draw(start, end, radius)
        start, radius = end, radius * _NARROWING
        direction = direction + rng.normal(0, 0.25, 3)
        direction /= np.linalg.norm(direction)


class _Drawing:
    """Tubes in thin planes, (planes, rows, columns) in 0..255.

    Parameters
    ----------
    shape : (slices, rows, columns)
        Of the scan.
    """

    def __init__(self, shape: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> None:
        thin = (shape[0] * _PLANES, *shape[1:])
        self._drawn = np.zeros(thin, np.uint8)
        self._mm = np.array(_SIZE_MM) / thin  # of the anatomy, for a voxel
        self._voxel_mm = np.array((spacing_mm[0] / _PLANES, *spacing_mm[1:]))
        self._middle = (np.array(thin) - 1) / 2

    def points(self, voxels: DoubleArray) -> DoubleArray:
        """Places in the anatomy of voxels of the scan, (n, 3)."""
        planes = voxels * (_PLANES, 1, 1) + ((_PLANES - 1) / 2, 0, 0)
        return np.asarray((planes - self._middle) * self._mm)

    def draw(self, start: DoubleArray, end: DoubleArray, radius_mm: float) -> None:
        """Draw a tube."""
        from infnet_runtime.opencv import cv2

        begin, stop = (point / self._mm + self._middle for point in (start, end))
        steps = int(np.linalg.norm((stop - begin) * self._voxel_mm) / max(0.7, 0.5 * radius_mm)) + 2
        plane_mm, row_mm, _ = self._voxel_mm.tolist()
        reach = int(radius_mm / plane_mm + 0.5)
        # A tube that is thinner than the plane fills a part of it.
        value = round(255 * min(1.0, 1.6 * radius_mm / plane_mm))
        for plane, row, column in np.linspace(begin, stop, steps).tolist():
            for k in range(max(0, round(plane) - reach), min(len(self._drawn), round(plane) + reach + 1)):
                chord = radius_mm**2 - ((k - plane) * plane_mm * 0.8) ** 2
                if chord > 0:
                    x, y, r = (
                        round(v * 2**_SUBPIXEL_BITS) for v in (column, row, max(0.5, chord**0.5 / row_mm))
                    )
                    cv2.circle(self._drawn[k], (x, y), r, value, -1, cv2.LINE_AA, _SUBPIXEL_BITS)

    def shares(self) -> _Field:
        """How much of a voxel is drawn, (slices, rows, columns)."""
        parts = self._drawn.reshape(-1, _PLANES, *self._drawn.shape[1:])
        return np.asarray(parts.mean(axis=1, dtype=np.float32) / 255)


def _patches(
    labels: ByteArray, spacing_mm: tuple[float, float, float], smooth: "_Smooth", rng: np.random.Generator
) -> _Field:
    """Ground glass with soft and ragged rims, low, at the back and at the side of the right lung; 0..1."""
    places = np.argwhere(labels == RIGHT)
    low, front, side = np.quantile(places, (0.1, 0.4, 0.1), axis=0)[[0, 1, 2], [0, 1, 2]]
    middle = np.median(places, axis=0)
    z, y, x = places.T
    places = places[(z > low) & (z < middle[0]) & (y > front) & (x > side) & (x < middle[2])]
    outside = np.full(labels.shape, 2 * _PATCH_MM[1], np.float32)
    for centre in places[rng.integers(0, len(places), _PATCHES)]:
        radii = rng.uniform(*_PATCH_MM, 3)
        spans = [  # of which the rest of the scan is too far
            np.arange(max(0, int(c - 2 * r / mm)), min(n, int(c + 2 * r / mm) + 1))
            for c, r, mm, n in zip(centre, radii, spacing_mm, labels.shape, strict=True)
        ]
        z, y, x = (
            ((span - c) * mm / r).astype(np.float32)
            for span, c, r, mm in zip(spans, centre, radii, spacing_mm, strict=True)
        )
        reach = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
        box = tuple(slice(span[0], span[-1] + 1) for span in spans)
        outside[box] = np.minimum(outside[box], (reach - 1) * np.float32(radii.mean()))
    outside += _RAGGED_MM * smooth.noise(labels.shape, 6.0)
    return np.asarray(np.clip(0.5 - outside / _RIM_MM, 0, 1), np.float32)


@dataclass(frozen=True, eq=False)
class _Smooth:
    """Blur and smooth noise, in mm."""

    rng: np.random.Generator
    spacing_mm: tuple[float, float, float]

    def blurred(self, values: _Field, mm: float) -> _Field:
        from infnet_runtime.opencv import cv2

        _, row_mm, column_mm = self.spacing_mm
        planes = np.asarray(values, np.float32)
        return np.stack([cv2.GaussianBlur(p, (0, 0), mm / column_mm, sigmaY=mm / row_mm) for p in planes])

    def noise(self, shape: tuple[int, ...], mm: float) -> _Field:
        """Mean 0, deviation 1."""
        smooth = self.blurred(self.rng.standard_normal(shape, dtype=np.float32), mm)
        return np.asarray(smooth / smooth.std(), np.float32)


def _radius(x: _Field, y: _Field, power: float, z: float = 0.0) -> _Field:
    """Distance from the middle of a (super)ellipsoid, 1 at its surface."""
    if power == 2:
        return np.sqrt(x * x + y * y + np.float32(z * z))
    return np.asarray((np.abs(x) ** power + np.abs(y) ** power + abs(z) ** power) ** np.float32(1 / power))


def _within(distance_mm: _Field) -> _Field:
    """Share of a voxel that lies inside a surface."""
    return np.asarray(np.clip(0.5 - distance_mm / np.float32(_EDGE_MM), 0, 1))
