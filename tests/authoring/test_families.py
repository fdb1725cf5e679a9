"""A model family is its own step modules: the rest of the program knows none by its name."""

import ast
import json
from pathlib import Path

from buildsys.authoring.recipes.families import decoders, networks, source_names
from buildsys.registry import find_step
from buildsys.steps.lib.heads.outputs import HEADS
from tests.authoring.sample_workspace import by_stage, plan_good, write_recipe
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


_OWN_FIRMWARE = """\
name: mine
label: a decoder of one's own
task: detect
head: yolox-split
input: {dtype: int8, scale: 0.00392156862745098, zero_point: -128}
outputs:
  match: order
  values: probabilities
  tensors:
    - {name: objectness, shape: [1, N, 1]}
    - {name: boxes, shape: [1, N, 4]}
    - {name: classes, shape: [1, N, nc]}
source: its author
verified: true
"""
_YOLOX = """\
source: {family: yolox, task: detect, architecture: yolox-nano, weights: random}
input: {size: 192}
evaluate: none
quantization: {scheme: int8, calibration: {images: "pictures/*.jpg", count: 4}}
targets: [grove-vision-ai-v2]
firmware: firmware/mine.yaml
"""


def test_a_firmware_of_ones_own_decodes_the_second_family(workspace: Path) -> None:
    """Contracts are for every family: the head is chosen, and the outputs come in its order."""
    (workspace / "firmware").mkdir()
    (workspace / "firmware" / "mine.yaml").write_text(_OWN_FIRMWARE)
    (workspace / "pictures").mkdir()
    (workspace / "pictures" / "one.jpg").write_bytes(b"")
    write_recipe(workspace, "own", _YOLOX)
    (plan,) = plan_good(workspace).values()
    steps = by_stage(plan)
    assert json.loads(steps["export"].params)["head"] == "yolox-split"
    assert json.loads(steps["bind"].params)["order"] == ["objectness", "boxes", "classes"]
    assert "contract" in steps
