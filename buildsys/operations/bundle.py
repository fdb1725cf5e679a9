"""`buildsys bundle`: writes a folder with everything that another machine needs to build an engine.

It contains the network, the programs that build (steps/lib/tensorrt, unchanged), the request, a
README and the action keys that the result belongs to. `buildsys import` (import_bundle.py) imports
the result.
"""

import json
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import buildsys
from buildsys.authoring.recipes.build import Build
from buildsys.digest import digest_file
from buildsys.errors import BuildsysError, InputError, MissingBytes, Rejected, Waiting, shorten
from buildsys.escaping import code_cell, code_span, markdown, one_line
from buildsys.execution.packages.publish import red_verdicts
from buildsys.execution.places import Workspace, cache_root
from buildsys.execution.running.process import CommandRunner, run_command
from buildsys.execution.running.runner import EnsureEnv
from buildsys.execution.session.build_planning import host_of, plan_build
from buildsys.execution.session.session import Session
from buildsys.execution.state.action_keys import Parts
from buildsys.execution.state.completed_plans import complete_step
from buildsys.execution.state.plans import Plans
from buildsys.execution.state.step_outputs import read_verdict
from buildsys.execution.tools import definitions, environments
from buildsys.execution.tools.host_tools import LOCAL
from buildsys.files import read_regular
from buildsys.graph import BuildPlan, Input, Output, Status, Step
from buildsys.operations.destinations import (
    find_folder,
    foreign_names,
    fresh_inside,
    is_empty,
    placing,
)
from buildsys.operations.predict import find_build
from buildsys.planning.local_gpu import settle_local
from buildsys.planning.plan_steps import make_step, needed, output
from buildsys.registry import PACKAGE, read_step
from buildsys.spec import Format
from buildsys.steps import build_engine, pack_calibration
from buildsys.steps.build_engine import JETSONS, Params
from buildsys.steps.lib.files.onnx_header import read_header
from buildsys.steps.lib.heads.batch import Batch, calibration_batch, is_open
from buildsys.steps.lib.runtime.launcher import rebuild
from buildsys.steps.lib.tensorrt import builder_process, bundle_program, separate_process
from buildsys.steps.lib.tensorrt.bundle_program import BUNDLE, RESULT
from buildsys.steps.lib.tensorrt.engine_program import TITLES
from buildsys.steps.lib.tensorrt.host_library import is_version
from buildsys.text import first_of, join_sentences
from buildsys.typed_json import decode, parse

TIMINGS = "timing-caches"
"""Folder of timing caches: below the user's cache directory, in a bundle, and in its result."""
_IMAGES, _README = "pictures.npy", "README.md"
_CUDART = PACKAGE / "templates" / "engine" / "cudart.py"
"""Files for calibration, which uses the CUDA runtime as packages do."""
_LEFTOVERS = (".work", f".{RESULT}.")
"""What build.py leaves where it is killed: its working folder, and the beginning of a result."""
_TRTEXEC = "/usr/src/tensorrt/bin"
"""Path of trtexec in the Debian package libnvinfer-bin, which is on no PATH."""
_OUTSIDE_JETPACK = (
    "trtexec is in NVIDIA's Debian package libnvinfer-bin and in its TensorRT containers; the"
    " package of pip does not contain it."
)
"""Where trtexec comes from (https://github.com/NVIDIA/TensorRT/issues/2780)."""
_MOST_NAMED = 3
"""The most files that a message names."""
_WHAT = {
    "build.py": "the program to run there",
    "engine_program.py": "checks the machine, and builds with the library's Python API",
    "separate_process.py": "starts it in a separate process",
    "engine_calibration.py": "calibration by TensorRT up to 10: images, scales, errors",
    "engine_weakly_typed.py": "flags and calibrator of TensorRT up to 10; was never run on a GPU",
    "model.onnx": "the network",
    "cudart.py": "the CUDA runtime, for calibration",
    "pictures.npy": "calibration images, prepared, float32",
}


@dataclass(frozen=True, kw_only=True)
class RemoteBuild:
    """A build whose engine another machine builds.

    `plan`: only the engine's steps, in order; `whole`: the build's own plan; `calibration`: the
    calibration step, where only the device can run it.
    """

    build: Build
    plan: BuildPlan
    whole: BuildPlan
    engine: Step
    calibration: Step | None

    @property
    def local_steps(self) -> tuple[Step, ...]:
        """Return the steps that run here."""
        own = {self.engine.id, self.calibration.id if self.calibration else ""}
        return tuple(step for step in self.plan.steps if step.id not in own)

    @property
    def remote_steps(self) -> tuple[Step, ...]:
        """Return the steps that run on the other machine, in order."""
        return (*((self.calibration,) if self.calibration else ()), self.engine)

    @property
    def params(self) -> build_engine.Params:
        """Return the engine's parameters."""
        found: build_engine.Params = rebuild(build_engine.Params, json.loads(self.engine.params))
        return found

    @property
    def network(self) -> Input:
        """Return the file that the engine is built from."""
        names = (Format.ONNX, Format.QUANTIZED_ONNX)
        return next(item for item in self.engine.inputs if item.name in names)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """The written `folder`, its size, and a description of the machine that can build it."""

    folder: Path
    bytes: int
    machine: str


@dataclass(frozen=True, kw_only=True)
class BundleReadme:
    """The values in a bundle's README.

    `gpu`: its name, or ""; `shapes`: trtexec's option for a dynamic batch, or ""; `files`: names of
    the bundle's files.
    """

    build: str
    label: str
    install: str
    params: Params
    gpu: str
    shapes: str
    files: tuple[str, ...]

    @property
    def library(self) -> str:
        """Return the library's name for people."""
        return f"{TITLES[self.params.library]} {self.params.version}"

    @property
    def machine(self) -> str:
        """Return a description of the machine that builds it."""
        if self.params.library == "tensorrt-rtx":
            return f"{self.library} (no GPU is needed)"
        gpu = f" ({self.gpu})" if self.gpu else ""
        return (
            f"{self.library} and an NVIDIA GPU of compute capability"
            f" {self.params.compute_capability}{gpu}"
        )


def plan_remote_build(workspace: Workspace, name: str) -> RemoteBuild:
    """Return one build by its id. Raises InputError, Waiting."""
    build = find_build(workspace, name)
    if build.waiting_for:
        raise Waiting(f"{build.id} waits for {build.waiting_for}")
    build = settle_local(build, host_of(build))
    plan = plan_build(build, workspace)
    engine = next((step for step in plan.steps if step.module == "build_engine"), None)
    if engine is None:
        hint = "builds for targets with a `tensorrt` block ship one"
        message = "ships no engine: there is nothing to build on another machine"
        raise InputError.at(build.id, message, hint)
    producers = {item.step for item in engine.inputs}
    calibration = (
        step for step in plan.steps if step.module == "calibrate_engine" and step.id in producers
    )
    steps = needed(list(plan.steps), (engine.id,))
    alone = replace(plan, steps=steps, package=engine.id, shipped=None, verdicts=(), proofs=())
    remote = RemoteBuild(
        build=build, plan=alone, whole=plan, engine=engine, calibration=next(calibration, None)
    )
    if LOCAL in (remote.params.version, remote.params.compute_capability):
        message = "is for the GPU of the building machine, whose version is not stated"
        hint = "use a target with `version` and `compute_capability`, such as jetson-orin"
        raise InputError.at(build.id, message, hint)
    return remote


def open_session(
    workspace: Workspace,
    remote: RemoteBuild,
    run: CommandRunner = run_command,
    ensure: EnsureEnv = environments.ensure,
) -> Session:
    """Return a session with only the engine's steps."""
    return Session(workspace.root, run, ensure, plans=Plans.of((remote.plan,)))


def default_folder(workspace: Workspace, build: str) -> Path:
    """Return build/bundles/<recipe>/<target>.

    Raises CannotWrite if a folder on the way is a link.
    """
    return workspace.own(
        workspace.build / "bundles" / workspace.package(build).relative_to(workspace.build)
    )


def make(session: Session, remote: RemoteBuild, target: Path) -> Bundle:
    """Run the steps before the engine, and write the folder, completely or not at all.

    Raises BuildsysError: InputError for a folder with other content, Waiting, StepFailed, Rejected
    where quantization destroyed the outputs or a gate has failed.
    """
    target = find_bundle_folder(target)

    def make_whole() -> Bundle:
        for step in remote.local_steps:
            session.executor.run_step(step)
            _demand(session, remote, step)
        _refuse_red(session, remote)
        with placing(f"the bundle of {remote.build.id}", target), _filling(target) as fresh:
            machine = _fill(session, remote, fresh)
            size = sum(path.stat().st_size for path in fresh.rglob("*") if os.path.isfile(path))
        return Bundle(folder=target, bytes=size, machine=machine)

    return session.executor.retry_with_bytes(make_whole)


def key_parts(session: Session, step: Step) -> tuple[str, Parts]:
    """Return a step's action key, "" while an input is unknown, and the key's parts."""
    action_key = session.state.key(step)
    return action_key.key if action_key else "", session.state.known_parts(step)


def timing_caches(folder: Path, params: build_engine.Params) -> list[Path]:
    """Return the timing caches for version and GPU (engine_program.timing_cache names them)."""
    found = []
    for path in sorted(folder.glob(f"tensorrt-*-{params.compute_capability}.cache")):
        version = path.name.split("-")[1]
        if (
            params.library == "tensorrt"
            and is_version(version, params.version)
            and os.path.isfile(path)
        ):
            found.append(path)
    return found


def _demand(session: Session, remote: RemoteBuild, step: Step) -> None:
    decision = session.state.decide(step)
    if decision.status == Status.WAITING:
        raise Waiting(f"{remote.build.id} waits for {decision.waits_for} ({step.stage})")
    result = session.state.result(step.id)
    if result is None:
        raise BuildsysError(
            f"{remote.build.id}: {step.stage} is {decision.status}: there is nothing to bundle"
        )
    _check_verdict(session, step)
    if not result.passed:
        _reject(session, remote, step)


def _check_verdict(session: Session, step: Step) -> None:
    """Raise MissingBytes where a record contradicts its verdict: the step then runs again."""
    if session.state.result(step.id) is None or all(o.name != Format.VERDICT for o in step.outputs):
        return
    try:
        session.state.read(step.id, Format.VERDICT)
    except MissingBytes:
        if session.state.result(step.id) is None:
            raise


def _refuse_red(session: Session, remote: RemoteBuild) -> None:
    """Raise Rejected for a failed check of the build, even if the engine does not depend on it.

    A check runs for this only if its record contradicts it; one without a result is ignored.
    """
    known = {step.id for step in remote.plan.steps}
    for step in remote.whole.steps:
        if step.id not in known:
            session.executor.include(step, remote.build.id)
    for name in remote.whole.verdicts:
        with suppress(InputError):  # a source that cannot be read
            _check_verdict(session, session.state.steps[name])
    for step in red_verdicts(session.state, remote.whole):
        _reject(session, remote, step)


def _reject(session: Session, remote: RemoteBuild, step: Step) -> NoReturn:
    try:
        verdict = read_verdict(session.state.read(step.id, Format.VERDICT), step.stage)
        why = ": " + join_sentences(verdict.failures)
    except MissingBytes:
        why = ""
    raise Rejected(
        f"{remote.build.id} is rejected by {step.stage}: there is nothing to bundle{why}"
    )


def _fill(session: Session, remote: RemoteBuild, folder: Path) -> str:
    """Write everything, bundle.json last; returns the description of the machine."""
    request = build_engine.make_request(
        remote.params,
        quantized=remote.network.name == Format.QUANTIZED_ONNX,
        calibrated=remote.calibration is not None,
    )
    request["gpu"] = getattr(remote.build.tensorrt, "gpu", None) or ""
    _fetch(session, remote.network, folder / request["onnx"])
    for name, program in builder_process.programs().items():
        shutil.copyfile(program, folder / name)
    shutil.copyfile(separate_process.__file__, folder / "separate_process.py")
    shutil.copyfile(bundle_program.__file__, folder / "build.py")
    if remote.calibration is not None:
        request["pictures"] = _IMAGES
        request["calibration_batch"] = calibration_batch(remote.params.batch, sys.maxsize)
        request["cudart"] = _CUDART.name
        shutil.copyfile(_CUDART, folder / _CUDART.name)
        _fetch(session, _pack_images(session, remote, remote.calibration), folder / _IMAGES)
    fixed = {path.name: digest_file(path) for path in sorted(folder.iterdir())}
    if remote.params.library == "tensorrt":
        request["timing_cache"] = TIMINGS
        (folder / TIMINGS).mkdir()
        for path in timing_caches(cache_root() / TIMINGS, remote.params):
            shutil.copyfile(path, folder / TIMINGS / path.name)
    install = how_to_install(remote.params, definitions.tool_env(remote.engine.tool_env).version)
    manifest = {
        "format": bundle_program.FORMAT,
        "buildsys": buildsys.__version__,
        "build": remote.build.id,
        "target": remote.plan.label,
        "install": install,
        "request": request,
        "steps": {
            step.module: dict(zip(("key", "parts"), key_parts(session, step), strict=True))
            for step in remote.remote_steps
        },
        "files": fixed,
    }
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False)
    (folder / bundle_program.BUNDLE).write_text(f"{text}\n", encoding="utf-8")
    readme = BundleReadme(
        build=remote.build.id,
        label=remote.plan.label,
        install=install,
        params=remote.params,
        gpu=request["gpu"],
        shapes=shapes_option(folder / request["onnx"], remote.params.batch),
        files=tuple(sorted(fixed)),
    )
    (folder / _README).write_text(describe(readme), encoding="utf-8")
    return readme.machine


def _pack_images(session: Session, remote: RemoteBuild, calibration: Step) -> Input:
    """Return the calibration images in the device's form, made by a step that belongs to no
    plan.
    """
    given = json.loads(calibration.params)["preprocessing"]
    params = rebuild(pack_calibration.Params, {"preprocessing": given})
    images = next(item for item in calibration.inputs if item.name == "calibration")
    inputs, outputs = {"calibration": images}, {"pictures": False}
    step = make_step("pack", read_step(pack_calibration), params, inputs, outputs)
    step = replace(step, outputs=(Output(name="pictures", tree=False, suffix=".npy"),))
    step = complete_step(step)
    session.executor.include(step, remote.build.id)
    session.executor.run_step(step)
    _demand(session, remote, step)
    return output(step, "pictures")


def _fetch(session: Session, item: Input, target: Path) -> None:
    """Copy a file from its source or from the store. Raises MissingBytes."""
    if item.source is not None:
        shutil.copyfile(item.source.path, target)
        return
    session.state.fetch(item.step, item.output, target)


def find_bundle_folder(named: Path) -> Path:
    """Return the bundle's folder, links followed.

    Raises InputError for other content, CannotWrite.
    """
    target = find_folder(named)
    _refuse_others(target)
    return target


@contextmanager
def _filling(target: Path) -> Iterator[Path]:
    """Yield a new folder for the content; when the block succeeds it replaces `target`.

    An empty folder, or a mount point, stays and is filled. Raises OSError, and InputError where
    something else has come into `target` meanwhile.
    """
    inside = os.path.isdir(target) and (os.path.ismount(target) or is_empty(target))
    place = target if inside else target.parent
    place.mkdir(parents=True, exist_ok=True)
    fresh = fresh_inside(place, "bundle")
    fresh.mkdir()
    try:
        yield fresh
        _refuse_others(target)  # the steps may have taken hours
        if inside:
            _move_into(fresh, target)
        else:
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _refuse_others(target: Path) -> None:
    """Raise InputError unless `target` is absent or a bundle without a result to import.

    It may contain nothing else, unless it is a mount point: other folders are replaced as a whole.
    """
    if not os.path.exists(target) or is_empty(target):
        return
    if not os.path.isfile(target / BUNDLE):
        message, hint = "exists and is not a bundle", "name another folder with --out"
    elif os.path.exists(target / RESULT):
        message = f"an engine was built in it: {RESULT} exists"
        hint = f"`buildsys import {shlex.quote(str(target))}` imports it; or remove it"
    elif not os.path.ismount(target) and (others := _not_bundled(target)):
        message = f"contains files that are not of the bundle: {first_of(others, _MOST_NAMED)}"
        hint = "move them elsewhere, or name another folder with --out"
    else:
        return
    raise InputError.at(str(target), message, hint)


def _not_bundled(target: Path) -> tuple[str, ...]:
    """Return the names of what neither `buildsys bundle` nor build.py has put into a bundle."""
    own = {BUNDLE, _README, TIMINGS, *_WHAT}
    with suppress(OSError, ValueError):  # of another version, which may have other files
        record = parse(dict[str, object], read_regular(target / BUNDLE))
        own |= decode(dict[str, object], record.get("files")).keys()
    return tuple(
        name
        for name in foreign_names(target)
        if name not in own and not name.startswith(_LEFTOVERS)
    )


def _move_into(fresh: Path, target: Path) -> None:
    """Move the content into a folder that stays: bundle.json is removed first and written last."""
    names = sorted((path.name for path in fresh.iterdir()), key=BUNDLE.__eq__)
    for name in reversed(names):
        old = target / name
        if os.path.isdir(old) and not os.path.islink(old):
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
    for name in names:
        (fresh / name).rename(target / name)


def how_to_install(params: Params, locked: str) -> str:
    """Return how to install the library, as part of a sentence.

    `locked`: the exact version of TensorRT-RTX that this project builds with.
    """
    if params.library == "tensorrt-rtx":
        return f"pip install tensorrt-rtx-cu13=={locked}"
    if params.compute_capability in JETSONS:
        return "it comes with JetPack, as the Debian package python3-libnvinfer"
    return (
        f"pip install tensorrt=={params.version}.*, or, if Triton is to serve the engine, the"
        " container nvcr.io/nvidia/tensorrt:YY.MM-py3 of the server's month"
    )


def shapes_option(onnx: Path, batch: Batch) -> str:
    """Return trtexec's option to run the optimum of a dynamic batch, "" for a fixed batch.

    Without it trtexec runs dynamic axes with 1 (https://github.com/NVIDIA/TensorRT/issues/1111);
    for fixed axes it is an error (https://github.com/NVIDIA/TensorRT/issues/2043). Raises InputError
    for the name of an input that no command can contain.
    """
    if not is_open(batch):
        return ""
    edges = read_header(onnx).inputs
    for edge in edges:
        if not edge.name.isprintable():
            message = f"the input {shorten(repr(edge.name))} has control characters in its name"
            raise InputError.at(onnx.name, message, "rename the input of the network")
    shapes = (
        f"{edge.name}:{'x'.join(str(side or batch[1]) for side in edge.shape or ())}"
        for edge in edges
    )
    return f"--shapes={','.join(shapes)}"


def describe(readme: BundleReadme) -> str:
    """Return the README's text."""
    rows = [f"| {code_cell(name)} | {_WHAT.get(name, '')} |" for name in readme.files]
    rows.append("| `bundle.json` | the request, and the keys that the result belongs to |")
    timings = _figures(readme) if readme.params.library == "tensorrt" else ()
    back = f"    buildsys import FOLDER\n    doit build:{readme.build}"
    paragraphs = (
        f"The engine of {code_span(readme.build)} for {markdown(readme.label)} is built on a machine with"
        f" {markdown(readme.machine)}:",
        "    python3 build.py",
        "with Python 3.8 or later and nothing but its standard library and the library that builds"
        f" ({readme.install}). It first checks these files and the machine against `bundle.json`, and"
        " stops with a message if something is missing or differs. It writes a folder"
        " `result`; copy it, or this whole folder, back to the workspace, and run there:",
        back,
        *timings,
        "\n".join(("| File | What it is |", "| --- | --- |", *rows)),
        "Exit codes of build.py: 0 done, 2 the bundle is damaged, 3 this machine cannot build it or"
        " the builder fails, 4 the library is missing, 130 interrupted. `python3 build.py --help` says"
        " what it does, and what it leaves to `doit`.",
    )
    filled = [text if text[0] in " |" else textwrap.fill(text, 100) for text in paragraphs]
    return (
        "\n\n".join((f"# {markdown(readme.build)}, to be built on another machine", *filled)) + "\n"
    )


def _figures(readme: BundleReadme) -> tuple[str, ...]:
    """Return the paragraphs about timings and figures."""
    jetson = readme.params.compute_capability in JETSONS
    where = f"JetPack has trtexec in {_TRTEXEC}." if jetson else _OUTSIDE_JETPACK
    words = ["trtexec", "--loadEngine=result/model.engine", "--exportTimes=result/benchmark.json"]
    command = one_line(shlex.join([*words, readme.shapes] if readme.shapes else words))
    named = (
        " `buildsys import --device NAME` names the device; by default it has the name of the GPU"
    )
    if jetson:
        named += ", which Orin Nano, NX and AGX share"
    best = f" `--shapes` states the batch, {readme.params.batch[1]}." if readme.shapes else ""
    return (
        "Timings that the builder takes are kept in `timing-caches` for the next build, and go back"
        " with the result. So do figures, if this command writes them before:",
        f"    {command}",
        f"{where}{best}{named}.",
    )
