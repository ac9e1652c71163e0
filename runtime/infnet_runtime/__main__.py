"""``python -m infnet_runtime``: what is asked of the package itself; the commands have names of their own."""

import argparse
import sys

from infnet_runtime.embedding.place import cmake_dir
from infnet_runtime.version import __version__


def main() -> None:
    """Answer a question about the installed package."""
    parser = argparse.ArgumentParser(
        prog="python -m infnet_runtime",
        description="Scans are segmented by infnet-infer (python -m infnet_runtime.cli).",
    )
    parser.add_argument("--version", action="version", version=f"infnet {__version__}")
    parser.add_argument(
        "--cmake-dir", action="store_true", help="print the folder of the CMake package, for C++ programs"
    )
    if parser.parse_args().cmake_dir:
        sys.stdout.write(f"{cmake_dir()}\n")
    else:
        parser.error("nothing was asked; --cmake-dir prints a folder, infnet-infer segments a scan")


if __name__ == "__main__":
    main()
