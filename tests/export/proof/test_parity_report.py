"""The report on all forms: what each row says, and that a wrong form cannot pass."""

import json
import re
import time
from collections.abc import Callable

import numpy as np
import pytest

from infnet_export.proof.parity_report import Form, ParityReport, Run, measure_forms
from infnet_runtime.arrays import FloatArray
from infnet_runtime.errors import GateError
from infnet_runtime.metrics.parity import Tolerance

RNG = np.random.default_rng(0)
SLICES = RNG.normal(size=(5, 3, 32, 32)).astype(np.float32)
TIGHT = Tolerance(largest=1e-3, mean=1e-4)
NAME = "infection"


def probability(slices: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-slices[:, :1])), np.float32)


def named(run: Callable[[FloatArray], FloatArray]) -> Run:
    return lambda slices: {NAME: run(slices)}


REFERENCE = probability(SLICES).astype(np.float64)


def report(*forms: Form, batches: tuple[int, ...] = (1, 2, 4)) -> ParityReport:
    results, picture = measure_forms(list(forms), {NAME: REFERENCE}, SLICES, {NAME: [0.5]}, batches)
    return ParityReport("m", "r", "five", 0.5, {"numpy": "2"}, results, {"TensorRT": "no GPU"}, picture)


def test_an_equal_form_passes_in_every_batch_size_and_the_last_batch_is_short() -> None:
    seen: list[int] = []

    def run(slices: FloatArray) -> FloatArray:
        seen.append(len(slices))
        return probability(slices)

    made = report(Form("same", named(run), TIGHT, "equal"), batches=(1, 2, 4, 5))
    assert seen == [1] * 5 + [2, 2, 1] + [4, 1] + [5]
    assert made.failures() == {}
    (form,) = made.forms
    assert (form.passed, list(form.runs)) == (True, [1, 2, 4, 5])
    assert form.worst.mask_dice == pytest.approx(1.0)
    assert "| same | 1, 2, 4, 5 |" in made.to_markdown()
    assert "- TensorRT: no GPU" in made.to_markdown()
    assert "Verified here: same. On another backend" in made.to_markdown()
    assert json.loads(made.to_json())["verified"] == ["same"]
    assert json.loads(made.to_json())["forms"][0]["passed"] is True


def test_full_batches_only_would_hide_a_fault_of_short_ones() -> None:
    seen: list[int] = []

    def run(slices: FloatArray) -> FloatArray:
        seen.append(len(slices))
        return probability(slices)

    measure_forms([Form("f", named(run), TIGHT, "")], {NAME: REFERENCE[:4]}, SLICES[:4], {NAME: [0.5]}, (2,))
    assert seen == [1, 2, 1]


def test_a_form_that_fails_in_one_batch_size_alone_is_refused() -> None:
    def run(slices: FloatArray) -> FloatArray:
        wrong = probability(slices)
        if len(slices) == 4:
            wrong[2, 0, 3, 3] = 1 - wrong[2, 0, 3, 3]
        return wrong

    made = report(Form("same", named(probability), TIGHT, ""), Form("sometimes", named(run), TIGHT, ""))
    assert [form.passed for form in made.forms] == [True, False]
    failed = made.failures()
    assert list(failed) == ["onnx"]
    assert failed["onnx"].code == 7003
    told = r"too far from r: sometimes differs in a probability by 0\.\d+ \(at most 0.001\), .*in slice 3$"
    assert re.search(told, str(failed["onnx"]))
    assert "**failed**" in made.to_markdown()


def test_the_worst_slice_is_drawn() -> None:
    def run(slices: FloatArray) -> FloatArray:
        wrong = probability(slices)
        wrong[:, 0, :8] = 0
        return wrong

    made = report(Form("cut", named(run), None, "judged elsewhere"))
    assert made.forms[0].passed is None
    assert made.failures() == {}
    difference = made.picture[26:, 3 * 352 :]
    assert difference[:70].mean() > 50 * difference[100:].mean()


def test_no_slices_and_what_is_not_finite_are_refused() -> None:
    with pytest.raises(GateError, match="no slices"):
        measure_forms([], {NAME: REFERENCE}, SLICES[:0], {NAME: [0.5]}, (1,))
    made = report(Form("nan", named(lambda s: probability(s) * np.float32(np.nan)), TIGHT, "", "fp16"))
    assert made.forms[0].passed is False
    assert "nan differs in probabilities that are not finite" in str(made.failures()["fp16"])
    assert json.loads(made.to_json())["forms"][0]["worst"]["largest_distance"] is None


def test_times_are_told_beside_each_other() -> None:
    def slow(slices: FloatArray) -> FloatArray:
        time.sleep(0.02 * len(slices))
        return probability(slices)

    made = report(
        Form("m.onnx, ONNX Runtime CPU", named(slow), TIGHT, ""), Form("fast", named(probability), TIGHT, "")
    )
    slowly, fast = (form.ms_per_slice for form in made.forms)
    assert slowly is not None
    assert slowly >= 20
    assert fast is not None
    assert fast < slowly
    assert f"| {fast:.0f} ({slowly / fast:.2f} times as fast) | passed |" in made.to_markdown()
