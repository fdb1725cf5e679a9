"""Printed text contains no commands for terminals or CI workflows."""

import io
import re
import sys

import pytest

from buildsys import cli, printing
from buildsys.errors import Diagnostic
from tests.test_escaping import HOSTILE

COMMANDS = (
    "::error::x",
    "  ::set-output name=a::b",
    "a\n::stop-commands::t",
    "a ##[add-mask]x",
    "##vso[task.setvariable variable=a]b",
)


@pytest.mark.parametrize("text", COMMANDS)
def test_no_printed_line_commands_a_workflow(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """No printed line is a workflow command for GitHub or Azure, whatever the file names."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    stream = io.StringIO()
    print(text, file=printing.guard(stream))
    for shown in (stream.getvalue(), printing.printed(text)):
        assert not re.search(r"(?m)^\s*::|##\w*\[", shown)
    assert len(printing.printed(text)) == len(text) + 1


def test_a_command_of_our_own_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """An annotation is printed unchanged, on its own line."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    stream = io.StringIO()
    guarded = printing.guard(stream)
    guarded.command(printing.annotation("error", "no", title="a@host"))
    print("a::b", file=guarded)
    assert stream.getvalue() == "::error title=a@host::no\na::b\n"


def test_a_value_does_not_end_its_place_in_an_annotation() -> None:
    """Commas, colons and newlines in an annotation's values are escaped."""
    mistake = Diagnostic(path="a,line=9::b%.yaml", line=1, column=2, message=f"bad {HOSTILE}")
    assert mistake.annotate().startswith(
        "::error file=a%2Cline=9%3A%3Ab%25.yaml,line=1,col=2::bad "
    )
    made = printing.annotation("notice", HOSTILE, title=HOSTILE)
    assert made.isprintable()
    assert made.count("::") == 3 + 1  # ours, and those of the message, which have no effect there


def test_every_command_prints_through_the_guard(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Arguments are escaped when printed; afterwards the streams are restored."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    before = sys.stdout, sys.stderr
    assert cli.main(["-C", "/nowhere/\x1b[2J\n::error::x", "check"]) == 2
    assert (sys.stdout, sys.stderr) == before
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\n::" not in said


def test_another_stdout_left_behind_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stdout that doit replaced and did not restore is no error."""
    from buildsys.commands import targets

    def leave_another(options: object) -> int:
        print("done")
        sys.stdout = io.StringIO()
        return 0

    monkeypatch.setattr(targets, "run", leave_another)
    before = sys.stdout
    assert cli.main(["targets"]) == 0
    assert sys.stdout is before
    assert capsys.readouterr().out == "done\n"
