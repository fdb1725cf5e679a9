"""The digest of what decides how much memory a build needs and has: the key of `buildsys fit`."""

import math
from pathlib import Path

from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.model import model_spec
from buildsys.authoring.recipes.pipelines import chosen_scheme
from buildsys.digest import digest_value

_VELA_NEED = "the larger of SRAM and DRAM"
"""The rule by which the need is read from Vela's figures, see `planned_arena`: a change of the rule
changes this text, and what was found by the old one is not used."""


def arena_bytes(build: Build) -> int | None:
    """Return the bytes that the firmware has for tensors; None if its contract names no arena."""
    contract = build.contract
    if contract is None or contract.arena_kib is None:
        return None
    return contract.arena_kib * 1024


def slot_bytes(build: Build) -> int | None:
    """Return the bytes that the flash has for the model; None if the contract names no slot."""
    slot = build.contract.slot if build.contract is not None else None
    return slot.size if slot is not None else None


def vela_config(build: Build) -> Path | None:
    """Return Vela's configuration file, if the target has its own."""
    vela = build.vela
    return build.target_folder / vela.config if vela is not None and vela.config else None


def architecture(build: Build) -> str:
    """Return the network's name from the recipe or its checkpoint; empty if neither has one."""
    found = build.checkpoint
    return build.recipe.source.architecture or (found.architecture if found else "")


def fit_key(build: Build, config_digest: str | None) -> str:
    """Return the digest of everything that need and room depend on, except the size.

    `config_digest`: of `vela_config`; None where the file does not exist.
    """
    model, vela = model_spec(build), build.vela
    frame = model.preprocessing
    shape = (frame.height, frame.width) if frame else (1, 1)
    common = math.gcd(*shape)
    scheme = chosen_scheme(build.target, build.recipe)
    return digest_value(
        {
            "network": [
                model.family,
                model.task,
                architecture(build),
                len(model.classes),
                model.keypoints,
                model.keypoint_dims,
                model.head,
            ],
            "shape": [side // common for side in shape],
            "quantization": model.quantization,
            "export": build.export,
            "converter": build.recipe.convert.tool,
            "pipeline": list(build.target.pipelines[scheme]),
            "vela": [vela, _VELA_NEED] if vela is not None else None,
            "config": config_digest,
            "room": [arena_bytes(build), slot_bytes(build)],
        }
    )[:32]
