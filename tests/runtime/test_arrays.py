"""Arrays of mostly zeros: as any other, and as large as what is written to them."""

import gc
import mmap
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from infnet_runtime.arrays import sparse_zeros

LARGE = (64, 512, 512)


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 3, 4), LARGE])
@pytest.mark.parametrize("dtype", [np.uint8, np.float16])
def test_zeros_that_can_be_written_to(shape: tuple[int, ...], dtype: type) -> None:
    zeros = sparse_zeros(shape, dtype)
    assert (zeros.shape, zeros.dtype) == (shape, np.dtype(dtype))
    assert zeros.flags.writeable
    assert zeros.flags.c_contiguous
    assert not zeros.any()
    zeros[-1:, 1, 2] = 1
    assert int(zeros.sum()) == min(len(zeros), 1)


def test_it_lives_as_long_as_a_view_of_it() -> None:
    zeros = sparse_zeros(LARGE)
    view = zeros[5].T
    del zeros
    gc.collect()
    view[...] = 7
    assert int(view.min()) == 7


def test_it_can_be_copied_and_pickled() -> None:
    zeros = sparse_zeros(LARGE)
    zeros[3, 4, 5] = 2
    assert np.array_equal(pickle.loads(pickle.dumps(zeros)), zeros)
    assert np.array_equal(zeros.copy(), zeros)


def test_where_no_memory_can_be_mapped_it_is_an_ordinary_array(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refused)
    assert sparse_zeros(LARGE).flags.owndata


@pytest.mark.skipif(sys.platform != "linux", reason="others do not tell what is in memory")
def test_only_what_is_written_takes_memory() -> None:
    def in_memory_mib() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE / 2**20

    before = in_memory_mib()
    zeros = sparse_zeros((400, 512, 512))  # 100 MiB
    zeros[:, 100:108] = 1  # 4 KiB of each slice
    assert int(zeros.sum()) == 400 * 8 * 512  # reading takes none
    assert in_memory_mib() - before < 10
    zeros[:200] = 1
    assert in_memory_mib() - before > 40
