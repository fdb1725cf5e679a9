"""Data read from disk becomes a typed value or is refused."""

import dataclasses
import enum
import json
from typing import Literal

import pytest

from buildsys.typed_json import Mismatch, decode, decode_rest


class Colour(enum.StrEnum):
    """Two members."""

    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """A nested value."""

    x: int
    name: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing:
    """One field of each kind."""

    format: Literal[1]
    colour: Colour
    points: tuple[Point, ...]
    pair: tuple[str, float]
    facts: dict[str, str]
    class_: str
    whole: bool
    rest: object


DRAWING = Drawing(
    format=1,
    colour=Colour.BLUE,
    points=(Point(x=1, name=None), Point(x=2, name="two")),
    pair=("a", 0.5),
    facts={"a": "b"},
    class_="plan",
    whole=True,
    rest={"any": ["thing"]},
)


def written() -> dict[str, object]:
    """The drawing as JSON."""
    fields = dataclasses.asdict(DRAWING)
    return fields | {"class": fields.pop("class_")}


def test_a_value_survives_json() -> None:
    """Lists become tuples, objects dataclasses, strings enum members; a Python keyword can be a
    key.
    """
    assert decode(Drawing, json.loads(json.dumps(written()))) == DRAWING


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"colour": "green"},
        {"points": [{"x": True, "name": None}]},
        {"points": [{"x": 1}]},
        {"points": [{"x": 1, "name": None, "y": 2}]},
        {"points": {"x": 1}},
        {"points": "abc"},
        {"pair": ["a"]},
        {"pair": ["a", "0.5"]},
        {"facts": {"a": 1}},
        {"whole": 1},
        {"class_": "plan"},
        {"more": 1},
    ],
    ids=str,
)
def test_what_is_no_such_value_is_refused(change: dict[str, object]) -> None:
    """A wrong type, a missing field and an unknown field are refused."""
    with pytest.raises(ValueError, match=r"is not a valid|it is |missing|unknown key"):
        decode(Drawing, {**written(), **change})


@pytest.mark.parametrize("data", [None, 3, [], "text"], ids=str)
def test_what_is_no_object_is_no_dataclass(data: object) -> None:
    """Data that is not an object is refused for a dataclass."""
    with pytest.raises(ValueError, match="it is not an object"):
        decode(Drawing, data)


@pytest.mark.parametrize(
    ("change", "place", "what"),
    [
        (
            {"points": [{"x": 1, "name": None}, {"x": "1", "name": None}]},
            ("points", 1, "x"),
            "whole",
        ),
        ({"points": [{"x": 1, "name": 2}]}, ("points", 0, "name"), "it is not a text"),
        ({"pair": ["a", True]}, ("pair", 1), "finite number"),
        ({"facts": {"a": "b", "c": 1}}, ("facts",), "text"),
        ({"more": 1}, ("more",), "unknown key `more`"),
        ({"format": True}, ("format",), "it is not 1"),
    ],
)
def test_a_mismatch_says_where_it_is(
    change: dict[str, object], place: tuple[str | int, ...], what: str
) -> None:
    """A mismatch states its place in the data."""
    with pytest.raises(Mismatch) as caught:
        decode(Drawing, written() | change)
    assert (caught.value.place, what in caught.value.what) == (place, True)


def test_fields_that_are_known_are_left_out_of_the_data() -> None:
    """Fields that are given are not read from the data, which must not contain them."""
    data = written()
    shared = {"points": DRAWING.points, "whole": True}
    rest = {key: value for key, value in data.items() if key not in shared}
    found = decode_rest(Drawing, rest, shared)
    assert found == DRAWING
    assert found.points is DRAWING.points
    with pytest.raises(Mismatch, match="unknown key `whole`"):
        decode_rest(Drawing, rest | {"whole": False}, shared)
    with pytest.raises(Mismatch, match="`pair` is missing"):
        decode_rest(Drawing, {key: rest[key] for key in rest if key != "pair"}, shared)


def test_the_first_field_that_is_wrong_is_named() -> None:
    """The first wrong field in the type's order is named."""
    with pytest.raises(Mismatch) as raised:
        decode(Point, {"x": "1", "name": 2})
    assert raised.value.place == ("x",)
    with pytest.raises(Mismatch) as raised:
        decode(Point, {"x": 1, "name": 2})
    assert raised.value.place == ("name",)
