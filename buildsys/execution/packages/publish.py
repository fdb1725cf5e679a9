"""build/<recipe>/<target>/: what ships, the proof of it, the diary, the logs.

manifest.json is the same on every machine: digests, parameters, versions, what was verified and
what was not. build.json is the diary of this machine: when, where, how long, restored or built.
"""

import contextlib
import json
import os
import platform
import shutil
import time
from pathlib import Path
from typing import Any

from buildsys.digest import digest_file
from buildsys.errors import BuildsysError
from buildsys.execution.packages.manifest import find_evidence, find_latency, make_manifest
from buildsys.execution.places import Workspace
from buildsys.execution.running.runner import Runner
from buildsys.execution.state.decide import State
from buildsys.files import remove_folder
from buildsys.graph import Input, Plan, Step
from buildsys.spec import MODELS, TREES, Format


def build_folder(workspace: Workspace, build: str) -> Path:
    """build/<recipe>/<target>."""
    recipe, target = build.split("@")
    return workspace.build / recipe / target


def is_published(workspace: Workspace, state: State, plan: Plan) -> bool:
    """Whether the folder holds this plan's package, untouched."""
    result = state.result(plan.package)
    if result is None:
        return False
    digest = result.output("package")
    if state.database.published(plan.build) != _publication(plan, state):
        return False
    folder = build_folder(workspace, plan.build)
    if not (folder / "manifest.json").is_file():
        return False
    known = state.database.files_below(str(folder))
    if str(folder / "manifest.json") not in known:  # the workspace was moved or copied
        known = _record_files(state, folder)
    try:
        entries = state.store.index(digest)
    except (OSError, ValueError):
        return True  # the store was cleared; the folder was complete when it was filled
    return all(_is_intact(folder / name, size, blob, known) for name, size, blob in entries)


def publish(
    workspace: Workspace, state: State, plan: Plan, runner: Runner, built: frozenset[str]
) -> None:
    """Fill the folder beside its place, then move it there; the old one goes as one piece."""
    folder = workspace.own(build_folder(workspace, plan.build))
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
    for leftover in folder.parent.glob(f".{folder.name}.*"):  # of runs that were killed
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        state.fetch(plan.package, "package", fresh)
        _write(fresh / "manifest.json", make_manifest(plan, state, fresh))
        _write(fresh / "build.json", _diary(plan, state, runner, built))
        latency = find_latency(plan, state, fresh)
        if latency:
            _write(fresh / "latency.json", {"entries": latency})
        _copy_curves(fresh, plan, state)
        _link_logs(fresh, folder, plan, state, runner)
        withdraw(workspace, state, plan.build)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(workspace.own(_rejected_folder(workspace, plan)), ignore_errors=True)
    _record_files(state, folder)
    state.database.record_published(plan.build, _publication(plan, state))


def _record_files(state: State, folder: Path) -> dict[str, tuple[str, str]]:
    """(stat, digest) of the files of a package by path, now in the database, too."""
    rows = [
        (str(path), _stat(path), digest_file(path))
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    ]
    state.database.record_files(rows)
    return {path: (stat, digest) for path, stat, digest in rows}


def withdraw(workspace: Workspace, state: State, build: str) -> None:
    """Take a build's folder away; the store still has what was in it."""
    folder = workspace.own(build_folder(workspace, build))
    state.database.record_published(build, "")
    remove_folder(folder)


def reject(workspace: Workspace, state: State, plan: Plan) -> list[str]:
    """Withdraw the package, keep the file that failed and why; returns the failures.

    verdict.json holds them with the stage that said so, and what every judge found: the ladder of a
    rejected file is what its owner wants to see.
    """
    withdraw(workspace, state, plan.build)
    assert plan.shipped is not None
    folder = workspace.own(_rejected_folder(workspace, plan))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    failures, judges = _failures(workspace, state, plan), red_verdicts(state, plan)
    judged = _judged(state, plan)
    if judged is not None and judged.step and state.input_digest(judged) is not None:
        target = folder / f"{plan.build.split('@')[0]}{_ending(judged.name)}"
        state.fetch(judged.step, judged.output, target)
    verdict = {"passed": False, "stage": judges[0].stage if judges else "", "failures": failures}
    _write(folder / "verdict.json", {**verdict, "evidence": find_evidence(plan, state)})
    return failures


def _ending(kind: str) -> str:
    """Of a model's name, as the package calls it."""
    if kind in TREES:
        return f"_{kind.replace('-', '_')}"
    compiled = "_vela" if kind == Format.VELA else ""
    return f"{compiled}.{kind.rsplit('-', maxsplit=1)[-1]}"


def _judged(state: State, plan: Plan) -> Input | None:
    """The file to keep aside: the one that would have shipped, or, where a verdict stands before it
    was made, the one that this verdict judged, or that it would have been made from.
    """
    if plan.shipped is None or state.input_digest(plan.shipped) is not None:
        return plan.shipped
    inputs = [item for step in red_verdicts(state, plan) for item in step.inputs]
    if plan.shipped.step:
        inputs += state.steps[plan.shipped.step].inputs
    return next((item for item in inputs if item.name in MODELS), None)


def red_verdicts(state: State, plan: Plan) -> list[Step]:
    """The steps that reject a build, the first to do so first; a package may exist beside them."""
    found = []
    for verdict in plan.verdicts:
        with contextlib.suppress(BuildsysError):  # of a source that cannot be read
            result = state.result(verdict)
            if result is not None and not result.passed:
                found.append(state.steps[verdict])
    return found


def _failures(workspace: Workspace, state: State, plan: Plan) -> list[str]:
    """What the red verdicts say, the first reason first. Raises MissingBytes."""
    found: list[str] = []
    for step in red_verdicts(state, plan):
        verdict = json.loads(state.read(step.id, "verdict"))
        found += [
            _with_advice(str(failure), verdict, workspace, plan) for failure in verdict["failures"]
        ]
    return found


def _with_advice(failure: str, verdict: dict[str, Any], workspace: Workspace, plan: Plan) -> str:
    """What would fit, behind the sentence that says what does not."""
    if not verdict.get("side") or "arena" not in failure:
        return failure
    from buildsys.execution.packages.fits import advise

    arena = verdict["arena"]
    advice = advise(workspace, plan, verdict["side"], arena["need_bytes"], arena["has_bytes"])
    return f"{failure}; {advice}" if advice else failure


def _diary(plan: Plan, state: State, runner: Runner, built: frozenset[str]) -> dict[str, object]:
    steps = []
    for step in plan.steps:
        result = state.result(step.id)
        steps.append(
            {
                "stage": step.stage,
                "seconds": result.seconds if result else None,
                "this_run": "built" if step.id in built else "restored",
                "environment": runner.variants.get(step.tool_env, ""),
            }
        )
    return {
        "build": plan.build,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "host": {
            "system": platform.platform(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
        },
        "steps": steps,
    }


def _copy_curves(fresh: Path, plan: Plan, state: State) -> None:
    """Of the training and of every measured file, where the store has them whole: of a recorded
    training, or of results known by digest alone, it may not, and no step runs again for them.
    """
    for step in plan.steps:
        result = state.result(step.id)
        for name, digest in result.outputs if result else ():
            if name not in (Format.TRAINING, Format.CURVES):
                continue
            tree = name == Format.TRAINING
            measured = f"{Format.CURVES}/{step.stage.removeprefix('evaluate-')}.json"
            target = fresh / (name if tree else measured)
            try:
                state.store.fetch(digest, target, tree)
            except FileNotFoundError:
                shutil.rmtree(target, ignore_errors=True)


def _link_logs(fresh: Path, folder: Path, plan: Plan, state: State, runner: Runner) -> None:
    logs = fresh / "logs"
    logs.mkdir()
    for step in plan.steps:
        action_key = state.key(step)
        log = runner.log(action_key.key) if action_key else None
        if log is not None and log.is_file():
            (logs / f"{step.stage}.log").symlink_to(os.path.relpath(log, folder / "logs"))


def _publication(plan: Plan, state: State) -> str:
    """Changes whenever the folder's deterministic part would: the action keys of all steps."""
    from buildsys.digest import digest_value

    keys = [state.decide(step).key for step in plan.steps if state.result(step.id) is not None]
    return digest_value(
        [
            plan.build,
            keys,
            list(plan.notes),
            list(plan.licences),
            plan.label,
            plan.selection,
            plan.preprocessing,
        ]
    )


def _is_intact(path: Path, size: int, digest: str, known: dict[str, tuple[str, str]]) -> bool:
    try:
        stat = _stat(path)
    except OSError:
        return False
    if known.get(str(path)) == (stat, digest):
        return True
    return path.stat().st_size == size and digest_file(path) == digest


def _stat(path: Path) -> str:
    s = path.stat()
    return f"{s.st_size} {s.st_mtime_ns} {s.st_ino} {s.st_ctime_ns}"


def _rejected_folder(workspace: Workspace, plan: Plan) -> Path:
    return workspace.build / ".rejected" / plan.build


def _write(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
