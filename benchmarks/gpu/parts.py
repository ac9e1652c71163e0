"""Parts of a script, each in a process of its own with a time limit, so that one that fails stops no other.

A part is a function that takes the script's options and returns values for JSON. The script calls itself with
``--part NAME --answer FILE``; what a part prints goes into a log, and one line a part is shown.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "infnet", "numpy", "onnxruntime", "onnxruntime-gpu", "torch", "triton", "tensorrt", "tensorrt-rtx",
    "cuda-bindings", "pycuda", "onnx", "nibabel", "isal", "connected-components-3d",
)  # fmt: skip
_BROUGHT = ("nibabel", "isal", "cc3d")
_LAST = 600  # characters of what a part said last

Part = Callable[[argparse.Namespace], dict[str, Any]]


def run_script(
    name: str,
    parts: Mapping[str, Part],
    limits_s: Mapping[str, float],
    parser: argparse.ArgumentParser,
    arguments: list[str],
) -> int:
    """Run the parts that are wanted, and put what they answer into the results file under ``name``.

    Parameters
    ----------
    limits_s : s
        Of each part; what is left of ``--minutes`` may be less.

    Returns
    -------
    The exit code: 1 if a part failed.
    """
    parser.add_argument(
        "--only", action="append", choices=list(parts), help="part to run, as often as needed"
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="for all parts together")
    parser.add_argument("--json", type=Path, help="results; benchmarks/results/gpu-CARD.json if not given")
    parser.add_argument("--work", type=Path, default=Path(".gpu/work"), help="models made here, and logs")
    parser.add_argument("--device", default="cuda", help="cpu tries the script out")
    parser.add_argument("--part", choices=list(parts), help=argparse.SUPPRESS)
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    if options.part:
        options.answer.write_text(json.dumps(parts[options.part](options)), "utf-8")
        return 0
    began = time.monotonic()
    answers = {}
    for part in options.only or parts:
        left_s = 60 * options.minutes - (time.monotonic() - began)
        answers[part] = _answer(part, arguments, options.work, min(limits_s[part], left_s))
        print(f"{part:22} {answers[part]['took_s']:6.1f} s  {_line(answers[part])}", flush=True)
    found = machine(options.device)
    path = options.json or ROOT / "benchmarks/results" / f"gpu-{_file_name(found['card'])}.json"
    _put(path, name, {"machine": found, "parts": answers})
    print(path)
    return int(any("failed" in answer for answer in answers.values()))


def machine(device: str) -> dict[str, Any]:
    """Card, driver, versions and commit."""
    card = driver = "none"
    if device != "cpu":
        rows = _said("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
        card, driver, *_ = [*(rows.splitlines() or ["not known"])[0].split(", "), "not known"]
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "card": card,
        "driver": driver,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
        "commit": _said("git", "-C", str(ROOT), "rev-parse", "HEAD") or "not known",
    }


def left_out(error: ModuleNotFoundError) -> dict[str, Any]:
    """What a part answers that needs a package which the machine may lack; of any other the error goes on."""
    if error.name not in _BROUGHT:
        raise error
    return {"left_out": f"{error.name} is missing; bring the wheels that benchmarks/gpu/README.md names"}


def gpu_memory_mib(device: str) -> float | None:
    """What is taken on the whole card, by anyone; None without one."""
    if device == "cpu":
        return None
    said = _said("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits")
    return float(said.splitlines()[0]) if said else None


def _answer(part: str, arguments: list[str], work: Path, limit_s: float) -> dict[str, Any]:
    """What a part says, or why it says nothing."""
    began = time.monotonic()
    answer, log = work / f"{part}.json", work / f"{part}.log"
    answer.unlink(missing_ok=True)
    if limit_s <= 0:
        return {"failed": "no time was left", "took_s": 0.0}
    command = [sys.executable, sys.argv[0], *arguments, "--part", part, "--answer", str(answer)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):  # and what it started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    took = {"took_s": round(time.monotonic() - began, 1)}
    if code == 0:
        return json.loads(answer.read_text("utf-8")) | took
    why = f"took more than {limit_s:.0f} s" if code is None else f"exit code {code}"
    return {"failed": why, "said": log.read_text("utf-8", "replace").strip()[-_LAST:], **took}


def _line(answer: dict[str, Any]) -> str:
    if "failed" in answer:
        last = (answer.get("said") or "").splitlines()[-1:]
        return f"FAILED: {answer['failed']}; {''.join(last)}"[:300]
    return str(answer.get("summary", answer.get("left_out", "done")))


def _put(path: Path, name: str, values: dict[str, Any]) -> None:
    """Beside what other scripts, and other parts, put there before."""
    document: dict[str, Any] = {"schema": "infnet.gpu/1"}
    if path.is_file():
        document = json.loads(path.read_text("utf-8"))
    before = document.get(name, {}).get("parts", {})
    document[name] = values | {"parts": before | values["parts"]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _file_name(card: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in card).split()).lower()
