"""Fast runs: which planes go through the network, and that the others are interpolated between them."""

import gc
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import infnet_runtime
from builders import chest_phantom, reorient
from infnet_runtime import CtVolume, Intensity, Segmenter
from infnet_runtime.arrays import BoolArray, FloatArray
from infnet_runtime.backends.session import infection_probability
from infnet_runtime.io import open_scan
from infnet_runtime.lungs import lung_box
from infnet_runtime.model.specs import NEIGHBOURS, OutputSpec
from infnet_runtime.scan.grid import Grid
from infnet_runtime.scan.phantom import ChestPhantom
from infnet_runtime.segment.thinned import (
    FARTHEST_MM,
    Between,
    interpolated,
    planes_to_run,
    remark,
    step_between,
)
from infnet_runtime.slices.neighbours import volume_to_network
from infnet_runtime.slices.preprocess import from_network
from tiny_models import MANIFEST, coarse_detector, mid_grey_detector

PLANES = 60


@pytest.fixture(scope="module")
def phantom() -> ChestPhantom:
    return chest_phantom((PLANES, 72, 96), (4.0, 4.5, 4.0))


def thin(phantom: ChestPhantom, spacing_mm: float = 1.0, code: str = "LPS") -> CtVolume:
    """The phantom with its slices nearer to each other, as if the patient were short."""
    hu, affine = reorient(phantom.hu, (spacing_mm, *phantom.spacing_mm[1:]), code)
    return CtVolume(hu, affine, Intensity.HU, "thin")


def as_stored(volume: CtVolume, lungs: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(volume.from_lps(lungs))


Load = Callable[..., Segmenter]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """A soft detector, so that many probabilities lie between 0 and 1."""

    def opened(
        *, threads: int = 1, channel: int = 0, output: OutputSpec | None = None, **spec: object
    ) -> Segmenter:
        preprocess = replace(MANIFEST.preprocess, **spec)
        manifest = replace(MANIFEST, preprocess=preprocess, contract_version=2 if spec else 1)
        if output is not None:
            manifest = replace(manifest, outputs=(output,))
        path = tmp_path / "model.onnx"
        mid_grey_detector(path, manifest=manifest.to_json(), gain=20, channel=channel)
        return infnet_runtime.load(path, device="cpu", threads=threads)

    return opened


def simply(
    segmenter: Segmenter, volume: CtVolume, lungs: np.ndarray, run: list[int]
) -> tuple[BoolArray, FloatArray]:
    """All of a volume in float32: some planes run, the others with lung interpolated, then the threshold."""
    manifest = segmenter.manifest
    voxels, inside = volume.to_lps(), volume.to_lps(lungs)
    box = lung_box(inside, volume.lps_spacing_mm, manifest.preprocess.crop_margin_mm)
    probability = np.zeros(voxels.shape, np.float32)
    shape = probability[:, *box].shape[1:]
    for plane in run:
        batch = volume_to_network(
            voxels, [plane], box, volume.intensity, manifest.preprocess, spacing_mm=volume.lps_spacing_mm[0]
        )
        own = infection_probability(segmenter._session, batch)
        probability[plane, *box] = from_network(own, *shape, temperature=manifest.output.temperature)[0]
    for plane in np.flatnonzero(inside.any(axis=(1, 2))):
        if plane not in run:
            below, above = max(k for k in run if k < plane), min(k for k in run if k > plane)
            share = np.float32((plane - below) / (above - below))
            step = (probability[above] - probability[below]) * share
            probability[plane] = probability[below] + step
    mask = (probability >= manifest.output.threshold) & (inside > 0)
    return mask, probability


@pytest.mark.parametrize("step", range(1, 8))
def test_planes_of_a_stretch_run_from_end_to_end_in_steps_of_at_most(step: int) -> None:
    for length in range(1, 40):
        stretch = list(range(5, 5 + length))
        run = planes_to_run(stretch, step)
        assert (run[0], run[-1]) == (5, 4 + length)
        steps = np.diff(run)
        assert len(run) == 1 or (steps.min() >= 1 and steps.max() <= step)
        assert len(steps) == -(-(length - 1) // step)  # no more than it takes
        assert len(run) == 1 or steps.max() - steps.min() <= 1  # evenly
        assert max(min(abs(plane - k) for k in run) for plane in stretch) <= step / 2


def test_stretches_are_treated_one_by_one() -> None:
    assert planes_to_run([], 3) == []
    assert planes_to_run([7], 3) == [7]
    assert planes_to_run([2, 4, 6], 3) == [2, 4, 6]
    stretches = [*range(3, 12), 20, *range(22, 30)]
    parts = (list(range(3, 12)), [20], list(range(22, 30)))
    assert planes_to_run(stretches, 3) == [k for part in parts for k in planes_to_run(part, 3)]


@pytest.mark.parametrize(
    ("spacing_mm", "step"),
    [
        (0.25, 12),
        (0.5, 6),
        (0.6, 5),
        (0.625, 4),
        (0.8, 3),
        (1.0, 3),
        (1.25, 2),
        (1.5, 2),
        (1.51, 1),
        (2.5, 1),
        (5.0, 1),
    ],
)
def test_planes_that_run_are_at_most_3_mm_apart(spacing_mm: float, step: int) -> None:
    assert step_between(spacing_mm) == step_between(float(np.float32(spacing_mm) * (1 + 1e-6))) == step
    assert step == 1 or step * spacing_mm <= FARTHEST_MM
    assert (step + 1) * spacing_mm > FARTHEST_MM


def test_no_voxel_between_is_more_probable_than_in_both_planes() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        below, above = random.random((2, 500), np.float32) * np.float32(random.choice([1, 1e-6]))
        near = np.nextafter(below, np.float32(1))
        for share in (1 / 12, 1 / 3, 0.5, 2 / 3, 11 / 12):
            for other in (above, near, below):
                assert (interpolated(below, other, share) <= np.maximum(below, other)).all()
                assert (interpolated(below, other, share) >= np.minimum(below, other)).all()


OUTPUTS = {
    "half": OutputSpec(),
    "temperature": OutputSpec(temperature=1.8),
    "low": OutputSpec(thresholds=(0.3,), temperature=0.7),
    "high": OutputSpec(thresholds=(0.9,)),
}


@pytest.mark.parametrize("output", list(OUTPUTS))
def test_the_mask_is_that_of_the_simple_way_for_all_threads_and_batches(
    output: str, load: Load, phantom: ChestPhantom
) -> None:
    volume = thin(phantom)
    lungs = as_stored(volume, phantom.lungs)
    with load(output=OUTPUTS[output]) as segmenter:
        with_lung = np.flatnonzero(phantom.lungs.any(axis=(1, 2))).tolist()
        run = planes_to_run(with_lung, 3)
        mask, probability = simply(segmenter, volume, lungs, run)
        assert mask.any()
        full = segmenter.predict(volume, lungs=lungs, keep_flat_marks=True)
        assert not np.array_equal(volume.to_lps(full.mask), mask)  # what is compared does something
        for threads in (1, 2, 16):
            loaded = Segmenter(segmenter._session, threads=threads)
            for batch_size in (1, 5, 64):
                for keep in (False, True):
                    result = loaded.predict(
                        volume,
                        lungs=lungs,
                        fast=True,
                        batch_size=batch_size,
                        keep_probability=keep,
                        keep_flat_marks=True,
                    )
                    assert np.array_equal(volume.to_lps(result.mask) > 0, mask)
                    assert keep == (result.probability is not None)
                    if result.probability is not None:
                        assert np.array_equal(
                            volume.to_lps(result.probability), probability.astype(np.float16)
                        )
                    assert result.provenance.slices_run == len(run)
                    assert result.provenance.slices_interpolated == len(with_lung) - len(run)
                    assert result.provenance.slices_skipped == PLANES - len(with_lung)
    assert not [t for t in threading.enumerate() if t.name.startswith("infnet-")]


def test_planes_that_ran_are_those_of_a_full_run(load: Load, phantom: ChestPhantom) -> None:
    volume = thin(phantom)
    with load() as segmenter:
        full, fast = (segmenter.predict(volume, keep_probability=True, fast=fast) for fast in (False, True))
    assert np.array_equal(full.lungs, fast.lungs)
    run = planes_to_run(np.flatnonzero(volume.to_lps(full.lungs).any(axis=(1, 2))).tolist(), 3)
    assert full.probability is not None
    assert fast.probability is not None
    for one, other in ((full.mask, fast.mask), (full.probability, fast.probability)):
        assert np.array_equal(volume.to_lps(one)[run], volume.to_lps(other)[run])
    q, faster = full.quantification, fast.quantification
    assert q.both
    assert faster.both
    assert faster.both.lung_ml == q.both.lung_ml
    assert faster.both.infection_ml == pytest.approx(q.both.infection_ml, rel=0.05)
    assert not full.provenance.fast
    assert full.provenance.slices_interpolated == 0
    assert fast.provenance.fast
    assert "slices_interpolated" in fast.quantification.flags
    assert not {"slices_interpolated", "fast_without_effect"} & set(full.quantification.flags)


@pytest.mark.parametrize("code", ["LPS", "RAS", "SPL", "IAR"])
def test_gaps_in_the_lungs_and_lungs_at_the_edge_in_any_order(
    code: str, load: Load, phantom: ChestPhantom
) -> None:
    lungs = phantom.lungs.copy()
    lungs[0] = lungs[-1] = lungs[PLANES // 2]  # to both ends
    for gap in (slice(14, 15), slice(20, 26), slice(27, 30)):
        lungs[gap] = 0
    volume = thin(phantom, 0.75, code)
    stored = as_stored(volume, lungs)
    with_lung = np.flatnonzero(lungs.any(axis=(1, 2))).tolist()
    run = planes_to_run(with_lung, 4)
    assert {0, PLANES - 1, 13, 15, 19, 26, 30} <= set(run)
    with load() as segmenter:
        mask, probability = simply(segmenter, volume, stored, run)
        result = segmenter.predict(volume, lungs=stored, fast=True, keep_probability=True)
    assert result.provenance.lungs == "given"
    assert np.array_equal(volume.to_lps(result.mask) > 0, mask)
    assert result.probability is not None
    assert np.array_equal(volume.to_lps(result.probability), probability.astype(np.float16))
    assert not volume.to_lps(result.probability)[20:26].any()
    assert result.provenance.slices_run == len(run)


def test_neighbours_are_planes_of_the_scan_and_not_of_those_that_run(
    load: Load, phantom: ChestPhantom
) -> None:
    volume = thin(phantom)
    lungs = as_stored(volume, phantom.lungs)
    run = planes_to_run(np.flatnonzero(phantom.lungs.any(axis=(1, 2))).tolist(), 3)
    with load(channels=NEIGHBOURS, neighbour_step_mm=2.0, channel=2) as segmenter:
        full, fast = (
            segmenter.predict(volume, lungs=lungs, fast=fast, batch_size=3, keep_probability=True)
            for fast in (False, True)
        )
        mask, _ = simply(segmenter, volume, lungs, run)
    assert full.probability is not None
    assert fast.probability is not None
    assert np.array_equal(volume.to_lps(full.probability)[run], volume.to_lps(fast.probability)[run])
    assert np.array_equal(volume.to_lps(fast.mask) > 0, mask)
    assert mask.any()


@pytest.mark.parametrize(
    ("spacing_mm", "quantitative", "said"),
    [
        (5.0, True, "fast: no effect at 5 mm: slices have to be 1.5 mm apart or less."),
        (2.5, True, "fast: no effect at 2.5 mm:"),
        (1.0, False, "fast: no effect: the input has no voxel size."),
    ],
)
def test_where_nothing_can_be_left_out_nothing_changes_and_that_is_said(
    spacing_mm: float, quantitative: bool, said: str, load: Load, phantom: ChestPhantom
) -> None:
    volume = thin(phantom, spacing_mm)
    with load() as segmenter:
        full, fast = (
            segmenter.predict(volume, quantitative=quantitative, fast=fast, keep_probability=True)
            for fast in (False, True)
        )
    assert np.array_equal(full.mask, fast.mask)
    assert np.array_equal(full.probability, fast.probability)
    assert full.mask.any()
    q = fast.quantification
    assert q.flag_texts["fast_without_effect"].startswith(said)
    assert "fast_without_effect" not in q.warnings
    assert set(q.flags) - set(full.quantification.flags) == {"fast_without_effect"}
    assert fast.provenance.fast
    assert fast.provenance.slices_interpolated == 0
    assert fast.provenance.slices_run == full.provenance.slices_run


def test_a_picture_is_left_as_it_is(load: Load, phantom: ChestPhantom) -> None:
    grey = np.tile(np.arange(20, 40, dtype=np.uint8), (40, 2))[..., None]
    grey[10:20, 10:20] = 115
    picture = CtVolume(grey, np.diag([-2.0, -2.0, 1.0, 1.0]), Intensity.WINDOWED, "cut", has_size=False)
    with load() as segmenter:
        result = segmenter.predict(picture, fast=True)
    assert result.mask.any()
    assert result.provenance.slices_run == 1
    assert "no voxel size" in result.quantification.flag_texts["fast_without_effect"]


def test_lungs_of_which_no_plane_lies_between_two_others_are_run_whole() -> None:
    grid = Grid((9, 4, 4), np.diag([-1.0, -1.0, 1.0, 1.0]))
    for planes in ([], [3], [3, 4], [1, 3, 5]):
        run = planes_to_run(planes, 3)
        assert run == planes
        text = remark(grid, with_lung=len(planes), run=len(run)).text
        assert text.startswith("fast: no effect: no slice lies between two others with lung")


def test_the_remark_says_how_many_and_how_far() -> None:
    grid = Grid((9, 4, 4), np.diag([-1.0, 1.0, 0.7, 1.0]) @ np.eye(4))
    flag = remark(grid, with_lung=100, run=26)
    assert (flag.name, flag.warns) == ("slices_interpolated", False)
    assert "74 of 100 slices with lung" in flag.text
    assert "at most 2.8 mm apart" in flag.text


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_progress_counts_all_slices_with_lung(
    threads: int, batch_size: int, load: Load, phantom: ChestPhantom
) -> None:
    calls: list[tuple[int, int]] = []
    with load(threads=threads) as segmenter:
        result = segmenter.predict(
            thin(phantom), fast=True, batch_size=batch_size, progress=lambda *call: calls.append(call)
        )
    done, totals = zip(*calls, strict=True)
    assert list(done) == sorted(set(done))
    assert set(totals) == {result.quantification.slices_with_lung} == {done[-1]}
    assert result.provenance.slices_run + result.provenance.slices_interpolated == done[-1]


def test_infection_between_planes_is_counted_outside_the_lungs_too(load: Load, phantom: ChestPhantom) -> None:
    lungs = np.where(phantom.infection, 0, phantom.lungs)
    with load() as segmenter:
        volume = thin(phantom)
        stored = as_stored(volume, lungs)
        run = planes_to_run(np.flatnonzero(lungs.any(axis=(1, 2))).tolist(), 3)
        q = segmenter.predict(volume, lungs=stored, fast=True).quantification
        _, probability = simply(segmenter, volume, stored, run)
    outside = (probability >= 0.5) & (lungs == 0)
    between = np.delete(outside, run, axis=0).sum()
    assert 0 < between < outside.sum()
    assert q.infection_outside_lungs_ml == pytest.approx(outside.sum() * volume.grid.voxel_ml, rel=1e-9)


def test_two_planes_without_infection_have_nothing_between_and_are_not_resized() -> None:
    resized: list[float] = []

    def on_grid(plane: FloatArray) -> FloatArray:
        resized.append(float(plane[0, 0]))
        return plane

    between = Between(range(20), on_grid)
    planes = np.arange(7, dtype=np.float32)[:, None, None] + np.zeros((7, 2, 2), np.float32)
    matters = [False, False, True, False, False, False, False]
    given = [number for number, _ in between.after([0, 3, 6, 9], planes[:4], matters[:4])]
    given += [number for number, _ in between.after([12, 15, 18], planes[4:], matters[4:])]
    assert given == [4, 5, 7, 8]
    assert resized == [1, 2, 3]  # each once


def test_no_more_than_two_planes_are_held() -> None:
    between = Between(range(200), np.asarray)
    alive: list[weakref.ref[np.ndarray]] = []
    for start in range(0, 180, 20):
        batch = np.ones((4, 8, 8), np.float32)
        alive.append(weakref.ref(batch))
        given = list(between.after(range(start, start + 20, 5), batch, [True] * 4))
        assert len(given) == (16 if start else 12)
        del batch, given
        gc.collect()
        assert not [one for one in alive if one() is not None]


@pytest.mark.data
def test_a_real_scan_of_1_mm_is_that_of_the_simple_way(data_root: Path) -> None:
    scan = data_root / "radiopaedia-covid-volumes-2" / "radiopaedia_10_85902_3_thin_ct.nii.gz"
    whole = open_scan(scan).volume
    volume = CtVolume(whole.voxels[..., 40:54], whole.affine, whole.intensity, "14 planes")
    with infnet_runtime.load(device="cpu", threads=2) as segmenter:
        fast = segmenter.predict(volume, fast=True)
        run = planes_to_run(np.flatnonzero(volume.to_lps(fast.lungs).any(axis=(1, 2))).tolist(), 3)
        mask, _ = simply(segmenter, volume, fast.lungs, run)
    assert mask.any()
    assert np.array_equal(volume.to_lps(fast.mask) > 0, mask)
    assert fast.provenance.slices_run == len(run) == 6


def test_planes_between_come_from_coarse_logits_too(phantom: ChestPhantom, tmp_path: Path) -> None:
    volume = thin(phantom)
    lungs = as_stored(volume, phantom.lungs)
    with infnet_runtime.load(coarse_detector(tmp_path / "model.onnx"), device="cpu", threads=1) as segmenter:
        assert segmenter._session.coarse is not None
        fast = segmenter.predict(volume, lungs=lungs, keep_flat_marks=True, fast=True)
        run = planes_to_run(np.flatnonzero(phantom.lungs.any(axis=(1, 2))).tolist(), 3)
        mask, _ = simply(segmenter, volume, lungs, run)
        full = segmenter.predict(volume, lungs=lungs, keep_flat_marks=True)
    assert mask.any()
    assert np.array_equal(volume.to_lps(fast.mask) > 0, mask)
    assert np.array_equal(volume.to_lps(fast.mask)[run], volume.to_lps(full.mask)[run])
    assert fast.provenance.slices_interpolated > 0 == full.provenance.slices_interpolated
