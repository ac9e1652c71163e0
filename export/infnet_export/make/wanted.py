"""What one call of ``infnet-export`` is asked to make."""

from dataclasses import dataclass
from pathlib import Path

from infnet_export.tensorrt.builder import EngineSettings
from infnet_runtime.backends.tensorrt.sidecar import DEFAULT_BATCH, BatchRange
from infnet_train.data.pictures import Turn


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to make beside the ONNX file.

    Parameters
    ----------
    fp16
        A file that computes in half precision.
    borrow
        Write that file without the weights that the plain file has, to lie beside it.
    int8
        A file that computes in 8 bit, calibrated on ``calibration``.
    calibration
        Folder with ``Imgs`` and ``GT`` of training slices; every third one judges, the others calibrate.
    labelled
        More folders of that kind for the gate of INT8.
    turn
        What turns the slices of these folders upright.
    engine
        How to build a TensorRT engine from the FP16 file.
    bf16
        Judge whether the plain and the 8-bit file may compute in bfloat16, on volumes of ``verify``, and
        record it in them.
    hu
        Rows and columns of a file that takes slices in HU.
    triton
        Folder of a model repository.
    coarse
        Coarse logits beside the probabilities in all files that end with their enlargement.
    verify
        Scan or folder of scans to compare on, instead of synthetic ones. Volumes among them also judge INT8
        and FP16, from voxels to millilitres.
    threads
        Of the CPU; 0 takes what the machine gives this process.
    """

    fp16: bool = False
    borrow: bool = False
    int8: bool = False
    calibration: Path | None = None
    labelled: tuple[Path, ...] = ()
    turn: Turn = "none"
    batch: BatchRange = DEFAULT_BATCH
    engine: EngineSettings | None = None
    bf16: bool = False
    hu: tuple[int, int] | None = None
    triton: Path | None = None
    coarse: bool = True
    verify: Path | None = None
    threads: int = 0
