"""Which instruction sets the processor offers, by the names that Linux has for them.

Who knows is asked: the kernel on Linux (``/proc/cpuinfo``) and on macOS (``sysctl``), and where neither does,
on Windows and in a container without ``/proc``, the processor itself. Only what the system has switched on
counts. OpenCV knows neither AMX nor AVX-VNNI, the only 8-bit unit of most office machines; NumPy's list is
private and stops at the same place; OpenVINO names INT8 on every x86 processor.
"""

import platform
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")

_SYSCTL = {
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.avx512vnni": "avx512_vnni",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_BF16": "bf16",
}

# CPUID (Intel's manual, volume 2A) and the parts of a register that the system has to save (XCR0, volume 1).
_EAX, _EBX, _ECX, _EDX = range(4)
_OSXSAVE = 27  # of leaf 1, ECX: XGETBV may be asked
_YMM, _ZMM, _TILES = 0x6, 0xE6, 0x60006
_FLAGS = (  # name, leaf, subleaf, register, bit, saved by the system
    ("avx2", 7, 0, _EBX, 5, _YMM),
    ("avx512f", 7, 0, _EBX, 16, _ZMM),
    ("avx512_vnni", 7, 0, _ECX, 11, _ZMM),
    ("amx_bf16", 7, 0, _EDX, 22, _TILES),
    ("amx_int8", 7, 0, _EDX, 25, _TILES),
    ("avx_vnni", 7, 1, _EAX, 4, _YMM),
    ("avx512_bf16", 7, 1, _EAX, 5, _ZMM),
)

# One code for both conventions: rcx, edx and r8d are the first three arguments on Windows, and elsewhere the
# fourth, third and fifth.
_CPUID_CODE = bytes.fromhex(
    "f30f1efa"  # endbr64
    "53"  # push rbx
    "4989c9"  # mov r9, rcx           out
    "89d0"  # mov eax, edx            leaf
    "4489c1"  # mov ecx, r8d          subleaf
    "0fa2"  # cpuid
    "418901"  # mov [r9], eax
    "41895904"  # mov [r9 + 4], ebx
    "41894908"  # mov [r9 + 8], ecx
    "4189510c"  # mov [r9 + 12], edx
    "5b"  # pop rbx
    "c3"  # ret
)
_XGETBV_CODE = bytes.fromhex(
    "f30f1efa"  # endbr64
    "31c9"  # xor ecx, ecx
    "0f01d0"  # xgetbv
    "c3"  # ret                       the lower half, in eax
)
_XGETBV_AT = 64  # bytes behind the other

Registers = tuple[int, int, int, int]
"""EAX, EBX, ECX, EDX."""


def cpu_flags(*, cpuinfo: Path = _CPUINFO) -> frozenset[str]:
    """Instruction sets of this processor; empty where they are not known."""
    if sys.platform == "darwin":
        return _told_by_sysctl()
    found = _told_by_linux(cpuinfo)
    if found or platform.machine().lower() not in ("x86_64", "amd64") or struct.calcsize("P") != 8:
        return found
    return _told_by_the_processor()


def _told_by_linux(cpuinfo: Path) -> frozenset[str]:
    try:
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):  # x86, ARM; the same for every core
            return frozenset(values.split())
    return frozenset()


def _told_by_sysctl() -> frozenset[str]:
    import ctypes

    system = ctypes.CDLL(None)
    found = set()
    for key, flag in _SYSCTL.items():
        value = ctypes.c_int64(0)
        size = ctypes.c_size_t(ctypes.sizeof(value))
        failed = system.sysctlbyname(key.encode(), ctypes.byref(value), ctypes.byref(size), None, 0)
        if not failed and value.value:
            found.add(flag)
    return frozenset(found)


@cache
def _told_by_the_processor() -> frozenset[str]:
    code = _CPUID_CODE.ljust(_XGETBV_AT, b"\xcc") + _XGETBV_CODE
    windows = sys.platform == "win32"
    try:
        with (_windows_page if windows else _unix_page)(code) as place:
            return flags_of(*_callable(place, windows=windows))
    except OSError:  # systems that let no program make code have their reasons
        return frozenset()


def flags_of(cpuid: Callable[[int, int], Registers], xgetbv: Callable[[], int]) -> frozenset[str]:
    """What an x86 processor says of itself, as far as the system has switched it on.

    Parameters
    ----------
    cpuid
        (leaf, subleaf) to registers.
    xgetbv
        What the system saves of a program, as bits; only asked where the processor has the instruction.
    """
    highest = cpuid(0, 0)[_EAX]
    if highest < 7 or not cpuid(1, 0)[_ECX] >> _OSXSAVE & 1:
        return frozenset()
    subleaves = cpuid(7, 0)[_EAX]
    saved = xgetbv()
    return frozenset(
        name
        for name, leaf, subleaf, register, bit, needed in _FLAGS
        if subleaf <= subleaves and saved & needed == needed and cpuid(leaf, subleaf)[register] >> bit & 1
    )


def _callable(place: int, *, windows: bool) -> tuple[Callable[[int, int], Registers], Callable[[], int]]:
    """The two instructions, whose code lies at a place."""
    import ctypes

    word, pointer = ctypes.c_uint32, ctypes.c_void_p
    found = (word * 4)()
    if windows:
        by_windows = ctypes.CFUNCTYPE(None, pointer, word, word)(place)
    else:
        by_others = ctypes.CFUNCTYPE(None, pointer, pointer, word, pointer, word)(place)

    def cpuid(leaf: int, subleaf: int) -> Registers:
        if windows:
            by_windows(found, leaf, subleaf)
        else:
            by_others(None, None, leaf, found, subleaf)
        return found[0], found[1], found[2], found[3]

    return cpuid, ctypes.CFUNCTYPE(word)(place + _XGETBV_AT)


@contextmanager
def _unix_page(code: bytes) -> Iterator[int]:
    """Memory that is written first and run then, never both at a time.

    Raises
    ------
    OSError
        If the system does not allow it.
    """
    import ctypes
    import mmap

    kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with mmap.mmap(-1, mmap.PAGESIZE, flags=kind, prot=mmap.PROT_READ | mmap.PROT_WRITE) as page:
        page.write(code)
        held = ctypes.c_char.from_buffer(page)
        place = ctypes.addressof(held)
        system = ctypes.CDLL(None, use_errno=True)
        size = ctypes.c_size_t(mmap.PAGESIZE)
        try:
            if system.mprotect(ctypes.c_void_p(place), size, mmap.PROT_READ | mmap.PROT_EXEC):
                raise OSError(ctypes.get_errno(), "memory cannot be made executable")
            yield place
        finally:
            del held  # or the page would stay


@contextmanager
def _windows_page(code: bytes) -> Iterator[int]:
    """The same by the functions of Windows."""
    import ctypes

    pointer, size, word = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32
    system = ctypes.CDLL("kernel32")
    allocate, protect, release = system.VirtualAlloc, system.VirtualProtect, system.VirtualFree
    allocate.argtypes, allocate.restype = (pointer, size, word, word), pointer
    protect.argtypes = (pointer, size, word, pointer)
    release.argtypes = (pointer, size, word)
    place = allocate(None, len(code), 0x3000, 0x04)  # reserved and committed, to be read and written
    if not place:
        raise OSError("no memory")
    try:
        ctypes.memmove(place, code, len(code))
        before = word()
        if not protect(place, len(code), 0x20, ctypes.byref(before)):  # to be read and run
            raise OSError("memory cannot be made executable")
        yield place
    finally:
        release(place, 0, 0x8000)
