"""``threads`` reaches every library, and what belongs to a host program is as it was afterwards."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from infnet_runtime import CtVolume, Intensity, ModelError, Segmenter
from infnet_runtime.backends import open_session
from infnet_runtime.backends.session import Outputs
from infnet_runtime.cpu import usable_cores, using_threads
from infnet_runtime.io.nifti import write_nifti
from infnet_runtime.scan.phantom import chest_phantom
from tiny_models import mid_grey_detector

ASLEEP = 1  # ONNX Runtime starts one when it is imported, whatever it is told
THREADS = 3  # neither 1 nor what this machine is likely to have


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return mid_grey_detector(tmp_path / "model.onnx")


@pytest.fixture(autouse=True)
def opencv_of_a_host() -> object:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    yield
    cv2.setNumThreads(before)


class Watched:
    """A session that notes what the libraries around it are set to while it runs."""

    def __init__(self, model: Path) -> None:
        self._session = open_session(model, device="cpu", threads=1)
        self.manifest, self.backend = self._session.manifest, self._session.backend
        self.device, self.model_sha256 = "cpu", self._session.model_sha256
        self.precision = self._session.precision
        self.batch_size, self.coarse = 2, None
        self.seen: list[tuple[int, int]] = []

    def run(self, batch: np.ndarray) -> Outputs:
        self.seen.append((cv2.getNumThreads(), usable_cores()))
        return self._session.run(batch)

    def close(self) -> None:
        self._session.close()


def scan() -> CtVolume:
    phantom = chest_phantom()
    return CtVolume(phantom.hu, phantom.affine, Intensity.HU, "phantom")


def test_a_segmenter_holds_opencv_while_it_works_and_gives_it_back(model: Path) -> None:
    session = Watched(model)
    Segmenter(session, threads=THREADS).predict(scan())  # type: ignore[arg-type]
    assert set(session.seen) == {(THREADS, THREADS)}
    assert (cv2.getNumThreads(), usable_cores()) == (2, usable_cores())


def test_without_a_number_nothing_of_the_host_is_touched(model: Path) -> None:
    session = Watched(model)
    Segmenter(session).predict(scan())  # type: ignore[arg-type]
    assert {opencv for opencv, _ in session.seen} == {2}


def test_a_failure_gives_opencv_back_too(model: Path) -> None:
    session = Watched(model)
    session.close()
    with pytest.raises(ModelError, match="INF-4080.*the session is closed"):
        Segmenter(session, threads=THREADS).predict(scan())  # type: ignore[arg-type]
    assert cv2.getNumThreads() == 2


@pytest.mark.parametrize(("other_asks", "both"), [(5, THREADS), (1, 1)])
def test_of_several_the_fewest_counts_and_the_last_gives_opencv_back(other_asks: int, both: int) -> None:
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        with using_threads(other_asks):
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=other)
    with using_threads(THREADS):
        thread.start()
        assert inside.wait(10)
        assert usable_cores() == THREADS, "the other thread has its own number"
        assert cv2.getNumThreads() == both
    assert cv2.getNumThreads() == other_asks
    done.set()
    thread.join()
    assert cv2.getNumThreads() == 2


def test_what_a_host_sets_meanwhile_stays() -> None:
    with using_threads(THREADS):
        cv2.setNumThreads(4)
        with using_threads(1):
            assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == 4


COMMAND = (sys.executable, "-m", "infnet_runtime.cli")
COUNT = """
import atexit, os, pathlib, sys
def told():
    import cv2
    alive = len(list(pathlib.Path("/proc/self/task").iterdir()))
    print("THREADS", alive, cv2.getNumThreads(), os.environ.get("OPENBLAS_NUM_THREADS"), file=sys.stderr)
atexit.register(told)
"""


@pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="the threads of a process are counted in /proc"
)
def test_a_command_held_to_one_thread_has_one(model: Path, tmp_path: Path) -> None:
    """And without the option it has more, where there are more cores: the count can see them."""
    (tmp_path / "sitecustomize.py").write_text(COUNT)
    phantom = chest_phantom()
    write_nifti(tmp_path / "scan.nii.gz", phantom.hu, phantom.affine)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")},
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }

    def counted(*options: str) -> list[str]:
        done = subprocess.run(
            [*COMMAND, tmp_path / "scan.nii.gz", "--model", model, "-o", tmp_path / "out", *options],
            capture_output=True,
            text=True,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr.splitlines()[-1].split()[1:]

    alive, opencv, pool = counted("--threads", "1")
    assert int(alive) <= 1 + ASLEEP
    assert (opencv, pool) == ("1", "1")
    if usable_cores() > 1:
        alive, _, pool = counted()
        assert int(alive) > 1 + ASLEEP
        assert pool == "None"
