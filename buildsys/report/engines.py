"""Describes a build's engine from its plan or, without a plan, from its manifest."""

import contextlib
import json
from dataclasses import dataclass
from typing import Any

from buildsys.errors import BuildsysError
from buildsys.execution.session.session import Session
from buildsys.execution.state.manifests import Manifest
from buildsys.graph import BuildPlan
from buildsys.steps.lib.report.values import EngineFacts

_BUILDS, _PACKS = "build_engine", "package_engine"
_TAKES_FLOAT = ("quantize_onnx", _BUILDS)
_SOURCES = ("quantized-onnx", "onnx")
STAGE = "evaluate-engine"
"""Proofs whose evidence is the accuracy of the engine itself."""


@dataclass(frozen=True)
class _Line:
    """A step; `inputs`: name -> digest, empty if it is not made yet."""

    module: str
    params: dict[str, Any]
    inputs: dict[str, str]


def read_engine(
    session: Session, plan: BuildPlan | None, manifest: Manifest | None
) -> EngineFacts | None:
    """Return facts about the engine.

    Returns None if the build makes none, or its steps have another form.
    """
    try:
        lines = _planned(session, plan) if plan else _published(manifest)
        return _facts(session, lines)
    except (KeyError, TypeError, ValueError, AttributeError, OSError):
        return None


def _planned(session: Session, plan: BuildPlan) -> list[_Line]:
    lines = []
    for step in plan.steps:
        digests: dict[str, str] = {}
        for item in step.inputs:
            digests[item.name] = ""
            with contextlib.suppress(BuildsysError):  # a source that cannot be read
                digests[item.name] = session.state.input_digest(item) or ""
        lines.append(_Line(step.module, json.loads(step.params), digests))
    return lines


def _published(manifest: Manifest | None) -> list[_Line]:
    steps = manifest.steps if manifest is not None else ()
    return [_Line(step.module, step.params, step.inputs) for step in steps]


def _facts(session: Session, lines: list[_Line]) -> EngineFacts | None:
    found = {line.module: line for line in lines}
    if not {_BUILDS, _PACKS} <= found.keys():
        return None
    built, packed = found[_BUILDS], found[_PACKS].params
    packed = packed.get("network") or packed
    frame = packed.get("preprocessing") or {}
    source = next((built.inputs[name] for name in _SOURCES if name in built.inputs), "")
    float_one = (
        line.inputs["onnx"]
        for line in lines
        if line.module in _TAKES_FLOAT and "onnx" in line.inputs
    )
    return EngineFacts(
        library=str(built.params["library"]),
        version=str(built.params["version"]),
        compute_capability=str(built.params.get("compute_capability") or ""),
        task=str(packed["task"]),
        scheme=str(packed["scheme"]),
        batch=tuple(map(int, built.params.get("batch") or packed.get("batch") or (1, 1, 1))),
        height=int(frame.get("height") or 0),
        width=int(frame.get("width") or 0),
        network=next(float_one, ""),
        source_bytes=_size(session, source),
        lowered=packed["scheme"] != "float32" and _SOURCES[0] not in built.inputs,
    )


def _size(session: Session, digest: str) -> int:
    return session.state.store.size(digest) or 0
