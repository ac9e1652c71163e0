"""A volume in a host's memory gives what it gives from a file, written where the host says."""

import gc
import importlib
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import infnet_runtime
from builders import chest_phantom, write_nifti
from infnet_runtime import (
    Cancel,
    Cancelled,
    CtVolume,
    Grid,
    InputError,
    Intensity,
    ModelError,
    Segmentation,
    Segmenter,
)
from tiny_models import classes_detector, mid_grey_detector

PHANTOM = chest_phantom()
SPACING_MM = PHANTOM.spacing_mm
GRID = Grid.from_spacing(PHANTOM.hu.shape, SPACING_MM, "SPL")


@pytest.fixture(scope="module", params=[1, 2], ids=["in a row", "overlapped"])
def segmenter(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Segmenter]:
    model = classes_detector(tmp_path_factory.mktemp("models") / "model.onnx")
    with infnet_runtime.load(model, device="cpu", threads=request.param, classes=True) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def from_file(segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Segmentation:
    path = write_nifti(tmp_path_factory.mktemp("scan") / "scan.nii.gz", PHANTOM.hu, GRID.affine)
    return segmenter.predict(path, keep_probability=True)


def same(found: Segmentation, expected: Segmentation) -> None:
    assert expected.mask.any()
    assert np.array_equal(found.mask, expected.mask)
    assert np.array_equal(found.lungs, expected.lungs)
    assert expected.classes is not None
    assert np.array_equal(found.classes, expected.classes)
    assert found.quantification == expected.quantification
    assert found.slices == expected.slices


@pytest.mark.parametrize("kind", ["int16", "float32", "int32", "float64"])
def test_it_is_what_the_file_gives(segmenter: Segmenter, from_file: Segmentation, kind: str) -> None:
    same(segmenter.predict_buffer(PHANTOM.hu.astype(kind), GRID), from_file)


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_numbers_between_whole_ones_are_what_the_file_gives(
    segmenter: Segmenter, tmp_path: Path, kind: str
) -> None:
    noise = np.random.default_rng(1).normal(0, 30, PHANTOM.hu.shape)
    hu = (PHANTOM.hu + noise).astype(kind)
    expected = segmenter.predict(
        write_nifti(tmp_path / "scan.nii.gz", hu, GRID.affine), keep_probability=True
    )
    probability = np.empty(hu.shape, np.float16)
    same(segmenter.predict_buffer(hu, GRID, probability_out=probability), expected)
    assert np.array_equal(probability, expected.probability)


def test_results_are_written_into_the_buffers_of_the_host(
    segmenter: Segmenter, from_file: Segmentation
) -> None:
    hu = PHANTOM.hu.copy()
    masks = np.full((*hu.shape, 3), 99, np.uint8)  # three results side by side, none of them contiguous
    probability = np.full(hu.shape, np.nan, np.float16, "F")
    result = segmenter.predict_buffer(
        memoryview(hu),
        GRID,
        out=masks[..., 0],
        lungs_out=masks[..., 1],
        classes_out=masks[..., 2],
        probability_out=probability,
    )
    same(result, from_file)
    assert np.array_equal(masks[..., 0], from_file.mask)
    assert np.array_equal(masks[..., 1], from_file.lungs)
    assert np.array_equal(masks[..., 2], from_file.classes)
    assert np.array_equal(probability, from_file.probability)
    for view in (result.mask, result.lungs, result.classes):
        assert np.shares_memory(view, masks)
    assert np.shares_memory(result.probability, probability)
    assert np.array_equal(hu, PHANTOM.hu), "the volume is not written to"


@pytest.mark.parametrize("code", ["SPL", "IPL", "RAI", "PSL", "LPS"])
def test_any_order_of_axes_is_the_same_patient(
    code: str, segmenter: Segmenter, from_file: Segmentation
) -> None:
    axes = [("SI", "PA", "LR").index(pair) for c in code for pair in ("SI", "PA", "LR") if c in pair]
    flips = tuple(slice(None, None, -1 if c in "IAR" else 1) for c in code)
    turned = PHANTOM.hu.transpose(axes)[flips]
    out = np.empty(turned.shape, np.uint8)
    grid = Grid.from_spacing(turned.shape, [SPACING_MM[axis] for axis in axes], code)
    result = segmenter.predict_buffer(turned, grid, out=out)
    assert np.array_equal(grid.to_lps(out), from_file.mask)
    assert result.quantification == from_file.quantification


def test_lungs_that_are_given_are_written_too(segmenter: Segmenter) -> None:
    lungs_out = np.empty(PHANTOM.hu.shape, np.uint8)
    result = segmenter.predict_buffer(PHANTOM.hu, GRID, lungs=PHANTOM.lungs, lungs_out=lungs_out)
    assert np.array_equal(lungs_out, PHANTOM.lungs)
    assert np.shares_memory(result.lungs, lungs_out)
    with pytest.raises(InputError, match="lungs_out shares memory with the lung mask"):
        segmenter.predict_buffer(PHANTOM.hu, GRID, lungs=lungs_out, lungs_out=lungs_out)


def test_lungs_may_be_any_buffer(segmenter: Segmenter) -> None:
    expected = segmenter.predict_buffer(PHANTOM.hu, GRID, lungs=PHANTOM.lungs)
    same(segmenter.predict_buffer(PHANTOM.hu, GRID, lungs=memoryview(PHANTOM.lungs)), expected)


def test_a_grid_and_an_intensity_are_such(segmenter: Segmenter, from_file: Segmentation) -> None:
    with pytest.raises(InputError, match=r"grid of buffer is a ndarray, expected a Grid.*") as caught:
        segmenter.predict_buffer(PHANTOM.hu, PHANTOM.affine)  # type: ignore[arg-type]
    assert caught.value.code == 3210
    with pytest.raises(InputError, match=r"is 'HU', expected Intensity\.HU") as caught:
        segmenter.predict_buffer(PHANTOM.hu, GRID, intensity="HU")  # type: ignore[arg-type]
    assert caught.value.code == 3212
    same(segmenter.predict_buffer(PHANTOM.hu, GRID, intensity="hu"), from_file)  # type: ignore[arg-type]


def test_grey_of_a_window_is_taken_as_such(segmenter: Segmenter, tmp_path: Path) -> None:
    grey = ((PHANTOM.hu.clip(-1150, 350) + 1150) / 1500 * 255).round().astype(np.uint8)
    scan = CtVolume(grey, GRID.affine, Intensity.WINDOWED, "grey")
    expected = segmenter.predict(scan)
    for kind in (np.uint8, np.float32):
        found = segmenter.predict_buffer(grey.astype(kind), GRID, intensity=Intensity.WINDOWED)
        same(found, expected)


def test_numbers_too_short_for_hu_are_refused_and_do_not_overflow(segmenter: Segmenter) -> None:
    with pytest.raises(InputError) as caught:
        segmenter.predict_buffer(PHANTOM.hu.clip(-128, 127).astype(np.int8), GRID)
    assert caught.value.code == 3041


def test_the_checks_of_files_hold(segmenter: Segmenter) -> None:
    broken = PHANTOM.hu.astype(np.float32)
    broken[3, 4, 5:7] = np.nan
    with pytest.raises(InputError, match="2 of .* voxels of acquisition 7 are not finite"):
        segmenter.predict_buffer(broken, GRID, name="acquisition 7")
    for wrong, code in ((PHANTOM.hu + np.int16(1024), 3041), (np.zeros_like(PHANTOM.hu), 3040)):
        with pytest.raises(InputError) as caught:
            segmenter.predict_buffer(wrong, GRID)
        assert caught.value.code == code
    with pytest.raises(InputError, match="identity") as caught:
        segmenter.predict_buffer(PHANTOM.hu, Grid(GRID.shape, np.eye(4)[[2, 1, 0, 3]]))
    assert caught.value.code == 3035


def test_voxels_of_1_mm_that_are_stated_are_no_lost_geometry(segmenter: Segmenter) -> None:
    chest = chest_phantom(shape=(140, 180, 240), spacing_mm=(1.0, 1.0, 1.0))
    found = segmenter.predict_buffer(chest.hu, Grid.from_spacing(chest.hu.shape, (1.0, 1.0, 1.0)))
    assert found.quantification.both is not None
    assert found.quantification.both.lung_ml == pytest.approx(np.count_nonzero(found.lungs) / 1000)


def test_classes_that_were_not_loaded_have_no_place(tmp_path: Path) -> None:
    with (
        infnet_runtime.load(mid_grey_detector(tmp_path / "model.onnx"), device="cpu", threads=1) as plain,
        pytest.raises(ModelError, match="INF-4070"),
    ):
        plain.predict_buffer(PHANTOM.hu, GRID, classes_out=np.zeros(GRID.shape, np.uint8))


def test_a_cancel_ends_the_run_within_one_batch(segmenter: Segmenter) -> None:
    cancel, seen, before = Cancel(), [], threading.active_count()

    def progress(done: int, total: int) -> None:
        seen.append(done)
        threading.Thread(target=cancel.cancel).run()

    with pytest.raises(Cancelled, match="INF-9001"):
        segmenter.predict_buffer(PHANTOM.hu, GRID, batch_size=1, progress=progress, cancel=cancel)
    assert len(seen) == 1
    assert threading.active_count() == before
    with pytest.raises(Cancelled):  # it stays cancelled
        segmenter.predict_buffer(PHANTOM.hu, GRID, cancel=cancel)
    with pytest.raises(Cancelled):
        segmenter.predict(CtVolume(PHANTOM.hu, GRID.affine, Intensity.HU, "phantom"), cancel=cancel)
    segmenter.predict_buffer(PHANTOM.hu, GRID, cancel=Cancel())


def test_what_a_callback_raises_comes_back_as_it_is(segmenter: Segmenter) -> None:
    mine, threads, before = KeyError("of the host"), set(), threading.active_count()

    def progress(done: int, total: int) -> None:
        threads.add(threading.current_thread())
        if done > 2:
            raise mine

    with pytest.raises(KeyError) as caught:
        segmenter.predict_buffer(PHANTOM.hu, GRID, batch_size=1, progress=progress)
    assert caught.value is mine
    assert threads == {threading.current_thread()}
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("kind", "slope", "intercept"), [("u2", 1, -1024), ("i2", 0.5, 0), ("f4", 2.0, 24.0), ("u1", 12.5, -1050)]
)
def test_numbers_with_a_slope_and_an_intercept_are_what_the_file_gives(
    segmenter: Segmenter, tmp_path: Path, kind: str, slope: float, intercept: float
) -> None:
    stored = np.rint((PHANTOM.hu.clip(-1000) - intercept) / slope).astype(kind)
    path = write_nifti(tmp_path / "scan.nii", stored, GRID.affine)
    header = bytearray(path.read_bytes())
    header[112:120] = np.array([slope, intercept], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(header)
    stored.setflags(write=False)
    same(segmenter.predict_buffer(stored, GRID, rescale=(slope, intercept)), segmenter.predict(path))


@pytest.mark.parametrize("rescale", [(1,), (1, 2, 3), 7, (1, None), (0, 0), (-1, 0), (1, float("nan"))])
def test_a_scaling_that_is_none_is_refused(segmenter: Segmenter, rescale: object) -> None:
    with pytest.raises(InputError, match=r"INF-3124.*(scan|buffer)"):
        segmenter.predict_buffer(PHANTOM.hu, GRID, rescale=rescale)  # type: ignore[arg-type]


def test_uint16_that_is_given_without_its_intercept_is_refused(segmenter: Segmenter) -> None:
    with pytest.raises(InputError, match="rescale intercept .* a program gives it as rescale="):
        segmenter.predict_buffer((PHANTOM.hu.clip(-1000) + 1024).astype(np.uint16), GRID)


def test_a_callback_may_segment_with_the_same_model(segmenter: Segmenter, from_file: Segmentation) -> None:
    inner: list[Segmentation] = []

    def progress(done: int, total: int) -> None:
        if not inner:
            inner.append(segmenter.predict_buffer(PHANTOM.hu, GRID))

    same(segmenter.predict_buffer(PHANTOM.hu, GRID, progress=progress, cancel=Cancel()), from_file)
    same(inner[0], from_file)


def test_a_host_that_lets_numpy_raise_gets_its_result(tmp_path: Path) -> None:
    """Far from the band of the detector probabilities are smaller than what float16 holds."""
    model = mid_grey_detector(tmp_path / "model.onnx")
    probability = np.empty(PHANTOM.hu.shape, np.float16)
    with infnet_runtime.load(model, device="cpu", threads=1) as plain, np.errstate(all="raise"):
        result = plain.predict_buffer(PHANTOM.hu, GRID, probability_out=probability)
        assert np.geterr()["under"] == "raise"
    assert result.mask.any()


def test_memory_of_the_host_is_let_go_when_the_result_is(segmenter: Segmenter) -> None:
    """At once, not when Python next looks for cycles: until then it could be neither resized nor released."""
    stop = Cancel()

    def cancelling(done: int, total: int) -> None:
        stop.cancel()

    def failing(done: int, total: int) -> None:
        raise KeyError

    gc.disable()
    try:
        for named, error in (
            ({}, None),
            ({"progress": failing}, KeyError),
            ({"progress": cancelling, "cancel": stop, "batch_size": 1}, Cancelled),
            ({"lungs": np.zeros(GRID.shape, np.uint8)}, InputError),
        ):
            volume, mask = bytearray(PHANTOM.hu.tobytes()), bytearray(PHANTOM.hu.size)
            view = memoryview(volume).cast("h", GRID.shape)
            out = memoryview(mask).cast("B", GRID.shape)
            with pytest.raises(error) if error else nullcontext():
                segmenter.predict_buffer(view, GRID, out=out, **named)  # type: ignore[arg-type]
            view.release()
            out.release()
            volume.clear()
            mask.clear()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "place",
    ["reduced.average", "open_air.hull", "closing.hull", "reduced._border"],
    ids=["reducing", "air", "closing", "enlarging"],
)
def test_a_cancel_ends_the_search_for_the_lungs_too(
    place: str, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"infnet_runtime.lungs.{place.split('.')[0]}")
    real, cancel, calls = getattr(module, place.split(".")[1]), Cancel(), []

    def cancelling(*given: object, **named: object) -> object:
        calls.append(cancel.cancel())
        return real(*given, **named)

    def network(*_: object) -> None:
        raise AssertionError("the network ran")

    monkeypatch.setattr(module, place.split(".")[1], cancelling)
    with pytest.raises(Cancelled):
        segmenter.predict_buffer(PHANTOM.hu, GRID, cancel=cancel, progress=network)
    assert 1 <= len(calls) < 20, "it ended in the slice in which it was told to"
