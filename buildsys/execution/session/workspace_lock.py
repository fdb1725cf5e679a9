"""One run per workspace: who comes second waits."""

import contextlib
import os
from collections.abc import Iterator

from buildsys.execution.places import Workspace
from buildsys.files import locked, writing


@contextlib.contextmanager
def exclusive(workspace: Workspace) -> Iterator[None]:
    """One run per workspace: a second one waits, and says for whom. Raises CannotWrite."""
    workspace.check_own()
    with contextlib.ExitStack() as held:
        with writing("the lock of this workspace", workspace.state):
            held.enter_context(locked(workspace.state / "lock", str(os.getpid()), _say_who))
        yield


def _say_who(process: str) -> None:
    print(f"waiting for another run in this workspace (process {process})", flush=True)
