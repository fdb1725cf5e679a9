"""A verdict that is made again while a package is published: the new verdict decides."""

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildsys.execution.places import Workspace
from buildsys.execution.session.session import Session
from buildsys.execution.state.manifests import load_manifest
from buildsys.execution.state.settled import settled_recipes
from buildsys.execution.store.store import Store
from buildsys.graph import Step, steps_of
from tests.conftest import StandIn, no_environment
from tests.processes import make_built_place, run_doit, statuses

GROVE, XIAO = "tags@grove-vision-ai-v2", "tags@xiao-esp32s3"


@contextmanager
def opened(workspace: Path, tools: StandIn) -> Iterator[Session]:
    """An open session that has run nothing."""
    session = Session(workspace, tools, no_environment)
    try:
        yield session
    finally:
        session.close()


def run(workspace: Path, tools: StandIn, *builds: str) -> dict[str, str]:
    """Run builds; returns the status by build."""
    tools.ran.clear()
    with opened(workspace, tools) as session:
        return {row.id: row.status for row in session.build(list(builds or (GROVE, XIAO)))}


def find(session: Session, stage: str, build: str = GROVE) -> Step:
    """Return a step of a build."""
    return next(step for step in steps_of(session.plans[build]) if step.stage == stage)


def damage(workspace: Path, tools: StandIn, stage: str, output: str = "verdict") -> None:
    """Replace bytes in the store, as a failing disk would; readers notice by the digest."""
    with opened(workspace, tools) as session:
        step = find(session, stage)
        result = session.state.result(step.id)
        assert result is not None
        blob = session.state.store.blob(result.output(output))
        blob.chmod(0o600)
        blob.write_bytes(b" " * blob.stat().st_size)


def contradict(workspace: Path, tools: StandIn, stage: str, build: str = GROVE) -> None:
    """Make the records in workspace and store contradict the verdict."""
    with opened(workspace, tools) as session:
        step, store = find(session, stage, build), session.state.store
        key, result = session.state.decide(step).key, session.state.result(step.id)
        entry = store.recall(key)
        assert result is not None
        assert entry is not None
        other = dataclasses.replace(result, passed=not result.passed)
        session.database.record_result(key, other)
        store.record(dataclasses.replace(entry, passed=other.passed))


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(
    ("stage", "module"),
    [("load", "load_firmware"), ("operators", "check_operators"), ("contract", "check_contract")],
)
def test_a_verdict_that_turns_red_when_it_is_made_again_rejects_the_build(
    workspace: Path, tools: StandIn, stage: str, module: str
) -> None:
    """The earlier package is removed, whether or not the package step needs the verdict."""
    damage(workspace, tools, stage)
    (workspace / "build/tags/grove-vision-ai-v2/manifest.json").unlink()
    tools.red = {module}
    reason = f"rejected by {stage}: {module} says no"
    assert run(workspace, tools)[GROVE] == reason
    assert tools.ran == [module]
    assert not (workspace / "build/tags/grove-vision-ai-v2").exists()
    assert settled_recipes(Workspace(workspace)) == {}
    assert run(workspace, tools)[GROVE] == reason
    assert tools.ran == []


@pytest.mark.usefixtures("built")
def test_a_package_is_not_made_from_a_verdict_that_turned_red(
    workspace: Path, tools: StandIn
) -> None:
    """A lost package is not made again from a verdict that has turned red."""
    damage(workspace, tools, "operators")
    with opened(workspace, tools) as session:
        result = session.state.result(find(session, "package").id)
        assert result is not None
        session.state.store.blob(result.output("package")).unlink()
    shutil.rmtree(workspace / "build")
    tools.red = {"check_operators"}
    assert run(workspace, tools, GROVE)[GROVE].startswith("rejected by operators")
    assert tools.ran == ["check_operators"]
    assert not list(workspace.glob("build/tags/*/manifest.json"))


@pytest.mark.usefixtures("built")
def test_a_verdict_that_builds_share_is_asked_of_each(workspace: Path, tools: StandIn) -> None:
    """A verdict that several builds share is checked for each of them."""
    recipes = workspace / "recipes"
    text = (recipes / "tags.yaml").read_text()
    (recipes / "copy.yaml").write_text(text.replace("name: tags", "name: copy"))
    copy = GROVE.replace("tags", "copy")
    assert run(workspace, tools, GROVE, copy) == {GROVE: "up-to-date", copy: "built"}
    damage(workspace, tools, "operators")
    shutil.rmtree(workspace / "build/copy")
    tools.red = {"check_operators"}
    reason = "rejected by operators: check_operators says no"
    assert run(workspace, tools, GROVE, copy) == {GROVE: reason, copy: reason}
    assert not list(workspace.glob("build/*/grove-vision-ai-v2"))


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("is_red", [True, False])
def test_a_record_that_contradicts_its_verdict_does_not_count(
    workspace: Path, tools: StandIn, is_red: bool
) -> None:
    """If a record contradicts its verdict, the verdict is made again."""
    contradict(workspace, tools, "load")
    shutil.rmtree(workspace / "build")
    tools.red = {"load_firmware"} if is_red else set()
    status = run(workspace, tools)[GROVE]
    assert status == ("rejected by load: load_firmware says no" if is_red else "built")
    assert tools.ran == ["load_firmware"]
    contradict(workspace, tools, "load")
    shutil.rmtree(workspace / "build")
    assert run(workspace, tools)[GROVE] == status
    assert tools.ran == ["load_firmware"]


def forge(workspace: Path, tools: StandIn, stage: str, output: str, content: bytes) -> None:
    """Record other bytes as an output, with the right digest, as a faulty machine would."""
    with opened(workspace, tools) as session:
        step, store = find(session, stage), session.state.store
        key, result = session.state.decide(step).key, session.state.result(step.id)
        entry = store.recall(key)
        assert result is not None
        assert entry is not None
        digests = dict(result.outputs) | {output: store.put_bytes(content)}
        outputs = tuple(dataclasses.replace(o, digest=digests[o.name]) for o in entry.outputs)
        session.database.record_result(
            key, dataclasses.replace(result, outputs=tuple(digests.items()))
        )
        store.record(dataclasses.replace(entry, outputs=outputs))


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff{}", b"[" * 100_000])
@pytest.mark.parametrize(
    ("stage", "output", "module"),
    [("evaluate-tflite", "metrics", "evaluate_tflite"), ("compile", "summary", "compile_vela")],
)
def test_figures_that_cannot_be_read_are_made_again(
    workspace: Path, tools: StandIn, stage: str, output: str, module: str, content: bytes
) -> None:
    """If recorded figures are not a JSON object, their step runs again before others read them."""
    forge(workspace, tools, stage, output, content)
    shutil.rmtree(workspace / "build")
    assert run(workspace, tools)[GROVE] == "built"
    assert tools.ran.count(module) == 1
    assert run(workspace, tools)[GROVE] == "up-to-date"
    assert tools.ran == []


@pytest.mark.slow
def test_real_runs_take_a_package_back_whose_lost_verdict_is_red(tmp_path: Path) -> None:
    """A lost verdict that turns red removes the package, in this run and the next."""
    place = make_built_place(tmp_path, red="examine_tflite")
    folder = place / "build" / "plain" / "host"
    steps = load_manifest(folder).steps
    (digest,) = (step.outputs["verdict"] for step in steps if step.stage == "signal")
    Store(tmp_path / "store").blob(digest).unlink()
    (folder / "manifest.json").unlink()
    for _ in range(2):
        done = run_doit(place, "build:plain@host")
        assert done.returncode == 11, done.stdout
        assert "plain@host: rejected by signal" in done.stdout
        assert "Traceback" not in done.stdout
        assert statuses(place) == {
            "plain@host": "rejected by signal: the stand-in gives a red verdict"
        }
        assert not folder.exists()
