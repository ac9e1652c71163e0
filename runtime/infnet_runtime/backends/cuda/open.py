"""The choice between the packages that offer a GPU's memory."""

from importlib.util import find_spec

from infnet_runtime.backends.cuda.device import Device
from infnet_runtime.errors import BackendError


def open_device(index: int) -> Device:
    """Open a GPU with cuda-bindings, else with PyCUDA, for the calling thread.

    Raises
    ------
    BackendError
        If neither is installed, or the GPU cannot be set up.
    """
    if has_cuda_bindings():
        from infnet_runtime.backends.cuda.bindings import BindingsDevice

        return BindingsDevice(index)
    if find_spec("pycuda") is not None:
        from infnet_runtime.backends.cuda.pycuda import PyCudaDevice

        return PyCudaDevice(index)
    raise BackendError(
        "memory of the GPU needs cuda-bindings or PyCUDA, and neither is installed: "
        "pip install cuda-bindings",
        code=5024,
    )


def has_cuda_bindings() -> bool:
    """Whether cuda-bindings is installed; other packages own the name ``cuda`` too."""
    try:
        return find_spec("cuda.bindings") is not None
    except ModuleNotFoundError:
        return False
