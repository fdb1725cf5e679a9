"""A store for several users, a read-only store, steps without network."""

import os
import platform
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from buildsys.authoring.scaffold.starters import LOADER_CONFIG
from buildsys.execution.running.process import step_environment
from buildsys.steps.lib.runtime import pinned_arithmetic
from tests.conftest import REPOSITORY, Build
from tests.execution.test_doit import RECIPE, doit, statuses
from tests.given_models import MODEL
from tests.processes import make_environments, set_tool


@pytest.mark.parametrize(("mask", "shared"), [(0o002, True), (0o077, False)])
def test_who_may_read_the_store_is_the_umasks_affair(
    build: Build, tmp_path: Path, mask: int, shared: bool
) -> None:
    """With a group's umask, its members can read every file and write to every folder."""
    before = os.umask(mask)
    try:
        build()
    finally:
        os.umask(before)
    store = tmp_path / "store"
    paths = [store, *store.rglob("*")]
    assert {path.name for path in store.iterdir()} >= {"blobs", "actions"}
    for path in paths:
        mode = path.stat().st_mode
        wanted = stat.S_IRGRP | (stat.S_IWGRP if path.is_dir() else 0)
        assert bool(mode & wanted == wanted) == shared, path
        assert bool(mode & 0o077) == shared, path


def without_privileges(root: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to which file modes apply, even if the tests run as root."""
    prefix: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root ignores file modes, and there is no setpriv to change that")
        prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    return subprocess.run(
        [*prefix, *command],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


@pytest.mark.slow
def test_a_read_only_store_still_restores(tmp_path: Path) -> None:
    """Results in a read-only store are restored."""
    root, store = tmp_path / "place", tmp_path / "store"
    (root / "recipes").mkdir(parents=True)
    (root / "doit.cfg").write_text(LOADER_CONFIG)
    make_environments(tmp_path)
    set_tool(tmp_path, seconds=0)
    (root / "model.tflite").write_bytes(MODEL)
    (root / "recipes" / "plain.yaml").write_text(RECIPE.replace("NAME", "plain"))
    assert doit(root).returncode == 0
    for name in ("build", ".buildsys"):
        shutil.rmtree(root / name)
    files = [store, *store.rglob("*")]
    modes = {path: path.stat().st_mode for path in files}
    for path in files:
        path.chmod(modes[path] & ~0o222)
    try:
        run = without_privileges(root, sys.executable, "-m", "doit")
    finally:
        for path in files:
            path.chmod(modes[path])
    assert run.returncode == 0, run.stderr
    assert statuses(root) == {"plain@host": "restored"}
    assert {path: path.stat().st_mode for path in [store, *store.rglob("*")]} == modes


FETCH = """\
import urllib.request
try:
    urllib.request.urlopen("SCHEME://example.com/weights.pt", timeout=60)
except OSError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_download_that_a_tool_tries_by_itself_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """A step that does not fetch has no network and no proxy; its own downloads fail at once."""
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    python = Path(sys.executable)
    environment = step_environment(python, tmp_path, 1, "auto", tmp_path, network=False)
    done = subprocess.run(
        [sys.executable, "-c", FETCH.replace("SCHEME", scheme)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Connection refused" in done.stdout
    fetching = step_environment(python, tmp_path, 1, "auto", tmp_path, network=True)
    assert fetching["https_proxy"] == "http://proxy.example:3128"


def test_no_variable_of_the_user_changes_the_arithmetic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step gets a variable of the user that could change its results."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    python = Path(sys.executable)

    def given() -> list[dict[str, str]]:
        settings = ((False, None), (True, None), (False, tmp_path))
        return [
            step_environment(python, tmp_path, 1, "auto", tmp_path, network, caches)
            for network, caches in settings
        ]

    before = given()
    for name in (*pinned_arithmetic.ENVIRONMENT, "OPENCV_CPU_DISABLE", "GLIBC_TUNABLES"):
        monkeypatch.setenv(name, "mine")
    assert given() == before
    assert pinned_arithmetic.ENVIRONMENT.items() <= before[0].items()
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert not pinned_arithmetic.ENVIRONMENT.keys() & given()[0].keys()
