"""What `buildsys gc` deletes and what it never deletes."""

import fcntl
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest

from buildsys.cli import main
from buildsys.execution.running.process import Command, OnProgress
from buildsys.execution.session.session import Session
from buildsys.execution.store import workspaces
from buildsys.execution.store.garbage_collection import take_stock
from buildsys.execution.store.store import Store
from tests import processes
from tests.conftest import Build, StandIn, make_workspace, no_environment
from tests.execution.test_shared import without_privileges
from tests.operations import golden

Capture = pytest.CaptureFixture[str]
DAY = 86400.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The test's store."""
    return Store(tmp_path / "store")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder outside any workspace, beside the store."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def age(store: Store, days: float, newer_than: float = 365) -> None:
    """Set files' last use to `days` ago; older files keep theirs."""
    now = time.time()
    for path in store.root.rglob("*"):
        if path.is_file() and now - path.stat().st_mtime < newer_than * DAY:
            os.utime(path, (now - days * DAY,) * 2)


def edit(root: Path, old: str, new: str) -> None:
    """Change a line of the recipe."""
    recipe = root / "recipes" / "tags.yaml"
    text, count = re.subn(old, new, recipe.read_text())
    assert count == 1
    recipe.write_text(text)


def names(store: Store) -> set[str]:
    """The names of all actions and blobs."""
    return {path.name for kind in ("actions", "blobs") for path in store.root.glob(f"{kind}/*/*")}


def size(store: Store) -> int:
    """The size of the store in bytes."""
    stock = take_stock(store)
    return sum(b.size for b in stock.blobs) + sum(a.file.size for a in stock.actions)


def gc(root: Path, *options: str) -> int:
    """Run `buildsys gc` and return its exit code."""
    return main(["-C", str(root), "gc", *options])


@pytest.mark.usefixtures("built")
def test_an_old_result_goes_and_what_is_in_use_stays(
    build: Build, workspace: Path, store: Store, capsys: Capture, tmp_path: Path
) -> None:
    """Old results are deleted; the current build's results stay, whatever their age."""
    edit(workspace, "epochs: 2", "epochs: 3")
    build()
    assert main(["-C", str(workspace), "update"]) == 0  # the earlier training is no longer recorded
    age(store, 40)
    capsys.readouterr()
    assert gc(workspace, "--max-age", "30d", "--dry-run") == 0
    before = names(store)
    assert gc(workspace, "--max-age", "30d") == 0
    golden.check("gc", capsys.readouterr().out, tmp_path)
    assert names(store) < before
    shutil.rmtree(workspace / "build")
    shutil.rmtree(workspace / ".buildsys")
    assert build() == []
    assert len(list(workspace.glob("build/tags/*/manifest.json"))) == 2
    edit(workspace, "epochs: 3", "epochs: 2")
    assert "train_ultralytics" in build()


@pytest.mark.usefixtures("built")
def test_nothing_goes_without_a_limit(
    build: Build, workspace: Path, store: Store, capsys: Capture
) -> None:
    """Without a limit, no result is deleted."""
    edit(workspace, "epochs: 2", "epochs: 3")
    build()
    age(store, 400)
    before = names(store)
    assert gc(workspace) == 0
    assert names(store) == before


def test_what_was_used_longest_ago_goes_first(
    build: Build, workspace: Path, store: Store, tmp_path: Path, tools: StandIn
) -> None:
    """With a size limit the least recently used results go first; restoring a result is a use."""
    for epochs, days in ((3, 9), (4, 8), (5, 7), (6, 0)):
        edit(workspace, r"epochs: \d+", f"epochs: {epochs}")
        build()
        age(store, days, newer_than=0.5)
    clone = make_workspace(tmp_path / "clone")
    edit(clone, r"epochs: \d+", "epochs: 3")
    restore(clone, tools)
    assert tools.ran == []
    age(store, 1, newer_than=0.5)
    shutil.rmtree(clone)
    assert gc(workspace, "--max-size", f"{size(store) // 1024 - 1}K") == 0
    clone = make_workspace(tmp_path / "clone")
    for epochs, ran in ((3, False), (5, False), (4, True)):
        edit(clone, r"epochs: \d+", f"epochs: {epochs}")
        restore(clone, tools)
        assert bool(tools.ran) == ran, epochs


def restore(root: Path, tools: StandIn) -> None:
    """Build everything in the workspace."""
    tools.ran.clear()
    session = Session(root, tools, no_environment)
    session.build(list(session.plans))
    session.close()


@pytest.mark.usefixtures("built")
def test_a_limit_that_cannot_be_met_is_reported(
    workspace: Path, store: Store, capsys: Capture, tmp_path: Path
) -> None:
    """If results in use exceed the limit, they stay and this is reported."""
    age(store, 40)
    before = names(store)
    capsys.readouterr()
    assert gc(workspace, "--max-size", "0K", "--max-age", "1h") == 0
    golden.check("gc-in-use", capsys.readouterr().out, tmp_path)
    assert names(store) == before


@pytest.mark.usefixtures("built")
def test_what_was_just_used_stays(workspace: Path, store: Store, elsewhere: Path) -> None:
    """Results that were used just now stay: an unknown workspace may be reading them."""
    shutil.rmtree(workspace)
    before = names(store)
    assert gc(elsewhere, "--max-size", "0K", "--max-age", "0h") == 0
    assert names(store) == before
    age(store, 1)
    assert gc(elsewhere, "--max-size", "0K") == 0
    assert names(store) == set()


@pytest.mark.usefixtures("built")
def test_a_dry_run_removes_no_record_of_a_workspace(
    workspace: Path, store: Store, elsewhere: Path, capsys: Capture
) -> None:
    """A dry run prints about every kind what would be removed, and removes nothing."""
    shutil.rmtree(workspace)
    capsys.readouterr()
    for _ in range(2):
        assert gc(elsewhere, "--dry-run") == 0
        out = capsys.readouterr().out
        assert f"would remove the record of the workspace {workspace}: it no longer exists\n" in out
        assert "removed" not in out


@pytest.mark.usefixtures("built")
def test_packages_of_deleted_recipes_are_listed(workspace: Path, capsys: Capture) -> None:
    """What no recipe builds any more stays and has a line; a recipe with mistakes keeps its
    packages, and those of its variants.
    """
    recipe = workspace / "recipes" / "tags.yaml"
    text = recipe.read_text()
    capsys.readouterr()
    assert gc(workspace) == 0
    assert "no recipe" not in capsys.readouterr().out
    recipe.write_text(text.replace("  - xiao-esp32s3\n", ""))
    assert gc(workspace) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "no recipe" in line]
    (line,) = lines
    assert re.fullmatch(
        r"kept build/tags/xiao-esp32s3, [\d.]+ KiB: no recipe has this build; delete the folder if it"
        r" is not needed",
        line,
    )
    assert (workspace / "build" / "tags" / "xiao-esp32s3" / "manifest.json").is_file()
    recipe.write_text(text + "mistake: 1\n")
    shutil.copytree(workspace / "build" / "tags", workspace / "build" / "tags-320")
    shutil.copytree(workspace / "build" / "tags", workspace / "build" / "tags2")
    assert gc(workspace) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "no recipe" in line]
    assert {line.split()[1].split("/")[1] for line in lines} == {"tags2"}


@pytest.mark.usefixtures("built")
def test_a_workspace_that_is_gone_holds_nothing(
    workspace: Path, store: Store, elsewhere: Path, capsys: Capture, tmp_path: Path
) -> None:
    """A deleted workspace protects nothing and is forgotten."""
    age(store, 40)
    shutil.rmtree(workspace)
    capsys.readouterr()
    assert gc(elsewhere, "--max-age", "30d") == 0
    golden.check("gc-gone", capsys.readouterr().out, tmp_path)
    assert not list((store.root / "workspaces").iterdir())


@pytest.mark.usefixtures("built")
def test_what_a_lock_names_stays(workspace: Path, store: Store) -> None:
    """A checkpoint in buildsys.lock stays, whatever the lock's format and the recipes."""
    manifest = json.loads(next(workspace.glob("build/*/*/manifest.json")).read_text())
    (train,) = [step for step in manifest["steps"] if step["stage"] == "train"]
    digest = train["outputs"]["checkpoint"]
    (workspace / "buildsys.lock").write_text(f"? train -> sha256:{digest}, gpu\n")
    for name in ("build", ".buildsys", "recipes"):
        shutil.rmtree(workspace / name)
    age(store, 40)
    assert gc(workspace, "--max-age", "30d") == 0
    named = {*train["outputs"].values(), f"{train['action_key']}.json"}
    assert named < names(store)
    assert len(names(store)) == len(named) + 1  # the file in the folder `training`


@pytest.mark.usefixtures("built")
def test_what_build_shows_stays_whatever_the_recipe_says_now(
    build: Build, workspace: Path, store: Store, tmp_path: Path
) -> None:
    """What is published in build/ stays restorable after an edit and a deleted .buildsys."""
    edit(workspace, "epochs: 2", "epochs: 3")
    shutil.rmtree(workspace / ".buildsys")
    age(store, 40)
    assert gc(workspace, "--max-age", "30d") == 0
    edit(workspace, "epochs: 3", "epochs: 2")
    assert build() == []


@pytest.mark.usefixtures("built")
def test_a_broken_recipe_holds_what_it_last_made(
    build: Build, workspace: Path, store: Store
) -> None:
    """A recipe with an error protects its last results."""
    shutil.rmtree(workspace / "build")
    edit(workspace, "source:", "sorce:")
    age(store, 40)
    assert gc(workspace, "--max-age", "30d") == 0
    edit(workspace, "sorce:", "source:")
    assert build() == []


@pytest.mark.usefixtures("built")
def test_rubbish_goes(
    workspace: Path, store: Store, elsewhere: Path, capsys: Capture, tmp_path: Path
) -> None:
    """Old temporary files, results without their files and unused files are deleted; new ones stay."""
    shutil.rmtree(workspace)
    actions = processes.results(store.root)
    actions["export_ultralytics"].write_text("{")
    entry = store.recall(actions["evaluate_onnx"].stem)
    assert entry is not None
    lost = entry.outputs[0].digest
    store.blob(lost).unlink()
    (store.root / "blobs" / lost[:2] / ".tmp-0").write_text("half")
    staging = store.root / ".import-0" / "blobs" / "aa"
    staging.mkdir(parents=True)
    (staging / ("a" * 64)).write_text("half")
    age(store, 0.1)
    (store.root / "blobs" / lost[:2] / ".tmp-1").write_text("half")
    capsys.readouterr()
    assert gc(elsewhere) == 0
    golden.check("gc-rubbish", capsys.readouterr().out, tmp_path)
    assert not actions["export_ultralytics"].exists()
    assert not actions["evaluate_onnx"].exists()
    assert not (store.root / ".import-0").exists()
    assert [path.name for path in store.root.rglob(".tmp-*")] == [".tmp-1"]


class Collecting(StandIn):
    """While one module runs, everything in the store is made old and unprotected, and gc deletes
    it.
    """

    def __init__(self, module: str, store: Store, elsewhere: Path) -> None:
        super().__init__()
        self.module, self.store, self.elsewhere = module, store, elsewhere

    def __call__(self, command: Command, on_progress: OnProgress) -> int:
        if command.arguments[-2] == self.module:
            self.module = ""
            age(self.store, 40)
            shutil.rmtree(self.store.root / "workspaces")
            assert main(["-C", str(self.elsewhere), "gc", "--max-age", "1h"]) == 0
            assert names(self.store) == set()
        return super().__call__(command, on_progress)


def test_a_run_that_loses_something_makes_it_again(
    workspace: Path, store: Store, elsewhere: Path
) -> None:
    """Results that gc deletes during a build are made again."""
    session = Session(workspace, Collecting("convert_tflite", store, elsewhere), no_environment)
    rows = session.build(list(session.plans))
    session.close()
    assert {row.status for row in rows} == {"built"}
    assert len(list(workspace.glob("build/tags/*/manifest.json"))) == 2


def test_one_collection_at_a_time(
    workspace: Path, store: Store, capsys: Capture, tmp_path: Path
) -> None:
    """A second simultaneous gc does nothing and says why."""
    store.root.mkdir()
    with (store.root / "gc.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert gc(workspace) == 1
    golden.check("gc-busy", capsys.readouterr().err, tmp_path)


@pytest.mark.usefixtures("built")
def test_a_workspace_that_may_not_be_read_stops_it(
    workspace: Path, store: Store, elsewhere: Path, tmp_path: Path
) -> None:
    """gc stops if it cannot read a known workspace, since its results in use are unknown."""
    age(store, 40)
    before = names(store)
    workspace.chmod(0)
    try:
        command = (sys.executable, "-m", "buildsys", "gc", "--max-age", "1h")
        run = without_privileges(elsewhere, *command)
    finally:
        workspace.chmod(0o755)
    assert run.returncode == 1
    golden.check("gc-unreadable", run.stderr, tmp_path)
    assert names(store) == before


def test_a_workspace_with_a_file_in_the_place_of_a_folder_stops_it(
    workspace: Path, store: Store, elsewhere: Path, capsys: Capture
) -> None:
    """The message says what to correct in the workspace."""
    workspaces.register(store, workspace)
    (workspace / ".buildsys").touch()
    assert gc(elsewhere) == 1
    said = capsys.readouterr().err
    assert f"{workspace}/.buildsys is a file, not a directory" in said
    assert "help: correct that, or delete the workspace if it is unused" in said


@pytest.mark.usefixtures("built")
def test_working_folders_of_finished_steps_go(
    workspace: Path, store: Store, capsys: Capture, tmp_path: Path
) -> None:
    """Working folders of finished steps are deleted; those of interrupted steps stay, and all stay
    during a run.
    """
    scratch = workspace / ".buildsys" / "scratch"
    finished = scratch / next(store.root.glob("actions/*/*.json")).stem
    interrupted = scratch / ("0" * 64)
    for folder in (finished, interrupted):
        (folder / "work").mkdir(parents=True)
        (folder / "work" / "last.pt").write_text("weights")
    capsys.readouterr()
    with (workspace / ".buildsys" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert gc(workspace) == 0
    assert finished.exists()
    assert gc(workspace) == 0
    golden.check("gc-scratch", capsys.readouterr().out, tmp_path)
    assert not finished.exists()
    assert interrupted.exists()


def test_environments_of_other_locks_go_only_when_asked(
    workspace: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Environments of other locks are deleted only with the option: another version of buildsys may
    use them.
    """
    from buildsys.execution.tools import definitions

    current = definitions.folder(definitions.tool_env("vela-5.2"), "lock")
    old = current.with_name("vela-5.2-lock-0123456789abcdef")
    for folder in (current, old):
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").write_text("x" * 5000)
    assert gc(workspace) == 0
    assert old.exists()
    capsys.readouterr()
    assert gc(workspace, "--tools") == 0
    golden.check("gc-tools", capsys.readouterr().out, tmp_path)
    assert current.exists()
    assert not old.exists()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("size", ("--max-size", "20")),
        ("unit", ("--max-size", "20GB")),
        ("age", ("--max-age", "1m")),
    ],
)
def test_a_limit_needs_a_unit(
    workspace: Path, capsys: Capture, name: str, options: tuple[str, str]
) -> None:
    """A limit without a unit is refused."""
    assert gc(workspace, *options) == 2
    golden.check(f"gc-wrong-{name}", capsys.readouterr().err)
