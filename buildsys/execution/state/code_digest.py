"""Digest of the code that decides a step's result: its tool side, and all of ours that it imports.

Comments, docstrings, formatting and the planning side do not count: what `plan` decides shows in
the parameters.
"""

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

from buildsys.digest import digest_bytes

PACKAGE = Path(__file__).resolve().parents[2]
_PLANNING = frozenset({"plan", "facts", "tool_env", "resources", "requires", "Settings", "Facts"})
_PLANNING_NAMES = frozenset(
    {
        "TOOL_ENV",
        "BLOCK",
        "STAGE",
        "NEEDS",
        "RESOURCES",
        "ALSO_PRODUCES",
        "CONSUMES",
        "PRODUCES",
        "FAMILY",
        "DATASET_FORMAT",
    }
)


class _Part(NamedTuple):
    """What one file adds to a digest."""

    dump: str
    words: frozenset[str]
    imports: tuple[str, ...]


@cache
def code_digest(module: str, package: Path) -> str:
    """sha256 over the step's module, its imports from buildsys, and the launcher.

    `package`: the folder of the package `buildsys`.
    """
    wanted = ["steps.lib.runtime.launcher", f"steps.{module}"]
    seen: dict[str, str] = {}
    words: set[str] = set()
    while wanted:
        name = wanted.pop()
        path = package / (name.replace(".", "/") + ".py")
        if name in seen or name == "spec" or not path.is_file():
            continue
        part = _part(path.read_text(encoding="utf-8"), name == f"steps.{module}")
        wanted += part.imports
        words |= part.words
        seen[name] = part.dump
    seen["spec"] = _vocabulary((package / "spec.py").read_text(encoding="utf-8"), words)
    return digest_bytes("\n".join(f"{name} {seen[name]}" for name in sorted(seen)).encode())


@cache
def _part(text: str, planning: bool) -> _Part:
    """Of a file's text: steps share most of their helpers, and parsing them is what takes time."""
    tree = ast.parse(text)
    imports = tuple(_imports(tree))
    stripped = _strip(tree, planning)
    return _Part(ast.dump(stripped), frozenset(_words(stripped)), imports)


def _vocabulary(text: str, words: set[str]) -> str:
    """Of the vocabulary only what is used: a word that is added there changes no step."""
    meanings = _meanings(text)
    used: dict[str, str] = {}
    wanted = sorted(words & meanings.keys())
    while wanted:
        name = wanted.pop()
        if name not in used:
            used[name], more = meanings[name]
            wanted += sorted(more & meanings.keys())
    return "\n".join(f"{name} {used[name]}" for name in sorted(used))


@cache
def _meanings(text: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Name -> its definition, and the words in it."""
    tree = _strip(ast.parse(text), planning=False)
    return {
        name: (ast.dump(node), frozenset(_words(node)))
        for node in tree.body
        for name in _defined(node)
    }


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _words(node: ast.AST) -> set[str]:
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}


def _imports(tree: ast.Module) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("buildsys"):
            base = (node.module or "").removeprefix("buildsys").lstrip(".")
            found.append(base)
            found += [f"{base}.{alias.name}" if base else alias.name for alias in node.names]
    return found


def _strip(tree: ast.Module, planning: bool) -> ast.Module:
    """Without docstrings; without the planning side of the step's own module."""
    if planning:
        tree.body = [node for node in tree.body if not _is_planning(node)]
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [item for item in body if not _is_text(item)]  # type: ignore[attr-defined]
    return tree


def _is_planning(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name in _PLANNING
    if isinstance(node, ast.Assign):
        names = {
            n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)
        }
        return bool(names & _PLANNING_NAMES)
    if isinstance(node, ast.ImportFrom):
        return node.module == "buildsys.spec"  # its names show in the parameters' types
    return False


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
