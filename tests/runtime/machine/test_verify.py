"""What a backend gives, held against the reference: passes, fails, and says why."""

import json
import math
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from builders import chest_phantom, write_nifti
from infnet_export.precision.choice import KeepFp32
from infnet_export.precision.float16 import to_float16
from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends import Session, open_session
from infnet_runtime.backends.session import Outputs
from infnet_runtime.cli.main import app
from infnet_runtime.errors import BackendError, GateError, ModelError
from infnet_runtime.machine import verify as module
from infnet_runtime.machine.verify import verify
from infnet_runtime.machine.verify_report import Compared, Side, VerifyReport, report_of
from infnet_runtime.metrics.mask_limits import MaskPair
from infnet_runtime.metrics.parity import Parity
from tiny_models import mid_grey_detector, two_outputs

ON_CPU = {"backend": "onnxruntime", "device": "cpu", "threads": 1}
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    return {
        "reference": mid_grey_detector(tmp_path / "reference.onnx"),
        "near": mid_grey_detector(tmp_path / "near.onnx", gain=199.9),
        "far": mid_grey_detector(tmp_path / "far.onnx", scale=0.65, gain=10.0),
    }


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two volumes and a picture."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for number, shape in enumerate(((12, 96, 96), (9, 96, 96)), 1):
        phantom = chest_phantom(shape, (120 / shape[0], 4.0, 4.0))
        write_nifti(folder / f"{number}.nii.gz", phantom.hu, phantom.affine)
    middle = chest_phantom((20, 240, 300), (12.0, 1.35, 1.28))
    at = int(middle.infection.sum((1, 2)).argmax())
    grey = np.clip((middle.hu[at].astype(float) + 1050) / 1300 * 255, 0, 255).astype(np.uint8)
    cv2.imwrite(str(folder / "slice.png"), grey)
    return folder


def in_half(model: Path) -> Path:
    """The same network computed in half precision."""
    half, _ = to_float16(onnx.load(model), KeepFp32(output_maps=False))
    path = model.with_name("half.onnx")
    path.write_bytes(half.SerializeToString())
    return path


@needs_openvino
def test_another_backend_is_held_against_the_reference(models: dict[str, Path], scans: Path) -> None:
    told: list[tuple[int, int]] = []
    report = verify(
        models["reference"],
        None,
        [scans],
        backend="openvino",
        device="cpu",
        threads=1,
        progress=lambda done, total: told.append((done, total)),
    )
    assert report.passed
    report.check()
    assert [scan.name for scan in report.scans] == ["1.nii.gz", "2.nii.gz", "slice.png"]
    assert [scan.masks.unit for scan in report.scans] == ["ml", "ml", "pixels"]
    assert all(scan.masks.sizes[0] > 0 for scan in report.scans)
    assert all(scan.distances and scan.distances.undecided > 0 for scan in report.scans)
    assert report.candidate.backend.startswith("openvino")
    assert report.reference.backend.startswith("onnxruntime")
    assert report.candidate.sha256 == report.reference.sha256
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_every_slice_is_compared_also_with_short_batches(models: dict[str, Path], scans: Path) -> None:
    counts = [
        [scan.distances and scan.distances.slices for scan in report.scans]
        for size in (1, 5)
        for report in [verify(models["near"], models["reference"], [scans], batch_size=size, **ON_CPU)]  # type: ignore[arg-type]
    ]
    assert counts[0] == counts[1]
    assert counts[0][2] == 1
    assert min(counts[0][:2]) > 5  # type: ignore[type-var, operator]


def test_a_model_that_is_too_far_is_named_with_its_scans(models: dict[str, Path], scans: Path) -> None:
    report = verify(models["far"], models["reference"], [scans], **ON_CPU)  # type: ignore[arg-type]
    assert not report.passed
    with pytest.raises(GateError) as caught:
        report.check()
    assert (caught.value.code, caught.value.exit_code) == (7003, 7)
    text = str(caught.value)
    assert "mid-grey 1 (" in text
    assert "1.nii.gz differs in a probability by 0." in text
    assert "2.nii.gz moves from" in text
    assert "the infection moves from" in text
    assert "choose another --backend or --device" in text


class Mixed:
    """A session that gives the slices of a batch in the wrong order."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)

    def __enter__(self) -> "Mixed":
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def run(self, batch: FloatArray) -> Outputs:
        return {name: np.ascontiguousarray(v[::-1]) for name, v in self._session.run(batch).items()}


def test_slices_in_the_wrong_order_are_found(
    models: dict[str, Path], scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mixed(model: Path, **options: object) -> object:
        session = open_session(model, **options)  # type: ignore[arg-type]
        return session if "batch_size" not in options else Mixed(session)

    monkeypatch.setattr(module, "open_session", mixed)
    files = [scans / "1.nii.gz"]
    right = verify(models["near"], models["reference"], files, batch_size=1, **ON_CPU)  # type: ignore[arg-type]
    wrong = verify(models["near"], models["reference"], files, batch_size=4, **ON_CPU)  # type: ignore[arg-type]
    assert right.passed
    assert not wrong.passed


def test_half_precision_has_the_limits_of_masks_alone(models: dict[str, Path], scans: Path) -> None:
    half = in_half(models["reference"])
    report = verify(half, models["reference"], [scans / "1.nii.gz"], **ON_CPU)  # type: ignore[arg-type]
    assert report.candidate.precision != "float32"
    assert report.allowed is None
    assert report.scans[0].distances
    assert report.passed
    assert "probabilities by" not in report.to_text()
    with pytest.raises(ModelError, match="the reference computes in .*float16.* expected single") as caught:
        verify(models["reference"], half, **ON_CPU)  # type: ignore[arg-type]
    assert caught.value.code == 4065


def test_an_engine_needs_a_reference(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.plan is a TensorRT engine .* with --against") as caught:
        verify(tmp_path / "model.plan")
    assert caught.value.code == 4065


def test_models_that_give_other_things_are_not_compared(models: dict[str, Path], tmp_path: Path) -> None:
    other = two_outputs(tmp_path / "two.onnx")
    with pytest.raises(ModelError, match="do not take the same slices or give the same outputs") as caught:
        verify(other, models["reference"], **ON_CPU)  # type: ignore[arg-type]
    assert caught.value.code == 4066


def test_something_is_not_compared_with_itself(models: dict[str, Path]) -> None:
    with pytest.raises(BackendError, match="both sides are mid-grey 1 .*, and nothing can be told") as caught:
        verify(models["reference"], **ON_CPU)  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.exit_code) == (5070, 5)


def side(name: str, *, precision: str = "float32", sha256: str = "a") -> Side:
    return Side(model="m", version="1", sha256=sha256, backend=name, device="cpu", precision=precision)


def parity(largest: float, mean: float = 0.0) -> Parity:
    return Parity(
        slices=4,
        largest_distance=largest,
        mean_distance=mean,
        undecided=0.1,
        mask_disagreement=0.0,
        mask_dice=1.0,
        volume_change=0.0,
    )


def judged(*rows: Compared, **of_candidate: str) -> VerifyReport:
    return report_of(side("gpu", **of_candidate), side("cpu"), rows)


EQUAL = MaskPair("a", (50.0, 50.0), 0.0, "ml")


def test_the_same_file_may_differ_by_rounding_and_another_by_stored_weights() -> None:
    assert judged(Compared(parity(9e-4), EQUAL)).passed
    assert judged(Compared(parity(2e-3), EQUAL)).faults == (
        "a differs in a probability by 0.002 (at most 0.001)",
    )
    assert judged(Compared(parity(2e-3), EQUAL), sha256="b").passed
    assert not judged(Compared(parity(6e-3), EQUAL), sha256="b").passed
    assert judged(Compared(parity(0.6), EQUAL), precision="int8 + float32").passed


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_masks_count_in_every_precision(precision: str) -> None:
    moved = MaskPair("a", (100.0, 102.0), 2.0, "ml")
    (fault,) = judged(Compared(parity(1e-5), moved), precision=precision).faults
    assert fault == "a moves from 100.0 to 102.0 ml, by 2.00% (at most 1% or 1 ml)"


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_what_is_no_number_fails(precision: str) -> None:
    report = judged(Compared(parity(math.nan), EQUAL), precision=precision)
    assert report.faults == ("a has probabilities that are not finite",)
    assert json.loads(report.to_json())["scans"][0]["distances"]["largest_distance"] is None


def test_pictures_are_judged_together_in_pixels() -> None:
    rows = [
        Compared(parity(1e-5), MaskPair(name, (2000.0, after), abs(after - 2000), "pixels"))
        for name, after in (("a", 2015.0), ("b", 2010.0))
    ]
    assert judged(*rows).passed
    rows.append(Compared(parity(1e-5), MaskPair("c", (2000.0, 2060.0), 60.0, "pixels")))
    assert judged(*rows).faults == ("the infection moves from 6000 to 6085 pixels, by 1.42% (at most 1%)",)


def test_comparing_nothing_is_refused() -> None:
    empty = Compared(None, MaskPair("a", (0.0, 0.0), 0.0, "ml"))
    with pytest.raises(GateError, match="no slice of these scans went through the network") as caught:
        judged(empty)
    assert caught.value.code == 7004
    assert judged(empty, Compared(parity(0.0), EQUAL)).passed


@needs_openvino
def test_command(models: dict[str, Path], scans: Path) -> None:
    given = ["verify", str(models["near"]), "--against", str(models["reference"]), "--threads", "1"]
    given += ["--backend", "openvino", "--device", "cpu", "--scans", str(scans / "1.nii.gz")]
    given += ["--scans", str(scans / "slice.png")]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("checked    mid-grey 1 (")
    assert "openvino" in lines[0]
    assert lines[1].startswith("reference  mid-grey 1 (")
    assert lines[3].split() == ["largest", "mean", "other", "side", "Dice", "infection"]
    assert lines[4].startswith("1.nii.gz")
    assert " ml" in lines[4]
    assert lines[-1].startswith(
        "passed: probabilities by at most 0.005, 0.001 on average; the infection by at"
    )
    given[1] = str(models["far"])
    done = CliRunner().invoke(app, [*given, "--json"])
    assert isinstance(done.exception, GateError)
    document = json.loads(done.stdout)
    assert document["schema"] == "infnet.verify/1"
    assert document["passed"] is False
    assert document["scans"][0]["masks"]["sizes"][0] > 0
    assert document["limits"]["few_ml"] == 1
