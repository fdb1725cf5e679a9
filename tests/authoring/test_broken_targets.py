"""Mistakes in a workspace's own targets and firmware contracts are reported once, in their file.

`UPDATE_GOLDEN=1 pytest tests/authoring/test_broken_targets.py` rewrites the messages.
"""

import re
import shutil
from pathlib import Path

import pytest

from buildsys import cli
from tests.authoring.golden import compare, inputs, orphans
from tests.authoring.sample_workspace import TRAINED, expecting, plan_all, write_recipe


def _tell(workspace: Path, given: Path, folder: str, targets: str) -> None:
    """Check a workspace with a wrong file and a correct build."""
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
    """A mistake in a target is reported in the target's file, not in a recipe."""
    _tell(lent_workspace, given, "targets", f"[host, {given.stem}]")
    _compare(capsys.readouterr().out, given, "targets")


@pytest.mark.parametrize("given", expecting(inputs("broken_contracts"), {}))
def test_mistake_in_a_contract(
    given: Path, lent_workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake in a contract is reported in the contract's file, before any step."""
    entry = f"[host, {{target: xiao-esp32s3, firmware: {given.stem}}}]"
    _tell(lent_workspace, given, "targets/firmware", entry)
    _compare(capsys.readouterr().out, given, "targets/firmware")


def test_no_message_without_a_file() -> None:
    """Every golden file belongs to a case."""
    assert not orphans("broken_targets") | orphans("broken_contracts")


def test_name_of_a_shipped_target_is_taken(workspace: Path) -> None:
    """A workspace target with the name of a shipped one is used."""
    (workspace / "targets").mkdir()
    text = "name: host\nlabel: mine\npipelines: {int8: [convert_tflite, package_files]}\n"
    (workspace / "targets" / "host.yaml").write_text(text, encoding="utf-8")
    write_recipe(workspace, "tags", TRAINED.replace("xiao-esp32s3", "host"))
    (error,) = plan_all(workspace).errors
    assert error.path == "targets/host.yaml"
