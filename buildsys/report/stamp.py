"""Records whether build/report is current, for a run in which nothing changed.

Such a run reads one small file and imports nothing for the report.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from buildsys.execution.places import Workspace
from buildsys.execution.state import unchanged
from buildsys.files import stat_text

VARIABLE = "BUILDSYS_REPORT"
MODES = ("pages", "text", "none")
"""What a run writes at its end: all pages, only report.md, or nothing; the first is the default."""
_FILES = ("build/report/index.html", "build/report/report.md", "baselines.json")
"""Paths that must exist, or not, as before, in addition to those in the report's record."""


def mode() -> str:
    """Return the report that the environment requests; any unknown value means pages."""
    asked = os.environ.get(VARIABLE, "")
    return asked if asked in MODES else MODES[0]


def page() -> str:
    """Return the page to open, as a path in the workspace."""
    return f"build/report/{'report.md' if mode() == 'text' else 'index.html'}"


def is_current(workspace: Workspace, builds: Iterable[str]) -> bool:
    """Return whether the report can stay if every build is up to date."""
    return mode() == "none" or unchanged.find(_path(workspace), _text(builds)) is not None


def write(workspace: Workspace, builds: Iterable[str]) -> None:
    """Record a report of builds that all need no work."""
    from buildsys.execution.state import published  # not needed by a run without work

    paths = [str(workspace.root / name) for name in _FILES]
    files = {path: stat_text(path) for path in paths}
    folders: dict[str, str] = {}
    record = published.read(workspace, "report")
    if record is not None:
        files |= {f"{workspace.build}/report/{n}": file.stat for n, file in record.files.items()}
        folders = {f"{workspace.build}/report/{n}": text for n, text in record.folders.items()}
    entry = unchanged.Entry(value=True, text=_text(builds), files=files, folders=folders)
    unchanged.keep(_path(workspace), entry)


def forget(workspace: Workspace) -> None:
    """Mark the report as outdated: the next run checks it."""
    with contextlib.suppress(OSError):
        _path(workspace).unlink(missing_ok=True)


def _path(workspace: Workspace) -> Path:
    return workspace.state / "report" / "stamp.json"


def _text(builds: Iterable[str]) -> str:
    return f"{mode()} {hashlib.sha256(chr(10).join(sorted(builds)).encode()).hexdigest()}"
