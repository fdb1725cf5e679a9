"""YAML with the position of every key and value."""

import difflib
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.errors import Diagnostic, InputError

KeyPath = tuple[str | int, ...]
"""Where a value stands in a document: keys and list indices from the root."""

_MOST_NODES = 20_000
_MOST_LEVELS = 30
_TOO_DEEP = f"nested more than {_MOST_LEVELS} levels deep"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A place in the text, counted from 1, and how many columns it covers."""

    line: int
    column: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Document:
    """A parsed file: plain values, and where each of them was written."""

    path: str
    lines: tuple[str, ...]
    data: Any
    keys: dict[KeyPath, Mark]
    values: dict[KeyPath, Mark]

    def diagnose(
        self,
        path: KeyPath,
        message: str,
        hint: str = "",
        key: bool = False,
        severity: str = "error",
    ) -> Diagnostic:
        """A diagnostic at a value (or at its key); at the nearest parent when it is not there."""
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


def read_document(path: Path, label: str) -> Document:
    """Parse a file; `label` is its name in messages. Raises InputError."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        hint = "save it as UTF-8"
        raise InputError(
            Diagnostic(path=label, message=f"not UTF-8 (byte {error.start})", hint=hint)
        ) from error
    except OSError as error:
        raise InputError(
            Diagnostic(path=label, message=f"cannot be read: {error.strerror}")
        ) from error
    return parse_document(text, label)


def parse_document(text: str, label: str) -> Document:
    """Parse a text. Raises InputError for broken YAML and for keys that stand twice."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    lines = tuple(text.splitlines())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # YAML lets an anchor be used again; ruamel warns
            root = YAML(typ="safe", pure=True).compose(text)
    except RecursionError as error:
        raise InputError(Diagnostic(path=label, message=_TOO_DEEP)) from error
    except MarkedYAMLError as error:
        raise InputError(_syntax_error(error, label, lines)) from error
    except YAMLError as error:
        raise InputError(Diagnostic(path=label, message=str(error).splitlines()[0])) from error
    reader = _Reader(label, lines)
    data = reader.value(root, ()) if root is not None else None
    if reader.problems:
        raise InputError(*reader.problems)
    return Document(path=label, lines=lines, data=data, keys=reader.keys, values=reader.values)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ "did you mean `x`?", or the list of what there is when it is short, or nothing."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return "there are: " + ", ".join(names) if 0 < len(names) <= 12 else ""


def _syntax_error(error: Any, label: str, lines: tuple[str, ...]) -> Diagnostic:
    mark = error.problem_mark or error.context_mark
    unclosed = "quoted scalar" in (error.context or "") and "end of stream" in (error.problem or "")
    if unclosed:
        mark = error.context_mark  # the end of the file says nothing: the quote may be far above
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    source = lines[line - 1] if line <= len(lines) else ""
    hint = "indent with spaces, not tabs" if "\t" in source else ""
    problem = (error.problem or error.context or "broken YAML").replace("\t", "\\t")
    problem = "the quote that opens here is never closed" if unclosed else problem
    return Diagnostic(
        path=label, line=line, column=column, message=f"not valid YAML: {problem}",
        hint=hint, source=source.replace("\t", " "),
    )  # fmt: skip


class _Reader:
    """Turns nodes into plain values and remembers where they stood."""

    def __init__(self, label: str, lines: tuple[str, ...]) -> None:
        self.label, self.lines = label, lines
        self.keys: dict[KeyPath, Mark] = {}
        self.values: dict[KeyPath, Mark] = {}
        self.problems: list[Diagnostic] = []
        self.nodes = 0

    def value(self, node: Any, path: KeyPath) -> Any:
        self.nodes += 1
        if self.nodes > _MOST_NODES:
            message = f"more than {_MOST_NODES} values, aliases counted where they are used"
            raise InputError(Diagnostic(path=self.label, message=message))
        if len(path) > _MOST_LEVELS:
            raise InputError(self._diagnose(node, _TOO_DEEP))
        self.values[path] = _mark(node)
        if node.start_mark.index == node.end_mark.index and path in self.keys:
            self.values[path] = self.keys[path]  # nothing stands there: the key is what one sees
        if node.id == "mapping":
            return self._mapping(node, path)
        if node.id == "sequence":
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        try:
            return _scalar(node)
        except ValueError:
            message = f"`{node.value[:40]}` is no {node.tag.rsplit(':', 1)[-1]}"
            self.problems.append(self._diagnose(node, message))
            return None

    def _diagnose(self, node: Any, message: str, hint: str = "") -> Diagnostic:
        mark = _mark(node)
        return Diagnostic(
            path=self.label, line=mark.line, column=mark.column, length=mark.length,
            message=message, hint=hint,
            source=self.lines[mark.line - 1] if mark.line <= len(self.lines) else "",
        )  # fmt: skip

    def _mapping(self, node: Any, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if key_node.id == "scalar" else "?"
            place = (*path, key)
            if key in result:
                hint = f"it stands first in line {self.keys[place].line}"
                message = f"`{key}` stands here a second time"
                self.problems.append(self._diagnose(key_node, message, hint))
                continue
            self.keys[place] = _mark(key_node)
            result[key] = self.value(value_node, place)
        return result


def _mark(node: Any) -> Mark:
    start, end = node.start_mark, node.end_mark
    length = end.column - start.column if end.line == start.line else 1
    return Mark(line=start.line + 1, column=start.column + 1, length=max(1, length))


def _scalar(node: Any) -> Any:
    """The value of a scalar by its YAML 1.2 tag; anything else stays text."""
    text, tag = node.value, node.tag.rsplit(":", 1)[-1]
    if re.fullmatch(r"[0-9a-f]{64}", text):
        return text  # a digest may happen to look like a number
    if tag == "null":
        return None
    if tag == "bool":
        return text.lower() == "true"
    if tag == "int":
        return int(text.replace("_", ""), 0 if re.match(r"[-+]?0[xob]", text) else 10)
    if tag == "float":
        return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
    return text
