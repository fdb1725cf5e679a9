"""Checking whether a path exists must not raise, as `Path.is_file` does for a name that is too
long.
"""

import ast
from pathlib import Path

import pytest

from buildsys.cli import main

REPOSITORY = Path(__file__).resolve().parent.parent
RAISING = {"is_file", "is_dir", "exists", "is_symlink"}


@pytest.mark.parametrize("command", [["check"], ["predict", "a@b", "x" * 300]])
def test_a_name_that_is_too_long_is_a_mistake(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is too long, of a workspace or an image, is an error in one sentence."""
    folder = "x" * 300 if command == ["check"] else str(tmp_path)
    assert main(["-C", folder, *command]) != 0
    printed = capsys.readouterr().err
    assert printed
    assert "unexpected" not in printed


@pytest.mark.parametrize("package", ["authoring", "commands", "operations"])
def test_paths_that_people_write_are_asked_by_os_path(package: str) -> None:
    """Paths from users are checked with `os.path`, which does not raise."""
    found = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno}"
        for path in (REPOSITORY / "buildsys" / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in RAISING
        and ast.unparse(node.value) not in ("os.path", "entry")  # entries of a folder exist
    ]
    assert found == []
