"""YAML with the position of every key and value."""

import copy
import dataclasses
import functools
import math
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from buildsys.authoring.syntax.encoding import read_text, split_lines
from buildsys.errors import Diagnostic, InputError, shorten

KeyPath = tuple[str | int, ...]
"""The place of a value in a document: keys and list indices from the root."""

_MOST_NODES = 20_000
_MOST_LEVELS = 30
_MOST_TEXTS = 512
"""Folders whose documents are kept: targets and contracts are used by many recipes."""
_MOST_DIGITS = 100
_LARGEST = 2**63
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_PLAIN_TAGS = tuple(
    f"tag:yaml.org,2002:{name}"
    for name in ("null", "bool", "int", "float", "str", "map", "seq", "timestamp", "merge", "value")
)
_TOO_DEEP = f"nested more than {_MOST_LEVELS} levels deep"


class TextMark(Protocol):
    """A place in the text, counted from 0, as in ruamel.yaml."""

    index: int
    line: int
    column: int


class Node(Protocol):
    """A value in the text, as ruamel.yaml's parser composes it.

    `value`: the text of a scalar, the nodes of a sequence, the pairs of nodes of a mapping;
    `style`: the quotes of a scalar, or the mark of a block of lines.
    """

    id: str
    tag: str
    value: Any
    style: str | None
    flow_style: bool | None
    start_mark: TextMark
    end_mark: TextMark


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A place in the text, counted from 1, and the number of columns that it covers."""

    line: int
    column: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Document:
    """A parsed file: plain values, and where each of them was written."""

    path: str
    lines: tuple[str, ...]
    data: object
    keys: dict[KeyPath, Mark]
    values: dict[KeyPath, Mark]

    def get(self, *path: str | int) -> object:
        """Return the value at a path; None if there is none."""
        return value_at(self.data, path)

    def diagnose(
        self,
        path: KeyPath,
        message: str,
        hint: str = "",
        key: bool = False,
        severity: str = "error",
    ) -> Diagnostic:
        """Return a diagnostic at a value (or at its key), or at its nearest existing parent."""
        marks = self.keys if key else self.values
        place = path
        while place and place not in marks:
            place, marks = place[:-1], self.keys
        mark = marks.get(place) or Mark(line=1, column=1, length=1)
        return Diagnostic(
            path=self.path,
            line=mark.line,
            column=mark.column,
            length=mark.length,
            message=message,
            hint=hint,
            severity=severity,
            source=self.lines[mark.line - 1] if mark.line <= len(self.lines) else "",
        )


def value_at(data: object, path: KeyPath) -> object:
    """Return the value at a path inside plain values; None if there is none."""
    for part in path:
        try:
            data = data[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def read_document(path: Path, label: str) -> Document:
    """Parse a file; `label` is its name in messages. Raises InputError."""
    return parse_document(read_text(path, label), label)


def parse_document(text: str, label: str) -> Document:
    """Parse a text. Raises InputError for broken YAML and duplicate keys.

    A text that was parsed before is copied from a cache: parsing a firmware contract takes a
    hundred times as long, and every recipe for the board reads it.
    """
    found = _parse(text, label)
    return dataclasses.replace(found, data=copy.deepcopy(found.data))


@functools.lru_cache(maxsize=_MOST_TEXTS)
def _parse(text: str, label: str) -> Document:
    from ruamel.yaml.composer import MaxDepthExceededError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    from buildsys.authoring.syntax.composing import compose

    lines = split_lines(text)
    _check_directives(label, lines)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # YAML allows reusing an anchor; ruamel warns about it
            # the root's own level; aliases lead deeper: see _Reader
            root = compose(text, max_depth=_MOST_LEVELS + 1)
    except MaxDepthExceededError as error:
        mark = error.problem_mark
        line, column = mark.line + 1, mark.column + 1
        raise InputError.at(
            label, _TOO_DEEP, line=line, column=column, source=lines[mark.line]
        ) from error
    except MarkedYAMLError as error:
        raise InputError(_syntax_error(error, label, lines)) from error
    except YAMLError as error:
        raise InputError.at(label, str(error).splitlines()[0]) from error
    reader = _Reader(label, lines)
    data = reader.value(root, ()) if root is not None else None
    if reader.problems:
        raise InputError(*reader.problems)
    return Document(path=label, lines=lines, data=data, keys=reader.keys, values=reader.values)


def _check_directives(label: str, lines: tuple[str, ...]) -> None:
    """Raise InputError for directives: `%YAML 1.1` would change the meaning of the text."""
    for number, line in enumerate(lines, 1):
        if line.startswith("%"):
            message, hint = "directives are not allowed in this file", "delete this line"
            raise InputError.at(label, message, hint, line=number, column=1, source=line)
        if line.strip(" \t\ufeff") and not line.lstrip(" \t\ufeff").startswith("#"):
            return


def _syntax_error(error: Any, label: str, lines: tuple[str, ...]) -> Diagnostic:
    mark = error.problem_mark or error.context_mark
    if error.context == "expected a single document in the stream":
        return Diagnostic(
            path=label,
            line=mark.line + 1,
            column=mark.column + 1,
            source=lines[mark.line],
            message="a second YAML document begins here",
            hint="write one document in each file",
        )
    unclosed = "quoted scalar" in (error.context or "") and "end of stream" in (error.problem or "")
    if unclosed:
        mark = error.context_mark  # the end of the file is no help: the quote may be far above
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    source = lines[line - 1] if line <= len(lines) else ""
    hint = "indent with spaces, not tabs" if "\t" in source else ""
    problem = (error.problem or error.context or "broken YAML").replace("\t", "\\t")
    problem = "the quote that opens here is not closed" if unclosed else problem
    return Diagnostic(
        path=label,
        line=line,
        column=column,
        message=f"not valid YAML: {problem}",
        hint=hint,
        source=source.replace("\t", " "),
    )


class _Reader:
    """Turns nodes into plain values and records their positions."""

    def __init__(self, label: str, lines: tuple[str, ...]) -> None:
        self.label, self.lines = label, lines
        self.keys: dict[KeyPath, Mark] = {}
        self.values: dict[KeyPath, Mark] = {}
        self.problems: list[Diagnostic] = []
        self.nodes = 0

    def value(self, node: Node, path: KeyPath) -> object:
        self.nodes += 1
        if not node.tag.startswith(_PLAIN_TAGS):
            tag = shorten(node.tag.replace("tag:yaml.org,2002:", "!!"))
            self.problems.append(self._diagnose(node, f"the tag `{tag}` is not allowed"))
            return None
        if self.nodes > _MOST_NODES:
            message = f"more than {_MOST_NODES} values, counting aliases where they are used"
            raise InputError(self._diagnose(node, message))
        if len(path) > _MOST_LEVELS:
            raise InputError(self._diagnose(node, _TOO_DEEP))
        self.values[path] = _mark(node)
        if node.start_mark.index == node.end_mark.index and path in self.keys:
            self.values[path] = self.keys[path]  # the value is empty: mark the key
        if node.id == "mapping":
            return self._mapping(node, path)
        if node.id == "sequence":
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        try:
            return _scalar(node)
        except ValueError as error:
            message = f"`{shorten(node.value)}` {error}"
            self.problems.append(self._diagnose(node, message))
            return None

    def _diagnose(self, node: Node, message: str, hint: str = "") -> Diagnostic:
        mark = _mark(node)
        return Diagnostic(
            path=self.label,
            line=mark.line,
            column=mark.column,
            length=mark.length,
            message=message,
            hint=hint,
            source=self.lines[mark.line - 1] if mark.line <= len(self.lines) else "",
        )

    def _mapping(self, node: Node, path: KeyPath) -> dict[str, object]:
        result: dict[str, object] = {}
        for key_node, value_node in node.value:
            if key_node.id != "scalar":
                self.problems.append(
                    self._diagnose(key_node, "a key must be a string, not a block or list")
                )
                continue
            key = str(key_node.value)
            if _has_control(key):
                message = f"the key `{shorten(key)}` has a control character in it"
                self.problems.append(self._diagnose(key_node, message))
                continue
            place = (*path, key)
            if key in result:
                hint = f"the first one is in line {self.keys[place].line}"
                message = f"duplicate key `{shorten(key)}`"
                self.problems.append(self._diagnose(key_node, message, hint))
                continue
            self.keys[place] = _mark(key_node)
            result[key] = self.value(value_node, place)
        return result


def _mark(node: Node) -> Mark:
    start, end = node.start_mark, node.end_mark
    length = end.column - start.column if end.line == start.line else 1
    return Mark(line=start.line + 1, column=start.column + 1, length=max(1, length))


def _scalar(node: Node) -> bool | int | float | str | None:
    """Return the value of a scalar by its YAML 1.2 tag; other scalars stay text.

    Raises ValueError.
    """
    text, tag = str(node.value), node.tag.rsplit(":", 1)[-1]
    if _has_control(text):
        raise ValueError("has a control character in it")
    if re.fullmatch(r"[0-9a-f]{64}", text):
        return text  # a digest may look like a number
    if tag == "null":
        return None
    if tag == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if tag in ("bool", "int", "float"):
        return _number(text, tag)
    return text


def _number(text: str, tag: str) -> int | float:
    """Return a number that every machine can hold. Raises ValueError."""
    plain = text.replace("_", "")
    try:
        if tag == "float":
            number = float(plain.replace(".inf", "inf").replace(".nan", "nan"))
            value: int | float = number + 0.0  # -0.0 is 0.0: equal values have equal text
        elif len(plain) > _MOST_DIGITS:
            value = math.inf  # Python refuses to read thousands of digits
        else:
            value = int(plain, 0 if re.match(r"[-+]?0[xob]", plain) else 10)
    except ValueError as error:
        raise ValueError(f"is not of type {tag}") from error
    if not abs(value) < _LARGEST:
        words = "is not a number" if math.isnan(value) else "is too large a number"
        raise ValueError(words)
    return value


def _has_control(text: str) -> bool:
    """Return whether a text contains characters that no text file has and no path can contain."""
    return not text.isprintable() and _CONTROL.search(text) is not None
