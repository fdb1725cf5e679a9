"""Whether build/report is still what the last run made of a workspace in which nothing changed.

One small file with stats; a run without work reads it and loads nothing for the report.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from buildsys.execution.places import Workspace
from buildsys.files import stat_text

VARIABLE = "BUILDSYS_REPORT"
MODES = ("pages", "text", "none")
"""What a run writes at its end: everything, report.md alone, nothing. The first without a word."""


def mode() -> str:
    """What the environment says; any other word means pages."""
    said = os.environ.get(VARIABLE, "")
    return said if said in MODES else MODES[0]


def is_current(workspace: Workspace, builds: Iterable[str]) -> bool:
    """Whether the report can stay, provided that every build is up to date."""
    if mode() == "none":
        return True
    try:
        with open(_path(workspace), encoding="utf-8") as stream:
            return stream.read() == _text(workspace, builds)
    except (OSError, UnicodeDecodeError):
        return False


def write(workspace: Workspace, builds: Iterable[str]) -> None:
    """After a report of builds that all need nothing."""
    with contextlib.suppress(OSError):  # losing it costs a second
        _path(workspace).write_text(_text(workspace, builds), encoding="utf-8")


def forget(workspace: Workspace) -> None:
    """What the report rests on has changed: the next run looks at it."""
    with contextlib.suppress(OSError):
        _path(workspace).unlink(missing_ok=True)


def _path(workspace: Workspace) -> Path:
    return workspace.state / "report" / "stamp"


def _text(workspace: Workspace, builds: Iterable[str]) -> str:
    names = hashlib.sha256("\n".join(sorted(builds)).encode()).hexdigest()
    root = str(workspace.root)
    files = ("build/report/index.html", "build/report/report.md", "baselines.json")
    return "\n".join((mode(), names, *(stat_text(f"{root}/{name}") for name in files)))
