"""The core makes the same plans and action keys with every Python that pyproject.toml declares."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.pythons import OTHERS, VERSIONS, find_python

NEEDS = "doit, pydantic, rich, ruamel.yaml, uv"


@cache
def plan(python: str, root: Path) -> Any:
    """`buildsys plan --json` for the shipped recipes, in a workspace without state and store."""
    for folder in ("recipes", "targets", "weights"):
        shutil.copytree(REPOSITORY / folder, root / folder)
    shutil.copyfile(REPOSITORY / "buildsys.lock", root / "buildsys.lock")
    done = subprocess.run(
        [python, "-m", "buildsys", "-C", str(root), "plan", "--json"],
        capture_output=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONDONTWRITEBYTECODE": "1",
            "BUILDSYS_STORE": str(root.with_name(f"{root.name}-store")),
        },
    )
    assert done.stdout, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The plans of this Python."""
    return plan(sys.executable, tmp_path_factory.mktemp("own"))


@pytest.mark.slow
@pytest.mark.parametrize("version", OTHERS)
def test_every_python_plans_the_same_actions(version: str, own: Any, tmp_path: Path) -> None:
    """Every Python plans the same action keys, so that a shared store serves all of them."""
    python = find_python(version, NEEDS)
    if python is None:
        pytest.skip(f"Python {version} with buildsys is not installed (.venv-{version})")
    steps = [step for build in own["builds"] for step in build["steps"]]
    assert len(steps) > 500
    assert all(len(step["code"]) == 64 for step in steps)
    assert any(step["key"] for step in steps)
    assert plan(python, tmp_path / "other") == own


def test_the_versions_are_those_that_the_package_declares() -> None:
    """The tested versions are the classifiers of the package."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f'"Programming Language :: Python :: {version}"' in text for version in VERSIONS)
    assert f'requires-python = ">={VERSIONS[0]}"' in text
