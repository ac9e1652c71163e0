"""Bodies without lungs, drawn: heads, limbs and phantoms with air inside.

Real scans of other parts of the body are few, and a network that has seen none takes any dark room inside a
wall for lung. These teach that a lung has a chest around it; they need not look like anyone.
"""

import cv2
import numpy as np

from infnet_runtime.arrays import FloatArray
from infnet_train.data.lungs.consolidation import smooth_noise
from infnet_train.data.lungs.stack import LungStack, shrunk

_SIDE = 160
_ROOM_HU = (-1000.0, -1000.0, -850.0, -600.0, 20.0, 30.0, 60.0)  # air, foam, tissue, plastic


def hollow_bodies(count: int, *, seed: int = 0) -> LungStack:
    """Slices with a wall of bone or plastic around rooms of any density, and no lung.

    Every slice is another body, so that neighbours mean nothing in them.
    """
    rng = np.random.default_rng(seed)
    hu = np.stack([_body(rng) for _ in range(count)])
    sides = np.zeros(hu.shape, np.uint8)
    return shrunk("hollow_bodies", "empty", hu, sides, (20.0, 1.6, 1.6), is_ordered=False)


def _body(rng: np.random.Generator) -> FloatArray:
    hu = np.full((_SIDE, _SIDE), -1000.0, np.float32)
    centre = tuple(int(v) for v in rng.normal(_SIDE / 2, 5, 2))
    outer = int(rng.uniform(30, 66)), int(rng.uniform(40, 74))
    turn = rng.normal(0, 15)
    skin, wall = int(rng.uniform(0, 8)), int(rng.uniform(2, 9))
    cv2.ellipse(hu, centre, outer, turn, 0, 360, rng.uniform(-80, 80), -1)
    shell = tuple(max(4, axis - skin) for axis in outer)
    cv2.ellipse(hu, centre, shell, turn, 0, 360, rng.uniform(300, 1500), -1)
    room = tuple(max(3, axis - wall) for axis in shell)
    cv2.ellipse(hu, centre, room, turn, 0, 360, float(rng.choice(_ROOM_HU)), -1)
    for _ in range(int(rng.integers(0, 8))):  # sinuses, vertebrae, inserts
        place = tuple(int(c + rng.normal(0, 0.5) * axis) for c, axis in zip(centre, room, strict=True))
        size = int(rng.uniform(2, 16)), int(rng.uniform(2, 16))
        value = float(rng.choice([-1000.0, -1000.0, -300.0, 40.0, 400.0, 1200.0]))
        if rng.random() < 0.7:
            cv2.ellipse(hu, place, size, rng.uniform(0, 180), 0, 360, value, -1)
        else:
            cv2.rectangle(hu, place, (place[0] + size[0], place[1] + size[1]), value, -1)
    if rng.random() < 0.5:  # a table or a head rest
        row = centre[1] + outer[1] + int(rng.uniform(1, 8))
        cv2.ellipse(hu, (centre[0], row - 60), (70, 60), 0, 20, 160, rng.uniform(-300, 400), 2)
    hu += smooth_noise(rng, hu.shape, rng.uniform(10, 60)) * np.float32(rng.uniform(0, 30))
    hu += rng.normal(0, rng.uniform(2, 30), hu.shape).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(hu, (0, 0), rng.uniform(0.4, 1.6)), np.float32)
