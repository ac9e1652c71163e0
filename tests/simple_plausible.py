"""What the rules of plausible scans look at, got in the plain way."""

import cv2
import numpy as np

from infnet_runtime.arrays import AnyArray, FloatArray


def coarse_values(planes: AnyArray, size: tuple[int, ...]) -> FloatArray:
    """Slices (slice, row, column) reduced to (columns, rows) by averages, extremes clipped."""
    return np.stack(
        [
            cv2.resize(
                np.clip(plane.astype(np.int32), -1024, 1500).astype(np.float32),
                size,
                interpolation=cv2.INTER_AREA,
            )
            for plane in planes
        ]
    )


def repeats(lines: AnyArray) -> float:
    """Share of equal neighbours along the first axis, of those not both at an end."""
    first, second = lines[1:], lines[:-1]
    same = first == second
    inner = ~same | ((first > lines.min()) & (first < lines.max()) & (first > 0))
    return float(np.count_nonzero(same & inner)) / max(1, int(np.count_nonzero(inner)))
