"""What the tests of this folder do on a GPU, as far as that can be tried without one."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from fake_cuda import fake_driver, run_with
from gpu_places import _with_a_node_for_the_cpu, built
from infnet_runtime.backends.tensorrt.sidecar import read_engine
from tiny_models import SIZE, mid_grey_detector

PROGRAM = """
import ctypes, sys
sys.path.insert(0, sys.argv[1])
from driver_memory import DriverMemory

driver = ctypes.CDLL("libcuda.so.1")
driver.limit(ctypes.c_size_t(5_000_000))
memory = DriverMemory()
print(memory.free_bytes())
with memory.full():
    print(memory.free_bytes() < 1 << 16)
print(memory.free_bytes(), driver.pushed())
memory.close()
print(driver.live())
"""


def test_memory_by_the_driver(tmp_path: Path) -> None:
    driver = fake_driver(tmp_path)
    said = run_with(driver, PROGRAM, str(Path(__file__).parents[1])).split()
    assert said == ["5000000", "True", "5000000", "0", "0"]


def test_the_engine_can_be_built(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    model = mid_grey_detector(tmp_path / "model.onnx", gain=20.0)
    sidecar = read_engine(built("tensorrt_rtx", model, tmp_path / "model.plan"))[1]
    assert sidecar.precision == "float32"
    assert str(sidecar.batch) == "1:4:8"


def test_the_model_that_takes_no_graph_gives_the_same(tmp_path: Path) -> None:
    model = mid_grey_detector(tmp_path / "model.onnx", gain=20.0)
    other = _with_a_node_for_the_cpu(model, tmp_path / "other.onnx")
    batch = np.random.default_rng(0).random((2, 3, SIZE, SIZE), np.float32)
    straight, around = (
        onnxruntime.InferenceSession(p.read_bytes(), providers=["CPUExecutionProvider"]).run(
            None, {"slices": batch}
        )[0]
        for p in (model, other)
    )
    np.testing.assert_allclose(around, straight, rtol=0, atol=1e-5)
