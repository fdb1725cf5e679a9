"""Words of messages: an image is called an image."""

import ast
import re
from pathlib import Path

from buildsys.execution.state.code_digest import covered_modules
from buildsys.python_source import parse_source
from buildsys.registry import get_step, step_names
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "buildsys"
MAKES_DATA = ("generate_fiducials", "generate_shapes", "write_coco", "prepare_dataset")
"""Steps before trainings: as with these, other words would change keys of trainings."""


def test_messages_call_an_image_an_image() -> None:
    """No message or unit of progress calls images pictures, where rewording repeats no training."""
    trainings = [name for name in step_names() if get_step(name).spec.trains]
    fixed = {name for step in (*trainings, *MAKES_DATA) for name in covered_modules(step, PACKAGE)}
    found = [
        f"{name}: {text}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if (name := ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)) not in fixed
        for text in messages_of(path)
        if re.search(r"\bpictures?\b(?!\.py)", text, re.IGNORECASE)
    ]
    assert found == []


def messages_of(path: Path) -> list[str]:
    """The strings with a space that are more than a statement, and the units given to `report`."""
    nodes = list(ast.walk(parse_source(path.read_text(encoding="utf-8"))))
    statements = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    texts = [
        node.value
        for node in nodes
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and " " in node.value.strip()
        if id(node) not in statements
    ]
    calls = [node for node in nodes if isinstance(node, ast.Call) and len(node.args) > 2]
    units = [node.args[2] for node in calls if ast.unparse(node.func) == "report"]
    return texts + [str(unit.value) for unit in units if isinstance(unit, ast.Constant)]
