"""The scan of ``--demo``: a phantom, so that the first run needs no data."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import typer

from infnet_runtime.errors import InputError, OutputError
from infnet_runtime.io import prepare_folder
from infnet_runtime.io.nifti import read_stored, write_nifti
from infnet_runtime.report.files import REPORT_SUFFIX, earlier_result
from infnet_runtime.scan.realistic_chest import realistic_chest

_REPORT = f"phantom{REPORT_SUFFIX}"


def write_demo(folder: Path) -> Path:
    """Write the phantom, and say on stderr what it holds."""
    phantom = realistic_chest()
    path = prepare_folder(folder) / "phantom.nii.gz"
    if path.exists() and not _is_this(path, phantom.hu) and not earlier_result(path.with_name(_REPORT)):
        raise OutputError(
            f"{path} is there already and no phantom of infnet; rename it, or choose another folder with -o",
            code=8015,
        )
    write_nifti(path, phantom.hu, phantom.affine)
    typer.echo(
        f"demo: {path} is a synthetic chest and no patient: it shows that everything works here, not how "
        f"accurate the model is. Its right lung holds {phantom.infection_ml:.0f} ml of ground glass, its "
        "left none; the infection in the report is what the model measures",
        err=True,
    )
    return path


def _is_this(path: Path, hu: npt.NDArray[np.int16]) -> bool:
    """Whether a file holds these voxels: the phantom of a demo that did not come to its end."""
    try:
        _, _, stored = read_stored(path)
    except InputError:
        return False
    return np.array_equal(stored, hu)
