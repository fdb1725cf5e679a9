"""`buildsys verify`: runs every step of a published build again in an empty store, and compares."""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from buildsys.errors import Diagnostic, InputError, Waiting
from buildsys.execution.packages.publish import check_whole
from buildsys.execution.places import Workspace
from buildsys.execution.running.made_on import describe_difference, find_made_on
from buildsys.execution.running.process import CommandRunner, run_command
from buildsys.execution.running.runner import EnsureEnv, Runner
from buildsys.execution.session.console import Console
from buildsys.execution.session.session import Session
from buildsys.execution.state.action_keys import ActionKey
from buildsys.execution.state.database import Database
from buildsys.execution.state.decide import State
from buildsys.execution.state.manifests import Manifest, ManifestStep, read_manifest
from buildsys.execution.store.store import Store
from buildsys.execution.tools.definitions import explain_absence
from buildsys.execution.tools.environments import ensure as ensure_env
from buildsys.execution.tools.host_tools import missing_requirement
from buildsys.graph import (
    BuildPlan,
    Plan,
    SelectionPlan,
    Step,
    StepResult,
    WaitingPlan,
    build_plans,
)
from buildsys.lockfile import Lock
from buildsys.operations.agreement import OTHER_BYTES, compare_files
from buildsys.spec import Format

_OF_A_NETWORK = ("version", "compute_capability", "system", "inputs", "outputs")
"""The facts of an engine that two builds of one file must have in common."""
_AGAIN = "build the current recipe, or restore the recipe that made the package"


class Verdict(StrEnum):
    """How a step's second result compares with the published one."""

    EQUAL = "byte-equal"
    WITHIN = "equal within"
    """Other bytes, with figures within the tolerance of that kind of file (`agreement`)."""
    SAME_NETWORK = "same network"
    RECORDED = "taken from the record"
    NOT_DONE = "not run here"
    WAITS = "waits"
    DIFFERS = "differs"


@dataclass(frozen=True, kw_only=True)
class RebuiltStep:
    """One step, run again.

    `machines`: what made the two results, as far as it differs; `ends`: later steps have nothing to
    be compared with.
    """

    stage: str
    verdict: Verdict
    detail: str = ""
    machines: str = ""
    ends: bool = False

    @property
    def good(self) -> bool:
        """Return whether the step made what the manifest records."""
        return self.verdict not in (Verdict.DIFFERS, Verdict.WAITS)


def verify(
    session: Session,
    plan: BuildPlan,
    train: bool = False,
    run: CommandRunner = run_command,
    ensure: EnsureEnv = ensure_env,
) -> Iterator[RebuiltStep]:
    """Yield the steps in order, up to one that waits for another machine or whose result is lost.

    A step after one that differs gets the published input: each step is compared separately. A
    training is taken from the record unless `train`; everything after it is made again. Raises
    BuildsysError.
    """
    plan, recorded = _manifest(session.workspace, plan)
    scratch = session.workspace.own(session.workspace.state / "verify")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        database = Database(Path(folder) / "state.sqlite")
        state = State((plan,), database, Store(Path(folder) / "store"), Lock())
        console = Console()
        again = Runner(Workspace(Path(folder)), state, console.print_line, run, ensure)
        try:
            for step, entry in zip(plan.steps, recorded, strict=True):
                finding = _not_runnable(plan, step) or _verify_step(
                    session, state, again, console, step, entry, train
                )
                yield finding
                if finding.ends:
                    break
        finally:
            console.close()
            database.close()
    shutil.rmtree(scratch, ignore_errors=True)


def shipped_plan(session: Session, plan: Plan) -> BuildPlan:
    """Return the plan of a build's folder; for a selection, that of the chosen variant.

    Raises InputError, Waiting.
    """
    if isinstance(plan, WaitingPlan):
        raise Waiting(f"{plan.build} waits for {plan.waiting_for}: it is not built yet")
    chooser = next((p.build for p in session.plans.values() if _chooses(p, plan.build)), "")
    if chooser:
        message = f"ships nothing itself: {chooser} selects among several variants"
        hint = f"buildsys verify {chooser}"
        raise InputError.at(plan.build, message, hint)
    if isinstance(plan, BuildPlan):
        return plan
    manifest = _read(session.workspace, plan.build)
    shipped = build_plans(p for p in session.plans.values() if p.build == manifest.chosen)
    if not shipped:
        raise _nothing_to_compare(session.workspace, plan.build)
    return dataclasses.replace(shipped[0], build=plan.build)


def _read(workspace: Workspace, build: str) -> Manifest:
    manifest = read_manifest(workspace.package(build))
    if manifest is None:
        raise _nothing_to_compare(workspace, build)
    return manifest


def _nothing_to_compare(workspace: Workspace, build: str) -> InputError:
    label = str((workspace.package(build) / "manifest.json").relative_to(workspace.root))
    return InputError.at(label, "there is no manifest to compare with", f"doit build:{build}")


def _chooses(plan: Plan, build: str) -> bool:
    return isinstance(plan, SelectionPlan) and build in plan.candidates


def _manifest(workspace: Workspace, plan: BuildPlan) -> tuple[BuildPlan, tuple[ManifestStep, ...]]:
    """Return the plan without steps that a manifest leaves out, and the published steps.

    Raises InputError if the recipe now has other steps.
    """
    path = workspace.package(plan.build) / "manifest.json"
    label = str(path.relative_to(workspace.root))
    check_whole(workspace, plan.build)
    steps = _read(workspace, plan.build).steps
    published = [(entry.stage, entry.module, entry.params) for entry in steps]
    ran = {(stage, module) for stage, module, _ in published}
    repeated = tuple(
        step
        for step in plan.steps
        # measurements of one machine, and what it could not run for lack of a program
        if not step.local and (not step.requires or (step.stage, step.module) in ran)
    )
    now = [(step.stage, step.module, json.loads(step.params)) for step in repeated]
    for old, new in zip(published, now, strict=False):
        if old != new:
            raise InputError(_changed(label, old, new))
    if len(published) != len(now):
        raise InputError.at(label, "the recipe has different steps now", _AGAIN)
    return dataclasses.replace(plan, steps=repeated), steps


def _changed(label: str, old: tuple[Any, ...], new: tuple[Any, ...]) -> Diagnostic:
    what = "different parameters" if old[:2] == new[:2] else "different steps"
    message = f"the recipe has {what} now, from {new[0]} on"
    return Diagnostic(path=label, message=message, hint=_AGAIN)


def _not_runnable(plan: BuildPlan, step: Step) -> RebuiltStep | None:
    """Return the finding for a step that this machine cannot run; anything but a proof ends
    verifying.
    """
    missing = missing_requirement(step.requires)
    if not missing:
        return None
    proof = step.id in plan.proofs
    verdict = Verdict.NOT_DONE if proof else Verdict.WAITS
    return RebuiltStep(stage=step.stage, verdict=verdict, detail=f"for {missing}", ends=not proof)


def _verify_step(
    session: Session,
    state: State,
    again: Runner,
    console: Console,
    step: Step,
    entry: ManifestStep,
    train: bool,
) -> RebuiltStep:
    action_key = state.key(step)
    assert action_key is not None
    changed = [name for name, digest in action_key.inputs if entry.inputs.get(name) != digest]
    if changed:
        return _end(step, f"its input {changed[0]}")
    if step.trains and not train:
        return _take(session, state, step, action_key, entry)
    absence = explain_absence(step.tool_env)
    if absence:
        return _pass_by(session.state.store, state, step, action_key, entry, absence)
    name = f"{step.stage} again"
    result = again.execute(
        step,
        lambda: console.start(name, "from nothing"),
        lambda *report: console.progress(name, *report),
    )
    console.finish(name, "done")
    before = session.state.store
    found = dict(result.outputs) if result else {}
    finding = _compare(before, state, step, found, entry)
    if finding.verdict != Verdict.EQUAL:
        # later steps are compared separately: they read the published files
        lost = _carry_over(before, state, step, action_key, entry, tuple(entry.outputs))
        if lost:
            damage = f"the store's copy of the published {lost} is missing or damaged"
            return _end(step, f"{finding.detail}; {damage}")
    return _with_machines(finding, before, state, entry, action_key)


def _with_machines(
    finding: RebuiltStep, before: Store, state: State, entry: ManifestStep, action_key: ActionKey
) -> RebuiltStep:
    """Add what made the two results, where it differs; for different bytes also where it does
    not.
    """
    published = find_made_on(before, entry.action_key)
    machines = describe_difference(published, find_made_on(state.store, action_key.key))
    if not machines and finding.verdict != Verdict.EQUAL:
        machines = (
            "the same CPU and kernels on both sides"
            if published.is_known
            else "the publishing machine is not recorded"
        )
    return dataclasses.replace(finding, machines=machines)


def _take(
    session: Session, state: State, step: Step, action_key: ActionKey, entry: ManifestStep
) -> RebuiltStep:
    """Copy the recorded checkpoint from the user's store to the empty one."""
    wanted = (str(Format.CHECKPOINT),)
    if _carry_over(session.state.store, state, step, action_key, entry, wanted):
        detail = "the store's copy of the recorded checkpoint is missing or damaged; --train trains again"
        return _end(step, detail)
    return RebuiltStep(stage=step.stage, verdict=Verdict.RECORDED)


def _pass_by(
    before: Store,
    state: State,
    step: Step,
    action_key: ActionKey,
    entry: ManifestStep,
    absence: str,
) -> RebuiltStep:
    """Skip a step whose tools this host cannot have: later steps use the published result."""
    lost = _carry_over(before, state, step, action_key, entry, tuple(entry.outputs))
    if lost:
        return _end(step, f"the store's copy of the published {lost} is missing or damaged")
    return RebuiltStep(
        stage=step.stage, verdict=Verdict.NOT_DONE, detail=f"because it needs {absence}"
    )


def _end(step: Step, detail: str) -> RebuiltStep:
    return RebuiltStep(stage=step.stage, verdict=Verdict.DIFFERS, detail=detail, ends=True)


def _carry_over(
    before: Store,
    state: State,
    step: Step,
    action_key: ActionKey,
    entry: ManifestStep,
    wanted: tuple[str, ...],
) -> str:
    """Copy published outputs to the empty store as this step's.

    Returns the first that is damaged.
    """
    trees = {output.name for output in step.outputs if output.tree}
    for name in wanted:
        try:
            before.copy_into(state.store, entry.outputs.get(name, ""), tree=name in trees)
        except FileNotFoundError:
            return name
    result = StepResult(outputs=tuple(entry.outputs.items()), seconds=0.0)
    state.finish(step, action_key, result)
    return ""


def _compare(
    before: Store, state: State, step: Step, found: dict[str, str], entry: ManifestStep
) -> RebuiltStep:
    """Compare bytes; different bytes by the tolerance of their kind of file."""
    if found == entry.outputs:
        return RebuiltStep(stage=step.stage, verdict=Verdict.EQUAL)
    if step.module == "build_engine":
        return _compare_engines(before, state, step, found, entry)
    texts, within = [], found.keys() == entry.outputs.keys()
    for name in sorted(found):
        if found[name] != entry.outputs.get(name):
            try:
                old, new = before.read(entry.outputs.get(name, "")), state.store.read(found[name])
                agreement = compare_files(name, old, new)
            except (OSError, ValueError):  # a folder, or lost
                agreement = OTHER_BYTES
            within &= agreement.within
            texts.append(f"{name}: {agreement.text}")
    verdict = Verdict.WITHIN if within else Verdict.DIFFERS
    return RebuiltStep(stage=step.stage, verdict=verdict, detail="; ".join(texts))


def _compare_engines(
    before: Store, state: State, step: Step, found: dict[str, str], entry: ManifestStep
) -> RebuiltStep:
    """Compare engines: builders time kernels, so that bytes may differ (see build_engine).

    Engines of the same network, by the same library for the same GPU, count as the same.
    """
    differ = RebuiltStep(
        stage=step.stage, verdict=Verdict.DIFFERS, detail=f"the bytes of {', '.join(found)}"
    )
    try:
        old = json.loads(before.read(entry.outputs["engine-facts"]))
        new = json.loads(state.store.read(found["engine-facts"]))
        shipped = before.has(entry.outputs["engine"], tree=False)
    except (OSError, ValueError, KeyError, TypeError):
        return differ
    if not shipped or any(old.get(name) != new.get(name) for name in _OF_A_NETWORK):
        return differ
    detail = "the same network with different bytes"
    return RebuiltStep(stage=step.stage, verdict=Verdict.SAME_NETWORK, detail=detail)
