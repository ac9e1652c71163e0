"""Network input of slices in their volume, where the planes below and above can be channels."""

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import FloatArray
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_runtime.model.specs import NEIGHBOURS
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.scan.rescaled import Voxels
from infnet_runtime.slices.preprocess import normalise_planes, resize, to_grey, to_network

Picked: TypeAlias = slice | list[int]
Box: TypeAlias = tuple[slice, slice]


def volume_to_network(
    voxels: Voxels,
    picked: Picked,
    box: Box,
    intensity: Intensity,
    spec: PreprocessSpec,
    *,
    spacing_mm: float,
) -> FloatArray:
    """Network input of some slices of a volume.

    Which slices are asked for together is no matter: the neighbours come from the volume.

    Parameters
    ----------
    voxels : (slice, row, column), HU or 8-bit grey
        Canonical orientation, slices foot to head.
    picked
        Slices.
    box
        Rows and columns of the crop.
    spacing_mm : mm
        Distance of the slices.

    Returns
    -------
    (n, channels, size, size)
    """
    rows, columns = box
    if spec.channels != NEIGHBOURS:
        return to_network(voxels[picked, rows, columns], intensity, spec)
    numbers = np.arange(len(voxels))[picked]
    planes = neighbour_planes(numbers, len(voxels), plane_step(spec.neighbour_step_mm, spacing_mm))
    needed, place = np.unique(planes, return_inverse=True)  # each is prepared once
    grey = resize(to_grey(voxels[needed, rows, columns], intensity, spec), spec.size, spec.size)
    return normalise_planes(grey[place.reshape(planes.shape)], spec)


def plane_step(step_mm: float, spacing_mm: float) -> int:
    """How many planes of a scan are nearest to a distance; 0 where the slice itself is.

    Examples
    --------
    >>> [plane_step(5.0, spacing) for spacing in (0.7, 1.0, 4.0, 5.0, 10.0, 12.0)]
    [7, 5, 1, 1, 1, 0]
    """
    return math.floor(step_mm / spacing_mm + 0.5)


def neighbour_planes(numbers: npt.NDArray[np.intp], planes: int, step: int) -> npt.NDArray[np.intp]:
    """Planes that are the channels of some slices: below (towards the feet), own, above.

    Beyond the ends of the scan the first and the last plane are repeated.

    Examples
    --------
    >>> neighbour_planes(np.array([0, 1, 9]), 10, 2).tolist()
    [[0, 0, 2], [0, 1, 3], [7, 9, 9]]
    """
    channels = numbers[:, None] + np.array([-step, 0, step])  # (n,) -> (n, 3)
    return np.asarray(np.clip(channels, 0, planes - 1), np.intp)
