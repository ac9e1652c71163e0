"""What holds of every session on a GPU."""

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

from gpu_places import EngineOnGpu, OrtOnGpu, Place
from infnet_runtime.errors import BackendError
from tiny_models import alone

BATCHES = 1000


def test_parity_with_the_reference_for_ragged_batches(place: Place) -> None:
    """One slice, a whole block, blocks with a rest; in both orders, since buffers stay."""
    with place.open() as session:
        for n in (1, 4, 3, 9, 16, 17, 5, 2, 1):
            batch = place.slices(n, seed=n)
            found = alone(session, batch)
            assert found.shape == (n, 1, place.size, place.size)
            np.testing.assert_allclose(found, place.reference(batch), rtol=0, atol=place.tolerance)


def test_the_same_call_gives_the_same_bytes(place: Place) -> None:
    with place.open() as session:
        first = {n: alone(session, place.slices(n, seed=n)) for n in (1, 4, 9)}
        for n in (9, 1, 4, 4, 1, 9):
            assert np.array_equal(alone(session, place.slices(n, seed=n)), first[n])


def test_two_threads(place: Place) -> None:
    wrong: list[str] = []

    def use(seed: int) -> None:
        for turn in range(5):
            for n in (5, 1, 9):
                found = alone(session, place.slices(n, seed))
                if not np.array_equal(found, expected[seed, n]):
                    wrong.append(f"thread {seed}, turn {turn}, {n} slices")

    with place.open() as session:
        expected = {(s, n): alone(session, place.slices(n, s)) for s in range(2) for n in (5, 1, 9)}
        threads = [threading.Thread(target=use, args=(seed,)) for seed in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_two_sessions_at_once(place: Place) -> None:
    """Opened and closed in two threads, while the other one runs."""
    wrong: list[BaseException] = []

    def use(seed: int) -> None:
        try:
            for _ in range(3):
                with place.open() as session:
                    batch = place.slices(9, seed)
                    np.testing.assert_allclose(
                        alone(session, batch), place.reference(batch), rtol=0, atol=place.tolerance
                    )
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.usefixtures("no_collector")
def test_nothing_outlives_the_device(place: Place) -> None:
    session: Any = place.open()
    alone(session, place.slices(9))
    watched = _inside(session)
    device, alive = session._device, []
    close_device = device.close

    def close() -> None:
        alive.append([name for name, reference in watched.items() if reference() is not None])
        close_device()

    device.close = close
    del device
    session.close()
    assert watched
    assert alive == [[]], "it is still there when the memory it lies in goes"


def _inside(session: Any) -> dict[str, weakref.ref[Any]]:  # noqa: ANN401 - two classes of sessions
    """Everything of the library's that a session holds."""
    engine = getattr(session, "_engine", None)
    if engine is None:
        return {
            "session": weakref.ref(session._session),
            "binding": weakref.ref(session._bound._binding),
            "bound": weakref.ref(session._bound),
        }
    contexts = {
        f"context {number} for {length}": weakref.ref(program.context)
        for number, lane in enumerate(session._runner._lanes)
        for length, program in lane._programs.items()
    }
    held = {"loaded": engine, "engine": engine._engine, "runtime": engine._runtime, "runner": session._runner}
    return {name: weakref.ref(thing) for name, thing in held.items()} | contexts


def test_memory_comes_back(place: Place) -> None:
    with place.open() as session:
        alone(session, place.slices(9))
    gc.collect()
    before = place.free_bytes()
    for _ in range(3):
        with place.open() as session:
            alone(session, place.slices(9))
            assert place.free_bytes() < before
        assert place.free_bytes() >= before - place.slack


def test_a_thousand_batches_take_no_more_memory(place: Place) -> None:
    batch = place.slices(2)
    with place.open() as session:
        expected = alone(session, batch)
        before = place.free_bytes()
        for _ in range(BATCHES):
            found = alone(session, batch)
        assert place.free_bytes() >= before - place.slack
        assert np.array_equal(found, expected)


def test_a_full_gpu_is_refused_at_opening(place: Place) -> None:
    with place.open() as session:
        expected = alone(session, place.slices(3))
    before = place.free_bytes()
    with place.full():
        left = place.free_bytes()
        with pytest.raises(BackendError, match="a smaller --batch-size needs less") as told:
            place.open()
        assert told.value.code == 5025
        assert place.free_bytes() >= left - place.slack, "what was taken until then is given back"
    assert place.free_bytes() >= before - place.slack
    with place.open() as session:
        assert np.array_equal(alone(session, place.slices(3)), expected)


def test_a_graph_that_is_refused_is_done_without(place: Place) -> None:
    # Through another operator the numbers are rounded once more.
    tolerance = max(place.tolerance, 1e-5) if isinstance(place, OrtOnGpu) else place.tolerance
    with place.refusing_graphs(), place.open() as session:
        assert "CUDA graph" not in session.backend
        for n in (1, 4, 9):
            batch = place.slices(n, seed=n)
            found = alone(session, batch)
            np.testing.assert_allclose(found, place.reference(batch), rtol=0, atol=tolerance)


def test_one_slice_and_the_same_slice_in_a_batch_agree(place: Place) -> None:
    """Not to the bit on a GPU: kernels for one slice and for four may add in another order."""
    tolerance = place.tolerance if isinstance(place, EngineOnGpu | OrtOnGpu) else 0
    batch = place.slices(4)
    with place.open() as session:
        together = alone(session, batch)
        for k in range(4):
            single = alone(session, batch[k : k + 1])
            np.testing.assert_allclose(single[0], together[k], rtol=0, atol=tolerance)
