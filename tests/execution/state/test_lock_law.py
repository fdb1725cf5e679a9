"""A build adds lines to the lock and changes none; differences are reported."""

import errno
import io
import json
import os
import shutil
from pathlib import Path

import pytest
from doit.doit_cmd import DoitMain
from doit.exceptions import InvalidTask

from buildsys.cli import main
from buildsys.doit.loader import Loader
from buildsys.doit.reporter import Reporter
from buildsys.doit.run import UNKNOWN, Run, RunOptions
from buildsys.errors import InputError, NotAsLocked
from buildsys.execution.places import Workspace
from buildsys.execution.running.process import Command, OnProgress
from buildsys.execution.session.session import Session
from buildsys.execution.session.summary import Row, annotate, exit_code, render_table
from buildsys.execution.state.settled import settled_recipes
from buildsys.execution.store.store import Store
from buildsys.lockfile import Training, read_lock
from buildsys.outcome import BUILT, UP_TO_DATE, Kind, Outcome
from tests.conftest import StandIn, no_environment

Capture = pytest.CaptureFixture[str]
OTHER = "ab" * 32


def rows(workspace: Path, tools: StandIn, locked: bool = False, target: str = "xiao") -> list[Row]:
    """Run the builds for one target only, to save time."""
    tools.ran.clear()
    session = Session(workspace, tools, no_environment, locked=locked)
    try:
        return session.build([build for build in session.plans if f"@{target}" in build])
    finally:
        session.close()


def statuses(workspace: Path, tools: StandIn) -> set[str]:
    """The statuses of the builds after a run."""
    return {row.status for row in rows(workspace, tools)}


def line_of(workspace: Path, kind: str) -> str:
    """The only line of a kind."""
    text = (workspace / "buildsys.lock").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith(f"{kind} ")]
    return line


def edit(workspace: Path, old: str, new: str) -> str:
    """Edit the lock by hand; returns its text."""
    path = workspace / "buildsys.lock"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path.read_text()


def forget(workspace: Path) -> None:
    """Delete state and results, as in a fresh clone."""
    for name in (".buildsys", "build"):
        shutil.rmtree(workspace / name, ignore_errors=True)


def recorded(workspace: Path) -> Training:
    """The only recorded training."""
    (found,) = read_lock(workspace / "buildsys.lock").trainings().values()
    return found


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("kind", ["dataset", "model", "training"])
def test_a_deleted_line_comes_back_with_a_sentence(
    workspace: Path, tools: StandIn, capsys: Capture, kind: str
) -> None:
    """A deleted line is added again, with a message, even if everything is up to date."""
    rows(workspace, tools)
    path = workspace / "buildsys.lock"
    before, line = path.read_text(), line_of(workspace, kind)
    edit(workspace, line + "\n", "")
    capsys.readouterr()
    assert statuses(workspace, tools) == {"up-to-date"}
    assert tools.ran == []
    assert path.read_text() == before
    told = capsys.readouterr().err
    assert "buildsys.lock lacked lines of up-to-date results; added: " in told
    assert " ".join(line.split(" ")[:2]) in told


@pytest.mark.usefixtures("built")
def test_a_wrong_line_is_named_and_stays(workspace: Path, tools: StandIn, capsys: Capture) -> None:
    """A wrong line is reported and kept."""
    text = edit(workspace, recorded(workspace).checkpoint, OTHER)
    for _ in range(2):
        found = rows(workspace, tools)
        assert {row.status for row in found} <= {
            "up-to-date, differs from lock",
            "restored, differs from lock",
        }
        assert tools.ran == []
        assert (workspace / "buildsys.lock").read_text() == text
    place = Workspace(workspace)
    assert settled_recipes(place) == {}, "the next run says it again"
    table = render_table(found)
    network = (
        "training of tags: buildsys.lock records the network abababababab (on an unknown device"
    )
    assert table.count(network) == 1
    assert "buildsys.lock was not changed; `buildsys update tags@xiao-esp32s3` records" in table
    assert main(["-C", str(workspace), "plan"]) == 0
    assert network in capsys.readouterr().out
    diary = json.loads((workspace / "build/tags/xiao-esp32s3/build.json").read_text())
    assert diary["differs_from_lock"][0].startswith(network)
    recipe = workspace / "recipes/tags.yaml"
    text = recipe.read_text()
    recipe.write_text(text.replace("min: 0.1", "min: 0.9"))
    (red,) = rows(workspace, tools)
    assert red.status.startswith("rejected by gate, differs from lock: box.mAP50-95 is")
    assert main(["-C", str(workspace), "plan", "tags@xiao-esp32s3"]) == 0
    assert "tags@xiao-esp32s3: rejected by gate, differs from lock\n" in capsys.readouterr().out
    recipe.write_text(text)
    statuses(workspace, tools)
    capsys.readouterr()
    assert main(["-C", str(workspace), "update"]) == 0
    told = capsys.readouterr().out
    assert f": the network {OTHER[:12]} → {recorded(workspace).checkpoint[:12]}\n" in told
    assert statuses(workspace, tools) == {"restored"}, "build.json says so no more"
    assert statuses(workspace, tools) == {"up-to-date"}


@pytest.mark.slow(disk=False)
@pytest.mark.usefixtures("built")
def test_other_data_leaves_its_line_and_adds_its_training(
    workspace: Path, tools: StandIn, capsys: Capture
) -> None:
    """Changed data keeps the old line and adds a line for its training."""
    path = workspace / "buildsys.lock"
    before = set(path.read_text().splitlines())
    (workspace / "tags/labels/train/0.txt").write_text("0 .5 .5 .3 .2" + " .5 .5 2" * 4)
    assert statuses(workspace, tools) == {"built, differs from lock"}
    after = set(path.read_text().splitlines())
    assert before < after
    assert len(after - before) == 1
    assert statuses(workspace, tools) == {"up-to-date, differs from lock"}
    capsys.readouterr()
    assert main(["-C", str(workspace), "update", "tags@xiao-esp32s3"]) == 0
    changes = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0].split(" ")[0] for line in changes] == ["dataset", "training"]
    assert " → " in changes[0]
    assert statuses(workspace, tools) == {"restored"}
    assert main(["-C", str(workspace), "update"]) == 0
    words = "buildsys.lock already records the results of the current tools and code\n"
    assert capsys.readouterr().out == words


@pytest.mark.usefixtures("built")
def test_update_claims_nothing_of_what_is_not_made(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """`update` does not confirm lines whose results were not made."""
    monkeypatch.setenv("BUILDSYS_STORE", str(tmp_path / "empty-store"))
    forget(workspace)
    assert main(["-C", str(workspace), "update", "--dry-run"]) == 0
    told = "training of tags: its inputs are not made yet; its line is compared after that\n"
    assert capsys.readouterr().out == told


@pytest.mark.usefixtures("built")
def test_facts_that_were_edited_are_named(workspace: Path, tools: StandIn, capsys: Capture) -> None:
    """Edited facts are reported, even if the bytes are the same."""
    rows(workspace, tools)
    before = (workspace / "buildsys.lock").read_text()
    edit(workspace, '"names":["tag"],"parts"', '"names":["gat"],"parts"')
    found = rows(workspace, tools)
    words = "dataset tags/data.yaml: buildsys.lock differs in `names` from this workspace"
    assert {row.outcome.differs for row in found} == {(words,)}
    assert main(["-C", str(workspace), "update"]) == 0
    assert capsys.readouterr().out == "dataset tags/data.yaml: `names` changed\n"
    assert (workspace / "buildsys.lock").read_text() == before


@pytest.mark.slow(disk=False)
@pytest.mark.usefixtures("built")
def test_another_cpu_leaves_the_lock_and_says_so_until_the_network_arrives(
    workspace: Path, tmp_path: Path, tools: StandIn, capsys: Capture
) -> None:
    """A training that gives other bytes keeps the lock, and is reported until the recorded network
    is available.
    """
    path, network = workspace / "buildsys.lock", recorded(workspace).checkpoint
    before = path.read_bytes()
    bytes_of_network = Store(tmp_path / "store").read(network)
    shutil.rmtree(tmp_path / "store")
    forget(workspace)
    tools.cpu = "another"
    found = rows(workspace, tools)
    assert {row.status for row in found} == {"built, differs from lock"}
    assert (exit_code(found, named=False), exit_code(found, named=False, locked=True)) == (0, 12)
    assert len([line for line in annotate(found) if line.startswith("::warning")]) == 1
    assert "the lock was not changed" not in render_table(found)
    told = capsys.readouterr().err
    assert "the lock was not changed; `buildsys update tags` records this one" in told
    assert path.read_bytes() == before
    assert statuses(workspace, tools) == {"up-to-date, differs from lock"}
    assert tools.ran == []
    Store(tmp_path / "store").put_bytes(bytes_of_network)
    (row, *_) = rows(workspace, tools)
    assert row.status == "built"
    assert "train_ultralytics" not in tools.ran
    assert "export_ultralytics" in tools.ran
    assert path.read_bytes() == before


@pytest.mark.usefixtures("built")
def test_a_locked_run_refuses_what_the_lock_lacks_before_anything_runs(
    workspace: Path, tools: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """A locked run rejects missing lines before anything runs; its summary names the builds."""
    before = edit(workspace, line_of(workspace, "training") + "\n", "")
    forget(workspace)
    monkeypatch.setenv("BUILDSYS_LOCKED", "1")
    with pytest.raises(NotAsLocked, match=r"it has no line `training tags [0-9a-f]{64}`"):
        rows(workspace, tools)
    assert tools.ran == []
    monkeypatch.delenv("BUILDSYS_LOCKED")
    command = ["build", "--locked", "tags@xiao-esp32s3"]
    assert main(["-C", str(workspace), *command]) == NotAsLocked.exit_code
    assert "help: `buildsys build` adds lines" in capsys.readouterr().err
    why = "not in buildsys.lock: it has no line `training tags "
    (row,) = json.loads((workspace / "build" / "summary.json").read_text())["builds"]
    assert (row["id"], row["status"].startswith(why)) == ("tags@xiao-esp32s3", True)
    monkeypatch.setenv("BUILDSYS_LOCKED", "1")
    folders = [path.name for path in (workspace / "build").iterdir() if path.is_dir()]
    assert folders == ["report"]
    assert (workspace / "buildsys.lock").read_text() == before
    assert main(["-C", str(workspace), "update"]) == NotAsLocked.exit_code
    monkeypatch.setenv("BUILDSYS_LOCKED", "0")
    rows(workspace, tools)
    monkeypatch.setenv("BUILDSYS_LOCKED", "yes")
    assert main(["-C", str(workspace), "plan"]) == 2


@pytest.mark.usefixtures("built")
def test_a_training_that_is_not_recorded_is_not_begun_in_a_locked_run(
    workspace: Path, tmp_path: Path, tools: StandIn
) -> None:
    """A locked run does not start an unrecorded training, even if its inputs are only known during
    the run.
    """
    shutil.rmtree(tmp_path / "store")
    forget(workspace)
    line = line_of(workspace, "training")
    before = edit(workspace, line, line.replace(line.split(" ")[2], OTHER))  # for other data
    found = rows(workspace, tools, locked=True)
    words = f"buildsys.lock has no line `training tags {line.split(' ')[2]}`"
    assert {row.status for row in found} == {f"not in buildsys.lock: train: {words}"}
    assert exit_code(found, named=False, locked=True) == NotAsLocked.exit_code
    assert "train_ultralytics" not in tools.ran
    assert (workspace / "buildsys.lock").read_text() == before
    edit(workspace, line.replace(line.split(" ")[2], OTHER) + "\n", "")
    shutil.rmtree(tmp_path / "store")
    forget(workspace)
    with pytest.raises(NotAsLocked, match="it has no training of tags"):
        rows(workspace, tools, locked=True)
    assert tools.ran == []


@pytest.mark.slow(disk=False)
@pytest.mark.usefixtures("built")
def test_a_recipe_that_shares_a_training_gets_the_recorded_network(
    workspace: Path, tools: StandIn, tmp_path: Path
) -> None:
    """A recipe that shares a training gets the recorded network."""
    shutil.rmtree(tmp_path / "store")
    forget(workspace)
    text = (workspace / "recipes/tags.yaml").read_text()
    (workspace / "recipes/twin.yaml").write_text(text.replace("name: tags", "name: twin"))
    tools.cpu = "another"
    first = line_of(workspace, "training")
    assert statuses(workspace, tools) == {"built, differs from lock"}
    lines = (workspace / "buildsys.lock").read_text().splitlines()
    assert [line for line in lines if line.startswith("training ")] == [
        first,
        first.replace("training tags ", "training twin "),
    ]


@pytest.mark.usefixtures("built")
def test_a_line_that_could_not_be_written_is_added_by_the_next_run(
    workspace: Path, tools: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """A line that could not be written is added by the next run."""
    rows(workspace, tools)
    before = (workspace / "buildsys.lock").read_text()
    edit(workspace, line_of(workspace, "training") + "\n", "")
    command = ["-C", str(workspace), "build", "tags@xiao-esp32s3"]
    replace = os.replace

    def refuse(source: str, target: str) -> None:
        if Path(target).name == "buildsys.lock":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with monkeypatch.context() as full:
        full.setattr(os, "replace", refuse)
        assert main(command) == 1
    assert "buildsys.lock was not updated: " in capsys.readouterr().err
    assert settled_recipes(Workspace(workspace)) == {}
    assert main(command) == 0
    assert (workspace / "buildsys.lock").read_text() == before


@pytest.mark.usefixtures("built")
def test_a_lock_that_breaks_during_a_run_is_an_error_of_the_next_one(workspace: Path) -> None:
    """A lock that becomes invalid during a run is an error of the next run."""

    class Merging(StandIn):
        def __call__(self, command: Command, on_progress: OnProgress) -> int:
            with (workspace / "buildsys.lock").open("a") as lock:
                lock.write("<<<<<<< ours\n")
            return super().__call__(command, on_progress)

    recipe = workspace / "recipes/tags.yaml"
    recipe.write_text(recipe.read_text().replace("min: 0.1", "min: 0.2"))
    session = Session(workspace, Merging(), no_environment)
    session.build(list(session.plans))
    session.close()
    assert not session.is_recorded
    assert settled_recipes(Workspace(workspace)) == {}
    assert main(["-C", str(workspace), "build", "--locked"]) == InputError.exit_code


@pytest.mark.usefixtures("built")
def test_a_lock_that_broke_while_a_run_waited_for_its_turn_is_wrong_input(
    workspace: Path, capsys: Capture
) -> None:
    """A lock that became invalid while a run waited ends with the exit code for wrong input."""
    run = Run(workspace, RunOptions())
    run.begin(UNKNOWN)
    (workspace / "buildsys.lock").write_text("<<<<<<< ours\n")
    reporter = Reporter(run, io.StringIO())
    with pytest.raises(InvalidTask, match="unfinished merge"):
        reporter.initialize({}, ["build:tags@xiao-esp32s3"])
    with pytest.raises(SystemExit) as end:
        reporter.complete_run()
    assert end.value.code == InputError.exit_code
    assert "was not updated" not in capsys.readouterr().err


@pytest.mark.usefixtures("built")
def test_a_variable_that_says_nothing_is_refused_where_there_is_nothing_to_do(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """A wrong value of BUILDSYS_LOCKED is an error, even if nothing is to do."""
    command = ["-C", str(workspace), "build"]
    assert main(command) == 0
    assert main(command) == 0  # the first may find files too new for their digests to be recorded
    assert settled_recipes(Workspace(workspace))
    monkeypatch.setenv("BUILDSYS_LOCKED", "yes")
    assert main(command) == InputError.exit_code
    assert "BUILDSYS_LOCKED: error: `yes` is neither 0 nor 1" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        DoitMain(Loader(workspace), config_filenames=()).run(["list"])
    assert end.value.code == InputError.exit_code


@pytest.mark.usefixtures("built")
def test_a_training_of_the_store_that_is_not_recorded_is_named_in_a_locked_run(
    workspace: Path, tmp_path: Path, tools: StandIn
) -> None:
    """A locked run reports an unrecorded training that the store has from another clone."""
    line, training = line_of(workspace, "training"), recorded(workspace)
    for entry in (tmp_path / "store/actions").glob("*/*.json"):
        if entry.stem != training.action_key:
            entry.unlink()
    forget(workspace)
    before = edit(workspace, line, line.replace(line.split(" ")[2], OTHER))
    found = rows(workspace, tools, locked=True)
    assert "train_ultralytics" not in tools.ran
    assert {row.status for row in found} == {"built, differs from lock"}
    (words,) = {text for row in found for text in row.outcome.differs}
    assert words == f"buildsys.lock has no line `training tags {line.split(' ')[2]}`"
    assert words in render_table(found)
    assert [text for text in annotate(found) if words in text]
    assert exit_code(found, named=False, locked=True) == NotAsLocked.exit_code
    assert (workspace / "buildsys.lock").read_text() == before
    assert settled_recipes(Workspace(workspace)) == {}


UNRECORDED = """\
name: tags
source: {family: ultralytics, task: detect, architecture: yolov8n, weights: random}
dataset: {generator: fiducials, train: 20, val: 4, size: 96}
input: {size: 96}
quantization: {scheme: int8, calibration: {split: train, count: 5}}
evaluate: none
targets: [host]
"""
ALL_RECORDED = "buildsys.lock already records the results of the current tools and code"


def test_update_without_a_lock_and_results_claims_no_record(
    workspace: Path, capsys: Capture
) -> None:
    """Without a buildsys.lock and without anything to record, `update` does not claim that the file
    records it.
    """
    (workspace / "recipes" / "tags.yaml").write_text(UNRECORDED)
    (workspace / "buildsys.lock").unlink(missing_ok=True)
    assert main(["-C", str(workspace), "update"]) == 0
    assert capsys.readouterr().out.startswith("there are no results of data, models or trainings")
    assert not (workspace / "buildsys.lock").exists()


@pytest.mark.usefixtures("built")
def test_update_names_a_training_of_other_code(
    workspace: Path, tmp_path: Path, capsys: Capture
) -> None:
    """`update` lists trainings of other code, whose network is kept or trained again."""
    before = recorded(workspace)
    edit(workspace, before.action_key, OTHER)
    text = edit(workspace, before.code, OTHER)
    command = ["-C", str(workspace), "update", "--dry-run"]
    assert main(command) == 0
    kept = capsys.readouterr().out
    assert "the recorded network is kept" in kept
    assert "since then the code of train_ultralytics changed" in kept
    assert ALL_RECORDED not in kept
    (blob,) = (tmp_path / "store/blobs").glob(f"*/{before.checkpoint}")
    blob.unlink()
    forget(workspace)
    assert main(command) == 0
    lost = capsys.readouterr().out
    assert "the training runs again" in lost
    assert ALL_RECORDED not in lost
    assert (workspace / "buildsys.lock").read_text() == text


@pytest.mark.usefixtures("built")
def test_update_trains_what_has_no_line_before_it_removes_the_earlier_one(
    workspace: Path, tools: StandIn, capsys: Capture
) -> None:
    """`update` trains before it removes the earlier line."""
    (old,) = read_lock(workspace / "buildsys.lock").trainings()
    recipe = workspace / "recipes/tags.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 2", "epochs: 3"))
    assert main(["-C", str(workspace), "update", "--dry-run"]) == 0
    words = "training of tags: it has no line and no result; it is trained\n"
    assert capsys.readouterr().out == words
    session = Session(workspace, tools, no_environment)
    session.forget_trainings()
    session.build([build for build in session.plans if "@xiao" in build])
    session.close()
    assert "removed, the recipe no longer uses it" in capsys.readouterr().err
    (new,) = read_lock(workspace / "buildsys.lock").trainings()
    assert new != old


@pytest.mark.usefixtures("built")
def test_update_takes_the_network_of_a_build_that_a_gate_rejects(
    workspace: Path, tmp_path: Path, tools: StandIn
) -> None:
    """`update` records the network of a rejected build."""
    before = recorded(workspace)
    shutil.rmtree(tmp_path / "store")
    forget(workspace)
    recipe = workspace / "recipes/tags.yaml"
    recipe.write_text(recipe.read_text().replace("min: 0.1", "min: 0.9"))
    tools.cpu = "another"
    (row,) = rows(workspace, tools)
    assert row.status.startswith("rejected by gate, differs from lock")
    tools.ran.clear()
    session = Session(workspace, tools, no_environment)
    session.forget_trainings()
    session.build([row.id])
    session.close()
    assert "train_ultralytics" not in tools.ran
    assert recorded(workspace).checkpoint != before.checkpoint


@pytest.mark.usefixtures("built")
def test_update_claims_nothing_beside_a_mistake_or_what_is_not_here(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """`update` claims nothing about recipes with a mistake or missing data."""
    command = ["-C", str(workspace), "update", "--dry-run"]
    line = line_of(workspace, "training")
    edit(workspace, line, f"{line.replace('training tags', 'training gone')}\n{line}")
    monkeypatch.setenv("BUILDSYS_LOCKED", "1")  # nothing may be written
    assert main(command) == 0
    gone = f"training gone {line.split(' ')[2][:12]}…: removed, the recipe no longer exists\n"
    assert capsys.readouterr().out == gone
    monkeypatch.delenv("BUILDSYS_LOCKED")
    assert main(command[:-1]) == 0
    assert capsys.readouterr().out == gone
    (workspace / "tags").rename(workspace / "elsewhere")
    assert main(command) == 0
    words = "dataset tags/data.yaml: the files are not here; the line is not compared\n"
    assert words in capsys.readouterr().out
    (workspace / "elsewhere").rename(workspace / "tags")
    (workspace / "recipes/bad.yaml").write_text("name: bad\n")
    assert main(command) == 1
    told = capsys.readouterr()
    assert "recipes/bad.yaml" in told.err
    assert ALL_RECORDED not in told.out
    edit(workspace, line + "\n", "")  # mistakes are reported first
    assert main(["-C", str(workspace), "build", "--locked"]) == 1


def test_what_differs_is_good_and_no_plain_status() -> None:
    """`differs from lock` is a successful status, but different from `built`."""
    differs = ("training of tags: …",)
    for outcome, text in ((BUILT, "built"), (UP_TO_DATE, "up-to-date")):
        other = Outcome(kind=outcome.kind, differs=differs)
        assert (str(other), other.good) == (f"{text}, differs from lock", True)
    refused = Row(id="a@b", outcome=Outcome(kind=Kind.NOT_IN_LOCK, subject="train"), seconds=0)
    assert refused.status == "not in buildsys.lock: train"
    failed = Row(id="c@d", outcome=Outcome(kind=Kind.FAILED, subject="train"), seconds=0)
    red = Outcome(kind=Kind.REJECTED, subject="gate", detail="too low", differs=differs)
    assert str(red) == "rejected by gate, differs from lock: too low"
    rejected = Row(id="e@f", outcome=red, seconds=0)
    assert exit_code([rejected], named=False) == 11
    assert exit_code([rejected], named=False, locked=True) == 12
    assert exit_code([refused], named=False) == 12
    assert exit_code([refused, failed], named=False) == 1
