"""Dataclasses from plain values and back: every kind of field, and every reason to refuse."""

import json
import tomllib
from dataclasses import dataclass, field
from typing import Literal

import pytest

from infnet_runtime.plain import INLINE, NoTable, PlainError, WrongKeys, WrongValue, from_plain, to_plain


@dataclass(frozen=True, kw_only=True)
class Inner:
    name: str
    weight: float = 1.0


class Own:
    """A type that reads itself."""

    def __init__(self, text: object) -> None:
        self.text = text


@dataclass(frozen=True, kw_only=True)
class Outer:
    count: int
    pair: tuple[float, float] = (0.0, 1.0)
    many: tuple[Inner, ...] = ()
    maybe: Inner | None = None
    turn: Literal["left", "right"] = "left"
    sizes: dict[str, int] = field(default_factory=dict)
    flag: bool = False
    own: Own | None = None


FULL = Outer(count=2, pair=(0.5, 3), many=(Inner(name="a"), Inner(name="b", weight=2.5)), sizes={"x": 1})


def test_there_and_back_through_json() -> None:
    assert from_plain(Outer, json.loads(json.dumps(to_plain(FULL))), "f", keys="every") == FULL


def test_toml_fills_what_has_no_default() -> None:
    values = tomllib.loads('count = 1\nturn = "right"\n[[many]]\nname = "a"\n[maybe]\nname = "m"\n')
    expected = Outer(count=1, turn="right", many=(Inner(name="a"),), maybe=Inner(name="m"))
    assert from_plain(Outer, values, "f.toml") == expected


def test_whole_numbers_stay_or_become_floats() -> None:
    kept = from_plain(Outer, {"count": 1, "pair": [1, 2]}, "f")
    assert [type(v) for v in kept.pair] == [int, int]
    made = from_plain(Outer, {"count": 1, "pair": [1, 2]}, "f", to_float=True)
    assert [type(v) for v in made.pair] == [float, float]


def test_types_that_read_themselves() -> None:
    made = from_plain(Outer, {"count": 1, "own": [1, {}]}, "f", readers={Own: Own})
    assert made.own is not None
    assert made.own.text == [1, {}]


@pytest.mark.parametrize(
    ("values", "kind", "text"),
    [
        (3, NoTable, "f: found 3, expected a table"),
        ({"count": 1, "maybe": 3}, NoTable, "f: maybe: found 3, expected a table"),
        ({"cuont": 1}, WrongKeys, "f: unknown key 'cuont'; did you mean 'count'?"),
        ({"many": [{"name": "a", "zzz": 1}], "count": 1}, WrongKeys, "known are name, weight"),
        ({}, WrongKeys, "f: lacks count"),
        ({"count": 1, "maybe": {}}, WrongKeys, "f: maybe: lacks name"),
        ({"count": True}, WrongValue, "f: count is True, expected int"),
        ({"count": 1.0}, WrongValue, "f: count is 1.0, expected int"),
        ({"count": 1, "pair": [1, True]}, WrongValue, "f: pair is True, expected float"),
        ({"count": 1, "pair": [1, 2, 3]}, WrongValue, "f: pair is [1, 2, 3], expected tuple"),
        ({"count": 1, "pair": "ab"}, WrongValue, "f: pair is 'ab', expected tuple"),
        ({"count": 1, "turn": "up"}, WrongValue, "f: turn is 'up', expected one of left, right"),
        ({"count": 1, "sizes": {"x": "1"}}, WrongValue, "f: sizes is '1', expected int"),
        ({"count": 1, "sizes": []}, WrongValue, "f: sizes is [], expected dict"),
        ({"count": 1, "flag": 1}, WrongValue, "f: flag is 1, expected bool"),
    ],
)
def test_what_does_not_fit_is_named(values: object, kind: type[PlainError], text: str) -> None:
    with pytest.raises(kind) as caught:
        from_plain(Outer, values, "f")
    assert text in str(caught.value)


@dataclass(frozen=True, kw_only=True)
class Size:
    rows: int = 1
    inner: Inner | None = None


@dataclass(frozen=True, kw_only=True)
class Shape:
    size: Size = field(default_factory=Size, metadata=INLINE)
    depth: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Box:
    name: str
    shape: Shape = field(default_factory=Shape, metadata=INLINE)


def test_what_is_inline_stands_among_the_keys_of_its_owner() -> None:
    flat = {"name": "b", "depth": 2.0, "rows": 3, "inner": {"name": "a", "weight": 1.0}}
    box = Box(name="b", shape=Shape(depth=2.0, size=Size(rows=3, inner=Inner(name="a"))))
    assert from_plain(Box, flat, "f") == box
    assert to_plain(box) == flat
    assert from_plain(Box, {"name": "b"}, "f") == Box(name="b")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"name": "b", "rowz": 3}, "f: unknown key 'rowz'; did you mean 'rows'?"),
        ({"name": "b", "shape": {}}, "f: unknown key 'shape'; known are depth, inner, name, rows"),
        ({"name": "b", "rows": "3"}, "f: rows is '3', expected int"),
        ({"name": "b", "inner": {}}, "f: inner: lacks name"),
        ({"rows": 3}, "f: lacks name"),
    ],
)
def test_mistakes_in_what_is_inline_are_named_where_they_stand(values: object, text: str) -> None:
    with pytest.raises(PlainError) as caught:
        from_plain(Box, values, "f")
    assert str(caught.value) == text


def test_every_key_is_needed_on_demand() -> None:
    with pytest.raises(WrongKeys) as caught:
        from_plain(Inner, {"name": "a"}, "f", keys="every")
    assert (caught.value.place, caught.value.unknown, caught.value.missing) == ("f", [], ["weight"])


def test_keys_can_be_left_to_the_constructor() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'extra'"):
        from_plain(Inner, {"name": "a", "extra": 1}, "f", keys="unchecked")
