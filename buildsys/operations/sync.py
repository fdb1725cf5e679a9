"""`buildsys sync`: downloads what builds need, ahead of time.

That is tool environments, and the results of steps that fetch remote files; afterwards a build
needs no network.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from buildsys.errors import BuildsysError
from buildsys.execution.session.console import Console
from buildsys.execution.session.session import Session
from buildsys.execution.tools import definitions
from buildsys.execution.tools import environments as tool_environments
from buildsys.execution.tools.definitions import ToolEnv
from buildsys.execution.tools.uv_commands import Run
from buildsys.execution.tools.watching import OnTick
from buildsys.graph import Step
from buildsys.operations import flash
from buildsys.report import stamp
from buildsys.text import duration

_REPORT = "report"
MakeRun = Callable[[OnTick], Run]
"""Returns a runner of uv's commands that reports their progress; tests pass their own."""


class Fetched(StrEnum):
    """The outcome for an environment, or for a remote file."""

    SYNCED = "synced"
    ALREADY_SYNCED = "already synced"
    FETCHED = "fetched"
    ALREADY_HERE = "already here"
    FAILED = "failed"
    NOT_FOR_THIS_HOST = "not here"


@dataclass(frozen=True, kw_only=True)
class SyncRow:
    """One environment or remote file, and its outcome."""

    name: str
    status: Fetched
    text: str = ""
    """How long it took, or why it failed."""


def environments(steps: Collection[Step]) -> tuple[ToolEnv, ...]:
    """Return the tool environments of some steps, of the report, and of `flash`, by name."""
    names = {step.tool_env for step in steps if step.tool_env} | _of_report(bool(steps))
    names |= {flash.TOOL_ENV} if flash.has_plan(steps) else set()
    found = (definitions.tool_env(name) for name in sorted(names))
    return tuple(env for env in found if not env.external)


def _of_report(is_made: bool) -> set[str]:
    """Return the environment of the report's pages, if a run writes any."""
    return {_REPORT} if is_made and stamp.mode() == "pages" else set()


def remote_steps(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps that fetch something, once each."""
    return tuple({step.id: step for step in steps if step.fetches}.values())


def is_here(session: Session, step: Step) -> bool:
    """Return whether the store has all bytes that a step would fetch."""
    session.state.require_bytes(step.id)
    return session.state.decide(step).status.is_done


def sizes(env: ToolEnv) -> str:
    """Return an environment's size for people."""
    download = definitions.expected_download_mib(env)
    return f"up to {download} MiB to download, {env.disk_mib} MiB on disk"


def sync(envs: Iterable[ToolEnv], console: Console, make_run: MakeRun) -> Iterator[SyncRow]:
    """Sync environments one after the other; a failure does not stop the others."""
    for env in envs:
        missing = definitions.missing_package(env.name)
        if missing:
            yield SyncRow(name=env.name, status=Fetched.NOT_FOR_THIS_HOST, text=missing)
            continue
        if definitions.find_synced(env) is not None:
            yield SyncRow(name=env.name, status=Fetched.ALREADY_SYNCED)
            continue
        started = time.monotonic()
        console.start(env.name, f"syncing {env.title} {env.version}, {sizes(env)}")
        try:
            tool_environments.ensure(env.name, lambda _: None, make_run(_report(env, console)))
        except (BuildsysError, OSError) as error:
            console.finish(env.name, "failed")
            yield SyncRow(name=env.name, status=Fetched.FAILED, text=str(error))
        else:
            seconds = duration(time.monotonic() - started)
            console.finish(env.name, f"synced in {seconds}")
            yield SyncRow(name=env.name, status=Fetched.SYNCED, text=f"in {seconds}")


def fetch(steps: Iterable[Step], session: Session) -> Iterator[SyncRow]:
    """Run the steps that fetch; a failure does not stop the others."""
    for step in steps:
        name = session.executor.stages[step.id]
        try:
            if is_here(session, step):
                yield SyncRow(name=name, status=Fetched.ALREADY_HERE)
                continue
            session.executor.run_step(step)
        except BuildsysError as error:
            yield SyncRow(name=name, status=Fetched.FAILED, text=str(error))
        else:
            yield SyncRow(
                name=name,
                status=Fetched.FETCHED,
                text=f"in {duration(session.executor.spent(step))}",
            )


def _report(env: ToolEnv, console: Console) -> OnTick:
    def on_tick(seconds: float, mib: float) -> None:
        console.progress(env.name, min(mib, env.disk_mib), env.disk_mib, "MiB", "")

    return on_tick
