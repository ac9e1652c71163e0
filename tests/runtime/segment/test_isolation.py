"""Beside a host with pools of its own, and beside other models: ``threads`` bounds, and nothing is shared."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from infnet_runtime import CtVolume, Intensity, ModelError, Segmenter, load
from infnet_runtime.scan.phantom import chest_phantom
from tiny_models import mid_grey_detector

pytestmark = pytest.mark.slow  # interpreters of their own, backends that compile
BACKENDS = ("openvino", "onnxruntime")

# Threads that a library starts for itself, whatever it is told; they sleep while a scan is segmented.
# OpenVINO starts one for each model, and the lung network is the second.
SERVICE = {"openvino": 4, "onnxruntime": 1}

HOST = """
import os, sys, threading, time
import numpy as np
from infnet_runtime import CtVolume, Intensity, load
from infnet_runtime.scan.phantom import chest_phantom

phantom = chest_phantom((12, 256, 256), (20.0, 1.4, 1.4))
scan = CtVolume(phantom.hu, phantom.affine, Intensity.HU, "phantom")
"""

COUNTED = """
model, backend, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])

def tasks():
    return set(os.listdir("/proc/self/task"))

before, most, done = tasks(), 0, threading.Event()

def watch():
    global most
    while not done.is_set():
        most = max(most, len(tasks() - before) - 1)  # without this one
        time.sleep(0.0005)

watcher = threading.Thread(target=watch)
watcher.start()
with load(model, backend=backend, device="cpu", threads=threads, cache=False) as segmenter:
    for _ in range(5):
        segmenter.predict(scan)
    done.set()
    watcher.join()
print(most)
"""


def run(program: str, *arguments: object, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", HOST + program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def threads_at_most(model: Path, backend: str, n: int, bound: int) -> int:
    """Threads at one time. On a busy machine one may end late and be counted beside the next: again then."""
    for _ in range(3):
        most = int(run(COUNTED, model, backend, n)[0])
        if most <= bound:
            break
    return most


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_bounds_every_pool(backend: str, tmp_path: Path) -> None:
    """With more than one: a worker less in the backend and in OpenCV, and two stages beside the network."""
    model = mid_grey_detector(tmp_path / "model.onnx")
    bounds = {1: SERVICE[backend]} | {n: SERVICE[backend] + 2 * (n - 1) + 2 for n in (2, 3)}
    most = {n: threads_at_most(model, backend, n, bound) for n, bound in bounds.items()}
    assert all(most[n] <= bound for n, bound in bounds.items()), most
    assert most[1] < most[2] <= most[3], "the count can see a pool"


OPENMP = """
#include <omp.h>
int at_most(void) { return omp_get_max_threads(); }
int used(double *values, int n) {
    int threads = 0;
    #pragma omp parallel
    {
        #pragma omp single
        threads = omp_get_num_threads();
        #pragma omp for
        for (int i = 0; i < n; i++)
            for (int k = 0; k < 200; k++) values[i] = values[i] * 0.999 + i;
    }
    return threads;
}
"""

BESIDE = """
import ctypes
import cv2

model, backend, library = sys.argv[1:]
openmp = ctypes.CDLL(library)
rng = np.random.default_rng(0)
picture, matrix = rng.random((1500, 1500), np.float32), rng.random((300, 300))
cv2.setNumThreads(3)

def work():
    values = np.zeros(20000)
    threads = openmp.used(values.ctypes.data_as(ctypes.c_void_p), len(values))
    blurred = cv2.GaussianBlur(cv2.resize(picture, (1111, 999)), (5, 5), 1.5)
    return threads, values.tobytes(), blurred.tobytes(), (matrix @ matrix).tobytes()

expected, turns, done = work(), 0, threading.Event()

def host():
    global turns
    while not done.is_set():
        assert work() == expected
        turns += 1

with load(model, backend=backend, device="cpu", threads=1, cache=False) as segmenter:
    alone = segmenter.predict(scan)
    thread = threading.Thread(target=host)
    thread.start()
    for _ in range(10):
        beside = segmenter.predict(scan)
        assert np.array_equal(beside.mask, alone.mask)
        assert beside.quantification == alone.quantification
    done.set()
    thread.join()
assert work() == expected
print(turns > 0, expected[0], openmp.at_most(), cv2.getNumThreads())
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no compiler for a host with OpenMP")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_host_with_its_own_openmp_opencv_and_numpy(backend: str, tmp_path: Path) -> None:
    (tmp_path / "host.c").write_text(OPENMP)
    library = tmp_path / "host.so"
    command = ["cc", "-O2", "-fopenmp", "-shared", "-fPIC", str(tmp_path / "host.c"), "-o", str(library)]
    subprocess.run(command, check=True)
    model = mid_grey_detector(tmp_path / "model.onnx")
    # The host's thread ran, with three threads of OpenMP before, beside and after, and has its OpenCV back.
    assert run(BESIDE, model, backend, library, OMP_NUM_THREADS="3") == ["True 3 3 3"]


def test_models_that_differ_in_everything_share_nothing(tmp_path: Path) -> None:
    """Two files, two backends, two numbers of threads: results as alone, and one goes without the others."""
    wide = mid_grey_detector(tmp_path / "wide.onnx")
    narrow = mid_grey_detector(tmp_path / "narrow.onnx", gain=20.0, scale=0.6)
    phantom = chest_phantom()
    scan = CtVolume(phantom.hu, phantom.affine, Intensity.HU, "phantom")

    def numbers(model: Segmenter) -> tuple[bytes, bytes, object, str]:
        found = model.predict(scan, keep_probability=True)
        assert found.probability is not None
        by = f"{found.provenance.backend} {found.provenance.model_sha256}"
        return found.mask.tobytes(), found.probability.tobytes(), found.quantification, by

    models = [
        load(path, device="cpu", backend=backend, threads=threads, cache=False)
        for path, backend, threads in (
            (wide, "openvino", 1),
            (narrow, "openvino", 2),
            (narrow, "onnxruntime", 1),
            (wide, "onnxruntime", 2),
        )
    ]
    alone = [numbers(model) for model in models]
    assert len({by for *_, by in alone}) == len(models)
    assert len({probability for _, probability, *_ in alone}) >= 2
    with ThreadPoolExecutor(2 * len(models)) as pool:
        for _ in range(3):
            assert list(pool.map(numbers, models * 2)) == alone * 2
        for k, model in enumerate(models):
            left = [pool.submit(numbers, other) for other in models[k + 1 :]]
            model.close()
            assert [job.result() for job in left] == alone[k + 1 :]
    with pytest.raises(ModelError, match="closed"):
        numbers(models[0])


def test_the_same_model_ten_times_at_once(tmp_path: Path) -> None:
    path = mid_grey_detector(tmp_path / "model.onnx")
    phantom = chest_phantom()
    scan = CtVolume(phantom.hu, phantom.affine, Intensity.HU, "phantom")

    def loaded(k: int) -> bytes:
        with load(path, device="cpu", backend=BACKENDS[k % 2], threads=1 + k % 3, cache=False) as model:
            return model.predict(scan).mask.tobytes()

    with ThreadPoolExecutor(10) as pool:
        masks = list(pool.map(loaded, range(10)))
    assert len(set(masks)) == 1
    assert np.frombuffer(masks[0], np.uint8).any()
