"""Real runs for tests of faults: real doit, each step a process, stand-ins for the tools."""

import atexit
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TypeVar

from buildsys.authoring.scaffold.starters import LOADER_CONFIG
from buildsys.execution.state import kept_digests
from buildsys.execution.state.code_digest import PACKAGE, code_digest
from buildsys.execution.store.action_entry import read_entry
from buildsys.execution.store.store import Store
from buildsys.execution.tools import bytecode, definitions
from buildsys.registry import step_names
from tests.conftest import REPOSITORY, copy_built, make_workspace
from tests.given_models import tflite_bytes

Found = TypeVar("Found")
TOOL = Path(__file__).with_name("stand_in_tool.py")

EVERY_PROGRAM = """\
from buildsys.execution.tools import host_tools
host_tools.find_program = lambda name: name
"""
"""Run by Python at its start, so that the stand-in needs no program of this machine."""

PLAIN = """\
name: plain
source: {family: tflite, weights: {path: model.tflite}}
targets: [host]
"""


def make_place(root: Path, seconds: float = 0.02, boards: int = 1, **settings: str) -> Path:
    """Make a workspace below `root` with `tags` for 1 or 2 boards and `plain`, and environments with
    the stand-in.

    `seconds` is a stand-in tool's duration. The workspace is `root/place`; see `environment`. A step
    is a process, so whoever does not need the second board leaves it out: it is half of the steps.
    """
    place = make_workspace(root / "place")
    if boards == 1:
        recipe = place / "recipes" / "tags.yaml"
        recipe.write_text(recipe.read_text().replace("  - grove-vision-ai-v2\n", ""))
    (place / "doit.cfg").write_text(LOADER_CONFIG)
    (place / "model.tflite").write_bytes(tflite_bytes(metadata="x" * 100_000))
    (place / "recipes" / "plain.yaml").write_text(PLAIN)
    make_environments(root)
    set_tool(root, seconds=seconds, **settings)
    return place


def make_built_place(root: Path, boards: int = 1, **settings: float | str) -> Path:
    """A copy of a `make_place` workspace in which everything was built, which is ten times as fast."""
    place, made = make_place(root, boards=boards), _built(boards)
    set_tool(root, **{"seconds": 0.02, **settings})
    copy_built(made / "place", made / "store", place, root / "store")
    return place


@cache
def _built(boards: int) -> Path:
    """A place in which everything was built, cached per process."""
    root = Path(tempfile.mkdtemp(prefix="buildsys-built-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    done = run_doit(make_place(root, boards=boards))
    assert done.returncode == 0, done.stdout
    return root


def make_environments(root: Path) -> None:
    """Make tool environments whose interpreter is the stand-in; see `set_tool`."""
    for env in definitions.all_tool_envs():
        for variant in env.variants:
            folder = (
                root / "cache" / "buildsys" / "toolenvs" / definitions.folder(env, variant).name
            )
            (folder / "bin").mkdir(parents=True)
            (folder / "bin" / "python3").symlink_to(sys.executable)  # as in real environments
            python = folder / "bin" / "python"
            python.write_text(f"#!{folder}/bin/python3 -SE\n{TOOL.read_text()}")
            python.chmod(python.stat().st_mode | stat.S_IXUSR)
            (folder / ".synced").write_text(variant)
            mark = (
                root / "cache" / "buildsys" / "bytecode" / ".ready" / bytecode.mark_of(python).name
            )
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text("\n".join(bytecode.state_of(python)))  # the stand-in imports nothing
    (root / "site").mkdir()
    (root / "site" / "sitecustomize.py").write_text(EVERY_PROGRAM)
    kept_digests.keep(PACKAGE, _code_digests(), root / "cache" / "buildsys")


@cache
def _code_digests() -> dict[str, str]:
    """The digests of all steps' code, which would take every process a third of a second."""
    return {name: code_digest(name, PACKAGE) for name in step_names()}


def set_tool(root: Path, **settings: float | str) -> None:
    """Set how the stand-ins behave from now on."""
    for folder in (root / "cache" / "buildsys" / "toolenvs").iterdir():
        (folder / "bin" / "tool.json").write_text(json.dumps(settings))


def let_go(root: Path) -> None:
    """Let stand-ins with the setting `hold` continue."""
    for folder in (root / "cache" / "buildsys" / "toolenvs").iterdir():
        (folder / "bin" / "go").touch()


def environment(root: Path) -> dict[str, str]:
    """The environment variables of a run in `root/place`."""
    return {
        **os.environ,
        "PYTHONPATH": f"{root / 'site'}:{REPOSITORY}",
        "BUILDSYS_STORE": str(root / "store"),
        "XDG_CACHE_HOME": str(root / "cache"),
    }


def start_doit(
    place: Path, *arguments: str, extra: Mapping[str, str] | None = None
) -> "subprocess.Popen[str]":
    """Start doit in the background in a workspace of `make_place`."""
    return subprocess.Popen(
        [sys.executable, "-m", "doit", *arguments],
        cwd=place,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**environment(place.parent), **(extra or {})},
    )


def run_doit(place: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run doit to its end; stdout and stderr together."""
    process = start_doit(place, *arguments)
    output, _ = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def processes_in(folder: Path) -> list[int]:
    """Every process whose current folder is `folder` or below: a step and its descendants."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                current = os.readlink(entry / "cwd")
            except OSError:
                continue
            if current.removesuffix(" (deleted)").startswith(str(folder)):
                found.append(int(entry.name))
    return found


def tools_in(place: Path, module: str = "") -> list[int]:
    """The running steps (of a module), without their descendants."""
    found = []
    for number in processes_in(place / ".buildsys" / "scratch"):
        try:
            command = Path(f"/proc/{number}/cmdline").read_bytes()
        except OSError:
            continue
        if b"bwrap" in command.partition(b"\0")[0]:  # bwrap's command line contains the step's
            continue
        if b"request.json" in command and module.encode() in command:
            found.append(number)
    return found


def tool_at_work(place: Path) -> int:
    """The only running step, after it started its child and so has read its settings."""
    scratch = place / ".buildsys" / "scratch"
    wait_until(lambda: b"sleep" in map(_program, processes_in(scratch)), "a tool")
    return min(tools_in(place))


def _program(number: int) -> bytes:
    """A process's command line; empty if it has ended."""
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes().partition(b"\0")[0]
    except OSError:
        return b""


def wait_until(condition: Callable[[], Found], what: str, seconds: float = 180) -> Found:
    """Poll until a condition is true; returns its value, since a second look may find another.

    Raises AssertionError after `seconds`.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited in vain for {what}")


def statuses(place: Path) -> dict[str, str]:
    """The status of each build in the summary."""
    data = json.loads((place / "build" / "summary.json").read_text())
    return {row["id"]: row["status"] for row in data["builds"]}


def shipped(place: Path) -> dict[str, str]:
    """The digest of each file in build/ that is the same on every machine."""
    return {
        str(path.relative_to(place / "build")): digest(path)
        for path in sorted((place / "build").rglob("*"))
        if path.is_file()
        and path.name not in ("build.json", "summary.json", "latency.json")
        and not {"logs", "report"} & set(path.relative_to(place / "build").parts)
    }


def damage(place: Path, store: Path) -> list[str]:
    """Incomplete files in the store or build/ that a reader would accept."""
    found = [
        f"blob {path.name} has other bytes"
        for path in (store / "blobs").glob("*/*")
        if digest(path) != path.name
    ]
    for path in (store / "actions").glob("*/*"):
        try:
            entry = read_entry(path.stem, path.read_bytes())
        except ValueError as error:
            found.append(f"action {path.name} is damaged: {error}")
            continue
        found += [
            f"action {path.name} names what is not there: {output.digest}"
            for output in entry.outputs
            if not Store(store).has(output.digest, output.tree)
        ]
    for folder in (place / "build").glob("[!.]*/[!.]*"):
        if folder.parent.name != "report":
            found += _damage_in(folder)
    return found


def results(store: Path) -> dict[str, Path]:
    """One file of the action cache for each module that ran."""
    paths = (store / "actions").glob("*/*.json")
    return {read_entry(path.stem, path.read_bytes()).module: path for path in paths}


def _damage_in(folder: Path) -> list[str]:
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        return [f"{folder} without its manifest: {error}"]
    return [
        f"{folder / name} is not what its manifest says"
        for name, entry in manifest["files"].items()
        if not (folder / name).is_file() or digest(folder / name) != entry["sha256"]
    ]


def digest(path: Path) -> str:
    """The sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
