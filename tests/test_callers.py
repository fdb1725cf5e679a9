"""Every function and class of the steps' library, and every constant of the steps, has a use."""

import ast
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from buildsys.execution.state.code_digest import covered_modules
from buildsys.python_source import parse_source
from buildsys.registry import get_step, step_names
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "buildsys"
LOADED = PACKAGE / "steps" / "lib" / "tensorrt"
"""The folder of the program whose modules load each other by name."""
MODULES = sorted(
    path for path in (PACKAGE / "steps" / "lib").rglob("*.py") if path.parent != LOADED
)


def name_of(path: Path) -> str:
    """The dotted name of a module of the package."""
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)


@cache
def used_by_others() -> set[tuple[str, str]]:
    """Each (module, name) that another module imports, or reads as an attribute of the module."""
    return used_in(PACKAGE.rglob("*.py"))


def used_in(paths: Iterable[Path]) -> set[tuple[str, str]]:
    """Each (module, name) that one of the files imports, or reads as an attribute of the module."""
    found = set()
    for path in paths:
        modules: dict[str, str] = {}
        tree = parse_source(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    found.add((str(node.module), alias.name))
                    modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                found.add((modules.get(node.value.id, ""), node.attr))
    return found


@cache
def protocol_members() -> set[str]:
    """Functions that modules have because a protocol names them."""
    return {
        part.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(parse_source(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
        for part in node.body
        if isinstance(part, ast.FunctionDef)
    }


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_of_the_library_has_no_code_without_a_use(path: Path) -> None:
    """Code without a use is still part of the keys of the steps that import its module."""
    assert unused_in(path, used_by_others()) - protocol_members() == set()


def test_every_constant_of_a_step_or_of_the_library_has_a_use() -> None:
    """A constant that nothing reads is still part of the keys of the steps with its module."""
    paths = sorted((PACKAGE / "steps").rglob("*.py"))
    left = {name_of(path): unread_in(path, used_by_others()) for path in paths}
    assert {name: constants for name, constants in left.items() if constants} == {}


def test_modules_of_trainings_hold_only_what_trainings_run() -> None:
    """Code that another step uses is in another module, so that editing it repeats no training."""
    steps = [name for name in step_names() if get_step(name).spec.trains]
    names = {name for step in steps for name in covered_modules(step, PACKAGE)}
    paths = [REPOSITORY.joinpath(*name.split(".")).with_suffix(".py") for name in sorted(names)]
    used = used_in(paths)
    library = [path for path in paths if "lib" in path.parts and path.stem != "launcher"]
    assert {name_of(path): left for path in library if (left := unused_in(path, used))} == {}


def test_docstrings_name_code_that_exists() -> None:
    """A class or constant that a docstring places in a module is still there after a move."""
    paths = sorted(PACKAGE.rglob("*.py"))
    named = {path.stem if path.stem != "__init__" else path.parent.name for path in paths}
    defined = {(path.stem, name) for path in paths for name in constants_of(path)}
    missing = [
        f"{path.relative_to(REPOSITORY)}: {module}.{name}"
        for path in paths
        for text in strings_of(path)
        for module, name in re.findall(r"`([a-z0-9_]+)\.([A-Z]\w*)", text)
        if module in named and (module, name) not in defined
    ]
    assert missing == []


def test_docstrings_name_private_code_that_exists() -> None:
    """A name such as `_helper` in a docstring is in the code of the package."""
    paths = sorted(PACKAGE.rglob("*.py"))
    exist = {name for path in paths for name in words_of(path)}
    missing = [
        f"{path.relative_to(REPOSITORY)}: {name}"
        for path in paths
        for text in strings_of(path)
        for name in re.findall(r"`(_[a-z]\w*)`", text)
        if name not in exist
    ]
    assert missing == []


def words_of(path: Path) -> set[str]:
    """The names that a module's code has, and the strings that are more than a statement."""
    nodes = list(ast.walk(parse_source(path.read_text(encoding="utf-8"))))
    found = {node.id for node in nodes if isinstance(node, ast.Name)}
    found |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    found |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    return found | {str(node.value) for node in nodes if isinstance(node, ast.Constant)}


def constants_of(path: Path) -> set[str]:
    """The names in capitals that a module has, imported ones as well."""
    tree = parse_source(path.read_text(encoding="utf-8"))
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    found |= {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.alias)}
    return {name for name in found if name[0].isupper()}


def strings_of(path: Path) -> list[str]:
    """The strings that are statements of a module."""
    tree = parse_source(path.read_text(encoding="utf-8"))
    found = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    return [str(one.value) for one in found if isinstance(one, ast.Constant)]


def unused_in(path: Path, used: set[tuple[str, str]]) -> set[str]:
    """The functions and classes of a module that neither it nor the `used` names read."""
    tree = parse_source(path.read_text(encoding="utf-8"))
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    own = name_of(path)
    return defined - read - {name for module, name in used if module == own}


def unread_in(path: Path, used: set[tuple[str, str]]) -> set[str]:
    """The constants of a module that neither it nor the `used` names read; `STEP` is read of all."""
    tree = parse_source(path.read_text(encoding="utf-8"))
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    assigned = [part for part in tree.body if isinstance(part, ast.Assign | ast.AnnAssign)]
    stored = [node for part in assigned for node in ast.walk(part) if isinstance(node, ast.Name)]
    constants = {node.id for node in stored if node.id.isupper()} - {"STEP"}
    own = name_of(path)
    return constants - read - {name for module, name in used if module == own}
