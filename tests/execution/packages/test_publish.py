"""build/<recipe>/<target>/ is published completely, checked for changes, withdrawn, or kept aside
when rejected.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from buildsys.cli import main
from buildsys.digest import plain
from buildsys.errors import CannotWrite, InputError, MissingBytes
from buildsys.execution.packages import publish
from buildsys.execution.places import Workspace
from buildsys.execution.running.process import Command, OnProgress
from buildsys.execution.running.runner import Runner
from buildsys.execution.state import published
from buildsys.execution.state.decide import State
from buildsys.execution.state.manifests import as_json, load_manifest
from buildsys.graph import BuildPlan, Output, StepResult
from buildsys.operations.published_model import find_published
from buildsys.write_errors import writing
from tests.sample_steps import again, changed, given, make_plan, make_state, make_step, output_of

FILES = {"tags.tflite": b"model", "labels.txt": b"tag\n"}
"""The files of the package."""


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A build with finished steps, and its publisher."""

    workspace: Workspace
    state: State
    plan: BuildPlan
    runner: Runner
    said: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """The folder of its package."""
        return self.workspace.build / "tags" / "host"

    def publish(self, *built: str) -> None:
        """Publish the build."""
        self.said.clear()
        publish.publish(
            self.workspace, self.state, self.plan, self.runner, frozenset(built), self.said.append
        )

    @property
    def is_published(self) -> bool:
        """Whether the folder holds the package."""
        return publish.is_published(self.workspace, self.state, self.plan)

    def contents(self) -> dict[str, bytes]:
        """The package's files, without the content of the diary, which has the time."""
        return {
            path.name: path.read_bytes() if path.name != "build.json" else b""
            for path in self.folder.iterdir()
            if path.is_file() and not path.is_symlink()
        }

    def names(self) -> set[str]:
        """Names in the recipe's folder and in the package."""
        return {
            path.relative_to(self.folder.parent).as_posix()
            for path in self.folder.parent.rglob("*")
            if path.is_file()
        }


def never_run(command: Command, on_progress: OnProgress) -> int:
    """A tool that must not be started."""
    raise AssertionError(command)


def make(state: State, name: str, digest: str, passed: bool = True) -> None:
    """Record a step's result like a runner."""
    step = state.steps[name]
    action_key = state.key(step)
    assert action_key is not None
    outputs = ((step.outputs[0].name, digest),)
    state.finish(step, action_key, StepResult(outputs=outputs, seconds=2.5, passed=passed))


def tree(state: State, files: dict[str, bytes]) -> str:
    """The digest of a folder with these files."""
    folder = state.store.root.parent / "made"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    try:
        return state.store.put_tree(folder)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A build of three finished steps: conversion, gate, package."""
    source = tmp_path / "model.onnx"
    source.write_bytes(b"onnx")
    convert = make_step(
        "convert", given(source), outputs=(Output(name="tflite", tree=False, suffix=".tflite"),)
    )
    gate = make_step(
        "gate",
        output_of(convert),
        outputs=(Output(name="verdict", tree=False, suffix=".json"),),
    )
    pack = make_step("pack", output_of(convert), outputs=(Output(name="package", tree=True),))
    plan = make_plan(
        convert, gate, pack, shipped=output_of(convert), verdicts=("gate",), licences=("MIT",)
    )
    state = make_state(tmp_path, plan)
    make(state, "convert", state.store.put_bytes(b"model"))
    make(state, "gate", verdict(state, passed=True))
    make(state, "pack", tree(state, FILES))
    workspace = Workspace(tmp_path / "workspace")
    runner = Runner(
        workspace, state, print, never_run, lambda name, say: ("", Path(sys.executable))
    )
    return Shop(workspace=workspace, state=state, plan=plan, runner=runner)


def verdict(state: State, *failures: str, passed: bool = False) -> str:
    """The digest of a verdict."""
    return state.store.put_bytes(
        json.dumps({"passed": passed, "failures": list(failures)}).encode()
    )


def read(path: Path) -> dict[str, Any]:
    """A JSON file."""
    data: dict[str, Any] = json.loads(path.read_text())
    return data


def test_the_folder_holds_the_package_its_manifest_and_its_diary(shop: Shop) -> None:
    """The folder has only the package, its manifest and its diary."""
    assert not shop.is_published
    shop.publish("convert")
    assert shop.names() == {f"host/{name}" for name in (*FILES, "manifest.json", "build.json")}
    assert (shop.folder / "tags.tflite").read_bytes() == b"model"
    assert shop.is_published


def test_the_manifest_proves_files_steps_and_verdicts(shop: Shop) -> None:
    """The manifest has digests of files, an action key per step, verdicts and licences."""
    shop.publish()
    manifest = read(shop.folder / "manifest.json")
    assert set(manifest["files"]) == set(FILES)
    assert manifest["files"]["labels.txt"]["bytes"] == 4
    assert [step["stage"] for step in manifest["steps"]] == ["convert", "gate", "pack"]
    keys = [shop.state.decide(step).key for step in shop.plan.steps]
    assert [step["action_key"] for step in manifest["steps"]] == keys
    assert manifest["evidence"] == {"gate": {"passed": True, "failures": []}}
    assert manifest["licences"] == ["MIT"]
    assert plain(as_json(load_manifest(shop.folder))) == manifest
    assert "selection" not in manifest


def test_a_manifest_of_another_form_is_named_with_its_key(shop: Shop) -> None:
    """A manifest of another form is reported with the wrong key."""
    shop.publish()
    path = shop.folder / "manifest.json"
    path.write_text(json.dumps(read(path) | {"licences": [1]}))
    wanted = "tags@host: error: its manifest.json is damaged: `licences.0`: it is not a text"
    with pytest.raises(InputError, match=re.escape(wanted)):
        find_published(shop.workspace, "tags@host")


def test_the_manifest_is_the_same_wherever_it_is_written(shop: Shop, tmp_path: Path) -> None:
    """The manifest is the same on every machine; differences are in build.json."""
    shop.publish("convert")
    first = (shop.folder / "manifest.json").read_bytes()
    other = Shop(
        workspace=Workspace(tmp_path / "elsewhere"),
        state=shop.state,
        plan=shop.plan,
        runner=shop.runner,
    )
    other.publish()
    assert (other.folder / "manifest.json").read_bytes() == first


def test_the_diary_says_which_steps_this_run_made(shop: Shop) -> None:
    """The diary says which steps this run made, and the duration of each step's last run."""
    shop.publish("convert")
    steps = {step["stage"]: step for step in read(shop.folder / "build.json")["steps"]}
    assert {stage: step["this_run"] for stage, step in steps.items()} == {
        "convert": "built",
        "gate": "restored",
        "pack": "restored",
    }
    assert steps["convert"]["seconds"] == 2.5


def test_logs_that_are_here_are_linked(shop: Shop) -> None:
    """Logs are linked by stage; restored steps have none."""
    log = shop.runner.log(shop.state.decide(shop.plan.steps[0]).key)
    log.parent.mkdir(parents=True)
    log.write_text("converted\n")
    shop.publish()
    assert [path.name for path in (shop.folder / "logs").iterdir()] == ["convert.log"]
    assert (shop.folder / "logs" / "convert.log").read_text() == "converted\n"


@pytest.mark.parametrize("name", ["tags.tflite", "labels.txt"])
def test_a_touched_file_is_noticed(shop: Shop, name: str) -> None:
    """A changed or missing file is noticed, and publishing restores it."""
    shop.publish()
    size = (shop.folder / name).stat().st_size
    (shop.folder / name).write_bytes(b"x" * size)
    assert not shop.is_published
    shop.publish()
    assert shop.is_published
    (shop.folder / name).unlink()
    assert not shop.is_published


def test_the_same_bytes_written_again_are_the_same_package(shop: Shop) -> None:
    """Rewriting a file with the same bytes is not a change."""
    shop.publish()
    (shop.folder / "labels.txt").write_bytes(FILES["labels.txt"])
    assert shop.is_published


@pytest.mark.parametrize("what", ["manifest", "folder"])
def test_a_missing_manifest_or_folder_is_noticed(shop: Shop, what: str) -> None:
    """A missing manifest or folder is noticed."""
    shop.publish()
    if what == "folder":
        shutil.rmtree(shop.folder)
    else:
        (shop.folder / "manifest.json").unlink()
    assert not shop.is_published


def edit(path: Path) -> None:
    """Append one byte."""
    path.write_bytes(path.read_bytes() + b" ")


def replace_by_link(path: Path) -> None:
    """Replace a file by a link to the same bytes."""
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to("../elsewhere")


def replace_by_folder(path: Path) -> None:
    """Replace a file by a folder with content."""
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("mine")


def replace_by_pipe(path: Path) -> None:
    """Replace a file by a named pipe, which would block readers."""
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("manifest.json", edit, "manifest.json was changed"),
        ("manifest.json", lambda path: path.write_text(""), "manifest.json was changed"),
        ("build.json", edit, "build.json was changed"),
        ("labels.txt", Path.unlink, "labels.txt is missing"),
        ("labels.txt", lambda path: path.chmod(0o4777), "labels.txt has other permissions"),
        ("labels.txt", replace_by_link, "labels.txt was changed"),
        ("labels.txt", replace_by_folder, "labels.txt is missing"),
        ("tags.tflite", replace_by_pipe, "tags.tflite was changed"),
    ],
)
def test_whatever_differs_from_what_was_published_is_named_and_brought_back(
    shop: Shop, name: str, damage: Callable[[Path], object], said: str
) -> None:
    """Any difference in files, manifest or diary is reported and repaired."""
    shop.publish()
    before = shop.contents()
    damage(shop.folder / name)
    assert not shop.is_published
    with pytest.raises(InputError, match="doit build:tags@host"):
        publish.check_whole(shop.workspace, "tags@host")
    shop.publish()
    assert shop.said[0] == f"build/tags/host: {said}; the package is published again"
    assert shop.contents() == before
    assert shop.is_published
    publish.check_whole(shop.workspace, "tags@host")


@pytest.mark.parametrize("has_record", [True, False])
def test_files_of_the_user_are_moved_out_of_a_folder_that_is_replaced(
    shop: Shop, has_record: bool
) -> None:
    """Added files and folders are moved aside, not deleted."""
    shop.publish()
    for text in ("mine", "mine, too"):
        (shop.folder / "notes").mkdir()
        (shop.folder / "notes" / "a.txt").write_text(text)
        (shop.folder / "notes" / "b.txt").write_text(text)
        assert not shop.is_published
        if not has_record:  # .buildsys may be deleted at any time
            published.forget(shop.workspace, "tags@host")
        shop.publish()
        assert shop.is_published
    assert shop.said == [
        "build/tags/host/notes is not part of what was published:"
        " it was moved to build/.kept/tags@host/notes.2"
    ]
    kept = shop.workspace.build / ".kept" / "tags@host"
    assert (kept / "notes" / "a.txt").read_text() == "mine"
    assert (kept / "notes.2" / "b.txt").read_text() == "mine, too"


def test_what_a_file_manager_leaves_is_no_change(shop: Shop) -> None:
    """Files of a file manager (.DS_Store) do not count as changes."""
    shop.publish()
    (shop.folder / ".DS_Store").touch()
    assert shop.is_published
    shop.publish()
    assert shop.said == []
    assert ".DS_Store" not in {path.name for path in shop.workspace.build.rglob("*")}


def test_a_file_of_the_user_in_the_place_of_a_folder_is_kept(shop: Shop) -> None:
    """A user's file in the place of the folder is moved aside."""
    shop.publish()
    shutil.rmtree(shop.folder)
    shop.folder.write_text("mine")
    shop.publish()
    assert shop.is_published
    assert shop.said == [
        "build/tags/host is not part of what was published: it was moved to build/.kept/tags@host/host"
    ]
    assert (shop.workspace.build / ".kept" / "tags@host" / "host").read_text() == "mine"


def test_a_file_where_the_users_files_would_go_is_named(shop: Shop) -> None:
    """A file in the place of the folder for kept files is reported, and nothing is moved."""
    shop.publish()
    (shop.folder / "notes.txt").write_text("mine")
    for name in (".kept", ".rejected"):
        (shop.workspace.build / name).touch()
    obstacle = f"{shop.workspace.build}/.kept is a file, not a directory. Move it away"
    with pytest.raises(CannotWrite, match=re.escape(obstacle)):
        shop.publish()
    assert (shop.folder / "notes.txt").read_text() == "mine"
    (shop.workspace.build / ".kept").unlink()
    with (
        pytest.raises(CannotWrite, match="rejected is a file"),
        writing("the package", shop.workspace.build),
    ):
        reject(shop, "too low")


def test_bytecode_of_programs_that_a_user_runs_in_the_folder_does_not_count(shop: Shop) -> None:
    """Bytecode of programs run in the package is not a change."""
    shop.publish()
    (shop.folder / "__pycache__").mkdir()
    (shop.folder / "__pycache__" / "run.pyc").write_bytes(b"code")
    assert shop.is_published


def test_a_package_keeps_to_the_umask(shop: Shop) -> None:
    """The package's file modes follow the umask."""
    for mask in (0o077, 0o002):
        old = os.umask(mask)
        try:
            shop.publish()
        finally:
            os.umask(old)
        for name in (*FILES, "manifest.json", "build.json"):
            assert (shop.folder / name).stat().st_mode & 0o777 == 0o666 & ~mask
        assert shop.folder.stat().st_mode & 0o777 == 0o777 & ~mask
        shutil.rmtree(shop.folder)


def test_a_cleared_store_leaves_the_folder_as_it_is(shop: Shop) -> None:
    """A cleared store does not change a published folder."""
    shop.publish()
    shutil.rmtree(shop.state.store.root)
    assert shop.is_published


def test_other_words_in_the_manifest_are_another_publication(shop: Shop) -> None:
    """A changed licence or note is published as a new manifest."""
    shop.publish()
    for change in ({"licences": ("AGPL",)}, {"notes": ("Not verified: the NPU.",)}, {"label": "x"}):
        plan = make_plan(*shop.plan.steps, verdicts=("gate",), **{"licences": ("MIT",), **change})
        state = again(shop.state, plan)
        assert not publish.is_published(shop.workspace, state, plan)


def test_a_new_package_replaces_the_old_one_whole(shop: Shop) -> None:
    """A new package replaces the old one completely."""
    shop.publish()
    pack = changed(shop.plan.steps[-1], code="code-2")
    plan = make_plan(*shop.plan.steps[:-1], pack, verdicts=("gate",))
    state = again(shop.state, plan)
    make(state, "pack", tree(state, {"tags.tflite": b"better"}))
    publish.publish(shop.workspace, state, plan, shop.runner, frozenset(), print)
    assert shop.names() == {"host/tags.tflite", "host/manifest.json", "host/build.json"}
    assert (shop.folder / "tags.tflite").read_bytes() == b"better"


def test_a_package_whose_bytes_are_lost_leaves_the_old_one(shop: Shop) -> None:
    """If a package's bytes are lost, the old package stays, and the step that makes them is named."""
    shop.publish()
    before = shop.names()
    for blob in (shop.state.store.root / "blobs").rglob("*"):
        if blob.is_file():
            blob.unlink()
    with pytest.raises(MissingBytes) as caught:
        shop.publish()
    assert caught.value.step == "pack"
    assert shop.names() == before


def test_what_killed_runs_left_is_removed(shop: Shop) -> None:
    """Temporary folders of killed runs are removed."""
    for name in (".host.4711", ".host.old.4711"):
        (shop.folder.parent / name).mkdir(parents=True)
        (shop.folder.parent / name / "tags.tflite").write_bytes(b"half")
    shop.publish()
    assert [path.name for path in shop.folder.parent.iterdir()] == ["host"]


def test_a_withdrawn_package_is_gone_and_can_be_published_again(shop: Shop) -> None:
    """A withdrawn package is removed, and can be published again."""
    shop.publish()
    publish.withdraw(shop.workspace, "tags@host", print)
    assert list(shop.folder.parent.iterdir()) == []
    assert not shop.is_published
    shop.publish()
    assert shop.is_published


def reject(shop: Shop, *failures: str) -> list[str]:
    """Reject the build by its gate."""
    state = again(shop.state, shop.plan)
    make(state, "gate", verdict(state, *failures), passed=False)
    return publish.reject(shop.workspace, state, shop.plan, print)


def test_a_rejected_build_says_that_the_earlier_package_is_removed(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line is printed, and only by the run that removes a package."""
    shop.publish()
    reject(shop, "too low")
    line = "tags@host: the earlier package is removed from build/, the new one is rejected\n"
    assert capsys.readouterr().out == line
    reject(shop, "too low")
    assert capsys.readouterr().out == ""


def test_a_rejected_build_keeps_its_file_and_the_reasons_aside(shop: Shop) -> None:
    """A rejected build's file and reasons are kept in another folder."""
    shop.publish()
    assert reject(shop, "box.mAP50 is 0.1, the recipe asks for 0.5") == [
        "box.mAP50 is 0.1, the recipe asks for 0.5"
    ]
    assert not shop.folder.exists()
    aside = shop.workspace.build / ".rejected" / "tags@host"
    assert (aside / "tags.tflite").read_bytes() == b"model"
    found = read(aside / "verdict.json")
    assert (found["passed"], found["stage"]) == (False, "gate")
    assert found["failures"] == ["box.mAP50 is 0.1, the recipe asks for 0.5"]
    assert found["evidence"]["gate"]["passed"] is False


def test_a_build_that_passes_again_leaves_nothing_rejected(shop: Shop) -> None:
    """When a build passes again, its rejected files are removed."""
    reject(shop, "too low")
    state = again(shop.state, shop.plan)
    make(state, "gate", verdict(state, passed=True))
    make(state, "pack", tree(state, FILES))
    publish.publish(shop.workspace, state, shop.plan, shop.runner, frozenset(), print)
    assert not (shop.workspace.build / ".rejected" / "tags@host").exists()


def test_red_verdicts_are_those_that_were_made_and_did_not_pass(shop: Shop) -> None:
    """Red verdicts are those that exist and did not pass, in the plan's order."""
    assert publish.red_verdicts(shop.state, shop.plan) == []
    reject(shop, "too low")
    state = again(shop.state, shop.plan)
    assert [step.id for step in publish.red_verdicts(state, shop.plan)] == ["gate"]


@pytest.mark.usefixtures("built")
def test_what_differs_in_the_report_is_named_and_files_of_the_user_stay(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Changes in the report's folder are reported, and a user's files in it are kept."""
    run, report = ["-C", str(workspace), "report"], workspace / "build" / "report"
    assert main(run) == 0
    before = (report / "report.md").read_bytes()
    edit(report / "report.md")
    (report / "notes.txt").write_text("mine")
    capsys.readouterr()
    assert main(run) == 0
    assert (report / "report.md").read_bytes() == before
    assert (workspace / "build" / ".kept" / "report" / "notes.txt").read_text() == "mine"
    said = "".join(capsys.readouterr())
    assert "build/report: report.md was changed; the report is written again" in said
    assert (
        "build/report/notes.txt is not part of what was published: it was moved to build/.kept"
        in said
    )
    assert main(run) == 0
    assert "changed" not in "".join(capsys.readouterr())
