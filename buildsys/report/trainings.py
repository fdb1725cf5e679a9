"""Reads trainings, and the curves of measured files, as values of the report.

Both are files in the store, by the digests of a manifest or of the steps that have run. Files that
the store has lost are left out.
"""

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from buildsys.errors import BuildsysError
from buildsys.execution.session.session import Session
from buildsys.execution.state.manifests import Manifest, read_diary
from buildsys.graph import BuildPlan
from buildsys.spec import Format
from buildsys.steps.lib.report.values import Artifact, Training
from buildsys.steps.lib.training.training_files import HISTORY, SUMMARY
from buildsys.text import duration

_NO_SETTINGS = ("task", "options")
_NONE_AT_ZERO = ("validate", "patience")


@dataclass(frozen=True, kw_only=True)
class Done:
    """A step that has run; `outputs`: name -> digest; `seconds`: 0 if not recorded."""

    stage: str
    tool: str
    params: dict[str, object]
    outputs: dict[str, str]
    seconds: float = 0.0


def add_trainings(
    session: Session, plan: BuildPlan | None, manifest: Manifest | None, artifact: Artifact
) -> tuple[Artifact, Training | None]:
    """Return the build with the digests of its curves, and its training."""
    steps = _of_manifest(session, manifest, artifact.id) or _of_plan(session, plan)
    curves = tuple(
        (step.stage.removeprefix("evaluate-"), step.outputs[Format.CURVES])
        for step in steps
        if Format.CURVES in step.outputs and _is_kept(session, step.outputs[Format.CURVES], False)
    )
    shown = {item.name for item in (artifact.judged, artifact.original) if item is not None}
    found = next((step for step in steps if Format.TRAINING in step.outputs), None)
    artifact = replace(artifact, curves=tuple(row for row in curves if row[0] in shown))
    if found is None or not _is_kept(session, found.outputs[Format.TRAINING], True):
        return artifact, None
    measured = next((item for item in artifact.measured if item.name == "checkpoint"), None)
    training = Training(
        files=found.outputs[Format.TRAINING],
        recipe=artifact.recipe,
        checkpoint=found.outputs.get(Format.CHECKPOINT, ""),
        tool=found.tool,
        took=duration(found.seconds) if found.seconds else "",
        task=str(found.params.get("task", "")),
        settings=settings_of(found.params),
        builds=(artifact.id,),
        curves=dict(curves).get("checkpoint", ""),
        measured=measured,
    )
    return replace(artifact, training=training.files), training


def join_trainings(found: Iterable[Training]) -> tuple[Training, ...]:
    """Return each training once, with all builds that depend on it, under the shortest recipe
    name.
    """
    known: dict[str, Training] = {}
    for training in found:
        other = known.get(training.files, training)
        fuller = other if other.curves or not training.curves else training
        builds = tuple(sorted({*other.builds, *training.builds}))
        recipe = min(other.recipe, training.recipe, key=lambda name: (len(name), name))
        took = other.took or training.took
        known[training.files] = replace(fuller, recipe=recipe, builds=builds, took=took)
    return tuple(sorted(known.values(), key=lambda item: (item.recipe, item.builds)))


def _of_manifest(session: Session, manifest: Manifest | None, build: str) -> tuple[Done, ...]:
    """Return the steps of a package; their times are in its diary."""
    diary = read_diary(session.workspace.package(build))
    times = {row.stage: row.seconds or 0.0 for row in diary.steps} if diary is not None else {}
    return tuple(
        Done(
            stage=step.stage,
            tool=step.tool,
            params=step.params,
            outputs=step.outputs,
            seconds=times.get(step.stage, 0.0),
        )
        for step in (manifest.steps if manifest is not None else ())
    )


def _of_plan(session: Session, plan: BuildPlan | None) -> tuple[Done, ...]:
    """Return the steps that have run, of a build without a package."""
    found = []
    for step in plan.steps if plan else ():
        with contextlib.suppress(BuildsysError):  # a source that cannot be read
            result = session.state.result(step.id)
            if result is not None:
                done = Done(
                    stage=step.stage,
                    tool=step.tool,
                    params=json.loads(step.params),
                    outputs=dict(result.outputs),
                    seconds=result.seconds,
                )
                found.append(done)
    return tuple(found)


def _is_kept(session: Session, digest: str, tree: bool) -> bool:
    """Return whether the store has an output; of a training, the two files for its page."""
    store = session.state.store
    try:
        if not tree:
            return store.has(digest, tree=False)
        return {HISTORY, SUMMARY} <= {file.name for file in store.index(digest)}
    except (BuildsysError, OSError):
        return False


def settings_of(params: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """Return settings in a recipe's notation.

    Keys that are off or not set are left out; 0 is a value, and everything in `options` was chosen.
    """
    rows = {name: value for name, value in params.items() if name not in _NO_SETTINGS}
    rows = {name: value for name, value in rows.items() if not _is_off(name, value)}
    options = params.get("options")
    rows |= options if isinstance(options, dict) else {}
    return tuple((str(name), _plain(value)) for name, value in rows.items())


def _is_off(name: str, value: object) -> bool:
    if name in _NONE_AT_ZERO and not value:
        return True
    return value is None or value is False or value in ("", "no", [], {})


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
