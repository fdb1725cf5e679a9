"""Fetches and unpacks datasets that are archives, once each, before any plan uses them.

A folder that changed after it was unpacked does not match the recipe's pin; it is unpacked again.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from buildsys.errors import BuildsysError, MissingBytes
from buildsys.execution.places import Workspace, datasets_root
from buildsys.execution.running.process import CommandRunner, run_command
from buildsys.execution.session.console import Console
from buildsys.execution.session.step_executor import StepExecutor, make_executor
from buildsys.execution.settings.stores import default_store
from buildsys.execution.state.action_keys import make_key
from buildsys.execution.state.completed_plans import complete_step, plan_beside
from buildsys.execution.state.database import Database
from buildsys.execution.store import unpacked
from buildsys.execution.store.action_entry import make_entry
from buildsys.execution.store.archives import unpack_stream
from buildsys.execution.store.store import Store
from buildsys.execution.tools.environments import ensure
from buildsys.graph import Archive, Step, StepResult
from buildsys.lockfile import Lock
from buildsys.planning.plan_steps import make_step
from buildsys.registry import read_step
from buildsys.steps import fetch_file
from buildsys.write_errors import writing


def fetch_archive(root: Path, archive: Archive, run: CommandRunner = run_command) -> None:
    """Fetch an archive into the store, check it, and unpack it into the user's cache.

    Prints an error before it raises BuildsysError.
    """
    if (datasets_root() / archive.sha256).is_dir():
        return
    step = fetch_step(archive)
    plan = plan_beside(archive.url.rsplit("/", 1)[-1], archive.url, (step,))
    (step,) = plan.steps
    workspace = Workspace(root.resolve())
    store = default_store(workspace)
    with contextlib.ExitStack() as opened:
        database = opened.enter_context(
            contextlib.closing(Database(workspace.state / "state.sqlite"))
        )
        executor = make_executor(workspace, (plan,), database, store, Lock(), run, ensure)
        opened.callback(executor.console.close)
        executor.state.require_bytes(step.id)
        executor.run_step(step)
        executor.retry_with_bytes(lambda: _unpack_fetched(executor, step, archive))


def fetch_step(archive: Archive) -> Step:
    """Return the step that fetches an archive: its settings are those of the recipe's dataset."""
    definition = read_step(fetch_file)
    of_data = replace(definition, spec=replace(definition.spec, block="dataset"))
    params = fetch_file.Params(url=archive.url, sha256=archive.sha256)
    return make_step("fetch", of_data, params, {}, {"archive": False})


@contextlib.contextmanager
def kept_archive(root: Path, url: str) -> Iterator[IO[bytes]]:
    """Yield a file to fetch an archive into; what it contains at the end, no build fetches again.

    Raises CannotWrite.
    """
    workspace = Workspace(root.resolve())
    workspace.claim()
    folder = workspace.own(workspace.scratch)
    with writing(url, folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            began = time.monotonic()
            yield file
            file.flush()
            store = default_store(workspace)
            digest = store.put_file(Path(file.name))
            step = complete_step(fetch_step(Archive(url=url, sha256=digest)))
            outputs = ((step.outputs[0].name, digest),)
            result = StepResult(outputs=outputs, seconds=time.monotonic() - began)
            store.record(make_entry(step, make_key(step, []).key, result))


def unpack_changed(
    root: Path, store: Store, folders: Iterable[Path], run: CommandRunner = run_command
) -> bool:
    """Unpack again the archive folders that have changed; their old content is kept beside them.

    Returns whether there were any: plans have to be made again then. Raises CannotWrite where the
    old content cannot be moved; nothing is made from it.
    """
    found = False
    for folder in folders:
        change = _move_changed(folder)
        if change:
            found = True
            _unpack_again(root, store, folder, change, run)
    return found


def _move_changed(folder: Path) -> tuple[str, str] | None:
    """Move a changed folder away and return (what changed, the archive's address).

    Returns None if unchanged. Raises CannotWrite, OSError.
    """
    if not folder.is_dir():  # another run may be unpacking it
        return None
    with unpacked.alone(folder), writing(unpacked.WHAT, folder.parent):
        if not folder.is_dir():  # another run has moved it
            return None
        change = unpacked.find_change(folder)
        if not change:
            return None
        record = unpacked.find(folder)
        kept = unpacked.move_away(folder)
        return f"{change}; the old content is now {kept}", record.url if record else ""


def _unpack_again(
    root: Path, store: Store, folder: Path, change: tuple[str, str], run: CommandRunner
) -> None:
    """Unpack from the store, or fetch first, and print the result; builds wait for a failed one."""
    what, url = change
    print_line, name = Console().print_line, url or f"the archive {folder.name[:12]}"
    print_line(f"{name}, unpacked into {folder}: {what}")
    archive = Archive(url=url, sha256=folder.name)
    try:
        if url:
            fetch_archive(root, archive, run)
        else:
            unpack_stored(store, archive, print_line)
    except FileNotFoundError:
        why = "the store does not have it, and its URL is not recorded"
        print_line(f"{name} was not unpacked again: {why}; `buildsys sync` fetches it again")
    except BuildsysError as error:
        why = "see above" if url else str(error)
        print_line(f"{name} was not unpacked again: {why}")
    else:
        print_line(f"{name} was unpacked again")


def _unpack_fetched(executor: StepExecutor, step: Step, archive: Archive) -> None:
    executor.console.print_line(f"unpacking {archive.url} into {datasets_root() / archive.sha256}")
    try:
        unpack_stored(executor.state.store, archive, executor.console.print_line)
    except FileNotFoundError as error:
        raise MissingBytes(step.id) from error
    except BuildsysError as error:
        executor.console.print_line(str(error))
        raise


def unpack_stored(store: Store, archive: Archive, print_line: Callable[[str], None]) -> None:
    """Unpack the store's copy after checking its bytes; where another run does that, wait for it.

    Raises FileNotFoundError if it is missing, BuildsysError.
    """
    target, label = datasets_root() / archive.sha256, archive.url or archive.sha256

    def wait() -> None:
        print_line(f"waiting for another run that unpacks {label}")

    with unpacked.alone(target, wait):
        if os.path.lexists(target):
            return  # another run has unpacked it
        with store.opened(archive.sha256) as (stream, _), unpacked.fresh_folder(target) as fresh:
            tree = unpack_stream(stream, fresh, label)
            unpacked.place(fresh, target, archive.url, tree)
