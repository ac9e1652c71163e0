"""Memory of a host program, seen as arrays without a copy: a volume to read, and results to fill.

What cannot be taken as it is gets refused. A conversion would be a second volume, and a guess a wrong one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import AnyArray, ByteArray, HalfArray
from infnet_runtime.errors import GeometryError, InputError
from infnet_runtime.scan.grid import Grid

VOXEL_TYPES = ("int16", "uint16", "float32", "int8", "uint8", "int32", "float64")
"""Of the voxels of a volume: those a file has too."""

# DLPack's kinds of devices whose memory the processor reads: its own, and pinned memory of CUDA and of ROCm.
_READABLE_DEVICES = (1, 3, 11)
_MOST_WORK = 1_000_000  # of NumPy's search for shared memory; arrays of a volume take a few steps


@dataclass(frozen=True, eq=False)
class Targets:
    """Where results are written: memory of the host, (i, j, k); None where the runtime takes its own.

    Parameters
    ----------
    mask, lungs, classes
        As in :class:`~infnet_runtime.segment.result.Segmentation`.
    probability : float16
    """

    mask: ByteArray | None = None
    lungs: ByteArray | None = None
    classes: ByteArray | None = None
    probability: HalfArray | None = None

    def to_lps(self, grid: Grid) -> "Targets":
        """Views of all of them in LPS, (slice, row, column)."""
        turned = {name: None if one is None else grid.to_lps(one) for name, one in vars(self).items()}
        return Targets(**turned)


NO_TARGETS = Targets()


def volume_view(buffer: object, grid: Grid, name: str) -> AnyArray:
    """Read-only view of a host's volume.

    Parameters
    ----------
    buffer : (i, j, k)
        With the buffer protocol, or DLPack of a device whose memory the processor reads; one of
        :data:`VOXEL_TYPES`, of any strides by which no two voxels share memory.
    grid
        Where its voxels lie, axes in the order of the buffer's.
    name
        What messages call it.

    Returns
    -------
    (i, j, k)

    Raises
    ------
    GeometryError
        If its shape is not that of the grid.
    InputError
        If it is no buffer, was released, or has another type, byte order or memory layout.
    """
    known_grid(grid, name)
    array = shared(buffer, name)
    _check_type(array, VOXEL_TYPES, name)
    _check_layout(array, grid, name)
    view = array.view()
    view.flags.writeable = False
    return view


def known_grid(grid: Grid, name: str) -> Grid:
    """The grid of a host, refused where it is something else.

    Raises
    ------
    InputError
        If it is.
    """
    if not isinstance(grid, Grid):
        raise InputError(
            f"the grid of {name} is a {type(grid).__name__}, expected a Grid: Grid(shape, affine), or "
            "Grid.from_spacing(shape, spacing_mm, orientation)",
            code=3210,
        )
    return grid


def plane_view(buffer: object, shape: tuple[int, ...], kind: np.dtype[Any], name: str) -> AnyArray:
    """View of one plane of a volume, to be copied from.

    Parameters
    ----------
    buffer : (rows, columns)
        As of :func:`volume_view`, of any strides.
    shape, kind
        Of the plane of the volume.
    name
        What messages call it.

    Raises
    ------
    GeometryError
        If its shape is another.
    InputError
        If it is no buffer, was released, or has another type or byte order.
    """
    array = shared(buffer, name)
    _check_type(array, (kind.name,), name)
    if array.shape != shape:
        turned = (
            ": rows and columns in the other order; give it transposed, or say the grid in the order of the "
            "plane's axes"
            if array.shape == shape[::-1]
            else ", of the grid's two other axes in stored order"
        )
        raise GeometryError(f"{name} has the shape {array.shape}, expected {shape}{turned}", code=3232)
    return array


def shared(buffer: object, name: str) -> AnyArray:
    """Any buffer of the processor's memory as an array on the same memory.

    Parameters
    ----------
    name
        What messages call it.

    Raises
    ------
    InputError
        If it is no buffer, was released, or its items are no numbers.
    """
    if isinstance(buffer, np.ma.MaskedArray):
        raise InputError(
            f"{name} is a masked array, expected plain numbers: what is behind its mask would count; fill it "
            "first, as with filled(-1024), and give that",
            code=3208,
        )
    if isinstance(buffer, np.ndarray):
        return buffer.view(np.ndarray)
    try:
        memory = memoryview(buffer)  # type: ignore[arg-type]  # whether it is one is asked here
    except TypeError:  # no buffer protocol
        return _from_dlpack(buffer, name)
    except (ValueError, BufferError) as error:
        raise InputError(
            f"{name} ({type(buffer).__name__}) cannot be read ({error}): it was released or closed, or does "
            "not give its memory; keep it until the call has come back",
            code=3201,
        ) from error
    try:
        array = np.asarray(memory)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise _other_type(name, f"the format {memory.format!r}", VOXEL_TYPES) from error
    if array.base is None:  # copied, item by item: no numbers
        raise _other_type(name, f"the format {memory.format!r}", VOXEL_TYPES)
    return array


def targets(given: Mapping[str, object], grid: Grid, inputs: Sequence[tuple[str, AnyArray]]) -> Targets:
    """Views of the memory that results are written to.

    Parameters
    ----------
    given
        Buffers by their place in :class:`Targets`; None where there is none.
    grid
        Of the volume; all of them lie on it.
    inputs
        What the run reads, with its names: no result may lie in it.

    Raises
    ------
    GeometryError
        If a shape is not that of the grid.
    InputError
        If one is no buffer, cannot be written to, has another type or layout, or shares memory with another
        one or with an input.
    """
    taken = list(inputs)
    views: dict[str, AnyArray] = {}
    for place, buffer in given.items():
        if buffer is None:
            continue
        name = "out" if place == "mask" else f"{place}_out"
        view = shared(buffer, name)
        _check_type(view, ("float16",) if place == "probability" else ("uint8",), name)
        _check_layout(view, grid, name)
        if not view.flags.writeable:
            raise InputError(
                f"{name} is read-only, expected memory to write the result to; give a writable buffer (NumPy "
                "before 2.1 takes every tensor of DLPack for read-only: give tensor.numpy())",
                code=3209,
            )
        for other, array in taken:
            _refuse_shared(name, view, other, array)
        taken.append((name, view))
        views[place] = view
    return Targets(**views)


def _from_dlpack(buffer: Any, name: str) -> AnyArray:  # noqa: ANN401 - whatever a host has
    if hasattr(buffer, "__dlpack__") and hasattr(buffer, "__dlpack_device__"):
        try:
            kind, number = (int(one) for one in buffer.__dlpack_device__())
            if kind in _READABLE_DEVICES:
                return np.from_dlpack(buffer)
        except Exception as error:  # of whatever library it is
            raise InputError(
                f"{name} ({type(buffer).__name__}) does not give its memory by DLPack: {error}; give an "
                "array with the buffer protocol, such as tensor.detach().numpy()",
                code=3207,
            ) from error
        raise _on_device(name, f"device {number} of DLPack's kind {kind}")
    if hasattr(buffer, "__cuda_array_interface__"):
        raise _on_device(name, "a GPU")
    raise InputError(
        f"{name} is a {type(buffer).__name__}, expected an array of numbers that gives its memory (the "
        "buffer protocol, or DLPack); a path or a CtVolume goes to predict()",
        code=3200,
    )


def _on_device(name: str, where: str) -> InputError:
    return InputError(
        f"{name} lies in the memory of {where}, expected memory of the processor: the scan is checked and "
        "prepared there; copy it first, as with tensor.cpu()",
        code=3206,
    )


def _other_type(name: str, found: str, expected: tuple[str, ...]) -> InputError:
    return InputError(
        f"{name} has {found}, expected {' or '.join(expected)}; give it in one of these types", code=3202
    )


def _check_type(array: AnyArray, expected: tuple[str, ...], name: str) -> None:
    kind = array.dtype
    if kind.newbyteorder("=").name not in expected or kind.names is not None:
        raise _other_type(name, f"the type {kind}", expected)
    if not kind.isnative:
        raise InputError(
            f"{name} has the bytes of its numbers in the other order ({kind.str}) than this machine; turn "
            "them where they are written, or in place with byteswap(inplace=True) and give it as "
            f"{kind.newbyteorder('=').name}",
            code=3203,
        )


def _check_layout(array: AnyArray, grid: Grid, name: str) -> None:
    if array.shape != tuple(grid.shape):
        raise _other_shape(array, grid, name)
    if not array.flags.aligned or _overlaps_itself(array):
        raise InputError(
            f"{name} has strides of {array.strides} bytes for the shape {array.shape} of {array.itemsize} "
            "bytes each, expected voxels that share no memory and lie at multiples of their size; strides "
            "are in bytes, not in voxels",
            code=3205,
        )


def _other_shape(array: AnyArray, grid: Grid, name: str) -> GeometryError:
    found, expected = array.shape, tuple(grid.shape)
    if found == expected[::-1]:
        what = (
            "the reverse: the buffer and its grid count their axes in opposite orders. Say the grid in the "
            f"order of the buffer, Grid.from_spacing({found}, ...), whose first axis is the one that takes "
            "the largest steps in memory of C order, or give the buffer transposed"
        )
    elif len(found) == 1 and array.size == np.prod(expected):
        what = f"one axis only; give it with its three, as with numpy's reshape{expected} where it is C order"
    else:
        what = "another grid; shape and grid are in the order of the buffer's axes"
    return GeometryError(
        f"{name} has the shape {found} of {array.dtype}, expected {expected} of its grid: {what}", code=3204
    )


def _overlaps_itself(array: AnyArray) -> bool:
    """Whether voxels share memory: a step along an axis must pass all that lies along the shorter ones."""
    reach = array.itemsize
    for stride, length in sorted((abs(s), n) for s, n in zip(array.strides, array.shape, strict=True)):
        if length == 1:
            continue
        if stride < reach:
            return True
        reach += stride * (length - 1)
    return False


def _refuse_shared(name: str, view: AnyArray, other: str, array: npt.NDArray[Any]) -> None:
    try:
        # The stub knows two of the numbers that it takes.
        shared = np.shares_memory(view, array, max_work=_MOST_WORK)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        shared = True
    if shared:
        raise InputError(
            f"{name} shares memory with {other}: what is written to the one would change the other; give "
            "each a buffer of its own",
            code=3211,
        )
