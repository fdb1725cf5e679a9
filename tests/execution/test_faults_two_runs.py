"""Two simultaneous runs: in one workspace, and in two workspaces that share a store."""

import subprocess
from pathlib import Path

import pytest

from buildsys.authoring.scaffold.starters import LOADER_CONFIG
from buildsys.execution.places import Workspace
from buildsys.execution.session.loading import make_plans
from buildsys.graph import steps_of
from tests import processes
from tests.given_models import tflite_bytes
from tests.processes import make_place, run_doit, set_tool, start_doit, tools_in

pytestmark = pytest.mark.slow

BUILD = "build:tags@xiao-esp32s3"
TRAINING = "train_ultralytics"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two workspaces with the same recipes, whose runs share one store.

    The first one's training runs until `let_go`.
    """
    return make_place(tmp_path / "a", seconds=0.01, hold=TRAINING), make_place(tmp_path / "b")


def start(place: Path, tmp_path: Path) -> "subprocess.Popen[str]":
    """Start a run with the shared store."""
    return start_doit(place, BUILD, extra={"BUILDSYS_STORE": str(tmp_path / "store")})


def start_both(pair: tuple[Path, Path], tmp_path: Path) -> "list[subprocess.Popen[str]]":
    """Start two runs; the second waits for the first one's training."""
    first = start(pair[0], tmp_path)
    processes.wait_until(lambda: tools_in(pair[0], TRAINING), "the training")
    second = start(pair[1], tmp_path)
    assert second.stdout is not None
    line = next(line for line in second.stdout if "waiting for another run" in line)
    assert (
        f"waiting for another run that makes the same result: process {first.pid} in {pair[0]}"
        in line
    )
    return [first, second]


def begun(place: Path) -> list[str]:
    """Action keys of the steps that ran here."""
    return sorted(path.stem for path in (place / ".buildsys/logs").glob("*.log"))


def test_a_step_that_two_workspaces_need_runs_once(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """The second run waits, names the run that it waits for, and restores the result."""
    runs = start_both(pair, tmp_path)
    processes.let_go(tmp_path / "a")
    outputs = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    ran = [*begun(pair[0]), *begun(pair[1])]
    steps = next(
        steps_of(plan)
        for plan in make_plans(Workspace(pair[0])).plans
        if f"build:{plan.build}" == BUILD
    )
    assert len(ran) == len(set(ran)) == len(steps)
    assert "another run has finished the same step" in outputs[1]
    assert processes.shipped(pair[0]) == processes.shipped(pair[1])
    assert processes.damage(pair[0], tmp_path / "store") == []
    assert list((tmp_path / "store/locks").iterdir()) == []


def test_who_waits_takes_over_when_the_other_dies(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """If the other run dies, the waiting run takes over."""
    first, second = start_both(pair, tmp_path)
    first.kill()
    first.communicate()
    output, _ = second.communicate(timeout=120)
    assert second.returncode == 0, output
    assert processes.statuses(pair[1])["tags@xiao-esp32s3"] == "built"
    processes.wait_until(lambda: not processes.processes_in(pair[0]), "the end of the first")


def test_a_failing_step_is_tried_by_who_waited(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """A failed step is run again by the run that waited."""
    set_tool(tmp_path / "a", seconds=0.01, hold=TRAINING, fail=TRAINING)
    first, second = start_both(pair, tmp_path)
    processes.let_go(tmp_path / "a")
    first.communicate(timeout=120)
    output, _ = second.communicate(timeout=120)
    assert first.returncode in (1, 2)
    assert second.returncode == 0, output


def examined(place: Path) -> list[Path]:
    """Logs of the steps that examined a file here."""
    logs = (place / ".buildsys/logs").glob("*.log")
    return [path for path in logs if path.read_text().startswith("examine_tflite runs")]


def test_a_step_in_a_queue_is_made_by_another_run(tmp_path: Path) -> None:
    """Steps that wait for room in one run are made by a run that has room for them."""
    examine, places = "examine_tflite", [tmp_path / name / "place" for name in ("a", "b")]
    for place in places:
        (place / "recipes").mkdir(parents=True)
        (place / "doit.cfg").write_text(LOADER_CONFIG)
        for number in range(6):
            text = processes.PLAIN.replace("plain", f"r{number}").replace("model", f"r{number}")
            (place / "recipes" / f"r{number}.yaml").write_text(text)
            (place / f"r{number}.tflite").write_bytes(tflite_bytes(metadata=str(number)))
        processes.make_environments(place.parent)
        set_tool(place.parent, seconds=0.01)
    set_tool(tmp_path / "a", seconds=0.01, hold=examine)
    store = {"BUILDSYS_STORE": str(tmp_path / "store")}
    runs = [start_doit(places[0], "-n", "2", extra=store)]
    processes.wait_until(lambda: len(tools_in(places[0], examine)) == 2, "two steps")
    runs.append(start_doit(places[1], "-n", "2", extra=store))
    processes.wait_until(lambda: len(examined(places[1])) == 4, "those that wait in the first run")
    processes.let_go(tmp_path / "a")
    outputs = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    ran = [*begun(places[0]), *begun(places[1])]
    assert len(ran) == len(set(ran))
    assert processes.shipped(places[0]) == processes.shipped(places[1])


def test_an_old_lock_file_blocks_no_run(tmp_path: Path) -> None:
    """A lock file without a process that holds it does not block a run."""
    place = make_place(tmp_path, seconds=0.01)
    run_doit(place, BUILD)
    keys = begun(place)
    for folder in ("actions", "blobs"):
        subprocess.run(["rm", "-r", str(tmp_path / "store" / folder)], check=True)
    subprocess.run(["rm", "-r", str(place / ".buildsys")], check=True)
    for key in keys:
        (tmp_path / "store/locks" / key).write_text("process 1 in /elsewhere")
    done = run_doit(place, BUILD)
    assert done.returncode == 0
    assert "waiting" not in done.stdout
    assert list((tmp_path / "store/locks").iterdir()) == []
