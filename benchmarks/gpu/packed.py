"""Real slices in one small file, as 8-bit grey on the network's grid, for where no scan can be read."""

from pathlib import Path

import numpy as np

from infnet_runtime.arrays import FloatArray
from infnet_runtime.model.specs import EQUAL, PreprocessSpec
from infnet_runtime.slices.preprocess import normalise_planes


def pack(file: Path, scans: list[Path], spec: PreprocessSpec) -> int:
    """Up to eight slices of each scan; how many there are."""
    from infnet_runtime.segment.sampled import scan_input  # needs nibabel, isal and cc3d

    parts, names = zip(*(scan_input(scan, spec) for scan in scans), strict=True)
    shape = (-1, 1, 1)
    grey = np.concatenate(parts) * np.reshape(spec.std, shape) + np.reshape(spec.mean, shape)
    planes = grey[:, :1] if spec.channels == EQUAL else grey
    np.savez_compressed(
        file,
        planes=np.rint(np.clip(planes, 0, 1) * 255).astype(np.uint8),
        names=np.array([name for of_scan in names for name in of_scan]),
    )
    return len(planes)


def unpack(file: Path | None, spec: PreprocessSpec) -> tuple[FloatArray, list[str]]:
    """Network input (n, channels, size, size), and names; made up where there is no file."""
    if file is None:
        rows, columns = np.mgrid[: spec.size, : spec.size] / spec.size
        waves = [np.sin(9 * rows + k) * np.cos(7 * columns - k) for k in range(8)]
        planes = np.stack(waves)[:, None].astype(np.float32) / 2 + 0.5
        return normalise_planes(planes, spec), [f"made up {k}" for k in range(8)]
    with np.load(file, allow_pickle=False) as packed:
        planes = packed["planes"].astype(np.float32) / 255
        return normalise_planes(planes, spec), [str(name) for name in packed["names"]]
