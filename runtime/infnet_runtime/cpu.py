"""What the processor offers this process: cores, and units for 8-bit products."""

import os
import platform
import sys
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")

# One instruction that multiplies bytes and adds in 32 bits. x86 without it adds in 16 bits and saturates, so
# that an 8-bit model loses accuracy there and gains no speed.
_INT8_UNITS = ("amx_int8", "avx512_vnni", "avx_vnni", "asimddp")


def usable_cores(*, quota_file: Path = _QUOTA) -> int:
    """Cores this process may use: its affinity, and the quota of its control group where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = core_quota(quota_file=quota_file)
    return cores if quota is None else max(1, min(cores, int(quota)))


def core_quota(*, quota_file: Path = _QUOTA) -> float | None:
    """Quota of the control group (version 2) in cores, absent where there is none."""
    try:
        quota, period = quota_file.read_text("utf-8").split()  # microseconds, or "max <period>"
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def cpu_flags(*, cpuinfo: Path = _CPUINFO) -> frozenset[str]:
    """Instruction sets as Linux names them; empty where they are not known."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return frozenset({"asimddp"})  # every Apple processor with a Mac around it
    try:
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):  # x86, ARM; the same for every core
            return frozenset(values.split())
    return frozenset()


def int8_unit() -> str | None:
    """Name of the unit for 8-bit products that is used, absent where there is none."""
    flags = cpu_flags()
    return next((unit for unit in _INT8_UNITS if unit in flags), None)
