"""Whether build/report is still what the last run made of a workspace in which nothing changed.

A run without work reads one small file and loads nothing for the report.
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
"""What a run writes at its end: everything, report.md alone, nothing. The first by default."""
_FILES = ("build/report/index.html", "build/report/report.md", "baselines.json")
"""What has to be there, or not, as it was; beside all that the report's record names."""


def mode() -> str:
    """The report that the environment requests; any unknown value means pages."""
    asked = os.environ.get(VARIABLE, "")
    return asked if asked in MODES else MODES[0]


def is_current(workspace: Workspace, builds: Iterable[str]) -> bool:
    """Whether the report can stay, provided that every build is up to date."""
    return mode() == "none" or unchanged.find(_path(workspace), _text(builds)) is not None


def write(workspace: Workspace, builds: Iterable[str]) -> None:
    """After a report of builds that all need nothing."""
    from buildsys.execution.state import published  # a run without work does without

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
    """What the report rests on has changed: the next run looks at it."""
    with contextlib.suppress(OSError):
        _path(workspace).unlink(missing_ok=True)


def _path(workspace: Workspace) -> Path:
    return workspace.state / "report" / "stamp.json"


def _text(builds: Iterable[str]) -> str:
    return f"{mode()} {hashlib.sha256(chr(10).join(sorted(builds)).encode()).hexdigest()}"
