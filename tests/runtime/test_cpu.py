"""Cores, from files as Linux writes them, and the units among the instruction sets."""

import os
from pathlib import Path

import pytest

from infnet_runtime import cpu
from infnet_runtime.cpu import bf16_unit, core_quota, int8_unit, usable_cores


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
    ("flags", "int8", "bf16"),
    [
        ("fpu avx2 avx512f avx512_vnni avx512_bf16 amx_bf16 amx_tile amx_int8", "amx_int8", "amx_bf16"),
        ("fpu avx2 avx512f avx512_vnni avx512_bf16", "avx512_vnni", "avx512_bf16"),
        ("fpu avx2 avx512f avx512_vnni", "avx512_vnni", None),
        ("fpu avx2 avx_vnni", "avx_vnni", None),
        ("fpu avx2 avx512f avx512vbmi", None, None),
        ("fp asimd evtstrm aes asimdhp asimddp bf16", "asimddp", "bf16"),
        ("fp asimd evtstrm aes", None, None),
        ("", None, None),
    ],
)
def test_units_for_short_numbers(
    flags: str, int8: str | None, bf16: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset(flags.split()))
    assert (int8_unit(), bf16_unit()) == (int8, bf16)
