"""Publishes build/<recipe>/<target>/: the files that ship, their proof, the diary, the logs.

manifest.json is equal on every machine: digests, parameters, versions, what was verified and what
was not. build.json is the diary of this machine: when, where, how long, restored or built.
"""

import contextlib
import os
import platform
import shutil
import time
from pathlib import Path

from buildsys.digest import plain
from buildsys.errors import BuildsysError, CannotWrite, InputError
from buildsys.execution.packages.manifest import find_evidence, find_latency, make_manifest
from buildsys.execution.places import Workspace
from buildsys.execution.running.made_on import find_made_on
from buildsys.execution.running.runner import Runner
from buildsys.execution.state import published
from buildsys.execution.state.decide import State
from buildsys.execution.state.lock_differences import differences
from buildsys.execution.state.manifests import Diary, DiaryHost, DiaryStep, as_json
from buildsys.execution.state.step_outputs import Verdict, read_verdict
from buildsys.execution.tools.host_facts import cpu_name, instruction_sets
from buildsys.files import make_durable, make_tree_durable, remove_folder
from buildsys.graph import BuildPlan, Input, Step
from buildsys.json_text import json_text
from buildsys.operating_system import usable_cores
from buildsys.spec import MODELS, TREES, Format


def is_published(workspace: Workspace, state: State, plan: BuildPlan) -> bool:
    """Return whether the folder contains exactly this plan's package, complete.

    Raises CannotWrite.
    """
    if state.result(plan.package) is None:
        return False
    record = published.read(workspace, plan.build)
    if record is None or record.of != _publication(plan, state):
        return False
    folder = workspace.own(workspace.package(plan.build))
    differences, fresh = published.compare(folder, record)
    if differences:
        return False
    if fresh != record:
        with contextlib.suppress(CannotWrite, OSError):  # the next run reads the files again
            published.write(workspace, plan.build, fresh)
    return True


def publish(
    workspace: Workspace,
    state: State,
    plan: BuildPlan,
    runner: Runner,
    built: frozenset[str],
    print_line: published.PrintLine,
) -> bool:
    """Fill a folder beside the build's, then replace the build's folder as a whole.

    Returns whether the next run has nothing to add. `print_line` gets a line about changed files in the
    old folder, and about files that were moved out of it.
    """
    folder = workspace.own(workspace.package(plan.build))
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
    for leftover in folder.parent.glob(f".{folder.name}.*"):  # from runs that were killed
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        state.fetch(plan.package, "package", fresh)
        _write(fresh / "manifest.json", as_json(make_manifest(plan, state, fresh)))
        _write(fresh / "build.json", plain(_diary(plan, state, runner, built)))
        latency = find_latency(plan, state, fresh)
        if latency:
            _write(fresh / "latency.json", {"entries": latency})
        is_complete = _copy_curves(fresh, plan, state, print_line)
        _link_logs(fresh, folder, plan, state, runner)
        make_tree_durable(fresh)
        published.print_changes(
            workspace, plan.build, folder, "the package is published again", print_line
        )
        withdraw(workspace, plan.build, print_line)
        fresh.rename(folder)
        make_durable([folder.parent])
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(workspace.own(_rejected_folder(workspace, plan)), ignore_errors=True)
    record = published.describe(folder, _publication(plan, state) if is_complete else "")
    published.write(workspace, plan.build, record)
    return is_complete


def withdraw(workspace: Workspace, build: str, print_line: published.PrintLine) -> None:
    """Remove a build's folder; its content is still in the store.

    Foreign files are moved to build/.kept; `print_line` gets a line for each.
    """
    folder = workspace.own(workspace.package(build))
    published.keep_aside(workspace, build, folder, published.read(workspace, build), print_line)
    published.forget(workspace, build)
    remove_folder(folder)


def withdraw_rejected(workspace: Workspace, build: str, print_line: published.PrintLine) -> None:
    """Remove the package of an earlier build, because a proof rejected this one."""
    is_there = os.path.isdir(workspace.package(build))
    withdraw(workspace, build, print_line)
    if is_there:
        print_line(f"{build}: the earlier package is removed from build/, the new one is rejected")


def check_whole(workspace: Workspace, build: str) -> None:
    """Raise InputError if a build's folder differs from its record; one without a record passes."""
    record, folder = published.read(workspace, build), workspace.package(build)
    if record is None:
        return
    differences, _ = published.compare(workspace.own(folder), record)
    if differences:
        message = f"is not as it was published: {published.render(differences)}"
        hint = f"`doit build:{build}` publishes it again"
        raise InputError.at(os.path.relpath(folder, workspace.root), message, hint)


def reject(
    workspace: Workspace, state: State, plan: BuildPlan, print_line: published.PrintLine
) -> list[str]:
    """Withdraw the package, keep the file that failed and the reasons; returns the failures.

    verdict.json contains them with the stage that found them, and the findings of every verdict:
    they show where quality was lost.
    """
    failures, judges = _failures(workspace, state, plan), red_verdicts(state, plan)
    withdraw_rejected(workspace, plan.build, print_line)
    assert plan.shipped is not None
    folder = workspace.own(_rejected_folder(workspace, plan))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    judged = _judged(state, plan)
    if judged is not None and judged.step and state.input_digest(judged) is not None:
        target = folder / f"{plan.build.split('@')[0]}{_ending(judged.name)}"
        state.fetch(judged.step, judged.output, target)
    verdict = {"passed": False, "stage": judges[0].stage if judges else "", "failures": failures}
    _write(folder / "verdict.json", {**verdict, "evidence": find_evidence(plan, state)})
    return failures


def _ending(kind: str) -> str:
    """Return the ending of a model's name in the package."""
    if kind in TREES:
        return f"_{kind.replace('-', '_')}"
    compiled = "_vela" if kind == Format.VELA else ""
    return f"{compiled}.{kind.rsplit('-', maxsplit=1)[-1]}"


def _judged(state: State, plan: BuildPlan) -> Input | None:
    """Return the rejected file to keep.

    It is the file that would have shipped or, where an earlier verdict failed, the file that this
    verdict judged or that it would have been made from.
    """
    if plan.shipped is None or state.input_digest(plan.shipped) is not None:
        return plan.shipped
    inputs = [item for step in red_verdicts(state, plan) for item in step.inputs]
    if plan.shipped.step:
        inputs += state.steps[plan.shipped.step].inputs
    return next((item for item in inputs if item.name in MODELS), None)


def red_verdicts(state: State, plan: BuildPlan) -> list[Step]:
    """Return the steps whose recorded verdicts reject a build, in order."""
    found = []
    for verdict in plan.verdicts:
        with contextlib.suppress(BuildsysError):  # a source that cannot be read
            result = state.result(verdict)
            if result is not None and not result.passed:
                found.append(state.steps[verdict])
    return found


def _failures(workspace: Workspace, state: State, plan: BuildPlan) -> list[str]:
    """Return the failures in the red verdicts, in order. Raises MissingBytes, StepFailed."""
    found: list[str] = []
    for step in red_verdicts(state, plan):
        verdict = read_verdict(state.read(step.id, Format.VERDICT), step.stage)
        found += [_with_advice(each, verdict, workspace, plan) for each in verdict.failures]
    return found


def _with_advice(failure: str, verdict: Verdict, workspace: Workspace, plan: BuildPlan) -> str:
    """Append what would fit to the sentence about what does not."""
    arena = verdict.arena
    if not verdict.side or arena is None or "arena" not in failure:
        return failure
    from buildsys.execution.packages.fits import advise

    advice = advise(workspace, plan, verdict.side, arena.need_bytes, arena.has_bytes)
    return f"{failure}; {advice}" if advice else failure


def _diary(plan: BuildPlan, state: State, runner: Runner, built: frozenset[str]) -> Diary:
    steps = []
    for step in plan.steps:
        result = state.result(step.id)
        made_on = find_made_on(state.store, state.decide(step).key if result else "")
        steps.append(
            DiaryStep(
                stage=step.stage,
                seconds=result.seconds if result else None,
                this_run="built" if step.id in built else "restored",
                environment=runner.variants.get(step.tool_env, ""),
                isolation=runner.isolations.get(step.id, ""),
                cpu=made_on.cpu,
                kernels=dict(made_on.kernels),
            )
        )
    return Diary(
        build=plan.build,
        differs_from_lock=differences(state, (plan,)),
        finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        host=DiaryHost(
            system=platform.platform(),
            machine=platform.machine(),
            cores=usable_cores(),
            cpu=cpu_name(),
            instructions=instruction_sets(),
        ),
        steps=tuple(steps),
    )


def _copy_curves(
    fresh: Path, plan: BuildPlan, state: State, print_line: published.PrintLine
) -> bool:
    """Copy the curves of the training and of every measured file, where the store has them
    complete.

    It may lack those of a recorded training, or of results known only by digest; no step runs again
    for them. `print_line` gets a line where they were lost rather than left out deliberately. Returns
    False where a remote store that did not answer may have them.
    """
    is_complete = True
    for step in plan.steps:
        result = state.result(step.id)
        outputs = dict(result.outputs) if result else {}
        recorded = state.recorded(step) if outputs and step.trains else None
        lost = recorded is not None and bool(recorded.training) and Format.TRAINING not in outputs
        for name in (Format.TRAINING, Format.CURVES):
            if name in outputs:
                tree = name == Format.TRAINING
                measured = f"{Format.CURVES}/{step.stage.removeprefix('evaluate-')}.json"
                target = fresh / (name if tree else measured)
                try:
                    state.store.fetch(outputs[name], target, tree)
                except FileNotFoundError:
                    shutil.rmtree(target, ignore_errors=True)
                    entry = state.store.recall(state.decide(step).key)
                    lost = entry is not None and not entry.digests_only
        if lost:
            unread = state.store.unread
            is_complete &= not unread
            why = (
                "the remote store did not answer; the next run tries again"
                if unread
                else "the store no longer has all of them"
            )
            print_line(f"{plan.build} is published without the curves of {step.stage}: {why}")
    return is_complete


def _link_logs(fresh: Path, folder: Path, plan: BuildPlan, state: State, runner: Runner) -> None:
    logs = fresh / "logs"
    logs.mkdir()
    for step in plan.steps:
        action_key = state.key(step)
        log = runner.log(action_key.key) if action_key else None
        if log is not None and log.is_file():
            (logs / f"{step.stage}.log").symlink_to(os.path.relpath(log, folder / "logs"))


def _publication(plan: BuildPlan, state: State) -> str:
    """Return a text that changes with the folder's deterministic part: the action keys of all
    steps.
    """
    from buildsys.digest import canonical, digest_value

    keys = [state.decide(step).key for step in plan.steps if state.result(step.id) is not None]
    return digest_value(
        [
            plan.build,
            keys,
            list(plan.notes),
            list(plan.licences),
            plan.label,
            canonical(plan.choice.for_manifest) if plan.choice else "",
            plan.preprocessing,
            *differences(state, (plan,)),  # build.json contains them
        ]
    )


def _rejected_folder(workspace: Workspace, plan: BuildPlan) -> Path:
    return workspace.build / ".rejected" / plan.build


def _write(path: Path, value: dict[str, object]) -> None:
    path.write_text(json_text(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
