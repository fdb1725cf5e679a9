"""Turns pydantic's errors into diagnostics for people: one mistake, one message, in our words."""

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import Any, ClassVar, Protocol, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict
from pydantic.dataclasses import dataclass as validated_dataclass

from buildsys.authoring.syntax.document import KeyPath
from buildsys.errors import Diagnostic, InputError, shorten
from buildsys.text import did_you_mean, nearest
from buildsys.typed_json import Mismatch

T = TypeVar("T")


class Locate(Protocol):
    """Makes a diagnostic at the place where `path` was written, at its key or at its value."""

    def __call__(
        self,
        path: KeyPath,
        message: str,
        hint: str = "",
        key: bool = False,
        severity: str = "error",
    ) -> Diagnostic: ...


_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "model_type": "a block of `key: value` lines",
    "dict_type": "a block of `key: value` lines",
    "model_attributes_type": "a block of `key: value` lines",
    "dataclass_type": "a block of `key: value` lines",
    "tuple_type": "a list",
    "list_type": "a list",
}
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_MOST_KEYS = 16
"""The most keys of a block that are all listed: a recipe has this many."""
_DOTTED = ("version", "compute_capability")
"""Text that looks like a number and is not one."""
_LIMITS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


class Block(BaseModel):
    """Base of everything that people write: unknown keys are errors, values are not converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    ELSEWHERE: ClassVar[dict[str, str]] = {}
    """Keys that belong to another block, with the hint for them."""
    BESIDE: ClassVar[tuple[str, ...]] = ()
    """Keys that are also written in the block, and read separately."""


def parse(kind: type[T], data: object, path: KeyPath, locate: Locate) -> T:
    """Return what people wrote at `path` as a `Block`, or as a step's settings dataclass.

    Raises InputError with every mistake at its place.
    """
    try:
        if not issubclass(kind, BaseModel) and not isinstance(data, dict):
            message = f"{_name(path)} must be a block of `key: value` lines, not {_show(data)}"
            raise InputError(locate(path, message))
        return _validate(kind, data)
    except pydantic.ValidationError as error:
        errors = _join_choices(error.errors())
        diagnostics = [_diagnose(kind, item, path, locate) for item in errors]
        unknown = (_place(item) for item in errors if item["type"] in _UNKNOWN)
        meant = {nearest_key(kind, place) for place in unknown}
        shown = (
            diagnostic
            for item, diagnostic in zip(errors, diagnostics, strict=True)
            if item["type"] not in _MISSING or str(item["loc"][-1]) not in meant
        )
        raise InputError(*shown) from error


def leave_out_mistakes(
    kind: type, data: dict[str, object], instead: Mapping[KeyPath, object]
) -> tuple[dict[str, object], frozenset[KeyPath]]:
    """Return the values without their mistakes, and the places of these, to check the rest.

    The place of a missing key is among them if an unknown key beside it was meant to be it.
    `instead`: values for places that a block requires. A block without a required key is left out
    completely; `kind` itself may lack keys.
    """
    wrong: set[KeyPath] = set()
    while True:
        try:
            _validate(kind, data)
        except pydantic.ValidationError as error:
            found = {_place(item) for item in error.errors()}
            unknown = [_place(item) for item in error.errors() if item["type"] in _UNKNOWN]
        else:
            return data, frozenset(wrong)
        before = data
        likely = {(*place[:-1], nearest_key(kind, place) or "") for place in unknown}
        wrong |= {place for place in likely if place[-1] and not _holds(data, place)}
        for place in sorted(found, key=len):
            data = _without(data, place, instead)
        wrong |= found
        if data == before:
            return data, frozenset(wrong)


def settings_schema(kind: type) -> dict[str, object]:
    """Return the JSON Schema of a settings dataclass."""
    return pydantic.TypeAdapter(_checked(kind)).json_schema()


def _validate(kind: type[T], data: Any) -> T:
    """Validate the data. Raises pydantic's ValidationError."""
    if issubclass(kind, BaseModel):
        return kind.model_validate(data)
    checked = _checked(typing.cast(type, kind))(**data)
    return kind(**{name: vars(checked)[name] for name in _keys(kind)})


def _without(
    data: dict[str, object], place: KeyPath, instead: Mapping[KeyPath, object]
) -> dict[str, object]:
    """Return the block without the value at `place`, or with the value from `instead`."""
    for end in range(len(place), 0, -1):
        part = place[:end]
        if part in instead or _holds(data, part):
            return _replaced(data, part, instead.get(part))
    return data


def _holds(data: object, place: KeyPath) -> bool:
    """Return whether a key is written; entries of lists are left out with their list."""
    for part in place:
        if not isinstance(data, dict) or part not in data:
            return False
        data = data[part]
    return True


def _replaced(data: object, place: KeyPath, value: object) -> dict[str, object]:
    """Return a copy of the block with another value at `place`, or without it for None."""
    block = dict(data) if isinstance(data, dict) else {}
    key, *rest = place
    new = _replaced(block.get(key), tuple(rest), value) if rest else value
    block.pop(key, None)
    return {**block, str(key): new} if new is not None else block


@cache
def _checked(kind: type) -> Any:
    """Return the dataclass with pydantic's strict checks: "30" is not a number, 1 is not a
    boolean.
    """
    strict = ConfigDict(extra="forbid", strict=True)
    return validated_dataclass(kind, config=strict, frozen=True, kw_only=True)


def _diagnose(kind: type, error: Any, path: KeyPath, locate: Locate) -> Diagnostic:
    loc = _place(error)
    where, name = (*path, *loc), shorten(str(loc[-1])) if loc else ""
    code, value, context = error["type"], error.get("input"), error.get("ctx", {})
    if code in _UNKNOWN:
        return locate(where, f"unknown key `{name}`", _suggest_key(kind, loc), key=True)
    if code in _MISSING:
        return locate(where[:-1], f"`{name}` is missing", "", key=True)
    if code == "literal_error":
        choices = [
            choice.strip("'") for choice in context["expected"].replace(" or ", ", ").split(", ")
        ]
        return locate(
            where, f"`{name}` cannot be {_show(value)}", did_you_mean(str(value), choices)
        )
    if name in _DOTTED and isinstance(value, int | float):
        found = locate(where, f"`{name}` must be a quoted string, not a number", "")
        hint = f'write "{_as_written(found, value)}": YAML reads 10.10 as 10.1'
        return dataclasses.replace(found, hint=hint)
    if code == "string_pattern_mismatch":
        dots = ", dots" if "." in context["pattern"] else ""
        words = f"use lowercase letters, digits, hyphens{dots}; start with a letter or digit"
        return locate(where, f"`{name}` cannot be {_show(value)}", words)
    if code == "too_short":
        return locate(where, f"`{name}` is empty", "")
    if code in _KINDS:
        return locate(where, f"{_name(where)} must be {error['kinds']}, not {_show(value)}", "")
    if code in _LIMITS:
        key, words = _LIMITS[code]
        return locate(where, f"`{name}` must be {words} {context[key]:g}, not {_show(value)}", "")
    if code == "value_error":
        found = context["error"]
        message, _, hint = str(found).partition("; ")
        inside = found.place if isinstance(found, Mismatch) else ()
        return locate((*where, *inside), message, hint)
    return locate(where, f"`{name}`: {error['msg']}", "")


def _as_written(place: Diagnostic, value: int | float) -> str:
    """Return the number as written in its line, with a trailing zero; otherwise the number."""
    text = place.source[place.column - 1 :][: place.length]
    try:
        return text if float(text) == value else str(value)
    except ValueError:
        return str(value)


def _join_choices(errors: list[Any]) -> list[Any]:
    """Return one error for a value of several possible kinds; pydantic reports one for each kind.

    If the value is a block with a mistake in it, that mistake is enough; otherwise one error lists
    all `kinds`.
    """
    at: dict[KeyPath, list[Any]] = {}
    for item in errors:
        at.setdefault(_place(item), []).append(item)
    deeper = {place[:length] for place in at for length in range(len(place))}
    joined = []
    for place, items in at.items():
        kinds = [item for item in items if item["type"] in _KINDS]
        joined += [item for item in items if item not in kinds]
        if kinds and place not in deeper:
            names = dict.fromkeys(_KINDS[item["type"]] for item in kinds)
            joined.append({**kinds[0], "kinds": " or ".join(names)})
    return joined


def _place(error: Any) -> KeyPath:
    return tuple(part for part in error["loc"] if not _is_noise(part))


def _name(path: KeyPath) -> str:
    """Return the name of a place in messages: its key, or an entry of its list."""
    if not path:
        return "the file"
    return f"`{path[-1]}`" if isinstance(path[-1], str) else f"an entry of `{path[-2]}`"


def _is_noise(part: object) -> bool:
    """Return whether a part of pydantic's location is a name of a union member or validator."""
    return isinstance(part, str) and (
        "[" in part or part in ("str", "int", "float", "bool", "none")
    )


def _show(value: Any) -> str:
    if isinstance(value, str):
        return f'"{shorten(value)}"'
    if isinstance(value, dict):
        return "a block"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _suggest_key(kind: type, place: KeyPath) -> str:
    """Return the hint for an unknown key."""
    name, known, elsewhere = _known_keys(kind, place)
    return elsewhere.get(name) or did_you_mean(name, known, most=_MOST_KEYS)


def nearest_key(kind: type, place: KeyPath) -> str | None:
    """Return the key that an unknown one was probably meant to be, if there is one."""
    name, known, elsewhere = _known_keys(kind, place)
    return None if name in elsewhere else nearest(name, known)


def _known_keys(kind: type, place: KeyPath) -> tuple[str, tuple[str, ...], dict[str, str]]:
    """Return an unknown key, the keys of its block, and those of other blocks with hints."""
    block = _block_at(kind, place[:-1])
    known = (*_keys(block), *getattr(block, "BESIDE", ()))
    return shorten(str(place[-1])), known, getattr(block, "ELSEWHERE", {})


def _block_at(kind: Any, loc: Iterable[str | int]) -> Any:
    """Return the block at `loc` inside `kind`."""
    for part in loc:
        if typing.get_origin(kind) is dict:
            kind = typing.get_args(kind)[1]
            continue
        kind = _unwrap(kind)
        if not isinstance(part, int) and hasattr(kind, "model_fields"):
            field = kind.model_fields.get(part) or next(
                (f for f in kind.model_fields.values() if f.alias == part), None
            )
            kind = field.annotation if field else None
    return _unwrap(kind)


def _keys(kind: Any) -> list[str]:
    """Return the keys that a block accepts."""
    if hasattr(kind, "model_fields"):
        return [field.alias or name for name, field in kind.model_fields.items()]
    return [field.name for field in dataclasses.fields(kind)] if is_dataclass(kind) else []


def _unwrap(kind: Any) -> Any:
    """Return X for Optional[X], tuple[X, ...], dict[str, X]."""
    origin = typing.get_origin(kind)
    arguments = [a for a in typing.get_args(kind) if a not in (type(None), ...)]
    if origin in (typing.Union, types.UnionType, tuple, list) and arguments:
        return _unwrap(arguments[0])
    if origin is dict:
        return _unwrap(arguments[1])
    return kind
