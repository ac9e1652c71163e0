"""A model in many threads at once, closed, replaced and loaded meanwhile: results, or typed errors."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import infnet_runtime
from builders import chest_phantom
from infnet_runtime import Cancel, Cancelled, Grid, ModelError, Segmentation, Segmenter
from tiny_models import mid_grey_detector

SHAPES = ((20, 72, 96), (13, 90, 80), (26, 64, 72))
PHANTOMS = [chest_phantom(shape, seed=seed) for seed, shape in enumerate(SHAPES)]
GRIDS = [Grid.from_spacing(p.hu.shape, p.spacing_mm) for p in PHANTOMS]
THREADS = 6

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture(params=["onnxruntime", "openvino"])
def load(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Segmenter]:
    model = mid_grey_detector(tmp_path / "model.onnx")

    def loaded() -> Segmenter:
        return infnet_runtime.load(model, backend=request.param, device="cpu", threads=2)

    return loaded


def run(model: Segmenter, number: int) -> Segmentation:
    out = np.full(GRIDS[number].shape, 9, np.uint8)
    return model.predict_buffer(PHANTOMS[number].hu, GRIDS[number], out=out)


def same(found: Segmentation, expected: Segmentation) -> bool:
    return np.array_equal(found.mask, expected.mask) and found.quantification == expected.quantification


def test_many_threads_get_what_one_gets(load: Callable[[], Segmenter]) -> None:
    with load() as model, ThreadPoolExecutor(THREADS) as pool:
        expected = [run(model, number) for number in range(3)]
        assert all(one.mask.any() for one in expected)
        numbers = [number % 3 for number in range(2 * THREADS)]
        for number, found in zip(numbers, pool.map(lambda n: run(model, n), numbers), strict=True):
            assert same(found, expected[number])


def test_a_model_closed_meanwhile_gives_results_or_says_so(load: Callable[[], Segmenter]) -> None:
    model, before = load(), threading.active_count()
    expected = run(model, 0)
    running, ended = threading.Event(), []

    def use() -> None:
        for _ in range(50):
            try:
                out = np.empty(GRIDS[0].shape, np.uint8)
                ended.append(
                    model.predict_buffer(
                        PHANTOMS[0].hu, GRIDS[0], out=out, batch_size=1, progress=lambda *_: running.set()
                    )
                )
            except ModelError as error:
                ended.append(error)
                return

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert running.wait(30)
    model.close()
    for thread in threads:
        thread.join(60)
    assert threading.active_count() == before
    errors = [one for one in ended if isinstance(one, ModelError)]
    assert [error.code for error in errors] == [4080] * 3
    assert all(same(one, expected) for one in ended if isinstance(one, Segmentation))


def test_a_cancel_does_not_wait_for_the_batches_of_others(tmp_path: Path) -> None:
    """OpenVINO runs one batch at a time; a call that waits for others' ends when it is told to."""
    file = mid_grey_detector(tmp_path / "model.onnx")
    with infnet_runtime.load(file, backend="openvino", device="cpu", threads=2) as model:
        cancel, before = Cancel(), threading.active_count()
        timer = threading.Timer(0.5, cancel.cancel)
        timer.start()
        with model._session._one_at_a_time, pytest.raises(Cancelled):  # type: ignore[attr-defined]
            model.predict_buffer(PHANTOMS[0].hu, GRIDS[0], cancel=cancel)
        timer.join()
        assert threading.active_count() == before


@pytest.mark.parametrize("change", ["deleted", "replaced", "cut off"])
def test_a_model_file_that_changes_while_loaded_changes_nothing(
    change: str, load: Callable[[], Segmenter], tmp_path: Path
) -> None:
    with load() as model:
        expected, file = run(model, 0), tmp_path / "model.onnx"
        if change == "deleted":
            file.unlink()
        elif change == "replaced":
            mid_grey_detector(file.with_name("other.onnx"), scale=0.0)  # nothing is infected
            file.with_name("other.onnx").replace(file)
        else:
            with file.open("r+b") as opened:  # the same file on the disk: what is mapped would change with it
                opened.truncate(10)
        assert same(run(model, 0), expected)
        if change != "replaced":
            with pytest.raises(ModelError):
                load()


def test_ten_threads_load_at_once(
    load: Callable[[], Segmenter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFNET_CACHE", str(tmp_path / "cache"))
    together = threading.Barrier(10)

    def loaded(_: int) -> Segmentation:
        together.wait(30)
        with load() as model:
            return run(model, 0)

    with ThreadPoolExecutor(10) as pool:
        first, *others = pool.map(loaded, range(10))
    assert first.mask.any()
    assert all(same(one, first) for one in others)
    kept = [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    with load() as model:
        assert same(run(model, 0), first)
        written = 2 if model._session.backend.startswith("openvino") else 0
        assert len(kept) == written, "the compiled model and the lung network, and nothing half written"
