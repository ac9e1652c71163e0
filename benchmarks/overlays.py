"""Contact sheets of a segmented scan, to look at what the numbers of the benchmark mean."""

from pathlib import Path

from infnet_runtime import Segmentation
from infnet_runtime.arrays import BoolArray
from infnet_runtime.report.montage import montage_png


def write_overlay(path: Path, result: Segmentation, truth: BoolArray | None) -> None:
    """Write some slices in radiological display: prediction red, truth green, lungs blue."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(montage_png(result, truth=truth, most=30))
