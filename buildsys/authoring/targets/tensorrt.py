"""Checks a target's `tensorrt` block for mistakes that no single value shows."""

import re
from collections.abc import Mapping

from buildsys.authoring.syntax.validation import Locate
from buildsys.authoring.syntax.values import Scheme
from buildsys.errors import Diagnostic
from buildsys.registry import versions
from buildsys.steps import build_engine

LOCAL = "local"
"""In place of a version or compute capability: that of the planning machine."""
_MOST_GIB = 1024
_OLDEST = (8, 6)
"""TensorRT 8.6: the first with version and hardware compatibility (its release notes)."""
_FIRST_WITH_SAME = (10, 9)
"""The first TensorRT with `same-compute-capability` (its release notes)."""
_NOT_FOR_JETPACK = ((11, 0), (11, 3))
"""The first and the last TensorRT that do not support JetPack; 11.4.1 does, from JetPack 7.2.2 on
(https://docs.nvidia.com/deeplearning/tensorrt/11.4.1/api/migration/tensorrt-10x-to-11x-jetson.html)."""
_ON_JETPACK = {
    "8.7": 'JetPack 6.2 has "10.3", JetPack 7.2 has "10.16"',
    "11.0": 'JetPack 7.2 has "10.16"',
}
"""TensorRT's versions on JetPack, by compute capability."""
_CAPABILITIES = (
    "7.5",
    "8.0",
    "8.6",
    "8.7",
    "8.8",
    "8.9",
    "9.0",
    "10.0",
    "10.1",
    "10.3",
    "11.0",
    "12.0",
    "12.1",
)
"""Compute capabilities of GPUs that TensorRT builds for, from Turing on
(https://docs.nvidia.com/deeplearning/tensorrt/latest/getting-started/support-matrix.html, and
https://developer.nvidia.com/cuda-gpus).
"""
_OLD_CAPABILITIES = (
    ("5.0", (8, 6)),
    ("5.2", (8, 6)),
    ("5.3", (8, 6)),
    ("6.0", (9, 3)),
    ("6.1", (9, 3)),
    ("6.2", (9, 3)),
    ("7.0", (10, 4)),
    ("7.2", (10, 4)),
)
"""Older GPUs, and the last TensorRT for them: release notes of 8.5.2 (9.0 drops Maxwell) and 10.5.0
(Volta is dropped); the support matrix of 10.1 begins with 7.0.
"""
_RTX_HAS_NOT = ("optimization_level", "version_compatible", "hardware_compatibility", "int8")


def check_tensorrt(settings: build_engine.Settings, locate: Locate) -> list[Diagnostic]:
    """Check versions, GPUs, workspace, and settings that exclude each other."""
    rtx = settings.library == "tensorrt-rtx"
    problems = (_check_rtx if rtx else _check_host)(settings, locate)
    if not 1 <= settings.workspace_gib <= _MOST_GIB:
        message = f"`workspace_gib` must be from 1 to {_MOST_GIB}, not {settings.workspace_gib}"
        problems.append(locate(("tensorrt", "workspace_gib"), message))
    level = settings.optimization_level
    if not rtx and level is not None and not 0 <= level <= 5:
        message = f"`optimization_level` must be from 0 to 5, not {level}"
        problems.append(locate(("tensorrt", "optimization_level"), message))
    return problems


def _check_rtx(settings: build_engine.Settings, locate: Locate) -> list[Diagnostic]:
    problems = []
    known = versions(settings.library)
    if settings.version not in known:
        message = f"there is no environment for {settings.library} {settings.version}"
        problems.append(locate(("tensorrt", "version"), message, "there are: " + ", ".join(known)))
    capability = settings.compute_capability
    capabilities = build_engine.CAPABILITIES
    if capability is not None and capability not in capabilities:
        message = f"{settings.library} does not support GPUs of compute capability {capability}"
        hint = "there are: " + ", ".join(capabilities)
        problems.append(locate(("tensorrt", "compute_capability"), message, hint))
    defaults = build_engine.Settings(version=settings.version)
    for name in _RTX_HAS_NOT:
        if vars(settings)[name] != vars(defaults)[name]:
            message = f"`{name}` is a setting of TensorRT; TensorRT-RTX does not have it"
            problems.append(locate(("tensorrt", name), message, "remove it"))
    return problems


def _check_host(settings: build_engine.Settings, locate: Locate) -> list[Diagnostic]:
    problems = []
    if not _is_version(settings.version):
        message = f"`version` {settings.version} is not a TensorRT version"
        hint = 'write two numbers in quotes, such as "10.3" (8.6 or later); or local, for the one on this machine'
        problems.append(locate(("tensorrt", "version"), message, hint))
    capability = settings.compute_capability
    if capability is None:
        message = "`compute_capability` is missing: a TensorRT engine runs on one kind of GPU"
        hint = 'for example "8.7" (Jetson Orin), or local'
        problems.append(locate(("tensorrt",), message, hint, key=True))
    elif capability not in (LOCAL, *_CAPABILITIES, *dict(_OLD_CAPABILITIES)):
        message = f"TensorRT does not support GPUs of compute capability {capability}"
        hint = "there are: " + ", ".join(_CAPABILITIES)
        problems.append(locate(("tensorrt", "compute_capability"), message, hint))
    return problems or _check_together(settings, locate)


def _check_together(settings: build_engine.Settings, locate: Locate) -> list[Diagnostic]:
    """Check settings that are valid alone, but not together."""
    version, capability, problems = settings.version, settings.compute_capability, []
    level = settings.hardware_compatibility
    last = dict(_OLD_CAPABILITIES).get(capability or "")
    if last is not None and version != LOCAL and _parts(version) > last:
        message = f"TensorRT {version} no longer supports GPUs of compute capability {capability}"
        hint = f"the last version that does is {last[0]}.{last[1]}; or use one of " + ", ".join(
            _CAPABILITIES
        )
        problems.append(locate(("tensorrt", "compute_capability"), message, hint))
    newest = build_engine.WEAKLY_TYPED_UNTIL
    if settings.int8 == "calibrator" and version != LOCAL and _parts(version)[0] > newest:
        message = f"TensorRT {version} has no calibrator: the ONNX file must be quantized"
        problems.append(locate(("tensorrt", "int8"), message, "write `int8: qdq`, or remove it"))
    jetson = capability in build_engine.JETSONS
    if level != "none" and jetson:
        message = "engines of JetPack are not hardware-compatible"
        problems.append(locate(("tensorrt", "hardware_compatibility"), message, "remove it"))
    named = capability is not None and capability != LOCAL and not jetson
    early = version != LOCAL and _parts(version) < _FIRST_WITH_SAME
    if level == "same-compute-capability" and early and not jetson:
        message = f"TensorRT {version} has no `same-compute-capability`"
        hint = "10.9 is the first version that has it; write `ampere-plus`, or remove it"
        problems.append(locate(("tensorrt", "hardware_compatibility"), message, hint))
    if level == "ampere-plus" and named and float(capability or 0) < 8:
        message = f"`ampere-plus` needs compute capability 8.0 or later, not {capability}"
        hint = "write `same-compute-capability`, or remove it"
        problems.append(locate(("tensorrt", "hardware_compatibility"), message, hint))
    first, last_one = _NOT_FOR_JETPACK
    if jetson and version != LOCAL and first <= _parts(version) <= last_one:
        message = f"TensorRT {version} does not support JetPack"
        hint = _ON_JETPACK[capability or ""]
        problems.append(locate(("tensorrt", "version"), message, hint))
    return problems


def check_precision(
    settings: build_engine.Settings, pipelines: Mapping[Scheme, tuple[str, ...]], locate: Locate
) -> list[Diagnostic]:
    """Check pipelines that set the precision by flags, which this version does not have."""
    problems: list[Diagnostic] = []
    flags = settings.library == "tensorrt" and settings.version != LOCAL
    if flags and _parts(settings.version)[0] <= build_engine.WEAKLY_TYPED_UNTIL:
        return problems
    for scheme, names in pipelines.items():
        if scheme != "float32" and names[0] == "build_engine":
            title = "TensorRT" if settings.library == "tensorrt" else "TensorRT-RTX"
            message = f"{title} {settings.version} builds {scheme} only from a file that is {scheme} already"
            hint = "write quantize_onnx before build_engine"
            problems.append(locate(("pipelines", scheme, 0), message, hint))
    return problems


def _is_version(text: str) -> bool:
    return text == LOCAL or bool(
        re.fullmatch(r"[1-9][0-9]?\.[0-9]{1,2}", text) and _parts(text) >= _OLDEST
    )


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
