"""Results for the series of ``dicom_world``, whose masks are the truth of the phantom."""

import numpy as np

import dicom_world
from infnet_runtime import CtVolume, Intensity, Provenance, Segmentation
from infnet_runtime.arrays import Affine, AnyArray, ByteArray
from infnet_runtime.measure.burden import quantify
from infnet_runtime.measure.classes import with_classes
from infnet_runtime.measure.flags import LUNGS_BY_THRESHOLD
from infnet_runtime.model.specs import CONSOLIDATION, GROUND_GLASS
from infnet_runtime.scan.grid import Grid
from infnet_runtime.scan.phantom import ChestPhantom

PROVENANCE = Provenance(
    "1.2.3", "infnet", "7", "ab" * 32, "b", "float32", "cpu", 0.5, 1.0, "network", 4, False, 2, 0, 0, {}
)


def stored(array: AnyArray) -> AnyArray:
    """An array (slice, row, column) of a phantom as (column, row, slice), as readers give a series."""
    return array.transpose(2, 1, 0)


def result_of(
    phantom: ChestPhantom,
    *,
    affine: Affine | None = None,
    lungs: ByteArray | None = None,
    classes: bool = False,
    flags: tuple = (LUNGS_BY_THRESHOLD,),
) -> Segmentation:
    """The truth of a phantom as a result on the grid of its series.

    Parameters
    ----------
    lungs : (slices, rows, columns)
        In place of the phantom's.
    """
    lungs = phantom.lungs if lungs is None else lungs
    mask = (phantom.infection & (lungs > 0)).astype(np.uint8)
    affine = dicom_world.affine(phantom) if affine is None else affine
    volume = CtVolume.on_grid(
        stored(phantom.hu), Grid(stored(phantom.hu).shape, affine), Intensity.HU, "series"
    )
    voxel_ml = volume.grid.voxel_ml
    numbers = quantify(mask, lungs, voxel_ml, hu=phantom.hu, flags=flags)
    kinds = None
    if classes:
        kinds = mask * (1 + (np.arange(mask.shape[2]) % 2)).astype(np.uint8)
        names = {
            str(one.value): {"name": one.name, "code": one.code} for one in (GROUND_GLASS, CONSOLIDATION)
        }
        numbers = with_classes(numbers, kinds, lungs, voxel_ml, labels=names)
    return Segmentation(
        volume,
        stored(mask),
        stored(lungs),
        numbers,
        PROVENANCE,
        None,
        None if kinds is None else stored(kinds),
    )
