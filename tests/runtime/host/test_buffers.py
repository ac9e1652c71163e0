"""Memory of a host: taken as it is, or refused with the reason."""

import ctypes
import mmap
from array import array
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import NumpyVersion

from infnet_runtime.errors import GeometryError, InputError
from infnet_runtime.host.buffers import VOXEL_TYPES, targets, volume_view
from infnet_runtime.scan.grid import Grid

SHAPE = (3, 4, 5)
GRID = Grid.from_spacing(SHAPE, (5.0, 0.7, 0.8))


class ByDlpack:
    """A tensor of another library: no buffer protocol, its memory by DLPack alone."""

    def __init__(self, array: np.ndarray, device: tuple[int, int] | None = None) -> None:
        self.array, self.device = array, device

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device or self.array.__dlpack_device__()

    def __dlpack__(self, **asked: object) -> object:
        return self.array.__dlpack__(**asked)  # type: ignore[arg-type]


class Foreign(ByDlpack):
    """One whose library does not give it."""

    def __dlpack__(self, **asked: object) -> object:
        raise KeyError("requires a gradient")


class Nowhere(ByDlpack):
    """One that has no memory."""

    def __dlpack_device__(self) -> tuple[int, int]:
        raise ValueError("unknown device meta")


# Before 2.1 NumPy takes every tensor for one that may only be read.
WRITABLE = ByDlpack if NumpyVersion(np.__version__) >= "2.1.0" else memoryview


def numbers(kind: str = "int16") -> np.ndarray:
    return np.arange(60).reshape(SHAPE).astype(kind)


def code_of(buffer: object, grid: Grid = GRID) -> int:
    with pytest.raises(InputError, match="the scan") as caught:
        volume_view(buffer, grid, "the scan")
    return caught.value.code


@pytest.mark.parametrize("kind", VOXEL_TYPES)
@pytest.mark.parametrize("wrap", [np.asarray, memoryview, ByDlpack], ids=lambda w: w.__name__)
def test_a_volume_is_seen_where_it_lies_and_cannot_be_written_to(wrap: type, kind: str) -> None:
    own = numbers(kind)
    view = volume_view(wrap(own), GRID, "the scan")
    assert np.shares_memory(view, own)
    assert np.array_equal(view, numbers(kind))
    assert not view.flags.writeable
    assert own.flags.writeable


@pytest.mark.parametrize(
    "own",
    [
        numbers().copy("F"),
        numbers()[::-1, :, ::-1],
        np.zeros((6, 8, 15), "int16")[::2, 1::2, ::3],
        np.zeros((5, 3, 4), "int16").transpose(1, 2, 0),
        np.zeros((*SHAPE, 3), "uint16")[..., 1],
    ],
    ids=["fortran", "against", "skipping", "turned", "interleaved"],
)
def test_any_strides_are_taken_as_they_are(own: np.ndarray) -> None:
    for buffer in (own, memoryview(own)):
        view = volume_view(buffer, GRID, "the scan")
        assert np.shares_memory(view, own)
        assert np.array_equal(view, own)


def test_memory_that_cannot_be_written_to_is_read(tmp_path: Path) -> None:
    own = numbers()
    own.flags.writeable = False
    (tmp_path / "raw").write_bytes(own.tobytes())
    with (tmp_path / "raw").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    for buffer in (own, memoryview(own.tobytes()).cast("h", SHAPE), memoryview(mapped).cast("h", SHAPE)):
        assert np.array_equal(volume_view(buffer, GRID, "the scan"), own)


def test_an_array_of_c_is_taken() -> None:
    inner = ctypes.c_int16 * SHAPE[2]
    own = ((inner * SHAPE[1]) * SHAPE[0])()
    own[2][3][4] = -1000
    assert volume_view(own, GRID, "the scan")[2, 3, 4] == -1000


@pytest.mark.parametrize(
    "kind",
    ["int64", "uint64", "uint32", "float16", "longdouble", "complex64", "bool", "object", "S2", "M8[s]"],
)
def test_other_types_are_refused(kind: str) -> None:
    own = np.zeros(SHAPE, kind)
    assert code_of(own) == 3202
    if own.dtype.kind not in "OM":
        assert code_of(memoryview(own)) == 3202


def test_records_are_refused() -> None:
    assert code_of(np.zeros(SHAPE, [("hu", "i2")])) == 3202
    assert code_of(np.zeros(SHAPE, [("hu", "i2"), ("weight", "u1")])) == 3202


def test_the_other_byte_order_is_refused() -> None:
    other = numbers().astype(numbers().dtype.newbyteorder())
    assert code_of(other) == 3203
    assert code_of(memoryview(other)) == 3203


def test_axes_counted_the_other_way_are_named() -> None:
    with pytest.raises(
        GeometryError, match=r"shape \(5, 4, 3\) of int16, expected \(3, 4, 5\).*opposite orders"
    ) as seen:
        volume_view(numbers().T, GRID, "the scan")
    assert seen.value.code == 3204


@pytest.mark.parametrize(
    ("buffer", "what"),
    [
        (array("h", range(60)), r"one axis only.*reshape\(3, 4, 5\)"),
        (b"\0" * 120, r"\(120,\) of uint8"),
        (numbers()[:2], "another grid"),
        (numbers()[:, :0], "another grid"),
        (np.zeros((), "int16"), "another grid"),
    ],
    ids=["flat", "bytes", "fewer", "empty", "no axis"],
)
def test_other_shapes_are_refused(buffer: object, what: str) -> None:
    with pytest.raises(InputError, match=what):
        volume_view(buffer, GRID, "the scan")


@pytest.mark.parametrize(
    "strides",
    [(0, 10, 2), (20, 5, 1), (2, 2, 2), (40, 10, 0), (40, 8, 2)],
    ids=["slice", "in voxels", "all the same", "column", "row short"],
)
def test_strides_by_which_voxels_share_memory_are_refused(strides: tuple[int, int, int]) -> None:
    own = np.lib.stride_tricks.as_strided(numbers(), SHAPE, strides)
    assert code_of(own) == 3205


def test_the_stride_of_an_axis_with_one_voxel_means_nothing() -> None:
    own = np.lib.stride_tricks.as_strided(numbers(), (1, 4, 5), (0, 10, 2))
    grid = Grid.from_spacing((1, 4, 5), (5.0, 0.7, 0.8))
    assert volume_view(own, grid, "the scan").shape == (1, 4, 5)


def test_numbers_between_their_places_are_refused() -> None:
    own = np.frombuffer(bytes(121), "int16", 60, 1).reshape(SHAPE)
    assert code_of(own) == 3205


def test_a_buffer_that_was_released_is_refused(tmp_path: Path) -> None:
    gone = memoryview(numbers())
    gone.release()
    assert code_of(gone) == 3201
    closed = mmap.mmap(-1, 120)
    closed.close()
    assert code_of(closed) == 3201


def test_a_buffer_cannot_be_released_while_it_is_seen() -> None:
    own = bytearray(numbers().tobytes())
    view = volume_view(memoryview(own).cast("h", SHAPE), GRID, "the scan")
    with pytest.raises(BufferError):
        own.clear()
    del view
    own.clear()


def test_a_masked_array_is_refused() -> None:
    assert code_of(np.ma.masked_less(numbers(), 3)) == 3208


@pytest.mark.parametrize(
    "buffer", [None, "scan.nii.gz", [[[1, 2]]], 3.0, object()], ids=lambda b: type(b).__name__
)
def test_what_has_no_memory_is_refused(buffer: object) -> None:
    assert code_of(buffer) == 3200


def test_memory_of_a_gpu_is_refused() -> None:
    class Cuda:
        __cuda_array_interface__: dict[str, object] = {}  # noqa: RUF012 - as libraries have it

    assert code_of(ByDlpack(numbers(), (2, 1))) == 3206
    assert code_of(Cuda()) == 3206


def test_pinned_memory_is_read() -> None:
    own = numbers()
    assert np.shares_memory(volume_view(ByDlpack(own, (3, 0)), GRID, "the scan"), own)


def test_what_does_not_give_its_memory_by_dlpack_is_refused() -> None:
    with pytest.raises(InputError, match="requires a gradient") as caught:
        volume_view(Foreign(numbers()), GRID, "the scan")
    assert caught.value.code == 3207
    assert code_of(Nowhere(numbers())) == 3207


def test_a_later_dlpack_is_refused() -> None:
    class Managed(ctypes.Structure):
        """DLManagedTensorVersioned up to its flags; the version comes first in all of them."""

        _fields_ = (
            ("major", ctypes.c_uint32),
            ("minor", ctypes.c_uint32),
            ("context", ctypes.c_void_p),
            ("deleter", ctypes.c_void_p),
            ("rest", ctypes.c_uint64 * 16),
        )

    managed = Managed(major=99)
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)

    class Later(ByDlpack):
        def __dlpack__(self, **asked: object) -> object:
            return new(ctypes.addressof(managed), b"dltensor_versioned", None)

    assert code_of(Later(numbers())) == 3207


def out(kind: str = "uint8") -> np.ndarray:
    return np.full(SHAPE, 7, kind)


def refused(given: dict[str, object], **inputs: np.ndarray) -> int:
    with pytest.raises(InputError) as caught:
        targets(given, GRID, list(inputs.items()))
    return caught.value.code


def test_results_are_written_where_the_host_says() -> None:
    masks, probability = np.zeros((*SHAPE, 3), "uint8"), out("float16")
    given = {
        "mask": masks[..., 0],
        "lungs": memoryview(masks[..., 1]),
        "classes": WRITABLE(masks[..., 2]),
        "probability": probability,
    }
    views = targets(given, GRID, [("buffer", numbers())])
    for number, view in enumerate((views.mask, views.lungs, views.classes)):
        assert view is not None
        view[...] = number + 1
    assert (masks == [1, 2, 3]).all()
    assert np.shares_memory(views.probability, probability)
    assert targets({"mask": None}, GRID, []).mask is None


def test_results_go_to_memory_that_can_be_written_to() -> None:
    own = out()
    own.flags.writeable = False
    assert refused({"mask": own}) == 3209
    assert refused({"lungs": memoryview(bytes(60)).cast("B", SHAPE)}) == 3209


def test_results_go_to_memory_of_their_type_and_shape() -> None:
    assert refused({"mask": out("int16")}) == 3202
    assert refused({"mask": out("bool")}) == 3202
    assert refused({"probability": out("float32")}) == 3202
    assert refused({"mask": out().T}) == 3204
    assert refused({"classes": np.lib.stride_tricks.as_strided(out(), SHAPE, (0, 5, 1))}) == 3205


def test_results_share_memory_with_nothing() -> None:
    own = out()
    assert refused({"mask": own, "lungs": own[::-1]}) == 3211
    assert refused({"mask": own}, buffer=own) == 3211
    assert refused({"mask": own}, out=own) == 3211  # a volume may have any name
    volume = np.zeros((*SHAPE, 2), "int16")
    assert refused({"mask": volume.view("uint8")[..., 1]}, buffer=volume[..., 0]) == 3211
    beside = volume.view("uint8")[..., 2]
    assert np.shares_memory(targets({"mask": beside}, GRID, [("buffer", volume[..., 0])]).mask, volume)
