"""Configuration from TOML and the command line: values read, single ones changed, dataclasses filled."""

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from infnet_runtime.errors import ModelError
from infnet_runtime.plain import PlainError, WrongValue, from_plain
from infnet_train.config.words import sample, toml, type_in_words
from infnet_train.errors import ConfigError

_T = TypeVar("_T")


def read_values(path: Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """Read a TOML file; ``overrides`` are ``key=value`` or ``section.key=value`` in TOML syntax.

    A section of ``sources`` is the name of one, or its number from 0. In a recipe with stages a value for all
    of them is also put in place of their own.

    Raises
    ------
    ConfigError
        If the file is missing or no TOML, or an override is not ``key=value`` or goes to a place that is not
        there.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no recipe {path}; give a TOML file that is there", code=3101) from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}", code=3101) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}", code=3101) from error
    for override in overrides or []:
        _apply(values, override)
    return values


def build(kind: type[_T], values: object, source: str) -> _T:
    """Fill a configuration dataclass from plain values, refusing unknown keys and wrong types.

    Raises
    ------
    ConfigError
        With the place, the value found and what was expected.
    """
    try:
        return from_plain(kind, values, source, to_float=True)
    except WrongValue as error:
        key, example = error.place.rsplit(": ", 1)[-1], sample(error.hint)
        shown = f", for example {key} = {example}" if example else ""
        raise ConfigError(
            f"{error.place} is {toml(error.found)}, expected {type_in_words(error.hint)}{shown}", code=3101
        ) from error
    except PlainError as error:
        raise ConfigError(str(error), code=3101) from error
    except ModelError as error:  # of the preprocessing, whose words are about a model file
        raise ConfigError(f"{source}: {error.args[0]}", code=3101) from error


def nearest(name: str, known: Iterable[str]) -> str:
    """Which name may have been meant, or all that there are; a part of a message.

    Examples
    --------
    >>> nearest("labeled", ["labelled", "healthy"])
    "did you mean 'labelled'?"
    >>> nearest("x", ["labelled", "healthy"])
    'there are labelled, healthy'
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names) or 'none'}"


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override}: expected key=value, for example epochs=10", code=3101)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a bare word is a string
    *sections, last = _parts(key.strip())
    place: Any = values
    for number, section in enumerate(sections):
        place = _section(place, section, f"--set {override}", ".".join(sections[:number]) or "the recipe")
    if not isinstance(place, dict):
        raise ConfigError(
            f"--set {override}: {'.'.join(sections)} is {toml(place)}, expected a table and one of its keys",
            code=3101,
        )
    place[last] = value
    stages = values.get("stages")
    if isinstance(stages, dict) and (sections or [last])[0] != "stages":
        for stage in stages.values():
            _replace_own(stage, sections, last, value)


def _parts(key: str) -> list[str]:
    """The parts of a key between its dots; a part that has dots or spaces may stand in quotes."""
    try:
        place, parts = tomllib.loads(f"{key} = 0"), list[str]()
    except tomllib.TOMLDecodeError:
        return key.split(".")
    found: Any = place
    while isinstance(found, dict):
        (part,) = found
        parts.append(part)
        found = found[part]
    return parts


def _section(place: Any, name: str, option: str, where: str) -> Any:  # noqa: ANN401 - any plain value
    """A table in a table, made where it is not there, or one of a list of tables by its name or number."""
    if isinstance(place, dict):
        if "stages" in (where, name) and name not in place:
            of_stages = nearest(name, place) if where == "stages" else "it has no stages"
            raise ConfigError(f"{option}: the recipe has no '{name}'; {of_stages}", code=3101)
        return place.setdefault(name, {})
    if isinstance(place, list) and all(isinstance(item, dict) for item in place):
        for item in place:
            if item.get("name") == name:
                return item
        if name.isdigit() and int(name) < len(place):
            return place[int(name)]
        names = [str(item.get("name")) for item in place]
        raise ConfigError(f"{option}: no '{name}' in {where}; {nearest(name, names)}", code=3101)
    raise ConfigError(f"{option}: {where} is {toml(place)}, expected a table of keys", code=3101)


def _replace_own(stage: object, sections: list[str], last: str, value: object) -> None:
    """Put a value in place of a stage's own, where it has one."""
    for section in sections:
        if not isinstance(stage, dict) or section not in stage:
            return
        stage = stage[section]
    if isinstance(stage, dict) and last in stage:
        stage[last] = value
