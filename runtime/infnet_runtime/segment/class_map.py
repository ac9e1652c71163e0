"""Which kind of infection a voxel is: asked where the infection mask is, and nowhere else.

Ground glass where its probability on the scan's grid is at least that of consolidation, else consolidation;
the background has no say, for that a voxel is infected is known already. So both together are the mask, to
the voxel, and the mask is the same whether classes are asked for or not. A temperature would change neither
side of the comparison, so none is applied.
"""

import numpy as np

from infnet_runtime.arrays import BoolArray, ByteArray, FloatArray, zeros_in
from infnet_runtime.model.specs import CONSOLIDATION, GROUND_GLASS
from infnet_runtime.slices.preprocess import resize


class ClassMap:
    """What is filled in slice by slice, in LPS.

    Parameters
    ----------
    shape
        Of the scan.
    rows, columns
        The box that slices are given of.
    out
        Where the labels are written, (slice, row, column); an array of their own where absent.

    Attributes
    ----------
    labels : (slice, row, column)
        1 ground glass, 2 consolidation, else 0.
    """

    def __init__(
        self, shape: tuple[int, ...], rows: slice, columns: slice, *, out: ByteArray | None = None
    ) -> None:
        self.labels: ByteArray = zeros_in(out, shape)
        self._rows, self._columns = rows, columns

    def tell(self, number: int, infected: BoolArray, probability: FloatArray) -> None:
        """Tell the classes of one slice apart.

        Parameters
        ----------
        infected : (rows, columns)
            Infection that counts.
        probability : (2, rows, columns)
            Of ground glass and of consolidation.
        """
        hit = np.flatnonzero(infected.any(axis=1))
        if not hit.size:
            return
        low, high = int(hit[0]), int(hit[-1]) + 1  # no more than is marked is written, see sparse_zeros
        ground_glass, consolidation = probability[:, low:high]
        kinds = np.where(
            ground_glass >= consolidation, np.uint8(GROUND_GLASS.value), np.uint8(CONSOLIDATION.value)
        )
        place = slice(self._rows.start + low, self._rows.start + high)
        self.labels[number, place, self._columns] = kinds * infected[low:high]


def classes_on_grid(own: FloatArray, rows: int, columns: int) -> FloatArray:
    """Probabilities of the classes of one slice, (2, size, size) -> (2, rows, columns)."""
    return resize(own, rows, columns)
