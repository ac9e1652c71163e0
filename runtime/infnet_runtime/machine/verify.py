"""Whether a backend on a device gives what the reference gives: probabilities, masks and millilitres.

Both take every scan the whole way of the segmenter. What the network returns is compared slice by slice on
its own grid, the masks on that of the scan. What computes in single precision may differ by rounding alone;
half precision and 8 bit have the limits of the gate that let a file be written.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from infnet_runtime.arrays import BoolArray, FloatArray
from infnet_runtime.backends import Session, open_session
from infnet_runtime.backends.candidates import AUTO, CPU, ONNXRUNTIME, is_engine
from infnet_runtime.backends.lungs import THRESHOLD
from infnet_runtime.backends.precision import F32
from infnet_runtime.backends.session import ClosedByBlock, Outputs, run_checked
from infnet_runtime.errors import BackendError, ModelError
from infnet_runtime.io import open_scan
from infnet_runtime.machine.verify_report import Compared, Side, VerifyReport, report_of
from infnet_runtime.metrics.mask_limits import (
    mask_pair,
)
from infnet_runtime.metrics.parity import (
    Distances,
    network_thresholds,
    worst_of,
)
from infnet_runtime.model.arithmetic import FLOAT32
from infnet_runtime.model.manifest import ModelManifest
from infnet_runtime.model.shipped import default_model
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.segment.sampled import phantom_scan, scans_in
from infnet_runtime.segment.segmenter import Segmenter

Progress = Callable[[int, int], None]


class _Heard(ClosedByBlock):
    """A session of which somebody else hears every output, in the order of the batches."""

    coarse = None  # whole probabilities

    def __init__(self, session: Session, hear: Callable[[Outputs], None]) -> None:
        self._session, self._hear = session, hear
        self.backend, self.device, self.precision = session.backend, session.device, session.precision
        self.manifest: ModelManifest = session.manifest
        self.model_sha256, self.batch_size = session.model_sha256, session.batch_size

    def run(self, batch: FloatArray) -> Outputs:
        outputs = run_checked(self._session, batch)
        self._hear(outputs)
        return outputs

    def close(self) -> None:
        """Leave the session open, which belongs to whoever opened it."""


def verify(
    model: Path | None = None,
    against: Path | None = None,
    scans: Iterable[Path] = (),
    *,
    backend: str = AUTO,
    device: str = AUTO,
    against_backend: str = ONNXRUNTIME,
    against_device: str = CPU,
    threads: int = 0,
    batch_size: int | None = None,
    precision: str = AUTO,
    progress: Progress | None = None,
) -> VerifyReport:
    """Compare what a model gives on a backend and a device with what another, or the same elsewhere, gives.

    Parameters
    ----------
    model
        As for ``open_session``.
    against
        The reference, which has to compute in single precision. Where absent ``model`` itself; the shipped
        one where that is absent too.
    scans
        Scans, pictures, or folders of them; a phantom where there are none.
    batch_size
        Slices at a time, for both; what suits the backend that is checked where absent.
    precision
        Of what is checked, as for ``open_session``; the reference computes in single precision.
    progress
        Called with (scans done, scans to do).

    Raises
    ------
    InputError
        If a scan is refused.
    ModelError
        If a model is refused, the two do not take and give the same, or a reference has to be named.
    BackendError
        If a backend or device is not there, or both sides are the same.
    GateError
        If a side returns anything but probabilities, or no slice was compared.
    """
    files = [file for path in scans for file in scans_in(path)]
    named = against or _itself(model)
    with (
        open_session(
            model,
            backend=backend,
            device=device,
            threads=threads,
            batch_size=batch_size,
            precision=precision,
        ) as candidate,
        open_session(
            named, backend=against_backend, device=against_device, threads=threads, precision=F32
        ) as reference,
    ):
        _refuse_strangers(candidate, reference)
        results: list[Compared] = []
        total = max(len(files), 1)
        for volume in _volumes(files):
            if progress:
                progress(len(results), total)
            results.append(_compared(candidate, reference, volume, threads))
        if progress:
            progress(total, total)
        return report_of(Side.of(candidate), Side.of(reference), results)


def _compared(candidate: Session, reference: Session, volume: CtVolume, threads: int) -> Compared:
    """The reference first; its outputs are kept until the candidate has given its own of the same batch."""
    kept: list[Outputs] = []
    thresholds = network_thresholds(reference.manifest)
    distances = {name: Distances(thresholds[name]) for name in thresholds}

    def hold_against(found: Outputs) -> None:
        own = kept.pop(0)
        for name, distance in distances.items():
            distance.add(found[name], own[name])

    def mask(session: Session) -> BoolArray:
        # The same lungs on both sides, to the bit, whatever computes: they are not what is compared.
        segmenter = Segmenter(session, threads=threads, lungs_by=THRESHOLD)
        result = segmenter.predict(volume, batch_size=candidate.batch_size)
        return result.mask > 0

    expected = mask(_Heard(reference, kept.append))
    found = mask(_Heard(candidate, hold_against))
    parities = [distance.parity() for distance in distances.values() if distance.slices]
    voxel_ml = volume.voxel_volume_ml if volume.grid.has_size else None
    return Compared(
        worst_of(parities) if parities else None, mask_pair(volume.source, expected, found, voxel_ml)
    )


def _volumes(files: list[Path]) -> Iterator[CtVolume]:
    if not files:
        yield phantom_scan()
    for file in files:
        yield open_scan(file).volume


def _itself(model: Path | None) -> Path:
    """The reference where none is named."""
    if model is None:
        return default_model()
    if is_engine(model):
        raise ModelError(
            f"{model} is a TensorRT engine and no reference for itself; name the ONNX model in single "
            "precision that it was made of with --against",
            code=4065,
        )
    return model


def _refuse_strangers(candidate: Session, reference: Session) -> None:
    """What cannot be compared, or proves nothing."""
    if reference.precision != FLOAT32:
        raise ModelError(
            f"the reference computes in {reference.precision}, expected single precision; name the model "
            "that the other was made of with --against",
            code=4065,
        )
    if _takes_and_gives(candidate) != _takes_and_gives(reference):
        one, other = candidate.manifest, reference.manifest
        raise ModelError(
            f"{one.name} {one.version} and {other.name} {other.version} do not take the same slices or give "
            "the same outputs, so they cannot be compared; name the model that the other was made of with "
            "--against",
            code=4066,
        )
    if Side.of(candidate) == Side.of(reference):
        raise BackendError(
            f"both sides are {Side.of(candidate)}, and nothing can be told from that; choose another "
            "--backend or --device for one of them, or another model",
            code=5070,
        )


def _takes_and_gives(session: Session) -> tuple[object, object]:
    manifest = session.manifest
    return manifest.preprocess, [(o.name, o.channels) for o in manifest.outputs]
