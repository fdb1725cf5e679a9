"""Replaces `local` in a target's `tensorrt` block by what the host has. Pure."""

import dataclasses

from buildsys.authoring.recipes.build import Build
from buildsys.authoring.targets.tensorrt import LOCAL
from buildsys.graph import HostFacts


def needs_gpu_facts(build: Build) -> bool:
    """Return whether a plan depends on the host's GPU and TensorRT; other plans must not query
    them.
    """
    return is_local(build) or (build.tensorrt is not None and build.recipe.benchmark is not None)


def is_local(build: Build) -> bool:
    """Return whether an engine is for the GPU or the TensorRT of the machine that builds it."""
    settings = build.tensorrt
    return settings is not None and LOCAL in (settings.version, settings.compute_capability)


def settle_local(build: Build, host: HostFacts) -> Build:
    """Return the build with `local` replaced by what the host has.

    Without a GPU it stays `local`: the engine waits for a machine with one.
    """
    settings = build.tensorrt
    if settings is None or not is_local(build) or not host.gpu or not host.tensorrt:
        return build
    here = ".".join(host.tensorrt.split(".")[:2])
    capability = settings.compute_capability
    found = dataclasses.replace(
        settings,
        version=here if settings.version == LOCAL else settings.version,
        compute_capability=host.compute_capability if capability == LOCAL else capability,
        gpu=settings.gpu or host.gpu,
    )
    return dataclasses.replace(build, tensorrt=found)
