"""The chest of the demo: known volumes, and what a network needs to take it for a patient."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from builders import LEFT, RIGHT
from infnet_runtime.lungs import find_lungs
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.realistic_chest import realistic_chest
from infnet_runtime.segment.segmenter import load

SMALL = ((22, 150, 200), (12.0, 2.0, 2.0))
MODELS = Path(__file__).parents[3] / "models"
# What the demo promises. Measured: +2 % with seed 0, +4 % with seed 2, +5.6 to +8.1 % with seeds 11 to 13 in
# both forms of the model, +8.2 % and +8.6 % with seed 11 in slices of 8 mm. Of it 7 to 35 ml are in the
# healthy lung.
WITHIN = 0.15


@pytest.mark.parametrize("seed", [0, 7])
def test_lungs_of_an_adult_and_infection_on_the_right(seed: int) -> None:
    chest = realistic_chest(*SMALL, seed=seed)
    right, left = (chest.volume_ml(chest.lungs == side) for side in (RIGHT, LEFT))
    assert 1800 < left < right < 3200
    assert 150 < chest.infection_ml < 600
    assert not (chest.infection & (chest.lungs != RIGHT)).any()
    assert chest.infection_ml == pytest.approx(chest.infection.sum() * 12 * 2 * 2 / 1000)
    healthy = (chest.lungs > 0) & ~chest.infection
    assert -880 < np.median(chest.hu[healthy]) < -830
    assert -650 < np.median(chest.hu[chest.infection]) < -450


def test_a_seed_gives_one_chest_and_another_seed_another() -> None:
    first = realistic_chest(*SMALL)
    assert np.array_equal(first.hu, realistic_chest(*SMALL).hu)
    assert not np.array_equal(first.lungs, realistic_chest(*SMALL, seed=1).lungs)


def test_a_healthy_chest_differs_where_the_infection_is() -> None:
    ill, healthy = realistic_chest(*SMALL), realistic_chest(*SMALL, infected=False)
    assert not healthy.infection.any()
    assert np.array_equal(ill.lungs, healthy.lungs)
    assert np.median(healthy.hu[ill.infection]) < -800


def test_its_lungs_are_found() -> None:
    chest = realistic_chest(*SMALL)
    found = find_lungs(chest.hu, chest.spacing_mm, Intensity.HU)
    for side in (RIGHT, LEFT):
        both = (found == side) & (chest.lungs == side)
        assert 2 * both.sum() / ((found == side).sum() + (chest.lungs == side).sum()) > 0.93


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "backend", "seed"),
    [("infnet.int8.onnx", "openvino", 0), ("infnet.onnx", "onnxruntime", 1)],
)
def test_the_shipped_model_measures_it(name: str, backend: str, seed: int) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    chest = realistic_chest(seed=seed)
    with load(MODELS / name, backend=backend, device="cpu") as model:
        result = model.predict(CtVolume(chest.hu, chest.affine, Intensity.HU, "chest"))
    q = result.quantification
    assert q.both
    assert q.both.infection_ml == pytest.approx(chest.infection_ml, rel=WITHIN)
    assert q.left
    assert q.left.infection_percent < 1.5  # vessels; 0.25 to 0.7 % in whole patients without infection
    assert q.warnings == ()
    marked, truth = result.mask > 0, chest.infection
    assert 2 * (marked & truth).sum() / (marked.sum() + truth.sum()) > 0.85
