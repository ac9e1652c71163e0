"""Ground glass and consolidation by side: counted slice by slice, and None with its reason."""

import numpy as np
import pytest

from infnet_runtime.errors import InputError
from infnet_runtime.measure.burden import quantify
from infnet_runtime.measure.classes import with_classes
from infnet_runtime.measure.result import ClassBurden, Classes
from infnet_runtime.model.specs import CLASS_OUTPUT
from quantified import why_missing


def told(classes: np.ndarray, lungs: np.ndarray, voxel_ml: float | None) -> Classes:
    q = quantify((classes > 0).astype(np.uint8), lungs, voxel_ml)
    found = with_classes(q, classes, lungs, voxel_ml, labels=CLASS_OUTPUT.labels)
    assert found.classes
    assert found.to_dict()["classes"]["source"] == "model"
    assert "classes" not in q.to_dict()
    return found.classes


@pytest.mark.parametrize("seed", range(3))
def test_counts_equal_those_of_whole_arrays(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lungs = rng.integers(0, 3, (9, 20, 30)).astype(np.uint8)
    classes = (rng.integers(0, 3, lungs.shape) * (lungs > 0)).astype(np.uint8)
    classes[4] = 0
    found = told(classes, lungs, 0.5)
    for burden, region in ((found.both, lungs > 0), (found.right, lungs == 1), (found.left, lungs == 2)):
        assert burden
        ground_glass, consolidation = ((region & (classes == k)).sum() for k in (1, 2))
        assert (burden.ggo_ml, burden.consolidation_ml) == (ground_glass / 2, consolidation / 2)
        assert burden.ggo_percent_of_infection == pytest.approx(
            100 * ground_glass / (ground_glass + consolidation)
        )
    assert found.labels == CLASS_OUTPUT.labels
    assert found.reasons == {}


def test_what_cannot_be_given_has_its_reason() -> None:
    lungs = np.zeros((2, 10, 20), np.uint8)
    lungs[:, :, 2:8], lungs[:, :, 12:18] = 1, 2
    classes = np.zeros_like(lungs)
    classes[0, 2:4, 3:5] = 2
    found = told(classes, lungs, 1.0)
    assert found.right == ClassBurden(0.0, 4.0, 0.0, 100.0)
    assert found.left == ClassBurden(0.0, 0.0, None, None)
    shares = ("ggo_percent_of_infection", "consolidation_percent_of_infection")
    assert found.reasons == {f"left.{share}": "no_infection" for share in shares}

    found = told(classes, lungs, None)
    assert found.both == ClassBurden(None, None, 0.0, 100.0)
    assert found.reasons["both.ggo_ml"] == found.reasons["right.consolidation_ml"] == "no_voxel_size"

    unknown = np.where(lungs > 0, 3, 0).astype(np.uint8)
    found = told(classes, unknown, 1.0)
    assert found.both == ClassBurden(0.0, 4.0, 0.0, 100.0)
    assert found.right is found.left is None
    assert found.reasons == {"right": "side_unknown", "left": "side_unknown"}

    found = told(classes * 0, lungs * 0, 1.0)
    assert found.both is found.right is found.left is None
    assert found.reasons == dict.fromkeys(("both", "right", "left"), "no_lung")


def test_a_lung_outside_the_picture_has_no_share() -> None:
    lungs = np.zeros((40, 30, 12), np.uint8)
    lungs[:, 5:25, 3:] = 1  # to the edge behind which the other lung would lie
    classes = np.zeros_like(lungs)
    classes[3, 10, 5] = 1
    q = quantify((classes > 0).astype(np.uint8), lungs, 1.0)
    found = told(classes, lungs, 1.0)
    assert why_missing(q) == {"left.infection_percent": "outside_the_picture"}
    assert found.left == ClassBurden(0.0, 0.0, None, None)
    assert set(found.reasons.values()) == {"outside_the_picture"}


def test_another_grid_is_refused() -> None:
    lungs = np.ones((2, 3, 4), np.uint8)
    q = quantify(lungs, lungs, 1.0)
    with pytest.raises(InputError, match=r"INF-3070.*the classes are \(2, 4, 3\), the lungs are \(2, 3, 4\)"):
        with_classes(q, lungs.transpose(0, 2, 1), lungs, 1.0, labels={})
