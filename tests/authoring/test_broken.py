"""Every mistake that a recipe's author can make: one message, at its place, reviewed as text.

`UPDATE_GOLDEN=1 pytest tests/authoring/test_broken.py` writes the messages anew; read the diff.
"""

import os
import shutil
from pathlib import Path

import pytest

from buildsys import cli
from tests.authoring.sample_workspace import expecting, plan_all, plan_good, write_recipe

_HERE = Path(__file__).parent
_GOOD = """\
source: {family: tflite, weights: {path: weights/model.tflite}}
targets: [host]
"""

_BUGS = {
    "Capital-in-file-name": "told twice",
    "accelerator-unknown": "not told",
    "alias-of-itself": "RecursionError",
    "epochs-has-no-value": "told at the line below",
    "epochs-is-zero": "not told",
    "head-unknown": "not told",
    "misspelled-required-key": "told twice: unknown, and missing",
    "misspelled-required-train-key": "told twice: unknown, and missing",
    "mistake-under-an-override": "told at the override, not where it stands",
    "nested-too-deep": "RecursionError",
    "onnx-without-input": "AssertionError",
    "source-has-no-value": "told at the line below",
    "tag-that-lies": "ValueError",
    "train-of-another-family": "not told",
    "unknown-gate-setting": "no suggestion",
    "vela-for-target-without": "told as three missing keys",
    "vela-version-unknown": "InternalError",
}
"""What is wrong today. A recipe that is mended here fails as XPASS: take it out, then UPDATE_GOLDEN."""


def _recipes(folder: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted((_HERE / folder).glob("*.yaml"))}


def _compare(text: str, golden: Path) -> None:
    if os.environ.get("UPDATE_GOLDEN") and golden.stem not in _BUGS:
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def _check(workspace: Path, recipe: Path) -> int:
    shutil.copyfile(recipe, workspace / "recipes" / recipe.name)
    return cli.main(["-C", str(workspace), "check"])


@pytest.mark.parametrize("recipe", expecting(_recipes("broken"), _BUGS))
def test_mistake_is_told_once(
    recipe: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake is told not at all, twice, at the wrong place or in words that do not help."""
    code = _check(workspace, recipe)
    printed = capsys.readouterr()
    assert printed.out.endswith("\n1 mistake\n")
    assert (code, printed.err) == (2, "")
    golden = recipe.with_suffix(".txt")
    if golden.exists() or recipe.stem not in _BUGS:
        _compare(printed.out, golden)


@pytest.mark.parametrize("recipe", expecting(_recipes("fine"), {}))
def test_odd_recipe_is_accepted(
    recipe: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recipe that is right is refused for the way in which it was typed."""
    code = _check(workspace, recipe)
    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    _compare(printed.out, recipe.with_suffix(".txt"))


def test_folders_hold_nothing_else() -> None:
    """A message that no recipe gives any more stays behind and is still read by reviewers."""
    for folder in ("broken", "fine"):
        texts = {path.stem for path in (_HERE / folder).glob("*.txt")}
        assert texts <= _recipes(folder).keys()


def test_broken_recipe_does_not_stop_the_others(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One typo, and nothing in the repository can be built any more."""
    write_recipe(workspace, "good", _GOOD)
    write_recipe(workspace, "typo", _GOOD.replace("family", "famly"))
    write_recipe(workspace, "tab", "source:\n\tfamily: tflite\n")
    write_recipe(workspace, "half", _GOOD.replace("[host]", "[host, hots]"))
    plans = plan_all(workspace)
    assert [plan.build for plan in plans.plans] == ["good@host", "half@host"]
    assert all(plan.package for plan in plans.plans)
    assert cli.main(["-C", str(workspace), "check"]) == 2
    printed = capsys.readouterr().out
    for error in plans.errors:
        assert error.render() in printed
    assert {error.path for error in plans.errors} == {
        f"recipes/{name}.yaml" for name in ("half", "tab", "typo")
    }


def test_base_files_are_not_built(workspace: Path) -> None:
    """A half-written base, `_x.yaml`, is taken for a recipe."""
    write_recipe(workspace, "good", _GOOD)
    write_recipe(workspace, "_base", "source: {family: tflite}\n")
    assert list(plan_good(workspace)) == ["good@host"]


def test_folder_without_recipes(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` in the wrong folder says that all is well."""
    assert cli.main(["-C", str(workspace), "check"]) == 2
    assert "there is no recipe here" in capsys.readouterr().out
