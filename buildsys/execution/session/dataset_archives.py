"""Datasets that come as archives: fetched once, unpacked once, before anything is planned with them.

What was changed after it was unpacked is no more what the recipe pins: it is unpacked again.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from buildsys.errors import BuildsysError, MissingBytes
from buildsys.execution.places import Workspace, datasets_root
from buildsys.execution.running.process import CommandRunner, run_command
from buildsys.execution.session.console import Console
from buildsys.execution.session.step_executor import StepExecutor, make_executor
from buildsys.execution.state.configured_store import default_store
from buildsys.execution.state.database import Database
from buildsys.execution.state.plans import plan_beside
from buildsys.execution.store import unpacked
from buildsys.execution.store.archives import unpack_stream
from buildsys.execution.store.store import Store
from buildsys.execution.tools.environments import ensure
from buildsys.graph import Archive, Step
from buildsys.lockfile import Lock
from buildsys.locks import locked
from buildsys.planning.plan_builder import make_step
from buildsys.registry import read_step
from buildsys.steps import fetch_file
from buildsys.write_errors import writing


def fetch_archive(root: Path, archive: Archive, run: CommandRunner = run_command) -> None:
    """Fetch into the store, check, then unpack into the user's cache. Raises BuildsysError after
    printing it.
    """
    if (datasets_root() / archive.sha256).is_dir():
        return
    params = fetch_file.Params(url=archive.url, sha256=archive.sha256)
    step = make_step("fetch", read_step(fetch_file), params, {}, {"archive": False})
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
        executor.state.want_bytes(step.id)
        executor.run_step(step)
        executor.retry_with_bytes(lambda: _unpack_fetched(executor, step, archive))


def unpack_changed(
    root: Path, store: Store, folders: Iterable[Path], run: CommandRunner = run_command
) -> bool:
    """Unpack again those folders of archives that were changed since; what was there is kept beside.
    Returns whether any was, and the plans have to be made anew.

    Raises CannotWrite where it cannot be put away: nothing is made from it.
    """
    found = False
    for folder in folders:
        with writing("an unpacked dataset", folder.parent):
            change = _put_away(folder)
        if change:
            found = True
            _unpack_again(root, store, folder, change, run)
    return found


def _put_away(folder: Path) -> tuple[str, str] | None:
    """(what was changed, the archive's address), where anything was; the folder is gone then.

    Raises OSError, CannotWrite.
    """
    with locked(folder.with_name(f"{folder.name}.lock"), busy=lambda _: None):
        if not folder.is_dir():  # another run was faster
            return None
        change = unpacked.find_change(folder)
        if not change:
            return None
        record = unpacked.find(folder)
        kept = unpacked.put_away(folder)
        return f"{change}; the old content is now {kept}", record.url if record else ""


def _unpack_again(
    root: Path, store: Store, folder: Path, change: tuple[str, str], run: CommandRunner
) -> None:
    """From the store, or fetched; says what comes of it. Where nothing does, its builds wait."""
    what, url = change
    say, name = Console().say, url or f"the archive {folder.name[:12]}"
    say(f"{name}, unpacked into {folder}: {what}")
    archive = Archive(url=url, sha256=folder.name)
    try:
        if url:
            fetch_archive(root, archive, run)
        else:
            _unpack(store, archive)
    except FileNotFoundError:
        why = "the store does not have it, and its URL is not recorded"
        say(f"{name} was not unpacked again: {why}; `buildsys sync` fetches it again")
    except BuildsysError as error:
        why = "see above" if url else str(error)
        say(f"{name} was not unpacked again: {why}")
    else:
        say(f"{name} was unpacked again")


def _unpack_fetched(executor: StepExecutor, step: Step, archive: Archive) -> None:
    executor.console.say(f"unpacking {archive.url} into {datasets_root() / archive.sha256}")
    try:
        _unpack(executor.state.store, archive)
    except FileNotFoundError as error:
        raise MissingBytes(step.id) from error
    except BuildsysError as error:
        executor.console.say(str(error))
        raise


def _unpack(store: Store, archive: Archive) -> None:
    """Unpack the store's copy, whose bytes are checked. Raises FileNotFoundError if it has none."""
    target = datasets_root() / archive.sha256
    with store.opened(archive.sha256) as (stream, _):
        try:
            tree = unpack_stream(stream, target, archive.url or archive.sha256)
        except FileExistsError:
            return  # another run was faster
    with writing("an unpacked dataset", target.parent):
        unpacked.keep(target, archive.url, tree)
