"""Decodes JSON into frozen dataclasses, or refuses it."""

import dataclasses
import enum
import functools
import itertools
import json
import math
import operator
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import (
    Annotated,
    Any,
    Literal,
    NoReturn,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from buildsys.errors import InternalError

T = TypeVar("T")
Decoder = Callable[[Any], Any]
_SCALARS = (str, int, bool)
_NONE: Mapping[str, object] = types.MappingProxyType({})
_REASONS: dict[object, str] = {
    str: "it is not a text",
    int: "it is not a whole number",
    float: "it is not a finite number",
    bool: "it is neither true nor false",
    type(None): "it is not null",
    tuple: "it is not a list of the right length",
    dict: "it is not an object",
}


class Mismatch(ValueError):
    """JSON that does not match a type; `place`: the keys and indexes that lead to the mismatch."""

    def __init__(self, what: str, place: tuple[str | int, ...] = ()) -> None:
        super().__init__(what)
        self.what, self.place = what, place

    @property
    def text(self) -> str:
        """Return the place and the message: "`splits.0`: it is not a text"."""
        where = ".".join(map(str, self.place))
        return f"`{where}`: {self.what}" if where else self.what


def check_at(check: Callable[[T], None], value: T, *place: str | int) -> None:
    """Check a field's value while its dataclass is made.

    Raises Mismatch at its place for the check's ValueError.
    """
    try:
        check(value)
    except ValueError as error:
        raise Mismatch(str(error), place) from error


def _within(error: ValueError, key: str | int) -> Mismatch:
    known = error.place if isinstance(error, Mismatch) else ()
    return Mismatch(str(error), (key, *known))


def decode(kind: type[T], data: object) -> T:
    """Return the value of type `kind` for parsed JSON. Raises Mismatch if there is none.

    Types: str, int, bool, float (finite), None, object and Any (anything), tuple, dict[str, …],
    unions, literals, enums by value, and dataclasses as objects with exactly their fields, of which
    those with a default may be missing; a field `class_` is the key `class`. The functions in an
    `Annotated` take the value and raise ValueError.
    """
    value: T = _decoder(cast("Any", kind))(data)
    return value


def decode_rest(kind: type[T], data: object, known: Mapping[str, object]) -> T:
    """Call `decode` for a dataclass; `known` has some fields' values, the data the others."""
    value: T = _dataclass(cast("Any", kind), frozenset(known))(data, known)
    return value


def parse(kind: type[T], text: str | bytes) -> T:
    """Call `decode` for a JSON text. Raises ValueError where `read` or `decode` does."""
    return decode(kind, read(text))


def read(text: str | bytes, distinct: bool = True) -> object:
    """Return the data of a JSON text.

    Raises ValueError for invalid JSON: not UTF-8, nested too deep, a duplicate key, a number that
    JSON does not have (NaN, Infinity). `distinct`: look for duplicate keys, which takes as long as
    all the rest; not needed for text that we wrote ourselves.
    """
    hook = _object if distinct else None
    try:
        return cast("object", json.loads(text, object_pairs_hook=hook, parse_constant=_no_number))
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def locate(text: str, place: tuple[str | int, ...]) -> int:
    """Return the offset of the value at `place`, keys and indexes, in a JSON text.

    Of a missing value, the offset of the last value on the way.
    """
    at = _skip(text, 0)
    for step in place:
        found = next((start for name, start in _members(text, at) if name == step), None)
        if found is None:
            break
        at = found
    return at


def _members(text: str, at: int) -> Iterator[tuple[str | int, int]]:
    """Yield (key or index, offset of the value) of the object or list at an offset."""
    if text[at : at + 1] not in ("{", "["):
        return
    scan, is_object = json.JSONDecoder().raw_decode, text[at] == "{"
    at = _skip(text, at + 1)
    for index in itertools.count():
        if text[at : at + 1] in ("}", "]", ""):
            return
        name: str | int = index
        if is_object:
            name, at = scan(text, at)
            at = _skip(text, _skip(text, at) + 1)  # the colon
        yield name, at
        at = _skip(text, scan(text, at)[1])
        at = _skip(text, at + 1) if text[at : at + 1] == "," else at


def _skip(text: str, at: int) -> int:
    """Return the offset after white space."""
    while text[at : at + 1] in (" ", "\t", "\n", "\r"):
        at += 1
    return at


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Mismatch(f"duplicate key `{twice}`")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


@functools.cache
def _decoder(kind: Any) -> Decoder:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is object or kind is Any:
        return lambda data: data
    if kind in (*_SCALARS, type(None)):
        return lambda data: data if type(data) is kind else _refuse(kind)
    if kind is float:
        return _float
    if origin is Annotated:
        return _checked(arguments[0], arguments[1:])
    if origin is tuple:
        return _tuple(arguments)
    if origin is dict:
        return _dict(arguments[1])
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is Literal:
        known = [(type(argument), argument) for argument in arguments]
        return lambda data: data if (type(data), data) in known else _refuse_literal(arguments)
    if dataclasses.is_dataclass(kind):
        return _dataclass(cast("Any", kind))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind
    raise InternalError(f"{kind} cannot be read from JSON")


def _float(data: Any) -> float:
    if type(data) not in (int, float):
        _refuse(float)
    try:
        value = float(data)
    except OverflowError:
        _refuse(float)
    return value if math.isfinite(value) else _refuse(float)


def _checked(kind: Any, checks: tuple[Any, ...]) -> Decoder:
    each = _decoder(kind)

    def decode_checked(data: Any) -> Any:
        value = each(data)
        for check in checks:
            check(value)
        return value

    return decode_checked


def _tuple(arguments: tuple[Any, ...]) -> Decoder:
    if arguments[-1] is Ellipsis:
        return _many(arguments[0])
    decoders = [_decoder(argument) for argument in arguments]

    def fixed(data: Any) -> tuple[Any, ...]:
        if not _is_list(data) or len(data) != len(decoders):
            _refuse(tuple)
        return _items(decoders, data)

    return fixed


def _many(kind: Any) -> Decoder:
    each = _decoder(kind)

    def decode_many(data: Any) -> tuple[Any, ...]:
        if not _is_list(data):
            _refuse(tuple)
        if kind in _SCALARS and set(map(type, data)) <= {kind}:
            return tuple(data)
        return _items(itertools.repeat(each), data)

    return decode_many


def _items(decoders: Iterable[Decoder], data: Any) -> tuple[Any, ...]:
    found: list[Any] = []
    try:
        for each, item in zip(decoders, data, strict=False):
            found.append(each(item))
    except ValueError as error:
        raise _within(error, len(found)) from None
    return tuple(found)


def _dict(kind: Any) -> Decoder:
    each = _decoder(kind)

    def decode_dict(data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            _refuse(dict)
        if kind is str:  # a run without work has thousands of these
            return dict(data) if set(map(type, data.values())) <= {str} else _refuse(str)
        found = {}
        for key, value in data.items():
            try:
                found[key] = each(value)
            except ValueError as error:
                raise _within(error, key) from None
        return found

    return decode_dict


def _union(arguments: tuple[Any, ...]) -> Decoder:
    kinds = [argument for argument in arguments if argument is not type(None)]
    decoders = [_decoder(argument) for argument in arguments]
    if len(kinds) == 1 < len(decoders):  # a mistake is then one of that type
        each = _decoder(kinds[0])
        return lambda data: None if data is None else each(data)

    def decode_union(data: Any) -> Any:
        for each in decoders:
            try:
                return each(data)
            except ValueError:
                continue
        return _refuse(Union)

    return decode_union


@functools.cache
def _dataclass(kind: Any, known: frozenset[str] = frozenset()) -> Callable[..., Any]:
    """Return a decoder that takes the data, and the values of the fields in `known`."""
    hints = get_type_hints(kind, include_extras=True)
    fields = [field for field in dataclasses.fields(kind) if field.name not in known]
    keys = {field.name: field.name.removesuffix("_") for field in fields}
    decoders = {keys[field.name]: _decoder(hints[field.name]) for field in fields}
    renamed = {key: name for name, key in keys.items() if key != name}
    none = dataclasses.MISSING
    optional = {
        keys[f.name] for f in fields if f.default is not none or f.default_factory is not none
    }

    scalars = {keys[f.name]: hints[f.name] for f in fields if hints[f.name] in _SCALARS}
    others = tuple((name, each) for name, each in decoders.items() if name not in scalars)
    types_of, wanted = _types_of(tuple(scalars)), list(scalars.values())
    make = maker(kind)

    def decode_dataclass(data: Any, values: Mapping[str, object] = _NONE) -> Any:
        if not isinstance(data, dict):
            _refuse(dict)
        if data.keys() != decoders.keys():
            _check_keys(data.keys(), decoders.keys(), optional)
        elif not renamed and types_of(data) == wanted:
            fields = {**data, **values}
            try:
                for name, each in others:
                    fields[name] = each(data[name])
                return make(fields)
            except ValueError:
                pass  # the first field is reported below
        found = dict(values)
        for name, each in decoders.items():
            if name not in data:
                continue
            try:
                found[name] = each(data[name])
            except ValueError as error:
                raise _within(error, name) from None
        for key, name in renamed.items():
            if key in found:
                found[name] = found.pop(key)
        return kind(**found)

    return decode_dataclass


def _types_of(names: tuple[str, ...]) -> Callable[[dict[str, Any]], list[type]]:
    """Return a function for the types of an object's values under some names, in order."""
    if len(names) > 1:
        values = operator.itemgetter(*names)
        return lambda data: list(map(type, values(data)))
    return lambda data: [type(data[name]) for name in names]


def maker(kind: type[T]) -> Callable[[Mapping[str, object]], T]:
    """Return a function that makes a dataclass from all its fields' values, without checks.

    The constructor of a frozen class sets field by field, which takes ten times as long as setting
    its dictionary.
    """
    if hasattr(kind, "__post_init__") or hasattr(kind, "__slots__"):
        return lambda values: kind(**values)
    empty = kind.__new__

    def make(values: Mapping[str, object]) -> T:
        made = empty(kind)
        vars(made).update(values)
        return made

    return make


def _check_keys(found: Set[str], known: Set[str], optional: Set[str]) -> None:
    absent, more = sorted(known - optional - found), sorted(found - known)
    if absent:
        raise Mismatch(f"`{absent[0]}` is missing")
    if more:
        raise Mismatch(f"unknown key `{more[0]}`", (more[0],))


def _is_list(data: object) -> bool:
    return isinstance(data, list | tuple)


def _refuse_literal(known: tuple[Any, ...]) -> NoReturn:
    raise Mismatch(f"it is not {' or '.join(json.dumps(each) for each in known)}")


def _refuse(kind: object) -> NoReturn:
    raise Mismatch(_REASONS.get(kind, "it is of another type"))
