"""buildsys sync: download what builds need, ahead of time."""

import argparse
import contextlib
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from buildsys.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from buildsys.execution.session.session import Session
    from buildsys.execution.tools.definitions import ToolEnv
    from buildsys.graph import Plan, Step
    from buildsys.operations.sync import MakeRun, SyncRow

_LINE_EVERY_SECONDS = 5.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: which builds, or everything."""
    parser.add_argument(
        "builds", nargs="*", metavar="BUILD", help="ids, names or patterns of builds; default: all"
    )
    parser.add_argument("--all", action="store_true", help="every tool environment")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be done")


def run(options: argparse.Namespace, make_run: "MakeRun | None" = None) -> int:
    """Print one line for each thing; exit code 1 if one failed, 10 if a chosen build waits."""
    from buildsys.execution.places import Workspace
    from buildsys.execution.session.session import Session
    from buildsys.execution.tools.definitions import all_tool_envs

    root = options.folder.resolve()
    if options.all and options.builds:
        raise InputError.at("--all", "takes no builds: it means everything")
    workspace = Workspace(root)
    if not workspace.has_recipes:
        if options.all:
            return _work(all_tool_envs(), (), None, options, make_run)
        hint = "`buildsys sync --all` syncs every tool environment, from any folder"
        hint = workspace.hint_without_recipes(hint)
        raise InputError.at(str(root), "contains no recipes", hint)
    session, failed = _with_archives(Session(root), options, root)
    try:
        code = _sync_workspace(session, options, make_run)
        return 1 if failed else code
    finally:
        session.close()


def _with_archives(
    session: "Session", options: argparse.Namespace, root: "Path"
) -> tuple["Session", bool]:
    """Fetch the archives of the chosen builds' datasets.

    Returns the session, read again, and whether an archive could not be fetched.
    """
    from buildsys.errors import BuildsysError
    from buildsys.execution.session.dataset_archives import fetch_archive
    from buildsys.execution.session.session import Session
    from buildsys.graph import wanted_archives

    plans = [session.plans[build] for build in session.loaded.select(options.builds)]
    wanted = wanted_archives(plans)
    if not wanted or options.dry_run:
        for archive in wanted:
            print(f"would fetch     {archive.url}")
        return session, False
    session.close()
    fetched = 0
    for archive in wanted:
        with contextlib.suppress(BuildsysError):  # the error was printed; builds that need it wait
            fetch_archive(root, archive)
            fetched += 1
    return Session(root), fetched < len(wanted)


def _sync_workspace(
    session: "Session", options: argparse.Namespace, make_run: "MakeRun | None"
) -> int:
    from buildsys.execution.tools.definitions import all_tool_envs
    from buildsys.graph import steps_of
    from buildsys.operations.sync import environments, remote_steps

    for diagnostic in session.loaded.diagnostics:
        print(session.loaded.render(diagnostic), file=sys.stderr)
    plans = [session.plans[build] for build in session.loaded.select(options.builds)]
    steps = [step for plan in plans for step in steps_of(plan)]
    envs = all_tool_envs() if options.all else environments(steps)
    code = _work(envs, remote_steps(steps), session, options, make_run)
    waiting = _print_waiting_builds(plans) and options.builds
    if not code and session.loaded.errors and not options.builds:
        return 2
    return code or (10 if waiting else 0)


def _print_waiting_builds(plans: "Iterable[Plan]") -> bool:
    """Print the builds that wait; returns whether there is one."""
    from buildsys.graph import WaitingPlan

    rows = [plan for plan in plans if isinstance(plan, WaitingPlan)]
    for plan in rows:
        print(f"{plan.build} waits for {plan.waiting_for}: its requirements are not known yet")
    return bool(rows)


def _work(
    envs: "tuple[ToolEnv, ...]",
    steps: "tuple[Step, ...]",
    session: "Session | None",
    options: argparse.Namespace,
    make_run: "MakeRun | None",
) -> int:
    from buildsys.execution import signals
    from buildsys.execution.session.console import Console
    from buildsys.execution.session.workspace_lock import exclusive
    from buildsys.execution.tools.watching import watched
    from buildsys.operations.sync import Fetched, fetch, sync

    missing = _announce(envs, steps, session, options.dry_run)
    if options.dry_run:
        return 0
    console = Console(line_every=_LINE_EVERY_SECONDS)
    if missing:
        signals.end_on_signals(lambda: None)
    rows = list(_print(sync(envs, console, make_run or watched)))
    console.close()
    if session is not None and steps:
        with exclusive(session.workspace):
            rows += _print(fetch(steps, session))
    return 1 if any(row.status == Fetched.FAILED for row in rows) else 0


def _announce(
    envs: "tuple[ToolEnv, ...]", steps: "tuple[Step, ...]", session: "Session | None", dry_run: bool
) -> bool:
    """Print how much there is to do; returns whether there is anything."""
    from buildsys.execution.tools.definitions import (
        expected_download_mib,
        find_synced,
        missing_package,
    )
    from buildsys.operations.sync import is_here, sizes
    from buildsys.text import count_text

    missing = [env for env in envs if not missing_package(env.name) and find_synced(env) is None]
    remote = [step for step in steps if session and not is_here(session, step)]
    for env in missing if dry_run else ():
        print(f"would sync      {env.name} ({env.title} {env.version}): {sizes(env)}")
    for step in remote if dry_run else ():
        print(f"would fetch     {session.executor.stages[step.id] if session else step.stage}")
    download, disk = sum(map(expected_download_mib, missing)), sum(env.disk_mib for env in missing)
    if missing:
        print(
            f"{count_text(len(missing), 'tool environment')} to sync: up to {download} MiB to"
            f" download, {disk} MiB on disk",
            flush=True,
        )
    if dry_run and not missing and not remote:
        print(f"nothing to do: {count_text(len(envs), 'tool environment')} synced")
    return bool(missing or remote)


def _print(rows: "Iterable[SyncRow]") -> "Iterable[SyncRow]":
    from buildsys.operations.sync import Fetched

    for row in rows:
        joint = ":" if row.status in (Fetched.FAILED, Fetched.NOT_FOR_THIS_HOST) else ""
        print(f"{row.status:<14}  {row.name}{joint} {row.text}".rstrip(), flush=True)
        yield row
