"""Slices on which two networks, or two forms of one, are compared: some of given scans, or synthetic ones."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import FloatArray
from infnet_runtime.errors import InputError
from infnet_runtime.io import open_scan
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.phantom import chest_phantom, textured
from infnet_runtime.segment.region import lungs_of, region
from infnet_runtime.slices.neighbours import volume_to_network
from infnet_runtime.slices.preprocess import to_network

PHANTOMS = 4
SLICES_PER_VOLUME = 8
_SCAN = ((16, 320, 400), (15.0, 1.02, 0.96))  # shape, mm
_ENDINGS = (".png", ".jpg", ".jpeg", ".nii", ".nii.gz")


def phantom_slices(count: int, size: int) -> npt.NDArray[np.int16]:
    """Axial slices of a synthetic chest with ground glass, for where no scan is at hand.

    Smooth but for the noise of a scanner: white noise drives products of feature maps to values no CT gives.

    Returns
    -------
    (count, size, size), HU

    Examples
    --------
    >>> phantom_slices(2, 64).shape
    (2, 64, 64)
    """
    # The middle third of the chest, where both lungs and the ground glass are.
    field_mm = 400.0
    spacing_mm = (240.0 / (3 * count), field_mm / size, field_mm / size)
    return textured(chest_phantom((3 * count, size, size), spacing_mm, noise_hu=0)).hu[count : 2 * count]


def phantom_input(spec: PreprocessSpec) -> FloatArray:
    """Network input of the synthetic slices that every export is checked on, (4, 3, size, size)."""
    return to_network(phantom_slices(PHANTOMS, spec.size), Intensity.HU, spec)


def phantom_scan() -> CtVolume:
    """A whole synthetic scan, for where none is at hand and masks and millilitres are compared."""
    phantom = textured(chest_phantom(*_SCAN, noise_hu=0))
    return CtVolume(phantom.hu, phantom.affine, Intensity.HU, "phantom")


def scans_in(path: Path) -> list[Path]:
    """Files of pictures and volumes: a scan itself, or those in a folder.

    Raises
    ------
    InputError
        If there is none.
    """
    if not path.is_dir():
        return [path]
    files = sorted(p for p in path.iterdir() if p.name.lower().endswith(_ENDINGS))
    if not files:
        raise InputError(
            f"{path} holds no slices to verify on; expected files that end with {', '.join(_ENDINGS)}",
            code=3120,
        )
    return files


def scan_input(path: Path, spec: PreprocessSpec) -> tuple[FloatArray, list[str]]:
    """Network input of pictures and volumes, prepared as the runtime does it: cut to the lungs.

    Parameters
    ----------
    path
        A scan, or a folder of scans. Of a volume eight slices with lung are taken, evenly spaced; where there
        is no lung, of all slices and whole.

    Returns
    -------
    (n, 3, size, size), and a name for each slice

    Raises
    ------
    InputError
        If nothing is found, or a file is refused.
    """
    inputs, names = zip(*(_input_of(file, spec) for file in scans_in(path)), strict=True)
    return np.concatenate(inputs), [name for of_file in names for name in of_file]


def _input_of(path: Path, spec: PreprocessSpec) -> tuple[FloatArray, list[str]]:
    volume = open_scan(path).volume
    voxels = volume.to_lps()
    looked_at = region(lungs_of(volume, None)[0], volume.grid, spec.crop_margin_mm)
    slices = looked_at.slices or list(range(len(voxels)))
    box = (looked_at.rows, looked_at.columns) if looked_at.slices else (slice(None), slice(None))
    picks = np.linspace(0, len(slices) - 1, min(len(slices), SLICES_PER_VOLUME)).round().astype(int)
    picked = [slices[k] for k in np.unique(picks)]
    spacing_mm = volume.lps_spacing_mm[0]
    batch = volume_to_network(voxels, picked, box, volume.intensity, spec, spacing_mm=spacing_mm)
    named = [path.name if len(voxels) == 1 else f"{path.name}, slice {k + 1} from the feet" for k in picked]
    return batch, named
