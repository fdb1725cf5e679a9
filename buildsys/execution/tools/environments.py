"""Makes tool environments: lock -> synced environment -> interpreter.

An environment is a folder in the user's cache, named by its lock's digest, made by uv from hashed
pins, and made again if one of its files has changed. A marker file is written last: a folder
without it is removed.
"""

import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from buildsys.errors import ToolUnavailable
from buildsys.execution.places import cache_root
from buildsys.execution.tools import bytecode, environment_record
from buildsys.execution.tools.definitions import (
    MARKER,
    ToolEnv,
    find_synced,
    folder,
    missing_package,
    preferred_variants,
    tool_env,
    written,
)
from buildsys.execution.tools.uv_commands import Run, find_uv, uv_settings
from buildsys.execution.tools.watching import watched
from buildsys.locks import locked
from buildsys.operating_system import TRIED, platform_name
from buildsys.write_errors import writing

_LINE_EVERY_SECONDS = 15.0

_seen: set[Path] = set()
"""Interpreters whose environments this process has checked."""


def ensure(
    name: str, print_line: Callable[[str], None], run: Run | None = None
) -> tuple[str, Path]:
    """Return (variant, interpreter) of an environment; syncs it if it is missing or was changed.

    A second process that needs the same environment waits. Raises ToolUnavailable.
    """
    if not name:
        return "core", Path(sys.executable)
    env = tool_env(name)
    if env.external:
        return "external", Path(sys.executable)
    ready = find_synced(env)
    if ready is None or (ready[1] not in _seen and _is_changed(_place(ready))):
        with _alone(env, print_line):
            ready = _make(env, print_line, run or _reporting(env, print_line))
    bytecode.prepare(ready[1], name, env.package, print_line)
    _seen.add(ready[1])
    return ready


def _is_changed(place: Path) -> bool:
    """Return whether an environment is to be looked at again, alone."""
    try:
        return bool(environment_record.find_change(place))
    except OSError:  # another process is just making it again
        return True


@contextlib.contextmanager
def _alone(env: ToolEnv, print_line: Callable[[str], None]) -> Iterator[None]:
    """Allow one process at a time; a second one prints what it waits for. Raises CannotWrite."""
    root = cache_root() / "toolenvs"

    def wait(who: str) -> None:
        print_line(f"waiting for another run that syncs the tool environment {env.name} ({who})")

    with contextlib.ExitStack() as held:
        with writing(f"the tool environment {env.name}", root):
            held.enter_context(locked(root / f".{env.name}.lock", f"process {os.getpid()}", wait))
        yield


def _make(env: ToolEnv, print_line: Callable[[str], None], run: Run) -> tuple[str, Path]:
    """Sync an environment that is missing; a changed one is made again, and a line reports it."""
    ready = find_synced(env)  # another process may have made it meanwhile
    if ready is None:
        return _sync(env, print_line, run)
    changed = environment_record.find_change(_place(ready))
    if not changed:
        return ready
    print_line(
        f"the tool environment {env.name} was changed since it was made ({changed}): it is made again"
    )
    ready = _sync(env, print_line, run)
    if environment_record.verify(_place(ready)):
        # files are hard links to uv's cache: editing one in place changes the cache, too
        ready = _sync(env, print_line, run, "--no-cache")
    return ready


def _place(ready: tuple[str, Path]) -> Path:
    return ready[1].parent.parent


def _reporting(env: ToolEnv, print_line: Callable[[str], None]) -> Run:
    """Return a runner of commands that prints their progress now and then."""
    return watched(
        lambda seconds, mib: print_line(f"{env.name}: {written(env, mib)}, {seconds:.0f} s"),
        every=_LINE_EVERY_SECONDS,
    )


def _sync(
    env: ToolEnv, print_line: Callable[[str], None], run: Run, *options: str
) -> tuple[str, Path]:
    settings = uv_settings(os.environ)
    variant, extra = choose_variant(env, settings, run)
    cuda = variant.endswith("lock-cuda")
    size = env.download_mib_cuda if cuda else env.download_mib
    place = folder(env, variant)
    print_line(
        f"syncing the tool environment {env.name} ({env.title} {env.version}): up to {size} MiB to"
        f" download, {env.disk_mib} MiB on disk, into {place}"
    )
    with contextlib.suppress(OSError):
        (place / MARKER).unlink()  # nobody takes it while its files go
    shutil.rmtree(place, ignore_errors=True)
    uv = find_uv()
    python = place / "bin" / "python"
    commands = [
        [uv, "venv", "--quiet", "--python", _interpreter(env), str(place)],
        [
            uv,
            "pip",
            "sync",
            "--quiet",
            "--require-hashes",
            *options,
            *extra,
            "--python",
            str(python),
            str(env.lock(variant)),
        ],
    ]
    for command in commands:
        done = run(command, settings)
        if done.returncode:
            shutil.rmtree(place, ignore_errors=True)
            raise ToolUnavailable(_explain(env, command, done.stderr))
    with writing(f"the tool environment {env.name}", place):
        environment_record.write(place)
        (place / MARKER).write_text(f"{variant}\n", encoding="utf-8")
    return variant, python


def choose_variant(
    env: ToolEnv, settings: Mapping[str, str], run: Run
) -> tuple[str, tuple[str, ...]]:
    """Return (variant, extra options of uv): for torch, the CPU build if available, else CUDA's.

    With an NVIDIA GPU, the CUDA build is preferred.
    """
    missing = missing_package(env.name)
    if missing:
        raise ToolUnavailable(f"the tool environment {env.name} cannot be made here: {missing}.")
    preferred = preferred_variants(env)[0]
    if platform_name() != TRIED or len(env.variants) == 1 or preferred == "lock-cuda":
        return preferred, ()
    pin = next(
        line.split(" ")[0]
        for line in env.lock("lock-cpu").read_text(encoding="utf-8").splitlines()
        if line.startswith("torch==")
    )
    for extra in ((), ("--torch-backend", "cpu")):
        probe = [
            find_uv(),
            "pip",
            "install",
            "--quiet",
            "--dry-run",
            "--no-deps",
            *extra,
            "--target",
            str(cache_root() / "probe"),
            "--python-version",
            env.python,
            pin,
        ]
        if run(probe, settings).returncode == 0:
            return "lock-cpu", extra
    return "lock-cuda", ()


def _interpreter(env: ToolEnv) -> str:
    """Return the Python to make an environment from: that of our own environment, if its version
    fits.

    Otherwise a version number: uv uses an installed Python, or fetches one if the user's uv
    settings allow it.
    """
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        str(getattr(sys, "_base_executable", sys.executable)) if own == env.python else env.python
    )


def _explain(env: ToolEnv, command: Sequence[str], output: str) -> str:
    last = "\n".join(f"    {line}" for line in output.strip().splitlines()[-8:])
    why = "see the last lines of uv"
    python = f"it needs Python {env.python}, which is not on this machine"
    if "No interpreter found" in output:
        why = f"{python}, and uv's settings (UV_PYTHON_DOWNLOADS, uv.toml) do not let it fetch one"
    elif command[1] == "venv" and "Failed to download" in output:
        why = f"{python}, and uv could not fetch it"
    elif "No space left" in output:
        why = f"the disk is full; it needs {env.disk_mib} MiB"
    elif "dns error" in output or "error sending request" in output:
        why = "the package index could not be reached; once synced (`buildsys sync`), no network is needed"
    return (
        f"the tool environment {env.name} could not be made: {why}.\n{last}\n"
        f"    to repeat: {shlex.join(command)}"
    )
