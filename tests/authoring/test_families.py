"""A model family consists of its step modules: no other module contains its name."""

import ast
import json
from pathlib import Path

import pytest

from buildsys.authoring.recipes.families import decoders, networks, source_names
from buildsys.authoring.recipes.firmware_checks import fits_network
from buildsys.registry import find_step
from buildsys.steps.lib.heads.outputs import HEADS
from tests.authoring.sample_workspace import by_stage, plan_good, write_recipe
from tests.conftest import REPOSITORY


def test_nothing_outside_a_family_asks_for_it_by_name() -> None:
    """No module outside a family compares with its name."""
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
    """Every family lists its heads and has all steps that it needs."""
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
    """A contract works for every family: the head is chosen, and outputs are in its order."""
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


_TWO_BRANCHES = """\
source: {{family: ultralytics, task: {task}, architecture: {architecture}, weights: random}}
input: {{size: 192}}
evaluate: none
quantization: {{scheme: int8, calibration: {{images: "pictures/*.jpg", count: 4}}}}
targets:
  - {{target: linux-arm64-tflite, as: free}}
  - {{target: linux-arm64-tflite, as: many, export: {{branch: one-to-many}}}}
  - {{target: linux-arm64-tflite, as: one, export: {{branch: one-to-one, head: decoded}}}}
  - {{target: grove-vision-ai-v2, as: board, firmware: {firmware}}}
"""
_RAW_26 = ("yolo26-raw-one-to-one", "yolo26-raw", "decoded-one-to-one")


@pytest.mark.parametrize(
    ("architecture", "task", "firmware", "heads"),
    [
        ("yolo26n", "detect", "himax-yolov8-od", (*_RAW_26, "split")),
        ("yolo26s-pose", "pose", "unchecked", (*_RAW_26, "yolo26-raw-one-to-one")),
        ("yolov10n", "detect", "sscma-1.0-world", ("raw", "raw", "decoded-one-to-one", "raw")),
    ],
)
def test_firmware_network_and_recipe_choose_the_branch(
    workspace: Path, architecture: str, task: str, firmware: str, heads: tuple[str, ...]
) -> None:
    """A decoder with suppression gets one-to-many; otherwise the network's default or the recipe
    decides.
    """
    (workspace / "pictures").mkdir()
    (workspace / "pictures" / "one.jpg").write_bytes(b"")
    text = _TWO_BRANCHES.format(architecture=architecture, task=task, firmware=firmware)
    write_recipe(workspace, "two", text)
    plans = plan_good(workspace)
    exports = [
        by_stage(plans[f"two@{name}"])["export"] for name in ("free", "many", "one", "board")
    ]
    assert tuple(json.loads(step.params)["head"] for step in exports) == heads


@pytest.mark.parametrize("task", ["detect", "pose"])
def test_firmware_of_a_head_fits_the_tasks_that_are_exported_with_it(task: str) -> None:
    """A contract for poses with a head that is exported for detect only does not fit a network."""
    name = {"detect": "yolov8n", "pose": "yolov8n-pose"}[task]
    for head in ("normalized", "split"):
        assert fits_network(head, networks()["ultralytics"], name, task) == (task == "detect")
    assert fits_network("raw", networks()["ultralytics"], name, task)


def test_a_head_of_some_tasks_is_one_of_the_family() -> None:
    """Every head that is exported for some tasks only is a head of its family, for tasks that it
    has.
    """
    for family in networks().values():
        for word, tasks in family.head_tasks:
            assert word in dict(family.heads)
            assert set(tasks) < set(family.tasks)
