"""A record is complete and has its type's values, or is invalid."""

import dataclasses
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildsys.names import check_relative_name
from buildsys.records import (
    Digest,
    RelativeName,
    Size,
    is_digest,
    read_record,
    write_record,
)
from buildsys.typed_json import parse


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """One value of each checked kind."""

    format: Literal[1]
    digest: Digest
    name: RelativeName
    size: Size
    seconds: float


KEPT = Kept(format=1, digest="0a" * 32, name="images/a b.jpg", size=0, seconds=1.5)


def test_a_record_gives_its_value_back() -> None:
    """A record is read as it was written."""
    assert read_record(Kept, write_record(KEPT)) == KEPT


@given(st.data())
def test_a_flipped_bit_is_noticed(data: st.DataObject) -> None:
    """A flipped bit at any place is detected."""
    record = bytearray(write_record(KEPT))
    bit = data.draw(st.integers(0, len(record) * 8 - 1))
    record[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ValueError, match=r"."):
        read_record(Kept, bytes(record))


@given(st.integers(0, len(write_record(KEPT)) - 1))
def test_a_cut_record_is_noticed(length: int) -> None:
    """A truncated record is detected."""
    with pytest.raises(ValueError, match=r"."):
        read_record(Kept, write_record(KEPT)[:length])


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "../victim.txt"},
        {"digest": "0A" * 32},
        {"digest": "0a" * 32 + "\n"},
        {"digest": "٠" * 64},
        {"name": "/etc/passwd"},
        {"name": "a/../../b"},
        {"name": "a//b"},
        {"name": ""},
        {"name": "a\\b"},
        {"name": "C:b"},
        {"name": "a\0b"},
        {"name": "a\nb"},
        {"name": "\ud800"},
        {"name": "x" * 256},
        {"name": "x/" * 1600 + "x"},
        {"size": -1},
        {"size": 1.0},
        {"size": True},
        {"size": 1 << 63},
        {"seconds": 10**400},
    ],
    ids=lambda change: ascii(change)[:40],
)
def test_values_are_checked(change: dict[str, object]) -> None:
    """The values of a record with a correct digest are checked, too."""
    with pytest.raises(ValueError, match=r"."):
        read_record(Kept, write_record({**dataclasses.asdict(KEPT), **change}))


@pytest.mark.parametrize(
    "text", ["NaN", "-Infinity", "1e999", '{"a": 1, "a": 2}', "[" * 100_000, b"\xff", ""], ids=repr
)
def test_json_is_strict(text: str | bytes) -> None:
    """Ambiguous JSON is refused."""
    with pytest.raises(ValueError, match=r"."):
        parse(float, text)


def test_what_people_name_their_files_is_a_name() -> None:
    """File names with spaces, dots and other scripts are valid names."""
    for name in ("a b.jpg", ".hidden", "...", "Käse/图.png", "x" * 255):
        check_relative_name(name)
    assert is_digest("0" * 64)
