"""Counting takes the memory of some slices, however many there are, and ends where it is cancelled."""

import tracemalloc

import numpy as np
import pytest

from infnet_runtime.cancel import Cancel, cancelled_by
from infnet_runtime.errors import Cancelled
from infnet_runtime.measure.tally import tally
from infnet_runtime.scan.rescaled import rescaled

ROW = np.arange(256, dtype=np.uint16)
LUNGS = np.broadcast_to(np.where(ROW < 120, 1, np.where(ROW < 240, 2, 0)).astype(np.uint8), (100, 256, 256))


def peak_bytes(slices: int) -> int:
    """Most that counting holds, of a volume that takes no memory itself."""
    hu = rescaled(np.broadcast_to(ROW, (slices, 256, 256)), 1, -1000, source="scan")
    lungs = LUNGS[:slices]
    tracemalloc.start()
    tally(lungs, lungs, hu=hu)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_volume() -> None:
    peak_bytes(4)  # what is loaded once
    few, many = peak_bytes(40), peak_bytes(100)
    assert abs(many - few) < 0.1 * 60 * 256 * 256 * 2  # of what the further slices take
    assert many < 32 << 20


def test_counting_can_be_cancelled() -> None:
    cancel = Cancel()
    cancel.cancel()
    with cancelled_by(cancel), pytest.raises(Cancelled):
        tally(LUNGS, LUNGS)
