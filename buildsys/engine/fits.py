"""The largest input size that is known to fit, kept in .buildsys/fit.json, and what to say of it.

The record goes by what decides the need and the room (network, head, quantization, compiler,
firmware), not by weights, pictures or names: it serves every build that is alike.
"""

import contextlib
import json
import math
import os
from dataclasses import asdict
from typing import Any

from buildsys.authoring.build import Build
from buildsys.authoring.model import model_spec
from buildsys.authoring.pipelines import chosen_scheme
from buildsys.digest import digest_file, digest_value
from buildsys.engine.places import Workspace
from buildsys.steps._memory import estimate_size


def known_fit(workspace: Workspace, build: Build) -> int | None:
    """The larger side, in pixels, of the largest input that was seen to fit; None where nobody
    asked, or nothing fits.
    """
    side = _read(workspace).get(_key(build), {}).get("side")
    return side if isinstance(side, int) else None


def advise(workspace: Workspace, build: Build, need_bytes: float, has_bytes: float) -> str:
    """What a build that needs too much may be told, as half a sentence: the size that is known to
    fit, else an estimate that says it is one; empty where there is no size to speak of.
    """
    known = known_fit(workspace, build)
    if known is not None:
        return f"{known} px fits (by `buildsys fit {build.id}`)"
    if build.recipe.input is None:
        return ""
    side = estimate_size(max(build.recipe.input.size), need_bytes, has_bytes)
    if not side:
        return f"by an estimate no size fits; `buildsys fit {build.id}` tries"
    return f"{side} px may fit, by an estimate; `buildsys fit {build.id}` finds out"


def remember_fit(workspace: Workspace, build: Build, record: dict[str, Any]) -> None:
    """Keep what `buildsys fit` found: `side` (or None), `proven`, `tried`. A full disk loses it."""
    known = _read(workspace) | {_key(build): {"build": build.id, **record}}
    path = workspace.state / "fit.json"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        temporary.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(path)
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)


def arena_bytes(build: Build) -> int | None:
    """What the firmware has for tensors, bytes; None where its contract names no arena."""
    contract = build.contract
    if contract is None or contract.arena_kib is None:
        return None
    return contract.arena_kib * 1024


def slot_bytes(build: Build) -> int | None:
    """What the flash has for the model, bytes; None where the contract names no slot."""
    slot = getattr(build.contract, "slot", None)
    size = getattr(slot, "size", None)
    return size if isinstance(size, int) else None


def _key(build: Build) -> str:
    """Digest of everything that need and room depend on, except the size."""
    model, vela = model_spec(build), build.vela
    frame = model.preprocessing
    shape = (frame.height, frame.width) if frame else (1, 1)
    common = math.gcd(*shape)
    config = build.target_folder / vela.config if vela is not None and vela.config else None
    scheme = chosen_scheme(build.target, build.recipe)
    return digest_value(
        {
            "network": [model.family, model.task, _architecture(build), len(model.classes),
                        model.keypoints, model.keypoint_dims, model.head],
            "shape": [side // common for side in shape],
            "quantization": asdict(model.quantization),
            "export": asdict(build.export) if build.export is not None else None,
            "converter": build.recipe.convert.tool,
            "pipeline": list(build.target.pipelines[scheme]),
            "vela": asdict(vela) if vela is not None else None,
            "config": digest_file(config) if config is not None and config.is_file() else None,
            "room": [arena_bytes(build), slot_bytes(build)],
        }
    )[:32]  # fmt: skip


def _architecture(build: Build) -> str:
    found = build.checkpoint
    return build.recipe.source.architecture or (found.architecture if found else "")


def _read(workspace: Workspace) -> dict[str, Any]:
    """Everything that is known; nothing where the file is absent or damaged."""
    try:
        data = json.loads((workspace.state / "fit.json").read_bytes())
    except (OSError, ValueError):
        return {}
    rows = data.items() if isinstance(data, dict) else ()
    return {key: row for key, row in rows if isinstance(row, dict)}
