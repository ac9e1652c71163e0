"""Ways in which people's scans had a wrong place in the patient: the same voxels, another affine."""

from collections.abc import Callable

import numpy as np

from infnet_runtime.arrays import Affine

GridChange = Callable[[Affine], Affine]


def _scaled(*factors: float) -> GridChange:
    """Spacings along the world axes multiplied, the place kept."""

    def change(affine: Affine) -> Affine:
        return np.diag([*factors, 1.0]) @ affine

    return change


def _turned(*axes: int, signs: tuple[int, int, int] = (1, 1, 1)) -> GridChange:
    """World axes in another order, some mirrored."""

    def change(affine: Affine) -> Affine:
        turned = affine.copy()
        turned[:3] = affine[list(axes)] * np.array(signs)[:, None]
        return turned

    return change


SPOILT_GRIDS: dict[str, GridChange] = {
    "identity": lambda affine: np.eye(4),
    "metres": _scaled(0.001, 0.001, 0.001),
    "centimetres": _scaled(0.1, 0.1, 0.1),
    "spacing x 10": _scaled(10, 10, 10),
    "slice distance x 5": _scaled(1, 1, 5),
    "slice distance / 5": _scaled(1, 1, 0.2),
    "front and back exchanged": _turned(0, 1, 2, signs=(1, -1, 1)),
    "head and foot exchanged": _turned(0, 1, 2, signs=(1, 1, -1)),
    "a quarter turn": _turned(1, 0, 2, signs=(-1, 1, 1)),
    "slices taken for coronal": _turned(0, 2, 1),
}
"""What should be refused or flagged; ``docs/plausibility.md`` says what cannot be told."""
