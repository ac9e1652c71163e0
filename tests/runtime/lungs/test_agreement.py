"""Two lung masks of one scan, compared in both directions."""

import numpy as np
import numpy.typing as npt

from infnet_runtime.lungs.agreement import LungDisagreement, disagreement

ByteArray = npt.NDArray[np.uint8]


def masks() -> tuple[ByteArray, ByteArray]:
    lungs = np.zeros((4, 20, 20), np.uint8)
    lungs[:, 5:15, 2:8], lungs[:, 5:15, 12:18] = 1, 2
    return lungs, lungs.copy()


def test_equal_masks_do_not_differ() -> None:
    assert disagreement(*masks()) == LungDisagreement(0.0, 0.0, 0.0)


def test_dense_lung_is_what_only_the_network_finds() -> None:
    network, threshold = masks()
    threshold[threshold == 2] = 0
    assert disagreement(network, threshold) == LungDisagreement(0.0, 0.5, 0.0)


def test_bowel_gas_is_what_only_thresholds_find() -> None:
    network, threshold = masks()
    threshold[0, 0, :12] = 1
    assert disagreement(network, threshold) == LungDisagreement(12 / 480, 0.0, 0.0)


def test_exchanged_sides_are_named() -> None:
    network, threshold = masks()
    assert disagreement(network, np.where(threshold > 0, 3 - threshold, 0).astype(np.uint8)) == (
        LungDisagreement(0.0, 0.0, 1.0)
    )


def test_scans_without_lung() -> None:
    network, threshold = masks()
    assert disagreement(np.zeros_like(network), np.zeros_like(network)) is None
    assert disagreement(np.zeros_like(network), threshold) == LungDisagreement(1.0, 0.0, 0.0)
    assert disagreement(network, np.zeros_like(network)) == LungDisagreement(0.0, 1.0, 0.0)
