"""Every mistake that a recipe's author can make: one message, at its place, reviewed as text.

`UPDATE_GOLDEN=1 pytest tests/authoring/test_broken.py` writes the messages anew; read the diff.
"""

import os
import shutil
from pathlib import Path

import pytest
from sample_workspace import plan_all, write_recipe

from buildsys import cli

_HERE = Path(__file__).parent
_BROKEN = sorted((_HERE / "broken").glob("*.yaml"))
_FINE = sorted((_HERE / "fine").glob("*.yaml"))
_GOOD = """\
source: {family: tflite, weights: {path: weights/model.tflite}}
targets: [host]
"""


def _compare(text: str, golden: Path) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def _check(workspace: Path, recipe: Path) -> int:
    shutil.copyfile(recipe, workspace / "recipes" / recipe.name)
    return cli.main(["-C", str(workspace), "check"])


@pytest.mark.parametrize("recipe", _BROKEN, ids=lambda path: path.stem)
def test_mistake_is_told_once(
    recipe: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake is told not at all, twice, at the wrong place or in words that do not help."""
    code = _check(workspace, recipe)
    printed = capsys.readouterr()
    _compare(printed.out, recipe.with_suffix(".txt"))
    assert printed.out.endswith("\n1 mistake\n")
    assert (code, printed.err) == (2, "")


@pytest.mark.parametrize("recipe", _FINE, ids=lambda path: path.stem)
def test_odd_recipe_is_accepted(
    recipe: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recipe that is right is refused for the way in which it was typed."""
    code = _check(workspace, recipe)
    printed = capsys.readouterr()
    _compare(printed.out, recipe.with_suffix(".txt"))
    assert (code, printed.err) == (0, "")
