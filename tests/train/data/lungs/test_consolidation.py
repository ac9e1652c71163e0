"""Dense lungs: only lung changes, only towards tissue, and whole lungs do get white."""

import numpy as np

from infnet_train.data.lungs.consolidation import consolidate, smooth_noise

LUNG_HU = -850.0


def lungs_and_hu() -> tuple[np.ndarray, np.ndarray]:
    lungs = np.zeros((3, 2, 64, 64), np.float32)
    lungs[:, 0, 10:54, 6:28], lungs[:, 1, 10:54, 36:58] = 1, 1
    hu = np.where(lungs.sum(axis=1) > 0, LUNG_HU, 40.0).astype(np.float32)
    return lungs, hu


def test_nothing_but_lung_changes_and_none_gets_darker() -> None:
    for seed in range(40):
        lungs, hu = lungs_and_hu()
        before = hu.copy()
        consolidate(np.random.default_rng(seed), hu, lungs)
        outside = lungs.sum(axis=1) == 0
        assert np.array_equal(hu[outside], before[outside])
        assert (hu >= before - 1e-3).all()
        assert hu.max() < 400


def test_whole_lungs_get_white_in_all_three_planes() -> None:
    white = 0
    for seed in range(60):
        lungs, hu = lungs_and_hu()
        consolidate(np.random.default_rng(seed), hu, lungs)
        for side in range(2):
            inside = hu[:, lungs[1, side] > 0]
            white += bool(np.median(inside) > -150 and (np.quantile(inside, 0.2, axis=1) > -400).all())
    assert white >= 10


def test_partly_never_makes_a_whole_lung_white() -> None:
    for seed in range(40):
        lungs, hu = lungs_and_hu()
        consolidate(np.random.default_rng(seed), hu, lungs, partly=True)
        assert (hu[lungs.sum(axis=1) > 0] < -600).mean() > 0.02


def test_without_lung_nothing_happens() -> None:
    hu = np.zeros((3, 16, 16), np.float32)
    consolidate(np.random.default_rng(0), hu, np.zeros((3, 2, 16, 16), np.float32))
    assert not hu.any()


def test_noise_is_smooth_and_of_unit_size() -> None:
    noise = smooth_noise(np.random.default_rng(0), (80, 60), 6)
    assert noise.shape == (80, 60)
    assert abs(float(noise.std()) - 1) < 0.01
    assert np.abs(np.diff(noise, axis=0)).max() < 1
