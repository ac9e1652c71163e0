"""Train and score every system of the paper's tables on a machine with a GPU, in one command of minutes.

NOT YET RUN ON A GPU: a test runs it on the CPU in a tiny form.

    python benchmarks/gpu/paper_tables.py DATA OUT --minutes 8.5                     # on the machine
    python benchmarks/paper_tables.py merge OUT/paper_tables.json             # at home
    unzip OUT/maps.zip -d maps && python benchmarks/paper_tables.py figures maps --out FOLDER

DATA holds ``covid-semiseg``, of which ``TestingSet`` and the labelled slices of ``TrainingSet`` are
needed: 7 MB without the pseudo-labels. Every system is trained by ``train/configs/paper_tables.toml``,
scored at once and written to OUT, so that what is finished stays when the time ends: no system begins
after ``--minutes``. Each sees the 1500 slices of the recipe; ``--set epochs=300`` gives ten times as
many, and ``--fill`` fits their number to the time that is left, shared by multiply-adds. OUT gets
``paper_tables.json``, its Markdown and ``maps.zip``, and with ``--weights NAME`` the weights of one
system in parts (``benchmarks/gpu/train.py --join``). Needs PyTorch, safetensors, OpenCV, nibabel and isal
(both from wheels of 4 MB), and this checkout on PYTHONPATH (runtime, train); ``--volumes`` (Table V) also
connected-components-3d, and the volumes in DATA.
"""

import argparse
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from paper import document
from paper.opened import WEIGHTS
from paper.scoring import score_all
from paper.systems import SYSTEMS, chosen
from paper.training import share_of, train_all

from infnet_train.machine.device import choose_device
from infnet_train.weights.parts import split_weights

KEPT_S = 3.0  # for the scores of a system and its files, of the time that --fill shares
SEMISEG = "covid-semiseg"


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    with tempfile.TemporaryDirectory() as work:
        failed = run(options, options.runs or Path(work) / "runs", Path(work) / "maps")
    print(f"{len(failed)} not done: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def run(options: argparse.Namespace, runs: Path, maps: Path) -> list[str]:
    """Train and score each system in turn; names of those that were not."""
    ends, device = time.monotonic() + 60 * options.minutes, choose_device(options.device)
    names, failed = chosen(options.networks), list[str]()
    results = options.out / "paper_tables.json"
    for number, name in enumerate(names):
        left_s = ends - time.monotonic()
        if left_s <= 0:
            print(f"{name}: LEFT OUT, no time was left", file=sys.stderr)
            failed.append(name)
            continue
        budget_s = None
        if options.fill:
            rest = [n for n in names[number:] if SYSTEMS[n].is_known]
            budget_s = (left_s - KEPT_S * len(rest)) * share_of(name, rest)
        data = options.data / SEMISEG
        if train_all([name], data, runs, device=device, changes=options.set, budget_s=budget_s):
            failed.append(name)
            continue
        found = document.read(results)
        for _, values in score_all(
            {name: runs / name}, options.data, device=device, volumes=options.volumes, maps=maps
        ):
            document.write_numbers(results, document.merge(found, document.of_system(name, values)))
        if name == options.weights:
            split_weights(runs / name / WEIGHTS, options.out)
        shutil.make_archive(str(options.out / "maps"), "zip", maps)
    return failed


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help=f"folder with {SEMISEG}")
    parser.add_argument("out", type=Path, help="folder to bring home")
    parser.add_argument("--networks", nargs="+", default=[], metavar="NAME", help=f"of {', '.join(SYSTEMS)}")
    parser.add_argument("--minutes", type=float, default=8.5, help="after which no system begins")
    parser.add_argument("--fill", action="store_true", help="as many slices as fit into the time")
    parser.add_argument("--set", action="append", default=[], help="change a value of the recipe, for all")
    parser.add_argument("--weights", choices=list(SYSTEMS), metavar="NAME", help="bring these weights home")
    parser.add_argument("--volumes", nargs="*", metavar="VOLUME", help="score Table V too")
    parser.add_argument("--runs", type=Path, help="keep the runs here; a second call goes on with them")
    parser.add_argument("--device", default="auto")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
