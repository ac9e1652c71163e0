"""The table of all keys of a recipe, from the dataclasses that a recipe fills and from their docstrings."""

import dataclasses
import re
import textwrap
import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin, get_type_hints

from infnet_runtime.plain import INLINE, to_plain
from infnet_train.config.lungs import LungTrainConfig
from infnet_train.config.schema import TrainConfig
from infnet_train.config.words import toml, type_in_words

_HEAD = """\
# Keys of a recipe

Written by `infnet-train keys > docs/recipe.md`; a test compares this page with the code.

A recipe is a TOML file: `name` and at least one `[[sources]]` are needed, all else has a default.
`--set KEY=VALUE` changes one value; keys in tables are joined by dots (`augment.mirror=0.5`), and a source is
named by its name (`sources.labelled.turn=none`, `'sources."pseudo radiopaedia".draws=40'`). Unknown keys and
other types are refused.

A recipe may have stages, trained one after the other: a table `[stages.NAME]` for each, with those of the
keys below that are other than at the top. What only a stage has:

| key | what it says |
| --- | --- |
| `kind` | `"train"`, the default, or `"propagate"`: pseudo-labels by Algorithm 1 of the paper |
| `sources` | a table: names of sources at the top that this stage takes, each with the keys it changes |
| `validation` | `false` leaves the validation of the top out |
| `init_from`, `teacher`, `priors.model`, `folder` | may begin with `stage:NAME`, an earlier stage |

`--set KEY=VALUE` holds for all stages, `--set stages.NAME.KEY=VALUE` for one.
"""


def recipe_keys() -> str:
    """All keys as Markdown: what they are, their defaults and what they say."""
    parts = [_HEAD, *_sections(TrainConfig, "", "At the top")]
    parts += _sections(LungTrainConfig, "", "The lung network: `infnet-train lungs train`")
    return "\n".join(parts)


def _sections(kind: type, path: str, title: str, seen: tuple[Any, ...] = ()) -> Iterator[str]:
    """A table for a dataclass, and one for each that stands in it as a table of its own."""
    rows, inner = list[str](), list[tuple[Any, str, str]]()
    for field, hint, text in _fields(kind):
        default = _default(field)
        table = _table_type(hint)
        if table is None or not dataclasses.is_dataclass(table):
            rows.append(f"| `{field.name}` | {_type(hint)} | {default} | {text} |")
            continue
        many = get_origin(hint) is tuple
        place = f"{path}.{field.name}".lstrip(".")
        written = f"tables `[[{place}]]`" if many else f"a table `[{place}]`"
        rows.append(f"| `{field.name}` | {written} | {default} | {text} |")
        if table not in seen:
            inner.append((table, place, written.split(" ")[-1]))
            seen = (*seen, table)
    yield f"## {title}\n"
    yield from ("| key | type | default | what it says |", "| --- | --- | --- | --- |", *rows, "")
    for table, place, below in inner:
        yield from _sections(table, place, below, seen)


def _fields(kind: type) -> Iterator[tuple["dataclasses.Field[Any]", Any, str]]:
    hints, texts = get_type_hints(kind), _texts(kind)
    for field in dataclasses.fields(kind):
        if field.metadata == INLINE:
            yield from _fields(hints[field.name])
        else:
            yield field, hints[field.name], texts[field.name]


def _texts(kind: type) -> dict[str, str]:
    """What the docstring of a dataclass says about its fields, each in one line of Markdown."""
    doc = textwrap.dedent(f"    {kind.__doc__}")
    listed = doc.partition("----------\n")[2]
    found: dict[str, str] = {}
    for names, text in re.findall(r"^(\w[^\n]*)\n((?:(?:    [^\n]*)?\n)+)", listed + "\n", re.MULTILINE):
        keys, _, unit = names.partition(" : ")
        line = " ".join(text.split()).replace("``", "`").replace("|", "\\|")
        line = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", line)
        for key in keys.split(", "):
            found[key] = f"{line} ({unit})" if unit else line
    return found


def _default(field: "dataclasses.Field[Any]") -> str:
    if field.default is not dataclasses.MISSING:
        return "none" if field.default is None else f"`{toml(to_plain(field.default))}`"
    if field.default_factory is not dataclasses.MISSING:
        return "its own defaults"
    return "needed"


def _table_type(hint: Any) -> Any:  # noqa: ANN401 - any type
    """The dataclass in a type such as ``tuple[X, ...]`` or ``X | None``."""
    if get_origin(hint) in (Union, types.UnionType, tuple):
        return get_args(hint)[0]
    return hint


def _type(hint: Any) -> str:  # noqa: ANN401 - any type
    return re.sub(r'"[^"]*"', lambda found: f"`{found[0]}`", type_in_words(hint))
