"""The console: a live picture on a terminal, lines elsewhere; whatever a step is called, it is text."""

import io
import re
import sys

import pytest

from buildsys.execution.session.console import Console

HOSTILE = "[red]a[/red] :bomb: \x1b[2J\x07\u202eb\r\n::error::x"


class Terminal(io.StringIO):
    """A stream that says that a person looks on."""

    def isatty(self) -> bool:
        """Whether a person looks on."""
        return True


def work(console: Console) -> None:
    """A step from its start to its end, and what others print meanwhile."""
    console.start(HOSTILE, "module", HOSTILE)
    console.progress(HOSTILE, 1, 2, HOSTILE, HOSTILE)
    if sys.stderr.isatty():  # then it goes through rich; elsewhere whoever prints guards it
        print(HOSTILE, file=sys.stderr)
    console.print_line(HOSTILE)
    console.finish(HOSTILE, f"failed\n{HOSTILE}")
    console.close()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal], ids=["lines", "picture"])
def test_names_are_text(stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    """No markup, no emoji, no escape but rich's own, no command to what runs a workflow."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("TERM", "xterm")
    out = stream()
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setattr(sys, "stdout", stream())
    work(Console(line_every=0.0))
    shown = out.getvalue()
    assert "[red]a[/red] :bomb: \\x1b[2J\\x07\\u202eb" in shown
    assert not re.search(r"\x1b\[2J|\x07|\u202e|(?m:^\s*::)", shown)
