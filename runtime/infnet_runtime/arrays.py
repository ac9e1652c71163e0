"""The array types that signatures name, each with one meaning in all packages."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

AnyArray: TypeAlias = npt.NDArray[Any]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
ByteArray: TypeAlias = npt.NDArray[np.uint8]
HalfArray: TypeAlias = npt.NDArray[np.float16]
FloatArray: TypeAlias = npt.NDArray[np.float32]
DoubleArray: TypeAlias = npt.NDArray[np.float64]
Affine: TypeAlias = npt.NDArray[np.float64]  # (4, 4), from voxel index to NIfTI world in mm
