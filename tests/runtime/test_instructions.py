"""Instruction sets as each system tells them: Linux, macOS, Windows, none of them, and the real processor."""

import ctypes
import mmap
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infnet_runtime import instructions
from infnet_runtime.instructions import Registers, cpu_flags, flags_of

Asked = Callable[[int, int], Registers]

YMM, ZMM, TILES = 0x7, 0xE7, 0x600E7
"""What a system saves of a program: up to AVX, up to AVX-512, and the tiles of AMX."""

X86 = platform.machine().lower() in ("x86_64", "amd64")
needs_x86 = pytest.mark.skipif(not X86 or sys.platform == "win32", reason="needs an x86 processor and mmap")


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    instructions._told_by_the_processor.cache_clear()
    yield
    instructions._told_by_the_processor.cache_clear()


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("flags\t\t: fpu avx2 avx512_vnni amx_int8", {"fpu", "avx2", "avx512_vnni", "amx_int8"}),
        ("Features\t: fp asimd asimddp bf16", {"fp", "asimd", "asimddp", "bf16"}),
    ],
)
def test_linux(line: str, flags: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions.sys, "platform", "linux")
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\n{line}\n\nprocessor\t: 1\n")
    assert cpu_flags(cpuinfo=path) == flags


@pytest.mark.parametrize("machine", ["aarch64", "riscv64", ""])
def test_an_unknown_processor(machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a list nor the x86 instruction: nothing is known, and nothing is made up."""
    monkeypatch.setattr(instructions.sys, "platform", "linux")
    monkeypatch.setattr(instructions.platform, "machine", lambda: machine)
    assert cpu_flags(cpuinfo=tmp_path / "none") == frozenset()


class Sysctl:
    """``sysctlbyname`` of macOS with some keys."""

    def __init__(self, **values: int) -> None:
        self.values = {key.encode(): value for key, value in values.items()}

    def sysctlbyname(self, key: bytes, value: object, size: object, *_: object) -> int:
        if key not in self.values:
            return -1
        ctypes.cast(value, ctypes.POINTER(ctypes.c_int32))[0] = self.values[key]
        ctypes.cast(size, ctypes.POINTER(ctypes.c_size_t))[0] = 4
        return 0


@pytest.mark.parametrize(
    ("keys", "flags"),
    [
        ({"hw.optional.arm.FEAT_DotProd": 1, "hw.optional.arm.FEAT_BF16": 0}, {"asimddp"}),  # M1
        ({"hw.optional.arm.FEAT_DotProd": 1, "hw.optional.arm.FEAT_BF16": 1}, {"asimddp", "bf16"}),
        (
            {"hw.optional.avx2_0": 1, "hw.optional.avx512f": 1, "hw.optional.avx512vnni": 1},
            {"avx2", "avx512f", "avx512_vnni"},
        ),
        ({"hw.optional.avx2_0": 1, "hw.optional.avx512f": 0}, {"avx2"}),
        ({}, set()),
    ],
)
def test_macos(keys: dict[str, int], flags: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions.sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Sysctl(**keys))
    assert cpu_flags() == flags


def processor(
    *, ebx: int = 0, ecx: int = 0, edx: int = 0, more: int = 0, osxsave: bool = True, highest: int = 0x20
) -> Asked:
    """CPUID of a processor that sets these registers in leaf 7, and ``more`` in EAX of its second subleaf."""

    def cpuid(leaf: int, subleaf: int) -> Registers:
        assert leaf <= highest, "not asked for what it does not have"
        return {
            (0, 0): (highest, 0, 0, 0),
            (1, 0): (0, 0, (1 << 27) * osxsave, 0),
            (7, 0): (1 if more else 0, ebx, ecx, edx),
            (7, 1): (more, 0, 0, 0),
        }[leaf, subleaf]

    return cpuid


SAPPHIRE_RAPIDS = processor(
    ebx=1 << 5 | 1 << 16, ecx=1 << 11, edx=1 << 22 | 1 << 24 | 1 << 25, more=1 << 4 | 1 << 5
)
WITHOUT_TILES = {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16"}


@pytest.mark.parametrize(
    ("cpuid", "saved", "flags"),
    [
        (SAPPHIRE_RAPIDS, TILES, WITHOUT_TILES | {"amx_int8", "amx_bf16"}),
        (SAPPHIRE_RAPIDS, ZMM, WITHOUT_TILES),  # a system from before AMX
        (SAPPHIRE_RAPIDS, YMM, {"avx2", "avx_vnni"}),  # a virtual machine without AVX-512
        (SAPPHIRE_RAPIDS, 0x3, set()),
        (processor(ebx=1 << 5, more=1 << 4), YMM, {"avx2", "avx_vnni"}),  # Alder Lake
        (processor(ebx=1 << 5 | 1 << 16, ecx=1 << 11), ZMM, {"avx2", "avx512f", "avx512_vnni"}),
        (processor(ebx=1 << 5), YMM, {"avx2"}),
        (processor(ebx=1 << 5, osxsave=False), YMM, set()),
        (processor(highest=1), YMM, set()),
    ],
)
def test_what_a_processor_says(cpuid: Asked, saved: int, flags: set[str]) -> None:
    assert flags_of(cpuid, lambda: saved) == flags


def test_xgetbv_is_not_run_where_it_does_not_exist() -> None:
    def absent() -> int:
        raise AssertionError("an instruction that the processor does not have")

    assert flags_of(processor(osxsave=False), absent) == frozenset()


@needs_x86
@pytest.mark.skipif(sys.platform != "linux", reason="compares with what Linux says")
def test_the_real_processor_says_what_linux_says(tmp_path: Path) -> None:
    asked = {name for name, *_ in instructions._FLAGS}
    assert cpu_flags(cpuinfo=tmp_path / "none") == cpu_flags() & asked


# mov r8, rdx; mov rdx, rsi; mov rcx, rdi: from the registers of System V to those of Windows.
AS_ON_WINDOWS = bytes.fromhex("4989d0 4889f2 4889f9")


@needs_x86
def test_both_conventions_give_the_same() -> None:
    """The same code, called with its arguments as Windows hands them over."""
    own = instructions._CPUID_CODE.ljust(64, b"\xcc") + instructions._XGETBV_CODE
    turned = (AS_ON_WINDOWS + instructions._CPUID_CODE).ljust(64, b"\xcc") + instructions._XGETBV_CODE
    with instructions._unix_page(own) as one, instructions._unix_page(turned) as other:
        cpuid, xgetbv = instructions._callable(one, windows=False)
        by_windows, same_xgetbv = instructions._callable(other, windows=True)
        for leaf, subleaf in ((0, 0), (7, 0), (7, 1)):
            assert any(cpuid(leaf, 0))
            assert cpuid(leaf, subleaf) == by_windows(leaf, subleaf)
        assert xgetbv() == same_xgetbv() != 0


class Kernel32:
    """The functions of Windows for memory, on top of those of this system."""

    def __init__(self, *, allows: bool = True) -> None:
        self.said: list[tuple[str, int]] = []
        self.page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.place = ctypes.addressof(ctypes.c_char.from_buffer(self.page))
        libc = ctypes.CDLL(None)

        def allocate(_: object, size: int, kind: int, protection: int) -> int:
            assert kind == 0x1000 | 0x2000, "MEM_COMMIT | MEM_RESERVE"
            self.said.append(("allocated", protection))
            return self.place

        def protect(place: int, size: int, protection: int, _: object) -> int:
            self.said.append(("protected", protection))
            assert not libc.mprotect(ctypes.c_void_p(place), ctypes.c_size_t(mmap.PAGESIZE), 5)
            return int(allows)

        def release(place: int, size: int, kind: int) -> int:
            assert (place, size, kind) == (self.place, 0, 0x8000), "MEM_RELEASE"
            self.said.append(("released", 0))
            return 1

        self.VirtualAlloc, self.VirtualProtect, self.VirtualFree = allocate, protect, release


@needs_x86
def test_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its functions, its convention, and no list of the kernel's."""
    here = cpu_flags() & {name for name, *_ in instructions._FLAGS}
    kernel = Kernel32()
    monkeypatch.setattr(instructions.sys, "platform", "win32")
    monkeypatch.setattr(instructions.platform, "machine", lambda: "AMD64")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: {"kernel32": kernel}[name])
    monkeypatch.setattr(instructions, "_CPUID_CODE", AS_ON_WINDOWS + instructions._CPUID_CODE)
    assert cpu_flags(cpuinfo=Path("/there/is/none")) == here
    readable_and_writable, readable_and_run = 0x04, 0x20
    assert kernel.said == [
        ("allocated", readable_and_writable),
        ("protected", readable_and_run),
        ("released", 0),
    ]


@needs_x86
def test_a_system_that_lets_no_program_make_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel32(allows=False)
    with monkeypatch.context() as windows:
        windows.setattr(instructions.sys, "platform", "win32")
        windows.setattr(instructions.platform, "machine", lambda: "AMD64")
        windows.setattr(ctypes, "CDLL", lambda name: kernel)
        assert cpu_flags(cpuinfo=tmp_path / "none") == frozenset()
        assert kernel.said[-1] == ("released", 0)
    instructions._told_by_the_processor.cache_clear()

    class Refuses:
        def mprotect(self, *_: object) -> int:
            return -1

    monkeypatch.setattr(instructions.sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _, **__: Refuses())
    assert cpu_flags(cpuinfo=tmp_path / "none") == frozenset()
