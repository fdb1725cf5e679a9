"""Finds the model file that a build has published, and what loads it, from its manifest."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from buildsys import typed_json
from buildsys.errors import InputError
from buildsys.execution.packages.model_file import Model, digest_model, find_model
from buildsys.execution.places import Workspace
from buildsys.execution.session.loading import make_plans
from buildsys.execution.state.manifests import load_manifest, read_manifest
from buildsys.execution.tools.host_tools import missing_requirement
from buildsys.files import read_regular
from buildsys.graph import BuildPlan, Plan, SelectionPlan, WaitingPlan
from buildsys.records import is_digest
from buildsys.text import did_you_mean
from buildsys.typed_json import Mismatch, decode

_FOR_ARM_LINUX = "package_linux"


@dataclass(frozen=True, kw_only=True)
class Loads:
    """The library, version and GPU that load an engine.

    `newer`: newer versions, too; `capability`: empty for any from 8.0 on; `batch`: (least, most)
    images.
    """

    library: str
    version: str
    newer: bool
    capability: str
    batch: tuple[int, int]


def read_loads(facts: Mapping[str, object]) -> Loads | None:
    """Return what loads an engine, from the facts in engine.json; None if they are incomplete."""
    try:
        least, _, most = decode(tuple[int, int, int], facts["batch"])
        everywhere = facts["hardware_compatibility"] == "ampere-plus"
        return Loads(
            library=str(facts["library"]),
            version=str(facts["version"]),
            newer=bool(facts["version_compatible"]),
            batch=(least, most),
            capability="" if everywhere else str(facts["compute_capability"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


@dataclass(frozen=True, kw_only=True)
class Published:
    """The file that a build ships, or, by its digest only, one that it shipped earlier.

    `bytes` and `loads` are unknown (None) for an earlier file.
    """

    build: str
    name: str
    bytes: int | None
    sha256: str
    format: str
    loads: Loads | None = None


def find_published(workspace: Workspace, build: str, sha256: str = "") -> Published:
    """Return the published file by the build's manifest; with `sha256`, an earlier file of that
    name.

    Raises InputError.
    """
    published = _ids(workspace)
    if build not in published:
        message = "is not published: there is no file to measure"
        hint = (
            did_you_mean(build, published)
            if published
            else "no build is published; build one first"
        )
        plan = next((p for p in make_plans(workspace).plans if p.build == build), None)
        if plan is not None:
            message, hint = _unpublished(plan)
        raise InputError.at(build, message, hint)
    folder = workspace.package(build)
    model = _shipped(folder, build)
    name, kind = model.name, model.format
    if sha256 in ("", model.sha256):
        _check_intact(folder / name, build, model.sha256)
        return Published(
            build=build,
            name=name,
            bytes=model.bytes,
            sha256=model.sha256,
            format=kind,
            loads=_loads(folder),
        )
    if not is_digest(sha256):
        message, hint = "a sha256 has 64 hexadecimal digits", "give the digest of the file that ran"
        raise InputError.at(f"--sha256 {sha256}", message, hint)
    return Published(build=build, name=name, bytes=None, sha256=sha256, format=kind)


def _unpublished(plan: Plan) -> tuple[str, str]:
    """Return why a build of the recipes has no folder, and what to do."""
    waiting = _missing(plan)
    if waiting:
        hint = f"`buildsys plan {plan.build}` shows what it needs"
        return f"waits for {waiting}: there is no file to measure yet", hint
    return "is not built yet: there is no file to measure", f"doit build:{plan.build}"


def _missing(plan: Plan) -> str:
    """Return what a build waits for, according to its plan."""
    match plan:
        case WaitingPlan():
            return plan.waiting_for
        case SelectionPlan():
            return ""
        case BuildPlan():
            own = (step for step in plan.steps if step.id not in plan.proofs)
            return next(filter(None, (missing_requirement(step.requires) for step in own)), "")
        case _:
            assert_never(plan)


def find_arm_board(workspace: Workspace, build: str) -> str:
    """Return the label of the ARM board that a published build was packed for.

    Returns an empty text otherwise.
    """
    manifest = read_manifest(workspace.package(build))
    packed = manifest and any(step.module == _FOR_ARM_LINUX for step in manifest.steps)
    return manifest.target.label if manifest and packed else ""


def _ids(workspace: Workspace) -> list[str]:
    """Return every build that has a folder."""
    found = sorted(workspace.build.glob("[!.]*/[!.]*/manifest.json"))
    return [f"{path.parent.parent.name}@{path.parent.name}" for path in found]


def _shipped(folder: Path, build: str) -> Model:
    """Return the model that the manifest lists."""
    hint = f"doit build:{build} makes it again"
    try:
        manifest = load_manifest(folder)
    except OSError as error:
        message = f"its manifest.json cannot be read: {error.strerror}"
        raise InputError.at(build, message, hint) from error
    except ValueError as error:
        why = error.text if isinstance(error, Mismatch) else str(error)
        raise InputError.at(build, f"its manifest.json is damaged: {why}", hint) from error
    model = find_model(manifest.sizes)
    if model is None:
        raise InputError.at(build, "its manifest names no model file", hint)
    return model


def _loads(folder: Path) -> Loads | None:
    """Return which versions and GPUs load a package's engine; None without a readable engine.json."""
    try:
        facts = typed_json.read(read_regular(folder / "engine.json"))
    except (OSError, ValueError):
        return None
    return read_loads(facts) if isinstance(facts, dict) else None


def _check_intact(path: Path, build: str, digest: str) -> None:
    try:
        found = digest_model(path)
    except OSError as error:
        message = f"{path.name} cannot be read: {error.strerror}"
        raise InputError.at(build, message, f"doit build:{build}") from error
    if found != digest:
        message = f"{path.name} is not the file that its manifest names: it was changed by hand"
        raise InputError.at(build, message, f"doit build:{build}")
