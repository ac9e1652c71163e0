"""Gzip in all its shapes: one member, several, and BGZF whose members are unpacked in parallel."""

import gzip
import hashlib
import io
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest

from infnet_runtime.io import gzip_files
from infnet_runtime.io.digest import opened
from infnet_runtime.io.gzip_files import GZIP_ERRORS, packed, unpacked

# About 3 MB with structure, of no round length.
CONTENT = np.cumsum(np.random.default_rng(0).integers(-3, 4, 1_500_007)).astype(np.int16).tobytes()


@pytest.fixture(autouse=True, params=["isal", "zlib"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test with both: isal, and what does its work where it is not installed."""
    if request.param == "zlib":
        monkeypatch.setattr(gzip_files, "_GzipFile", gzip.GzipFile)
        monkeypatch.setattr(gzip_files, "_zlib", zlib)
    return str(request.param)


def block(content: bytes) -> bytes:
    """One member of BGZF, by the specification."""
    job = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = job.compress(content) + job.flush()
    length = 18 + len(body) + 8
    header = b"\x1f\x8b\x08\x04" + bytes(4) + b"\x00\xff" + struct.pack("<H2sHH", 6, b"BC", 2, length - 1)
    return header + body + struct.pack("<II", zlib.crc32(content), len(content))


def blocked(content: bytes, size: int = 65280) -> bytes:
    parts = [content[i : i + size] for i in range(0, len(content), size)]
    return b"".join(map(block, [*parts, b""]))  # an empty one marks the end


FILES = {
    "one member": gzip.compress(CONTENT),
    "two members": gzip.compress(CONTENT[:1000]) + gzip.compress(CONTENT[1000:]),
    "blocks": blocked(CONTENT),
    "many small blocks": blocked(CONTENT, 5000),
    "blocks, then an ordinary member": blocked(CONTENT[:700_000]) + gzip.compress(CONTENT[700_000:]),
    "an ordinary member, then blocks": gzip.compress(CONTENT[:1000]) + blocked(CONTENT[1000:]),
    "blocks, then zeros": blocked(CONTENT) + bytes(512),
}


def read(file: bytes, threads: int) -> bytes:
    with unpacked(io.BytesIO(file), threads=threads) as stream:
        return stream.read()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("name", FILES)
def test_every_shape_unpacks_to_its_content(name: str, threads: int) -> None:
    assert gzip.decompress(FILES[name]) == CONTENT  # the fixture is what it says
    assert read(FILES[name], threads) == CONTENT
    assert not [t for t in threading.enumerate() if t.name.startswith("infnet-")]


@pytest.mark.parametrize("name", ["one member", "blocks"])
@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_damaged_or_short(name: str, keep: float) -> None:
    file = FILES[name]
    try:
        content = read(file[: int(keep * len(file))], 3)
    except GZIP_ERRORS:
        return
    assert name == "blocks"  # cut between two blocks; the reader of the header counts the bytes
    assert CONTENT.startswith(content)


@pytest.mark.parametrize("name", ["one member", "blocks"])
def test_a_changed_byte_is_found(name: str) -> None:
    for place in np.linspace(100, len(FILES[name]) - 60, 7, dtype=int):
        file = bytearray(FILES[name])
        file[place] ^= 0x55
        with pytest.raises(GZIP_ERRORS):
            read(bytes(file), 3)


def test_a_block_larger_than_the_format_allows_is_not_unpacked() -> None:
    with pytest.raises(EOFError, match="larger than the format allows"):
        read(block(bytes(1 << 24)), 2)


def test_threads_end_when_the_reader_stops_early() -> None:
    with unpacked(io.BytesIO(FILES["blocks"]), threads=3) as stream:
        assert stream.read(10) == CONTENT[:10]
    assert not [t for t in threading.enumerate() if t.name.startswith("infnet-")]


def test_what_is_packed_is_plain_gzip_without_time_or_name() -> None:
    files = []
    for _ in range(2):
        file = io.BytesIO()
        with packed(file) as stream:
            for start in range(0, len(CONTENT), 100_000):
                stream.write(CONTENT[start : start + 100_000])
        files.append(file.getvalue())
    assert files[0] == files[1]
    assert gzip.decompress(files[0]) == CONTENT
    assert files[0][3:8] == bytes(5)  # flags (no name) and time


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_summed_up_while_it_is_unpacked(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(FILES[name])
    digest = hashlib.sha256()
    with opened(tmp_path / "file", digest) as file, unpacked(file, threads=3) as stream:
        assert stream.read() == CONTENT
    assert digest.hexdigest() == hashlib.sha256(FILES[name]).hexdigest()
