"""The driver check, against small libraries that answer as the driver does."""

import shutil
import subprocess
from pathlib import Path

import pytest

from fake_cuda import fake_driver, run_with
from infnet_runtime.backends.cuda.driver import Gpu, find_gpu
from infnet_runtime.errors import BackendError

SOURCE = """
#include <string.h>
int cuInit(unsigned f) {{ return {init}; }}
int cuDeviceGetCount(int *n) {{ *n = {count}; return 0; }}
int cuDriverGetVersion(int *v) {{ *v = 13010; return 0; }}
int cuDeviceGet(int *d, int i) {{ *d = i; return 0; }}
int cuDeviceGetName(char *s, int n, int d) {{ strncpy(s, "NVIDIA Test", n); return 0; }}
int cuDeviceGetAttribute(int *v, int a, int d) {{ *v = a == 75 ? 12 : a == 76 ? 1 : -1; return 0; }}
"""


def driver(folder: Path, *, init: int = 0, count: int = 1) -> str:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc to make a driver with")
    source, library = folder / "driver.c", folder / "libdriver.so"
    source.write_text(SOURCE.format(init=init, count=count))
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return str(library)


def test_gpu_is_described(tmp_path: Path) -> None:
    found = find_gpu(library=driver(tmp_path))
    assert found == Gpu(name="NVIDIA Test", capability="12.1", driver_cuda="13.1")


@pytest.mark.parametrize(
    ("init", "count", "message"),
    [
        (100, 1, "[INF-5021] the NVIDIA driver answers cuInit with error 100; check nvidia-smi"),
        (803, 1, "[INF-5021] the NVIDIA driver answers cuInit with error 803"),
        (0, 0, "[INF-5021] the NVIDIA driver sees no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES"),
    ],
)
def test_driver_without_a_gpu(tmp_path: Path, init: int, count: int, message: str) -> None:
    with pytest.raises(BackendError) as caught:
        find_gpu(library=driver(tmp_path, init=init, count=count))
    assert str(caught.value).startswith(message)


def test_a_gpu_by_its_number(tmp_path: Path) -> None:
    library = driver(tmp_path, count=2)
    assert find_gpu(1, library=library).name == "NVIDIA Test"
    with pytest.raises(
        BackendError, match=r"\[INF-5013\] device 'cuda:2' was asked for, the NVIDIA driver sees 2 GPU"
    ):
        find_gpu(2, library=library)


GRAPHS = """
import ctypes
from infnet_runtime.backends.cuda.driver import DriverError, DriverGraphs

cu = ctypes.CDLL("libcuda.so.1")
context, memory, stream = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
assert cu.cuInit(0) == cu.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
graphs = DriverGraphs()
try:
    graphs.capture(0, print)
except DriverError as error:
    print(error)
assert cu.cuCtxPushCurrent_v2(context) == 0
assert cu.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(4)) == 0
assert cu.cuStreamCreate(ctypes.byref(stream), 1) == 0
before, host = cu.live(), ctypes.create_string_buffer(b"one", 4)

def work():
    assert cu.cuMemcpyHtoDAsync_v2(memory, host, ctypes.c_size_t(4), stream) == 0

def fails():
    raise ZeroDivisionError("the first error")

graph = graphs.capture(stream.value, work)
for text in (b"two", b"six"):
    host.value = text
    graphs.launch(graph, stream.value)
    print(ctypes.string_at(memory))
try:
    graphs.capture(stream.value, fails)
except ZeroDivisionError as error:
    print(error)
graphs.launch(graphs.capture(stream.value, work), stream.value)
graphs.close()
print(cu.live() - before)
"""


def test_graphs_without_a_package(tmp_path: Path) -> None:
    said = run_with(fake_driver(tmp_path), GRAPHS).splitlines()
    assert said == [
        "cuStreamBeginCapture_v2: CUDA error 201",
        "b'two'",
        "b'six'",
        "the first error",
        "0",
    ]


def test_no_driver() -> None:
    with pytest.raises(
        BackendError, match=r"\[INF-5021\] there is no NVIDIA driver here \(libnothing\.so\.1 "
    ):
        find_gpu(library="libnothing.so.1")
