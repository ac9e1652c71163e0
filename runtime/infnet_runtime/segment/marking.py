"""From what the network gives to the mask: slices come in order, batch by batch, and are marked."""

from collections.abc import Sequence

import numpy as np

from infnet_runtime.arrays import BoolArray, ByteArray, FloatArray, HalfArray, sparse_zeros
from infnet_runtime.model.coarse_logits import CoarseSpec
from infnet_runtime.model.manifest import OutputSpec
from infnet_runtime.segment.region import Region, numbers
from infnet_runtime.segment.thinned import Between
from infnet_runtime.slices.enlarge import infected_from_logits
from infnet_runtime.slices.neighbours import Picked
from infnet_runtime.slices.preprocess import from_network, infected_on_grid


class Marking:
    """What is filled in batch by batch, in LPS.

    Parameters
    ----------
    looked_at
        Where, and which slices come.
    output
        Of the model.
    keep_probability
        Whether probabilities are wanted.
    coarse
        Given where coarse logits come in place of probabilities; neither kept nor interpolated then.

    Attributes
    ----------
    mask : (slice, row, column)
        Infection that counts.
    probability : (slice, row, column)
        None unless asked for.
    outside_voxels
        Infection where none counts.
    """

    def __init__(
        self,
        looked_at: Region,
        output: OutputSpec,
        *,
        keep_probability: bool,
        coarse: CoarseSpec | None = None,
    ) -> None:
        shape = looked_at.inside.shape
        self.mask: ByteArray = sparse_zeros(shape)
        self.probability: HalfArray | None = sparse_zeros(shape, np.float16) if keep_probability else None
        self.outside_voxels = 0
        self._looked_at, self._output, self._coarse = looked_at, output, coarse
        self._between: Between | None = None
        if looked_at.run != looked_at.slices:
            self._between = Between(looked_at.slices, np.asarray if keep_probability else self._one_on_grid)

    def add(self, picked: Picked, own: FloatArray) -> None:
        """Mark slices that ran, and those between them and the ones before.

        Parameters
        ----------
        own : (n, size, size)
            The network's own probabilities, or its coarse logits, (n, size / factor, size / factor).
        """
        if self._coarse is not None:
            infected = infected_from_logits(
                own,
                self._coarse.factor,
                *self._looked_at.box_shape,
                threshold=self._output.threshold,
                temperature=self._output.temperature,
            )
            self._mark(picked, infected)
        elif self.probability is None:
            infected = infected_on_grid(
                own,
                *self._looked_at.box_shape,
                threshold=self._output.threshold,
                temperature=self._output.temperature,
            )  # (n, rows, columns)
            self._mark(picked, infected)
            self._add_between(numbers(picked), own, infected)
        else:
            on_grid = self._on_grid(own)
            infected = on_grid >= self._output.threshold
            self._keep(picked, on_grid)
            self._mark(picked, infected)
            self._add_between(numbers(picked), on_grid, infected)

    def _add_between(self, run: Sequence[int], planes: FloatArray, infected: BoolArray) -> None:
        if self._between is None:
            return
        keep_all = self.probability is not None
        matters = [keep_all or bool(plane.any()) for plane in infected]
        for number, probability in self._between.after(run, planes, matters):
            self._keep([number], probability[None])
            self._mark([number], probability[None] >= self._output.threshold)

    def _keep(self, picked: Picked, probability: FloatArray) -> None:
        if self.probability is not None:
            self.probability[picked, self._looked_at.rows, self._looked_at.columns] = probability

    def _mark(self, picked: Picked, infected: BoolArray) -> None:
        if not infected.any():
            return
        rows, columns = self._looked_at.rows, self._looked_at.columns
        counted = infected & (self._looked_at.inside[picked, rows, columns] > 0)
        hit = np.flatnonzero(counted.any(axis=(0, 2)))
        if hit.size:  # no more than is marked is written, see sparse_zeros
            low, high = int(hit[0]), int(hit[-1]) + 1
            self.mask[picked, rows.start + low : rows.start + high, columns] = counted[:, low:high]
        self.outside_voxels += int(np.count_nonzero(infected)) - int(np.count_nonzero(counted))

    def _on_grid(self, own: FloatArray) -> FloatArray:
        """(n, size, size) -> (n, rows, columns)."""
        return from_network(own, *self._looked_at.box_shape, temperature=self._output.temperature)

    def _one_on_grid(self, own: FloatArray) -> FloatArray:
        on_grid: FloatArray = self._on_grid(own[None])[0]
        return on_grid
