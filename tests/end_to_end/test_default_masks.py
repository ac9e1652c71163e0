"""The model that a backend takes by itself passes the gate of the 8-bit file, on the processor at hand.

Which one that is was decided by ``benchmarks/choice.py``, for the shipped file and some processors. A new
file, or another processor, may add its products otherwise.
"""

from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import pytest

from infnet_export.proof.gate import check_gate, compare_models
from infnet_runtime.backends.candidates import CPU, ONNXRUNTIME, OPENVINO, Candidate
from infnet_runtime.backends.open import open_candidate, open_session
from infnet_runtime.backends.suited_model import suited_model
from infnet_runtime.model.shipped import default_model
from infnet_train.data.masks import read_labelled

SLICES = Path("covid-semiseg/TestingSet/LungInfection-Test")
EVERY = 6  # 8 of the 48, ten seconds of CPU time for both backends


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("backend", [OPENVINO, ONNXRUNTIME])
def test_the_masks_that_come_without_options_pass_the_gate(
    backend: str, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INFNET_MODEL", raising=False)
    for name in (backend, ONNXRUNTIME):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    candidate = Candidate(backend, CPU)
    slices = list(islice(read_labelled(data_root / SLICES, "transpose"), 0, None, EVERY))
    with (
        open_session(
            default_model(), backend=ONNXRUNTIME, device=CPU, threads=1, precision="f32"
        ) as reference,
        open_candidate(candidate, suited_model(candidate)[0], threads=1) as found,
    ):
        report = compare_models(reference, found, {"test slices": slices})
    assert report.sets["test slices"].size_reference > 0, "nothing is compared"
    check_gate(report)
