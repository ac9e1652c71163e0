"""The model that is used where none is given: ``INFNET_MODEL``, else one of the shipped ones.

Which of them a backend runs on a device is decided in ``backends/suited_model``. The network that finds the
lungs lies beside them; ``INFNET_LUNG_MODEL`` names another.
"""

import os
from pathlib import Path

from infnet_runtime.errors import ModelError

DEFAULT_MODEL = "infnet.onnx"
DEFAULT_INT8_MODEL = "infnet.int8.onnx"
LUNG_MODEL = "infnet.lungs.onnx"


def default_model(*, int8: bool = False) -> Path:
    """The model that is used where none is given: ``INFNET_MODEL``, else the shipped one.

    It is looked for in the installed package, then in the source tree.

    Parameters
    ----------
    int8
        Prefer the one that computes in 8 bit, where it was shipped.

    Raises
    ------
    ModelError
        If there is none.
    """
    named = named_model()
    if named is not None:
        return named
    folders = _folders()
    names = [DEFAULT_INT8_MODEL, DEFAULT_MODEL] if int8 else [DEFAULT_MODEL]
    places = [folder / name for name in names for folder in folders]
    for place in places:
        if place.is_file():
            return place
    raise ModelError(
        f"no model was shipped with this installation (looked in {', '.join(map(str, folders))}); "
        "give one with --model or INFNET_MODEL",
        code=4030,
    )


def named_model() -> Path | None:
    """The model that the environment names."""
    named = os.environ.get("INFNET_MODEL")
    return Path(named) if named else None


def lung_model() -> Path | None:
    """The network that finds the lungs: ``INFNET_LUNG_MODEL``, else the shipped one; None where none was.

    One that is named is not looked for here.
    """
    named = os.environ.get("INFNET_LUNG_MODEL")
    if named:
        return Path(named)
    return next((place for folder in _folders() if (place := folder / LUNG_MODEL).is_file()), None)


def _folders() -> list[Path]:
    """Where models are shipped: in the installed package, and in the source tree."""
    package = Path(__file__).parents[1]
    return [package / "models", package.parents[1] / "models"]
