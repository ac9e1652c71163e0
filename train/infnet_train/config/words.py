"""Types and values of a configuration in words: for messages and for the table of all keys."""

import types
from typing import Any, Literal, Union, get_args, get_origin

_ONE = {int: "a whole number", float: "a number", bool: "true or false", str: "text in quotes"}
_MANY = {int: "whole numbers", float: "numbers", bool: "true or false", str: "texts"}
_SAMPLES: dict[Any, object] = {int: 8, float: 0.5, bool: True, str: "labelled"}
_SAMPLE_LISTS: dict[Any, list[object]] = {int: [256, 352], float: [0.0, 255.0], str: ["a", "b"]}


def type_in_words(hint: Any) -> str:  # noqa: ANN401 - any type
    """What a value of this type is called.

    Examples
    --------
    >>> type_in_words(tuple[int, ...])
    'a list of whole numbers'
    >>> type_in_words(Literal["none", "transpose"])
    '"none" or "transpose"'
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return type_in_words(next(p for p in parts if p is not types.NoneType))
    if origin is Literal:
        names = [toml(part) for part in parts]
        return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    if origin is tuple:
        if get_origin(parts[0]) is Literal:
            return f"a list of {type_in_words(parts[0])}"
        number = "" if parts[-1] is Ellipsis else f"{len(parts)} "
        return f"a list of {number}{_MANY.get(parts[0], 'tables')}"
    return _ONE.get(hint, "a table")


def sample(hint: Any) -> str:  # noqa: ANN401 - any type
    """A value of this type, as TOML writes it; empty for a table.

    Examples
    --------
    >>> sample(tuple[int, ...]), sample(float)
    ('[256, 352]', '0.5')
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return sample(next(p for p in parts if p is not types.NoneType))
    if origin is Literal:
        return toml(parts[0])
    if origin is tuple and get_origin(parts[0]) is Literal:
        return toml(get_args(parts[0]))
    if origin is tuple and parts[0] in _SAMPLE_LISTS:
        values = _SAMPLE_LISTS[parts[0]]
        return toml(values if parts[-1] is Ellipsis else (values * len(parts))[: len(parts)])
    return toml(_SAMPLES[hint]) if hint in _SAMPLES else ""


def toml(value: object) -> str:
    """A plain value as TOML writes it.

    Examples
    --------
    >>> toml((True, "a", 0.5))
    '[true, "a", 0.5]'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    return f'"{value}"' if isinstance(value, str) else str(value)
