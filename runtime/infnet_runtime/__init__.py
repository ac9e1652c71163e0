"""Find and measure COVID-19 lung infection in chest CT, without PyTorch.

>>> import infnet_runtime
>>> with infnet_runtime.load() as model:  # doctest: +SKIP
...     result = model.predict("volume.nii.gz")
...     result.quantification.both.infection_ml

Names are loaded when they are first used, so that ``infnet-infer --help`` need not wait for numpy and OpenCV.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from infnet_runtime.version import __version__

if TYPE_CHECKING:
    from infnet_runtime.cancel import Cancel
    from infnet_runtime.errors import (
        BackendError,
        Cancelled,
        GateError,
        GeometryError,
        InfnetError,
        InputError,
        ModelError,
        OutputError,
    )
    from infnet_runtime.io.dicom import read_dicom
    from infnet_runtime.measure.result import Burden, Quantification
    from infnet_runtime.model.manifest import ModelManifest
    from infnet_runtime.report.dicom.segmentation import write_segmentation
    from infnet_runtime.report.dicom.structured_report import write_structured_report
    from infnet_runtime.scan.ct import CtVolume, Intensity
    from infnet_runtime.scan.grid import Grid
    from infnet_runtime.segment.given_mask import Measured, measure_mask
    from infnet_runtime.segment.result import Provenance, Segmentation
    from infnet_runtime.segment.segmenter import Segmenter, load

__all__ = [
    "BackendError",
    "Burden",
    "Cancel",
    "Cancelled",
    "CtVolume",
    "GateError",
    "GeometryError",
    "Grid",
    "InfnetError",
    "InputError",
    "Intensity",
    "Measured",
    "ModelError",
    "ModelManifest",
    "OutputError",
    "Provenance",
    "Quantification",
    "Segmentation",
    "Segmenter",
    "__version__",
    "load",
    "measure_mask",
    "read_dicom",
    "write_segmentation",
    "write_structured_report",
]

_HOMES = {
    "cancel": ("Cancel",),
    "errors": (
        "BackendError",
        "Cancelled",
        "GateError",
        "GeometryError",
        "InfnetError",
        "InputError",
        "ModelError",
        "OutputError",
    ),
    "io.dicom": ("read_dicom",),
    "model.manifest": ("ModelManifest",),
    "measure.result": ("Burden", "Quantification"),
    "report.dicom.segmentation": ("write_segmentation",),
    "report.dicom.structured_report": ("write_structured_report",),
    "segment.given_mask": ("Measured", "measure_mask"),
    "segment.result": ("Provenance", "Segmentation"),
    "segment.segmenter": ("Segmenter", "load"),
    "scan.ct": ("CtVolume", "Intensity"),
    "scan.grid": ("Grid",),
}


def __getattr__(name: str) -> object:
    """Load a public name from its module (PEP 562)."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"infnet_runtime.{module}"), name)
    raise AttributeError(f"module 'infnet_runtime' has no attribute '{name}'")


def __dir__() -> list[str]:
    """The public names too that no one has used yet."""
    return sorted({*globals(), *__all__})
