"""Compiled models between processes: kept where it is safe, trusted nowhere else, and never an error."""

import locale
import os
import stat
import sys
import time
from pathlib import Path

import pytest

from infnet_runtime.backends import compiled as compiled_module
from infnet_runtime.backends.compiled import CompiledModels, compiled_models

BLOB = bytes(range(256)) * 40
ON_POSIX = pytest.mark.skipif(not hasattr(os, "getuid"), reason="Windows does not tell who may write")


@pytest.fixture
def kept(tmp_path: Path) -> CompiledModels:
    return CompiledModels(tmp_path / "own" / "cache")


def only_file(kept: CompiledModels) -> Path:
    (path,) = kept.folder.iterdir()
    return path


def test_what_is_kept_is_read_again(kept: CompiledModels) -> None:
    assert kept.read("key") is None
    kept.keep("key", BLOB)
    kept.keep("other", memoryview(BLOB[:100]))
    assert kept.read("key") == BLOB
    assert kept.read("other") == BLOB[:100]
    assert kept.read("third") is None
    assert kept.size()[0] == 2
    kept.forget("key")
    assert kept.read("key") is None


def test_a_file_is_replaced_as_a_whole(kept: CompiledModels) -> None:
    kept.keep("key", BLOB)
    with only_file(kept).open("rb") as before:
        kept.keep("key", BLOB[::-1])
        assert before.read()[-len(BLOB) :] == BLOB
    assert kept.read("key") == BLOB[::-1]
    assert kept.size()[0] == 1


@pytest.mark.parametrize("at", [0, 20, 60, 200, -1])
def test_a_changed_byte_is_noticed(kept: CompiledModels, at: int) -> None:
    kept.keep("key", BLOB)
    content = bytearray(only_file(kept).read_bytes())
    content[at] ^= 1
    only_file(kept).write_bytes(content)
    assert kept.read("key") is None
    kept.keep("key", BLOB)
    assert kept.read("key") == BLOB


@pytest.mark.parametrize("size", [0, 10, 80, 5000])
def test_a_file_cut_off_is_noticed(kept: CompiledModels, size: int) -> None:
    kept.keep("key", BLOB)
    only_file(kept).write_bytes(only_file(kept).read_bytes()[:size])
    assert kept.read("key") is None


def test_the_file_of_another_key_is_noticed(kept: CompiledModels) -> None:
    kept.keep("key", BLOB)
    path = only_file(kept)
    kept.keep("other", BLOB)
    other = next(p for p in kept.folder.iterdir() if p != path)
    path.replace(other)
    assert kept.read("other") is None


@ON_POSIX
def test_others_may_not_even_look(kept: CompiledModels) -> None:
    before = os.umask(0)
    try:
        kept.keep("key", BLOB)
    finally:
        os.umask(before)
    assert stat.S_IMODE(kept.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(only_file(kept).stat().st_mode) == 0o600


@ON_POSIX
@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_folder_that_others_may_write_to_is_not_used(kept: CompiledModels, mode: int) -> None:
    kept.keep("key", BLOB)
    kept.folder.chmod(mode)
    assert f"may be written to by others (mode {mode:o}); chmod go-w" in kept.trouble()
    assert kept.read("key") is None
    kept.keep("second", BLOB)
    assert kept.size()[0] == 1
    kept.folder.chmod(0o755)
    assert kept.trouble() == ""
    assert kept.read("key") == BLOB


@ON_POSIX
@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_may_write_to_is_not_used(kept: CompiledModels, mode: int) -> None:
    kept.keep("key", BLOB)
    only_file(kept).chmod(mode)
    assert kept.read("key") is None


@ON_POSIX
def test_folder_and_file_of_another_user_are_not_used(
    kept: CompiledModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.keep("key", BLOB)
    user = os.getuid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: user + 1)
        assert f"belongs to user {user}, expected {user + 1}" in kept.trouble()
        assert kept.read("key") is None
        # Nor is a folder made in that of another user, as under sudo.
        elsewhere = CompiledModels(kept.folder / "below")
        elsewhere.keep("key", BLOB)
        assert not elsewhere.folder.exists()
    with monkeypatch.context() as patch:
        patch.setattr(CompiledModels, "trouble", lambda _: "")
        assert kept.read("key") == BLOB
        patch.setattr(os, "getuid", lambda: user + 1)
        assert kept.read("key") is None


@ON_POSIX
def test_a_link_in_place_of_the_file_is_not_followed(kept: CompiledModels, tmp_path: Path) -> None:
    kept.keep("key", BLOB)
    path = only_file(kept)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert kept.read("key") is None


def test_a_folder_that_cannot_be_made_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    kept = CompiledModels(tmp_path / "file" / "cache")
    assert kept.trouble()
    kept.keep("key", BLOB)
    assert kept.read("key") is None
    assert kept.size() == (0, 0)


def test_a_full_disk_leaves_nothing(kept: CompiledModels, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    kept.keep("key", BLOB)
    assert list(kept.folder.iterdir()) == []


def test_those_not_used_for_longest_go_first(tmp_path: Path) -> None:
    kept = CompiledModels(tmp_path, most_files=3)
    (tmp_path / "notes.txt").write_text("of the user")
    for age, key in enumerate("abc"):
        kept.keep(key, BLOB)
        os.utime(kept._path(key), (1000 + age, 1000 + age))
    assert kept.read("a") == BLOB  # used just now
    kept.keep("d", BLOB)
    assert {key for key in "abcd" if kept.read(key)} == {"a", "c", "d"}
    assert (tmp_path / "notes.txt").is_file()


def test_bytes_are_bounded(tmp_path: Path) -> None:
    kept = CompiledModels(tmp_path, most_bytes=3 * len(BLOB))
    for age, key in enumerate("abcd"):
        kept.keep(key, BLOB)
        os.utime(kept._path(key), (1000 + age, 1000 + age))
    kept.keep("e", BLOB)
    assert {key for key in "abcde" if kept.read(key)} == {"d", "e"}
    kept.keep("f", BLOB * 4)  # alone it is too much
    assert kept.size() == (0, 0)


def test_parts_of_killed_processes_are_removed(kept: CompiledModels) -> None:
    kept.keep("key", BLOB)
    old, new = (kept.folder / f"compiled-{name}.part" for name in ("old", "new"))
    for part in (old, new):
        part.write_bytes(b"")
    os.utime(old, (time.time() - 7200,) * 2)
    kept.keep("other", BLOB)
    assert not old.exists()
    assert new.exists()


def test_where_numbers_have_a_decimal_comma_nothing_is_kept(
    kept: CompiledModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.keep("key", BLOB)
    monkeypatch.setattr(locale, "localeconv", lambda: {"decimal_point": ","})
    assert kept.read("key") is None
    assert "decimal comma" in kept.trouble()


def test_the_environment_names_the_folder_or_switches_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ("off", "OFF"):
        monkeypatch.setenv("INFNET_CACHE", value)
        assert compiled_models() is None
    monkeypatch.setenv("INFNET_CACHE", str(tmp_path))
    assert compiled_models() == CompiledModels(tmp_path)


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "HOME/.cache/infnet"),
        ("linux", {"XDG_CACHE_HOME": "HOME/elsewhere"}, "HOME/elsewhere/infnet"),
        ("linux", {"XDG_CACHE_HOME": "not/absolute"}, "HOME/.cache/infnet"),
        ("darwin", {}, "HOME/Library/Caches/infnet"),
        ("win32", {"LOCALAPPDATA": "HOME/local"}, "HOME/local/infnet/cache"),
        ("win32", {}, "HOME/AppData/Local/infnet/cache"),
    ],
)
def test_the_usual_folder(
    platform: str,
    variables: dict[str, str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("INFNET_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("HOME", str(tmp_path)))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(compiled_module.sys, "platform", platform)
    assert compiled_models() == CompiledModels(Path(expected.replace("HOME", str(tmp_path))))


def test_without_a_home_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("INFNET_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert compiled_models() is None


def test_several_threads_keep_the_same(kept: CompiledModels) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: (kept.keep("key", BLOB), kept.read("key")), range(40)))
    assert kept.read("key") == BLOB
    assert kept.size()[0] == 1


if sys.platform == "win32":  # an open file cannot be replaced there; then the older one stays
    del test_a_file_is_replaced_as_a_whole
