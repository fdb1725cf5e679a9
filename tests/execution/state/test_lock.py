"""buildsys.lock: trainings are recorded, and machines without the data plan and restore."""

import json
import re
import shutil
import time
from pathlib import Path

import pytest

from buildsys.cli import main
from buildsys.execution.session.session import Session
from buildsys.execution.state import code_digest
from buildsys.execution.tools import definitions
from buildsys.graph import BuildPlan
from buildsys.lockfile import read_lock
from tests import processes
from tests.checkpoints import checkpoint_of
from tests.conftest import Build, StandIn, copy_package, forget_code, no_environment

Capture = pytest.CaptureFixture[str]


def lock_lines(workspace: Path) -> dict[str, dict[str, object]]:
    """The facts of the file, by key."""
    lines = read_lock(workspace / "buildsys.lock").lines
    return {line.key: json.loads(line.text) for line in lines}


def statuses(workspace: Path, tools: StandIn) -> dict[str, str]:
    """Run everything; returns the status of each build."""
    tools.ran.clear()
    session = Session(workspace, tools, no_environment)
    rows = session.build(list(session.plans))
    session.close()
    return {row.id: row.status for row in rows}


def elsewhere(workspace: Path, tmp_path: Path) -> Path:
    """A clone with recipes and the lock, without data, weights and state."""
    clone = tmp_path / "clone"
    shutil.copytree(workspace / "recipes", clone / "recipes")
    shutil.copyfile(workspace / "buildsys.lock", clone / "buildsys.lock")
    return clone


@pytest.mark.usefixtures("built")
def test_a_build_records_facts_and_training(build: Build, workspace: Path) -> None:
    """A build records facts and trainings."""
    lines = lock_lines(workspace)
    kinds = sorted(key.split(" ")[0] for key in lines)
    assert kinds == ["dataset", "model", "training"]
    data = lines["dataset tags/data.yaml"]
    assert (data["names"], data["keypoints"], len(str(data["digest"]))) == (["tag"], 4, 64)
    text = (workspace / "buildsys.lock").read_text()
    assert text.splitlines()[1:] == sorted(text.splitlines()[1:])
    build()
    assert (workspace / "buildsys.lock").read_text() == text


@pytest.mark.usefixtures("built")
def test_a_machine_without_the_data_restores_everything(
    workspace: Path, tmp_path: Path, tools: StandIn
) -> None:
    """A machine without the data restores everything from lock and store."""
    clone = elsewhere(workspace, tmp_path)
    assert set(statuses(clone, tools).values()) == {"restored"}
    assert tools.ran == []
    for manifest in workspace.glob("build/*/*/manifest.json"):
        other = clone / manifest.relative_to(workspace)
        assert other.read_bytes() == manifest.read_bytes()


@pytest.mark.usefixtures("built")
def test_plans_without_the_data_follow_its_line(
    workspace: Path, tmp_path: Path, tools: StandIn
) -> None:
    """Without the data, plans follow the facts in the lock, also after a change."""
    clone = elsewhere(workspace, tmp_path)
    time.sleep(0.06)  # files written just now are read again
    for names in ("tag", "dog"):
        lock = clone / "buildsys.lock"
        lock.write_text(lock.read_text().replace('"names":["tag"]', f'"names":["{names}"]'))
        session = Session(clone, tools, no_environment)
        plan = session.plans["tags@xiao-esp32s3"]
        session.close()
        assert isinstance(plan, BuildPlan)
        assert [f.facts.names for f in plan.facts if f.key.startswith("dataset")] == [(names,)]


@pytest.mark.usefixtures("built")
def test_what_needs_the_data_waits_for_it(
    workspace: Path,
    tmp_path: Path,
    tools: StandIn,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A step that needs missing data waits for it."""
    clone = elsewhere(workspace, tmp_path)
    recipe = clone / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("count: 3", "count: 5"))
    made = processes.results(tmp_path / "store")
    made["prepare_dataset"].unlink()  # the prepared dataset in the store would suffice
    assert set(statuses(clone, tools).values()) == {"waiting for tags/data.yaml"}
    assert main(["-C", str(clone), "plan", "--fail-on", "waiting"]) == 1
    capsys.readouterr()
    assert main(["-C", str(clone), "check"]) == 0
    told = capsys.readouterr().out
    assert (
        told.count("warning: tags/data.yaml does not exist; its facts come from buildsys.lock") == 1
    )


def test_a_change_of_code_or_tool_does_not_train_again(
    build: Build,
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    tools: StandIn,
) -> None:
    """Changes of code or tools do not repeat a recorded training."""
    package = copy_package(tmp_path / "package" / "buildsys")
    monkeypatch.setattr(code_digest, "PACKAGE", package)
    monkeypatch.setattr(definitions, "ENVS", package / "envs")
    forget_code()
    definitions.tool_env.cache_clear()
    build()
    manifests = {p: p.read_bytes() for p in workspace.glob("build/*/*/manifest.json")}
    step = package / "steps" / "train_ultralytics.py"
    step.write_text(step.read_text().replace('"plots": False', '"plots": 0'))
    forget_code()
    shutil.rmtree(workspace / ".buildsys" / "plans", ignore_errors=True)
    assert build() == []
    assert {p: p.read_bytes() for p in workspace.glob("build/*/*/manifest.json")} == manifests
    capsys.readouterr()
    assert main(["-C", str(workspace), "plan"]) == 0
    assert (
        "train: the recorded network is kept, trained in 0.0 s; since then the code of"
        " train_ultralytics changed; `buildsys update` trains again"
    ) in capsys.readouterr().out
    (checkpoint,) = [
        path
        for path in (tmp_path / "store" / "blobs").rglob("*")
        if path.name
        == next(v for k, v in lock_lines(workspace).items() if k.startswith("training"))[
            "checkpoint"
        ]
    ]
    checkpoint.unlink()
    shutil.rmtree(workspace / ".buildsys")
    shutil.rmtree(workspace / "build")
    capsys.readouterr()
    main(["-C", str(workspace), "plan"])
    assert "WARNING: the training runs again although recipe and data did not change" in (
        capsys.readouterr().out
    )
    build()
    assert "the same network as buildsys.lock records, byte for byte" in capsys.readouterr().err
    tools.ran.clear()
    session = Session(workspace, tools, no_environment)
    session.forget_trainings()
    session.build(["tags@xiao-esp32s3"])
    session.close()
    assert tools.ran == [], "it was made with the code of now already"
    assert "the code of train_ultralytics changed" in capsys.readouterr().err
    session = Session(workspace, tools, no_environment)
    session.build(["tags@xiao-esp32s3"])
    assert session.state.kept == {}, "the line is of the code of now"
    session.close()
    forget_code()
    definitions.tool_env.cache_clear()


def test_update_trains_anew(
    build: Build,
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tools: StandIn,
    capsys: Capture,
) -> None:
    """`buildsys update` repeats a training with new tools."""
    package = copy_package(tmp_path / "package" / "buildsys")
    monkeypatch.setattr(code_digest, "PACKAGE", package)
    forget_code()
    build()
    before = lock_lines(workspace)
    lock = workspace / "buildsys.lock"
    lock.write_text(lock.read_text() + _of_another_recipe(lock.read_text()))
    step = package / "steps" / "train_ultralytics.py"
    step.write_text(step.read_text().replace('"plots": False', '"plots": 0'))
    forget_code()
    shutil.rmtree(workspace / ".buildsys" / "plans", ignore_errors=True)
    tools.ran.clear()
    session = Session(workspace, tools, no_environment)
    session.forget_trainings()
    session.build(list(session.plans))
    session.close()
    assert tools.ran == ["train_ultralytics"], "the same bytes: what follows is cut off"
    (key,) = [key for key in before if key.startswith("training")]
    after = lock_lines(workspace)
    network = str(before[key]["checkpoint"])[:12]
    told = capsys.readouterr().err
    assert f"…: the same network {network}; the code of train_ultralytics changed" in told
    assert after[key]["code"] != before[key]["code"]
    assert after[key.replace("tags", "zebra", 1)] == after[key], "it is the same training"
    assert build() == []
    forget_code()


def _of_another_recipe(text: str) -> str:
    """The line of the same training for a second recipe."""
    (line,) = [line for line in text.splitlines() if line.startswith("training tags ")]
    return line.replace("tags", "zebra", 1) + "\n"


@pytest.mark.usefixtures("built")
def test_the_same_training_again_changes_nothing(
    build: Build, workspace: Path, tmp_path: Path
) -> None:
    """Repeating a recorded training does not change the lock."""
    lock = workspace / "buildsys.lock"
    slow = lock.read_text().replace('"seconds":', '"seconds":1234')
    lock.write_text(slow)
    shutil.rmtree(tmp_path / "store")
    shutil.rmtree(workspace / ".buildsys")
    build()
    assert lock.read_text() == slow


@pytest.mark.usefixtures("built")
def test_a_changed_recipe_adds_a_line_and_update_removes_the_old_one(
    build: Build, workspace: Path, capsys: Capture
) -> None:
    """A changed recipe adds a line, and `update` removes the old one."""
    before = lock_lines(workspace)
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 2", "epochs: 3"))
    build()
    assert "buildsys.lock keeps 1 earlier training of tags, too" in capsys.readouterr().err
    after = lock_lines(workspace)
    assert len(after) == len(before) + 1
    assert after.items() >= before.items()
    assert main(["-C", str(workspace), "update", "--dry-run", "tags"]) == 0
    assert lock_lines(workspace) == after
    assert main(["-C", str(workspace), "update", "tags"]) == 0
    (old,) = [key for key in before if key.startswith("training ")]
    line = f"training tags {old.split(' ')[2][:12]}…: removed, the recipe no longer uses it\n"
    assert capsys.readouterr().out == 2 * line
    assert lock_lines(workspace) == {k: v for k, v in after.items() if k != old}


def test_a_broken_lock_is_an_error_at_its_line(workspace: Path, capsys: Capture) -> None:
    """A malformed lock is an error at its line."""
    (workspace / "buildsys.lock").write_text("# comment\n<<<<<<< HEAD\n")
    assert main(["-C", str(workspace), "check"]) == 2
    assert "buildsys.lock:2:1: error: unfinished merge" in capsys.readouterr().err


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("command", ["build", "check", "plan", "report"])
def test_a_line_that_names_a_file_touches_nothing(
    workspace: Path, tmp_path: Path, capsys: Capture, command: str
) -> None:
    """A lock entry with a path instead of a digest is rejected and touches no file."""
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    lock = workspace / "buildsys.lock"
    (record,) = [v for k, v in lock_lines(workspace).items() if k.startswith("training")]
    lock.write_text(lock.read_text().replace(str(record["checkpoint"]), "../../../victim.txt"))
    shutil.rmtree(workspace / ".buildsys")
    shutil.rmtree(workspace / "build")
    assert main(["-C", str(workspace), command]) == 2
    told = capsys.readouterr()
    assert re.search(
        r"buildsys.lock:4:\d+: error: malformed lock entry `training tags [0-9a-f]{64}`: `checkpoint`:"
        r" it is not a digest of 64 lower-case hexadecimal digits",
        told.out + told.err,
    )
    assert victim.read_text() == "mine"
    assert not (workspace / "build").exists()


@pytest.mark.usefixtures("built")
def test_another_machines_training_counts(
    build: Build, workspace: Path, tmp_path: Path, tools: StandIn
) -> None:
    """A training recorded on another machine is used."""
    session = Session(workspace, tools, no_environment)
    other = session.state.store.put_bytes(checkpoint_of("trained on a GPU"))
    session.close()
    path = workspace / "buildsys.lock"
    (record,) = [v for k, v in lock_lines(workspace).items() if k.startswith("training")]
    text = path.read_text().replace(str(record["checkpoint"]), other)
    path.write_text(text.replace(str(record["action_key"]), "0" * 64))
    ran = build()
    assert "train_ultralytics" not in ran
    assert "export_ultralytics" in ran
    manifest = json.loads(next(workspace.glob("build/*/*/manifest.json")).read_text())
    (train,) = [step for step in manifest["steps"] if step["stage"] == "train"]
    assert train["outputs"] == {"checkpoint": other, "training": record["training"]}
    assert train["action_key"] == "0" * 64


def test_a_run_that_waited_keeps_what_the_other_recorded(
    workspace: Path, tools: StandIn, capsys: Capture
) -> None:
    """A run that waited keeps the lines that the other run recorded."""
    text = (workspace / "recipes" / "tags.yaml").read_text()
    (workspace / "recipes" / "twin.yaml").write_text(
        text.replace("name: tags", "name: twin").replace("epochs: 2", "epochs: 5")
    )
    first = Session(workspace, tools, no_environment)
    second = Session(workspace, tools, no_environment)
    first.build([build for build in first.plans if build.startswith("tags@")])
    second.build([build for build in second.plans if build.startswith("twin@")])
    first.close()
    second.close()
    recipes = {key.split(" ")[1] for key in lock_lines(workspace) if key.startswith("training")}
    assert recipes == {"tags", "twin"}


def test_a_run_compares_with_the_lock_as_others_wrote_it(
    workspace: Path, tools: StandIn, capsys: Capture
) -> None:
    """A run compares with the lock file as others have written it meanwhile."""
    session = Session(workspace, tools, no_environment)
    session.build(["tags@xiao-esp32s3"])
    session.close()
    lock = workspace / "buildsys.lock"
    (line,) = [line for line in lock.read_text().splitlines() if line.startswith("training")]
    checkpoint = json.loads(line.split(" ", 3)[3])["checkpoint"]
    lock.write_text(lock.read_text().replace(checkpoint, "ab" * 32))
    for folder in (workspace / "build", workspace / ".buildsys", workspace.parent / "store"):
        shutil.rmtree(folder)
    capsys.readouterr()
    session = Session(workspace, tools, no_environment)
    session.build(["tags@xiao-esp32s3"])
    (step,) = [step for step in session.state.steps.values() if step.trains]
    session.executor.record_training(step)
    session.close()
    words = capsys.readouterr().err
    assert words.count("the network differs from the one that buildsys.lock records") == 1
    assert "the same network" not in words
