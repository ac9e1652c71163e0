"""A volume that comes plane by plane gives what the whole one gives, to the bit; nothing wrong is taken."""

import gc
import os
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import infnet_runtime
from builders import ORIENTATIONS, chest_phantom, reorient
from infnet_runtime import (
    Cancel,
    Cancelled,
    GeometryError,
    Grid,
    InputError,
    Intensity,
    Segmentation,
    Segmenter,
)
from infnet_runtime.arrays import AnyArray
from infnet_runtime.scan.realistic_chest import realistic_chest
from infnet_runtime.segment.stream import Stream
from tiny_models import mid_grey_detector

PHANTOM = chest_phantom()
GRID = Grid(PHANTOM.hu.shape, PHANTOM.affine)
PLANES = len(PHANTOM.hu)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Segmenter]:
    model = mid_grey_detector(tmp_path_factory.mktemp("models") / "model.onnx")
    with infnet_runtime.load(model, device="cpu", threads=1) as loaded:
        yield loaded


def whole(
    segmenter: Segmenter, voxels: AnyArray = PHANTOM.hu, grid: Grid = GRID, **named: object
) -> Segmentation:
    return segmenter.predict_buffer(voxels, grid, **named)  # type: ignore[arg-type]


def pushed(
    stream: Stream, voxels: AnyArray = PHANTOM.hu, axis: int = 0, order: list[int] | None = None
) -> Stream:
    planes = np.moveaxis(voxels, axis, 0)
    for k in range(len(planes)) if order is None else order:
        stream.push(k, planes[k])
    return stream


def check(found: Segmentation, expected: Segmentation) -> None:
    """The same to the bit, but for time."""
    for name in ("mask", "lungs", "probability", "classes"):
        mine, theirs = getattr(found, name), getattr(expected, name)
        assert (mine is None) == (theirs is None), name
        if mine is not None:
            assert mine.dtype == theirs.dtype
            assert mine.shape == theirs.shape
            assert mine.tobytes() == theirs.tobytes(), name
    assert found.quantification == expected.quantification
    assert found.slices == expected.slices
    assert found.mask.any()
    mine, theirs = ({**vars(one.provenance), "seconds": None} for one in (found, expected))
    assert mine == theirs


def shuffled(number: int) -> list[int]:
    return [int(k) for k in np.random.default_rng(3).permutation(number)]


@pytest.mark.parametrize("order", ["forwards", "backwards", "shuffled"])
def test_every_order_of_planes_gives_what_the_whole_volume_gives(order: str, segmenter: Segmenter) -> None:
    numbers = {"forwards": None, "backwards": list(range(PLANES))[::-1], "shuffled": shuffled(PLANES)}[order]
    with segmenter.stream(GRID, name="buffer") as stream:
        assert stream.planes == PLANES
        result = pushed(stream, order=numbers).finish()
    check(result, whole(segmenter))
    assert np.array_equal(result.volume.voxels, PHANTOM.hu)


@pytest.fixture(scope="module")
def upright(segmenter: Segmenter) -> Segmentation:
    return whole(segmenter)


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_planes_are_counted_along_the_stored_axis(
    code: str, segmenter: Segmenter, upright: Segmentation
) -> None:
    stored, affine = reorient(PHANTOM.hu, PHANTOM.spacing_mm, code)
    grid = Grid(stored.shape, affine)
    axis = next(n for n, letter in enumerate(code) if letter in "SI")
    with segmenter.stream(grid, name="buffer") as stream:
        assert stream.planes == stored.shape[axis]
        result = pushed(stream, stored, axis).finish()
    assert np.array_equal(result.volume.voxels, stored)
    for mine, theirs in ((result.mask, upright.mask), (result.lungs, upright.lungs)):
        assert np.array_equal(grid.to_lps(mine), theirs)
    assert result.quantification == upright.quantification


@pytest.mark.parametrize("kind", ["int16", "float32", "int32", "float64"])
def test_each_type_of_numbers(kind: str, segmenter: Segmenter) -> None:
    voxels = PHANTOM.hu.astype(kind)
    with segmenter.stream(GRID, dtype=kind, name="buffer") as stream:
        check(pushed(stream, voxels, order=shuffled(PLANES)).finish(), whole(segmenter, voxels))


@pytest.mark.parametrize(
    ("kind", "rescale"),
    [
        ("uint16", (1, -1024)),
        ("uint16", (0.5, -1000)),
        ("int32", (1, -500)),
        ("int8", (10, -100)),
        ("float64", (1.5, 20)),
        ("float32", (1, 1)),
    ],
)
def test_numbers_with_a_slope_and_an_intercept(
    kind: str, rescale: tuple[float, float], segmenter: Segmenter
) -> None:
    stored = np.rint((PHANTOM.hu - rescale[1]) / rescale[0]).clip(-128 if kind == "int8" else -(2**15), 2**15)
    stored = stored.clip(0 if kind == "uint16" else None, 127 if kind == "int8" else None).astype(kind)
    if kind == "int32":
        stored[5, 3, 3] = -40000  # of one plane alone: only with it is it known that 16 bits do not do
    expected = whole(segmenter, stored, rescale=rescale)
    with segmenter.stream(GRID, dtype=kind, rescale=rescale, name="buffer") as stream:
        check(pushed(stream, stored, order=shuffled(PLANES)).finish(), expected)


def test_a_scaling_that_is_none_is_refused_at_once(segmenter: Segmenter) -> None:
    with pytest.raises(InputError, match="slope"):
        segmenter.stream(GRID, rescale=(0, -1024))


def test_the_values_are_checked_and_not_the_numbers(segmenter: Segmenter) -> None:
    huge = np.full(GRID.shape[1:], 1e300)
    with segmenter.stream(GRID, dtype="float64") as stream, pytest.raises(InputError) as caught:
        stream.push(0, huge)
    assert caught.value.code == 3032


def test_the_host_s_own_memory_is_read_where_it_is(segmenter: Segmenter) -> None:
    memory = np.full(PHANTOM.hu.shape, 30000, np.int16)
    with segmenter.stream(GRID, voxels=memory, name="buffer") as stream:
        for k in shuffled(PLANES):
            memory[k] = PHANTOM.hu[k]
            stream.push(k)
        result = stream.finish()
    check(result, whole(segmenter))
    assert np.shares_memory(result.volume.voxels, memory)


def test_the_outputs_of_the_host_are_filled(segmenter: Segmenter) -> None:
    out, lungs = (np.full(GRID.shape, 9, np.uint8) for _ in range(2))
    probability = np.full(GRID.shape, 9, np.float16)
    with segmenter.stream(
        GRID, out=out, lungs_out=lungs, probability_out=probability, name="buffer"
    ) as stream:
        result = pushed(stream).finish()
    assert np.shares_memory(result.mask, out)
    other = np.zeros(GRID.shape, np.float16)
    check(result, whole(segmenter, probability_out=other))
    assert np.array_equal(lungs, result.lungs)


def test_the_other_choices_reach_the_network(segmenter: Segmenter) -> None:
    seen: list[tuple[int, int]] = []
    with segmenter.stream(
        GRID, fast=True, batch_size=3, name="buffer", progress=lambda done, of: seen.append((done, of))
    ) as stream:
        check(pushed(stream).finish(), whole(segmenter, fast=True, batch_size=3))
    assert seen[-1][0] == seen[-1][1]
    with pytest.raises(infnet_runtime.ModelError, match="slice gate"):
        segmenter.stream(GRID, silence_slices=True)


@pytest.mark.parametrize("when", ["at the start", "at the end"])
def test_lungs_may_be_given(when: str, segmenter: Segmenter) -> None:
    first, last = (PHANTOM.lungs, None) if when == "at the start" else (None, PHANTOM.lungs)
    with segmenter.stream(GRID, lungs=first, name="buffer") as stream:
        check(pushed(stream).finish(lungs=last), whole(segmenter, lungs=PHANTOM.lungs))


def test_windowed_grey(segmenter: Segmenter) -> None:
    grey = np.clip((PHANTOM.hu.astype(np.float32) + 1150) * (255 / 1500), 0, 255).astype(np.uint8)
    with segmenter.stream(GRID, dtype="uint8", intensity=Intensity.WINDOWED, name="buffer") as stream:
        result = pushed(stream, grey).finish()
    check(result, whole(segmenter, grey, intensity=Intensity.WINDOWED))


@pytest.mark.parametrize(
    ("kind", "slope", "intercept"),
    [("uint16", 1, -1024), ("int32", 1, -700_000), ("float64", 1, 0), ("float32", 2, 24.5)],
)
def test_a_field_filled_up_with_tissue_is_seen_in_numbers_with_a_slope_and_an_intercept(
    kind: str, slope: float, intercept: float, segmenter: Segmenter
) -> None:
    hu = PHANTOM.hu.clip(-1000).astype(np.float64)
    hu[:, :14], hu[:, -14:] = 60, 60
    hu += 0.3 if kind == "float64" else 0
    stored = (hu - intercept) / slope
    stored = (stored if kind.startswith("float") else stored.round()).astype(kind)
    expected = whole(segmenter, stored, rescale=(slope, intercept))
    with segmenter.stream(GRID, dtype=kind, rescale=(slope, intercept), name="buffer") as stream:
        check(pushed(stream, stored, order=shuffled(PLANES)).finish(), expected)
    with segmenter.stream(GRID, voxels=stored, rescale=(slope, intercept), name="buffer") as stream:
        for k in range(PLANES):
            stream.push(k)
        result = stream.finish()
    check(result, expected)
    assert "padding_left_out" in result.quantification.flags


def test_a_scaling_is_refused_before_the_first_plane_and_its_values_when_they_come(
    segmenter: Segmenter,
) -> None:
    with pytest.raises(InputError, match="INF-3124.*slope of head is 0"):
        segmenter.stream(GRID, rescale=(0, 5), name="head")
    with (
        segmenter.stream(GRID, intensity=Intensity.WINDOWED, rescale=(1, 1000)) as stream,
        pytest.raises(InputError, match=r"INF-3034.*0\.\.255, found 1000"),
    ):
        stream.push(2, np.zeros(GRID.shape[1:], np.int16))


def test_planes_may_be_pushed_from_several_threads_into_two_streams(segmenter: Segmenter) -> None:
    other = chest_phantom(seed=5)
    one, two = (segmenter.stream(GRID, name="buffer") for _ in range(2))
    with one, two, ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(one.push, k, PHANTOM.hu[k]) for k in shuffled(PLANES)]
        jobs += [pool.submit(two.push, k, other.hu[k]) for k in shuffled(PLANES)]
        for job in jobs:
            job.result()
        results = list(pool.map(lambda stream: stream.finish(), (one, two)))
    check(results[0], whole(segmenter))
    check(results[1], whole(segmenter, other.hu))


def test_finish_waits_for_what_other_threads_push(segmenter: Segmenter) -> None:
    for _ in range(3):
        with segmenter.stream(GRID, name="buffer") as stream:
            pushed(stream, order=list(range(PLANES - 1)))
            started = threading.Event()

            def last(stream: Stream = stream, started: threading.Event = started) -> None:
                started.set()
                stream.push(PLANES - 1, PHANTOM.hu[-1])

            thread = threading.Thread(target=last)
            thread.start()
            started.wait()
            while True:
                try:
                    result = stream.finish()
                    break
                except InputError as error:
                    assert error.code == 3235  # noqa: PT017 - the push may not have begun
            thread.join()
        check(result, whole(segmenter))


@pytest.mark.parametrize("k", [-1, PLANES, 1.0, "3", None, True])
def test_a_plane_that_is_not_in_the_grid_is_refused(k: object, segmenter: Segmenter) -> None:
    with (
        segmenter.stream(GRID) as stream,
        pytest.raises(InputError, match=f"from 0 to {PLANES - 1}") as caught,
    ):
        stream.push(k, PHANTOM.hu[0])  # type: ignore[arg-type]
    assert caught.value.code == 3230


def test_what_is_refused_changes_nothing(segmenter: Segmenter) -> None:
    with segmenter.stream(GRID, dtype="float32", name="buffer") as stream:
        good = PHANTOM.hu.astype(np.float32)
        stream.push(4, good[4])
        with pytest.raises(InputError, match="plane 4 of buffer is there already") as twice:
            stream.push(4, good[5])
        assert twice.value.code == 3231
        bad = good[7].copy()
        bad[3, 4:6] = np.nan, np.inf
        with pytest.raises(
            InputError, match=r"2 of 6912 voxels of plane 7 of buffer are not finite"
        ) as spoilt:
            stream.push(7, bad)
        assert spoilt.value.code == 3032
        with pytest.raises(InputError, match=r"int16.*float32") as other_type:
            stream.push(7, PHANTOM.hu[7])
        assert other_type.value.code == 3202
        with pytest.raises(GeometryError, match=r"\(96, 72\).*\(72, 96\).*rows and columns") as turned:
            stream.push(7, good[7].T)
        assert turned.value.code == 3232
        with pytest.raises(GeometryError, match=r"\(1, 72, 96\)"):
            stream.push(7, good[7:8])
        with pytest.raises(InputError) as nothing:
            stream.push(7)
        assert nothing.value.code == 3233
        assert stream.missing == tuple(k for k in range(PLANES) if k != 4)
        pushed(stream, good, order=[k for k in range(PLANES) if k != 4])
        check(stream.finish(), whole(segmenter, good))


def test_grey_outside_of_a_byte_is_refused_when_it_comes(segmenter: Segmenter) -> None:
    with segmenter.stream(GRID, intensity=Intensity.WINDOWED) as stream, pytest.raises(InputError) as caught:
        stream.push(2, PHANTOM.hu[2])
    assert caught.value.code == 3034
    assert "plane 2 of" in str(caught.value)


def test_a_plane_for_a_stream_that_reads_the_host_s_memory_is_refused(segmenter: Segmenter) -> None:
    memory = PHANTOM.hu.copy()
    with (
        segmenter.stream(GRID, voxels=memory) as stream,
        pytest.raises(InputError, match="number only") as caught,
    ):
        stream.push(0, PHANTOM.hu[0])
    assert caught.value.code == 3233
    assert stream is not None
    with pytest.raises(InputError, match=r"float32.*int16") as types:
        segmenter.stream(GRID, voxels=memory, dtype="float32")
    assert types.value.code == 3236
    with pytest.raises(InputError, match="complex64") as foreign:
        segmenter.stream(GRID, dtype="complex64")
    assert foreign.value.code == 3236


def test_a_scan_with_holes_is_not_segmented(segmenter: Segmenter) -> None:
    with segmenter.stream(GRID, name="buffer") as stream:
        with pytest.raises(
            InputError, match=f"{PLANES} of {PLANES} .*0, 1, 2, 3, 4, 5, 6, 7, 8, 9, "
        ) as caught:
            stream.finish()
        assert caught.value.code == 3235
        pushed(stream, order=[k for k in range(PLANES) if k not in (3, 11)])
        with pytest.raises(InputError, match=r"2 of 20 planes of buffer are missing \(3, 11\)"):
            stream.finish()
        check(pushed(stream, order=[11, 3]).finish(), whole(segmenter))


def test_a_stream_that_ended_says_so(segmenter: Segmenter) -> None:
    stream = segmenter.stream(GRID)
    pushed(stream).finish()
    for call in (stream.finish, lambda: stream.push(0, PHANTOM.hu[0])):
        with pytest.raises(InputError, match="ended") as caught:
            call()
        assert caught.value.code == 3234
    stream.close()
    with segmenter.stream(GRID) as closed:
        pass
    with pytest.raises(InputError, match="ended"):
        closed.push(0, PHANTOM.hu[0])


def test_after_an_error_it_can_be_finished_again(segmenter: Segmenter) -> None:
    def stop(done: int, of: int) -> None:
        raise KeyError(done, of)

    with segmenter.stream(GRID, name="buffer") as stream:
        pushed(stream)
        with pytest.raises(InputError, match="empty"):
            stream.finish(lungs=np.zeros(GRID.shape, np.uint8))
        check(stream.finish(), whole(segmenter))
    with segmenter.stream(GRID, progress=stop) as stream:
        with pytest.raises(KeyError):
            pushed(stream).finish()
        assert stream.missing == ()


def test_what_can_be_refused_before_the_first_plane_is(segmenter: Segmenter) -> None:
    with pytest.raises(InputError) as lost:
        segmenter.stream(Grid((20, 72, 96), np.eye(4)))
    assert lost.value.code == 3035
    with pytest.raises(InputError, match="batch size"):
        segmenter.stream(GRID, batch_size=0)
    with pytest.raises(infnet_runtime.ModelError):
        segmenter.stream(GRID, classes_out=np.zeros(GRID.shape, np.uint8))
    with pytest.raises(InputError) as huge:
        segmenter.stream(Grid((2**20, 2**20, 2**10), PHANTOM.affine))
    assert huge.value.code == 3237


def test_a_model_that_was_closed_is_named(tmp_path: Path) -> None:
    model = infnet_runtime.load(mid_grey_detector(tmp_path / "model.onnx"), device="cpu", threads=1)
    with model.stream(GRID) as stream:
        pushed(stream)
        model.close()
        with pytest.raises(infnet_runtime.ModelError) as caught:
            stream.finish()
    assert caught.value.code == 4080


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_refused(segmenter: Segmenter) -> None:
    with segmenter.stream(GRID) as stream:
        stream.push(0, PHANTOM.hu[0])
        child = os.fork()
        if not child:
            codes = []
            for call in (
                lambda: stream.push(1, PHANTOM.hu[1]),
                stream.finish,
                lambda: segmenter.stream(GRID),
            ):
                try:
                    call()
                except infnet_runtime.BackendError as error:
                    codes.append(error.code)
            os._exit(0 if codes == [5060] * 3 else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_something_else_than_a_grid_is_refused(segmenter: Segmenter) -> None:
    for voxels in (None, PHANTOM.hu):
        with pytest.raises(InputError) as caught:
            segmenter.stream(PHANTOM.hu.shape, voxels=voxels)  # type: ignore[arg-type]
        assert caught.value.code == 3210


def test_words_of_the_intensity_do(segmenter: Segmenter) -> None:
    with segmenter.stream(GRID, intensity="windowed") as stream, pytest.raises(InputError) as caught:  # type: ignore[arg-type]
        stream.push(2, PHANTOM.hu[2])
    assert caught.value.code == 3034


def test_a_cancel_ends_pushing_and_finishing(segmenter: Segmenter) -> None:
    cancel = Cancel()
    with segmenter.stream(GRID, cancel=cancel) as stream:
        pushed(stream)
        cancel.cancel()
        with pytest.raises(Cancelled):
            stream.finish()
    with segmenter.stream(GRID, cancel=cancel) as stream, pytest.raises(Cancelled):
        stream.push(0, PHANTOM.hu[0])


def test_a_cancel_ends_a_stream_that_is_being_finished(segmenter: Segmenter) -> None:
    cancel, seen = Cancel(), []

    def at_the_first(done: int, of: int) -> None:
        seen.append((done, of))
        cancel.cancel()

    with segmenter.stream(GRID, cancel=cancel, progress=at_the_first, batch_size=1) as stream:
        with pytest.raises(Cancelled):
            pushed(stream).finish()
        assert len(seen) < seen[0][1] / 2
        with pytest.raises(Cancelled):  # the planes are kept, but this Cancel is used up
            stream.finish()


def test_of_two_who_finish_one_is_refused(segmenter: Segmenter) -> None:
    refused: list[InputError] = []

    def other(done: int, of: int) -> None:
        if not refused:
            with pytest.raises(InputError) as caught:
                stream.finish()
            refused.append(caught.value)

    with segmenter.stream(GRID, name="buffer", progress=other) as stream:
        result = pushed(stream).finish()
    check(result, whole(segmenter))
    assert [error.code for error in refused] == [3234]


@pytest.mark.parametrize("how", ["an exception in the block", "left without a word"])
def test_nothing_is_left_of_a_stream_without_its_end(how: str, segmenter: Segmenter) -> None:
    memory = np.empty(GRID.shape, np.int16)
    owner = weakref.ref(memory)
    threads = threading.active_count()
    gc.collect()
    gc.disable()
    try:
        stream = segmenter.stream(GRID, voxels=memory)
        del memory
        if how == "left without a word":
            stream.push(0)
            del stream
        else:
            with suppress(KeyError), stream:
                stream.push(0)
                raise KeyError(0)
        assert owner() is None
    finally:
        gc.enable()
    assert threading.active_count() == threads


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_the_shipped_network_gives_the_same_bits(backend: str) -> None:
    pytest.importorskip(backend)
    chest = realistic_chest((8, 170, 220), (33.75, 1.8, 1.8))
    grid = Grid(chest.hu.shape, chest.affine)
    outputs = [
        {
            "lungs_out": np.empty(grid.shape, np.uint8),
            "classes_out": np.empty(grid.shape, np.uint8),
            "probability_out": np.empty(grid.shape, np.float16),
        }
        for _ in range(2)
    ]
    with infnet_runtime.load(device="cpu", backend=backend, threads=2, classes=True) as model:
        expected = model.predict_buffer(chest.hu, grid, **outputs[0])  # type: ignore[arg-type]
        with model.stream(grid, name="buffer", **outputs[1]) as stream:  # type: ignore[arg-type]
            result = pushed(stream, chest.hu, order=shuffled(len(chest.hu))).finish()
    assert 1 < expected.provenance.slices_run < 8
    check(result, expected)
