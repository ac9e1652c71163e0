"""infnet against two groups of readers on the labelled volumes, and the readers against each other.

    python benchmarks/validation.py DATA --masks KEEP [--json FILE] [--docs docs/validation.md]

Six volumes, four patients (``radiopaedia-covid-volumes``, its second part and ``radiopaedia-second-reader``):
each case on the slices that both groups read, and as a whole against the first group. Scans without infection
beside them: whatever is marked there is false. Masks are those of ``infnet-infer`` as it comes; the folder
KEEP keeps them, so that the numbers can be made anew in a minute. Prints the tables; ``--docs`` puts them in
the page, and draws its figures into ``figures/`` beside it.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from readers.cases import (
    VOLUMES,
    Healthy,
    Masks,
    healthy_examinations,
    labelled_case,
    masks_of_case,
    masks_of_healthy,
    options_of_masks,
)
from readers.figures import draw_bland_altman, draw_volumes
from readers.scores import over_cases, score_case, score_healthy
from readers.tables import to_markdown

from infnet_runtime.version import __version__

SCHEMA = "infnet.validation/1"
SEED, DRAWS = 2026, 2000
BEGIN, END = "<!-- made by benchmarks/validation.py -->", "<!-- end -->"
FIGURES = {"validation-volumes.svg": draw_volumes, "validation-bland-altman.svg": draw_bland_altman}


def measure(
    data: Path, masks: Masks, examinations: Iterable[Healthy], *, draws: int = DRAWS
) -> dict[str, Any]:
    """Every number of the page.

    Parameters
    ----------
    examinations
        Without infection.
    draws
        Of the bootstrap.
    """
    cases = [score_case(labelled_case(data, known), *masks_of_case(data, known, masks)) for known in VOLUMES]
    healthy = []
    for scan in examinations:
        voxel_ml = [piece.voxel_volume_ml if scan.has_size else None for piece in scan.pieces]
        pieces = list(zip(masks_of_healthy(scan, masks), voxel_ml, strict=True))
        healthy.append(score_healthy(scan.name, scan.note, pieces))
    return {
        "schema": SCHEMA,
        "infnet": __version__,
        "by": masks.by,
        "bootstrap": {"over": "patients", "draws": draws, "seed": SEED},
        "cases": cases,
        "over_cases": over_cases(cases, draws=draws, seed=SEED),
        "healthy": healthy,
    }


def write_page(page: Path, report: dict[str, Any]) -> None:
    """Put the tables between the marks of a page, and its figures into ``figures/`` beside it."""
    page.write_text(with_tables(page.read_text("utf-8"), report), "utf-8")
    for name, draw in FIGURES.items():
        (page.parent / "figures" / name).write_text(draw(report), "utf-8")


def with_tables(text: str, report: dict[str, Any]) -> str:
    """The page with the tables of a report in the place of those it has."""
    before, _, rest = text.partition(f"{BEGIN}\n")
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{to_markdown(report)}\n{END}{after}"


def main() -> None:
    """Measure, print and write."""
    parser = options_of_masks(__doc__)
    parser.add_argument("--docs", type=Path, help="page to put the tables into, and figures beside it")
    options = parser.parse_args()
    masks = Masks.of_options(options)
    try:
        report = measure(options.data, masks, healthy_examinations(options.data))
    finally:
        masks.close()
    if options.json:
        options.json.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", "utf-8")
    print(to_markdown(report))
    if options.docs:
        write_page(options.docs, report)


if __name__ == "__main__":
    main()
