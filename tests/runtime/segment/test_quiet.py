"""Inside a host the library prints nothing and changes nothing of the process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_models import mid_grey_detector

HOST = """
import decimal, gc, json, locale, logging, os, random, signal, sys, threading, warnings

def state():
    import numpy
    root = logging.getLogger()
    ours = [name for name in logging.root.manager.loggerDict if name.startswith("infnet")]
    return {
        "signals": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "wakeup": str(signal.set_wakeup_fd(-1)),
        "mask": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
        "folder": os.getcwd(),
        "umask": [os.umask(0o27), os.umask(0o27)][1],
        "locale": locale.setlocale(locale.LC_ALL),
        "filters": list(map(str, warnings.filters)),
        "root": [root.level, len(root.handlers), root.manager.disable],
        "ours": [n for n in ours if logging.getLogger(n).handlers or logging.getLogger(n).level],
        "propagates": [n for n in ours if not logging.getLogger(n).propagate],
        "environment": dict(os.environ),
        "hooks": [str(hook) for hook in (sys.excepthook, sys.unraisablehook, threading.excepthook)],
        "streams": [id(sys.stdout), id(sys.stderr), id(sys.stdin)],
        "path": list(sys.path),
        "random": hash(str(random.getstate())),
        "numpy random": hash(str(numpy.random.get_state())),
        "numpy errors": str(numpy.geterr()),
        "numpy print": str(numpy.get_printoptions()),
        "decimal": str(decimal.getcontext()),
        "collector": [gc.isenabled(), gc.get_threshold()],
        "recursion": sys.getrecursionlimit(),
        "switch": sys.getswitchinterval(),
    }

called, host = [], True
def watched(module, name):
    real = getattr(module, name)
    def wrapper(*given, **named):
        if not host:
            called.append(f"{module.__name__}.{name}{given}")
        return real(*given, **named)
    setattr(module, name, wrapper)
for module, names in (
    (signal, ("signal", "set_wakeup_fd", "pthread_sigmask")), (sys, ("exit", "setrecursionlimit")),
    (os, ("_exit", "abort", "kill", "chdir", "umask", "dup2")),
    (locale, ("setlocale",)), (logging, ("basicConfig", "disable")),
    (warnings, ("filterwarnings", "simplefilter", "resetwarnings")),
):
    for name in names:
        watched(module, name)

def compared(before, after, when):
    changed = [key for key in before if before[key] != after[key]]
    first, second = before["environment"], after["environment"]
    changed += [name for name in {*first, *second} if first.get(name) != second.get(name)]
    assert not changed, (when, changed)

import numpy  # the host's own
before = state()
host = False
import infnet_runtime
from infnet_runtime import Cancel, Cancelled, Grid, InputError
from infnet_runtime.scan.phantom import chest_phantom
model = infnet_runtime.load(sys.argv[1], device="cpu", backend=sys.argv[2], threads=2)
host = True
loaded = state()
loaded["threads"] = threading.active_count()
compared(before, loaded, "load")
called_by_load, called[:] = list(called), []

phantom = chest_phantom()
grid = Grid.from_spacing(phantom.hu.shape, phantom.spacing_mm)
out = numpy.empty(phantom.hu.shape, numpy.uint8)
host = False
model.predict_buffer(phantom.hu, grid, out=out, progress=lambda *_: None)
for wrong in (phantom.hu.T, phantom.hu * 0):
    try:
        model.predict_buffer(wrong, grid)
    except InputError:
        pass
cancel = Cancel()
try:
    model.predict_buffer(phantom.hu, grid, progress=lambda *_: cancel.cancel(), cancel=cancel, batch_size=1)
except Cancelled:
    pass
model.close()
host = True
assert out.any()
after = state()
after["threads"] = threading.active_count()
compared(loaded, after, "predict")
with open(sys.argv[3], "w") as file:
    json.dump({"load": called_by_load, "predict": called}, file)
"""


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_run_prints_nothing_and_changes_nothing(backend: str, tmp_path: Path) -> None:
    """At the descriptors, so that what libraries of C++ print is seen too."""
    model = mid_grey_detector(tmp_path / "model.onnx")
    seen = tmp_path / "called.json"
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", HOST, str(model), backend, str(seen)],
        capture_output=True,
        text=True,
        env={**os.environ, "INFNET_CACHE": str(tmp_path / "cache")},
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert json.loads(seen.read_text("utf-8")) == {"load": [], "predict": []}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ("os.environ['A'] = 'b'", "environment"),
        ("warnings.simplefilter('ignore')", "filters"),
        ("logging.getLogger('infnet_runtime').setLevel(10)", "ours"),
        ("signal.signal(signal.SIGUSR1, print)", "signals"),
        ("os.chdir('/')", "folder"),
    ],
)
def test_the_host_would_see_it(change: str, where: str) -> None:
    """The same host with a library that changes one thing."""
    code = HOST[: HOST.index("import infnet_runtime\n")] + f"{change}; compared(before, state(), called)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    told = run.stderr.splitlines()[-1]
    assert told.startswith("AssertionError: (["), told
    assert f"'{where}'" in told
    if "(" in change and "logging" not in change:
        assert change.split("(")[0] in told, "the call was not noted"
