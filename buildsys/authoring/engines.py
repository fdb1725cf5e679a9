"""What only this installation can say of a target's `tensorrt` block."""

from typing import Any

from buildsys.authoring.registry import step_module, versions
from buildsys.authoring.validation import Locate
from buildsys.errors import Diagnostic

_MOST_GIB = 1024


def check_tensorrt(settings: Any, locate: Locate) -> list[Diagnostic]:
    """Versions without an environment, GPUs that the library does not build for, no workspace."""
    problems = []
    known = versions(settings.library)
    if settings.version not in known:
        message = f"there is no environment for {settings.library} {settings.version}"
        problems.append(locate(("tensorrt", "version"), message, "there are: " + ", ".join(known)))
    capability = settings.compute_capability
    capabilities = step_module("build_engine").CAPABILITIES
    if capability is not None and capability not in capabilities:
        message = f"{settings.library} builds for no GPU of compute capability {capability}"
        hint = "there are: " + ", ".join(capabilities)
        problems.append(locate(("tensorrt", "compute_capability"), message, hint))
    if not 1 <= settings.workspace_gib <= _MOST_GIB:
        message = f"`workspace_gib` is from 1 to {_MOST_GIB}, not {settings.workspace_gib}"
        problems.append(locate(("tensorrt", "workspace_gib"), message))
    return problems
