"""Allows one run at a time in a workspace; the next one waits."""

import contextlib
import os
import sys
from collections.abc import Iterator

from buildsys.escaping import one_line
from buildsys.execution.places import Workspace
from buildsys.locks import locked
from buildsys.printing import guard
from buildsys.write_errors import writing


@contextlib.contextmanager
def exclusive(workspace: Workspace) -> Iterator[None]:
    """Hold the workspace lock; a second run prints which process it waits for.

    Raises CannotWrite.
    """
    workspace.check_own()
    with contextlib.ExitStack() as held:
        with writing("the lock of this workspace", workspace.state):
            held.enter_context(locked(workspace.state / "lock", str(os.getpid()), _print_owner))
        yield


def _print_owner(process: str) -> None:
    text = f"waiting for another run in this workspace (process {one_line(process)})"
    print(text, file=guard(sys.stderr), flush=True)
