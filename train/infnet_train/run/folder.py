"""The folder of a run: whether one is there, and that no run replaces another or shares its folder."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from infnet_runtime.errors import OutputError
from infnet_runtime.io.atomic import prepare_folder

WEIGHTS = "weights.safetensors"
LAST = "last.safetensors"
_OF_A_TRAINING = (WEIGHTS, LAST, "best.safetensors", "curves.csv")
_OF_PSEUDO_LABELS = ("propagation.json", "rounds", "labels")
_LOCK = ".infnet-lock"


def traces(out: Path, stages: Sequence[str] = ()) -> list[Path]:
    """What runs have left in a folder and in those of its stages, weights first; kept slices do not count.

    Parameters
    ----------
    stages
        Names of the stages, which have folders of their own in ``out``.
    """
    left = [out / name for name in _OF_A_TRAINING]
    for stage in filter(None, reversed(stages)):
        left += [out / stage / name for name in (*_OF_A_TRAINING, *_OF_PSEUDO_LABELS)]
    return [path for path in left if path.exists()]


def refuse_begun(out: Path, stages: Sequence[str] = ()) -> None:
    """Refuse a folder in which a run was begun or finished.

    Raises
    ------
    OutputError
        If there is one.
    """
    found = traces(out, stages)
    if not found:
        return
    done = _finished(out, stages)
    state = "a finished run" if done else "a run that was begun and not finished"
    remedy = "" if done else "go on with --resume, "
    raise OutputError(
        f"{out} holds {state} ({found[0].relative_to(out)}), and a run replaces no other; {remedy}choose "
        "another folder with --out, or give --force, which moves it aside first",
        code=8020,
    )


def default_folder(base: Path, stages: Sequence[str] = (), *, go_on: bool = False) -> Path:
    """Folder of a run for which none is given: ``base``, or ``base-2`` and so on where runs are there.

    Parameters
    ----------
    go_on
        Whether a run that is there is wanted: the latest of them. A latest one that was begun and is not
        finished is given in any case, to be refused or gone on with.

    Returns
    -------
    Of several processes that train as one the same for all, so always ``base``.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return base
    number, latest = 1, base
    while True:
        folder = base if number == 1 else base.with_name(f"{base.name}-{number}")
        busy = _is_locked(folder)
        if not traces(folder, stages) and not busy:
            break
        number, latest = number + 1, folder
    if number == 1:
        return base
    if go_on or not (_finished(latest, stages) or _is_locked(latest)):
        return latest
    return folder


@contextmanager
def claimed(
    out: Path, stages: Sequence[str] = (), *, resume: bool, force: bool, needed: Iterable[Path] = ()
) -> Iterator[None]:
    """Keep a folder for one run, for as long as the block lasts.

    Of several processes that train as one the first does it.

    Parameters
    ----------
    resume
        Whether the run that is there goes on.
    force
        Move the folder of a run that is there to ``NAME.1``, or the next number that is free.
    needed
        Files and folders that must stay where they are.

    Raises
    ------
    OutputError
        If a run is there and neither is wanted, another process trains there, or the folder cannot be
        moved or written to.
    """
    if int(os.environ.get("RANK", "0")) > 0:
        yield
        return
    if not resume and traces(out, stages):
        if not force:
            refuse_begun(out, stages)
        with _locked(out):
            _move_aside(out, needed)
    with _locked(prepare_folder(out)):
        yield


def _finished(out: Path, stages: Sequence[str]) -> bool:
    return (out / (stages[-1] if stages else "") / WEIGHTS).is_file()


def _move_aside(out: Path, needed: Iterable[Path]) -> None:
    whole = out.resolve()
    for path in (Path.cwd(), *needed):
        if path.resolve().is_relative_to(whole):
            raise OutputError(
                f"--force would move {out} aside, and {path} with it, which this run needs; choose another "
                "folder with --out",
                code=8022,
            )
    number = 1
    while (aside := whole.with_name(f"{whole.name}.{number}")).exists():
        number += 1
    try:
        whole.rename(aside)
    except OSError as error:
        raise OutputError(
            f"cannot move {out} to {aside}: {error.strerror or error}; choose another folder with --out",
            code=8022,
        ) from error


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the lock of a folder; a process that dies lets go of it."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with (out / _LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"another process trains in {out} at this moment; wait for its end, or choose another folder "
                "with --out",
                code=8021,
            ) from error
        except OSError:  # some network disks know no locks
            pass
        yield


def _is_locked(out: Path) -> bool:
    if not (out / _LOCK).is_file():
        return False
    try:
        with _locked(out):
            return False
    except OutputError:
        return True
    except OSError:  # not this user's
        return False
