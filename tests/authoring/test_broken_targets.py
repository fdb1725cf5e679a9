"""Targets and firmware contracts of one's own: a mistake in them is told once, in their file.

`UPDATE_GOLDEN=1 pytest tests/authoring/test_broken_targets.py` writes the messages anew.
"""

import re
import shutil
from pathlib import Path

import pytest

from buildsys import cli
from tests.authoring.golden import compare, inputs, orphans
from tests.authoring.sample_workspace import TRAINED, expecting, plan_all, write_recipe


def _tell(workspace: Path, given: Path, folder: str, targets: str) -> None:
    """Check a workspace with a wrong file, beside a build that is right."""
    (workspace / folder).mkdir(parents=True)
    shutil.copyfile(given, workspace / folder / given.name)
    write_recipe(workspace, "tags", TRAINED.replace("[grove-vision-ai-v2, xiao-esp32s3]", targets))
    assert cli.main(["-C", str(workspace), "check"]) == 2
    assert [plan.build for plan in plan_all(workspace).plans] == ["tags@host"]


def _compare(printed: str, given: Path, folder: str) -> None:
    assert re.match(rf"{folder}/{given.name}:\d+:\d+: error: ", printed)
    assert printed.endswith("\n1 mistake\n")
    compare(printed, given, ())


@pytest.mark.parametrize("given", expecting(inputs("broken_targets"), {}))
def test_mistake_in_a_target(
    given: Path, lent_workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A board's file is wrong, and a recipe that is right is blamed, or a traceback is shown."""
    _tell(lent_workspace, given, "targets", f"[host, {given.stem}]")
    _compare(capsys.readouterr().out, given, "targets")


@pytest.mark.parametrize("given", expecting(inputs("broken_contracts"), {}))
def test_mistake_in_a_contract(
    given: Path, lent_workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A firmware's file is wrong, and the step that follows it dies."""
    entry = f"[host, {{target: xiao-esp32s3, firmware: {given.stem}}}]"
    _tell(lent_workspace, given, "targets/firmware", entry)
    _compare(capsys.readouterr().out, given, "targets/firmware")


def test_no_message_without_a_file() -> None:
    """A message that nothing gives any more is still read by reviewers."""
    assert not orphans("broken_targets") | orphans("broken_contracts")


def test_name_of_a_shipped_target_is_taken(workspace: Path) -> None:
    """A board's file is edited again and again, and nothing changes."""
    (workspace / "targets").mkdir()
    text = "name: host\nlabel: mine\npipelines: {int8: [convert_tflite, package_files]}\n"
    (workspace / "targets" / "host.yaml").write_text(text, encoding="utf-8")
    write_recipe(workspace, "tags", TRAINED.replace("xiao-esp32s3", "host"))
    (error,) = plan_all(workspace).errors
    assert error.path == "targets/host.yaml"
