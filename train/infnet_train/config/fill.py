"""Configuration from TOML and the command line: values read, single ones changed, dataclasses filled."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from infnet_runtime.plain import PlainError, from_plain
from infnet_train.errors import ConfigError

_T = TypeVar("_T")


def read_values(path: Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """Read a TOML file; ``overrides`` are ``key=value`` or ``section.key=value`` in TOML syntax.

    Raises
    ------
    ConfigError
        If the file is missing or no TOML, or an override is not ``key=value``.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no configuration at {path}", code=3101) from error
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
    except PlainError as error:
        raise ConfigError(str(error), code=3101) from error


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override}: expected key=value, for example epochs=10", code=3101)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *sections, last = key.strip().split(".")
    for section in sections:
        values = values.setdefault(section, {})
    values[last] = value
