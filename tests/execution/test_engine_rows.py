"""Which test covers which case of the list of what plain doit gets wrong.

`ROWS` is that table; cases without their own file are tested here.
"""

import dataclasses
import importlib
import os
import threading
from pathlib import Path

import pytest

from buildsys.digest import digest_file
from buildsys.execution.running.admission import Admission
from buildsys.execution.session.session import Session
from buildsys.execution.state import inputs as sources_module
from buildsys.graph import Step
from tests import processes
from tests.conftest import Build, StandIn, no_environment
from tests.execution.test_doit import RECIPE
from tests.given_models import tflite_bytes
from tests.processes import make_built_place, run_doit

ROWS = {
    "same mtime, other content or even size": "state.test_sources.test_equal_size_and_time_do_not_hide_another_content",
    "touch without change": "test_faults_data.test_a_file_of_any_date_is_read_once",
    "50 tasks share a 200 MB file": "test_engine_rows.test_a_file_that_many_builds_share_is_read_once",
    "directory as file_dep or target": "test_engine_rows.test_a_folder_is_one_artifact",
    "failed or killed action": "test_faults_kill.test_whoever_is_ended_however",
    "SIGKILL mid-run": "test_faults_kill.test_whoever_is_ended_however",
    "SIGKILL during the state write": "test_faults_kill.test_random_kills",
    "two processes on one workspace": "test_faults.test_a_second_run_waits_and_says_for_whom",
    "SIGTERM, or SIGINT to doit alone": "test_faults_kill.test_an_interrupted_run_writes_its_summary",
    "-P process": "test_faults_kill.test_processes_are_never_a_pool",
    "text of an action changed": "test_changes.test_our_own_changes_count_by_meaning",
    "target edited by hand": "test_doit.test_deleting_build_or_going_back_restores",
    "input edited while the action runs": "test_faults_data.test_an_input_that_changes_under_the_step",
    "recipe renamed": "test_engine_rows.test_a_renamed_recipe_trains_nothing",
    "unchanged output": "test_engine_rows.test_an_unchanged_output_ends_the_chain",
    "--continue": "test_faults.test_a_failing_step_blocks_only_what_rests_on_it",
    "-n N and a step that needs 12 GB": "test_engine_rows.test_steps_that_do_not_fit_together_run_one_by_one",
    "clean": "test_engine_rows.test_clean_takes_the_folder_away",
    "kill -9 of doit, of a tool, of both": "test_faults_kill.test_whoever_is_ended_however",
    "a full disk": "test_faults_disk.test_a_full_store",
    "a read-only store": "test_faults_disk.test_a_read_only_store_restores",
    "a corrupt blob": "test_faults.test_a_damaged_blob_is_made_again",
    "a corrupt database": "test_faults_data.test_a_damaged_database_costs_no_step",
    "a corrupt cache of plans": "test_faults_data.test_a_damaged_cache_of_plans_is_made_anew",
    "a clock that jumps": "test_faults_data.test_a_clock_that_jumps",
    "two workspaces on one store": "test_faults_two_runs.test_a_step_that_two_workspaces_need_runs_once",
}


@pytest.mark.parametrize("row", ROWS)
def test_every_case_has_its_test(row: str) -> None:
    """Every test that the table names exists."""
    module, _, name = ROWS[row].rpartition(".")
    assert callable(getattr(importlib.import_module(f"tests.execution.{module}"), name))


def test_a_file_that_many_builds_share_is_read_once(
    workspace: Path, tools: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that many builds share is read once per run."""
    (workspace / "model.tflite").write_bytes(tflite_bytes())
    for index in range(20):
        path = workspace / "recipes" / f"r{index}.yaml"
        path.write_text(RECIPE.replace("NAME", f"r{index}"))
    os.utime(workspace / "model.tflite", (1, 1))
    read: list[Path] = []

    def digest(path: Path) -> str:
        read.append(path)
        return digest_file(path)

    monkeypatch.setattr(sources_module, "digest_file", digest)
    session = Session(workspace, tools, no_environment)
    session.prepare(list(session.plans))
    session.close()
    assert read.count(workspace / "model.tflite") == 1


@pytest.mark.usefixtures("built")
def test_a_folder_is_one_artifact(build: Build, workspace: Path) -> None:
    """Removing, adding or renaming a file changes a folder's digest."""
    pictures = workspace / "tags/images/train"
    (pictures / "0.jpg").rename(pictures / "00.jpg")
    (workspace / "tags/labels/train/0.txt").rename(workspace / "tags/labels/train/00.txt")
    assert "train_ultralytics" in build()
    (pictures / "00.jpg").rename(pictures / "0.jpg")
    (workspace / "tags/labels/train/00.txt").rename(workspace / "tags/labels/train/0.txt")
    assert build() == []


@pytest.mark.usefixtures("built")
def test_a_renamed_recipe_trains_nothing(build: Build, workspace: Path) -> None:
    """Renaming a recipe runs only the steps that use the name."""
    old = workspace / "recipes/tags.yaml"
    old.rename(workspace / "recipes/markers.yaml")
    new = workspace / "recipes/markers.yaml"
    new.write_text(new.read_text().replace("name: tags", "name: markers"))
    assert set(build()) <= {"package_flash", "bind_outputs"}
    assert (workspace / "build/markers/xiao-esp32s3/manifest.json").is_file()


@pytest.mark.usefixtures("built")
def test_an_unchanged_output_ends_the_chain(build: Build, workspace: Path) -> None:
    """If a step runs again and makes the same bytes, no later step runs."""
    recipe = workspace / "recipes/tags.yaml"
    recipe.write_text(recipe.read_text().replace("min: 0.1", "min: 0.2"))
    assert build() == ["gate", "gate"]


def test_steps_that_do_not_fit_together_run_one_by_one(workspace: Path, tools: StandIn) -> None:
    """Two steps that need most of the memory run one after the other with any -n; small ones run
    together.
    """
    session = Session(workspace, tools, no_environment)
    step = next(iter(session.state.steps.values()))
    session.close()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    large = dataclasses.replace(step, memory_mib=int(pages / 2**20 * 0.6), threads=0)
    assert _most_at_once([large] * 4) == 1
    assert _most_at_once([dataclasses.replace(large, memory_mib=1)] * 4) > 1


def _most_at_once(steps: list[Step]) -> int:
    """The largest number of steps that run at the same time."""
    admission, changed = Admission(), threading.Condition()
    inside = most = 0

    def run(step: Step) -> None:
        nonlocal inside, most
        with admission.admit(step):
            with changed:
                inside += 1
                most = max(most, inside)
                changed.notify_all()
                changed.wait_for(lambda: inside > 1, timeout=0.2)
            with changed:
                inside -= 1

    threads = [threading.Thread(target=run, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return most


@pytest.mark.slow
def test_clean_takes_the_folder_away(tmp_path: Path) -> None:
    """`doit clean` removes the folder; the store keeps its content."""
    place = make_built_place(tmp_path)
    assert run_doit(place, "clean", "build:plain@host").returncode == 0
    assert not (place / "build/plain/host").exists()
    assert (place / "build/tags/xiao-esp32s3").exists()
    assert run_doit(place).returncode == 0
    assert processes.statuses(place)["plain@host"] == "restored"
    assert run_doit(place, "clean").returncode == 0
    assert not list((place / "build").glob("*/*/manifest.json"))
