"""The package as users get it: built, installed into a new environment, used without a clone.

pip uses the user's settings (index, find-links); nothing here names an index.
"""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from buildsys.digest import digest_file
from buildsys.registry import PACKAGE
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

pytestmark = pytest.mark.tools


def _run(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a clean environment in which this checkout cannot be imported."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def _done(*words: str | Path, cwd: Path) -> str:
    run = _run(*words, cwd=cwd)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def _wheel(source: str | Path, folder: Path) -> Path:
    """Build a wheel without changing the source, a folder or a source distribution."""
    folder.mkdir()
    _done(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout's wheel."""
    return _wheel(REPOSITORY, tmp_path_factory.mktemp("wheel") / "dist")


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands in a new environment with the wheel and its dependencies."""
    place = tmp_path_factory.mktemp("fresh") / "venv"
    base = getattr(sys, "_base_executable", sys.executable)
    _done(base, "-m", "venv", place, cwd=place.parent)
    _done(place / "bin" / "pip", "install", "-q", wheel, cwd=place.parent)
    return place / "bin"


def test_wheel_carries_all_data(wheel: Path) -> None:
    """The wheel contains all boards, contracts, ini files and locks."""
    held = set(zipfile.ZipFile(wheel).namelist())
    ours = {"buildsys": PACKAGE, "buildsys/targets": REPOSITORY / "targets"}
    wanted = {
        f"{prefix}/{path.relative_to(folder).as_posix()}"
        for prefix, folder in ours.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "buildsys/targets/vela/himax.ini" in wanted
    assert wanted == {name for name in held if name.startswith("buildsys/")}


def test_source_distribution_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """The source distribution gives the same wheel, and contains no weights or examples."""
    from buildsys.execution.tools.uv_commands import find_uv

    _done(find_uv(), "build", "-q", "--sdist", "-o", tmp_path / "sdist", REPOSITORY, cwd=tmp_path)
    (archive,) = (tmp_path / "sdist").glob("*.tar.gz")
    with tarfile.open(archive) as members:
        names = members.getnames()
    assert not [name for name in names if name.endswith(".pt") or "/examples/" in name]
    assert digest_file(_wheel(archive, tmp_path / "again")) == digest_file(wheel)


def test_a_workspace_without_a_clone(scripts: Path, tmp_path: Path) -> None:
    """A workspace works with the installed package, without a clone."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    printed = _done(scripts / "buildsys", "init", cwd=workspace)
    assert f"next:  {scripts / 'doit'}\n" in printed
    assert _done(scripts / "buildsys", "check", cwd=workspace) == "1 build, no mistake\n"
    planned = _done(scripts / "buildsys", "plan", cwd=workspace)
    assert planned.startswith("tag-finder@grove-vision-ai-v2: stale\n")
    assert "build:tag-finder@grove-vision-ai-v2" in _done(scripts / "doit", "list", cwd=workspace)
    _done(scripts / "buildsys", "new", "mine", "--target", "xiao-esp32s3", cwd=workspace)
    assert _done(scripts / "buildsys", "check", cwd=workspace) == "2 builds, no mistake\n"
    again = ("install", "-q", "--dry-run", "--no-deps", "--force-reinstall", "--report", "-")
    report = _done(scripts / "pip", *again, "-r", "requirements.txt", cwd=workspace)
    assert json.loads(report)["install"][0]["metadata"]["name"] == "buildsys"
    where = _done(
        scripts / "python", "-c", "import buildsys; print(buildsys.__file__)", cwd=workspace
    )
    assert Path(where.strip()).is_relative_to(scripts.parent)


def test_boards_of_one_s_own_join_the_shipped_ones(scripts: Path, tmp_path: Path) -> None:
    """A workspace's targets/ is used together with the package's targets."""
    workspace = tmp_path / "workspace"
    _done(scripts / "buildsys", "init", workspace, cwd=tmp_path)
    (workspace / "targets").mkdir()
    (workspace / "targets" / "mine.yaml").write_text(
        "name: mine\nlabel: Mine\npipelines: {int8: [convert_tflite, package_files]}\n"
    )
    recipe = workspace / "recipes" / "tag-finder.yaml"
    recipe.write_text(recipe.read_text() + "  - mine\n")
    assert _done(scripts / "buildsys", "check", cwd=workspace) == "2 builds, no mistake\n"
    (workspace / "targets" / "host.yaml").write_text(
        "name: host\nlabel: Mine\npipelines: {int8: [convert_tflite, package_files]}\n"
    )
    run = _run(scripts / "buildsys", "check", cwd=workspace)
    assert run.returncode == 2
    assert "`host` is already the name of a shipped file" in run.stdout
