"""Commands that write onto a disk with hardly any room, or with none to write on. Started by ``on_disks``.

As a program it runs in a mount namespace of its own, in which it may mount a disk in memory.
"""

import contextlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

_NAMESPACE = ("unshare", "--map-root-user", "--mount")


def can_mount() -> bool:
    """Whether the system lets a test mount a disk of its own."""
    command = [*_NAMESPACE, "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True).returncode == 0


def on_disks(disk: Path, arguments: list[str], sizes: list[str]) -> list[dict[str, Any]]:
    """Run ``infnet-infer`` once for each disk; what it said, and the files that were there after it.

    Parameters
    ----------
    disk
        An empty folder, where each disk is mounted.
    arguments
        Of the command; what it writes goes onto the disk.
    sizes
        As ``mount`` takes them, such as ``64k``; ``ro`` is a disk that is read-only.
    """
    asked = json.dumps({"disk": str(disk), "arguments": arguments, "sizes": sizes})
    done = subprocess.run(
        [*_NAMESPACE, sys.executable, __file__, asked], capture_output=True, text=True, check=True
    )
    outcomes: list[dict[str, Any]] = json.loads(done.stdout)
    return outcomes


def _main(disk: str, arguments: list[str], sizes: list[str]) -> None:
    from infnet_runtime.cli.main import main
    from whole_files import trouble

    outcomes = []
    for size in sizes:
        option = "ro" if size == "ro" else f"size={size}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", disk], check=True)
        sys.argv = ["infnet-infer", *arguments]
        out, err, code = io.StringIO(), io.StringIO(), None
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as left:
                code = left.code
        files = sorted(path for path in Path(disk).rglob("*") if path.is_file())
        told = {"code": code or 0, "err": err.getvalue(), "files": {p.name: trouble(p) for p in files}}
        outcomes.append(told)
        subprocess.run(["umount", disk], check=True)
    json.dump(outcomes, sys.stdout)


if __name__ == "__main__":
    _main(**json.loads(sys.argv[1]))
