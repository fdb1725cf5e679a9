"""The same YAML values in all the ways a person might write them, for property tests."""

import copy
import json
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from hypothesis import settings
from hypothesis import strategies as st

from tests.repetitions import repetitions

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"
KeyPath = tuple[str | int, ...]

STEADY = settings(deadline=None, derandomize=True, database=None, max_examples=repetitions(10))
"""Fixed examples on every machine, so that a failure comes from a change."""

_PLAIN = re.compile(r"[a-z][a-z0-9./-]*")
_RESERVED = frozenset({"true", "false", "null"})
_COMMENTS = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), max_size=12)


@st.composite
def documents(draw: st.DrawFn, data: dict[str, Value]) -> str:
    """Texts with the value `data`, with varying order, style, quotes, comments and empty lines."""
    return _Writer(draw).document(data)


def replaced(data: dict[str, Value], path: KeyPath, value: Value) -> dict[str, Value]:
    """A copy with another value at `path`; missing blocks are created."""
    changed: dict[str, Value] = copy.deepcopy(data)
    block: Any = changed
    for part in path[:-1]:
        block = block[part] if isinstance(part, int) else block.setdefault(part, {})
    block[path[-1]] = value
    return changed


@dataclass(frozen=True)
class _Writer:
    """Writes one text; hypothesis draws every choice, so that it can shrink it."""

    draw: st.DrawFn

    def document(self, data: dict[str, Value]) -> str:
        lines = self._block(data, "")
        return "\n".join([*self._noise(), *lines, *self._noise()]) + "\n"

    def _block(self, data: dict[str, Value], indent: str) -> list[str]:
        lines: list[str] = []
        for key in self.draw(st.permutations(list(data))):
            lines += self._noise()
            lines += self._entry(f"{indent}{self._text(key)}:", data[key], indent)
        return lines

    def _items(self, items: list[Value], indent: str) -> list[str]:
        lines: list[str] = []
        for item in items:
            lines += self._noise()
            lines += [f"{indent}- {self._flow(item, indent + '  ')}{self._comment()}"]
        return lines

    def _entry(self, start: str, value: Value, indent: str) -> list[str]:
        deeper = indent + " " * self.draw(st.integers(1, 5))
        if isinstance(value, dict) and value and self.draw(st.booleans()):
            return [start + self._comment(), *self._block(value, deeper)]
        if isinstance(value, list) and value and self.draw(st.booleans()):
            return [start + self._comment(), *self._items(value, deeper)]
        return [f"{start} {self._flow(value, deeper)}{self._comment()}"]

    def _flow(self, value: Value, indent: str) -> str:
        if isinstance(value, dict):
            keys = self.draw(st.permutations(list(value)))
            inside = [f"{self._text(key)}: {self._flow(value[key], indent)}" for key in keys]
            return "{" + self._join(inside, indent) + "}"
        if isinstance(value, list):
            return "[" + self._join([self._flow(item, indent) for item in value], indent) + "]"
        return self._text(value) if isinstance(value, str) else self._number(value)

    def _join(self, parts: list[str], indent: str) -> str:
        spread = f",{self._comment() or ' '}\n{indent}"
        return self.draw(st.sampled_from([", ", " ,  ", spread])).join(parts)

    def _text(self, text: str) -> str:
        spellings = [json.dumps(text), "'" + text.replace("'", "''") + "'"]
        if _PLAIN.fullmatch(text) and text not in _RESERVED:
            spellings.append(text)
        return self.draw(st.sampled_from(spellings))

    def _number(self, value: float | None) -> str:
        spellings = [json.dumps(value)]
        if isinstance(value, float):
            spellings += [f"{value:.6e}", f"{value:.6f}", f"+{value}"]
        elif isinstance(value, int) and not isinstance(value, bool):
            spellings += [hex(value), oct(value), f"+{value}"]
        return self.draw(st.sampled_from(spellings))

    def _comment(self) -> str:
        return f"  # {self.draw(_COMMENTS)}" if self.draw(st.booleans()) else ""

    def _noise(self) -> list[str]:
        """Empty lines, and comments at any indentation."""
        kinds = self.draw(st.lists(st.sampled_from(["", "   ", "#"]), max_size=2))
        return [" " * len(kinds) + f"# {self.draw(_COMMENTS)}" if k == "#" else k for k in kinds]
