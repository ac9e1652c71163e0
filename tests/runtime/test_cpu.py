"""Cores and instruction sets, from files as Linux writes them."""

import os
from pathlib import Path

import pytest

from infnet_runtime import cpu
from infnet_runtime.cpu import core_quota, cpu_flags, int8_unit, usable_cores


@pytest.fixture
def quota_file(tmp_path: Path) -> Path:
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("max 100000", None),
        ("250000 100000\n", 2.5),
        ("50000 100000", 0.5),
        ("", None),
        ("damaged text", None),
    ],
)
def test_quota_of_the_control_group(quota_file: Path, text: str, quota: float | None) -> None:
    quota_file.write_text(text)
    assert core_quota(quota_file=quota_file) == quota


def test_usable_cores(quota_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert usable_cores(quota_file=quota_file) == 8, "no file, no quota"
    for text, cores in (("250000 100000", 2), ("50000 100000", 1), ("6400000 100000", 8), ("max 100000", 8)):
        quota_file.write_text(text)
        assert usable_cores(quota_file=quota_file) == cores


def test_usable_cores_here() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("line", "unit"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni amx_bf16 amx_tile amx_int8", "amx_int8"),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", "avx512_vnni"),
        ("flags\t\t: fpu avx2 avx_vnni", "avx_vnni"),
        ("flags\t\t: fpu avx2 avx512f avx512vbmi", None),
        ("Features\t: fp asimd evtstrm aes asimdhp asimddp", "asimddp"),
        ("Features\t: fp asimd evtstrm aes", None),
        ("model name\t: no flags at all", None),
    ],
)
def test_unit_for_8_bit_products(
    line: str, unit: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\n{line}\n\nprocessor\t: 1\n")
    flags = cpu_flags(cpuinfo=path) if cpu.sys.platform == "linux" else frozenset(line.split())
    monkeypatch.setattr(cpu, "cpu_flags", lambda: flags)
    assert int8_unit() == unit


def test_an_unknown_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu.sys, "platform", "linux")
    assert cpu_flags(cpuinfo=tmp_path / "none") == frozenset()
    monkeypatch.setattr(cpu.sys, "platform", "darwin")
    monkeypatch.setattr(cpu.platform, "machine", lambda: "arm64")
    assert cpu_flags(cpuinfo=tmp_path / "none") == {"asimddp"}
