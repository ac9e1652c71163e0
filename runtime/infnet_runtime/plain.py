"""Frozen dataclasses from the plain values of JSON and TOML, and back.

The one reader behind manifest, sidecar, checkpoint and configuration. It raises its own errors, which know
the place and what was found; each caller says in its own words, and with its own number, what to do.
"""

import dataclasses
import difflib
import json
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

_T = TypeVar("_T")

Readers: TypeAlias = Mapping[type, Callable[[object], object]]
"""Types that have a reader of their own; it is given the plain value."""

Keys: TypeAlias = Literal["every", "required", "unchecked"]


_OMITTED = "infnet: left out where it is the default"
_INLINE = "infnet: its keys stand among those of its owner"
INLINE: Mapping[str, bool] = types.MappingProxyType({_INLINE: True})
"""Metadata of a field that is a dataclass, whose own fields stand among those of its owner in plain values.

For what is nested where it is used and flat where it is written. Its default is the one without arguments.
"""


class PlainError(ValueError):
    """Plain values that do not fill a dataclass.

    Parameters
    ----------
    place
        Where they stand: the source, and the keys down to them.
    text
        What is wrong there, for callers without words of their own.
    """

    def __init__(self, place: str, text: str) -> None:
        super().__init__(text)
        self.place = place


def values_of_json(text: str | bytes) -> Any:  # noqa: ANN401 - whatever is written there
    """Values of JSON that a stranger may have written.

    Raises
    ------
    ValueError
        If it is none, or nested deeper than Python follows, which ``json`` tells in another way.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("brackets within brackets, far too many of them") from error


class NoTable(PlainError):
    """Something else than keys with values."""

    def __init__(self, place: str, found: object) -> None:
        super().__init__(place, f"{place}: found {found!r}, expected a table")
        self.found = found


class WrongKeys(PlainError):
    """Keys that the dataclass does not have, or keys it needs; the text names the nearest known one."""

    def __init__(self, place: str, *, unknown: list[str], missing: list[str], known: list[str]) -> None:
        text = f"lacks {', '.join(missing)}"
        if unknown:
            near = difflib.get_close_matches(unknown[0], known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(sorted(known))}"
            text = f"unknown key '{unknown[0]}'; {hint}"
        super().__init__(place, f"{place}: {text}")
        self.unknown, self.missing = unknown, missing


class WrongValue(PlainError):
    """A value of another type, or none of those that are allowed; ``hint`` is the type of the field."""

    def __init__(self, place: str, found: object, expected: str, hint: Any) -> None:  # noqa: ANN401
        super().__init__(place, f"{place} is {found!r}, expected {expected}")
        self.found, self.hint = found, hint


def from_plain(
    kind: type[_T],
    values: object,
    place: str,
    *,
    keys: Keys = "required",
    to_float: bool = False,
    readers: Readers | None = None,
) -> _T:
    """Fill a dataclass, and those in it.

    Parameters
    ----------
    values
        As ``json`` or ``tomllib`` give them. Lists become tuples.
    place
        Where they stand, for messages.
    keys
        Which keys there must be: ``every`` field, or those that have no default. ``unchecked`` leaves unknown
        and missing ones to the constructor and its ``TypeError``.
    to_float
        Whether a whole number becomes a float where one is expected; else it stays as it was written.
    readers
        For types that read themselves.

    Raises
    ------
    PlainError
        If keys or types do not fit. What the dataclass itself refuses passes through.

    Examples
    --------
    >>> @dataclasses.dataclass
    ... class Box:
    ...     size: tuple[int, int]
    ...     name: str = "box"
    >>> from_plain(Box, {"size": [2, 3]}, "box.json")
    Box(size=(2, 3), name='box')
    >>> from_plain(Box, {"size": [2, 3], "nane": "b"}, "box.json")
    Traceback (most recent call last):
        ...
    infnet_runtime.plain.WrongKeys: box.json: unknown key 'nane'; did you mean 'name'?
    """
    return _Filler(keys, to_float, readers or {}).fill(kind, values, place)


def to_plain(value: object) -> Any:  # noqa: ANN401 - plain values are of any type
    """Plain values of a dataclass, down to the last: dicts, lists, numbers and strings.

    Examples
    --------
    >>> @dataclasses.dataclass
    ... class Box:
    ...     size: tuple[int, int]
    >>> to_plain(Box((2, 3)))
    {'size': [2, 3]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain: dict[str, Any] = {}
        for f in dataclasses.fields(value):
            part = getattr(value, f.name)
            if _INLINE in f.metadata:
                plain |= to_plain(part)
            elif _OMITTED not in f.metadata or part != f.default:
                plain[f.name] = to_plain(part)
        return plain
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return value


def omitted(default: _T) -> _T:
    """A field of a dataclass that :func:`to_plain` leaves out where it has its default.

    For keys that came later: what does not use them is written as before, and older versions read it.
    """
    made: _T = dataclasses.field(default=default, metadata={_OMITTED: True})
    return made


@dataclasses.dataclass(frozen=True)
class _Filler:
    keys: Keys
    to_float: bool
    readers: Readers

    def fill(self, kind: type[_T], values: object, place: str) -> _T:
        if not isinstance(values, dict):
            raise NoTable(place, values)
        fields = _fields_by_key(kind)
        if self.keys != "unchecked":
            unknown = [key for key in values if key not in fields]
            missing = [
                name
                for name, field in fields.items()
                if name not in values and (self.keys == "every" or _has_no_default(field))
            ]
            if unknown or missing:
                raise WrongKeys(place, unknown=unknown, missing=missing, known=list(fields))
        foreign = {key: value for key, value in values.items() if key not in fields}
        return kind(**self._arguments(kind, values, place), **foreign)

    def _arguments(self, kind: type, values: dict[str, Any], place: str) -> dict[str, Any]:
        """What the constructor gets, of the keys that it knows."""
        hints, found = get_type_hints(kind), dict[str, Any]()
        for field in dataclasses.fields(kind):
            name = field.name
            if _INLINE in field.metadata:
                found[name] = hints[name](**self._arguments(hints[name], values, place))
            elif name in values:
                found[name] = self._converted(hints[name], values[name], f"{place}: {name}")
        return found

    def _converted(self, hint: Any, value: Any, place: str) -> Any:  # noqa: ANN401 - any type and value
        origin, parts = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):  # of something and None
            if value is None and types.NoneType in parts:
                return None
            return self._converted(next(p for p in parts if p is not types.NoneType), value, place)
        if hint in self.readers:
            return self.readers[hint](value)
        if dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            return self.fill(hint, value, place)
        if origin is tuple and isinstance(value, list):
            if parts[-1] is Ellipsis:
                parts = (parts[0],) * len(value)
            if len(parts) == len(value):
                return self._items(hint, parts, value, place)
        elif origin is dict and isinstance(value, dict):
            return {key: self._converted(parts[1], item, place) for key, item in value.items()}
        elif origin is Literal:
            if value in parts:
                return value
            raise WrongValue(place, value, f"one of {', '.join(parts)}", hint)
        elif hint is float and type(value) in (int, float):
            return float(value) if self.to_float else value
        elif type(value) is hint:
            return value
        raise WrongValue(place, value, getattr(hint, "__name__", str(hint)), hint)

    def _items(self, hint: Any, parts: tuple[Any, ...], values: list[Any], place: str) -> tuple[Any, ...]:  # noqa: ANN401
        try:
            return tuple(
                self._converted(part, value, _place_of_item(place, number, value))
                for number, (part, value) in enumerate(zip(parts, values, strict=True))
            )
        except WrongValue as error:
            if error.place == place:
                error.found, error.hint = values, hint  # what there is and what is expected is the whole list
            raise


def _place_of_item(place: str, number: int, item: object) -> str:
    """A table in a list by its name or number; other items by the list."""
    if not isinstance(item, dict):
        return place
    name = item.get("name")
    return f"{place} '{name}'" if isinstance(name, str) else f"{place}[{number}]"


def _fields_by_key(kind: type) -> "dict[str, dataclasses.Field[Any]]":
    """Fields by the keys that they have in plain values."""
    hints, found = get_type_hints(kind), dict[str, "dataclasses.Field[Any]"]()
    for field in dataclasses.fields(kind):
        found |= _fields_by_key(hints[field.name]) if _INLINE in field.metadata else {field.name: field}
    return found


def _has_no_default(field: "dataclasses.Field[Any]") -> bool:
    return field.default is field.default_factory is dataclasses.MISSING
