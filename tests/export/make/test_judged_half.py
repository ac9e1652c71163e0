"""The FP16 form is judged on whole scans, and a GPU takes it by itself only where it passed."""

import json
from pathlib import Path

import pytest

from builders import chest_phantom, write_nifti
from half_model import plain_file
from infnet_export.make import judged_half
from infnet_export.make.products import make
from infnet_export.make.start import start_from_onnx
from infnet_export.make.wanted import Wanted
from infnet_runtime.backends.tensorrt.sidecar import BatchRange
from infnet_runtime.model.borrowed import read_whole
from infnet_runtime.model.facts import read_facts
from infnet_runtime.model.half import passed_half
from infnet_runtime.model.judged import judgement
from infnet_runtime.model.manifest_file import manifest_of


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for name in ("one", "two"):
        phantom = chest_phantom()
        write_nifti(folder / f"{name}.nii.gz", phantom.hu, phantom.affine)
    return folder


def test_what_passes_on_whole_scans_says_so_and_is_taken(scans: Path, tmp_path: Path) -> None:
    start = start_from_onnx(plain_file(tmp_path / "infnet.onnx"), "infnet")
    batch = BatchRange(1, 1, 1)
    made = make(start, tmp_path / "out", Wanted(fp16=True, borrow=True, verify=scans, batch=batch))
    made.check()
    path = made.files["fp16"]
    content = read_whole(path)
    figures = judgement(read_facts(content).metadata, content, manifest_of(path), "float16", path)
    assert made.half
    assert figures == made.half.judgement
    assert figures.scans == 2
    assert figures.smallest_dice >= 0.98
    assert figures.infection_ml > 10
    assert "ONNX Runtime" in figures.method
    assert passed_half(made.files["onnx"])[0] == path
    assert "## FP16 on whole scans" in made.files["parity_table"].read_text()
    assert json.loads(json.dumps(made.to_plain()))["half"]["passed"] is True


def test_what_moves_masks_is_not_written(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = start_from_onnx(plain_file(tmp_path / "infnet.onnx"), "infnet")
    other = start_from_onnx(plain_file(tmp_path / "other.onnx", seed=1), "other")
    real = judged_half.open_content
    monkeypatch.setattr(
        judged_half,
        "open_content",
        lambda content, name: real(other.content if content != start.content else content, name),
    )
    made = make(start, tmp_path / "out", Wanted(fp16=True, verify=scans, batch=BatchRange(1, 1, 1)))
    assert "fp16" not in made.files
    assert made.failed["fp16"].code == 7034
    assert "keep more of the model in single precision" in str(made.failed["fp16"])


def test_without_two_scans_it_has_no_record(scans: Path, tmp_path: Path) -> None:
    start = start_from_onnx(plain_file(tmp_path / "infnet.onnx"), "infnet")
    said: list[str] = []
    wanted = Wanted(fp16=True, verify=scans / "one.nii.gz", batch=BatchRange(1, 1, 1))
    made = make(start, tmp_path / "out", wanted, say=said.append)
    made.check()
    assert made.half is None
    assert any(line.startswith("FP16: without a record, so that no GPU takes it by itself") for line in said)
    assert passed_half(made.files["onnx"])[0] is None
