import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infnet_runtime.errors import OutputError
from infnet_runtime.io.atomic import atomic_write

OLD = b"the old output"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_complete(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    with atomic_write(target) as file:
        file.write(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["out.bin"]
    mask = os.umask(0)
    os.umask(mask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_output(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(OLD)

    def write_half() -> None:
        with atomic_write(target) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert target.read_bytes() == OLD
    assert names(tmp_path) == ["out.bin"]


WRITER = """
import sys
from pathlib import Path
from infnet_runtime.io.atomic import atomic_write
import os
moment = sys.argv[2]
def pause(name):
    if name == moment:
        print("now", flush=True)
        sys.stdin.read()
def paused(name, call):
    def wrapper(*arguments):
        pause("before " + name)
        result = call(*arguments)
        pause("after " + name)
        return result
    return wrapper
os.fsync = paused("fsync", os.fsync)
Path.replace = paused("replace", Path.replace)
with atomic_write(Path(sys.argv[1])) as file:
    pause("start")
    file.write(b"new" * 100000)
    pause("half")
    file.write(b"new" * 100000)
"""
NEW = b"new" * 200000


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("start", OLD),
        ("half", OLD),
        ("before fsync", OLD),
        ("after fsync", OLD),
        ("before replace", OLD),
        ("after replace", NEW),
    ],
)
def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path, moment: str, expected: bytes) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(OLD)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target), moment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"now\n"
        writer.send_signal(signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
    assert target.read_bytes() == expected
    assert all(name == "out.bin" or name.startswith(".infnet-") for name in names(tmp_path))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(
            OutputError, match=r"cannot write .*absent/out.bin: No such file.*create the folder first"
        ) as caught,
        atomic_write(tmp_path / "absent" / "out.bin"),
    ):
        pass
    assert caught.value.code == 8001


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match="a part of the path is a file"),
        atomic_write(tmp_path / "file" / "out"),
    ):
        pass


def test_a_folder_of_that_name_stays(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with (
        pytest.raises(OutputError, match="it is a folder; choose another name"),
        atomic_write(tmp_path / "out"),
    ):
        pass
    with pytest.raises(OutputError, match="it is not a regular file"), atomic_write(Path("/dev/null")):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with (
            pytest.raises(OutputError, match="choose a folder you may write to"),
            atomic_write(tmp_path / "out"),
        ):
            pass
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_leaves_the_old_output(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(OLD)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with (
            pytest.raises(OutputError, match=r"File too large; .*choose another disk") as caught,
            atomic_write(target) as f,
        ):
            f.write(bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.code == 8003
    assert target.read_bytes() == OLD
    assert names(tmp_path) == ["out.bin"]


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, 8003), (errno.EROFS, 8004), (errno.EACCES, 8002)]
)
def test_reasons_have_codes(tmp_path: Path, number: int, code: int) -> None:
    with pytest.raises(OutputError) as caught, atomic_write(tmp_path / "out"):
        raise OSError(number, os.strerror(number))
    assert caught.value.code == code
    assert names(tmp_path) == []


def test_the_callers_own_error_stays_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="other"), atomic_write(tmp_path / "out"):
        (tmp_path / "other").read_bytes()
    assert names(tmp_path) == []


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(OLD)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_write(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENAMETOOLONG, r"INF-8006\] cannot write .*out.bin: .*; choose a shorter name"),
        (errno.EIO, r"INF-8007\] cannot write .*out.bin: .*; choose another folder"),
    ],
)
def test_what_the_system_refuses_has_a_remedy(
    number: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OutputError, match=message), atomic_write(tmp_path / "out.bin") as file:
        file.write(b"new")
    assert names(tmp_path) == []
