"""Several scans one after the other: each is done or has its reason, and none ends the others."""

import gc
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from infnet_runtime.cli.ahead import Reader
from infnet_runtime.cli.case import CaseDone, CaseOptions, open_case, process_case
from infnet_runtime.cli.failures import lacks_memory, typed
from infnet_runtime.cli.plan import Case, Plan
from infnet_runtime.cli.process import EXIT_SOME_FAILED
from infnet_runtime.report.text_and_json import failure_document
from infnet_runtime.segment.segmenter import Segmenter

_LOG = logging.getLogger(__name__)
_BUG = 1  # exit code


def run_plan(
    plan: Plan,
    options: CaseOptions,
    open_segmenter: Callable[[], Segmenter],
    *,
    done: Callable[[CaseDone], None],
    failed: Callable[[dict[str, Any]], None],
    say: Callable[[str], None],
) -> int:
    """Do all scans of a plan.

    Parameters
    ----------
    open_segmenter
        Called once, where a scan needs it.
    done
        Called with each scan that is done.
    failed
        Called with what stands for a scan that failed.
    say
        Called with a line for the user, about failures.

    Returns
    -------
    Exit code: 0, that of the scans if all failed with the same, else ``EXIT_SOME_FAILED``

    Raises
    ------
    Exception
        What a scan raised that is the only one; its own error leaves with its own exit code.
    """
    failures = _Failures(say)
    with ExitStack() as opened:
        segmenter = opened.enter_context(open_segmenter()) if plan.needs_model else None
        to_read = [case for case in plan.cases if case.refusal is None]
        reader = opened.enter_context(
            Reader(to_read, lambda case: open_case(case, options), ahead=options.read_ahead)
        )
        for case in plan.cases:
            try:
                result = _one(segmenter, case, options, reader)
            except Exception as error:
                code, message = _reason(error)
                series = case.dicom.series if case.dicom else None
                failed(failure_document(case.path, code=code, message=message, series_uid=series))
                if len(plan.cases) == 1:
                    raise
                _LOG.info("%s failed:", case.path, exc_info=True)
                failures.add(case.path, code, message)
            else:
                done(result)
                continue
            gc.collect()  # what a failure held, now that its traceback is gone
    return failures.finish(len(plan.cases))


def _one(segmenter: Segmenter | None, case: Case, options: CaseOptions, reader: Reader) -> CaseDone:
    if case.refusal is not None:
        raise case.refusal
    assert segmenter is not None  # a plan with a scan needs a model
    try:
        return process_case(segmenter, case, options, reader.read)
    except Exception as error:
        if not lacks_memory(error) or not reader.let_go():
            raise
    gc.collect()  # what the failure held; now it has the memory that the next scan took
    return process_case(segmenter, case, options, reader.read)


def _reason(error: Exception) -> tuple[int | None, str]:
    known = typed(error)
    if known is not None:
        return known.code, str(known.args[0])
    said = " ".join(str(error).split())
    return None, f"unexpected {type(error).__name__}: {said}; a bug, -v prints where"


class _Failures:
    """Failures for the user: the same one is said once, and counted."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._seen: Counter[str] = Counter()
        self._exit_codes: Counter[int] = Counter()

    def add(self, path: Path, code: int | None, message: str) -> None:
        number = "" if code is None else f"[INF-{code}]"
        reason = f"error{number} {message}"
        # The same but for the name.
        kind = reason.replace(str(path), "it").replace(path.name, "it")
        self._exit_codes[_BUG if code is None else code // 1000] += 1
        self._seen[kind] += 1
        if self._seen[kind] == 1:
            self._say(f"{path}: {reason}")

    def finish(self, total: int) -> int:
        for kind, count in self._seen.items():
            if count > 1:
                self._say(f"{count - 1} more with the same error: {kind}")
        failed = self._exit_codes.total()
        if not failed:
            return 0
        self._say(f"{failed} of {total} inputs failed")
        exit_code, count = self._exit_codes.most_common(1)[0]
        return exit_code if count == total else EXIT_SOME_FAILED
