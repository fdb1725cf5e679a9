"""`buildsys bundle`: an engine that another machine builds, as a folder to carry there.

In it: the network, the program that builds (steps/engine_program.py and its neighbours, as they
are), what to ask of it, and the action keys that the result is for. upkeep/returning.py takes it back.
"""

import json
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import buildsys
from buildsys.authoring.recipes.build import Build
from buildsys.digest import digest_file
from buildsys.errors import BuildsysError, Diagnostic, InputError, Rejected, Waiting
from buildsys.execution.packages.publish import red_verdicts
from buildsys.execution.places import Workspace, cache_root
from buildsys.execution.running.process import CommandRunner, run_command
from buildsys.execution.running.runner import EnsureEnv
from buildsys.execution.session.build_plans import host_of, plan_build
from buildsys.execution.session.session import Session
from buildsys.execution.state.plans import Plans, complete
from buildsys.execution.tools import definitions, environments
from buildsys.execution.tools.host_tools import LOCAL
from buildsys.graph import Input, Output, Plan, Status, Step, StepResult
from buildsys.operations import bundle_folder
from buildsys.operations.bundle_readme import BundleReadme, describe, how_to_install
from buildsys.operations.destinations import placing
from buildsys.operations.predict import find_build
from buildsys.planning.local_gpu import settle_local
from buildsys.planning.plan_builder import make_step, needed, output
from buildsys.registry import step_module
from buildsys.spec import Format
from buildsys.steps import build_engine
from buildsys.steps.lib.heads.batch import calibration_batch
from buildsys.steps.lib.runtime.launcher import rebuild
from buildsys.steps.lib.tensorrt import builder_process, bundle_program, separate_process
from buildsys.steps.lib.tensorrt.host_library import is_version

TIMINGS = "timing-caches"
"""Below the user's cache directory, in a bundle and in its result."""
_PICTURES = "pictures.npy"


@dataclass(frozen=True, kw_only=True)
class RemoteBuild:
    """An engine and how it is made elsewhere. `plan`: its steps alone, in order, the engine's last;
    `whole`: the build's own plan; `calibration`: the step that only the device can run besides, where
    there is one.
    """

    build: Build
    plan: Plan
    whole: Plan
    engine: Step
    calibration: Step | None

    @property
    def before(self) -> tuple[Step, ...]:
        """The steps that are done here."""
        own = {self.engine.id, self.calibration.id if self.calibration else ""}
        return tuple(step for step in self.plan.steps if step.id not in own)

    @property
    def there(self) -> tuple[Step, ...]:
        """The steps that are done there, in order."""
        return (*((self.calibration,) if self.calibration else ()), self.engine)

    @property
    def params(self) -> build_engine.Params:
        """The engine's parameters."""
        found: build_engine.Params = rebuild(build_engine.Params, json.loads(self.engine.params))
        return found

    @property
    def network(self) -> Input:
        """The file that the engine is built from."""
        names = (Format.ONNX, Format.QUANTIZED_ONNX)
        return next(item for item in self.engine.inputs if item.name in names)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What was written: `folder`, its size, and the machine that builds it, in words."""

    folder: Path
    bytes: int
    machine: str


def plan_away(workspace: Workspace, name: str) -> RemoteBuild:
    """One build by its id. Raises InputError, Waiting."""
    build = find_build(workspace, name)
    if build.waiting_for:
        raise Waiting(f"{build.id} waits for {build.waiting_for}")
    build = settle_local(build, host_of(build))
    plan = plan_build(build, workspace)
    engine = next((step for step in plan.steps if step.module == "build_engine"), None)
    if engine is None:
        hint = "builds for targets with a `tensorrt` block ship one"
        message = "ships no engine: nothing of it is built on another machine"
        raise InputError(Diagnostic(path=build.id, message=message, hint=hint))
    producers = {item.step for item in engine.inputs}
    calibration = (
        step for step in plan.steps if step.module == "calibrate_engine" and step.id in producers
    )
    steps = needed(list(plan.steps), (engine.id,))
    alone = replace(plan, steps=steps, package=engine.id, shipped=None, verdicts=(), proofs=())
    away = RemoteBuild(
        build=build, plan=alone, whole=plan, engine=engine, calibration=next(calibration, None)
    )
    if LOCAL in (away.params.version, away.params.compute_capability):
        message = "is for the GPU of the machine that it is built on, and nobody says which"
        hint = "a target with `version` and `compute_capability`, as jetson-orin has them"
        raise InputError(Diagnostic(path=build.id, message=message, hint=hint))
    return away


def open_session(
    workspace: Workspace,
    away: RemoteBuild,
    run: CommandRunner = run_command,
    ensure: EnsureEnv = environments.ensure,
) -> Session:
    """A session that knows the engine's steps and no others."""
    return Session(workspace.root, run, ensure, plans=Plans.of((away.plan,)))


def default_folder(workspace: Workspace, build: str) -> Path:
    """build/bundles/<recipe>/<target>."""
    return workspace.build / "bundles" / Path(*build.split("@"))


def make(session: Session, away: RemoteBuild, target: Path) -> Bundle:
    """Do what comes before the engine, and write the folder, whole or not at all.

    Raises BuildsysError: InputError for a folder that holds something else, Waiting, StepFailed,
    Rejected for a network that is blind, or whose gate is known to be red.
    """
    target = bundle_folder.find(target)
    for step in away.before:
        session.executor.run_step(step)
        _demand(session, away, step)
    _refuse_red(session, away)
    with placing(f"the bundle of {away.build.id}", target), bundle_folder.filling(target) as fresh:
        machine = _fill(session, away, fresh)
        size = sum(path.stat().st_size for path in fresh.rglob("*") if path.is_file())
    return Bundle(folder=target, bytes=size, machine=machine)


def key_parts(session: Session, step: Step) -> dict[str, Any]:
    """What a step's result is for: its action key, "" while an input is not known, and its parts."""
    action_key = session.state.key(step)
    return {"key": action_key.key if action_key else "", "parts": session.state.known_parts(step)}


def timing_caches(folder: Path, params: build_engine.Params) -> list[Path]:
    """The files of timings that fit version and GPU (named by _engine_program.timing_cache)."""
    found = []
    for path in sorted(folder.glob(f"tensorrt-*-{params.compute_capability}.cache")):
        version = path.name.split("-")[1]
        if params.library == "tensorrt" and is_version(version, params.version) and path.is_file():
            found.append(path)
    return found


def _demand(session: Session, away: RemoteBuild, step: Step) -> None:
    decision = session.state.decide(step)
    if decision.status == Status.WAITING:
        raise Waiting(f"{away.build.id} waits for {decision.reasons[0].subject} ({step.stage})")
    result = session.state.result(step.id)
    if result is None:
        raise BuildsysError(
            f"{away.build.id}: {step.stage} is {decision.status}, nothing to bundle"
        )
    if not result.passed:
        _reject(session, away, step, result)


def _refuse_red(session: Session, away: RemoteBuild) -> None:
    """A verdict of the build that is known to be red, whether or not the engine rests on it.

    No gate is run for this: one that was not asked yet says nothing.
    """
    known = {step.id for step in away.plan.steps}
    for step in away.whole.steps:
        if step.id not in known:
            session.state.include(step)
    for step in red_verdicts(session.state, away.whole):
        result = session.state.result(step.id)
        assert result is not None
        _reject(session, away, step, result)


def _reject(session: Session, away: RemoteBuild, step: Step, result: StepResult) -> NoReturn:
    try:
        verdict = json.loads(session.state.store.read(dict(result.outputs)["verdict"]))
        why = ": " + "; ".join(verdict["failures"])
    except FileNotFoundError:  # the store has lost it
        why = ""
    raise Rejected(f"{away.build.id} is rejected by {step.stage}, nothing to bundle{why}")


def _fill(session: Session, away: RemoteBuild, folder: Path) -> str:
    """Everything, bundle.json last; returns the words on the machine."""
    request = build_engine.make_request(
        away.params,
        quantized=away.network.name == Format.QUANTIZED_ONNX,
        calibrated=away.calibration is not None,
    )
    request["gpu"] = getattr(away.build.tensorrt, "gpu", None) or ""
    _fetch(session, away.network, folder / request["onnx"])
    for name, program in builder_process.programs().items():
        shutil.copyfile(program, folder / name)
    shutil.copyfile(separate_process.__file__, folder / "separate_process.py")
    shutil.copyfile(bundle_program.__file__, folder / "build.py")
    if away.calibration is not None:
        request["pictures"] = _PICTURES
        request["calibration_batch"] = calibration_batch(away.params.batch, sys.maxsize)
        _fetch(session, _pack_pictures(session, away, away.calibration), folder / _PICTURES)
    fixed = {path.name: digest_file(path) for path in sorted(folder.iterdir())}
    if away.params.library == "tensorrt":
        request["timing_cache"] = TIMINGS
        (folder / TIMINGS).mkdir()
        for path in timing_caches(cache_root() / TIMINGS, away.params):
            shutil.copyfile(path, folder / TIMINGS / path.name)
    install = how_to_install(away.params, definitions.tool_env(away.engine.tool_env).version)
    told = {
        "format": bundle_program.FORMAT,
        "buildsys": buildsys.__version__,
        "build": away.build.id,
        "target": away.plan.label,
        "install": install,
        "request": request,
        "steps": {step.module: key_parts(session, step) for step in away.there},
        "files": fixed,
    }
    text = json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False)
    (folder / bundle_program.BUNDLE).write_text(f"{text}\n", encoding="utf-8")
    words = BundleReadme(
        build=away.build.id,
        label=away.plan.label,
        install=install,
        params=away.params,
        gpu=request["gpu"],
        files=tuple(sorted(fixed)),
    )
    (folder / "README.md").write_text(describe(words), encoding="utf-8")
    return words.machine


def _pack_pictures(session: Session, away: RemoteBuild, calibration: Step) -> Input:
    """The calibration pictures as the device reads them, by a step that belongs to no plan."""
    module = step_module("pack_calibration")
    given = json.loads(calibration.params)["preprocessing"]
    params = rebuild(module.Params, {"preprocessing": given})
    pictures = next(item for item in calibration.inputs if item.name == "calibration")
    step = make_step("pack", module, params, {"calibration": pictures}, {"pictures": False})
    step = replace(step, outputs=(Output(name="pictures", tree=False, suffix=".npy"),))
    (step,) = complete(replace(away.plan, steps=(step,))).steps
    session.executor.include(step, away.build.id)
    session.executor.run_step(step)
    _demand(session, away, step)
    return output(step, "pictures")


def _fetch(session: Session, item: Input, target: Path) -> None:
    """A file from where it was given, or from the store; what the store has lost is made again."""
    if item.source is not None:
        shutil.copyfile(item.source.path, target)
        return
    try:
        _restore(session, item, target)
    except FileNotFoundError:
        session.state.want_bytes(item.step)
        session.executor.run_step(session.state.steps[item.step])
        _restore(session, item, target)


def _restore(session: Session, item: Input, target: Path) -> None:
    session.state.store.fetch(session.state.input_digest(item) or "", target, tree=False)
