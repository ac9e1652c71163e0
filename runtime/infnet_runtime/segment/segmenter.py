"""From a CT volume to an infection mask and its quantification: the path everything else serves.

volume -> LPS -> lungs -> box around them -> batches of slices -> network -> probabilities on the scan's grid
-> temperature -> threshold inside the lungs -> mask in the order of the file -> millilitres.

With more than one thread the slices before and after a batch are prepared and finished while the network runs
(:mod:`~infnet_runtime.segment.overlap`); the result is the same to the bit.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from infnet_runtime.arrays import AnyArray, ByteArray, FloatArray
from infnet_runtime.backends import Session, open_session
from infnet_runtime.backends.session import run_checked
from infnet_runtime.cpu import usable_cores
from infnet_runtime.errors import InputError
from infnet_runtime.io import open_scan
from infnet_runtime.lungs import find_lungs, lung_box, slices_with_lung
from infnet_runtime.measure.burden import quantify
from infnet_runtime.model.manifest import ModelManifest
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.segment.overlap import one_after_another, overlapped
from infnet_runtime.segment.result import Provenance, Segmentation
from infnet_runtime.slices.preprocess import from_network, infected_on_grid, to_network
from infnet_runtime.version import __version__

Progress = Callable[[int, int], None]
Slices = slice | list[int]


class Segmenter:
    """A loaded model, ready for scans. Close it, or use it as a context manager.

    Parameters
    ----------
    session
        The network; closed together with the segmenter.
    threads
        0 takes what the machine gives this process. With 1 the stages follow each other and nothing runs
        beside the network.
    """

    def __init__(self, session: Session, *, threads: int = 0) -> None:
        self._session = session
        self._in_order = one_after_another if (threads or usable_cores()) == 1 else overlapped

    @property
    def manifest(self) -> ModelManifest:
        """What the model says about itself."""
        return self._session.manifest

    def predict(
        self,
        scan: CtVolume | Path | str,
        *,
        lungs: ByteArray | None = None,
        quantitative: bool = True,
        batch_size: int | None = None,
        keep_probability: bool = False,
        progress: Progress | None = None,
    ) -> Segmentation:
        """Segment one scan.

        Parameters
        ----------
        scan
            A volume, or the path of a file that ``infnet_runtime.io.open_scan`` reads.
        lungs : (i, j, k)
            Lung mask on the scan's grid, 1 the patient's right lung and 2 the left; found where absent.
        quantitative
            Whether the voxel size means anything; a picture read from a path says so itself.
        batch_size
            Slices for the network at a time; what suits the backend where absent.
        keep_probability
            Also return the probabilities, two bytes a voxel.
        progress
            Called with (slices done, slices to do).

        Raises
        ------
        InputError
            If the scan or the lungs are refused.
        GateError
            If the network returns anything but probabilities.
        """
        watch = _Stopwatch()
        if not isinstance(scan, CtVolume):
            opened = open_scan(Path(scan))
            scan, quantitative = opened.volume, quantitative and opened.quantitative
        if batch_size is None:
            batch_size = self._session.batch_size
        if batch_size < 1:
            raise InputError(f"batch size is {batch_size}, expected 1 or more", code=3072)
        watch.lap("read")
        voxels = scan.to_lps()  # (slice, row, column)
        flags: list[str] = []
        lung_labels, source = self._lungs(scan, voxels, lungs, flags)
        whole_picture = not quantitative and not lung_labels.any()
        if whole_picture:
            # A picture cut so tightly that no lung is recognised: look at all of it, and say so.
            lung_labels, source = np.ones(voxels.shape, np.uint8), "none"
        watch.lap("lungs")

        spec, output = self.manifest.preprocess, self.manifest.output
        rows, columns = lung_box(lung_labels, scan.lps_spacing_mm, spec.crop_margin_mm)
        box = rows.stop - rows.start, columns.stop - columns.start
        todo = [int(i) for i in slices_with_lung(lung_labels)]
        mask = np.zeros(voxels.shape, np.uint8)
        kept = np.zeros(voxels.shape, np.float16) if keep_probability else None
        outside = 0

        def prepare(picked: Slices) -> FloatArray:
            return to_network(voxels[picked, rows, columns], scan.intensity, spec)

        def compute(batch: FloatArray) -> FloatArray:
            return run_checked(self._session, batch)

        def finish(picked: Slices, own: FloatArray) -> None:
            nonlocal outside
            if kept is None:
                infected = infected_on_grid(
                    own, *box, threshold=output.threshold, temperature=output.temperature
                )  # (n, rows, columns)
            else:
                probability = from_network(own, *box, temperature=output.temperature)
                kept[picked, rows, columns] = probability
                infected = probability >= output.threshold
            if not infected.any():
                return
            marked = infected & (lung_labels[picked, rows, columns] > 0)
            mask[picked, rows, columns] = marked
            outside += int(np.count_nonzero(infected)) - int(np.count_nonzero(marked))

        done = 0
        with closing(self._in_order(_batches(todo, batch_size), prepare, compute, finish)) as finished:
            for picked in finished:
                done += len(range(*picked.indices(len(voxels)))) if isinstance(picked, slice) else len(picked)
                if progress:
                    progress(done, len(todo))
        watch.lap("network")

        quantification = quantify(
            mask,
            lung_labels,
            scan.voxel_volume_ml if quantitative else None,
            outside_voxels=outside,
            flags=tuple(flags),
        )
        watch.lap("quantification")
        return Segmentation(
            volume=scan,
            mask=scan.from_lps(mask),
            lungs=scan.from_lps(np.zeros_like(lung_labels) if whole_picture else lung_labels),
            quantification=quantification,
            provenance=self._provenance(
                source, batch_size, len(todo), len(voxels) - len(todo), watch.seconds
            ),
            probability=None if kept is None else scan.from_lps(kept),
        )

    def _lungs(
        self, scan: CtVolume, voxels: AnyArray, given: ByteArray | None, flags: list[str]
    ) -> tuple[ByteArray, str]:
        if given is not None:
            labels = scan.to_lps(given)
            if labels.size and labels.max() > 2:
                raise InputError(
                    f"the lung mask has labels up to {labels.max()}, expected 1 (right) and 2 (left); "
                    "bring it there with infnet_runtime.lungs.side_labels",
                    code=3071,
                )
            source = "given"
        else:
            labels = find_lungs(voxels, scan.lps_spacing_mm, scan.intensity)
            source = "found"
            flags.append("lung_mask_heuristic")
        if not labels.any():
            flags.append("no_lung_found")
        return labels, source

    def _provenance(
        self, lungs: str, batch_size: int, run: int, skipped: int, seconds: dict[str, float]
    ) -> Provenance:
        session, manifest = self._session, self.manifest
        return Provenance(
            infnet=__version__,
            model=manifest.name,
            model_version=manifest.version,
            model_sha256=session.model_sha256,
            backend=session.backend,
            device=session.device,
            threshold=manifest.output.threshold,
            temperature=manifest.output.temperature,
            lungs=lungs,
            batch_size=batch_size,
            slices_run=run,
            slices_skipped=skipped,
            seconds=seconds,
        )

    def close(self) -> None:
        """Release the model."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def load(
    model: Path | str | None = None,
    *,
    device: str = "auto",
    threads: int = 0,
    backend: str = "auto",
    batch_size: int | None = None,
) -> Segmenter:
    """Load a model for scans.

    Parameters
    ----------
    model
        An ONNX file written by ``infnet-export``, or a TensorRT engine; the shipped one where absent.
    device
        ``cpu``, ``cuda`` or ``cuda:N`` are used or refused; ``auto`` takes a CUDA device if one works.
    threads
        CPU threads; 0 takes what the machine gives this process.
    backend
        ``onnxruntime``, ``openvino`` or ``tensorrt`` are used or refused; ``auto`` takes the first that
        works.
    batch_size
        Slices that the backend is prepared for at a time; what suits it where absent.

    Raises
    ------
    ModelError
        If the model is missing, damaged or foreign.
    BackendError
        If the backend is not installed or the device is not there.
    """
    path = None if model is None else Path(model)
    session = open_session(path, device=device, threads=threads, backend=backend, batch_size=batch_size)
    return Segmenter(session, threads=threads)


def _batches(slices: list[int], size: int) -> Iterator[Slices]:
    """Slices of each batch, as a plain slice where they are neighbours."""
    for start in range(0, len(slices), size):
        part = slices[start : start + size]
        neighbours = part[-1] - part[0] == len(part) - 1
        yield slice(part[0], part[-1] + 1) if neighbours else part


class _Stopwatch:
    """Wall time between laps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now
