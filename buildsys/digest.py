"""Digests: sha256 throughout, because people can check it with their own tools."""

import dataclasses
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import IO, Any

_CHUNK = 1 << 20
_SCALARS = frozenset({str, int, float, bool, type(None)})
_LISTS = (list, tuple)
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, check_circular=False
)


def digest_bytes(data: bytes) -> str:
    """Return the sha256 of bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """Return the sha256 of a file's content."""
    with path.open("rb") as stream:
        return digest_stream(stream)


def digest_stream(stream: IO[bytes]) -> str:
    """Return the sha256 of the rest of an open file."""
    state = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        state.update(chunk)
    return state.hexdigest()


def canonical(value: Any) -> str:
    """Return the canonical JSON of frozen values: equal values have equal texts on every
    machine.
    """
    return encode(plain(value))


def encode(value: Any) -> str:
    """Return the canonical JSON of a result of `plain`."""
    return _ENCODER.encode(value)


def digest_value(value: Any) -> str:
    """Return the sha256 of a value's canonical JSON."""
    return digest_bytes(canonical(value).encode())


def plain(value: Any) -> Any:
    """Turn dataclasses and tuples into JSON values."""
    if value.__class__ in _SCALARS:  # most values of a plan
        return value
    if isinstance(value, _LISTS):
        return [item if item.__class__ in _SCALARS else plain(item) for item in value]
    names = _field_names(value.__class__)
    if names is not None:
        held = value.__dict__
        return {
            name: item if item.__class__ in _SCALARS else plain(item)
            for name in names
            for item in (held[name],)
        }
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return value


@cache
def _field_names(kind: type) -> tuple[str, ...] | None:
    """Of a dataclass; None for any other type."""
    if not dataclasses.is_dataclass(kind):
        return None
    return tuple(field.name for field in dataclasses.fields(kind))


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as {dotted path: scalar or canonical JSON of a list}."""
    if isinstance(value, dict):
        flat: dict[str, Any] = {}
        for key, item in value.items():
            flat |= flatten(item, f"{prefix}.{key}" if prefix else str(key))
        return flat
    if isinstance(value, list):
        return {prefix: canonical(value)}
    return {prefix: value}
