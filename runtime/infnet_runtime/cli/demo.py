"""The scan of ``--demo``: a phantom, so that the first run needs no data."""

from pathlib import Path

import typer

from infnet_runtime.io import prepare_folder
from infnet_runtime.io.nifti import write_nifti
from infnet_runtime.scan.phantom import chest_phantom, textured


def write_demo(folder: Path) -> Path:
    """Write the phantom, and say on stderr what it holds."""
    phantom = textured(chest_phantom((24, 320, 400), (10.0, 1.02, 0.96), noise_hu=0))
    path = prepare_folder(folder) / "phantom.nii.gz"
    write_nifti(path, phantom.hu, phantom.affine)
    typer.echo(
        f"demo: {path}, a synthetic chest with {phantom.infection_ml:.1f} ml of ground glass on the right",
        err=True,
    )
    return path
