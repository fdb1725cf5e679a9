"""Runs the core as if on another host: `python other_host.py PLATFORM MACHINE WORKSPACE`.

`PLATFORM` is a value of `sys.platform`. On macOS, functions that only Linux has are removed from
`os` and `time`, and opening a file below /proc or /sys is an error; on other platforms nothing
exists below them. The program imports every module of the core, plans all recipes, runs a process,
and prints what `doctor` and `check` report about the host.
"""

import importlib
import os
import pkgutil
import platform
import select
import sys
import sysconfig
import tempfile
import time
import urllib.request  # noqa: F401 - it asks sys.platform when it is imported, as the next ones do
import zoneinfo  # noqa: F401
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import distributed  # noqa: F401
import doit.doit_cmd  # noqa: F401
import pydantic.fields
import pydantic.json_schema  # noqa: F401
import rich.progress  # noqa: F401
import ruamel.yaml  # noqa: F401

LINUX_ALONE = (
    *("waitid", "P_PID", "P_PGID", "P_ALL", "WNOWAIT", "CLD_EXITED", "fdatasync", "pipe2"),
    *("memfd_create", "eventfd", "pidfd_open", "copy_file_range", "splice", "getrandom", "unshare"),
    *("O_PATH", "O_TMPFILE", "O_DIRECT", "O_NOATIME", "O_LARGEFILE", "O_RSYNC", "setns"),
    *("posix_fadvise", "posix_fallocate", "POSIX_FADV_DONTNEED"),
    *("getxattr", "setxattr", "listxattr", "removexattr", "getresuid", "setresuid"),
)
"""Functions of `os` that macOS, or its Python before 3.13, does not have."""
NO_MODULES = ("buildsys.__main__", "buildsys.engine")
"""Modules that are not imported: a program, and a removed module's error message."""
KERNELS_FILES = ("/proc/", "/sys/")


def pretend(system: str, machine: str) -> None:
    """Make Python report another host for the rest of this process."""
    sysconfig.get_config_vars()  # for the actual Python
    sys.platform = system
    platform.machine = lambda: machine
    platform.processor = _refuse("platform.processor starts a process there")
    if system == "darwin":
        tempfile._O_TMPFILE_WORKS = False  # type: ignore[attr-defined]
        select.kqueue = _Queue  # type: ignore[attr-defined]
        select.kevent = lambda process, *_: SimpleNamespace(process=process)  # type: ignore[attr-defined]
        for name in ("KQ_FILTER_PROC", "KQ_EV_ADD", "KQ_NOTE_EXIT"):
            setattr(select, name, 0)
        for module, names in ((os, LINUX_ALONE), (time, ("CLOCK_BOOTTIME", "CLOCK_TAI"))):
            for name in dir(module):
                if name in names or name.startswith("sched_"):
                    delattr(module, name)
    else:
        platform.processor = lambda: ""
    sys.addaudithook(_watch)


def _refuse(why: str) -> Callable[[], str]:
    def refuse() -> str:
        raise AssertionError(why)

    return refuse


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str | Path):
        if f"{arguments[0]}/".startswith(KERNELS_FILES):
            if sys.platform == "darwin":
                raise AssertionError(f"{event} {arguments[0]}")
            raise FileNotFoundError(arguments[0])
    elif event == "import" and arguments[0] in ("ossaudiodev", "spwd", "nis", "crypt"):
        raise AssertionError(f"import {arguments[0]}")


class _Queue:
    """The used part of kqueue(2): waits for the end of a child without reaping it."""

    _wait = staticmethod(os.waitid)
    _how = os.P_PID, os.WEXITED | os.WNOWAIT

    def control(self, events: list[SimpleNamespace], most: int) -> None:
        which, options = self._how
        self._wait(which, events[0].process, options)

    def close(self) -> None:
        """Do nothing."""


def main() -> None:
    system, machine, root = sys.argv[1:]
    pretend(system, machine)
    import buildsys

    for module in pkgutil.walk_packages(buildsys.__path__, "buildsys."):
        if module.name not in NO_MODULES:
            importlib.import_module(module.name)
    from buildsys.execution.places import Workspace
    from buildsys.execution.session.loading import make_plans
    from buildsys.execution.tools import definitions, uv_commands
    from buildsys.graph import build_plans
    from buildsys.operating_system import next_file_tick_ns
    from buildsys.operations import doctor, host_support

    found = make_plans(Workspace(Path(root)))
    assert not found.errors, [error.render() for error in found.errors]
    done = uv_commands.run_command(["sh", "-c", "echo ran; exit 3"], {})
    assert (done.returncode, done.stdout) == (3, "ran\n")
    assert next_file_tick_ns() > Path(root).stat().st_ctime_ns
    ours = {env.name for env in definitions.all_tool_envs()}
    for check in doctor.examine(Path(root)):
        first = check.text.partition(" ")[0]
        if first in ours or check.text.startswith(("steps are", "Linux", "macOS")):
            print("ok" if check.good else "absent" if check.optional else "MISSING", check.text)
    for sentence in host_support.describe_waiting(build_plans(found.plans)):
        print("check", sentence)


if __name__ == "__main__":
    main()
