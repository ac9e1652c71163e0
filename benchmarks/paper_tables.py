"""Tables II to V of the paper, measured again: published numbers beside ours, measured or "not run".

    python benchmarks/paper_tables.py recompute                 # Tables II and III from the authors' own maps
    python benchmarks/paper_tables.py train --data covid-semiseg --out runs/paper_tables [--networks NAME ...]
    python benchmarks/paper_tables.py score runs/paper_tables [NAME=FILE ...] [--volumes ...] [--maps FOLDER]
    python benchmarks/paper_tables.py cost [--networks NAME ...]
    python benchmarks/paper_tables.py figures MAPS [--out FOLDER]
    python benchmarks/paper_tables.py merge OTHER.json          # what another machine measured

All but ``train`` and ``figures`` change their part of ``benchmarks/results/paper_tables.json``
(``--json``) and write the tables beside it as Markdown.

``train`` trains every system by one recipe, each in its own folder; a finished one is left out, an
interrupted one goes on, one that fails stops no other. With ``--time-budget`` the minutes left are shared
over the systems not done yet by their multiply-adds, and the schedule of each is fitted to its share, so
that all see about as many slices; without it every system sees the 1500 of the recipe.

``score`` takes the folder that ``train`` filled, single runs and ONNX files as NAME=FILE; a name that is
no system of the paper gets a row of its own. ``--volumes`` is Table V, through the path of
``infnet-infer``.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from paper import document
from paper.costs import cost
from paper.figures import draw_figures
from paper.opened import WEIGHTS
from paper.scores import VOLUMES, score_maps
from paper.scoring import score_all
from paper.systems import SYSTEMS, chosen
from paper.training import train_all

DATA = Path(os.environ.get("INFNET_DATA") or Path(__file__).parents[2] / "shared" / "data")


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    done: int = options.command(options)
    return done


def recompute(options: argparse.Namespace) -> int:
    found = document.read(options.json)
    found["recomputed"] = score_maps(options.data)
    document.write(options.json, found)
    return 0


def train(options: argparse.Namespace) -> int:
    failed = train_all(
        chosen(options.networks),
        options.data,
        options.out,
        device=options.device,
        changes=options.set,
        budget_s=None if options.time_budget is None else 60 * options.time_budget,
    )
    return 1 if failed else 0


def score(options: argparse.Namespace) -> int:
    found = document.read(options.json)
    for name, values in score_all(
        _files(options.what, options.networks),
        options.data,
        device=options.device,
        volumes=options.volumes,
        maps=options.maps,
    ):
        document.write(options.json, document.merge(found, document.of_system(name, values)))
    return 0


def measure_costs(options: argparse.Namespace) -> int:
    found = document.read(options.json)
    for name in chosen(options.networks):
        if not SYSTEMS[name].is_known:
            print(f"{name}: there is no network '{SYSTEMS[name].network}'", file=sys.stderr)
            continue
        found["costs"][name] = cost(name, options.turns)
        print(f"{name}: {found['costs'][name]}", file=sys.stderr)
        document.write(options.json, found)
    return 0


def figures(options: argparse.Namespace) -> int:
    names = [
        *SYSTEMS,
        *(path.stem for path in sorted(options.maps.glob("*.npz")) if path.stem not in SYSTEMS),
    ]
    for path in draw_figures(options.maps, options.data, options.out, options.networks or names):
        print(path)
    return 0


def merge(options: argparse.Namespace) -> int:
    found = document.read(options.json)
    for file in options.files:
        document.merge(found, document.read(file))
    document.write(options.json, found)
    return 0


def _files(what: list[str], networks: list[str]) -> dict[str, Path]:
    """Name of each system to its file, from folders of runs and NAME=FILE."""
    files: dict[str, Path] = {}
    for text in what:
        name, sign, path = text.partition("=")
        if sign:
            files[name] = Path(path)
            continue
        there = {n: Path(text) / n for n in chosen(networks) if (Path(text) / n / WEIGHTS).is_file()}
        if not there:
            raise SystemExit(
                f"{text} holds no run of {', '.join(chosen(networks))}; give NAME=FILE for others"
            )
        files |= there
    return files


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: object, text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text)
        one.set_defaults(command=function)
        return one

    one = command("recompute", recompute, "from the authors' own maps")
    _add_data(one)
    _add_json(one)

    one = command("train", train, "train every system by one recipe")
    one.add_argument("--data", type=Path, required=True, help="folder of COVID-SemiSeg, or a pack of it")
    one.add_argument("--out", type=Path, required=True, help="each system gets a folder in it")
    one.add_argument("--time-budget", type=float, metavar="MINUTES", help="for all that is not done yet")
    one.add_argument("--set", action="append", default=[], help="change a value of the recipe, for all")
    _add_networks(one)
    _add_device(one, "auto")

    one = command("score", score, "score trained systems and ONNX files")
    one.add_argument("what", nargs="+", metavar="RUNS|NAME=FILE")
    one.add_argument(
        "--volumes", nargs="*", metavar="VOLUME", help=f"Table V; {', '.join(VOLUMES)} if none is named"
    )
    one.add_argument("--maps", type=Path, help="keep the maps of some slices here, for the figures")
    _add_networks(one)
    _add_data(one)
    _add_json(one)
    _add_device(one, "cpu")

    one = command("cost", measure_costs, "parameters, multiply-adds and CPU time")
    one.add_argument("--turns", type=int, default=3, help="of the CPU time; 0 leaves it out")
    _add_networks(one)
    _add_json(one)

    one = command("figures", figures, "slices and masks, as the paper's Figures 7 and 8")
    one.add_argument("maps", type=Path, help="folder that score --maps filled")
    one.add_argument("--out", type=Path, required=True)
    _add_networks(one)
    _add_data(one)

    one = command("merge", merge, "take over what other files measured")
    one.add_argument("files", type=Path, nargs="+")
    _add_json(one)
    return parser.parse_args(arguments)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        default=DATA,
        help="folder of all sets: INFNET_DATA, else ../shared/data beside the checkout",
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, default=document.RESULTS, help="the file of all results")


def _add_networks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--networks", nargs="+", default=[], metavar="NAME", help=f"of {', '.join(SYSTEMS)}")


def _add_device(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--device", default=default, help="auto, cpu, cuda or cuda:N")


if __name__ == "__main__":
    sys.exit(main())
