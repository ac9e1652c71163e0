"""Reading a spoilt scan, and what has to hold where it was not refused."""

from pathlib import Path

import numpy as np

from infnet_runtime.io import open_scan
from infnet_runtime.scan.ct import Intensity


def read_scan(path: Path) -> None:
    """Read as a command does."""
    volume = open_scan(path).volume
    voxels = np.asarray(volume.voxels)
    assert voxels.ndim == 3
    assert voxels.size > 0
    assert np.isfinite(voxels).all()
    assert voxels.min() < voxels.max()
    assert np.isfinite(volume.affine).all()
    assert 0 < volume.voxel_volume_ml < np.inf
    if volume.intensity is Intensity.WINDOWED:
        assert 0 <= voxels.min() < voxels.max() <= 255
