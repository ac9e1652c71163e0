"""Starts a function of ``rank_work`` in two processes that train as one, a fresh interpreter each."""

import os
import socket
import subprocess
import sys
from pathlib import Path

_WORK = str(Path(__file__).parent / "rank_work.py")
LIMIT_S = 300


def start_two(function: str, *arguments: object) -> list[subprocess.Popen[str]]:
    """Call ``rank_work.<function>(*arguments)`` in two ranks, with the environment that torchrun sets."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = []
    for rank in range(2):
        place = {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        processes.append(
            subprocess.Popen(
                [sys.executable, _WORK, function, *map(str, arguments)],
                env=os.environ | place,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def torchrun_two(function: str, *arguments: object) -> None:
    """Call the function in two ranks through torchrun itself."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    call = [*launcher, _WORK, function, *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
