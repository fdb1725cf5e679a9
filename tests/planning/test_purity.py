"""Planning is pure: it opens no file, starts no process and does not query the machine."""

import ast
import builtins
import io
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from buildsys.authoring.recipes.build import Build
from buildsys.execution.places import Workspace
from buildsys.execution.session.loading import read_builds
from buildsys.graph import HostFacts
from buildsys.planning import planner
from buildsys.planning.fit_key import fit_key
from buildsys.planning.plan_steps import KnownSteps
from tests.conftest import REPOSITORY

MODULES = sorted((REPOSITORY / "buildsys" / "planning").glob("*.py"))
HOST = HostFacts(cpu="a CPU", gpu="a GPU", compute_capability="8.0", tensorrt="10.3.0.30")
_FORBIDDEN_MODULES = {
    "glob",
    "io",
    "multiprocessing",
    "os",
    "platform",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "urllib",
}
_FORBIDDEN_CALLS = {
    "exists",
    "glob",
    "is_dir",
    "is_file",
    "iterdir",
    "open",
    "read_bytes",
    "read_text",
    "resolve",
    "rglob",
    "stat",
    "write_bytes",
    "write_text",
}
_EFFECTS: tuple[tuple[object, str], ...] = (
    (builtins, "open"),
    (io, "open"),
    (os, "open"),
    (os, "system"),
    (os, "popen"),
    (subprocess, "Popen"),
    (subprocess, "run"),
    (Path, "open"),
    (Path, "read_text"),
    (Path, "read_bytes"),
    (Path, "write_text"),
    (Path, "write_bytes"),
)


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Build, ...]:
    """Every build of the shipped recipes, read from a copy."""
    root = tmp_path_factory.mktemp("shipped")
    for folder in ("recipes", "weights"):
        shutil.copytree(REPOSITORY / folder, root / folder)
    shutil.copyfile(REPOSITORY / "buildsys.lock", root / "buildsys.lock")
    return read_builds(Workspace(root))


def _refuse(name: str) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError(f"planning calls {name}")

    return refuse


@pytest.mark.xdist_group("shipped recipes")
def test_planning_the_shipped_recipes_reads_nothing(
    builds: tuple[Build, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every shipped recipe is planned while opening files and starting processes are errors."""
    ready = [build for build in builds if not build.waiting_for]
    assert len({build.recipe.name for build in ready}) > 10
    with monkeypatch.context() as patch:
        for owner, name in _EFFECTS:
            patch.setattr(owner, name, _refuse(name))
        plans = [planner.plan(build, "/nowhere", HOST) for build in ready]
        keys = [fit_key(build, None) for build in ready]
    assert all(plan.steps for plan in plans)
    assert all(keys)


@pytest.mark.xdist_group("shipped recipes")
def test_builds_that_are_planned_together_share_equal_steps(builds: tuple[Build, ...]) -> None:
    """Builds planned together equal builds planned separately; shared steps are the same object."""
    ready = [build for build in builds if not build.waiting_for]
    known = KnownSteps()
    plans = [planner.plan(build, "/nowhere", HOST, known) for build in ready]
    assert plans == [planner.plan(build, "/nowhere", HOST) for build in ready]
    steps = [step for plan in plans for step in plan.steps]
    assert len({id(step) for step in steps}) == len(set(steps)) < len(steps) / 2


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_planning_module_names_no_effect(path: Path) -> None:
    """No module of planning imports a module with effects, or calls a function that reads a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported, called = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called.add(node.func.id)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called.add(node.func.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not node.value.startswith(("/proc", "/dev", "/sys"))
    assert not imported & _FORBIDDEN_MODULES
    assert not called & _FORBIDDEN_CALLS
