"""From what the network gives to the mask: slices come in order, batch by batch, and are marked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from infnet_runtime.arrays import BoolArray, ByteArray, FloatArray, HalfArray, zeros_in
from infnet_runtime.host.buffers import NO_TARGETS, Targets
from infnet_runtime.measure.flat_marks import FlatPart
from infnet_runtime.model.coarse_logits import CoarseSpec
from infnet_runtime.model.manifest import OutputSpec
from infnet_runtime.segment.band import BAND, Band
from infnet_runtime.segment.class_map import ClassMap, classes_on_grid
from infnet_runtime.segment.region import Region, numbers
from infnet_runtime.segment.thinned import Between
from infnet_runtime.slices.enlarge import infected_from_logits
from infnet_runtime.slices.neighbours import Picked
from infnet_runtime.slices.preprocess import from_network, infected_on_grid


@dataclass(frozen=True)
class Given:
    """What the network gave of some slices.

    Parameters
    ----------
    infection : (n, size, size)
        Its own probabilities, or coarse logits, (n, size / factor, size / factor).
    classes : (n, 2, size, size)
        Its own probabilities of ground glass and of consolidation; None where they are not wanted.
    """

    infection: FloatArray
    classes: FloatArray | None = None


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
    with_classes
        Whether the classes of the infection are told.
    targets
        Where what is filled in lies, in LPS, as far as it is given.

    Attributes
    ----------
    mask : (slice, row, column)
        Infection that counts.
    probability : (slice, row, column)
        None unless asked for.
    outside_voxels
        Infection where none counts.
    class_map
        None unless asked for.
    """

    def __init__(
        self,
        looked_at: Region,
        output: OutputSpec,
        *,
        keep_probability: bool,
        coarse: CoarseSpec | None = None,
        with_classes: bool = False,
        targets: Targets = NO_TARGETS,
    ) -> None:
        shape = looked_at.inside.shape
        self.mask: ByteArray = zeros_in(targets.mask, shape)
        self.probability: HalfArray | None = (
            zeros_in(targets.probability, shape, np.float16) if keep_probability else None
        )
        self.outside_voxels = 0
        self._band = Band(shape[0], output.threshold) if keep_probability else None
        self.class_map = (
            ClassMap(shape, looked_at.rows, looked_at.columns, out=targets.classes) if with_classes else None
        )
        self._looked_at, self._output, self._coarse = looked_at, output, coarse
        self._between: Between | None = None
        self._classes_between: Between | None = None
        if looked_at.run != looked_at.slices:
            self._between = Between(looked_at.slices, np.asarray if keep_probability else self._one_on_grid)
            if with_classes:
                self._classes_between = Between(looked_at.slices, self._classes_on_grid)

    def add(self, picked: Picked, given: Given) -> None:
        """Mark slices that ran, and those between them and the ones before."""
        own, classes = given.infection, given.classes
        if self._coarse is not None:
            infected = infected_from_logits(
                own,
                self._coarse.factor,
                *self._looked_at.box_shape,
                threshold=self._output.threshold,
                temperature=self._output.temperature,
            )
            self._mark(picked, infected, classes)
        elif self.probability is None:
            infected = infected_on_grid(
                own,
                *self._looked_at.box_shape,
                threshold=self._output.threshold,
                temperature=self._output.temperature,
            )  # (n, rows, columns)
            self._mark(picked, infected, classes)
            self._add_between(numbers(picked), own, infected, classes)
        else:
            on_grid = self._on_grid(own)
            infected = on_grid >= self._output.threshold
            self._keep(picked, on_grid)
            self._mark(picked, infected, classes)
            self._add_between(numbers(picked), on_grid, infected, classes)

    def silence(self, number: int) -> None:
        """Take out what was marked in the lungs of a slice."""
        self.mask[number] = 0
        if self._band is not None:
            self._band.silence(number)
        if self.class_map is not None:
            self.class_map.labels[number] = 0

    def drop(self, parts: Iterable[FlatPart]) -> int:
        """Take parts out of what was marked in the lungs; probabilities stay.

        Returns
        -------
        Voxels that were taken out.
        """
        voxels = 0
        for part in parts:
            self.mask[part.box][part.where] = 0
            if self.class_map is not None:
                self.class_map.labels[part.box][part.where] = 0
            self._drop_from_band(part)
            voxels += int(np.count_nonzero(part.where))
        return voxels

    def band_ml(self, voxel_ml: float | None) -> dict[str, float] | None:
        """Volume in ml of what counts at each threshold; None where probabilities are not kept."""
        if self._band is None or voxel_ml is None:
            return None
        return self._band.ml(voxel_ml)

    def _drop_from_band(self, part: FlatPart) -> None:
        if self.probability is None or self._band is None:
            return
        gone = np.zeros(self.mask.shape[1:], np.bool_)
        gone[part.rows, part.columns] = part.where
        rows, columns = self._looked_at.rows, self._looked_at.columns
        box = part.number, rows, columns
        self._band.drop(
            part.number,
            self.probability[box],
            self._looked_at.inside[box] > 0,
            self.mask[box] > 0,
            gone[rows, columns],
        )

    def _add_between(
        self, run: Sequence[int], planes: FloatArray, infected: BoolArray, classes: FloatArray | None
    ) -> None:
        if self._between is None:
            return
        keep_all = self.probability is not None
        matters = [keep_all or bool(plane.any()) for plane in infected]
        between = self._between.after(run, planes, matters)
        told: Iterable[FloatArray | None] = repeat(None)
        if self._classes_between is not None and classes is not None:
            # Of the same planes, in the same order, and taken to its end as well, as each holds its last.
            told = (plane for _, plane in self._classes_between.after(run, classes, matters))
        for (number, probability), kinds in zip(between, told, strict=self._classes_between is not None):
            self._keep([number], probability[None])
            counted = self._count([number], probability[None] >= self._output.threshold)
            if self.class_map is not None and kinds is not None:
                self.class_map.tell(number, counted[0], kinds)

    def _keep(self, picked: Picked, probability: FloatArray) -> None:
        if self.probability is None or self._band is None:
            return
        box = picked, self._looked_at.rows, self._looked_at.columns
        self.probability[box] = probability
        if probability.max() < min(BAND):
            return
        self._band.count(picked, probability, self._looked_at.inside[box] > 0)

    def _mark(self, picked: Picked, infected: BoolArray, classes: FloatArray | None) -> None:
        """Mark slices that ran; of classes come the network's own probabilities."""
        counted = self._count(picked, infected)
        if self.class_map is None or classes is None:
            return
        for number, infected, own in zip(numbers(picked), counted, classes, strict=True):
            if infected.any():
                self.class_map.tell(number, infected, self._classes_on_grid(own))

    def _count(self, picked: Picked, infected: BoolArray) -> BoolArray:
        """Write what counts of an infection into the mask, and return it."""
        if not infected.any():
            return infected
        rows, columns = self._looked_at.rows, self._looked_at.columns
        counted: BoolArray = infected & (self._looked_at.inside[picked, rows, columns] > 0)
        hit = np.flatnonzero(counted.any(axis=(0, 2)))
        if hit.size:  # no more than is marked is written, see sparse_zeros
            low, high = int(hit[0]), int(hit[-1]) + 1
            self.mask[picked, rows.start + low : rows.start + high, columns] = counted[:, low:high]
        self.outside_voxels += int(np.count_nonzero(infected)) - int(np.count_nonzero(counted))
        return counted

    def _on_grid(self, own: FloatArray) -> FloatArray:
        """(n, size, size) -> (n, rows, columns)."""
        return from_network(own, *self._looked_at.box_shape, temperature=self._output.temperature)

    def _one_on_grid(self, own: FloatArray) -> FloatArray:
        on_grid: FloatArray = self._on_grid(own[None])[0]
        return on_grid

    def _classes_on_grid(self, own: FloatArray) -> FloatArray:
        """(2, size, size) -> (2, rows, columns)."""
        return classes_on_grid(own, *self._looked_at.box_shape)
