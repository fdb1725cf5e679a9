"""Steps on workers: real scheduler, workers and step processes, with stand-ins for tools."""

import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from buildsys.execution.cluster.connections import make_certificate
from tests import processes
from tests.cluster_processes import TENSORRT, Cluster, python_path
from tests.conftest import REPOSITORY, copy_package
from tests.given_models import Edge, onnx_bytes, picture, tflite_bytes
from tests.object_servers import S3Server, s3_server
from tests.processes import let_go, run_doit, set_tool, start_doit

pytestmark = pytest.mark.slow
__all__ = ["s3_server"]

HELD = "examine_tflite"
"""The first of the two steps of `plain@host`."""
NO_PAUSES = """\
from buildsys.execution.cluster.order_handler import OrderHandler
OrderHandler.pauses = (0.0,)
"""
OTHER_CODE = """

_run = run


def run(inputs, outputs, params):
    _run(inputs, outputs, params)
"""
ENGINE = """\
name: eng
source: {family: onnx, task: detect, weights: {path: model.onnx}}
input: {size: [96, 160]}
evaluate: none
targets: [jetson-orin]
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster for one test, not started."""
    made = Cluster(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers that several tests use."""
    made = Cluster(tmp_path_factory.mktemp("farm"), wait_seconds=1)
    yield made.start("w0", "w1")
    made.close()


def changed_epochs(place: Path, count: int) -> None:
    """Change the epochs, so that the training and everything after it runs again."""
    recipe = place / "recipes" / "tags.yaml"
    recipe.write_text(re.sub(r"epochs: \d+", f"epochs: {count}", recipe.read_text()))


def begun_on(cluster: Cluster, *names: str) -> str:
    """Wait until the held step runs on a worker; returns the worker's name."""
    running = processes.wait_until(
        lambda: [name for name in names if cluster.tools_on(name, HELD)], "the held step"
    )
    return running[0]


def ended(run: "subprocess.Popen[str]", seconds: float = 180) -> str:
    """The output of a run that has ended."""
    output, _ = run.communicate(timeout=seconds)
    return output


def test_two_workers_ship_what_one_machine_ships(farm: Cluster, tmp_path: Path) -> None:
    """Packages and buildsys.lock are the same, and intermediate files stay with the workers."""
    here = processes.make_place(tmp_path, seconds=0.01)
    assert run_doit(here, "-n", "4").returncode == 0
    run = farm.run("-n", "4")
    assert run.returncode == 0, run.stdout
    assert f"cluster {farm.address}: 2 workers" in run.stdout
    assert set(re.findall(r"done in .* on (\w+)", run.stdout)) == {"w0", "w1"}
    assert re.search(r"train \(tags@xiao-esp32s3\): on w[01], no recorded result\n", run.stdout)
    assert processes.shipped(farm.place) == processes.shipped(here)
    assert without_seconds(farm.place) == without_seconds(here)
    for name in ("w0", "w1"):
        assert processes.damage(farm.place, farm.root / f"store-{name}") == []
    logs = {path.name for path in (here / ".buildsys/logs").iterdir()}
    assert logs <= {path.name for path in (farm.place / ".buildsys/logs").iterdir()}
    assert farm.run("-n", "4").returncode == 0


def without_seconds(place: Path) -> str:
    """buildsys.lock without the durations of trainings."""
    return re.sub(r"[0-9.]+ ?s\b|seconds\W+[0-9.]+", "", (place / "buildsys.lock").read_text())


def test_a_failure_on_a_worker_reads_like_one_of_here(farm: Cluster) -> None:
    """The failure names the worker, and the log is in this workspace."""
    changed_epochs(farm.place, 3)
    set_tool(farm.root, seconds=0.01, fail="train_ultralytics")
    run = farm.run("build:tags@xiao-esp32s3")
    set_tool(farm.root, seconds=0.01)
    assert run.returncode != 0
    assert re.search(
        r"train \(tags@xiao-esp32s3\): failed\non worker w[01]: train .*: exit code 1", run.stdout
    )
    log = re.search(r"log: (\S+)", run.stdout)
    assert log is not None
    assert Path(log[1]).is_relative_to(farm.place)
    assert "train_ultralytics fails on request" in Path(log[1]).read_text()
    assert processes.statuses(farm.place)["tags@xiao-esp32s3"] == "failed at train"


def test_an_engine_is_built_by_the_worker_that_has_its_library(farm: Cluster) -> None:
    """Without such a worker the build waits as on one machine; when a worker with the label joins
    during a run, the step runs there.
    """
    words = {"task": "detect", "names": "{0: 'box', 1: 'lid'}", "imgsz": "[96, 160]"}
    rows = (Edge(name="output0", shape=(1, 6, 315)),)
    (farm.place / "model.onnx").write_bytes(onnx_bytes((picture(),), rows, metadata=words))
    (farm.place / "recipes" / "eng.yaml").write_text(ENGINE)
    status = "waiting for TensorRT 10.3, compute capability 8.7"
    run = farm.run("build:eng@jetson-orin")
    assert (run.returncode, processes.statuses(farm.place)["eng@jetson-orin"]) == (10, status)
    assert "engine (eng@jetson-orin) waits for a worker: env-tensorrt" not in run.stdout
    assert (
        "engine (eng@jetson-orin) waits for a worker: tensorrt-10.3-sm87 (at most 1 s)"
        in run.stdout
    )
    farm.configure(wait_seconds="60")
    later = farm.begin("build:eng@jetson-orin")
    farm.worker(
        "orin", "--label", "tensorrt-10.3-sm87", extra=python_path(farm.root, TENSORRT), wait=False
    )
    output = ended(later)
    assert later.returncode == 0, output
    assert "engine (eng@jetson-orin): on orin, no recorded result" in output
    assert processes.statuses(farm.place)["eng@jetson-orin"] == "built"
    farm.kill("orin", signal.SIGTERM)
    assert "interrupted: no step was running" in farm.printed_by("orin")
    farm.configure()


def test_two_runs_share_the_workers_of_a_scheduler(farm: Cluster, tmp_path: Path) -> None:
    """Two simultaneous runs with a common recipe both succeed with the bytes of a single run, and
    no step runs twice.
    """
    places = [processes.make_place(tmp_path / name, seconds=0.01) for name in ("one", "two")]
    for number, place in enumerate(places):
        changed_epochs(place, 5 + number)
        shutil.copyfile(farm.place / "buildsys.yaml", place / "buildsys.yaml")
        (place / "model.tflite").write_bytes(tflite_bytes(metadata="of both"))
    texts = run_at_once(places, farm.variables)
    before = [processes.shipped(place) for place in places]
    assert before[0] != before[1]
    for place, text in zip(places, texts, strict=True):
        assert " on w" in text
        assert set(processes.statuses(place).values()) <= {"built", "restored"}, text
        for folder in (place / "build", place / ".buildsys", place.parent / "store"):
            shutil.rmtree(folder)
    run_at_once(places, {"BUILDSYS_CLUSTER": "none"})
    assert [processes.shipped(place) for place in places] == before
    stores = [farm.root / f"store-{name}" for name in ("w0", "w1")]
    made = [path.name for store in stores for path in (store / "actions").glob("*/*")]
    assert len(made) == len(set(made))
    assert [processes.damage(farm.place, store) for store in stores] == [[], []]


def run_at_once(places: list[Path], variables: Mapping[str, str]) -> list[str]:
    """Run doit in each place at once; returns the outputs."""
    runs = [start_doit(place, "-n", "4", extra=variables) for place in places]
    texts = [ended(run, 240) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], texts
    return texts


def test_a_worker_of_other_code_gets_no_step(cluster: Cluster, tmp_path: Path) -> None:
    """It is reported once with the reason; the step runs on this machine if no other worker fits."""
    package = copy_package(tmp_path / "other" / "buildsys")
    (tmp_path / "other" / "targets").symlink_to(REPOSITORY / "targets")
    step = package / "steps" / f"{HELD}.py"
    step.write_text(step.read_text() + OTHER_CODE)
    cluster.wait_seconds = 0
    cluster.scheduler()
    path = f"{tmp_path / 'site'}:{tmp_path / 'other'}"
    cluster.worker("old", extra={"PYTHONPATH": path})
    run = cluster.run("build:plain@host")
    assert run.returncode == 0, run.stdout
    sentence = f"worker old refused signal (plain@host): its code of {HELD} differs"
    assert run.stdout.count(sentence) == 1
    assert " on old" not in run.stdout


def test_a_step_whose_worker_dies_begins_again_once(cluster: Cluster) -> None:
    """It starts again on another worker; if that one also dies, the step fails."""
    set_tool(cluster.root, seconds=0.01, hold=HELD)
    cluster.start("w0", "w1", "w2")
    run = cluster.begin("build:plain@host")
    first = begun_on(cluster, "w0", "w1", "w2")
    cluster.kill(first)
    rest = {"w0", "w1", "w2"} - {first}
    second = begun_on(cluster, *rest)
    cluster.kill(second)
    output = ended(run)
    assert run.returncode == 1, output
    assert f"signal (plain@host) begins again on {second}" in output
    assert f"two workers died while running it ({first}, {second})" in output
    assert processes.statuses(cluster.place)["plain@host"] == "failed at signal: two workers died"
    let_go(cluster.root)
    (last,) = rest - {second}
    run = cluster.begin("build:plain@host")
    output = ended(run)
    assert run.returncode == 0, output
    assert "done in" in output
    assert f" on {last}" in output


def test_no_run_waits_for_ever_when_all_workers_are_gone(cluster: Cluster) -> None:
    """Without workers, steps that can run on this machine run there."""
    set_tool(cluster.root, seconds=0.01, hold=HELD)
    cluster.wait_seconds = 1
    cluster.start("w0")
    run = cluster.begin("build:plain@host")
    begun_on(cluster, "w0")
    cluster.kill("w0")
    let_go(cluster.root)
    output = ended(run)
    assert run.returncode == 0, output
    lines = [line for line in output.splitlines() if "w0 is gone" in line or "signal (" in line]
    waits, here = (
        "signal (plain@host) waits for a worker",
        "signal (plain@host) begins again on this",
    )
    signs = ("worker w0 is gone", waits, here)
    assert [s for line in lines for s in signs if s in line] == list(signs), output
    assert processes.statuses(cluster.place)["plain@host"] == "built"


def test_without_the_remote_store_a_run_goes_on_here(cluster: Cluster, s3_server: S3Server) -> None:
    """If the server dies during a step, the run continues here, and results are uploaded later."""
    set_tool(cluster.root, seconds=0.01, hold=HELD)
    cluster.wait_seconds = 1
    cluster.remote, cluster.endpoint = "s3://results/team", s3_server.endpoint
    cluster.scheduler()
    cluster.worker("w0", extra=python_path(cluster.root, NO_PAUSES))
    run = cluster.begin("build:plain@host")
    begun_on(cluster, "w0")
    s3_server.kill()
    let_go(cluster.root)
    output = ended(run)
    assert run.returncode == 0, output
    assert (
        "signal (plain@host) is done on w0, and its result is not in the remote store yet: "
        in output
    )
    assert "s3://results/team cannot be written: the connection is refused" in output
    assert processes.statuses(cluster.place)["plain@host"] == "built"


def test_without_its_scheduler_a_run_is_interrupted(cluster: Cluster) -> None:
    """The next run continues with the results in the remote store, and reports the unreachable
    scheduler.
    """
    set_tool(cluster.root, seconds=0.01, hold="train_ultralytics")
    cluster.start("w0")
    run = cluster.begin("build:tags@xiao-esp32s3")
    processes.wait_until(lambda: cluster.tools_on("w0", "train_ultralytics"), "the training")
    cluster.kill("scheduler")
    output = ended(run)
    assert run.returncode == 1, output
    assert f"interrupted: the scheduler at {cluster.address} is gone" in output
    assert processes.statuses(cluster.place)["tags@xiao-esp32s3"] == "interrupted at train"
    processes.wait_until(lambda: not cluster.tools_on("w0"), "the end of the step")
    assert "is gone" in cluster.printed_by("w0")
    shutil.rmtree(cluster.place / ".buildsys")
    shutil.rmtree(cluster.root / "store")
    run = cluster.begin("build:tags@xiao-esp32s3")
    output = ended(run)
    assert run.returncode == 1
    assert f"the scheduler {cluster.address} cannot be used: nothing listens there. Start" in output
    assert "BUILDSYS_CLUSTER=none builds on this machine alone" in output
    let_go(cluster.root)
    run = cluster.begin("build:plain@host", extra={"BUILDSYS_CLUSTER": "none"})
    output = ended(run)
    assert run.returncode == 0, output
    assert " on w0" not in output


def test_interrupted_by_the_user_nothing_runs_on(cluster: Cluster) -> None:
    """After Ctrl-C, processes on workers end at once; the next run continues."""
    set_tool(cluster.root, seconds=0.01, hold=HELD)
    cluster.start("w0")
    run = cluster.begin("build:plain@host")
    begun_on(cluster, "w0")
    run.send_signal(signal.SIGINT)
    processes.wait_until(lambda: not cluster.tools_on("w0"), "the end of the step")
    output = ended(run)
    assert run.returncode == 130, output
    assert processes.statuses(cluster.place)["plain@host"] == "interrupted at signal"
    let_go(cluster.root)
    run = cluster.begin("build:plain@host")
    output = ended(run)
    assert run.returncode == 0, output
    assert " on w0" in output


def test_a_cluster_under_tls_lets_in_who_has_its_certificate(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The scheduler writes the certificate, readable only by its owner; another certificate is
    rejected.
    """
    pem = tmp_path / "farm.pem"
    address = cluster.scheduler("--tls", str(pem), "--host", "127.0.0.1")
    assert address.startswith("tls://127.0.0.1:")
    assert stat.S_IMODE(pem.stat().st_mode) == 0o600
    cluster.worker("w0", "--ca", str(pem), "--store", str(tmp_path / "store"))  # of both
    run = cluster.begin("build:plain@host", extra={"BUILDSYS_CLUSTER_CA": str(pem)})
    output = ended(run)
    assert run.returncode == 0, output
    assert " on w0" in output
    other = tmp_path / "other.pem"
    make_certificate(other, lambda text: None)
    (cluster.place / "model.tflite").write_bytes(tflite_bytes(metadata="y" * 100))
    run = cluster.begin("build:plain@host", extra={"BUILDSYS_CLUSTER_CA": str(other)})
    output = ended(run)
    assert run.returncode == 1
    assert "does not belong to this cluster: copy the file of the scheduler" in output
    assert "Start it with" not in output
    cluster.worker("w1", "--ca", str(other), wait=False)
    assert cluster.processes["w1"].wait(60) == 1
    assert "the certificate does not belong to this cluster" in cluster.printed_by("w1")


def test_a_batch_whose_run_and_servers_are_killed_ships_the_bytes_of_a_serial_one() -> None:
    """A small batch; `python benchmarks/cluster_batch.py` builds 40 recipes."""
    script = REPOSITORY / "benchmarks" / "cluster_batch.py"
    done = subprocess.run(
        [sys.executable, str(script), "--recipes", "2", "--workers", "2", "--wide", "4"],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 packages" in done.stdout
    assert "0 were finished twice," in done.stdout
    assert "; 0 problems" in done.stdout
