"""Memory of a GPU: the packages for it against a driver without a GPU, and PyCUDA's contract without PyCUDA.

The real packages run where they are installed. The stand-in for PyCUDA takes exactly the calls that PyCUDA
has; where PyCUDA is installed its names are compared.
"""

import ctypes
import inspect
import sys
import threading
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_cuda import fake_driver, run_with
from infnet_runtime.backends.cuda.open import open_device
from infnet_runtime.backends.cuda.owner import OwnerThread
from infnet_runtime.backends.cuda.pycuda import PyCudaDevice
from infnet_runtime.errors import BackendError
from plain_device import PlainDevice, PlainGpu

# What a session does with a device, in a thread of its own.
PROGRAM = """
import ctypes, sys, threading
import numpy as np
from infnet_runtime.backends.cuda.owner import OwnerThread
from infnet_runtime.backends.cuda.{module} import {name} as Kind

def use(device):
    host, back = device.pinned((2, 3), np.float32), device.pinned((2, 3), np.float16)
    assert host.shape == (2, 3) and host.dtype == np.float32 and back.dtype == np.float16
    back = device.pinned((2, 3), np.float32)
    address, stream = device.memory(host.nbytes), device.stream()
    assert isinstance(address, int) and isinstance(stream, int)
    assert address % 256 == 0

    def work():
        device.copy_in(address, host, stream)
        device.copy_out(back[:1], address, stream)

    host[:], back[:] = 1, 0
    work()
    device.synchronize(stream)
    assert (back == [[1] * 3, [0] * 3]).all()
    graph = device.capture(stream, work)
    for turn in (2, 3):
        host[:] = turn
        device.launch(graph, stream)
        device.synchronize(stream)
        assert (back[:1] == turn).all()

    def fails():
        raise ZeroDivisionError("the first error")

    try:
        device.capture(stream, fails)
    except ZeroDivisionError as error:
        print(error)
    device.launch(device.capture(stream, work), stream)  # the stream records no more
    device.synchronize(stream)
    try:
        device.memory(1 << 40)
    except Exception as error:
        print("refused:", error)

driver = ctypes.CDLL("libcuda.so.1")
owner = OwnerThread()
device = owner.open(lambda: Kind(1))
owner.run(lambda: use(device))
print(device.name)
print("pushed elsewhere:", driver.pushed())

def close():
    device.close()
    device.close()
    print("still pushed:", driver.pushed())

owner.close(close)
print("left:", driver.live())
"""

# The whole TensorRT backend on the package's memory. The stand-in for the engine computes at once and cannot
# be recorded, so there are no graphs.
BACKEND_PROGRAM = """
import ctypes, gc, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
import fake_tensorrt as fake
from infnet_runtime.backends.cuda.{module} import {name} as Kind
from infnet_runtime.backends.tensorrt.session import TensorRtSession

class Here:
    def at(self, address, shape, dtype):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        block = (ctypes.c_ubyte * size).from_address(address)
        return np.frombuffer(memoryview(block), np.uint8).view(dtype).reshape(shape)

    def queue(self, stream, work):
        work()

class WithoutGraphs(Kind):
    def capture(self, stream, work):
        raise RuntimeError("not here")

gc.disable()
described = fake.sidecar()
path = fake.write_engine(Path(sys.argv[2]) / "m.plan", described)
engine = fake.Plan(described, device=Here())
session = TensorRtSession(
    path, load=fake.fake_tensorrt(engine), gpu=lambda index: fake.GPU, device=WithoutGraphs
)
for n in (1, 9, 4):
    batch = np.random.default_rng(n).random((n, 3, fake.SIZE, fake.SIZE), np.float32)
    assert np.array_equal(session.run(batch)["infection_probability"], fake.expected(batch)), n
session.close()
print(session.backend)
print("left:", ctypes.CDLL("libcuda.so.1").live())
"""

KINDS = {
    "pycuda": ("pycuda", "PyCudaDevice"),
    "cuda.bindings": ("bindings", "BindingsDevice"),
}


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_driver(tmp_path_factory.mktemp("driver"))


def is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("package", KINDS)
def test_the_real_package_on_a_driver_without_a_gpu(package: str, driver: Path) -> None:
    if not is_installed(package):
        pytest.skip(f"{package} is not installed")
    module, name = KINDS[package]
    said = run_with(driver, PROGRAM.format(module=module, name=name)).splitlines()
    assert said[0] == "the first error"
    assert said[1].startswith("refused: ")
    assert said[2].startswith(("pycuda 20", "cuda-bindings 1"))
    assert said[3:] == ["pushed elsewhere: 0", "still pushed: 0", "left: 0"]


@pytest.mark.parametrize("package", KINDS)
def test_the_backend_on_the_real_package_gives_everything_back(
    package: str, driver: Path, tmp_path: Path
) -> None:
    if not is_installed(package):
        pytest.skip(f"{package} is not installed")
    module, name = KINDS[package]
    tests = str(Path(__file__).parents[3])
    said = run_with(driver, BACKEND_PROGRAM.format(module=module, name=name), tests, str(tmp_path))
    assert said.splitlines()[0].startswith(f"tensorrt 11.4.0.106 ({package.replace('.', '-')} ")
    assert said.splitlines()[1] == "left: 0"


@pytest.mark.parametrize("package", KINDS)
def test_no_driver_is_a_refusal_with_advice(package: str) -> None:
    if not is_installed(package) or _has_driver():
        pytest.skip(f"{package} is not installed, or there is a driver")
    module, name = KINDS[package]
    kind = getattr(__import__(f"infnet_runtime.backends.cuda.{module}", fromlist=[name]), name)
    with pytest.raises(BackendError) as caught:
        kind(0)
    assert caught.value.exit_code == 5
    assert "libcuda" in str(caught.value) or "driver" in str(caught.value)


def _has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


class StrictStream:
    def __init__(self, flags: int = 0) -> None:
        assert flags == 1
        self.handle = 77
        self.queue: list[str] = []

    def synchronize(self) -> None:
        CALLS.append("synchronize")


class StrictContext:
    """As ``context`` in PyCUDA's ``cuda.hpp``: a stack for each thread, and what ``detach`` makes of it."""

    def __init__(self) -> None:
        self._thread, self._valid = threading.get_ident(), True

    def push(self) -> None:
        PYCUDA_STACK.append(self)
        DRIVER_STACK.append(self)
        CALLS.append("push")

    def detach(self) -> None:
        assert self._valid
        self._valid = False
        if PYCUDA_STACK[-1:] == [self]:
            PYCUDA_STACK.pop()
            CALLS.append("release")
        elif self._thread == threading.get_ident():
            DRIVER_STACK.append(self)  # and stays there
            CALLS.append("release")
        else:
            CALLS.append("leak")


class StrictDevice:
    def __init__(self, index: int) -> None:
        if index > 1:
            raise StrictError("invalid device ordinal")

    def retain_primary_context(self) -> StrictContext:
        return StrictContext()


class StrictAllocation:
    def __init__(self, size: int) -> None:
        self.size = size

    def __int__(self) -> int:
        return 4242

    def __del__(self) -> None:
        CALLS.append("free")


class StrictError(Exception):
    pass


CALLS: list[str] = []
PYCUDA_STACK: list[StrictContext] = []
DRIVER_STACK: list[StrictContext] = []


def stand_in() -> types.ModuleType:
    """``pycuda.driver`` as far as it is used, with its signatures."""
    module = types.ModuleType("pycuda.driver")

    def pagelocked_empty(shape: tuple[int, ...], dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:  # noqa: ANN401
        return np.empty(shape, dtype, order)  # type: ignore[call-overload]

    def memcpy_htod_async(dest: int, src: np.ndarray, stream: StrictStream | None = None) -> None:
        assert (dest, stream.handle if stream else None) == (4242, 77)
        assert src.flags.c_contiguous
        CALLS.append("in")

    def memcpy_dtoh_async(dest: np.ndarray, src: int, stream: StrictStream | None = None) -> None:
        assert (src, stream.handle if stream else None) == (4242, 77)
        assert dest.flags.c_contiguous
        CALLS.append("out")

    vars(module).update(
        init=lambda flags=0: None,
        Device=StrictDevice,
        Stream=StrictStream,
        Error=StrictError,
        mem_alloc=StrictAllocation,
        pagelocked_empty=pagelocked_empty,
        memcpy_htod_async=memcpy_htod_async,
        memcpy_dtoh_async=memcpy_dtoh_async,
    )
    return module


@pytest.fixture
def pycuda(monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("pycuda")
    package.VERSION_TEXT = "2026.1"  # type: ignore[attr-defined]
    package.driver = stand_in()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", package.driver)
    for told in (CALLS, PYCUDA_STACK, DRIVER_STACK):
        told.clear()

    class Graphs:
        def capture(self, stream: int, work: Any) -> int:  # noqa: ANN401
            work()
            return 5

        def launch(self, graph: int, stream: int) -> None:
            CALLS.append(f"launch {graph} {stream}")

        def close(self) -> None:
            CALLS.append("graphs closed")

        def leave(self) -> None:
            DRIVER_STACK.pop()
            CALLS.append("leave")

    monkeypatch.setattr("infnet_runtime.backends.cuda.pycuda.DriverGraphs", Graphs)


@pytest.mark.usefixtures("pycuda")
def test_pycuda_is_called_as_it_wants_to_be() -> None:
    device = PyCudaDevice(1)
    assert device.name == "pycuda 2026.1"
    host, stream = device.pinned((2, 3), np.float32), device.stream()
    address = device.memory(host.nbytes)
    device.copy_in(address, host, stream)
    device.copy_out(host[:1], address, stream)
    device.synchronize(stream)
    device.launch(device.capture(stream, lambda: None), stream)
    device.close()
    device.close()
    assert [
        *("push", "in", "out", "synchronize", "launch 5 77"),
        # Everything is freed in the context, which is then given back by name.
        *("graphs closed", "free", "release", "leave"),
    ] == CALLS
    assert DRIVER_STACK == []


@pytest.mark.usefixtures("pycuda")
def test_a_session_keeps_pycuda_on_one_thread() -> None:
    """Closed by another thread than the one that opened it, PyCUDA would leak the context."""
    owner = OwnerThread()
    device = owner.open(lambda: PyCudaDevice(1))
    closing = threading.Thread(target=owner.close, args=(device.close,))
    closing.start()
    closing.join()
    assert CALLS[-2:] == ["release", "leave"]
    assert "leak" not in CALLS
    assert DRIVER_STACK == []


@pytest.mark.usefixtures("pycuda")
def test_the_stand_in_leaks_as_pycuda_does() -> None:
    context = StrictContext()
    closing = threading.Thread(target=context.detach)
    closing.start()
    closing.join()
    assert CALLS == ["leak"]
    StrictContext().detach()
    assert len(DRIVER_STACK) == 1


@pytest.mark.usefixtures("pycuda")
def test_a_gpu_that_pycuda_cannot_take() -> None:
    with pytest.raises(
        BackendError, match=r"\[INF-5025\] pycuda 2026.1 cannot use cuda:2 \(invalid device ordinal\)"
    ):
        PyCudaDevice(2)


@pytest.mark.skipif(not is_installed("pycuda"), reason="pycuda is not installed")
def test_the_stand_in_has_no_name_that_pycuda_lacks(driver: Path) -> None:
    names = [n for n in vars(stand_in()) if not n.startswith("__")]
    said = run_with(driver, f"import pycuda.driver as d; print([n for n in {names} if not hasattr(d, n)])")
    assert said.strip() == "[]"


def test_neither_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infnet_runtime.backends.cuda.open.find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"\[INF-5024\] .*neither is installed: pip install cuda-bindings"):
        open_device(0)


@pytest.mark.usefixtures("pycuda")
def test_cuda_bindings_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are kept by NVIDIA and installed without a compiler."""
    monkeypatch.setattr("infnet_runtime.backends.cuda.bindings.BindingsDevice", lambda index: "bindings")
    monkeypatch.setattr("infnet_runtime.backends.cuda.open.find_spec", lambda name: object())
    assert open_device(1) == "bindings"
    monkeypatch.setattr("infnet_runtime.backends.cuda.open.has_cuda_bindings", lambda: False)
    assert isinstance(open_device(1), PyCudaDevice)


def test_all_devices_have_the_same_calls() -> None:
    from infnet_runtime.backends.cuda.bindings import BindingsDevice
    from infnet_runtime.backends.cuda.device import Device

    wanted = {n for n, v in vars(Device).items() if inspect.isfunction(v) and not n.startswith("_")}
    assert len(wanted) == 9
    for kind in (PlainDevice, PyCudaDevice, BindingsDevice):
        for name in wanted:
            ours = list(inspect.signature(getattr(kind, name)).parameters)
            assert ours == list(inspect.signature(getattr(Device, name)).parameters), (
                f"{kind.__name__}.{name}"
            )


def test_plain_memory_is_late() -> None:
    """A copy that nobody waited for has not happened: the point of this device."""
    device = PlainDevice()
    host, stream = device.pinned((2,), np.float32), device.stream()
    address = device.memory(8)
    host[:] = 1
    device.copy_in(address, host, stream)
    host[:] = 2  # too early
    device.synchronize(stream)
    assert device.at(address, (2,), np.float32).tolist() == [2, 2]


def test_plain_memory_is_strict() -> None:
    device = PlainDevice(PlainGpu(100))
    host = device.pinned((2,), np.float32)
    assert device.memory(100) % 256 == 0
    with pytest.raises(RuntimeError, match="OUT_OF_MEMORY"):
        device.memory(1)
    found: list[str] = []

    def elsewhere() -> None:
        try:
            device.stream()
        except AssertionError as error:
            found.append(str(error))

    other = threading.Thread(target=elsewhere)
    other.start()
    other.join()
    assert "another thread" in found[0]
    with pytest.raises(AssertionError, match="pinned memory is in use"):
        device.close()
    del host
    device.close()
    with pytest.raises(AssertionError, match="is closed"):
        device.stream()
    assert device.gpu.used == 0
