"""Coarse logits of the shipped models on real scans: the mask is that of everything enlarged, to the bit."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from infnet_export.graph.coarse_logits import with_coarse_logits
from infnet_export.graph.onnx_file import model_bytes
from infnet_runtime.backends import open_session
from infnet_runtime.backends.session import infection_logits, infection_probability
from infnet_runtime.io import open_scan
from infnet_runtime.metrics.parity import ENLARGED_TOLERANCE
from infnet_runtime.model.shipped import default_model
from infnet_runtime.model.specs import PreprocessSpec
from infnet_runtime.segment.region import lungs_of, region
from infnet_runtime.slices.enlarge import enlarged, infected_from_logits
from infnet_runtime.slices.neighbours import volume_to_network
from infnet_runtime.slices.preprocess import from_network

pytestmark = [pytest.mark.data, pytest.mark.slow]

SCANS = (
    "radiopaedia-covid-volumes/radiopaedia_7_85703_0_ct.nii.gz",
    "healthy-ct-volumes/LIDC-IDRI-0002_low_ct.nii.gz",
)
SLICES = 4


def slices_of(path: Path, spec: PreprocessSpec) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
    """Network input of some slices of a scan, and the size of their box."""
    scan = open_scan(path).volume
    looked_at = region(lungs_of(scan, None)[0], scan.grid, spec.crop_margin_mm)
    box, spacing_mm = (looked_at.rows, looked_at.columns), scan.lps_spacing_mm[0]
    for k in looked_at.slices[:: max(1, len(looked_at.slices) // SLICES)][:SLICES]:
        batch = volume_to_network(scan.to_lps(), [k], box, scan.intensity, spec, spacing_mm=spacing_mm)
        yield batch, looked_at.box_shape


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_the_mask_is_that_of_everything_enlarged(
    int8: bool, backend: str, data_root: Path, tmp_path: Path
) -> None:
    pytest.importorskip(backend)
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes(with_coarse_logits(onnx.load(default_model(int8=int8)))))
    options = {"backend": backend, "precision": "f32", "device": "cpu", "threads": 1, "cache": False}
    marked = 0
    with open_session(path, **options) as full, open_session(path, coarse=True, **options) as session:
        coarse, output = session.coarse, session.manifest.output
        assert coarse
        for scan in SCANS:
            for batch, box in slices_of(data_root / scan, session.manifest.preprocess):
                logits = infection_logits(session, batch, coarse)
                own = enlarged(logits, coarse.factor)
                expected = from_network(own, *box, temperature=output.temperature) >= output.threshold
                found = infected_from_logits(
                    logits, coarse.factor, *box, threshold=output.threshold, temperature=output.temperature
                )
                assert np.array_equal(found, expected)
                distance = np.abs(own - infection_probability(full, batch))
                assert float(distance.max()) <= ENLARGED_TOLERANCE.largest
                marked += int(np.count_nonzero(found))
    assert marked, "nothing was compared"
