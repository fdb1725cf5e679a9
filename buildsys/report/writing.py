"""Writes build/report at the end of a run and of `doit report`; a step renders it.

The step has an action key like any other: an unchanged report is not rendered again. An error here
changes nothing about the reported run.
"""

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from buildsys.digest import digest_bytes
from buildsys.errors import BuildsysError, InputError, MissingBytes
from buildsys.execution.places import Workspace
from buildsys.execution.running.runner import Runner
from buildsys.execution.session.session import Session
from buildsys.execution.session.summary import Row
from buildsys.execution.state import published
from buildsys.execution.state.completed_plans import plan_beside
from buildsys.execution.state.decide import State
from buildsys.files import read_regular, replace_folder, temporary_file, write_atomic
from buildsys.graph import BuildPlan, Input, Source, Step
from buildsys.records import Digest, find_record, write_record
from buildsys.report import baselines, stamp
from buildsys.report.collecting import collect
from buildsys.steps.lib.report import formatting, markdown, values
from buildsys.steps.lib.report.values import Report
from buildsys.write_errors import writing

TEMPLATES = Path(__file__).resolve().parents[1] / "templates" / "report"
FILES = "files"
_OUTPUT = "report"
_NAME = "report"
"""The name of its record among those of published packages."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of writing a report.

    `problem`: why its pages are missing; `is_there`: at least report.md exists; `changed`: it is
    new.
    """

    report: Report
    problem: str = ""
    is_there: bool = True
    changed: bool = False

    @property
    def regressions(self) -> tuple[str, ...]:
        """Return one sentence for each regression."""
        return tuple(
            f"{item.id}: worse than {baselines.FILE}: {formatting.worse(regression)}"
            for item in self.report.artifacts
            for regression in item.regressions
        )

    @property
    def place(self) -> str:
        """Return a line that says where the report is, or which part of it is missing and why."""
        if not self.is_there:
            return f"the report was not written: {self.problem}"
        if self.problem:
            return f"the report's pages were not made, build/report/report.md was: {self.problem}"
        return f"report: {stamp.page()}"


def gather(session: Session, rows: list[Row]) -> Report:
    """Return the current report, compared with baselines.json. Raises InputError for that file."""
    previous = _previous(session.workspace)
    return baselines.compare(collect(session, rows, previous), baselines.read(session.workspace))


def write(session: Session, report: Report) -> Outcome:
    """Bring build/report up to date. Never raises for errors of the machine."""
    workspace = session.workspace
    stamp.forget(workspace)
    mode = stamp.mode()
    try:
        with writing("what the report shows", _place(workspace)):
            report = _fill(session, report)
        changed = _write_text(session, report) if mode == "text" else _write_pages(session)
    except (BuildsysError, OSError) as error:
        is_there = False
        with contextlib.suppress(BuildsysError, OSError):
            _write_text(session, report)
            is_there = True
        return Outcome(report=report, problem=str(error), is_there=is_there, changed=True)
    if all(item.good for item in report.artifacts):
        stamp.write(workspace, [item.id for item in report.artifacts])
    return Outcome(report=report, changed=changed)


def finish_run(session: Session, rows: list[Row]) -> tuple[list[str], bool]:
    """Write the report at the end of a run; returns lines to print, and whether it is complete."""
    if stamp.mode() == "none":
        return [], True
    try:
        outcome = write(session, gather(session, rows))
    except InputError as error:
        return [f"the report was not written: {error}"], False
    lines = list(outcome.regressions)
    if outcome.changed:
        lines.append(outcome.place.splitlines()[0].rstrip(":"))
    return lines, not outcome.problem


def _place(workspace: Workspace) -> Path:
    return workspace.state / "report"


def _previous(workspace: Workspace) -> Report | None:
    """Return the report of an earlier run; None unless it is unchanged since then."""
    path = _place(workspace) / "data" / "report.json"
    try:
        known = find_record(_Written, _record(workspace))
        if known is None or digest_bytes(read_regular(path)) != known.report:
            return None
        return values.load(path)
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None


def _record(workspace: Workspace) -> Path:
    return _place(workspace) / "written.json"


@dataclass(frozen=True, kw_only=True)
class _Written:
    """The digest of report.json, so that edited findings of an earlier run are ignored."""

    report: Digest
    format: Literal[1] = 1


def _fill(session: Session, report: Report) -> Report:
    """Write the step's input: report.json, and files from the store: drawings, trainings,
    curves.
    """
    data = _place(session.workspace) / "data"
    files = session.workspace.own(data / FILES)
    files.mkdir(parents=True, exist_ok=True)
    report = _shown(report, lambda digest, tree: _bring(session, files, digest, tree))
    used = {name for name, _ in _files_of(report)}
    for path in files.iterdir():
        if path.name not in used:
            _remove(path)
    with temporary_file(data) as fresh:
        values.save(fresh, report)
        target = data / "report.json"
        if not target.is_file() or target.read_bytes() != fresh.read_bytes():
            fresh.replace(target)
    known = _Written(report=digest_bytes(read_regular(target)))
    place = session.workspace.own(_record(session.workspace))
    write_atomic(place, write_record(known), durable=False)
    return report


def _files_of(report: Report) -> set[tuple[str, bool]]:
    """Return (digest, whether it is a tree) of all files that the pages show beside report.json."""
    found = {(item.drawings, True) for item in report.artifacts if item.drawings}
    found |= {(digest, False) for item in report.artifacts for _, digest in item.curves}
    for training in report.trainings:
        found |= {(training.files, True)}
        found |= {(training.curves, False)} if training.curves else set()
    return found


def _shown(report: Report, bring: Callable[[str, bool], bool]) -> Report:
    """Return the report without files that the store has lost."""
    lost = {digest for digest, tree in sorted(_files_of(report)) if not bring(digest, tree)}
    if not lost:
        return report
    return replace(
        report,
        artifacts=tuple(_without(item, lost) for item in report.artifacts),
        trainings=tuple(
            replace(item, curves="" if item.curves in lost else item.curves)
            for item in report.trainings
            if item.files not in lost
        ),
    )


def _without(item: values.Artifact, lost: set[str]) -> values.Artifact:
    item = replace(item, curves=tuple(row for row in item.curves if row[1] not in lost))
    if item.training in lost:
        item = replace(item, training="")
    if item.drawings in lost:
        item = replace(item, drawings="", sights=(), sight_files=())
    return item


def _bring(session: Session, files: Path, digest: str, tree: bool) -> bool:
    """Copy a file or a tree from the store; returns False if it is missing."""
    target = files / digest
    if target.exists():
        return True
    fresh = files / f".{digest[:16]}.{os.getpid()}"
    try:
        session.state.store.fetch(digest, fresh, tree=tree)
        fresh.rename(target)
    except FileNotFoundError:
        return False
    finally:
        _remove(fresh)
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _write_pages(session: Session) -> bool:
    """Render the pages if they changed, and put them in place; returns whether they are new."""
    plan = _plan(session.workspace)
    (step,) = plan.steps
    state = State((plan,), session.database, session.state.store, session.record.lock)
    runner = session.executor.runner.beside(state)
    digest = _digest(state, runner, step)
    if _is_intact(session.workspace, digest):
        return False
    fresh = _fresh(session.workspace)
    try:
        try:
            state.fetch(step.id, _OUTPUT, fresh)
        except MissingBytes:
            state.require_bytes(step.id)
            _digest(state, runner, step)
            state.fetch(step.id, _OUTPUT, fresh)
        _put(session, fresh, digest)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return True


def _digest(state: State, runner: Runner, step: Step) -> str:
    if not state.decide(step).status.is_done:
        runner.execute(step, lambda: None, lambda *_: None)
    result = state.result(step.id)
    assert result is not None
    return result.output(_OUTPUT)


def _plan(workspace: Workspace) -> BuildPlan:
    """Return a separate plan with the one step."""
    from buildsys.planning.plan_steps import make_step
    from buildsys.registry import read_step
    from buildsys.steps import render_report

    data = Source(
        path=str(_place(workspace) / "data"),
        label="the report's data",
        parts=("report.json", FILES),
    )
    parts = tuple(sorted(path.name for path in TEMPLATES.iterdir() if path.is_file()))
    templates = Source(path=str(TEMPLATES), label="the report's templates", parts=parts)
    inputs = {
        "data": Input(name="data", source=data),
        "templates": Input(name="templates", source=templates),
    }
    definition, params = read_step(render_report), render_report.Params()
    step = make_step("report", definition, params, inputs, {_OUTPUT: True})
    return plan_beside("report", "the report", (step,), recipe="report")


def _write_text(session: Session, report: Report) -> bool:
    """Write only report.md, and remove outdated pages, which would mislead."""
    text = markdown.render(report)
    digest = digest_bytes(text.encode())
    if _is_intact(session.workspace, digest):
        return False
    fresh = _fresh(session.workspace)
    try:
        with writing("the report", session.workspace.build):
            fresh.mkdir(parents=True)
            (fresh / "report.md").write_text(text, encoding="utf-8")
            _put(session, fresh, digest)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return True


def _target(workspace: Workspace) -> Path:
    """Return the report's folder. Raises CannotWrite where a link is in its place."""
    return workspace.own(workspace.build / "report")


def _fresh(workspace: Workspace) -> Path:
    """Return a new folder beside build/report, after removing leftovers. Raises CannotWrite."""
    _target(workspace)
    for leftover in workspace.build.glob(".report.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    return workspace.build / f".report.{os.getpid()}"


def _is_intact(workspace: Workspace, digest: str) -> bool:
    """Return whether build/report contains exactly what `digest` names."""
    record = published.read(workspace, _NAME)
    if record is None or record.of != digest:
        return False
    differences, fresh = published.compare(_target(workspace), record)
    if not differences and fresh != record:
        published.write(workspace, _NAME, fresh)
    return not differences


def _put(session: Session, fresh: Path, digest: str) -> None:
    """Replace the old report by the new one; foreign files are moved aside."""
    workspace, print_line, target = (
        session.workspace,
        session.console.print_line,
        _target(session.workspace),
    )
    record = published.read(workspace, _NAME)
    if record is not None:
        published.print_changes(workspace, _NAME, target, "the report is written again", print_line)
        published.keep_aside(workspace, _NAME, target, record, print_line)
    replace_folder(fresh, target)
    published.write(workspace, _NAME, published.describe(target, digest))
