"""What a segmentation gives: masks in the order of the file, numbers, and how they came about."""

from dataclasses import asdict, dataclass
from typing import Any

from infnet_runtime.arrays import ByteArray, HalfArray
from infnet_runtime.measure.result import Quantification
from infnet_runtime.measure.slices import SliceFinding
from infnet_runtime.scan.ct import CtVolume


@dataclass(frozen=True)
class Provenance:
    """How a result came about.

    Parameters
    ----------
    threshold, temperature
        Of the model, see :class:`~infnet_runtime.model.manifest.OutputSpec`.
    precision
        What the network was really computed in, such as ``int8 + float32`` or ``int8 + bf16``.
    lungs
        Found by the ``network`` or by ``threshold``, ``given`` by the user, or ``none``.
    batch_size
        Slices handed to the backend at a time.
    fast
        Whether slices between near ones were to be interpolated, see ``docs/fast.md``.
    slices_run, slices_interpolated, slices_skipped
        Slices that went through the network, those interpolated between them, and those left out because they
        hold no lung.
    lobes
        ``given`` or ``none``.
    seconds
        Wall time of each stage.
    choice
        What was left open when the model was loaded, what was chosen and why; empty where nothing was.
    slice_gate_mm2 : mm2
        Where the gate was to silence slices, the least score that it asks for; None where it was not.
    keep_flat_marks
        Whether flat marks were to be left in the mask.
    lung_model
        Name, version and hash of the network that looked for the lungs; empty where none did.
    """

    infnet: str
    model: str
    model_version: str
    model_sha256: str
    backend: str
    precision: str
    device: str
    threshold: float
    temperature: float
    lungs: str
    batch_size: int
    fast: bool
    slices_run: int
    slices_interpolated: int
    slices_skipped: int
    seconds: dict[str, float]
    choice: str = ""
    slice_gate_mm2: float | None = None
    lobes: str = "none"
    keep_flat_marks: bool = False
    lung_model: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Result for one scan, in the order of its voxels; where a host gave memory, arrays are views of it.

    Parameters
    ----------
    volume
        The scan.
    mask : (i, j, k), 0 or 1
        Infection inside the lungs.
    lungs : (i, j, k)
        1 is the patient's right lung, 2 the left.
    probability : (i, j, k), float16
        Probability of infection where the network ran, and between, else 0; None unless asked for. Neither
        the slice gate nor the rule of flat marks touches it.
    classes : (i, j, k), 0 to 2
        Where the mask is, 1 ground glass or 2 consolidation; None unless asked for.
    slices
        Every slice with lung, from the feet.
    """

    volume: CtVolume
    mask: ByteArray
    lungs: ByteArray
    quantification: Quantification
    provenance: Provenance
    probability: HalfArray | None
    classes: ByteArray | None = None
    slices: tuple[SliceFinding, ...] = ()
