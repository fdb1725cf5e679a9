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
"""The digest of weights/fiducials-start.pt, which is start.pt in every workspace."""
PICTURES = 20
"""The number of images with which the ladder's rungs are compared."""


WARNINGS_ARE_ERRORS = ("-W", "error", "-W", "ignore::ImportWarning")
"""For a Python with a step's variables, which name kernels that some NumPy versions do not have and
warn about.
"""


def make_workspace(root: Path, **recipes: str) -> Path:
    """Make a workspace with doit.cfg, the start weights and the given recipes."""
    (root / "recipes").mkdir(parents=True)
    (root / "doit.cfg").write_text(LOADER_CONFIG)
    shutil.copyfile(REPOSITORY / "weights" / "fiducials-start.pt", root / "start.pt")
    for name, text in recipes.items():
        (root / "recipes" / f"{name}.yaml").write_text(text)
    return root


def shared_store() -> Path:
    """The store of all tests of a run, so that common results are made once (tests/conftest.py).

    Tests that check which steps ran, or a store's content, use their own store.
    """
    return Path(os.environ["BUILDSYS_TEST_STORE"])


def store_of(root: Path) -> Path:
    """A workspace's own store: beside it, since a store in a repository is refused."""
    return root.with_name(f"{root.name}-store")


def doit(
    root: Path, *arguments: str, store: Path | None = None, pages: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run doit with the shared store or the given one; `pages`: whether the report has HTML pages."""
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
    """The environment of a step, with compiled modules, which halve a tool's start time."""
    folder = scratch or Path(gettempdir())
    return step_environment(python, folder, 1, "cpu", bytecode.root(), network=False)


def by_hand() -> dict[str, str]:
    """A user's environment, with compiled modules."""
    written = {"PYTHONPYCACHEPREFIX": str(bytecode.root()), "PYTHONDONTWRITEBYTECODE": "1"}
    return {**os.environ, **written}


def read(path: Path) -> dict[str, Any]:
    """Read a JSON file."""
    data: dict[str, Any] = json.loads(path.read_text())
    return data


def statuses(root: Path) -> dict[str, str]:
    """The status of each build in the last run."""
    return {row["id"]: row["status"] for row in read(root / "build" / "summary.json")["builds"]}


def draw(folder: Path, side: int, count: int) -> None:
    """Write images without a tool."""
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
    """Copy a workspace with its `.buildsys` to another place."""
    shutil.copytree(place, root, symlinks=True, ignore=shutil.ignore_patterns(".buildsys"))
    Workspace(root).check_own()
    mark = shutil.ignore_patterns("made-here")
    shutil.copytree(
        place / ".buildsys", root / ".buildsys", symlinks=True, ignore=mark, dirs_exist_ok=True
    )
    return root
