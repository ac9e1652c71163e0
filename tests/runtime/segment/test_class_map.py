"""Ground glass and consolidation: where the mask is, as the simple way tells them, and at no cost unasked."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import infnet_runtime
from builders import ORIENTATIONS, chest_phantom, reorient
from infnet_runtime import CtVolume, Intensity, ModelError, Segmenter
from infnet_runtime.arrays import ByteArray
from infnet_runtime.backends import open_session
from infnet_runtime.backends.session import Outputs, Session, run_checked
from infnet_runtime.lungs import lung_box
from infnet_runtime.model.asked import Asked
from infnet_runtime.model.specs import CLASS_OUTPUT
from infnet_runtime.scan.phantom import ChestPhantom
from infnet_runtime.segment.thinned import planes_to_run
from infnet_runtime.slices.neighbours import volume_to_network
from infnet_runtime.slices.preprocess import resize
from tiny_models import WITH_CLASSES, classes_detector, coarse_detector, mid_grey_detector, two_outputs

BACKENDS = ["onnxruntime", "openvino"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    soft = mid_grey_detector(folder / "soft.onnx", gain=20)
    coarse = coarse_detector(folder / "coarse.onnx", gain=20)
    return {
        "whole": classes_detector(folder / "whole.classes.onnx", of=soft),
        "coarse": classes_detector(folder / "coarse.classes.onnx", of=coarse),
        "soft": soft,
    }


@pytest.fixture(scope="module")
def phantom() -> ChestPhantom:
    return chest_phantom()


def scan_of(phantom: ChestPhantom, spacing_mm: float | None = None, code: str = "LPS") -> CtVolume:
    hu, affine = reorient(phantom.hu, (spacing_mm or phantom.spacing_mm[0], *phantom.spacing_mm[1:]), code)
    return CtVolume(hu, affine, Intensity.HU, "phantom")


def simply(
    session: Session, volume: CtVolume, lungs: ByteArray, mask: ByteArray, run: list[int]
) -> ByteArray:
    """All of a volume in float32, on the scan's grid, and of both the more probable inside the mask."""
    spec, voxels, inside = WITH_CLASSES.preprocess, volume.to_lps(), volume.to_lps(lungs)
    box = lung_box(inside, volume.lps_spacing_mm, spec.crop_margin_mm)
    both = np.zeros((2, *voxels.shape), np.float32)
    rows, columns = both[0, 0][box].shape
    for plane in run:
        batch = volume_to_network(
            voxels, [plane], box, volume.intensity, spec, spacing_mm=volume.lps_spacing_mm[0]
        )
        own = run_checked(session, batch)[CLASS_OUTPUT.name][0]
        for k in (0, 1):
            both[k, plane][box] = resize(own[k + 1][None], rows, columns)[0]
    for plane in np.flatnonzero(inside.any(axis=(1, 2))):
        if plane not in run:
            below, above = max(k for k in run if k < plane), min(k for k in run if k > plane)
            share = np.float32((plane - below) / (above - below))
            both[:, plane] = both[:, below] + (both[:, above] - both[:, below]) * share
    told = np.where(both[0] >= both[1], 1, 2) * (volume.to_lps(mask) > 0)
    return np.asarray(told, np.uint8)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["whole", "coarse"])
@pytest.mark.parametrize("fast", [False, True])
def test_classes_are_those_of_the_simple_way(
    backend: str, kind: str, fast: bool, models: dict[str, Path], phantom: ChestPhantom
) -> None:
    pytest.importorskip(backend)
    phantom = chest_phantom((60, 72, 96), (4.0, 4.5, 4.0)) if fast else phantom
    volume = scan_of(phantom, 1.0 if fast else None)  # as if the patient were short
    lungs = np.ascontiguousarray(volume.from_lps(phantom.lungs))
    with_lung = np.flatnonzero(phantom.lungs.any(axis=(1, 2))).tolist()
    run = planes_to_run(with_lung, 3) if fast else with_lung
    assert (len(run) < len(with_lung)) == fast
    with infnet_runtime.load(models[kind], backend=backend, device="cpu") as without:
        mask = without.predict(volume, lungs=lungs, fast=fast)
    assert mask.classes is mask.quantification.classes is None
    with open_session(models[kind], backend=backend, device="cpu", asked=Asked.CLASSES) as session:
        expected = simply(session, volume, lungs, mask.mask, run)
    assert set(np.unique(expected)) == {0, 1, 2}
    with infnet_runtime.load(models[kind], backend=backend, device="cpu", classes=True) as loaded:
        for threads, batch_size, keep in ((1, 5, False), (2, 1, True), (2, 64, False)):
            segmenter = Segmenter(loaded._session, threads=threads, classes=True)
            result = segmenter.predict(
                volume, lungs=lungs, fast=fast, batch_size=batch_size, keep_probability=keep
            )
            assert np.array_equal(result.mask, mask.mask)
            assert result.classes is not None
            assert np.array_equal(volume.to_lps(result.classes), expected)
            assert keep == (result.probability is not None)


@pytest.mark.parametrize("code", ORIENTATIONS[::11])
def test_both_together_are_the_infection_in_any_order_of_the_file(
    code: str, models: dict[str, Path], phantom: ChestPhantom
) -> None:
    volume = scan_of(phantom, code=code)
    with infnet_runtime.load(models["coarse"], device="cpu", classes=True) as segmenter:
        result = segmenter.predict(volume)
    assert result.classes is not None
    assert result.classes.shape == result.mask.shape
    assert np.array_equal(result.classes > 0, result.mask > 0)
    q = result.quantification
    told = q.classes
    assert told
    assert told.source == "model"
    assert told.labels["1"]["code"] == "112120"
    for region, kinds in ((q.both, told.both), (q.right, told.right), (q.left, told.left)):
        assert region
        assert kinds
        assert kinds.ggo_ml is not None
        assert kinds.consolidation_ml is not None
        assert kinds.ggo_ml + kinds.consolidation_ml == pytest.approx(region.infection_ml, rel=1e-12)
    assert told.both
    assert told.both.ggo_ml == pytest.approx((result.classes == 1).sum() * volume.grid.voxel_ml, rel=1e-12)


def test_a_picture_has_classes_and_shares(models: dict[str, Path], phantom: ChestPhantom) -> None:
    plane = int(phantom.infection.sum(axis=(1, 2)).argmax())
    grey = np.clip((phantom.hu[plane].astype(float) + 1050) / 1300 * 255, 0, 255).astype(np.uint8)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    picture = CtVolume(grey.T[..., None], affine, Intensity.WINDOWED, "a.png", has_size=False)
    lungs = phantom.lungs[plane].T[..., None]
    with infnet_runtime.load(models["whole"], device="cpu", classes=True) as segmenter:
        result = segmenter.predict(picture, lungs=np.ascontiguousarray(lungs))
    assert result.classes is not None
    assert np.array_equal(result.classes > 0, result.mask > 0)
    told = result.quantification.classes
    assert told
    assert told.both
    assert told.both.ggo_ml is None
    assert told.reasons["both.ggo_ml"] == "no_voxel_size"
    assert told.both.ggo_percent_of_infection is not None
    assert told.both.consolidation_percent_of_infection is not None
    whole = told.both.ggo_percent_of_infection + told.both.consolidation_percent_of_infection
    assert whole == pytest.approx(100)


class Noted:
    """A session that notes what it gave."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.given: list[Outputs] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)

    def run(self, batch: np.ndarray) -> Outputs:
        self.given.append(self._session.run(batch))
        return self.given[-1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_nobody_asks_for_is_not_given(
    backend: str, models: dict[str, Path], phantom: ChestPhantom
) -> None:
    pytest.importorskip(backend)
    expected = {
        Asked.EVERY: {"infection_probability", "class_probability"},
        Asked.INFECTION: {"infection_probability"},
        Asked.CLASSES: {"infection_probability", "class_probability"},
    }
    for asked, names in expected.items():
        with open_session(models["whole"], backend=backend, device="cpu", asked=asked) as session:
            noted = Noted(session)
            Segmenter(noted).predict(scan_of(phantom))  # type: ignore[arg-type]  # what it does not note
            assert {name for given in noted.given for name in given} == names
            assert [o.name for o in session.manifest.outputs] == [n for n in reversed(sorted(names))]


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.WARNING)
    return lambda: caplog.messages


@pytest.mark.parametrize(
    ("make", "gives"),
    [
        (mid_grey_detector, r"infection_probability \(infection\)"),
        (
            two_outputs,
            r"kind_probability \(ground glass, consolidation\), infection_probability \(infection\)",
        ),
    ],
)
def test_a_model_without_them_is_refused_once_saying_what_it_gives(
    make: Callable[[Path], Path], gives: str, tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    path = make(tmp_path / "m.onnx")
    told = (
        rf"\[INF-4070\] .*m\.onnx does not tell ground glass from consolidation: it gives {gives}; expected"
    )
    with pytest.raises(ModelError, match=told):
        infnet_runtime.load(path, classes=True)
    assert not warnings(), "no other backend is tried"
    with (
        open_session(path, device="cpu") as session,
        pytest.raises(ModelError, match=r"\[INF-4070\] the session of mid-grey"),
    ):
        Segmenter(session, classes=True)


def test_a_session_without_them_is_refused(models: dict[str, Path]) -> None:
    with (
        open_session(models["whole"], device="cpu", asked=Asked.INFECTION) as session,
        pytest.raises(ModelError, match="INF-4070"),
    ):
        Segmenter(session, classes=True)


def test_without_the_question_a_model_with_classes_is_one_without(
    models: dict[str, Path], phantom: ChestPhantom
) -> None:
    volume = scan_of(phantom)
    results = []
    for kind in ("soft", "whole"):
        with infnet_runtime.load(models[kind], device="cpu") as segmenter:
            results.append(segmenter.predict(volume, keep_probability=True))
    one, other = results
    assert np.array_equal(one.mask, other.mask)
    assert one.probability is not None
    assert other.probability is not None
    assert np.array_equal(one.probability, other.probability)
    assert one.quantification == other.quantification
    assert "classes" not in other.quantification.to_dict()
