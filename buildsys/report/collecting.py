"""Collects the report's content from a run's rows, published and rejected folders, and the store.

Nothing is run and nothing is measured. Builds outside this run are reported in their current state.
"""

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from buildsys import __version__
from buildsys.errors import BuildsysError
from buildsys.escaping import plain_log
from buildsys.execution.packages.model_file import files_below, find_model
from buildsys.execution.session.session import Session
from buildsys.execution.session.summary import Row
from buildsys.files import read_regular
from buildsys.graph import BuildPlan
from buildsys.outcome import UP_TO_DATE, Kind, Outcome
from buildsys.report import evidence
from buildsys.report.comparisons import read_comparisons
from buildsys.report.engines import read_engine
from buildsys.report.failure_logs import last_lines
from buildsys.report.packages import (
    find_package,
    model_fields,
    on_devices,
    with_package,
    with_proofs,
)
from buildsys.report.trainings import add_trainings, join_trainings
from buildsys.report.vendor_figures import read_published
from buildsys.spec import Format
from buildsys.steps.lib.report.values import (
    SHIPPED,
    Artifact,
    Failure,
    Report,
    StepLine,
    Training,
)
from buildsys.text import join_sentences

_REMEMBERED = (Kind.FAILED, Kind.BLOCKED, Kind.INTERRUPTED, Kind.REJECTED)
"""Statuses from an earlier run that the folders do not show."""
_ENDED = (Kind.FAILED, Kind.BLOCKED)
"""Statuses with a failed step."""


def collect(session: Session, rows: list[Row], previous: Report | None) -> Report:
    """Return a report on every build of the workspace, by id; `rows`: the results of this run."""
    known = {row.id: row for row in rows}
    before = {item.id: item for item in previous.artifacts} if previous else {}
    pairs = [_artifact(session, build, known.get(build), before) for build in session.labels]
    found = [artifact for artifact, _ in pairs]
    trainings = [training for _, training in pairs if training is not None]
    trainings += _kept_trainings(found, trainings, previous)
    found += [_broken(session, name) for name in session.loaded.broken]
    mistakes = tuple(map(session.loaded.render, session.loaded.errors))
    return Report(
        version=__version__,
        artifacts=tuple(sorted(found, key=lambda artifact: artifact.id)),
        mistakes=mistakes,
        comparisons=read_comparisons(session.workspace, found),
        published=read_published() if any(item.engine for item in found) else None,
        trainings=join_trainings(trainings),
    )


def _kept_trainings(
    artifacts: list[Artifact], known: list[Training], previous: Report | None
) -> list[Training]:
    """Return trainings of builds that are copied from the previous report."""
    missing = {item.training for item in artifacts} - {item.files for item in known}
    return [item for item in previous.trainings if item.files in missing] if previous else []


def _artifact(
    session: Session, build: str, row: Row | None, before: dict[str, Artifact]
) -> tuple[Artifact, Training | None]:
    """Return a build, and the training that it depends on."""
    plan = session.plans.get(build)
    if plan is None and build in before and not session.workspace.package(build).is_dir():
        return before[build], None  # settled, and only a candidate: unchanged
    status, detail, differs = _fate(session, build, row, before.get(build))
    artifact = Artifact(
        id=build,
        recipe=plan.recipe if plan else build.split("@", maxsplit=1)[0],
        target=plan.target if plan else build.split("@")[1],
        label=session.labels[build],
        status=status,
        detail=detail,
        differs=differs,
        candidate=build in session.publisher.candidates,
    )
    built = plan if isinstance(plan, BuildPlan) else None
    if built is not None:
        artifact = replace(artifact, unverified=built.notes, licences=built.licences)
    artifact = replace(artifact, failure=_failure(session, built, status, before.get(build)))
    held, manifest = (
        find_package(session, build, built) if status != Kind.REJECTED else (None, None)
    )
    engine = read_engine(session, built, manifest)
    artifact = replace(artifact, engine=engine)
    if status == Kind.REJECTED:
        artifact = _rejected(session, built, artifact)
    elif built is not None and not (held and held.files) and (engine or artifact.failure):
        artifact = _unbuilt(session, built, artifact)
    elif held:
        artifact = with_package(session, artifact, held, manifest)
    return add_trainings(session, built, manifest, artifact)


def _failure(
    session: Session, plan: BuildPlan | None, status: str, before: Artifact | None
) -> Failure | None:
    """Return the step that failed this build, its own or one whose result it needs.

    For an earlier run: the failure that run recorded.
    """
    if status not in _ENDED:
        return None
    failures = session.executor.failures
    step = next((step for step in plan.steps if step.id in failures), None) if plan else None
    if step is None:
        return before.failure if before is not None and before.status == status else None
    log: Path | None = None
    lines: tuple[str, ...] = ()
    with contextlib.suppress(BuildsysError):
        action_key = session.state.key(step)
        log = session.executor.runner.log(action_key.key) if action_key else None
    if log is not None:
        with contextlib.suppress(OSError):
            lines = last_lines(read_regular(log).decode(errors="replace"))
    return Failure(stage=step.stage, message=plain_log(failures[step.id]), log=lines)


def _unbuilt(session: Session, plan: BuildPlan, artifact: Artifact) -> Artifact:
    """Return a build that failed or lacks its engine, with its steps' results and device
    measurements.
    """
    latency = on_devices(session, artifact.id, "", frozenset())
    return replace(artifact, latency=latency, **_known_of_steps(session, plan))


def _fate(
    session: Session, build: str, row: Row | None, before: Artifact | None
) -> tuple[str, str, tuple[str, ...]]:
    """Return a build's status, the same as a sentence, and its differences from buildsys.lock.

    They come from this run, otherwise from the current state, otherwise from an earlier run.
    """
    plan = session.plans.get(build)
    outcome = (
        row.outcome if row else session.publisher.current_outcome(plan) if plan else UP_TO_DATE
    )
    if outcome is None and before is not None and before.status in _REMEMBERED:
        return before.status, before.detail, ()
    if outcome is None:
        is_there = session.workspace.package(build).is_dir()
        outcome = Outcome(kind=Kind.STALE if is_there else Kind.NOT_BUILT)
    if outcome.good:
        return SHIPPED, "", outcome.differs
    unfinished = outcome.kind == Kind.NOT_FINISHED
    return str(Kind.INTERRUPTED if unfinished else outcome.kind), str(outcome), outcome.differs


def _rejected(session: Session, plan: BuildPlan | None, artifact: Artifact) -> Artifact:
    """Return a rejected build: the file that was kept, the reasons, and figures still in the
    store.
    """
    folder = session.workspace.build / ".rejected" / artifact.id
    try:
        verdict = json.loads(read_regular(folder / "verdict.json"))
        reasons = tuple(map(str, verdict["failures"]))
    except (OSError, ValueError, KeyError, TypeError):
        verdict, reasons = {}, ()
    artifact = replace(artifact, **model_fields(find_model(files_below(folder))))
    judge = str(verdict.get("stage") or "gate")
    detail = join_sentences(reasons)
    differs = artifact.differs
    outcome = Outcome(kind=Kind.REJECTED, subject=judge, detail=detail, differs=differs)
    detail = str(outcome) if reasons else artifact.detail
    artifact = replace(artifact, reasons=reasons, detail=detail)
    if plan is not None:
        artifact = replace(artifact, **_known_of_steps(session, plan))
    proofs = verdict.get("evidence")
    return with_proofs(artifact, proofs, ()) if isinstance(proofs, dict) else artifact


def _known_of_steps(session: Session, plan: BuildPlan) -> dict[str, Any]:
    """Return the steps that have run, and the results of the evaluations among them."""
    lines, metrics = [], {}
    for step in plan.steps:
        try:
            result, key = session.state.result(step.id), session.state.decide(step).key
        except BuildsysError:
            continue
        if result is None:
            continue
        lines.append(StepLine(stage=step.stage, module=step.module, tool=step.tool, action_key=key))
        digest = dict(result.outputs).get(Format.METRICS)
        if digest:
            try:
                metrics[step.stage.removeprefix("evaluate-")] = json.loads(
                    session.state.store.read(digest)
                )
            except (OSError, ValueError):
                continue
    return {"steps": tuple(lines), "measured": evidence.read_measured(metrics)}


def _broken(session: Session, name: str) -> Artifact:
    """Return the row of a recipe with a mistake."""
    known = session.loaded.diagnostics_of([name])
    mistakes = [found for found in known if found.is_error]
    detail = mistakes[0].render().splitlines()[0] if mistakes else "its recipe has a mistake"
    return Artifact(
        id=name, recipe=name, target="", label="", status=str(Kind.BROKEN), detail=detail
    )
