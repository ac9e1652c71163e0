"""Sessions that give coarse logits: asked for by an option, checked, and the same network as without."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from infnet_runtime.backends import Session, open_session
from infnet_runtime.backends.session import infection_logits, infection_probability, run_checked
from infnet_runtime.errors import GateError, ModelError
from infnet_runtime.model.recognise import recognised
from infnet_runtime.slices.enlarge import enlarged
from tiny_models import COARSE, MANIFEST, SIZE, coarse_detector

SMALL = SIZE // COARSE.factor
# Of probabilities enlarged by the runtime and by a backend; 1.8e-7 was seen, with logits of up to 30.
ROUNDING = 2e-6


@pytest.fixture(params=["onnxruntime", "openvino"])
def backend(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coarse_detector(tmp_path_factory.mktemp("models") / "coarse.onnx")


def noise(n: int) -> np.ndarray:
    """As coarse as the network, whose means would leave nothing of a finer one."""
    coarse = np.random.default_rng(0).standard_normal((n, 3, SMALL, SMALL), np.float32)
    return coarse.repeat(COARSE.factor, axis=2).repeat(COARSE.factor, axis=3)


def test_a_session_gives_the_full_map_unless_asked(model: Path, backend: str) -> None:
    with open_session(model, backend=backend, device="cpu", threads=1) as session:
        assert session.coarse is None
        found = run_checked(session, noise(2))
    assert {name: values.shape for name, values in found.items()} == {
        "infection_probability": (2, 1, SIZE, SIZE)
    }


def test_coarse_logits_lead_to_the_full_map(model: Path, backend: str) -> None:
    options = {"backend": backend, "device": "cpu", "threads": 1}
    with open_session(model, **options) as full, open_session(model, coarse=True, **options) as coarse:
        assert coarse.coarse == COARSE
        assert (coarse.manifest, coarse.model_sha256) == (full.manifest, full.model_sha256)
        found = run_checked(coarse, noise(3))
        assert {name: values.shape for name, values in found.items()} == {
            "coarse_logits": (3, 1, SMALL, SMALL)
        }
        logits = infection_logits(coarse, noise(3), COARSE)
        assert np.array_equal(logits, found["coarse_logits"][:, 0])
        probability = infection_probability(coarse, noise(3))
        assert np.array_equal(probability, enlarged(logits, COARSE.factor))
        expected = infection_probability(full, noise(3))
        assert 0.1 < expected.mean() < 0.9, "nothing was compared"
        np.testing.assert_allclose(probability, expected, rtol=0, atol=ROUNDING)


def test_a_file_without_them_runs_as_before(tmp_path: Path, backend: str) -> None:
    path = coarse_detector(tmp_path / "plain.onnx", coarse=False)
    with open_session(path, backend=backend, device="cpu", coarse=True) as session:
        assert session.coarse is None
        assert infection_probability(session, noise(1)).shape == (1, SIZE, SIZE)


def test_the_full_map_is_the_same_to_the_bit_with_and_without_them(
    model: Path, tmp_path: Path, backend: str
) -> None:
    plain = coarse_detector(tmp_path / "plain.onnx", coarse=False)
    with (
        open_session(model, backend=backend, device="cpu") as one,
        open_session(plain, backend=backend, device="cpu") as other,
    ):
        assert np.array_equal(infection_probability(one, noise(2)), infection_probability(other, noise(2)))


def test_onnxruntime_does_not_enlarge_what_is_not_wanted(model: Path, tmp_path: Path) -> None:
    content = model.read_bytes()

    def operators_run(coarse: bool) -> set[str]:
        given = recognised(content, model).cut(content, COARSE if coarse else None)
        options = onnxruntime.SessionOptions()
        options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "profile")
        session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
        session.run(None, {"slices": noise(1)})
        events = json.loads(Path(session.end_profiling()).read_text())
        return {e["args"]["op_name"] for e in events if e.get("cat") == "Node" and "op_name" in e["args"]}

    assert {"Resize", "Sigmoid"} <= operators_run(False)
    assert not {"Resize", "Sigmoid"} & operators_run(True)


class Giving:
    """A session that gives some logits."""

    backend, device, manifest, coarse = "giving", "cpu", MANIFEST, COARSE

    def __init__(self, logits: np.ndarray) -> None:
        self._logits = logits

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        return {"coarse_logits": self._logits}


def logits_of(session: object) -> np.ndarray:
    made: Session = session  # type: ignore[assignment]
    return infection_logits(made, np.zeros((2, 3, SIZE, SIZE), np.float32), COARSE)


def test_logits_are_checked() -> None:
    good = np.full((2, 1, SMALL, SMALL), -3e38, np.float32)
    assert np.array_equal(logits_of(Giving(good)), good[:, 0])
    for bad in (np.nan, np.inf, -np.inf):
        damaged = good.copy()
        damaged[1, 0, 2, 3] = bad
        told = r"\[INF-7020\] 1 of 1152 logits from 'giving' on cpu are not finite; no mask is written"
        with pytest.raises(GateError, match=told):
            logits_of(Giving(damaged))
    told = (
        r"\[INF-4032\] expected float32 logits \(2, 1, 24, 24\), backend 'giving' returned float32 \(1, 1, 24"
    )
    with pytest.raises(ModelError, match=told):
        logits_of(Giving(good[:1]))
