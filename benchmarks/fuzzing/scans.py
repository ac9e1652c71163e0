"""Reading a spoilt scan, and what has to hold where it was not refused."""

from pathlib import Path

import numpy as np

from infnet_runtime.io import open_scan
from infnet_runtime.scan.ct import Intensity


def read_scan(path: Path) -> None:
    """Read as a command does."""
    volume = open_scan(path).volume
    voxels = np.asarray(volume.voxels)
    assert voxels.ndim == 3 and voxels.size > 0
    assert np.isfinite(voxels).all()
    assert voxels.min() < voxels.max()
    assert np.isfinite(volume.affine).all()
    assert np.isfinite(volume.voxel_volume_ml) and volume.voxel_volume_ml > 0
    if volume.intensity is Intensity.WINDOWED:
        assert voxels.min() >= 0 and voxels.max() <= 255
