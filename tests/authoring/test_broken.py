"""Every mistake in a recipe gives one message at its position, reviewed as a golden file.

`UPDATE_GOLDEN=1 pytest tests/authoring/test_broken.py` rewrites the messages; review the diff.
"""

import shutil
from pathlib import Path

import pytest

from buildsys import cli
from buildsys.graph import BuildPlan
from tests.authoring.golden import compare, inputs, orphans
from tests.authoring.sample_workspace import TRAINED, expecting, plan_all, plan_good, write_recipe

_GOOD = """\
source: {family: tflite, weights: {path: weights/model.tflite}}
targets: [host]
"""

_SEVERAL = """\
source:
  family: ultralytics
  task: detect
  architecture: yolov8n
  weights: {path: weights/no.pt}
dataset: {path: data/tags/data.yml}
input: {size: 100}
train: {epoch: 1, batch: -8}
quantization: {scheme: int8}
evaluate: {gates: {box.mAP: {min: 0.1}}}
benchmark: {thread: 3}
targets: [raspberry-pi-6]
"""


def _check(workspace: Path, recipe: Path) -> int:
    shutil.copyfile(recipe, workspace / "recipes" / recipe.name)
    return cli.main(["-C", str(workspace), "check"])


@pytest.mark.parametrize("recipe", expecting(inputs("broken"), {}))
def test_mistake_is_reported_once(
    recipe: Path, lent_workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each mistake is reported exactly once, at its position, with a helpful message."""
    code = _check(lent_workspace, recipe)
    printed = capsys.readouterr()
    assert printed.out.endswith("\n1 mistake\n")
    assert (code, printed.err) == (2, "")
    compare(printed.out, recipe, ())


@pytest.mark.parametrize(
    ("written", "instead", "first"),
    [
        ("size: 100", "size: 100", "`size` 100 is not a multiple of 32"),
        ("scheme: int8", "scheme: int9", '`scheme` cannot be "int9"'),
        ("task: detect", "task: detct", '`task` cannot be "detct"'),
        ("family: ultralytics", "family: ultralytic", '`family` cannot be "ultralytic"'),
    ],
    ids=["size", "scheme", "task", "family"],
)
def test_mistakes_are_reported_together(
    written: str, instead: str, first: str, lent_workspace: Path
) -> None:
    """One mistake does not hide another."""
    write_recipe(lent_workspace, "several", _SEVERAL.replace(written, instead))
    messages = [error.message for error in plan_all(lent_workspace).errors]
    expected = {
        first: "",
        "`weights` needs a `sha256`: loading a checkpoint runs code": "family",
        "data/tags/data.yml does not exist": "",
        "`size` 100 is not a multiple of 32": "",
        "unknown key `epoch`": "family",
        "`batch` must be from 1 to 65536, not -8": "family",
        "int8 needs `calibration`: representative images": "family scheme",
        "there is no metric `box.mAP` for task detect": "family task",
        "unknown key `thread`": "",
        "there is no target `raspberry-pi-6`": "",
    }
    resting_on = written.partition(":")[0] if written != instead else "nothing"
    assert sorted(messages) == sorted(
        message for message, rests in expected.items() if resting_on not in rests.split()
    )


def test_gates_of_another_task_are_no_second_mistake(lent_workspace: Path) -> None:
    """With a wrong task, gates of the right task give no additional error."""
    text = TRAINED.replace("task: pose", "task: segment").replace("box.mAP50-95", "keypoints.mAP50")
    write_recipe(lent_workspace, "several", text.replace("yolov8n-pose", "yolov8n-seg"))
    assert not [e.message for e in plan_all(lent_workspace).errors if "no metric" in e.message]


def test_misspelt_targets_hide_nothing(lent_workspace: Path) -> None:
    """Mistakes of a recipe are reported even if all its targets are misspelt."""
    text = _GOOD.replace("targets", "targts") + "evaluate: {gatse: {}}\nbenchmark: {threads: 0}\n"
    write_recipe(lent_workspace, "several", text)
    assert [(error.message, error.hint) for error in plan_all(lent_workspace).errors] == [
        ("unknown key `targts`", "did you mean `targets`?"),
        ("unknown key `gatse`", "did you mean `gates`?"),
        ("`threads` must be at least 1, not 0", ""),
    ]


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("{maximise: bytes}", "unknown key `maximise`"),
        ("{minimize: bytes, maximize: bytes}", "`select` needs one of `maximize` and `minimize`"),
    ],
)
def test_wrong_select_hides_nothing(select: str, message: str, lent_workspace: Path) -> None:
    """Mistakes of all builds are reported even if `select` is wrong, which is reported once."""
    text = _GOOD.replace("[host]", "[host, hots]") + "matrix: {input.size: [160, 192]}\n"
    write_recipe(lent_workspace, "several", f"{text}benchmark: {{threads: 0}}\nselect: {select}\n")
    assert [error.message for error in plan_all(lent_workspace).errors] == [
        "there is no target `hots`",
        "`threads` must be at least 1, not 0",
        message,
    ]


@pytest.mark.parametrize("recipe", expecting(inputs("fine"), {}))
def test_odd_recipe_is_accepted(
    recipe: Path, lent_workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A correct recipe in an unusual notation is accepted."""
    code = _check(lent_workspace, recipe)
    printed = capsys.readouterr()
    assert (code, printed.err) == (0, ""), printed.out
    compare(printed.out, recipe, ())


def test_no_message_without_a_recipe() -> None:
    """Every golden file belongs to a case."""
    assert not orphans("broken") | orphans("fine")


def test_broken_recipe_does_not_stop_the_others(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake in one recipe does not prevent other builds."""
    write_recipe(workspace, "good", _GOOD)
    write_recipe(workspace, "typo", _GOOD.replace("family", "famly"))
    write_recipe(workspace, "tab", "source:\n\tfamily: tflite\n")
    write_recipe(workspace, "half", _GOOD.replace("[host]", "[host, hots]"))
    plans = plan_all(workspace)
    assert [plan.build for plan in plans.plans] == ["good@host", "half@host"]
    assert all(isinstance(plan, BuildPlan) for plan in plans.plans)
    assert cli.main(["-C", str(workspace), "check"]) == 2
    printed = capsys.readouterr().out
    for error in plans.errors:
        assert error.render() in printed
    assert {error.path for error in plans.errors} == {
        f"recipes/{name}.yaml" for name in ("half", "tab", "typo")
    }


def test_base_files_are_not_built(workspace: Path) -> None:
    """A base `_x.yaml` is not built as a recipe."""
    write_recipe(workspace, "good", _GOOD)
    write_recipe(workspace, "_base", "source: {family: tflite}\n")
    assert list(plan_good(workspace)) == ["good@host"]


@pytest.mark.parametrize("name", ["recipes/v2.yml", "targets/board.YAML"])
def test_a_file_with_another_ending_is_not_passed_over(
    workspace: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """It is not read, and `check` and `plan` say so at once and again; nothing else changes."""
    write_recipe(workspace, "good", _GOOD)
    (workspace / "targets").mkdir(exist_ok=True)
    (workspace / name).write_text(_GOOD)
    for command in ("check", "plan", "plan"):
        assert cli.main(["-C", str(workspace), command]) == 0
        told = "".join(capsys.readouterr())
        assert f"{name}: warning: this file is not read: its name does not end in .yaml" in told
        assert f"rename it: {Path(name).stem}.yaml" in told


def test_a_number_out_of_range_is_reported_once(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one that is written as an integer and read as a float."""
    source = "source: {family: ultralytics, task: detect, architecture: yolov8n, weights: random}"
    lines = (source, "dataset: {generator: fiducials}", "input: {size: 64}", "targets: [host]")
    write_recipe(workspace, "good", "\n".join((*lines, "train: {epochs: 1, flip: 2}", "")))
    assert cli.main(["-C", str(workspace), "check"]) == 2
    assert capsys.readouterr().out.count("`flip` must be from 0 to 1, not 2") == 1


def test_folder_without_recipes(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` fails in a folder without recipes."""
    assert cli.main(["-C", str(workspace), "check"]) == 2
    assert "no recipe found" in capsys.readouterr().out
    assert cli.main(["-C", str(workspace), "build"]) == 1
    assert not (workspace / "build").exists()
    (workspace / "notes").mkdir()
    (workspace / "recipes").mkdir(exist_ok=True)
    assert cli.main(["-C", str(workspace / "notes"), "plan"]) == 2
    told = "".join(capsys.readouterr())
    assert f"this folder is inside the workspace {workspace}: change to it" in told
    assert "not made here" not in told
