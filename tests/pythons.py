"""Finds other versions of Python on this machine: the core runs with each that pyproject.toml
names.
"""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.conftest import REPOSITORY

VERSIONS = ("3.11", "3.12", "3.13")
OTHERS = tuple(v for v in VERSIONS if v != f"{sys.version_info.major}.{sys.version_info.minor}")


@cache
def find_python(version: str, imports: str = "sys") -> str | None:
    """Find an interpreter of a version that can import `imports`, or None.

    `.venv-3.12` in the repository, then PATH, then what uv and pyenv installed.
    """
    home = Path.home()
    places = [
        REPOSITORY / f".venv-{version}" / "bin" / "python",
        *home.glob(f".local/share/uv/python/cpython-{version}.*/bin/python3"),
        *home.glob(f".pyenv/versions/{version}.*/bin/python"),
    ]
    found = [str(place) for place in places if place.is_file()]
    found.insert(1 if places[0].is_file() else 0, shutil.which(f"python{version}") or "")
    check = f"import {imports}, sys; assert sys.version.startswith('{version}.')"
    return next((python for python in found if python and _runs([python, "-c", check])), None)


def _runs(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
