"""A model belongs to the process that loaded it: no process forked from that one hangs on it."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from infnet_runtime import BackendError, load
from infnet_runtime.backends.cuda.owner import OwnerThread
from infnet_runtime.home import Home
from tiny_models import mid_grey_detector

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
CALM_S = 60  # a child that hangs is ended after this

# A parent that has computed with threads; a child that does something with what it got, and a time limit.
PROGRAM = """
import logging, os, signal, sys, threading
import numpy as np
from infnet_runtime import CtVolume, Intensity, load
from infnet_runtime.scan.phantom import chest_phantom

model, backend = sys.argv[1:]
phantom = chest_phantom()
scan = CtVolume(phantom.hu, phantom.affine, Intensity.HU, "phantom")

def opened():
    return load(model, backend=backend, device="cpu", threads=2, cache=False)

def child(work):
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    signal.alarm({calm})
    work()

def refused():
    try:
        segmenter.predict(scan)
    except Exception as error:
        print(type(error).__name__, error, flush=True)

def same(other):
    assert np.array_equal(other.predict(scan).mask, expected)
"""


def run(body: str, model: Path, backend: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{calm}", str(CALM_S)) + body, str(model), backend],
        capture_output=True,
        text=True,
        timeout=4 * CALM_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


BACKENDS = ("openvino", "onnxruntime")

USED = """
segmenter = opened()
expected = segmenter.predict(scan).mask

def work():
    refused()
    segmenter.close()       # waits for no thread of the parent
    with opened() as own:
        same(own)
    os._exit(7)

logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
print(child(work))
same(segmenter)             # the parent goes on
"""


@forks
@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_forked_child_is_told_and_loads_its_own(backend: str, tmp_path: Path) -> None:
    told, *warned, code = run(USED, mid_grey_detector(tmp_path / "model.onnx"), backend)
    assert told.startswith("BackendError [INF-5060] the model was loaded in process")
    assert "Call load() in each process after the fork" in told
    # Only OpenVINO goes on without the threads of its pool, and so slowly.
    assert [line.partition(":")[0] for line in warned] == [
        "WARNING OpenVINO computes with one thread and not with 2" for _ in range(backend == "openvino")
    ]
    assert code == "7"


FREED = """
segmenter = opened()
expected = segmenter.predict(scan).mask

def work():
    global segmenter
    del segmenter
    os._exit(7)

print(child(work))
"""


@forks
@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_forked_child_may_drop_what_the_parent_loaded(backend: str, tmp_path: Path) -> None:
    assert run(FREED, mid_grey_detector(tmp_path / "model.onnx"), backend) == ["7"]


IN_FLIGHT = """
segmenter = opened()
expected = segmenter.predict(scan).mask
stop = threading.Event()

def busy():
    while not stop.is_set():
        same(segmenter)

thread = threading.Thread(target=busy)
thread.start()

def work():
    refused()
    os._exit(7)

print(child(work))
stop.set()
thread.join()
"""


@forks
@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_child_forked_in_the_middle_of_a_run_is_told_too(backend: str, tmp_path: Path) -> None:
    """The locks of the run are held for ever there."""
    told, code = run(IN_FLIGHT, mid_grey_detector(tmp_path / "model.onnx"), backend)
    assert "INF-5060" in told
    assert code == "7"


SPAWNED = """
import multiprocessing, sys
from infnet_runtime import CtVolume, InputError, Intensity, load
from infnet_runtime.scan.phantom import chest_phantom

segmenter = None

def start(model):
    global segmenter
    segmenter = load(model, device="cpu", threads=1, cache=False)

def infected(slices):
    phantom = chest_phantom((slices, 72, 96))
    scan = CtVolume(phantom.hu, phantom.affine, Intensity.HU, "phantom")
    return int(segmenter.predict(scan, batch_size=slices - 19).mask.sum())

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2, initializer=start, initargs=sys.argv[1:]) as pool:
        print(*pool.map(infected, [20, 24]))
        try:
            pool.map(infected, [19])  # a batch of 0
        except InputError as error:
            print(error)
"""


@pytest.mark.slow
def test_a_pool_of_spawned_processes_loads_its_own_and_passes_errors_on(tmp_path: Path) -> None:
    (tmp_path / "pool.py").write_text(SPAWNED)
    model = mid_grey_detector(tmp_path / "model.onnx")
    done = subprocess.run(
        [sys.executable, tmp_path / "pool.py", model], capture_output=True, text=True, timeout=2 * CALM_S
    )
    assert done.returncode == 0, done.stderr
    voxels, told = done.stdout.splitlines()
    assert all(int(n) > 0 for n in voxels.split())
    assert told.startswith("[INF-3072]")


def test_a_loaded_model_is_not_handed_to_a_process(tmp_path: Path) -> None:
    with load(mid_grey_detector(tmp_path / "model.onnx"), device="cpu", threads=1, cache=False) as segmenter:
        with pytest.raises(BackendError, match="hand over the path of the model file") as caught:
            pickle.dumps(segmenter)
        assert caught.value.code == 5061


class Owner:
    pass


def test_the_thread_of_a_gpu_is_not_waited_for_in_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    owner, done = OwnerThread(Owner()), []
    owner.run(lambda: done.append("run"))
    with monkeypatch.context() as there:
        there.setattr(os, "getpid", lambda: -1)
        with pytest.raises(BackendError, match="used in -1"):
            owner.run(lambda: done.append("run in the child"))
        owner.close(lambda: done.append("freed in the child"))
    owner.close(lambda: done.append("freed"))
    assert done == ["run", "freed"]


def test_an_error_comes_through_a_pool_of_processes() -> None:
    sent = pickle.loads(pickle.dumps(BackendError("what was found", code=5060)))
    assert (type(sent), str(sent), sent.code) == (BackendError, "[INF-5060] what was found", 5060)


def test_who_loaded_is_home() -> None:
    home = Home(Owner())
    home.check()
    assert home.is_here
