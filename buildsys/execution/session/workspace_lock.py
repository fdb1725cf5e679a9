"""One run per workspace: who comes second waits."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from buildsys.execution.places import Workspace
from buildsys.files import writing


@contextlib.contextmanager
def exclusive(workspace: Workspace) -> Iterator[None]:
    """One run per workspace: a second one waits, and says for whom. Raises CannotWrite."""
    with writing("the lock of this workspace", workspace.state):
        workspace.state.mkdir(parents=True, exist_ok=True)
        lock = (workspace.state / "lock").open("a+")
    with contextlib.closing(lock):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            print(
                f"waiting for another run in this workspace (process {lock.read().strip()})",
                flush=True,
            )
            fcntl.flock(lock, fcntl.LOCK_EX)
        os.ftruncate(lock.fileno(), 0)
        with contextlib.suppress(OSError):  # a full disk: those who wait learn no number
            os.write(lock.fileno(), f"{os.getpid()}\n".encode())
        yield
