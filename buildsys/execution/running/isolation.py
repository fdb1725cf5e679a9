"""Restricts what a step may access, by bubblewrap, or by Landlock with seccomp, or not at all.

A step may read its tool environment, this package, the system and its inputs, and write to its
working folder and its outputs. It has no network, unless it is one of the steps that fetch. A
mechanism counts as available if a trial succeeds. `landlock` is the program for Landlock.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from buildsys.errors import IsolationUnavailable
from buildsys.operating_system import host_title, platform_name

VARIABLE = "BUILDSYS_ISOLATION"
AUTOMATIC, REQUIRED = "auto", "required"
_MOST_SINGLE_FILES = 256
"""The most mounts of inputs: bubblewrap takes a quarter of a second for 500, a second for 1,000."""
_MOST_FOLDERS = 256
_ANSWER_SECONDS = 20.0
_LANDLOCK = str(Path(__file__).with_name("landlock.py"))
_BWRAP = str(Path(__file__).with_name("bwrap.sh"))

_SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/run/opengl-driver",
    "/opt/nvidia",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/group",
    "/etc/fonts",
    "/etc/os-release",
    "/etc/mime.types",
    "/etc/OpenCL",
    "/etc/vulkan",
    "/etc/glvnd",
    "/etc/nv_tegra_release",
)
"""Programs, libraries, and the settings that they read."""
_HARDWARE = ("/sys/devices", "/sys/bus", "/sys/class", "/sys/module", "/sys/firmware/devicetree")
_PROCESS = (
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/loadavg",
    "/proc/uptime",
    "/proc/version",
    "/proc/filesystems",
    "/proc/devices",
    "/proc/modules",
    "/proc/sys",
    "/proc/driver/nvidia",
)
"""The parts of /proc that Landlock leaves readable; bubblewrap mounts one with the step's own
processes.
"""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_SHARED_MEMORY = "/dev/shm"  # noqa: S108
"""Python's locks between processes are files there, as the C library requires; bubblewrap mounts an
empty one.
"""
_GPUS = (
    "/dev/nvidia*",
    "/dev/nvhost*",
    "/dev/nvmap",
    "/dev/nvgpu*",
    "/dev/nvsciipc",
    "/dev/dxg",
    "/dev/dri",
)
_RESOLVING = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/host.conf",
)
"""Files for name resolution and certificates."""


class Mechanism(StrEnum):
    """The mechanism that restricts a step."""

    BUBBLEWRAP = "bubblewrap"
    LANDLOCK = "landlock"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """The mechanism of this run; `gap`: what it does not prevent here, or why there is none."""

    mechanism: Mechanism
    gap: str = ""

    @property
    def text(self) -> str:
        """Return the text for the diary and `doctor`."""
        return f"{self.mechanism} ({self.gap})" if self.gap else str(self.mechanism)


@dataclass(frozen=True, kw_only=True)
class Access:
    """What one step may access beside the system: absolute paths; links are listed with their
    targets.
    """

    programs: tuple[str, ...]
    """Folders of its Python, its tools and this package."""
    readable: tuple[str, ...]
    """Files and folders without programs: inputs, the request, bytecode."""
    writable: tuple[str, ...]
    network: bool


def read_variable() -> str:
    """Return the value of BUILDSYS_ISOLATION. Raises IsolationUnavailable for an unknown one."""
    wanted = os.environ.get(VARIABLE) or AUTOMATIC
    known = (AUTOMATIC, REQUIRED, *Mechanism)
    if wanted not in known:
        raise IsolationUnavailable(f"{VARIABLE}={wanted} is not one of {', '.join(known)}.")
    return wanted


def choose() -> Isolation:
    """Return the mechanism for BUILDSYS_ISOLATION on this machine. Raises IsolationUnavailable."""
    wanted = read_variable()
    if wanted == Mechanism.NONE:
        return Isolation(mechanism=Mechanism.NONE, gap=f"{VARIABLE}=none")
    found = find() if wanted in (AUTOMATIC, REQUIRED) else _find_one(Mechanism(wanted))
    if found.mechanism == Mechanism.NONE and wanted != AUTOMATIC:
        raise IsolationUnavailable(
            f"{VARIABLE}={wanted}, but steps cannot be isolated here: {found.gap}."
        )
    return found


@cache
def find() -> Isolation:
    """Return the best mechanism that works on this machine, tried once per process."""
    reasons = []
    for mechanism in (Mechanism.BUBBLEWRAP, Mechanism.LANDLOCK):
        found = _find_one(mechanism)
        if found.mechanism != Mechanism.NONE:
            return found
        reasons.append(found.gap)
    return Isolation(mechanism=Mechanism.NONE, gap="; ".join(dict.fromkeys(reasons)))


@cache
def _find_one(mechanism: Mechanism) -> Isolation:
    if sys.platform != "linux":
        return _none(f"no mechanism of {host_title(platform_name())} is supported")
    from buildsys.execution.running import landlock

    if not landlock.seccomp_filter(network=False, mounted=False):
        return _none(f"the system calls of {os.uname().machine} are unknown")
    return _find_bubblewrap() if mechanism == Mechanism.BUBBLEWRAP else _find_landlock()


def _find_bubblewrap() -> Isolation:
    if shutil.which("bwrap") is None:
        return _none("bubblewrap is not installed (`bwrap`)")
    problem = _try(("bwrap", *_namespaces(network=False), *_mounts(())))
    if problem:
        return _none(f"bubblewrap does not work: {problem}")
    return Isolation(mechanism=Mechanism.BUBBLEWRAP)


def _find_landlock() -> Isolation:
    from buildsys.execution.running import landlock

    abi = landlock.landlock_abi()
    if abi < landlock.FIRST_ABI:
        older = (
            f"version {abi}; {landlock.FIRST_ABI} is needed"
            if abi
            else "the kernel does not support it"
        )
        return _none(f"Landlock does not work: {older}")
    problem = _try((*_by_landlock(os.devnull), "/bin/true"))
    # with an empty policy nothing may run: a working Landlock gives that error
    if "Permission denied" not in problem:
        return _none(f"Landlock does not work: {problem or 'it blocks nothing'}")
    gap = f"{_SHARED_MEMORY} is shared with other programs"
    if abi < landlock.SIGNALS_ABI:
        gap += "; signals to them are not blocked"
    return Isolation(mechanism=Mechanism.LANDLOCK, gap=gap)


def _none(gap: str) -> Isolation:
    return Isolation(mechanism=Mechanism.NONE, gap=gap)


def _try(command: tuple[str, ...]) -> str:
    """Return why a command that isolates failed; empty if it worked."""
    full = command if command[-1] == "/bin/true" else (*command, "--", "/bin/true")
    try:
        done = subprocess.run(
            full,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_ANSWER_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    return last[0].removeprefix("bwrap: ") if done.returncode else ""


def isolate(
    isolation: Isolation, arguments: tuple[str, ...], access: Access, folder: Path, notes: Path
) -> tuple[str, ...]:
    """Return a command that runs `arguments` in `folder` with `access` and nothing else.

    `notes`: the folder for the policy; a step must not be able to write there.
    """
    from buildsys.execution.running import landlock

    if isolation.mechanism == Mechanism.NONE:
        return arguments
    policy = notes / "access.policy"
    _write(policy, "\0".join(_policy(access)))
    confined = (*_by_landlock(str(policy)), *arguments)
    if isolation.mechanism == Mechanism.LANDLOCK:
        return confined
    options = [*_namespaces(access.network), *_mounts(access.programs)]
    readable, narrowed = access.readable, False
    if len(readable) > _MOST_SINGLE_FILES:
        readable, narrowed = joined_folders(readable), landlock.landlock_abi() >= landlock.FIRST_ABI
        if narrowed:
            own = (*python_folders(Path(sys.executable)), _LANDLOCK, str(policy))
            options += _pairs("--ro-bind-try", own)
    options += _pairs("--ro-bind-try", sorted(readable, key=_depth))
    if access.network:
        options += _pairs("--ro-bind-try", _RESOLVING)
    options += _pairs("--dev-bind-try", _gpus())
    options += _pairs("--bind", sorted(access.writable, key=_depth))
    options += ["--remount-ro", "/", "--chdir", str(folder)]
    _write(notes / "bwrap.args", "\0".join(options))
    (notes / "bwrap.filter").write_bytes(landlock.seccomp_filter(access.network, mounted=True))
    files = (str(notes / "bwrap.args"), str(notes / "bwrap.filter"))
    return (
        "/bin/sh",
        _BWRAP,
        shutil.which("bwrap") or "bwrap",
        *files,
        *(confined if narrowed else arguments),
    )


def end_code(isolation: Isolation, code: int) -> int:
    """Return the exit code of the isolated process; minus the number of a signal that ended it.

    bubblewrap reports a signal as a shell does: as 128 plus its number.
    """
    through = isolation.mechanism == Mechanism.BUBBLEWRAP and 128 < code < 128 + 65
    return 128 - code if through else code


@cache
def python_folders(python: Path) -> tuple[str, ...]:
    """Return the folders that an interpreter needs: its environment's, and those that it links to.

    Looked up once per process.
    """
    found = [str(python.parent.parent)]
    for entry in (python, *sorted(python.parent.glob("python*"))):
        place = entry
        for _ in range(40):  # Linux follows as many links
            if not place.is_symlink():
                break
            place = Path(os.path.normpath(place.parent / os.readlink(place)))
            found.append(str(place.parent.parent))
        found.append(str(Path(os.path.realpath(place)).parent.parent))
    return tuple(dict.fromkeys(path for path in found if path != "/"))


def link_targets(folder: Path) -> Iterator[str]:
    """Yield the targets of the links below a folder of inputs."""
    pending = [str(folder)]
    while pending:
        place = pending.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_symlink():
                    target = os.readlink(entry.path)
                    if not target.startswith("/") or "/." in target:
                        target = os.path.normpath(os.path.join(place, target))
                    yield target
                elif entry.is_dir():
                    pending.append(entry.path)


def _by_landlock(policy: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-B", _LANDLOCK, policy)


def _policy(access: Access) -> Iterator[str]:
    from buildsys.execution.running import landlock

    if access.network:
        yield landlock.NETWORK
    for path in (*_SYSTEM, *access.programs):
        yield landlock.PROGRAMS + path
    more = _RESOLVING if access.network else ()
    for path in (*_HARDWARE, *_PROCESS, *access.readable, *more):
        yield landlock.READ + path
    for path in (*_DEVICES, *_gpus()):
        yield landlock.DEVICE + path
    yield landlock.SHARED + _SHARED_MEMORY
    for path in access.writable:
        yield landlock.WRITE + path


def _namespaces(network: bool) -> list[str]:
    options = ["--unshare-all", "--die-with-parent", "--hostname", "step"]
    if network:
        options += ["--share-net"]
    if os.geteuid() == 0:  # of root's rights, only reading other users' files
        options += ["--cap-drop", "ALL", "--cap-add", "CAP_DAC_OVERRIDE"]
    return options


def _mounts(programs: tuple[str, ...]) -> list[str]:
    options = _pairs("--ro-bind-try", (*_SYSTEM, *_HARDWARE))
    # read-only: a kernel setting accepts root's number in a user namespace, too
    options += ["--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev"]
    return options + _pairs("--ro-bind-try", sorted(programs, key=_depth))


def _pairs(option: str, paths: "tuple[str, ...] | list[str]") -> list[str]:
    return [part for path in paths for part in (option, path, path)]


def _gpus() -> tuple[str, ...]:
    import glob

    return tuple(path for pattern in _GPUS for path in sorted(glob.glob(pattern)))


def joined_folders(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Join folders with many files until there are few enough for bubblewrap to mount."""
    found = {path if os.path.isdir(path) else os.path.dirname(path) for path in paths}
    while len(found) > _MOST_FOLDERS:
        deepest = max(map(_depth, found))
        found = {os.path.dirname(path) if _depth(path) == deepest else path for path in found}
    return tuple(found)


def _depth(path: str) -> int:
    return path.count("/")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
