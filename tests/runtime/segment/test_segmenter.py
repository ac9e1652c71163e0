"""The whole path on phantoms of known answers: right place, right side, right millilitres."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import infnet_runtime
from builders import LEFT, ORIENTATIONS, RIGHT, chest_phantom, reorient, write_nifti
from infnet_runtime import CtVolume, InputError, Intensity, Segmenter
from infnet_runtime.scan.lung_mask import lung_mask
from infnet_runtime.scan.phantom import ChestPhantom
from quantified import why_missing
from tiny_models import mid_grey_detector

# The detector works on a resized grid and the ground glass has a blurred rim: 3 % of the volume was seen.
ML_TOLERANCE = 0.06


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Segmenter]:
    model = mid_grey_detector(tmp_path_factory.mktemp("models") / "model.onnx")
    with infnet_runtime.load(model, device="cpu", threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def phantom() -> ChestPhantom:
    return chest_phantom()


def lps_volume(phantom: ChestPhantom) -> CtVolume:
    return CtVolume(phantom.hu, phantom.affine, Intensity.HU, "phantom")


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_all_orientations_give_the_same_patient(
    code: str, segmenter: Segmenter, phantom: ChestPhantom
) -> None:
    stored, affine = reorient(phantom.hu, phantom.spacing_mm, code)
    truth, _ = reorient(phantom.infection, phantom.spacing_mm, code)
    volume = CtVolume(stored, affine, Intensity.HU, code)
    result = segmenter.predict(volume)
    assert result.mask.shape == stored.shape
    overlap = (result.mask > 0) & truth
    assert 2 * overlap.sum() / (result.mask.sum() + truth.sum()) > 0.9
    q = result.quantification
    assert q.both
    assert q.right
    assert q.left
    assert q.both.infection_ml == pytest.approx(phantom.infection_ml, rel=ML_TOLERANCE)
    assert q.both.infection_ml == q.right.infection_ml
    assert q.left.infection_ml == 0
    assert q.right.lung_ml > 1.3 * q.left.lung_ml
    # The same voxels in every orientation, not only the same sums.
    assert np.array_equal(volume.to_lps(result.mask), reference_mask(segmenter, phantom))


_REFERENCE: list[np.ndarray] = []


def reference_mask(segmenter: Segmenter, phantom: ChestPhantom) -> np.ndarray:
    if not _REFERENCE:
        _REFERENCE.append(segmenter.predict(lps_volume(phantom)).mask)
    return _REFERENCE[0]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batch_size_changes_nothing(batch_size: int, segmenter: Segmenter, phantom: ChestPhantom) -> None:
    result = segmenter.predict(lps_volume(phantom), batch_size=batch_size)
    assert np.array_equal(result.mask, reference_mask(segmenter, phantom))


def test_a_healthy_chest_gives_an_empty_mask(segmenter: Segmenter) -> None:
    healthy = chest_phantom(infected=False)
    result = segmenter.predict(lps_volume(healthy))
    assert result.mask.sum() == 0
    assert result.quantification.both
    assert result.quantification.both.infection_percent == 0
    assert result.quantification.slices_with_infection == 0


def test_given_lungs_are_used(segmenter: Segmenter, phantom: ChestPhantom) -> None:
    result = segmenter.predict(lps_volume(phantom), lungs=phantom.lungs)
    q = result.quantification
    assert result.provenance.lungs == "given"
    assert "lung_mask_heuristic" not in q.flags
    assert q.right
    assert q.right.lung_ml == pytest.approx(phantom.volume_ml(phantom.lungs == RIGHT), rel=1e-12)
    only_left = np.where(phantom.lungs == LEFT, LEFT, 0).astype(np.uint8)
    q = segmenter.predict(lps_volume(phantom), lungs=only_left).quantification
    assert q.both
    # The detector may take a blurred voxel at the border of the lung for ground glass.
    assert q.both.infection_ml < 0.01 * phantom.infection_ml
    assert q.right is None
    assert why_missing(q) == {"right": "no_lung"}
    assert "lung_missing" in q.warnings


def test_booleans_and_floats_are_lungs_of_both_sides(segmenter: Segmenter, phantom: ChestPhantom) -> None:
    expected = segmenter.predict(lps_volume(phantom), lungs=phantom.lungs).quantification
    for lungs in (
        phantom.lungs > 0,
        (phantom.lungs > 0).astype(np.float32),
        phantom.lungs.astype(np.float64),
    ):
        assert segmenter.predict(lps_volume(phantom), lungs=lungs).quantification == expected


def test_infection_outside_the_lungs_is_flagged_and_not_counted(
    segmenter: Segmenter, phantom: ChestPhantom
) -> None:
    lungs = phantom.lungs.copy()
    lungs[phantom.infection] = 0
    q = segmenter.predict(lps_volume(phantom), lungs=lungs).quantification
    assert "infection_outside_lungs" in q.flags
    assert q.infection_outside_lungs_ml == pytest.approx(phantom.infection_ml, rel=0.3)
    assert q.both
    assert q.both.infection_ml < 0.2 * phantom.infection_ml


def test_lungs_by_threshold_are_close_to_the_truth_and_flagged(tmp_path: Path, phantom: ChestPhantom) -> None:
    model = mid_grey_detector(tmp_path / "model.onnx")
    with infnet_runtime.load(model, device="cpu", threads=1, lungs_by="threshold") as segmenter:
        result = segmenter.predict(lps_volume(phantom))
    assert result.provenance.lungs == "threshold"
    assert "lung_mask_heuristic" in result.quantification.flags
    for side in (RIGHT, LEFT):
        found, truth = result.lungs == side, phantom.lungs == side
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9


def test_a_scan_without_lung_is_reported_as_such(segmenter: Segmenter, phantom: ChestPhantom) -> None:
    body = np.full_like(phantom.hu, 40)
    body[:, :8] = -1000
    result = segmenter.predict(CtVolume(body, phantom.affine, Intensity.HU, "abdomen"))
    q = result.quantification
    assert result.mask.sum() == 0
    assert result.provenance.slices_run == 0
    assert "no_lung_found" in q.flags
    assert (q.both, q.right, q.left, q.infection_outside_lungs_ml) == (None,) * 4
    assert set(why_missing(q).values()) == {"no_lung"}


@pytest.mark.parametrize(
    ("low", "high", "code"), [(-1024, 3071, 3046), (-160, 240, 3046), (-900, None, 3044), (None, -100, 3044)]
)
def test_values_of_a_volume_that_a_host_made_are_checked_too(
    low: int | None, high: int | None, code: int, segmenter: Segmenter, phantom: ChestPhantom
) -> None:
    hu, intensity = phantom.hu.clip(low, high), Intensity.HU
    if low is not None and high is not None:
        hu, intensity = np.uint8((hu - float(low)) / (high - low) * 255), Intensity.WINDOWED
    with pytest.raises(InputError, match="chest has") as caught:
        segmenter.predict(CtVolume(hu, phantom.affine, intensity, "chest"))
    assert caught.value.code == code


def test_what_is_doubtful_about_values_is_in_the_result(segmenter: Segmenter, phantom: ChestPhantom) -> None:
    clipped = CtVolume(phantom.hu.clip(None, 100), phantom.affine, Intensity.HU, "chest")
    assert "hu_clipped_above" in segmenter.predict(clipped).quantification.warnings
    assert "hu_clipped_above" not in segmenter.predict(lps_volume(phantom)).quantification.flags


def test_a_picture_without_lung_is_looked_at_as_a_whole(segmenter: Segmenter) -> None:
    # A cut-out of one lung: no body around it, so that no lung is recognised; grey 70 is ground glass.
    grey = np.tile(np.arange(20, 40, dtype=np.uint8), (40, 2))
    grey[10:20, 5:15] = 128
    picture = CtVolume(
        grey[..., None], np.diag([-2.0, -2.0, 1.0, 1.0]), Intensity.WINDOWED, "cut", has_size=False
    )
    result = segmenter.predict(picture)
    q = result.quantification
    assert result.provenance.lungs == "none"
    assert not result.lungs.any()
    assert (q.slices, q.slices_with_lung, q.slices_with_infection) == (1, 0, 1)
    assert result.mask[12:18, 7:13].all()
    assert "no_lung_found" in q.flags
    assert q.both is q.infection_outside_lungs_ml is None
    # The word of a host that the voxel size means nothing does the same.
    sized = CtVolume(picture.voxels, picture.affine, Intensity.WINDOWED, "cut")
    assert np.array_equal(segmenter.predict(sized, quantitative=False).mask, result.mask)
    # The twin: with a size nothing is looked at where there is no lung.
    assert segmenter.predict(sized).provenance.slices_run == 0


def test_a_lung_mask_and_its_labels_are_the_same(segmenter: Segmenter, phantom: ChestPhantom) -> None:
    volume = lps_volume(phantom)
    mask = lung_mask(phantom.lungs, volume.grid)
    results = [segmenter.predict(volume, lungs=lungs) for lungs in (phantom.lungs, mask)]
    assert np.array_equal(results[0].mask, results[1].mask)
    assert results[0].quantification == results[1].quantification


def test_slices_without_lung_are_left_out(segmenter: Segmenter, phantom: ChestPhantom) -> None:
    calls: list[tuple[int, int]] = []
    result = segmenter.predict(lps_volume(phantom), progress=lambda done, total: calls.append((done, total)))
    q = result.quantification
    assert result.provenance.slices_run == q.slices_with_lung < q.slices == 20
    assert calls[-1] == (q.slices_with_lung, q.slices_with_lung)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


def test_one_slice(segmenter: Segmenter, phantom: ChestPhantom) -> None:
    middle = int(phantom.infection.sum((1, 2)).argmax())
    volume = CtVolume(phantom.hu[middle : middle + 1], phantom.affine, Intensity.HU, "slice")
    mask = segmenter.predict(volume).mask
    truth = phantom.infection[middle : middle + 1]
    assert 2 * ((mask > 0) & truth).sum() / (mask.sum() + truth.sum()) > 0.9


def test_probability_on_request(segmenter: Segmenter, phantom: ChestPhantom) -> None:
    result = segmenter.predict(lps_volume(phantom), keep_probability=True)
    assert result.probability is not None
    assert np.array_equal((result.probability >= 0.5) & (result.lungs > 0), result.mask > 0)
    assert segmenter.predict(lps_volume(phantom)).probability is None


def test_a_path_is_read(segmenter: Segmenter, phantom: ChestPhantom, tmp_path: Path) -> None:
    stored, affine = reorient(phantom.hu, phantom.spacing_mm, "RAS")
    path = write_nifti(tmp_path / "scan.nii.gz", stored, affine)
    result = segmenter.predict(path)
    assert np.array_equal(result.volume.to_lps(result.mask), reference_mask(segmenter, phantom))


@pytest.mark.parametrize("scan", [np.zeros((4, 5, 6), np.int16), None, 7, b"scan.nii.gz"])
def test_what_is_no_scan_is_named_and_the_way_out_too(scan: object, segmenter: Segmenter) -> None:
    what = "ndarray (4, 5, 6)" if isinstance(scan, np.ndarray) else type(scan).__name__
    with pytest.raises(InputError, match="expected a path or a CtVolume: voxels alone do not say") as caught:
        segmenter.predict(scan)  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"[INF-3030] the scan is a {what}, expected")
    assert "Give CtVolume(voxels, affine, Intensity.HU, name)" in str(caught.value)


def test_inputs_are_not_modified(segmenter: Segmenter, phantom: ChestPhantom) -> None:
    hu = phantom.hu.copy()
    hu.setflags(write=False)
    segmenter.predict(CtVolume(hu, phantom.affine, Intensity.HU, "read-only"))


def test_wrong_arguments_are_named(segmenter: Segmenter, phantom: ChestPhantom) -> None:
    with pytest.raises(InputError, match="INF-3072.*batch size is 0, expected 1 or more"):
        segmenter.predict(lps_volume(phantom), batch_size=0)
    with pytest.raises(InputError, match="the lung mask covers 100 % of the edge of the image"):
        segmenter.predict(lps_volume(phantom), lungs=np.full_like(phantom.lungs, 5))
    with pytest.raises(InputError, match="the lung mask is empty"):
        segmenter.predict(lps_volume(phantom), lungs=np.zeros_like(phantom.lungs))
    with pytest.raises(InputError, match="has values -1..1, expected labels"):
        segmenter.predict(lps_volume(phantom), lungs=-phantom.lungs.astype(np.int8) % 3 - 1)
    with pytest.raises(InputError, match="on the same grid"):
        segmenter.predict(lps_volume(phantom), lungs=phantom.lungs[1:])


def test_threads_and_batches_change_nothing(segmenter: Segmenter, phantom: ChestPhantom) -> None:
    """The overlapped stages against the sequential ones, which stay the reference."""
    expected = Segmenter(segmenter._session, threads=1).predict(
        lps_volume(phantom), batch_size=1, keep_probability=True
    )
    assert expected.probability is not None
    for threads in (1, 2, 16):
        loaded = Segmenter(segmenter._session, threads=threads)
        for batch_size in (1, 2, 5, 64):
            result = loaded.predict(lps_volume(phantom), batch_size=batch_size, keep_probability=True)
            assert result.probability is not None
            assert np.array_equal(result.mask, expected.mask)
            assert np.array_equal(result.probability, expected.probability)
            assert result.quantification == expected.quantification
            assert np.array_equal(loaded.predict(lps_volume(phantom)).mask, expected.mask)
    assert not [t for t in threading.enumerate() if t.name.startswith("infnet-")]


@pytest.mark.parametrize("threads", [2, 16])
def test_threads_of_the_backend_change_nothing(
    threads: int, segmenter: Segmenter, phantom: ChestPhantom, tmp_path: Path
) -> None:
    model = mid_grey_detector(tmp_path / "model.onnx")
    with infnet_runtime.load(model, device="cpu", threads=threads) as loaded:
        assert np.array_equal(loaded.predict(lps_volume(phantom)).mask, reference_mask(segmenter, phantom))


@pytest.mark.slow
def test_a_scan_of_1200_slices(segmenter: Segmenter) -> None:
    phantom = chest_phantom((1200, 54, 64), (0.25, 6.0, 6.0))
    runs = [
        Segmenter(segmenter._session, threads=threads).predict(lps_volume(phantom), batch_size=batch_size)
        for threads, batch_size in ((1, 1), (4, 64))
    ]
    assert np.array_equal(runs[0].mask, runs[1].mask)
    assert runs[0].provenance.slices_run + runs[0].provenance.slices_skipped == 1200
    assert runs[0].mask.any()


def test_slices_left_out_are_counted(segmenter: Segmenter, phantom: ChestPhantom) -> None:
    provenance = segmenter.predict(lps_volume(phantom)).provenance
    assert provenance.slices_skipped == 20 - provenance.slices_run > 0


@pytest.mark.parametrize("threads", [1, 4])
def test_what_progress_raises_stops_the_run(
    threads: int, segmenter: Segmenter, phantom: ChestPhantom
) -> None:
    def stop(done: int, _: int) -> None:
        if done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Segmenter(segmenter._session, threads=threads).predict(
            lps_volume(phantom), batch_size=1, progress=stop
        )
    assert not [t for t in threading.enumerate() if t.name.startswith("infnet-")]
