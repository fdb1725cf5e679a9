"""Tools that a machine has or has not: found, never installed.

A run without work reads the names here: what only a search needs is imported there.
"""

import os
from functools import cache

QEMU = "qemu-system-arm"
_FIRST_WITH_CORTEX_M55 = 6
"""QEMU 6.0 brought the machine mps3-an547 (its changelog)."""
SEARCHED = "/usr/local/bin:/usr/bin:/bin"
"""The folders that steps see (process.step_environment)."""
_ANSWER_SECONDS = 20.0


def find_program(name: str) -> str:
    """Whether steps find a program that they cannot do without: its version or path, or nothing."""
    import shutil

    return find_qemu() if name == QEMU else shutil.which(name, path=SEARCHED) or ""


def find_qemu(searched: str = SEARCHED) -> str:
    """Version of the qemu-system-arm that can emulate a Cortex-M55, such as "7.2.22"; "" without.

    `searched`: folders, separated by colons. Asked once a run for each file.
    """
    import shutil

    path = shutil.which(QEMU, path=searched)
    if path is None:
        return ""
    state = os.stat(path)
    return _ask(path, state.st_mtime_ns, state.st_size)


@cache
def _ask(path: str, mtime_ns: int, size: int) -> str:
    """The version; `mtime_ns` and `size` only tell one file from its successor."""
    import re
    import subprocess

    try:
        done = subprocess.run(
            [path, "--version"],
            capture_output=True, text=True, check=False, timeout=_ANSWER_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"version (\d+)(\.\d+)*", done.stdout)
    if done.returncode or found is None or int(found[1]) < _FIRST_WITH_CORTEX_M55:
        return ""
    return found[0].removeprefix("version ")
