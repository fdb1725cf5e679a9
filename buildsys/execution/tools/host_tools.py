"""Tools of the machine that are found and never installed.

A run without work reads the names here: modules that only a search needs are imported there.
"""

from functools import cache

from buildsys.files import stat_text

QEMU = "qemu-system-arm"
LOCAL = "local"
"""In place of a version or a compute capability: this machine's own."""
_FIRST_WITH_CORTEX_M55 = 6
"""QEMU 6.0 introduced the machine mps3-an547 (its changelog)."""
SEARCHED = "/usr/local/bin:/usr/bin:/bin"
"""The search path of steps (process.step_environment)."""
_ANSWER_SECONDS = 20.0
_FIRST_OF_RTX = 8.0
"""Compute capability of the oldest GPU for engines of TensorRT-RTX for "any"."""


def missing_requirement(requires: str) -> str:
    """Return which part of a step's `requires` this machine lacks, in words; empty if it can run.

    `requires`: a program's name, or "tensorrt 10.3 8.7": library, version, compute capability
    ("any" from 8.0 on).
    """
    if " " not in requires:
        return "" if not requires or find_program(requires) else requires
    from buildsys.execution.tools.host_facts import find_library
    from buildsys.steps.lib.tensorrt.engine_program import MODULES, TITLES
    from buildsys.steps.lib.tensorrt.host_library import is_version

    library, version, capability = requires.split(" ")
    host = find_library(MODULES[library])
    fits = bool(host.gpu) and is_version(host.version, version)
    if capability == "any":
        fits = fits and float(host.compute_capability) >= _FIRST_OF_RTX
    elif capability != host.compute_capability:
        fits = False
    here = f"{TITLES[library]} {host.version}" if host.version else f"no {TITLES[library]}"
    found = f" (here: {here}, {host.gpu}, {host.compute_capability})" if host.gpu else ""
    return "" if fits else named(requires) + found


def is_portable(requires: str) -> bool:
    """Return whether a bundle can be carried to a machine that has it: a stated TensorRT, a stated
    GPU.
    """
    library, *versions = requires.split(" ")
    return library == "tensorrt" and LOCAL not in versions


def named(requires: str) -> str:
    """Return a step's `requires` in words: "TensorRT 10.3, compute capability 8.7".

    TensorRT-RTX is part of our environments: only the GPU can be missing.
    """
    if " " not in requires:
        return requires
    library, version, capability = requires.split(" ")
    if LOCAL in (version, capability):
        return "an NVIDIA GPU with TensorRT"
    capability = capability.replace("any", "8.0 or later")
    if library == "tensorrt":
        return f"TensorRT {version}, compute capability {capability}"
    return f"an NVIDIA GPU of compute capability {capability} with TensorRT-RTX {version}"


def find_program(name: str) -> str:
    """Return the version or path of a program that steps require; empty if it is not found."""
    import shutil

    return find_qemu() if name == QEMU else shutil.which(name, path=SEARCHED) or ""


def find_qemu(searched: str = SEARCHED) -> str:
    """Return the version of a qemu-system-arm that emulates a Cortex-M55, such as "7.2.22"; or "".

    `searched`: folders, separated by colons. Each file is queried once per run.
    """
    import shutil

    path = shutil.which(QEMU, path=searched)
    if path is None:
        return ""
    return _ask(path, stat_text(path))


@cache
def _ask(path: str, stat: str) -> str:
    """Return the version; `stat` changes when the file does."""
    import re
    import subprocess

    try:
        done = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_ANSWER_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"version (\d+)(\.\d+)*", done.stdout)
    if done.returncode or found is None or int(found[1]) < _FIRST_WITH_CORTEX_M55:
        return ""
    return found[0].removeprefix("version ")
