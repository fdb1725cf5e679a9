"""What decides how much memory a build needs and has, as one digest: `buildsys fit` answers by it."""

import math
from pathlib import Path

from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.model import model_spec
from buildsys.authoring.recipes.pipelines import chosen_scheme
from buildsys.digest import digest_value


def arena_bytes(build: Build) -> int | None:
    """What the firmware has for tensors, bytes; None where its contract names no arena."""
    contract = build.contract
    if contract is None or contract.arena_kib is None:
        return None
    return contract.arena_kib * 1024


def slot_bytes(build: Build) -> int | None:
    """What the flash has for the model, bytes; None where the contract names no slot."""
    slot = build.contract.slot if build.contract is not None else None
    return slot.size if slot is not None else None


def vela_config(build: Build) -> Path | None:
    """Vela's configuration file, where the target brings its own."""
    vela = build.vela
    return build.target_folder / vela.config if vela is not None and vela.config else None


def architecture(build: Build) -> str:
    """The network's name, from the recipe or its checkpoint; empty if neither has one."""
    found = build.checkpoint
    return build.recipe.source.architecture or (found.architecture if found else "")


def fit_key(build: Build, config_digest: str | None) -> str:
    """Digest of everything that need and room depend on, except the size.

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
            "vela": vela,
            "config": config_digest,
            "room": [arena_bytes(build), slot_bytes(build)],
        }
    )[:32]
