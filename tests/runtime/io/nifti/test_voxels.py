import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from builders import forge_header
from infnet_runtime.io.nifti.header import validate_header
from infnet_runtime.io.nifti.voxels import scaled
from infnet_runtime.scan.rescaled import Rescaled

_SHAPE = (128, 96, 160)


@pytest.mark.parametrize(
    ("stored", "slope", "inter", "kind"),
    [
        (np.int16, 0.5, -3.0, np.float32),
        (np.uint8, 20.0, -1024.0, np.float32),
        (np.uint8, 1.0, -1024.0, np.int16),
        (np.uint16, 1.0, -1024.0, np.int16),
        (np.int32, 1.0, -1024.0, np.int16),
        (np.int32, 0.5, 0.0, np.float32),
        (np.float32, 2.0, -1024.0, np.float32),
        (np.float64, 1.0, 0.0, np.float32),
        (np.float64, 0.7, 3.0, np.float32),
    ],
)
def test_a_scaled_file_never_takes_a_second_volume(
    stored: type, slope: float, inter: float, kind: type
) -> None:
    geometry = replace(validate_header(forge_header(), source="a.nii"), slope=slope, inter=inter)
    numbers = np.asfortranarray(np.random.default_rng(0).integers(0, 250, _SHAPE).astype(stored))
    expected = (numbers.astype(np.float64) * slope + inter).astype(kind)
    tracemalloc.start()
    try:
        values = scaled(numbers, geometry, "a.nii")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < numbers.nbytes / 4  # a few planes in double precision
    assert values.dtype == kind
    assert isinstance(values, Rescaled) is (np.dtype(kind).itemsize > numbers.itemsize)
    assert np.array_equal(np.asarray(values), expected)
