"""How long each stage takes on this machine, for every backend that is installed.

The backends take turns, so that a machine that is busy for a while is busy for all of them. The first run of
each is left out. What is told is the fastest run, and how far the slowest was from it.
"""

import json
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from infnet_runtime.backends import Session
from infnet_runtime.backends.candidates import AUTO, Candidate, candidates, is_engine
from infnet_runtime.backends.open import open_candidate
from infnet_runtime.backends.suited_model import suited_model
from infnet_runtime.cpu import usable_cores, using_threads
from infnet_runtime.errors import BackendError
from infnet_runtime.io import open_scan
from infnet_runtime.model.asked import Asked, outputs_in_words
from infnet_runtime.model.shipped import default_model
from infnet_runtime.segment.segmenter import Segmenter
from infnet_runtime.version import __version__

SCHEMA = "infnet.bench/1"

DEFAULT_REPEATS = 3
_PHANTOM = ((24, 320, 400), (10.0, 1.02, 0.96))  # shape, mm


@dataclass(kw_only=True)
class Contender:
    """A backend, and its runs.

    Parameters
    ----------
    outputs
        What is asked of the model.
    load_s : s
        Opening the model.
    runs : s
        Stage to seconds, of each run.
    """

    backend: str
    precision: str
    device: str
    model: str
    model_sha256: str
    outputs: str
    load_s: float
    slices: int = 0
    runs: list[dict[str, float]] = field(default_factory=list)

    @property
    def best(self) -> dict[str, float]:
        """Seconds of the fastest run."""
        return min(self.runs, key=_total)

    @property
    def spread_percent(self) -> float:
        """How much longer the slowest run took than the fastest."""
        return 100 * (max(map(_total, self.runs)) / _total(self.best) - 1)

    @property
    def network_ms_per_slice(self) -> float:
        """Fastest network stage, for each slice that went through it."""
        return 1000 * min(run["network"] for run in self.runs) / max(self.slices, 1)

    @property
    def slices_per_s(self) -> float:
        """Slices through all stages, in the fastest run."""
        return self.slices / _total(self.best)


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """All contenders, on one scan.

    Parameters
    ----------
    passed_over
        Backend to the reason why it did not take part.
    """

    machine: dict[str, Any]
    scan: str
    shape: tuple[int, ...]
    contenders: tuple[Contender, ...]
    passed_over: dict[str, str]

    def to_json(self) -> str:
        """For machines."""
        rows = [
            asdict(c)
            | {
                "total_s": round(_total(c.best), 4),
                "spread_percent": round(c.spread_percent, 1),
                "network_ms_per_slice": round(c.network_ms_per_slice, 2),
                "slices_per_s": round(c.slices_per_s, 3),
            }
            for c in self.contenders
        ]
        document = asdict(self) | {"schema": SCHEMA, "contenders": rows}
        return json.dumps(document, indent=2) + "\n"

    def to_text(self) -> str:
        """A table: a line for each stage, a column for each contender."""
        shape = " x ".join(map(str, self.shape))
        rounds = len(self.contenders[0].runs)
        lines = [
            f"scan     {self.scan}: {shape}",
            f"machine  {', '.join(f'{v}' for v in self.machine.values())}",
            f"runs     best of {rounds} after one that is left out, the backends in turn; seconds",
            "",
        ]
        for letter, c in zip("ABCDEF", self.contenders, strict=False):
            lines.append(
                f"{letter}  {c.backend} on {c.device}, {c.model} in {c.precision}, loaded in "
                f"{c.load_s:.2f} s, gives {c.outputs}"
            )
        lines += ["", *_table(self.contenders)]
        lines += [f"not run: {name}: {why}" for name, why in self.passed_over.items()]
        return "\n".join(lines)


def bench(
    model: Path | None = None,
    scan: Path | None = None,
    *,
    backend: str = AUTO,
    device: str = AUTO,
    precision: str = AUTO,
    threads: int = 0,
    batch_size: int | None = None,
    repeats: int = DEFAULT_REPEATS,
    progress: Callable[[int, int], None] | None = None,
) -> BenchReport:
    """Time all stages.

    Parameters
    ----------
    model
        As for ``open_session``; where absent each backend runs the shipped model that suits it.
    scan
        A file that ``open_scan`` reads; a phantom where absent.
    backend, device
        ``auto`` takes part in turn with all that work.
    precision
        As for ``open_session``.
    repeats
        Runs of each backend that count.
    progress
        Called with (runs done, runs to do).

    Raises
    ------
    BackendError
        If no backend works.
    ModelError
        If the model is refused.
    InputError
        If the scan is refused.
    """
    passed_over: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as opened:
        folder = Path(temporary)
        path = scan or _phantom(folder)
        shape = open_scan(path).volume.voxels.shape
        entered: list[tuple[Contender, Session]] = []
        for candidate in _contenders(model, backend, device, precision):
            chosen = model or suited_model(candidate, precision=precision)[0]
            started = time.perf_counter()
            try:
                session = opened.enter_context(
                    open_candidate(
                        candidate,
                        chosen,
                        threads=threads,
                        batch_size=batch_size,
                        precision=precision,
                        coarse=True,
                        asked=Asked.INFECTION,
                    )
                )
            except BackendError as error:
                passed_over[str(candidate)] = str(error)
                refusal = error
                continue
            contender = Contender(
                backend=session.backend,
                precision=session.precision,
                device=session.device,
                model=chosen.name,
                model_sha256=session.model_sha256,
                outputs=outputs_in_words(session.manifest),
                load_s=round(time.perf_counter() - started, 3),
            )
            entered.append((contender, session))
        if not entered:
            raise refusal
        todo = (repeats + 1) * len(entered)
        for turn in range(repeats + 1):
            for place, (contender, session) in enumerate(entered):
                seconds = _run(contender, session, path, folder, threads)
                if turn:  # not the first
                    contender.runs.append(seconds)
                if progress:
                    progress(turn * len(entered) + place + 1, todo)
    return BenchReport(
        machine=_machine(threads),
        scan="phantom" if scan is None else path.name,
        shape=tuple(shape),
        contenders=tuple(contender for contender, _ in entered),
        passed_over=passed_over,
    )


def _contenders(model: Path | None, backend: str, device: str, precision: str) -> Iterator[Candidate]:
    """All that may run the model, each once."""
    kind = model or default_model()
    engine = kind if is_engine(kind) else None
    found = candidates(engine, backend=backend, device=device, precision=precision)
    return iter(dict.fromkeys(found))


def _run(
    contender: Contender,
    session: Session,
    path: Path,
    folder: Path,
    threads: int,
) -> dict[str, float]:
    """One scan from file to file, as ``infnet-infer`` does it."""
    started = time.perf_counter()
    with using_threads(threads):
        scan = open_scan(path)
    read = time.perf_counter() - started
    result = Segmenter(session, threads=threads).predict(scan.volume)
    contender.slices = result.provenance.slices_run
    started = time.perf_counter()
    scan.write_mask(folder / f"mask{scan.mask_suffix}", result.mask)
    write = time.perf_counter() - started
    stages = {name: value for name, value in result.provenance.seconds.items() if name != "read"}
    return {"read": round(read, 4), **stages, "write": round(write, 4)}


def _phantom(folder: Path) -> Path:
    from infnet_runtime.io.nifti import write_nifti
    from infnet_runtime.scan.phantom import chest_phantom, textured

    phantom = textured(chest_phantom(*_PHANTOM, noise_hu=0))
    path = folder / "phantom.nii.gz"
    write_nifti(path, phantom.hu, phantom.affine)
    return path


def _machine(threads: int) -> dict[str, Any]:
    cores = usable_cores()
    return {
        "infnet": f"infnet {__version__}",
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor_name(),
        "cores": f"{cores} cores",
        "threads": f"{threads or cores} threads",
    }


def _processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "processor not known")


def _total(seconds: dict[str, float]) -> float:
    return sum(seconds.values())


def _table(contenders: tuple[Contender, ...]) -> list[str]:
    stages = list(dict.fromkeys(name for c in contenders for name in c.best))
    rows: list[tuple[str, list[str]]] = [("", list("ABCDEF"[: len(contenders)]))]
    rows += [(name, [f"{c.best.get(name, 0):.3f}" for c in contenders]) for name in stages]
    rows += [
        ("all", [f"{_total(c.best):.3f}" for c in contenders]),
        ("slowest run", [f"+{c.spread_percent:.0f} %" for c in contenders]),
        ("slices run", [str(c.slices) for c in contenders]),
        ("ms/slice, network", [f"{c.network_ms_per_slice:.1f}" for c in contenders]),
        ("slices/s, all", [f"{c.slices_per_s:.2f}" for c in contenders]),
    ]
    return [f"{name:<18}" + "".join(f"{cell:>10}" for cell in cells) for name, cells in rows]
