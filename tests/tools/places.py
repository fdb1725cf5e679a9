"""Workspaces in which the real tools run."""

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pytest

from buildsys.authoring.scaffold.starters import LOADER_CONFIG
from buildsys.execution.places import Workspace
from buildsys.execution.running.process import step_environment
from buildsys.execution.tools import bytecode
from buildsys.execution.tools.host_tools import find_qemu
from tests.conftest import REPOSITORY

needs_qemu = pytest.mark.skipif(
    not find_qemu(), reason="qemu-system-arm is not installed: the load test cannot run here"
)

START = "0f62de6c7aed069bb4b1bce691b1633f2a1ad512289bf5996a3d02fb134c8633"
"""Of weights/fiducials-start.pt, which every workspace has as start.pt."""
PICTURES = 20
"""On which the rungs of the ladder are compared."""


WARNINGS_ARE_ERRORS = ("-W", "error", "-W", "ignore::ImportWarning")
"""For a Python with a step's variables: they name kernels that not every version of NumPy has, and
NumPy warns of those that it does not know.
"""


def make_workspace(root: Path, **recipes: str) -> Path:
    """doit.cfg, the start weights, recipes by name."""
    (root / "recipes").mkdir(parents=True)
    (root / "doit.cfg").write_text(LOADER_CONFIG)
    shutil.copyfile(REPOSITORY / "weights" / "fiducials-start.pt", root / "start.pt")
    for name, text in recipes.items():
        (root / "recipes" / f"{name}.yaml").write_text(text)
    return root


def shared_store() -> Path:
    """One for all tests of a run: what two of them want alike is made once (tests/conftest.py).

    Tests of what ran, or of what a store holds, have one of their own.
    """
    return Path(os.environ["BUILDSYS_TEST_STORE"])


def store_of(root: Path) -> Path:
    """One of a workspace's own: beside it, because a store in a repository is refused."""
    return root.with_name(f"{root.name}-store")


def doit(
    root: Path, *arguments: str, store: Path | None = None, pages: bool = False
) -> subprocess.CompletedProcess[str]:
    """doit with the shared store, or with one that is given; `pages`: whether the report has them."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "BUILDSYS_STORE": str(store or shared_store()),
        "BUILDSYS_REPORT": "pages" if pages else "text",
    }
    return subprocess.run(
        [sys.executable, "-m", "doit", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def tool_environment(python: Path, scratch: Path | None = None) -> dict[str, str]:
    """The runner's own for a step: with its compiled modules a tool starts in half the time."""
    folder = scratch or Path(gettempdir())
    return step_environment(python, folder, 1, "cpu", bytecode.root(), network=False)


def by_hand() -> dict[str, str]:
    """A person's own, for a tool that starts in half the time."""
    written = {"PYTHONPYCACHEPREFIX": str(bytecode.root()), "PYTHONDONTWRITEBYTECODE": "1"}
    return {**os.environ, **written}


def read(path: Path) -> dict[str, Any]:
    """A JSON file."""
    data: dict[str, Any] = json.loads(path.read_text())
    return data


def statuses(root: Path) -> dict[str, str]:
    """Build -> status, by the last run."""
    return {row["id"]: row["status"] for row in read(root / "build" / "summary.json")["builds"]}


def draw(folder: Path, side: int, count: int) -> None:
    """Images that need no tool to be made."""
    folder.mkdir()
    for index in range(count):
        (folder / f"{index:02}.bmp").write_bytes(bitmap(side, index))


def bitmap(side: int, seed: int) -> bytes:
    """A 24-bit BMP with every value from 0 to 255 in it."""
    pixels = bytes(
        (x * (3 + seed) + y * 5 + c * 40) % 256
        for y in range(side)
        for x in range(side)
        for c in range(3)
    )
    size = 54 + len(pixels)
    header = struct.pack("<2sIHHI", b"BM", size, 0, 0, 54)
    return (
        header
        + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, len(pixels), 0, 0, 0, 0)
        + pixels
    )


def copy_workspace(place: Path, root: Path) -> Path:
    """An equal workspace in another place, whose `.buildsys` counts: it is filled after it was
    made.
    """
    shutil.copytree(place, root, symlinks=True, ignore=shutil.ignore_patterns(".buildsys"))
    Workspace(root).check_own()
    mark = shutil.ignore_patterns("made-here")
    shutil.copytree(
        place / ".buildsys", root / ".buildsys", symlinks=True, ignore=mark, dirs_exist_ok=True
    )
    return root
