"""Find and measure COVID-19 lung infection in chest CT, without PyTorch.

>>> import infnet_runtime
>>> with infnet_runtime.load() as model:  # doctest: +SKIP
...     result = model.predict("volume.nii.gz")
...     result.quantification.both.infection_ml
"""

from infnet_runtime.errors import (
    BackendError,
    GateError,
    GeometryError,
    InfnetError,
    InputError,
    ModelError,
    OutputError,
)
from infnet_runtime.manifest import ModelManifest
from infnet_runtime.quantification import Burden, Quantification
from infnet_runtime.segmenter import Provenance, Segmentation, Segmenter, load
from infnet_runtime.version import __version__
from infnet_runtime.volume import CtVolume, Intensity

__all__ = [
    "BackendError",
    "Burden",
    "CtVolume",
    "GateError",
    "GeometryError",
    "InfnetError",
    "InputError",
    "Intensity",
    "ModelError",
    "ModelManifest",
    "OutputError",
    "Provenance",
    "Quantification",
    "Segmentation",
    "Segmenter",
    "__version__",
    "load",
]
