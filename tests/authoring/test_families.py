"""A model family is its own step modules: the rest of the program knows none by its name."""

import ast
from pathlib import Path

from buildsys.authoring.families import decoders, networks, source_names
from buildsys.authoring.registry import find_step
from buildsys.steps._outputs import HEADS
from tests.conftest import REPOSITORY


def test_nothing_outside_a_family_asks_for_it_by_name() -> None:
    """`if family == …` in the core would make the third family harder than the second."""
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}"
        for path in sorted((REPOSITORY / "buildsys").rglob("*.py"))
        if not any(name in path.stem for name in networks())
        for line in _comparisons(path)
    ]
    assert found == []


def _comparisons(path: Path) -> list[int]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and any("family" in ast.dump(side) for side in (node.left, *node.comparators))
        and any(
            isinstance(part, ast.Constant) and part.value in source_names()
            for side in (node.left, *node.comparators)
            for part in ast.walk(side)
        )
    ]


def test_every_family_is_whole() -> None:
    """Heads that nobody lists, or a family that cannot begin, would fail in the middle of a build."""
    for name, family in networks().items():
        assert {head for _, head in family.heads} <= HEADS.keys()
        assert find_step("initialize", name) is not None
        assert all(family.task_of(example) == task for task, example in family.examples)
        assert bool(find_step("evaluate", name)) == bool(find_step("record", name))
    assert set(decoders().values()) <= {*HEADS, "none"}
