"""`buildsys doctor`: reports what is present, what can be downloaded, and what is missing."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from buildsys.errors import BuildsysError, IsolationUnavailable, ToolUnavailable
from buildsys.execution.places import Workspace, cache_root
from buildsys.execution.running import isolation
from buildsys.execution.settings.stores import default_store
from buildsys.execution.tools import definitions, uv_commands
from buildsys.execution.tools.host_facts import find_library
from buildsys.execution.tools.host_tools import QEMU, find_qemu
from buildsys.lockfile import read_lock
from buildsys.operating_system import TRIED, platform_name
from buildsys.operations.host_support import describe_host
from buildsys.steps.lib.runtime import pinned_arithmetic
from buildsys.steps.lib.tensorrt.host_library import VARIABLE


@dataclass(frozen=True, kw_only=True)
class Check:
    """One sentence, and whether it is good news; `optional`: builds work without it."""

    good: bool
    text: str
    optional: bool = False


def examine(root: Path) -> list[Check]:
    """Check platform, uv, Python, compiler, emulator, isolation, disk, store, workspace and
    environments.

    Raises CannotWrite where there is no place for the tool environments.
    """
    cache_root()  # before uv, which would create a home directory that does not exist
    findings = [
        _platform(),
        _uv(),
        _python(),
        _compiler(),
        _emulator(),
        _isolation(),
        _disk(),
        _store(root),
    ]
    findings += _floor() + _workspace(Workspace(root))
    findings += [_environment(env) for env in definitions.all_tool_envs()]
    findings += _named_python()
    return findings + [_external(env) for env in definitions.external_envs()]


def _platform() -> Check:
    return Check(good=platform_name() == TRIED, text=describe_host(), optional=True)


def _floor() -> list[Check]:
    """Return a check only if something is missing."""
    missing = pinned_arithmetic.floor_message()
    return [Check(good=False, text=missing)] if missing else []


def _uv() -> Check:
    try:
        return Check(good=True, text=f"uv at {uv_commands.find_uv()}.")
    except ToolUnavailable as error:
        return Check(good=False, text=str(error))


def _python() -> Check:
    wanted = sorted({env.python for env in definitions.all_tool_envs()})
    missing = [
        version
        for version in wanted
        if uv_commands.run_command(
            [uv_commands.find_uv(), "python", "find", version], {}
        ).returncode
    ]
    if missing:
        absent = f"Python {', '.join(missing)}, which the tools need, is not installed"
        setting = os.environ.get("UV_PYTHON_DOWNLOADS", "automatic")
        if setting in ("automatic", "true"):
            text = f"{absent}; uv fetches it with the first tool environment."
            return Check(good=False, text=text, optional=True)
        text = (
            f"{absent}, and UV_PYTHON_DOWNLOADS={setting} prevents uv from fetching it: install it."
        )
        return Check(good=False, text=text)
    return Check(good=True, text=f"Python {', '.join(wanted)} for the tool environments.")


def _compiler() -> Check:
    found = shutil.which("cc") or shutil.which("gcc")
    if found:
        return Check(good=True, text=f"a C compiler at {found}.")
    return Check(good=False, text="no C compiler: Vela 3.9 cannot be synced; everything else can.")


def _emulator() -> Check:
    version = find_qemu()
    if version:
        return Check(good=True, text=f"{QEMU} {version}: compiled models are loaded on it.")
    text = f"no {QEMU} of version 6 or newer: manifests state that the load test was not done."
    return Check(good=False, text=text, optional=True)


def _isolation() -> Check:
    """Return what isolates steps."""
    try:
        chosen = isolation.choose()
    except IsolationUnavailable as error:
        return Check(good=False, text=str(error))
    if chosen.mechanism == isolation.Mechanism.NONE:
        text = f"steps are not isolated from this machine: {chosen.gap}."
        if sys.platform != "linux":
            text += (
                " They end with their run, as on Linux, because a shell waits beside each; a process"
                " that leaves its process group is not ended."
            )
        return Check(good=False, text=text, optional=True)
    return Check(good=True, text=f"steps are isolated by {chosen.text}.")


def _disk() -> Check:
    missing = [
        env
        for env in definitions.all_tool_envs()
        if definitions.find_synced(env) is None and not definitions.missing_package(env.name)
    ]
    need = sum(env.disk_mib for env in missing)
    place = cache_root()
    while not os.path.exists(place):
        place = place.parent
    free = shutil.disk_usage(place).free // 2**20
    text = f"{free} MiB free at {place}; {need} MiB needed for tool environments that are not synced yet."
    return Check(good=free > need, text=text)


def _store(workspace: Path) -> Check:
    try:
        root: Path = default_store(Workspace(workspace)).root
    except BuildsysError as error:
        return Check(good=False, text=str(error))
    place = root
    while not os.path.exists(place):
        place = place.parent
    good = os.access(place, os.W_OK)
    return Check(good=good, text=f"the store {root} {'can' if good else 'cannot'} be written to.")


def _workspace(workspace: Workspace) -> list[Check]:
    """Return what prevents runs in the folder, and whether it can be written; nothing without
    recipes.
    """
    found = []
    for look in (workspace.check_folders, lambda: read_lock(workspace.lock)):
        try:
            look()
        except BuildsysError as error:
            found.append(Check(good=False, text=str(error)))
    if workspace.has_recipes and not found:
        good = os.access(workspace.root, os.W_OK)
        text = f"the workspace {workspace.root} {'can' if good else 'cannot'} be written to."
        found.append(Check(good=good, text=text))
    return found


def _environment(env: definitions.ToolEnv) -> Check:
    title = f"{env.name} ({env.title} {env.version}: {env.purpose})"
    missing = definitions.missing_package(env.name)
    if missing:
        text = f"{title} cannot be made on this machine: {missing}."
        return Check(good=False, text=text, optional=True)
    doubt = "" if platform_name() == TRIED else " Unverified on this host."
    synced = definitions.find_synced(env)
    if synced is not None:
        variant = synced[0].removeprefix("lock-")
        return Check(good=True, text=f"{title} is synced ({variant}).{doubt}")
    if env.needs_compiler and not (shutil.which("cc") or shutil.which("gcc")):
        return Check(good=False, text=f"{title} needs a C compiler.")
    size = f"up to {definitions.expected_download_mib(env)} MiB to download, {env.disk_mib} MiB on disk"
    return Check(good=True, text=f"{title} will be synced when a build needs it: {size}.{doubt}")


def _named_python() -> list[Check]:
    """Return a check if the variable names a Python that cannot be started."""
    named = os.environ.get(VARIABLE, "")
    if not named or (os.path.isfile(Path(named)) and os.access(named, os.X_OK)):
        return []
    what = "cannot be started" if os.path.isfile(Path(named)) else "is not a file"
    text = f"{VARIABLE} names {named}, which {what}: TensorRT is not found."
    return [Check(good=False, text=text, optional=True)]


def _external(env: definitions.ToolEnv) -> Check:
    """Return the check of a library of the machine, and of its GPU."""
    host = find_library(env.package)
    title = f"{env.name} ({env.title}: {env.purpose})"
    if not host.gpu:
        text = f"{title}: this machine has no NVIDIA GPU; builds of its engines wait."
        return Check(good=False, text=text, optional=True)
    where = host.python or "python3"
    if not host.version:
        text = f"{title}: {host.gpu} found, but {where} cannot import {env.package} ({host.problem or 'no reason given'}); {VARIABLE} names another Python."
        return Check(good=False, text=text, optional=True)
    text = f"{title}: {env.title} {host.version} in {where}, {host.gpu}, compute capability {host.compute_capability}."
    return Check(good=True, text=text)
