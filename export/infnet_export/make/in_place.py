"""The files take their names together, once all of them are complete."""

from pathlib import Path

from infnet_runtime.io.atomic import atomic_write


def write_all(writes: list[tuple[Path, bytes]]) -> None:
    """Nested, so that no file takes its name before all of them could be written."""
    if not writes:
        return
    (path, content), *rest = writes
    with atomic_write(path) as file:
        file.write(content)
        write_all(rest)
