"""The console: a live display on a terminal, lines elsewhere; names of steps are shown as text."""

import io
import re
import sys

import pytest

from buildsys.execution.session.console import Console

HOSTILE = "[red]a[/red] :bomb: \x1b[2J\x07\u202eb\r\n::error::x"


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        """Return True, like a terminal."""
        return True


def work(console: Console) -> None:
    """A step from start to end, with other output in between."""
    console.start(HOSTILE, HOSTILE)
    console.progress(HOSTILE, 1, 2, HOSTILE, HOSTILE)
    if sys.stderr.isatty():  # on a terminal it goes through rich; elsewhere the caller escapes it
        print(HOSTILE, file=sys.stderr)
    console.print_line(HOSTILE)
    console.finish(HOSTILE, f"failed\n{HOSTILE}")
    console.close()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal], ids=["lines", "picture"])
def test_names_are_text(stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    """Names cause no markup, emoji, escape sequences or workflow commands."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("TERM", "xterm")
    out = stream()
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setattr(sys, "stdout", stream())
    work(Console(line_every=0.0))
    shown = out.getvalue()
    assert "[red]a[/red] :bomb: \\x1b[2J\\x07\\u202eb" in shown
    assert not re.search(r"\x1b\[2J|\x07|\u202e|(?m:^\s*::)", shown)
