"""A mask that is at hand already, measured as the result of a network is, without a network."""

from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from infnet_runtime.arrays import AnyArray, ByteArray, sparse_zeros
from infnet_runtime.backends.lungs import AUTO, lung_network
from infnet_runtime.measure.burden import quantify
from infnet_runtime.measure.classes import GIVEN, with_classes
from infnet_runtime.measure.result import Quantification
from infnet_runtime.measure.slices import SliceFinding, findings
from infnet_runtime.model.specs import CLASS_OUTPUT
from infnet_runtime.plausible.geometry import refuse_lost_geometry
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.infection_labels import CONSOLIDATION_LABEL, infection_labels
from infnet_runtime.scan.lung_mask import LungMask
from infnet_runtime.segment.found_lungs import lung_model_of, lungs_and_doubts
from infnet_runtime.segment.region import lungs_and_lobes
from infnet_runtime.segment.stopwatch import Stopwatch
from infnet_runtime.version import __version__


@dataclass(frozen=True)
class MeasuredHow:
    """How the numbers of a given mask came about.

    Parameters
    ----------
    lungs
        Found by the ``network`` or by ``threshold``, ``given``, ``lobes`` where those of the lobe mask were
        taken, or ``none``.
    lobes
        ``given`` or ``none``.
    seconds
        Wall time of each stage.
    mask, mask_sha256
        Name and bytes of the file; None where there was none.
    lung_model
        As of :class:`~infnet_runtime.segment.result.Provenance`.
    """

    infnet: str
    lungs: str
    lobes: str
    seconds: dict[str, float]
    mask: str | None = None
    mask_sha256: str | None = None
    lung_model: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Measured:
    """Numbers of a given mask.

    Parameters
    ----------
    volume
        The scan.
    mask : (i, j, k), 0 or 1
        What was measured: the given mask inside the lungs.
    lungs : (i, j, k)
        1 is the patient's right lung, 2 the left.
    slices
        Every slice with lung, from the feet.
    """

    volume: CtVolume
    mask: ByteArray
    lungs: ByteArray
    quantification: Quantification
    slices: tuple[SliceFinding, ...]
    provenance: MeasuredHow


def measure_mask(
    scan: CtVolume,
    mask: AnyArray,
    *,
    lungs: AnyArray | LungMask | None = None,
    lobes: AnyArray | None = None,
    lungs_by: str = AUTO,
) -> Measured:
    """Measure an infection mask.

    Parameters
    ----------
    mask : (i, j, k)
        On the scan's grid, in its stored order: 0 and 1, or 0, 1 ground glass and 2 consolidation, the
        classes then being those of the mask.
    lungs : (i, j, k)
        As of :meth:`~infnet_runtime.segment.segmenter.Segmenter.predict`; those of the lobes where absent,
        else found.
    lobes : (i, j, k)
        As of :func:`~infnet_runtime.lungs.lobes.given_lobes`.
    lungs_by
        As of :func:`~infnet_runtime.segment.segmenter.load`.

    Raises
    ------
    InputError
        If the scan, the mask, the lungs or the lobes are refused.
    GeometryError
        If a shape is not that of the scan.
    ModelError, BackendError
        If the network that finds the lungs cannot be had, and was asked for.
    """
    watch = Stopwatch()
    grid = scan.grid
    refuse_lost_geometry(grid, scan.source)
    given = scan.to_lps(infection_labels(mask, "array"))
    from_lobes = lungs is None and lobes is not None
    lungs, by_lobe = lungs_and_lobes(lungs, lobes, grid, scan.source)
    network = lung_network(lungs_by) if lungs is None else None
    with nullcontext() if network is None else network:
        lung_labels, flags = lungs_and_doubts(scan, lungs, network, has_size=grid.has_size, for_network=False)
    watch.lap("lungs")
    lung_planes = lung_labels.to_lps()
    inside, outside_voxels = _inside(given, lung_planes)
    found = findings(inside, lung_planes, grid.pixel_mm2, z_mm=grid.slice_z_mm)
    infection = np.minimum(inside, 1)
    numbers = quantify(
        infection,
        lung_planes,
        grid.voxel_ml,
        hu=scan.to_lps() if scan.intensity is Intensity.HU else None,
        lobes=None if by_lobe is None else grid.to_lps(by_lobe),
        slice_mm=grid.slice_mm,
        outside_voxels=outside_voxels,
        flags=flags,
    )
    if given.max() == CONSOLIDATION_LABEL:
        numbers = with_classes(
            numbers, inside, lung_planes, grid.voxel_ml, labels=CLASS_OUTPUT.labels, source=GIVEN
        )
    watch.lap("quantification")
    return Measured(
        volume=scan,
        mask=scan.from_lps(infection),
        lungs=lung_labels.labels,
        quantification=numbers,
        slices=found,
        provenance=MeasuredHow(
            infnet=__version__,
            lungs="lobes" if from_lobes else lung_labels.origin,
            lobes="none" if by_lobe is None else "given",
            seconds=watch.seconds,
            lung_model=lung_model_of(lung_labels, network),
        ),
    )


def _inside(mask: ByteArray, lungs: ByteArray) -> tuple[ByteArray, int]:
    """Labels inside the lungs, and the marked voxels outside."""
    inside = sparse_zeros(mask.shape)
    outside = 0
    for target, marked, lung in zip(inside, mask, lungs, strict=True):
        if marked.any():
            np.copyto(target, marked, where=lung > 0)
            outside += int(np.count_nonzero(marked)) - int(np.count_nonzero(target))
    return inside, outside
