"""The FP16 form beside a model is taken where it passed and is a form of that model."""

import logging
from pathlib import Path

import pytest

from half_model import half_form, plain_file
from infnet_export.precision.borrowed import borrowing
from infnet_runtime.errors import ModelError
from infnet_runtime.model.half import passed_half
from tiny_models import mid_grey_detector, recorded


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return plain_file(tmp_path / "infnet.onnx")


@pytest.fixture
def half(plain: Path) -> Path:
    path = plain.with_name("infnet.fp16.onnx")
    path.write_bytes(half_form(plain))
    return recorded(path, passed=("float16",))


def test_one_that_passed_is_taken(plain: Path, half: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert passed_half(plain) == (half, "its masks in FP16 agree by a Dice of 0.99 on 3 scans")
    assert caplog.text == ""


def test_one_that_borrows_its_weights_is_taken_too(plain: Path, half: Path) -> None:
    half.write_bytes(borrowing(half.read_bytes(), plain.read_bytes(), plain.name))
    assert half.stat().st_size < plain.stat().st_size / 2
    assert passed_half(plain)[0] == half
    plain_file(plain, seed=1)
    with pytest.raises(ModelError, match="made for another infnet.onnx") as caught:
        passed_half(plain)
    assert caught.value.code == 4068


def test_where_there_is_none(plain: Path) -> None:
    assert passed_half(plain)[0] is None


@pytest.mark.parametrize(
    ("passed", "why"),
    [
        (
            ("bf16",),
            "has no record that its masks stay the same in float16, only in bf16",
        ),
        ((), "make it again with: infnet-export --fp16 --verify VOLUMES"),
    ],
)
def test_one_that_did_not_pass_is_not_taken_and_warned_of(
    passed: tuple[str, ...], why: str, plain: Path, half: Path, caplog: pytest.LogCaptureFixture
) -> None:
    half.write_bytes(half_form(plain))
    recorded(half, passed=passed)
    with caplog.at_level(logging.WARNING):
        found, said = passed_half(plain)
    assert found is None
    assert why in said
    assert f"{half} is not used: " in caplog.text


def test_one_of_another_model_is_not_taken(plain: Path, half: Path, caplog: pytest.LogCaptureFixture) -> None:
    mid_grey_detector(plain)
    assert passed_half(plain)[0] is None
    assert "it is a form of convolutions 1 other than infnet.onnx" in caplog.text


def test_one_in_single_precision_is_not_taken(plain: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorded(plain_file(plain.with_name("infnet.fp16.onnx")), passed=("float16",))
    assert passed_half(plain)[0] is None
    assert "it computes in float32" in caplog.text


def test_a_damaged_one_is_refused(plain: Path, half: Path) -> None:
    half.write_bytes(half.read_bytes()[:-7])
    with pytest.raises(ModelError) as caught:
        passed_half(plain)
    assert caught.value.exit_code == 4
