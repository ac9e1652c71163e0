"""A loaded model, and the ways to give it a scan: a file, a volume, memory of a host, plane by plane.

What happens to the scan then is in :mod:`~infnet_runtime.segment.path`.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from infnet_runtime.arrays import AnyArray
from infnet_runtime.backends import Session
from infnet_runtime.backends.lungs import AUTO, lung_network
from infnet_runtime.backends.open import open_chosen
from infnet_runtime.backends.session import ClosedByBlock
from infnet_runtime.cancel import Cancel, cancelled_by, go_on
from infnet_runtime.cpu import usable_cores, using_threads
from infnet_runtime.errors import InfnetError, InputError, ModelError
from infnet_runtime.home import Home
from infnet_runtime.host.buffers import NO_TARGETS, Targets, shared, targets, volume_view
from infnet_runtime.io import open_scan
from infnet_runtime.lungs.reduced import Reduced
from infnet_runtime.model.asked import Asked, no_classes
from infnet_runtime.model.manifest import ModelManifest
from infnet_runtime.model.slice_gate import SliceGate
from infnet_runtime.plausible.geometry import refuse_lost_geometry
from infnet_runtime.scan.ct import CtVolume, Intensity, known_intensity
from infnet_runtime.scan.grid import Grid
from infnet_runtime.scan.lung_mask import LungMask
from infnet_runtime.scan.rescaled import rescaled, slope_and_intercept
from infnet_runtime.segment.path import Loaded, segmented
from infnet_runtime.segment.result import Segmentation
from infnet_runtime.segment.stopwatch import Stopwatch
from infnet_runtime.segment.stream import Stream, memory_of
from infnet_runtime.segment.wanted import Progress, Wanted

_ITS_OWN_ERRORS: dict[str, Any] = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
"""NumPy's own; a host's thread may have been told to raise, where a probability near 0 is rounded for one."""


class Segmenter(ClosedByBlock):
    """A loaded model, ready for scans. Close it, or use it as a context manager.

    Parameters
    ----------
    session
        The network; closed together with the segmenter.
    threads
        0 takes what the machine gives this process. With 1 the stages follow each other and nothing runs
        beside the network. OpenCV, whose number of threads is that of the whole process, is held to this one
        while a scan is segmented.
    choice
        Why this session was opened and no other, for the report.
    classes
        Also tell where the infection is ground glass and where consolidation.
    lungs_by
        As of :func:`load`.
    cache
        As of :func:`load`, for the network that finds the lungs.

    Raises
    ------
    ModelError
        If classes are asked for, and the session does not give them, or the network that is to find the lungs
        is missing or damaged.
    BackendError
        If nothing is installed that runs that network, and it was asked for.
    """

    def __init__(
        self,
        session: Session,
        *,
        threads: int = 0,
        choice: str = "",
        classes: bool = False,
        lungs_by: str = AUTO,
        cache: bool = True,
    ) -> None:
        self._home = Home(self)  # first, so that pickling ends at it
        self._session, self.threads = session, threads
        kinds = session.manifest.class_output if classes else None
        if classes and kinds is None:
            raise no_classes(session.manifest, f"the session of {session.manifest.name}")
        overlaps = (threads or usable_cores()) > 1
        self._lungs = lung_network(lungs_by, beside=session.backend, cache=cache)
        self._loaded = Loaded(session, kinds, overlaps=overlaps, choice=choice, lungs=self._lungs)

    @property
    def manifest(self) -> ModelManifest:
        """What the model says about itself."""
        return self._session.manifest

    @property
    def slice_gate(self) -> SliceGate:
        """The gate of the model.

        Raises
        ------
        ModelError
            If it has none.
        """
        gate = self.manifest.slice_gate
        if gate is None:
            raise ModelError(
                f"the model {self.manifest.name} {self.manifest.version} has no slice gate: from which score "
                "on a slice counts as infected is measured for each model (docs/slice-gate.md); leave the "
                "option out, or give a model that has one",
                code=4076,
            )
        return gate

    def predict(
        self,
        scan: CtVolume | Path | str,
        *,
        lungs: AnyArray | LungMask | None = None,
        lobes: AnyArray | None = None,
        quantitative: bool = True,
        batch_size: int | None = None,
        keep_probability: bool = False,
        fast: bool = False,
        silence_slices: bool = False,
        keep_flat_marks: bool = False,
        flip_check: bool = False,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Segmentation:
        """Segment one scan. It may be called from any number of threads at once.

        Parameters
        ----------
        scan
            A volume, or the path of a file that ``infnet_runtime.io.open_scan`` reads.
        lungs : (i, j, k)
            Lung mask on the scan's grid, read as by ``infnet_runtime.lungs.given_lungs``: 1 the patient's
            right lung and 2 the left, known lobes, or one label; those of ``lobes`` where absent, else found.
        lobes : (i, j, k)
            Lobe mask on the scan's grid, read as by ``infnet_runtime.lungs.given_lobes``, for numbers and
            scores of lobes.
        quantitative
            False where the voxel size of the scan means nothing although its grid has one; a picture says so
            itself.
        batch_size
            Slices handed to the backend at a time; what suits it where absent. How many of them the network
            takes at once was said when the backend was opened.
        keep_probability
            Also return the probabilities, two bytes a voxel.
        fast
            Where slices lie close together, run some and interpolate the others: less time, and another mask
            (``docs/fast.md`` says by how much). Without effect above 1.5 mm; the flags say what was done.
        silence_slices
            Take out what was marked in the lungs in slices that the model's gate does not call infected
            (``docs/slice-gate.md``); ``slices`` of the result says which. Without effect where the scan has
            no voxel size; the flags say what was done.
        keep_flat_marks
            Leave marks that are large in one slice and go on in no other in the mask, which are false as a
            rule (``docs/quantification.md``); ``quantification.flat_marks_ml`` says how much was left out.
            Without effect where the scan has no voxel size.
        flip_check
            Also send the slices through the network mirrored left to right, and say how far the masks agree:
            ``quantification.uncertainty``, and the flag ``check_this_scan``. It takes twice the network's
            time, and a second mask of memory.
        progress
            Called with (slices done, slices to do), those that are interpolated among them, in the thread
            that called. What it raises ends the run and comes back as it is.
        cancel
            Lets another thread end the run.

        Raises
        ------
        InputError
            If the scan or the lungs are refused.
        ModelError
            If slices are to be silenced and the model has no gate.
        GateError
            If the network returns anything but probabilities.
        Cancelled
            If the run was cancelled.
        """
        watch = Stopwatch()
        with self._at_work(cancel):
            wanted = self._wanted(
                lungs,
                batch_size=batch_size,
                fast=fast,
                silence_slices=silence_slices,
                keep_flat_marks=keep_flat_marks,
                flip_check=flip_check,
                progress=progress,
                quantitative=quantitative,
                keep_probability=keep_probability,
                lobes=lobes,
            )
            volume = scan if isinstance(scan, CtVolume) else _opened(scan)
            return segmented(volume, wanted, self._loaded, watch)

    def predict_buffer(
        self,
        buffer: object,
        grid: Grid,
        *,
        intensity: Intensity = Intensity.HU,
        rescale: tuple[float, float] | None = None,
        name: str = "buffer",
        lungs: object = None,
        lobes: object = None,
        out: object = None,
        lungs_out: object = None,
        classes_out: object = None,
        probability_out: object = None,
        batch_size: int | None = None,
        fast: bool = False,
        silence_slices: bool = False,
        keep_flat_marks: bool = False,
        flip_check: bool = False,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Segmentation:
        """Segment a volume in the memory of the program that calls: the same checks, masks and numbers.

        Neither the volume nor the results are copied as a whole, and the volume is not written to. The result
        holds both buffers as long as it lives. On an error, or when the run is cancelled, what is in the
        outputs means nothing.

        Parameters
        ----------
        buffer : (i, j, k)
            Anything with the buffer protocol, or DLPack of the processor's memory: int16, uint16, float32,
            int8, uint8, int32 or float64, with any strides by which no voxels share memory. Nobody may write
            to it until the call comes back.
        grid
            Where its voxels lie, with axes in the order of the buffer's.
        intensity
            What its numbers mean, rescaled.
        rescale
            Slope and intercept, where HU = slope * number + intercept: (1, -1024) of most scanners' uint16;
            absent where the numbers are HU. The values are made plane by plane when they are read.
        name
            What messages and the report call it.
        out : (i, j, k)
            Writable buffer of uint8 that becomes the mask, 0 where nothing is marked; it need not be cleared.
            One of the runtime's own where absent, as for the others.
        lungs_out : (i, j, k)
            Of uint8, for the lungs.
        classes_out : (i, j, k)
            Of uint8, for the classes of the infection; of a model that was loaded with them.
        probability_out : (i, j, k)
            Of float16, for the probabilities, which are kept if it is given.
        lungs, lobes, batch_size, fast, silence_slices, keep_flat_marks, flip_check, progress, cancel
            As for :meth:`predict`; lungs and lobes too as any buffer.

        Returns
        -------
        The arrays in it are views of those given.

        Raises
        ------
        InputError
            If a buffer, the values in it or the lungs are refused.
        ModelError, GateError, Cancelled
            As for :meth:`predict`.
        """
        watch = Stopwatch()
        with self._at_work(cancel):
            voxels = volume_view(buffer, grid, name)
            wanted = self._wanted_of_host(
                voxels,
                grid,
                name,
                lungs=lungs,
                lobes=lobes,
                results={
                    "mask": out,
                    "lungs": lungs_out,
                    "classes": classes_out,
                    "probability": probability_out,
                },
                batch_size=batch_size,
                fast=fast,
                silence_slices=silence_slices,
                keep_flat_marks=keep_flat_marks,
                flip_check=flip_check,
                progress=progress,
            )
            values = rescaled(voxels, *slope_and_intercept(rescale, name), source=name)
            scan = CtVolume.on_grid(values, grid, intensity, name)
            return segmented(scan, wanted, self._loaded, watch)

    def stream(
        self,
        grid: Grid,
        *,
        dtype: str | None = None,
        voxels: object = None,
        intensity: Intensity = Intensity.HU,
        rescale: tuple[float, float] | None = None,
        name: str = "stream",
        lungs: object = None,
        lobes: object = None,
        out: object = None,
        lungs_out: object = None,
        classes_out: object = None,
        probability_out: object = None,
        batch_size: int | None = None,
        fast: bool = False,
        silence_slices: bool = False,
        keep_flat_marks: bool = False,
        flip_check: bool = False,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Stream:
        """Take a scan plane by plane while it is still being reconstructed; the result is that of the whole.

        Each plane is checked and made ready for the lung finder when it comes; the lungs and the network
        follow in :meth:`~infnet_runtime.segment.stream.Stream.finish`, because the box that the network looks
        at is known only then. There is one volume: the host's own, or one of the stream's.

        Parameters
        ----------
        grid
            Of the whole scan. Planes are counted along its axis that is nearest to the axis of the body; a
            plane has its two other axes, in stored order.
        dtype
            Type of the planes, one of those of :meth:`predict_buffer`; int16 where absent, or that of
            ``voxels``.
        voxels : (i, j, k)
            Memory that the host writes the planes to, read where it is. A plane that was pushed stays as it
            is until the stream has ended.
        intensity, rescale, name, out, lungs_out, classes_out, probability_out
            As for :meth:`predict_buffer`.
        lungs, lobes, batch_size, fast, silence_slices, keep_flat_marks, flip_check, progress, cancel
            As for :meth:`predict_buffer`. Lungs may also be given at the end.

        Raises
        ------
        InputError
            If a buffer, the type, or the geometry is refused, or there is no memory for the volume.
        ModelError
            As for :meth:`predict`.

        Examples
        --------
        with model.stream(grid, dtype="int16") as stream:
            for k, plane in reconstructed():
                stream.push(k, plane)
            result = stream.finish()
        """
        intensity = known_intensity(intensity, name)
        self._home.check()
        kept = memory_of(grid, dtype, voxels, name)
        refuse_lost_geometry(grid, name)
        scaling = slope_and_intercept(rescale, name)
        wanted_with = partial(
            self._wanted_of_host,
            kept,
            grid,
            name,
            lobes=lobes,
            results={
                "mask": out,
                "lungs": lungs_out,
                "classes": classes_out,
                "probability": probability_out,
            },
            batch_size=batch_size,
            fast=fast,
            silence_slices=silence_slices,
            keep_flat_marks=keep_flat_marks,
            flip_check=flip_check,
            progress=progress,
        )
        wanted_with(lungs=lungs)  # what is wrong with it is said now

        def finish(voxels: AnyArray, lungs: object, reduced: Reduced | None) -> Segmentation:
            watch = Stopwatch()
            wanted = wanted_with(lungs=lungs)
            values = rescaled(voxels, *scaling, source=name)
            scan = CtVolume.on_grid(values, grid, intensity, name)
            return segmented(scan, wanted, self._loaded, watch, reduced)

        return Stream(
            kept,
            is_host_memory=voxels is not None,
            grid=grid,
            intensity=intensity,
            scaling=scaling,
            name=name,
            lungs=lungs,
            finish=finish,
            within=partial(self._at_work, cancel),
        )

    @contextmanager
    def _at_work(self, cancel: Cancel | None) -> Iterator[None]:
        """What holds while a scan is worked on, whatever the host has set."""
        self._home.check()
        with using_threads(self.threads), cancelled_by(cancel), np.errstate(**_ITS_OWN_ERRORS):
            go_on()
            yield

    def _wanted_of_host(
        self,
        voxels: AnyArray,
        grid: Grid,
        name: str,
        *,
        lungs: object,
        results: Mapping[str, object],
        batch_size: int | None,
        fast: bool,
        silence_slices: bool,
        keep_flat_marks: bool,
        flip_check: bool,
        progress: Progress | None,
        lobes: object,
    ) -> Wanted:
        """What a program wants whose volume is in memory."""
        if results["classes"] is not None and self._loaded.kinds is None:
            raise no_classes(self.manifest, f"the model as it was loaded ({self.manifest.name})")
        if lungs is not None and not isinstance(lungs, LungMask):
            lungs = shared(lungs, "the lung mask")
        labels = lungs.labels if isinstance(lungs, LungMask) else lungs
        by_lobe = None if lobes is None else shared(lobes, "the lobe mask")
        given = (name, voxels), ("the lung mask", labels), ("the lobe mask", by_lobe)
        inputs = [(what, array) for what, array in given if array is not None]
        return self._wanted(
            lungs,
            batch_size=batch_size,
            fast=fast,
            silence_slices=silence_slices,
            keep_flat_marks=keep_flat_marks,
            flip_check=flip_check,
            progress=progress,
            keep_probability=results["probability"] is not None,
            lobes=by_lobe,
            targets=targets(results, grid, inputs),
        )

    def _wanted(
        self,
        lungs: AnyArray | LungMask | None,
        *,
        batch_size: int | None,
        fast: bool,
        silence_slices: bool,
        keep_flat_marks: bool,
        flip_check: bool,
        progress: Progress | None,
        quantitative: bool = True,
        keep_probability: bool,
        lobes: AnyArray | None = None,
        targets: Targets = NO_TARGETS,
    ) -> Wanted:
        """What a caller wants, with the model's own batch size and gate."""
        return Wanted(
            lungs=lungs,
            batch_size=self._session.batch_size if batch_size is None else batch_size,
            fast=fast,
            gate=self.slice_gate if silence_slices else None,
            keep_flat_marks=keep_flat_marks,
            flip_check=flip_check,
            progress=progress,
            quantitative=quantitative,
            keep_probability=keep_probability,
            lobes=lobes,
            targets=targets,
        )

    def close(self) -> None:
        """Release the model."""
        if self._lungs is not None:
            self._lungs.close()
        self._session.close()


def _opened(scan: object) -> CtVolume:
    if isinstance(scan, str | os.PathLike):
        return open_scan(Path(scan)).volume
    what = type(scan).__name__ + (f" {shape}" if (shape := getattr(scan, "shape", None)) is not None else "")
    raise InputError(
        f"the scan is a {what}, expected a path or a CtVolume: voxels alone do not say where the patient's "
        "right is, nor how large they are. Give CtVolume(voxels, affine, Intensity.HU, name), with axes (i, "
        "j, k) and an affine as nibabel gives them",
        code=3030,
    )


def load(
    model: Path | str | None = None,
    *,
    device: str = "auto",
    threads: int = 0,
    backend: str = "auto",
    batch_size: int | None = None,
    cache: bool = True,
    precision: str = "auto",
    classes: bool = False,
    lungs_by: str = "auto",
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
    cache
        Whether what OpenVINO or TensorRT for RTX compiled is kept in the user's cache folder, for the next
        process to read; ``INFNET_CACHE`` says where, or ``off``. Results are the same to the bit.
    precision
        ``f32`` and ``bf16`` are used or refused; ``auto`` takes bf16 in OpenVINO where the processor has
        units for it and the model file says that its masks stay the same.
    classes
        Also tell where the infection is ground glass and where consolidation: ``classes`` of a result, and
        ``quantification.classes``. Where it is not asked for, it is not computed.
    lungs_by
        How lungs are found where none are given: ``network`` is used or refused, ``threshold`` does without
        it; ``auto`` takes the network where its file was shipped and something is installed that runs it on
        the CPU. The report says which it was.

    Raises
    ------
    ModelError
        If the model is missing, damaged or foreign, has no record that it passed in bf16, or does not tell
        the classes that are asked for; or if the network that is to find the lungs is missing or damaged.
    BackendError
        If the backend is not installed, the device is not there, or the precision cannot be had.
    """
    path = None if model is None else Path(model)
    session, choice = open_chosen(
        path,
        device=device,
        threads=threads,
        backend=backend,
        batch_size=batch_size,
        cache=cache,
        precision=precision,
        coarse=True,
        asked=Asked.CLASSES if classes else Asked.INFECTION,
    )
    try:
        return Segmenter(
            session, threads=threads, choice=choice, classes=classes, lungs_by=lungs_by, cache=cache
        )
    except InfnetError:
        session.close()
        raise
