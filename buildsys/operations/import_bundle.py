"""`buildsys import`: stores the result of `python3 build.py` in a bundle under the right keys.

A result comes from another machine: names, digests and what it was built for are checked before
anything enters the store. Digests prove that bytes are intact, not who made them: an engine is
taken on trust. Latency figures beside the engine are read as by `buildsys import-benchmark`.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

from buildsys import typed_json
from buildsys.digest import digest_file
from buildsys.errors import BuildsysError, InputError
from buildsys.execution.packages import measurements
from buildsys.execution.packages.measurements import Measurement
from buildsys.execution.places import Workspace, cache_root
from buildsys.execution.session.session import Session
from buildsys.execution.state.reasons import compare
from buildsys.execution.store.action_entry import make_entry
from buildsys.execution.store.archives import unpack
from buildsys.files import read_regular, replacing
from buildsys.graph import Reason, Step, StepResult
from buildsys.operations.bundle import TIMINGS, RemoteBuild, key_parts, timing_caches
from buildsys.operations.engine_facts import EngineFacts, differ, read_facts
from buildsys.operations.import_benchmark import read_benchmark
from buildsys.operations.published_model import Published, read_loads
from buildsys.records import Digest, Seconds
from buildsys.report import stamp
from buildsys.spec import Format
from buildsys.steps.lib.files.foreign import UnreadableModel
from buildsys.steps.lib.files.onnx_header import read_header
from buildsys.steps.lib.tensorrt.bundle_program import BUNDLE, FORMAT, RESULT
from buildsys.steps.lib.tensorrt.engine_program import TITLES
from buildsys.steps.lib.tensorrt.host_library import is_version
from buildsys.write_errors import writing

_RESULT_FILE = "result.json"
_BENCHMARK = "benchmark.json"
_LARGEST_TEXT = 1 << 20
"""Limit of the bytes of bundle.json and similar files: larger than any, small enough to read."""
_FILES = {
    Format.ENGINE: "model.engine",
    "engine-facts": "facts.json",
    Format.CALIBRATION_CACHE: "calibration.cache",
}
"""Names of a step's outputs in a result."""
_TIMING = re.compile(TIMINGS + r"/tensorrt-[0-9.]+-[0-9]+\.[0-9]\.cache")


@dataclass(frozen=True, kw_only=True)
class BundledStep:
    """A step that the device runs: its action key, "" if unknown when it was bundled, and its
    parts.
    """

    key: str
    parts: dict[str, object]


@dataclass(frozen=True, kw_only=True)
class BundleRecord:
    """The content of bundle.json, which `buildsys bundle` writes."""

    format: Literal[1]
    buildsys: str
    build: str
    target: str
    install: str
    request: dict[str, object]
    steps: dict[str, BundledStep]
    """By the step's module."""
    files: dict[str, Digest]


@dataclass(frozen=True, kw_only=True)
class ResultRecord:
    """The content of result.json, which a bundle's build.py writes.

    `bundle`: bundle.json's digest.
    """

    format: Literal[1]
    build: str
    bundle: Digest
    seconds: Seconds
    files: dict[str, Digest]


Record = TypeVar("Record", BundleRecord, ResultRecord)


@dataclass(frozen=True, kw_only=True)
class Result:
    """A result with intact bytes.

    `bundle`: its request; `facts`: of the engine; `benchmark`: measurements beside it, or None.
    """

    folder: Path
    build: str
    seconds: float
    bundle: BundleRecord
    facts: EngineFacts
    files: tuple[str, ...]
    benchmark: Path | None

    @property
    def machine(self) -> str:
        """Return a description of the machine that built it."""
        gpu = f", {self.facts.gpu}" if self.facts.gpu else ""
        library = TITLES.get(self.facts.library, self.facts.library)
        return f"{library} {self.facts.version} on {self.facts.system}{gpu}"


@contextmanager
def opened(path: Path) -> Iterator[Result]:
    """Yield a checked result: from a bundle's folder, the result alone, or an archive of either.

    Raises InputError, and leaves no files behind.
    """
    if os.path.isdir(path):
        yield _read(_find(path, path), path)
        return
    if not os.path.isfile(path):
        raise _refusal(path, "the folder or file does not exist")
    with tempfile.TemporaryDirectory(prefix="buildsys-import-") as place:
        target = Path(place) / "unpacked"
        unpack(path, target, str(path))
        yield _read(_find(target, path), path)


def take_back(session: Session, remote: RemoteBuild, result: Result, path: Path) -> None:
    """Record a result in the store and in this workspace; `path`: its name in messages.

    Raises InputError where the recipes now require something else.
    """
    wanted = {_FILES[output.name] for step in remote.remote_steps for output in step.outputs}
    names = {step.module for step in remote.remote_steps}
    if names != set(result.bundle.steps):
        hint = f"`buildsys bundle {remote.build.id}` makes a new one"
        raise _refusal(path, f"{remote.build.id} is now calibrated in another way", hint)
    missing = sorted(wanted - set(result.files))
    if missing:
        raise _refusal(path, f"{', '.join(missing)} is missing: {_RESULT_FILE} does not name it")
    _check_made_for(remote, result, path)
    for step in remote.remote_steps:
        _check_keys(session, remote, step, result, path)
    _check_tensors(session, remote, result, path)
    for step in remote.local_steps:
        if session.state.result(step.id) is None:
            message = f"{step.stage}, which runs before the engine, has not run here"
            why = "; ".join(map(str, session.state.decide(step).reasons))
            raise BuildsysError(
                f"{remote.build.id}: {message} for the present recipe ({why}); nothing was imported."
                f" `doit build:{remote.build.id}` makes it."
            )
    with writing(f"the engine of {remote.build.id}", session.workspace.state):
        for step in remote.remote_steps:  # calibration first: the engine's key contains its digest
            _record(session, step, result)
        _keep_timings(remote, result)


def _find(folder: Path, path: Path) -> Path:
    """Return the folder with result.json: the given one, the bundle's folder for it, or one level
    below.
    """
    inside = sorted(item for item in folder.iterdir() if os.path.isdir(item))
    tried = [folder, folder / RESULT, *inside, *(item / RESULT for item in inside)]
    for place in tried:
        if os.path.isfile(place / _RESULT_FILE):
            return place
    if any(os.path.isfile(place / BUNDLE) for place in tried):
        message = "is a bundle whose engine was not built yet"
        raise _refusal(path, message, "run `python3 build.py` in it on its target machine")
    raise _refusal(
        path, "does not contain a result of a bundle", "`python3 build.py` of a bundle makes one"
    )


def _read(folder: Path, path: Path) -> Result:
    """Compare every file with its digest, and return the result."""
    record = _read_record(ResultRecord, folder / _RESULT_FILE, path)
    bundle = _read_record(BundleRecord, folder / BUNDLE, path)
    if not {"model.engine", "facts.json"} <= record.files.keys():
        raise _refusal(path, f"{_RESULT_FILE} names no engine")
    for name, digest in {BUNDLE: record.bundle, **record.files}.items():
        _check_file(folder, name, digest, path)
    if bundle.build != record.build:
        raise _refusal(path, f"{BUNDLE} does not belong to the same build as {_RESULT_FILE}")
    return Result(
        folder=folder,
        build=record.build,
        seconds=record.seconds,
        bundle=bundle,
        facts=_read_facts(folder, path),
        files=tuple(sorted(record.files)),
        benchmark=folder / _BENCHMARK if os.path.isfile(folder / _BENCHMARK) else None,
    )


def _read_record(kind: type[Record], file: Path, path: Path) -> Record:
    value = _read_json(file, path)
    found = value.get("format")
    if type(found) is int and found != FORMAT:
        message = f"{file.name} has format {found}, but this buildsys reads {FORMAT}"
        raise _refusal(path, message, "use the same version of buildsys on both machines")
    try:
        return typed_json.decode(kind, value)
    except ValueError as error:
        message = f"{file.name} lacks required values"
        raise _refusal(path, message, "copy it again") from error


def _check_file(folder: Path, name: str, digest: str, path: Path) -> None:
    if name not in {BUNDLE, *_FILES.values()} and not _TIMING.fullmatch(name):
        raise _refusal(
            path, f"{_RESULT_FILE} names a file that does not belong in a result: {name[:80]!r}"
        )
    file = folder / PurePosixPath(name)
    if any(os.path.islink(part) for part in (file, file.parent)) or not os.path.isfile(file):
        raise _refusal(path, f"{name} is missing, or not a regular file", "copy it again")
    if digest_file(file) != digest:
        raise _refusal(path, f"the content of {name} differs from {_RESULT_FILE}", "copy it again")


def _read_json(file: Path, path: Path) -> dict[str, Any]:
    try:
        value = (
            typed_json.read(read_regular(file)) if file.stat().st_size <= _LARGEST_TEXT else None
        )
    except (OSError, ValueError):
        value = None
    if not isinstance(value, dict):
        raise _refusal(path, f"{file.name} is missing or cannot be read", "copy it again")
    return value


def _read_facts(folder: Path, path: Path) -> EngineFacts:
    """Return the facts that packages read, after checking them."""
    try:
        return read_facts(_read_json(folder / "facts.json", path))
    except ValueError as error:
        raise _refusal(path, "facts.json does not describe the engine") from error


def _check_made_for(remote: RemoteBuild, result: Result, path: Path) -> None:
    """Raise InputError unless library, version and GPU match the plan."""
    params, facts = remote.params, result.facts
    found = (facts.library, facts.compute_capability)
    if found == (params.library, params.compute_capability) and is_version(
        facts.version, params.version
    ):
        return
    wanted = f"{TITLES[params.library]} {params.version}"
    gpu = f", compute capability {params.compute_capability}" if params.compute_capability else ""
    here = f", compute capability {facts.compute_capability}" if facts.compute_capability else ""
    message = f"was built by {result.machine}{here}; {remote.build.id} is for {wanted}{gpu}"
    raise _refusal(path, message)


def _check_keys(
    session: Session, remote: RemoteBuild, step: Step, result: Result, path: Path
) -> None:
    """Raise InputError unless recipes, data and code require the same as when it was bundled."""
    bundled, (key, parts) = result.bundle.steps[step.module], key_parts(session, step)
    old, new = dict(bundled.parts), dict(parts)
    for name in [n for n in {*old, *new} if n.startswith("input.")]:
        if name not in new or name == f"input.{Format.CALIBRATION_CACHE}":  # the device made it
            old.pop(name, None), new.pop(name, None)
    if old == new and (bundled.key in ("", key) or not key):
        return
    reasons: tuple[Reason, ...] = compare(step, old, new, session.state.steps, session.state.store)
    what = "; ".join(str(reason) for reason in reasons[:3]) or "its key differs"
    message = f"was bundled from an older state of {remote.build.id}: {what}"
    raise _refusal(path, message, f"`buildsys bundle {remote.build.id}` makes a new one")


def _check_tensors(session: Session, remote: RemoteBuild, result: Result, path: Path) -> None:
    """Raise InputError unless inputs and outputs match the network, where its file is here."""
    item, digest = remote.network, session.state.input_digest(remote.network)
    try:
        if item.source:
            wanted = read_header(Path(item.source.path))
        else:
            with tempfile.TemporaryDirectory(prefix="buildsys-import-") as place:
                session.state.store.fetch(digest or "", Path(place) / "model.onnx", tree=False)
                wanted = read_header(Path(place) / "model.onnx")
    except (OSError, UnreadableModel):
        return
    difference = differ(result.facts.inputs, result.facts.outputs, wanted)
    if difference:
        raise _refusal(path, f"facts.json describes another network: the engine {difference}")


def _record(session: Session, step: Step, result: Result) -> None:
    """Record a step's result as the runner does: bytes, then the action, then this workspace's
    record.
    """
    state, action_key = session.state, session.state.key(step)
    assert action_key is not None
    outputs = tuple(
        (o.name, state.store.put_file(result.folder / _FILES[o.name])) for o in step.outputs
    )
    made = StepResult(outputs=outputs, seconds=result.seconds, passed=True)
    state.store.record(make_entry(step, action_key.key, made, {"built": result.machine}))
    state.finish(step, action_key, made)


def _keep_timings(remote: RemoteBuild, result: Result) -> None:
    """Keep the timing cache; of two for one library and GPU, the larger one, which has more
    timings.
    """
    for path in timing_caches(result.folder / TIMINGS, remote.params):
        target = cache_root() / TIMINGS / path.name
        if f"{TIMINGS}/{path.name}" not in result.files:
            continue
        if os.path.isfile(target) and target.stat().st_size >= path.stat().st_size:
            continue
        with replacing(target) as fresh:
            shutil.copyfile(path, fresh)


def _refusal(path: Path, message: str, hint: str = "") -> InputError:
    text = f"{message}; nothing was imported"
    return InputError.at(str(path), text, hint)


def read_figures(result: Result, remote: RemoteBuild, device: str) -> tuple[Measurement, ...]:
    """Return the figures in benchmark.json, if present. Raises InputError."""
    if result.benchmark is None:
        return ()
    engine = result.folder / "model.engine"
    name = f"{remote.build.id.split('@')[0]}.engine"
    params = remote.params
    facts = {
        "version_compatible": params.version_compatible,
        "batch": params.batch,
        "hardware_compatibility": params.hardware_compatibility,
        "library": result.facts.library,
        "version": result.facts.version,
        "compute_capability": result.facts.compute_capability,
    }
    published = Published(
        build=remote.build.id,
        name=name,
        bytes=engine.stat().st_size,
        sha256=digest_file(engine),
        format="engine",
        loads=read_loads(facts),
    )
    named = device or result.facts.gpu or result.facts.system
    return read_benchmark(str(result.benchmark), named, published).measurements


def keep_figures(
    workspace: Workspace, remote: RemoteBuild, figures: tuple[Measurement, ...]
) -> None:
    """Add the figures to measurements/ID.json."""
    if figures:
        measurements.record(workspace, remote.build.id, figures)
        stamp.forget(workspace)
