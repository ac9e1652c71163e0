"""Where the C++ header, its CMake package and the example lie."""

from pathlib import Path


def embedding_folder() -> Path:
    """Folder with ``include``, ``cmake`` and ``example``: this one in a wheel, else that of the checkout."""
    installed = Path(__file__).parent
    return installed if (installed / "cmake").is_dir() else installed.parents[1] / "embedding"


def cmake_dir() -> Path:
    """Folder with ``infnetConfig.cmake``, for ``find_package(infnet)`` (``infnet_DIR``)."""
    return embedding_folder() / "cmake"
