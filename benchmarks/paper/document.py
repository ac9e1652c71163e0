"""The file of all results: read, changed in one place at a time, and written with its Markdown."""

import json
from pathlib import Path
from typing import Any

from paper.report import to_markdown

SCHEMA = "infnet.paper-tables/1"
RESULTS = Path(__file__).parents[1] / "results" / "paper_tables.json"
PARTS = ("recomputed", "systems", "costs")

Document = dict[str, Any]


def read(path: Path) -> Document:
    """What was measured so far; nothing where the file is not there.

    Raises
    ------
    SystemExit
        If it is another file.
    """
    if not path.is_file():
        return {"schema": SCHEMA, **{part: {} for part in PARTS}}
    document: Document = json.loads(path.read_text("utf-8"))
    if document.get("schema") != SCHEMA:
        raise SystemExit(f"{path} is {document.get('schema')}, expected {SCHEMA}; give another --json")
    return document


def of_system(name: str, values: dict[str, Any]) -> Document:
    """A document that holds the scores of one system alone."""
    return {"schema": SCHEMA, **{part: {} for part in PARTS}, "systems": {name: values}}


def write_numbers(path: Path, document: Document) -> None:
    """The numbers alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", "utf-8")


def write(path: Path, document: Document) -> None:
    """The numbers, and beside them the tables."""
    write_numbers(path, document)
    path.with_suffix(".md").write_text(to_markdown(document) + "\n", "utf-8")


def merge(into: Document, other: Document) -> Document:
    """What another file measured replaces what is here, system by system; a part of one is kept otherwise."""
    for part in PARTS:
        for name, values in other[part].items():
            old = into[part].get(name, {})
            same = part != "systems" or old.get("sha256") == values.get("sha256")
            into[part][name] = {**old, **values} if same else values
    return into
