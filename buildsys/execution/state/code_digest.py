"""Computes the digest of the code that decides a step's result.

The digest is the same under every Python that runs the core. It covers `run` and `Params` of the
step's module, every import, assignment, function and class that these reach, in any form, and every
other kind of statement. The planning side (`STEP`, `Settings`, `plan` and what only they use) is
left out: its decisions are in the parameters. Modules of steps/lib that are imported, and the
launcher, are covered completely; of the vocabulary (`buildsys.spec`) and of other steps' modules,
only the used names and what they reach. Comments, docstrings and layout are left out.
"""

import ast
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from buildsys.digest import digest_bytes
from buildsys.python_source import parse_source

PACKAGE = Path(__file__).resolve().parents[2]
_LAUNCHER = "buildsys.steps.lib.runtime.launcher"
_EVERY_NAME = "*"
_NOTHING: frozenset[str] = frozenset()
_TOOL_SIDE = frozenset({"run", "Params"})
_IDENTIFIER = re.compile(r"\w+")
_NO_MEANING = frozenset({"ctx", "kind", "type_comment"})


@dataclass(frozen=True)
class _Import:
    """One name of an import: `from module import name as alias`; `name` empty: `import module`."""

    module: str
    level: int
    name: str
    alias: str


@dataclass(frozen=True, eq=False)
class _Statement:
    """One top-level statement; an import statement is split into one for each name."""

    text: str
    """The syntax tree in our own notation."""
    only_binds: bool
    """The statement only binds names: if they are unused, it does not count."""
    binds: frozenset[str]
    uses: frozenset[str]
    imports: tuple[_Import, ...]
    attributes: frozenset[tuple[str, str]]
    """(name, attribute); `_EVERY_NAME` if the name is used without an attribute."""


@cache
def code_digest(module: str, package: Path) -> str:
    """Return the sha256 of a step's tool side; `package`: the folder of the package `buildsys`."""
    texts = _covered(module, package)
    lines = (f"{name} {text}" for name, text in sorted(texts.items()))
    return digest_bytes("\n".join(lines).encode())


def covered_modules(module: str, package: Path) -> tuple[str, ...]:
    """Return the names of the modules that a step's digest covers, wholly or in part."""
    return tuple(sorted(_covered(module, package)))


def _covered(module: str, package: Path) -> dict[str, str]:
    """Return the modules of a step's tool side, with the notation of what counts in each."""
    step = f"buildsys.steps.{module}"
    used: dict[str, frozenset[str]] = {}
    texts: dict[str, str] = {}
    wanted: dict[str, set[str]] = {_LAUNCHER: {_EVERY_NAME}, step: set(_TOOL_SIDE)}
    source = cache(lambda name: _source(name, package))
    while wanted:
        name, names = wanted.popitem()
        path = source(name)
        if path is None:
            continue
        if name.startswith("buildsys.steps.lib"):
            names = {_EVERY_NAME}
        if name in used and names <= used[name]:
            continue
        used[name] = used.get(name, frozenset()) | names
        text = _text(path)
        texts[name] = _notation(text, used[name])
        is_package = path.endswith("/__init__.py")
        for other, part, attributes in _imported(text, used[name], name, is_package):
            wanted.setdefault(other, set()).add(part)
            if attributes and source(f"{other}.{part}") is not None:
                wanted.setdefault(f"{other}.{part}", set()).update(attributes)
    return {name: text for name, text in texts.items() if text}


def _source(name: str, package: Path) -> str | None:
    """Return the file of a module in the package, or None."""
    place = os.path.join(package, *name.split(".")[1:])
    found = (f"{place}/__init__.py", f"{place}.py")  # in the order in which Python looks for them
    return next((path for path in found if os.path.isfile(path)), None)


def _text(path: str) -> str:
    with open(path, encoding="utf-8") as stream:
        return stream.read()


@cache
def _notation(text: str, names: frozenset[str]) -> str:
    """Return the notation of those statements of a file that count if `names` are used."""
    return "\n".join(statement.text for statement in _counted(text, names))


@cache
def _imported(
    text: str, names: frozenset[str], importer: str, is_package: bool
) -> frozenset[tuple[str, str, frozenset[str]]]:
    """Return the imports that count if `names` of a file are used.

    Each is (module, name used of it, attributes used if that name is itself a module). Packages
    that an import runs on its way are included.
    """
    found = {(parent, "", _NOTHING) for parent in _parents(importer)}
    statements = _counted(text, names)
    own = importer if is_package else importer.rpartition(".")[0]
    attributes: dict[str, set[str]] = {}
    for statement in statements:
        for name, attribute in statement.attributes:
            attributes.setdefault(name, set()).add(attribute)
    for statement in statements:
        for item in statement.imports:
            module = item.module
            if item.level:
                base = own.split(".")[: len(own.split(".")) - item.level + 1]
                module = ".".join([*base, *([module] if module else [])])
            if module.split(".")[0] != "buildsys":
                continue
            if not item.name:
                found.add((module, _EVERY_NAME, _NOTHING))
                continue
            used = frozenset(attributes.get(item.alias, {_EVERY_NAME}))
            found.add((module, item.name, used))
    return frozenset(found)


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


@cache
def _counted(text: str, names: frozenset[str]) -> tuple[_Statement, ...]:
    """Return the statements of a file that count if `names` are used, in order."""
    statements = _statements(text)
    if _EVERY_NAME in names:
        return statements
    by_name: dict[str, list[_Statement]] = {}
    for statement in statements:
        for name in statement.binds:
            by_name.setdefault(name, []).append(statement)
    found: set[_Statement] = set()
    left = [s for s in statements if s.binds & names or not s.only_binds]
    while left:
        statement = left.pop()
        if statement not in found:
            found.add(statement)
            for name in statement.uses | statement.binds:
                left += by_name.get(name, ())
    return tuple(s for s in statements if s in found)


@cache
def _statements(text: str) -> tuple[_Statement, ...]:
    """Return the top-level statements of a file; cached, since steps share files and parsing is
    slow.
    """
    return tuple(
        _read(part)
        for node in parse_source(text).body
        if not _is_idle(node)
        for part in _single_imports(node)
    )


def _single_imports(node: ast.stmt) -> list[ast.stmt]:
    match node:
        case ast.Import():
            return [ast.Import(names=[alias]) for alias in node.names]
        case ast.ImportFrom():
            return [
                ast.ImportFrom(module=node.module, names=[alias], level=node.level)
                for alias in node.names
            ]
    return [node]


def _read(node: ast.stmt) -> _Statement:
    reader = _Reader()
    reader.read(node)
    return _Statement(
        text="".join(reader.text),
        only_binds=isinstance(node, _BINDING) and not reader.changes,
        binds=frozenset(reader.binds),
        uses=frozenset(reader.uses),
        imports=tuple(reader.imports),
        attributes=frozenset(reader.attributes),
    )


class _Reader:
    """Reads one statement: its notation, and the names that it binds and uses.

    The notation is our own, because `ast.dump` and the trees of f-strings differ between versions
    of Python: empty fields are left out, the text parts of an f-string are joined, and text is
    written by `ascii`, because the result of `repr` depends on the version of Unicode.
    """

    def __init__(self) -> None:
        self.text: list[str] = []
        self.binds: set[str] = set()
        self.changes = False
        """Whether the statement changes a value bound earlier: `X[1] = 2`, `X.y = 2`."""
        self.uses: set[str] = set()
        self.imports: list[_Import] = []
        self.attributes: set[tuple[str, str]] = set()
        self._depth = 0
        """Functions and classes: names bound inside are not bound in the module."""
        self._functions = 0
        """Nodes whose bodies do not run when the module is imported."""
        self._comprehensions = 0
        """Nodes in which only `:=` binds a name of the module."""

    def read(self, node: ast.AST) -> None:
        """Process a syntax tree."""
        kind = node.__class__
        note = _NOTES.get(kind)
        if note is not None:
            note(self, node)
        write = _WRITERS.get(kind)
        if write is not None:
            write(self, node)
            return
        deeper, comprehension = kind in _SCOPES, kind in _COMPREHENSIONS
        self._depth += deeper
        self._functions += kind in _FUNCTIONS
        self._comprehensions += comprehension
        self.text.append(f"{kind.__name__}(")
        for name in _meant(kind._fields):
            value = getattr(node, name, None)
            if value is not None:
                self._write_field(name, value)
        self.text.append(")")
        self._depth -= deeper
        self._functions -= kind in _FUNCTIONS
        self._comprehensions -= comprehension

    def _write_field(self, name: str, value: object) -> None:
        if not isinstance(value, list):
            self.text.append(f"{name}=")
            self._write(value)
        elif items := [item for item in value if not _is_idle(item)]:
            self.text.append(f"{name}=[")
            for item in items:
                self._write(item)
                self.text.append(",")
            self.text.append("]")

    def _write(self, value: object) -> None:
        if isinstance(value, ast.AST):
            self.read(value)
        else:
            self.text.append(ascii(value))

    def write_name(self, node: ast.Name) -> None:
        """`x`."""
        self.text.append(node.id)

    def write_constant(self, node: ast.Constant) -> None:
        """Write a value with its type: `1` differs from `True`."""
        self.text.append(f"{type(node.value).__name__}:{node.value!a}")

    def write_formatted(self, node: ast.JoinedStr) -> None:
        """Write an f-string; one without placeholders is written as text."""
        parts = _joined(node)
        if all(isinstance(part, str) for part in parts):
            self.write_constant(ast.Constant("".join(str(part) for part in parts)))
            return
        self.text.append("f[")
        for part in parts:
            self._write(part)
            self.text.append(",")
        self.text.append("]")

    def write_placeholder(self, node: ast.FormattedValue) -> None:
        """Write `{x!r:>8}`; an empty format is left out."""
        self.read(node.value)
        self.text.append(f"!{node.conversion}")
        if node.format_spec is not None and _joined(node.format_spec):
            self.read(node.format_spec)

    def write_delete(self, node: ast.Delete) -> None:
        """Write `del (a, b)` like `del a, b`."""
        targets = node.targets
        if len(targets) == 1 and isinstance(targets[0], ast.Tuple):
            targets = targets[0].elts
        self.text.append("Delete(")
        self._write_field("targets", targets)
        self.text.append(")")

    def note_name(self, node: ast.Name) -> None:
        """Note a name without an attribute: any attribute of it may be read."""
        if not isinstance(node.ctx, ast.Store):
            self.uses.add(node.id)
            self.attributes.add((node.id, _EVERY_NAME))
        if not isinstance(node.ctx, ast.Load) and not self._comprehensions:
            self._bind(node.id)
            if (
                node.id == "_" and not self._functions
            ):  # the expression counts only for its side effect
                self.changes = True

    def note_walrus(self, node: ast.NamedExpr) -> None:
        """Note `(x := 1)`."""
        self._bind(node.target.id)

    def note_place(self, node: ast.Attribute | ast.Subscript) -> None:
        """Note `x.attribute` or `x[key]` as a target of an assignment."""
        if not isinstance(node.ctx, ast.Load) and not self._functions:
            self.changes = True

    def note_statement(self, node: ast.Expr) -> None:
        """Note a bare call in the body of a class, which runs when the class is defined."""
        if not self._functions and not isinstance(node.value, ast.Constant):
            self.changes = True

    def write_attribute(self, node: ast.Attribute) -> None:
        """Write `x.attribute`, where nothing else of `x` is read."""
        if isinstance(node.value, ast.Name):
            self.uses.add(node.value.id)
            self.attributes.add((node.value.id, node.attr))
            self.text.append(node.value.id)
        else:
            self.read(node.value)
        self.text.append(f".{node.attr}")

    def note_definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        """Note a function or class; a decorator may register it, and `__getattr__` counts too."""
        self._bind(node.name)
        known = all(_decorator(item) in _PLAIN_DECORATORS for item in node.decorator_list)
        if not self._functions and (not known or node.name == "__getattr__"):
            self.changes = True
        if not isinstance(node, ast.ClassDef) and node.returns is not None:
            self.uses |= _quoted(node.returns)

    def note_import(self, node: ast.Import) -> None:
        """Note `import a.b as c`."""
        for alias in node.names:
            self.imports.append(_Import(alias.name, 0, "", alias.asname or ""))
            self._bind(alias.asname or alias.name.split(".")[0])

    def note_import_from(self, node: ast.ImportFrom) -> None:
        """Note `from a import b as c`."""
        for alias in node.names:
            own = alias.asname or alias.name
            if own == _EVERY_NAME:
                self.changes = True
            self.imports.append(_Import(node.module or "", node.level, alias.name, own))
            self._bind(own)

    def note_capture(self, node: ast.ExceptHandler | ast.MatchAs | ast.MatchStar) -> None:
        """Note `except Error as x` and the names of a pattern."""
        if node.name:
            self._bind(node.name)

    def note_rest(self, node: ast.MatchMapping) -> None:
        """Note `**x` of a pattern."""
        if node.rest:
            self._bind(node.rest)

    def note_global(self, node: ast.Global | ast.Nonlocal) -> None:
        """Note `global x`."""
        self.uses |= set(node.names)

    def note_annotation(self, node: ast.arg | ast.AnnAssign) -> None:
        """Note an annotation, which may be text."""
        if node.annotation is not None:
            self.uses |= _quoted(node.annotation)

    def _bind(self, name: str) -> None:
        if not self._depth:
            self.binds.add(name)


_BINDING = (
    ast.Import,
    ast.ImportFrom,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Assign,
    ast.AnnAssign,
    ast.AugAssign,
)
_FUNCTIONS = frozenset({ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda})
_SCOPES = _FUNCTIONS | {ast.ClassDef}
_PLAIN_DECORATORS = frozenset(
    {
        "cache",
        "cached_property",
        "classmethod",
        "contextmanager",
        "dataclass",
        "lru_cache",
        "overload",
        "property",
        "staticmethod",
        "wraps",
    }
)
"""Decorators that only wrap their argument."""
_COMPREHENSIONS = frozenset({ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp})
_WRITERS: dict[type[ast.AST], Callable[[_Reader, Any], None]] = {
    ast.Name: _Reader.write_name,
    ast.Attribute: _Reader.write_attribute,
    ast.Constant: _Reader.write_constant,
    ast.JoinedStr: _Reader.write_formatted,
    ast.FormattedValue: _Reader.write_placeholder,
    ast.Delete: _Reader.write_delete,
}
_NOTES: dict[type[ast.AST], Callable[[_Reader, Any], None]] = {
    ast.Expr: _Reader.note_statement,
    ast.Name: _Reader.note_name,
    ast.NamedExpr: _Reader.note_walrus,
    ast.Attribute: _Reader.note_place,
    ast.Subscript: _Reader.note_place,
    ast.FunctionDef: _Reader.note_definition,
    ast.AsyncFunctionDef: _Reader.note_definition,
    ast.ClassDef: _Reader.note_definition,
    ast.Import: _Reader.note_import,
    ast.ImportFrom: _Reader.note_import_from,
    ast.ExceptHandler: _Reader.note_capture,
    ast.MatchAs: _Reader.note_capture,
    ast.MatchStar: _Reader.note_capture,
    ast.MatchMapping: _Reader.note_rest,
    ast.Global: _Reader.note_global,
    ast.Nonlocal: _Reader.note_global,
    ast.arg: _Reader.note_annotation,
    ast.AnnAssign: _Reader.note_annotation,
}


@cache
def _meant(fields: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(fields) - _NO_MEANING))


def _decorator(node: ast.expr) -> str:
    """Return the last name of a decorator: `lru_cache` of `@functools.lru_cache(maxsize=1)`."""
    node = node.func if isinstance(node, ast.Call) else node
    return (
        node.attr
        if isinstance(node, ast.Attribute)
        else node.id
        if isinstance(node, ast.Name)
        else ""
    )


def _quoted(annotation: ast.expr) -> set[str]:
    """Return the names in an annotation that is written as text."""
    if isinstance(annotation, ast.Name):
        return set()
    texts = [
        part.value
        for part in ast.walk(annotation)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    return {name for text in texts for name in _IDENTIFIER.findall(text)}


def _is_idle(node: object) -> bool:
    """Return whether a statement is a docstring, another bare text, or `pass`."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.Pass)


def _joined(node: ast.AST) -> list[str | ast.AST]:
    """Return the parts of an f-string, adjacent texts joined."""
    parts: list[str | ast.AST] = []
    for part in node.values if isinstance(node, ast.JoinedStr) else [node]:
        text = part.value if isinstance(part, ast.Constant) else None
        if not isinstance(text, str):
            parts.append(part)
        elif parts and isinstance(parts[-1], str):
            parts[-1] += text
        elif text:
            parts.append(text)
    return parts
