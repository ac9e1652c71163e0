"""From a CT volume to an infection mask and its quantification: the path everything else serves.

volume -> LPS -> lungs -> box around them -> batches of slices -> network -> probabilities on the scan's grid
-> temperature -> threshold inside the lungs -> mask in the order of the file -> millilitres.

With more than one thread the slices before and after a batch are prepared and finished while the network runs
(:mod:`~infnet_runtime.segment.overlap`); the result is the same to the bit.
"""

from bisect import bisect_right
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends import Session
from infnet_runtime.backends.lungs import LungNetwork
from infnet_runtime.backends.session import classes_of, logits_of, run_checked, whole_infection
from infnet_runtime.cancel import go_on
from infnet_runtime.host.buffers import NO_TARGETS
from infnet_runtime.lungs.reduced import Reduced
from infnet_runtime.measure.burden import quantify
from infnet_runtime.measure.classes import with_classes
from infnet_runtime.measure.flat_marks import flat_marks
from infnet_runtime.measure.flat_marks import remark as flat_remark
from infnet_runtime.measure.flip import compared
from infnet_runtime.measure.slices import findings, is_silenced
from infnet_runtime.measure.slices import remark as gate_remark
from infnet_runtime.model.manifest import ModelManifest, OutputSpec
from infnet_runtime.plausible.geometry import refuse_lost_geometry
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.grid import Grid
from infnet_runtime.segment.found_lungs import lung_model_of, lungs_and_doubts
from infnet_runtime.segment.marking import Given, Marking
from infnet_runtime.segment.overlap import one_after_another, overlapped
from infnet_runtime.segment.region import Region, lungs_and_lobes, numbers, region
from infnet_runtime.segment.result import Provenance, Segmentation
from infnet_runtime.segment.stopwatch import Stopwatch
from infnet_runtime.segment.thinned import remark
from infnet_runtime.segment.wanted import Wanted
from infnet_runtime.slices.neighbours import Picked, volume_to_network
from infnet_runtime.version import __version__


@dataclass(frozen=True, eq=False)
class Loaded:
    """A network, and how it is run.

    Parameters
    ----------
    kinds
        Its output of classes, where they are told.
    overlaps
        Whether slices are prepared and finished while the network runs.
    choice
        Why this session was opened and no other, for the report.
    lungs
        What finds the lungs besides thresholds.
    """

    session: Session
    kinds: OutputSpec | None
    overlaps: bool
    choice: str
    lungs: LungNetwork | None = None

    @property
    def manifest(self) -> ModelManifest:
        """What the model says about itself."""
        return self.session.manifest


def segmented(
    scan: CtVolume, wanted: Wanted, loaded: Loaded, watch: Stopwatch, reduced: Reduced | None = None
) -> Segmentation:
    """Take a volume that was read from its voxels to its millilitres.

    Parameters
    ----------
    watch
        Started before the scan was read.
    reduced
        What the lung finder looks at, where it was made while the scan came in.

    Raises
    ------
    InputError, GateError, Cancelled
        As of :meth:`~infnet_runtime.segment.segmenter.Segmenter.predict`.
    """
    grid = scan.grid if wanted.quantitative else scan.grid.without_size()
    watch.lap("read")

    refuse_lost_geometry(grid, scan.source)
    lungs, lobes = lungs_and_lobes(wanted.lungs, wanted.lobes, grid, scan.source)
    lung_labels, flags = lungs_and_doubts(
        scan, lungs, loaded.lungs, has_size=grid.has_size, out=wanted.targets.lungs, reduced=reduced
    )
    looked_at = region(lung_labels, grid, loaded.manifest.preprocess.crop_margin_mm, fast=wanted.fast)
    if wanted.fast:
        flags = (*flags, remark(grid, with_lung=len(looked_at.slices), run=len(looked_at.run)))
    watch.lap("lungs")

    marked = _mark(scan, looked_at, wanted, loaded)
    flat_voxels = _drop_flat(marked, looked_at, grid, wanted)
    if flat_voxels and grid.voxel_ml:
        flags = (*flags, *flat_remark(flat_voxels, grid.voxel_ml))
    flip = None
    if wanted.flip_check:
        mirrored = _mark(scan, looked_at, wanted, loaded, mirrored=True)
        _drop_flat(mirrored, looked_at, grid, wanted)
        flip = compared(marked.mask, mirrored.mask)
        flags = (*flags, *flip.flags(grid.voxel_ml))
    go_on()
    watch.lap("network")

    lung_planes = looked_at.lungs.to_lps()
    found = findings(
        marked.mask, lung_planes, grid.pixel_mm2, loaded.manifest.slice_gate, z_mm=grid.slice_z_mm
    )
    if wanted.gate is not None:
        for one in filter(is_silenced, found):
            marked.silence(one.number - 1)
        flags = (*flags, gate_remark(found, wanted.gate, grid.plane_mm))
    quantification = quantify(
        marked.mask,
        lung_planes,
        grid.voxel_ml,
        hu=scan.to_lps() if scan.intensity is Intensity.HU else None,
        lobes=None if lobes is None else grid.to_lps(lobes),
        slice_mm=grid.slice_mm,
        infection_ml_band=marked.band_ml(grid.voxel_ml),
        flip=flip,
        outside_voxels=marked.outside_voxels,
        flat_voxels=flat_voxels,
        false_marks=loaded.manifest.false_marks,
        flags=flags,
    )
    if marked.class_map is not None and loaded.kinds is not None:
        quantification = with_classes(
            quantification,
            marked.class_map.labels,
            lung_planes,
            grid.voxel_ml,
            labels=loaded.kinds.labels,
        )
    watch.lap("quantification")
    return Segmentation(
        volume=scan,
        mask=scan.from_lps(marked.mask),
        lungs=looked_at.lungs.labels,
        quantification=quantification,
        provenance=_provenance(looked_at, wanted, loaded, watch.seconds),
        probability=None if marked.probability is None else scan.from_lps(marked.probability),
        classes=None if marked.class_map is None else scan.from_lps(marked.class_map.labels),
        slices=found,
    )


def _mark(
    scan: CtVolume, looked_at: Region, wanted: Wanted, loaded: Loaded, *, mirrored: bool = False
) -> Marking:
    """Send the slices through the network, and mark infection where it counts.

    Parameters
    ----------
    mirrored
        Left to right on the way in, and back on the way out; nothing but the mask is made then.
    """
    voxels = scan.to_lps()  # (slice, row, column)
    spec, spacing_mm = loaded.manifest.preprocess, scan.lps_spacing_mm[0]
    box = looked_at.rows, looked_at.columns
    keep_probability = wanted.keep_probability and not mirrored
    kinds = None if mirrored else loaded.kinds
    # Only a mask is made from coarse logits: where probabilities are needed, all of them are enlarged.
    whole = keep_probability or looked_at.run != looked_at.slices
    coarse = None if whole else loaded.session.coarse
    marking = Marking(
        looked_at,
        loaded.manifest.output,
        keep_probability=keep_probability,
        coarse=coarse,
        with_classes=kinds is not None,
        targets=NO_TARGETS if mirrored else wanted.targets.to_lps(scan.grid),
    )

    def prepare(picked: Picked) -> FloatArray:
        batch = volume_to_network(voxels, picked, box, scan.intensity, spec, spacing_mm=spacing_mm)
        return _mirrored(batch) if mirrored else batch

    def compute(batch: FloatArray) -> Given:
        go_on()
        outputs = run_checked(loaded.session, batch)
        classes = None if kinds is None else classes_of(outputs, loaded.manifest)
        if coarse is None:
            infection = whole_infection(outputs, loaded.session)
        else:
            infection = logits_of(outputs, loaded.manifest, coarse)
        return Given(_mirrored(infection) if mirrored else infection, classes)

    turns, turn = (2, int(mirrored)) if wanted.flip_check else (1, 0)
    in_order = overlapped if loaded.overlaps else one_after_another
    batches = looked_at.batches(wanted.batch_size)
    with closing(in_order(batches, prepare, compute, marking.add)) as finished:
        for picked in finished:
            if wanted.progress:
                # Those between slices that ran are done with them.
                done, every = bisect_right(looked_at.slices, numbers(picked)[-1]), len(looked_at.slices)
                wanted.progress(turn * every + done, turns * every)
    return marking


def _drop_flat(marked: Marking, looked_at: Region, grid: Grid, wanted: Wanted) -> int | None:
    """Take flat marks out; how many voxels, or None where none were looked for."""
    if wanted.keep_flat_marks or grid.pixel_mm2 is None or grid.plane_mm is None:
        return None
    slices, pixel_mm2 = looked_at.slices, grid.pixel_mm2
    return marked.drop(flat_marks(marked.mask, slices, pixel_mm2=pixel_mm2, plane_mm=grid.plane_mm))


def _mirrored(planes: FloatArray) -> FloatArray:
    """Columns in the opposite order."""
    return np.ascontiguousarray(planes[..., ::-1])


def _provenance(looked_at: Region, wanted: Wanted, loaded: Loaded, seconds: dict[str, float]) -> Provenance:
    session, manifest = loaded.session, loaded.manifest
    return Provenance(
        infnet=__version__,
        model=manifest.name,
        model_version=manifest.version,
        model_sha256=session.model_sha256,
        backend=session.backend,
        precision=session.precision,
        device=session.device,
        threshold=manifest.output.threshold,
        temperature=manifest.output.temperature,
        lungs=looked_at.lungs.origin,
        batch_size=wanted.batch_size,
        fast=wanted.fast,
        slices_run=len(looked_at.run),
        slices_interpolated=len(looked_at.slices) - len(looked_at.run),
        slices_skipped=len(looked_at.inside) - len(looked_at.slices),
        seconds=seconds,
        choice=loaded.choice,
        slice_gate_mm2=None if wanted.gate is None else wanted.gate.mm2,
        lobes="none" if wanted.lobes is None else "given",
        keep_flat_marks=wanted.keep_flat_marks,
        lung_model=lung_model_of(looked_at.lungs, loaded.lungs),
    )
