"""CUDA's libraries, loaded before ONNX Runtime looks for them.

They come from the system, or from NVIDIA's own Python packages, which ``onnxruntime-gpu[cuda,cudnn]`` asks
for and PyTorch brings along. ONNX Runtime looks for those packages beside itself alone; here they are found
wherever Python finds packages.
"""

import contextlib
import ctypes
import io
import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import onnxruntime as ort

logger = logging.getLogger(__name__)

_CUDNN = "libcudnn.so.9"  # the only one that ONNX Runtime is built with


def preload_libraries() -> list[str]:
    """Load what is found of CUDA and cuDNN, each from one folder, else from where the system has it.

    ONNX Runtime looks for both in one folder. So cuDNN comes first, which loads what it needs of CUDA late;
    it is then found by its name.

    Returns
    -------
    What ONNX Runtime had to say about libraries that are missing
    """
    # Beside ONNX Runtime first, as it does itself.
    places = [Path(ort.__file__).parents[1], *map(Path, sys.path)]
    cuda, cudnn = library_folders(str(getattr(ort, "cuda_version", "")), places)
    with _printed() as said:
        if cudnn is not None:
            with contextlib.suppress(OSError):  # ONNX Runtime tries again, elsewhere too, and then says so
                ctypes.CDLL(str(cudnn / _CUDNN))
        ort.preload_dlls(directory=None if cuda is None else str(cuda))
    lines = [line for line in "".join(said).splitlines() if line]
    for line in lines:
        logger.info("onnxruntime: %s", line)
    return lines


def library_folders(version: str, places: Sequence[Path]) -> tuple[Path | None, Path | None]:
    """Folders of CUDA and of cuDNN in NVIDIA's packages for Linux.

    Parameters
    ----------
    version
        Of CUDA that ONNX Runtime was built with; from 13 on the packages share a folder.
    places
        Where packages are.

    Returns
    -------
    The first of each that has the library everything else needs; absent where ONNX Runtime's own search is
    as good
    """
    major = version.partition(".")[0]
    if not sys.platform.startswith("linux") or not major.isdigit() or int(major) < 13:
        return None, None
    wanted = ((f"cu{major}", f"libcublasLt.so.{major}"), ("cudnn", _CUDNN))

    def first(package: str, library: str) -> Path | None:
        folders = (place / "nvidia" / package / "lib" for place in places)
        return next((folder for folder in folders if (folder / library).is_file()), None)

    cuda, cudnn = (first(*names) for names in wanted)
    return cuda, cudnn


@contextlib.contextmanager
def _printed() -> Iterator[list[str]]:
    """Collect what this thread prints; ONNX Runtime prints to stdout, which carries results."""
    before, collector = sys.stdout, _OwnThread(sys.stdout)
    sys.stdout = collector
    try:
        yield collector.said
    finally:
        sys.stdout = before


class _OwnThread(io.TextIOBase):
    """Keeps what one thread writes and passes on what the others do."""

    def __init__(self, others: TextIO) -> None:
        self.said: list[str] = []
        self._others, self._thread = others, threading.get_ident()

    def write(self, text: str) -> int:
        if threading.get_ident() != self._thread:
            return self._others.write(text)
        self.said.append(text)
        return len(text)

    def flush(self) -> None:
        self._others.flush()
