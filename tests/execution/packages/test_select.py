"""`select`: one training, one row per variant, and the best suitable variant is published."""

import json
import shutil
import threading
from pathlib import Path

import pytest

from buildsys.errors import InputError, NotAsLocked
from buildsys.execution.places import Workspace
from buildsys.execution.running.process import Command, OnProgress
from buildsys.execution.session.session import Session
from buildsys.execution.session.summary import Row, exit_code
from buildsys.graph import steps_of
from buildsys.operations.predict import find_build
from buildsys.outcome import Kind
from tests.conftest import Sample, StandIn, build_sample, make_workspace, no_environment

SWEEP = """\
matrix: {input.size: [64, 96, 128], quantization.granularity: [per-tensor, per-channel]}
select: {maximize: box.mAP50-95}
targets:
  - grove-vision-ai-v2
"""


class Sized(StandIn):
    """A stand-in in which larger images give better accuracy and need more memory, and per-channel
    is slightly better.
    """

    def __call__(self, command: Command, on_progress: OnProgress) -> int:
        request = json.loads(Path(command.arguments[-1]).read_text())
        text = json.dumps(request["params"])
        size = next((s for s in (128, 96, 64) if f'"height": {s}' in text), 0)
        if size:
            self.size = size
        if command.arguments[-2] == "convert_tflite":
            self.channel = "per-channel" in text
        self.metric = self.size / 200 + 0.05 * self.channel
        self.sram_kib = self.size * 10
        return super().__call__(command, on_progress)

    size, channel = 64, False


def write_sweep(workspace: Path) -> Path:
    """Replace the workspace's recipe by the sweep; returns the workspace."""
    path = workspace / "recipes" / "tags.yaml"
    text = path.read_text().split("matrix:", maxsplit=1)[0].split("targets:", maxsplit=1)[0] + SWEEP
    path.write_text(text)
    return workspace


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """The sweep, run once."""
    root = tmp_path_factory.mktemp("sweep")
    return build_sample(root, lambda place: write_sweep(make_workspace(place)), Sized())


def sweep(workspace: Path, tools: StandIn, change: str = "") -> list[Row]:
    """Run the sweep; returns its rows."""
    path = write_sweep(workspace) / "recipes" / "tags.yaml"
    path.write_text(path.read_text().replace("min: 0.1", change or "min: 0.1"))
    tools.ran.clear()
    session = Session(workspace, tools, no_environment)
    rows = session.build(list(session.plans))
    session.close()
    return rows


@pytest.mark.usefixtures("built")
def test_a_name_of_one_selection_stands_for_the_variant_that_it_ships(workspace: Path) -> None:
    """`predict`, `fit` and `bundle` take the recipe's name, the selection's id or a variant's."""
    place, variant = Workspace(write_sweep(workspace)), "tags-96-per-channel@grove-vision-ai-v2"
    for name in ("tags", "build:tags", "tags@grove-vision-ai-v2", variant):
        assert find_build(place, name).id == variant
    shutil.rmtree(workspace / "build")
    assert find_build(place, variant).id == variant
    with pytest.raises(InputError) as caught:
        find_build(place, "tags")
    message = caught.value.diagnostics[0].render()
    assert message.startswith("tags@grove-vision-ai-v2: error: has no selected variant")
    assert "name a variant: tags-64-per-tensor@grove-vision-ai-v2, " in message


def test_the_best_that_fits_ships(workspace: Path) -> None:
    """With 1110 KiB of arena 128 px does not fit, and per-channel at 96 px is the best of the rest."""
    tools = Sized()
    rows = sweep(workspace, tools)
    assert tools.ran.count("train_ultralytics") == 1
    assert [(row.id.split("@")[0], row.status.split(":")[0]) for row in rows] == [
        ("tags-128-per-channel", "rejected by fit"),
        ("tags-128-per-tensor", "rejected by fit"),
        ("tags-64-per-channel", "built"),
        ("tags-64-per-tensor", "built"),
        ("tags-96-per-channel", "built"),
        ("tags-96-per-tensor", "built"),
        ("tags", "built"),
    ]
    assert exit_code(rows, named=False) == 0
    folders = sorted(
        p.parent.relative_to(workspace / "build") for p in workspace.glob("build/*/*/manifest.json")
    )
    assert [str(folder) for folder in folders] == ["tags/grove-vision-ai-v2"]
    manifest = json.loads((workspace / "build" / folders[0] / "manifest.json").read_text())
    assert manifest["selection"]["chosen"] == "tags-96-per-channel@grove-vision-ai-v2"
    assert len(manifest["selection"]["among"]) == 6
    again = sweep(workspace, tools)
    assert tools.ran == []
    assert {row.status for row in again if not row.candidate} == {"up-to-date"}


@pytest.mark.usefixtures("built")
def test_the_summary_of_an_interrupted_run_needs_no_lock(workspace: Path) -> None:
    """The handler of a signal makes the rows, while another thread may hold the state's lock."""
    write_sweep(workspace)
    session = Session(workspace, Sized(), no_environment)
    builds = list(session.plans)
    made = [(row.id, row.status) for row in session.build(builds)]
    session.interrupted, rows = True, list[Row]()
    handler = threading.Thread(target=lambda: rows.extend(session.rows(builds)))
    with session.state._lock:
        handler.start()
        handler.join(20)
        assert [(row.id, row.status) for row in rows] == made
    handler.join()
    session.close()


def test_nothing_ships_where_nothing_passes(workspace: Path) -> None:
    """If no variant passes, nothing is published."""
    tools = Sized()
    rows = sweep(workspace, tools, "min: 0.9")
    assert [row.status for row in rows if not row.candidate] == [
        "rejected by select: no variant both fits and passes its gates"
    ]
    assert exit_code(rows, named=False) == 11
    assert not list(workspace.glob("build/*/*/manifest.json"))


def test_nothing_ships_by_a_metric_that_was_not_measured(workspace: Path) -> None:
    """A class without objects has no accuracy to select by, which is the reason that is given."""
    path = write_sweep(workspace) / "recipes" / "tags.yaml"
    text = path.read_text()
    path.write_text(text.replace("maximize: box.mAP50-95", "maximize: box.mAP50-95.tag"))
    session = Session(workspace, Sized(), no_environment)
    rows = session.build(list(session.plans))
    session.close()
    assert [row.status for row in rows if not row.candidate] == [
        "rejected by select: no variant that passes has a value of box.mAP50-95.tag"
    ]


def test_a_failure_is_no_verdict(workspace: Path) -> None:
    """If a variant fails with an error, no other variant is chosen."""
    tools = Sized()
    tools.fail = {"compile_vela"}
    rows = sweep(workspace, tools)
    (chosen,) = [row for row in rows if not row.candidate]
    assert chosen.status.startswith("blocked by tags-")
    assert exit_code(rows, named=False) == 1


@pytest.mark.usefixtures("built")
def test_a_training_that_a_locked_run_may_not_begin_blocks_no_selection(
    workspace: Path, tmp_path: Path
) -> None:
    """With --locked and a missing line, variants and selection have that status, and the selection
    is not blocked.
    """
    write_sweep(workspace)
    path = workspace / "buildsys.lock"
    (line,) = [x for x in path.read_text().splitlines() if x.startswith("training ")]
    path.write_text(path.read_text().replace(line.split(" ")[2], "ab" * 32))
    for folder in (workspace / ".buildsys", workspace / "build", tmp_path / "store"):
        shutil.rmtree(folder)
    session = Session(workspace, Sized(), no_environment, locked=True)
    rows = session.build(list(session.plans))
    session.close()
    assert {row.outcome.kind for row in rows} == {Kind.NOT_IN_LOCK}
    assert exit_code(rows, named=False, locked=True) == NotAsLocked.exit_code


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(("key", "winner"), [("bytes", "tags-"), ("sram_bytes", "64-per")])
def test_minimize_takes_the_smallest(workspace: Path, key: str, winner: str) -> None:
    """`minimize` selects the smallest value."""
    path = write_sweep(workspace) / "recipes" / "tags.yaml"
    path.write_text(path.read_text().replace("maximize: box.mAP50-95", f"minimize: {key}"))
    session = Session(workspace, Sized(), no_environment)
    session.build(list(session.plans))
    session.close()
    manifest = json.loads(next(workspace.glob("build/tags/*/manifest.json")).read_text())
    assert manifest["selection"]["minimize"] == key
    assert winner in manifest["selection"]["chosen"]


@pytest.mark.usefixtures("built")
def test_looking_at_a_selection_runs_nothing(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`plan` of a selection runs nothing, even if the store has lost results."""
    from buildsys.cli import main
    from buildsys.execution.session.step_executor import StepExecutor

    tools = Sized()
    sweep(workspace, tools)
    shutil.rmtree(tmp_path / "store")
    monkeypatch.setattr(StepExecutor, "run_step", lambda *_: pytest.fail("a step ran"))
    assert main(["-C", str(workspace), "plan"]) == 0


@pytest.mark.usefixtures("built")
def test_a_selection_is_verified_and_exported(workspace: Path, tmp_path: Path) -> None:
    """A selection can be verified and exported."""
    from buildsys.cli import main
    from buildsys.operations.verify import shipped_plan, verify

    tools = Sized()
    sweep(workspace, tools)
    session = Session(workspace, tools, no_environment)
    plan = shipped_plan(session, session.plans["tags@grove-vision-ai-v2"])
    found = list(verify(session, plan, False, tools, no_environment))
    session.close()
    assert all(finding.good for finding in found)
    archive = str(tmp_path / "x.tar")
    assert main(["-C", str(workspace), "store", "export", "tags@*", "-o", archive]) == 0
    assert Path(archive).stat().st_size > 20_000


def test_another_variant_ships_where_the_best_turns_red(
    sample: Sample, workspace: Path, tmp_path: Path
) -> None:
    """If a lost verdict of the best variant turns red, another variant is published."""
    sample.copy(write_sweep(workspace), tmp_path / "store")
    tools = Sized()
    session = Session(workspace, tools, no_environment)
    best = session.plans["tags-96-per-channel@grove-vision-ai-v2"]
    step = next(step for step in steps_of(best) if step.stage == "load")
    result = session.state.result(step.id)
    session.close()
    assert result is not None
    session.state.store.blob(result.output("verdict")).unlink()
    shutil.rmtree(workspace / "build")
    tools.red = {"load_firmware"}
    rows = {row.id.split("@")[0]: row.status for row in sweep(workspace, tools)}
    assert tools.ran == ["load_firmware"]
    assert rows["tags-96-per-channel"] == "rejected by load: load_firmware says no"
    assert rows["tags"] in ("restored", "built")
    (manifest,) = workspace.glob("build/*/*/manifest.json")
    chosen = json.loads(manifest.read_text())["selection"]["chosen"]
    assert chosen == "tags-96-per-tensor@grove-vision-ai-v2"
