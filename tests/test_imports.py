"""Which modules may import which: startup time and isolation depend on it."""

import ast
import pkgutil
import subprocess
import sys
import tomllib

from tests.conftest import REPOSITORY


def test_step_modules_need_the_standard_library_alone() -> None:
    """Step modules import only the standard library, since tool environments lack the core's
    packages.
    """
    names = sorted(path.stem for path in (REPOSITORY / "buildsys" / "steps").glob("*.py"))
    imports = "; ".join(f"import buildsys.steps.{name}" for name in names if name != "__init__")
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); {imports}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_module_imports_a_private_name_of_another() -> None:
    """A name with a leading underscore is used in its own module alone."""
    found = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno} {name.name}"
        for path in sorted((REPOSITORY / "buildsys").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("buildsys")
        for name in node.names
        if name.name.startswith("_") and not name.name.endswith("__")
    ]
    assert found == []


def test_a_new_module_of_the_core_is_out_of_the_steps_reach() -> None:
    """The import contract in pyproject.toml forbids steps every module of the core except the
    allowed ones.
    """
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    (forbidden,) = (
        contract["forbidden_modules"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract.get("source_modules") == ["buildsys.steps"]
    )
    modules = {f"buildsys.{each.name}" for each in pkgutil.iter_modules([REPOSITORY / "buildsys"])}
    allowed = {"escaping", "json_text", "spec", "steps"}
    assert modules - set(forbidden) == {f"buildsys.{name}" for name in allowed}


def test_the_command_line_starts_light() -> None:
    """`buildsys --help` does not import the validation library."""
    code = (
        "import sys, buildsys.cli;"
        "print([m for m in ('pydantic', 'ruamel', 'doit', 'rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
