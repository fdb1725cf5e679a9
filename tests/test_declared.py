"""Everything that a pipeline needs is declared: as a dependency of the core, or in an environment."""

import re
import tomllib

import pytest

from buildsys.execution.tools import definitions
from tests.conftest import REPOSITORY

CORE = ("pydantic", "ruamel.yaml", "doit")
TOOLS = ("ultralytics", "torch", "onnx", "onnx2tf", "onnx-tf", "tensorflow", "ethos-u-vela")
_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)", re.MULTILINE)
_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==\S+ \\\n +--hash=sha256:", re.MULTILINE)


@pytest.mark.parametrize("package", CORE)
def test_the_core_declares(package: str) -> None:
    """The core's imports are among its declared dependencies."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    declared = [_NAME.match(line) for line in project["project"]["dependencies"]]
    assert package in {found[1] for found in declared if found}


@pytest.mark.parametrize("package", TOOLS)
def test_an_environment_declares_and_locks(package: str) -> None:
    """Every tool is declared and locked in its environment."""
    declaring = [
        env.name
        for env in definitions.all_tool_envs()
        if package in _NAME.findall((definitions.ENVS / env.name / "requirements.in").read_text())
    ]
    assert declaring
    for name in declaring:
        locks = sorted((definitions.ENVS / name).glob("lock*.txt"))
        assert locks, name
        for lock in locks:
            assert package in _PINNED.findall(lock.read_text()), f"{name}/{lock.name}"


def test_tensorrt_is_the_machines_own() -> None:
    """TensorRT is found on the machine, never installed, since no index has it."""
    (env,) = [env for env in definitions.external_envs() if env.package == "tensorrt"]
    assert not list((definitions.ENVS / env.name).glob("*.txt"))
