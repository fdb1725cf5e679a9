"""Faults: a killed run, a killed step, a damaged store, a second run during the first."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from buildsys.authoring.scaffold.starters import LOADER_CONFIG
from tests.conftest import REPOSITORY, Build, StandIn
from tests.execution.test_doit import doit, statuses
from tests.given_models import tflite_bytes
from tests.processes import make_environments, set_tool

CONTENT = tflite_bytes(metadata="x" * 1000)
RECIPE = """\
name: remote
source: {{family: tflite, weights: {{url: "http://127.0.0.1:{port}/model", sha256: {sha256}}}}}
targets: [host]
"""


@pytest.fixture
def server() -> Iterator[tuple[int, threading.Event]]:
    """A server that sends half a file, and the rest when the event is set."""
    release = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:500])
            self.wfile.flush()
            release.wait(180)
            try:
                self.wfile.write(CONTENT[500:])
            except OSError:
                return

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield httpd.server_port, release
    release.set()
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def remote(tmp_path: Path, server: tuple[int, threading.Event]) -> Path:
    """A workspace whose model is fetched from the slow server."""
    make_environments(tmp_path)
    set_tool(tmp_path, seconds=0)
    root = tmp_path / "place"
    (root / "recipes").mkdir(parents=True)
    (root / "doit.cfg").write_text(LOADER_CONFIG)
    digest = hashlib.sha256(CONTENT).hexdigest()
    recipe = RECIPE.format(port=server[0], sha256=digest)
    (root / "recipes" / "remote.yaml").write_text(recipe)
    return root


def start(root: Path) -> "subprocess.Popen[str]":
    """Start doit in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "doit"],
        cwd=root,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


def children(root: Path) -> list[int]:
    """Processes that run a step of this workspace."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"launcher.py" in command and str(root).encode() in command:
                found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Poll for at most ten seconds."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.02)
    pytest.fail(f"waited in vain for {what}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_step_outlives_doit(
    remote: Path, server: tuple[int, threading.Event], number: signal.Signals
) -> None:
    """If doit ends for any reason, its steps end, no partial result is kept, and the next run
    continues.
    """
    process = start(remote)
    wait_until(lambda: children(remote), "the step")
    process.send_signal(number)
    process.communicate(timeout=180)
    wait_until(lambda: not children(remote), "the step's end")
    assert not (remote / "build" / "remote").exists()
    server[1].set()
    assert doit(remote).returncode == 0
    assert statuses(remote) == {"remote@host": "built"}


@pytest.mark.slow
def test_a_killed_step_is_a_failure_with_a_reason(
    remote: Path, server: tuple[int, threading.Event]
) -> None:
    """The message names the signal and how to repeat the step."""
    process = start(remote)
    wait_until(lambda: children(remote), "the step")
    os.kill(children(remote)[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=180)
    assert process.returncode in (1, 2)
    assert "ended by SIGKILL; the machine may have run out of memory" in output
    assert "to repeat: cd " in output
    assert statuses(remote) == {"remote@host": "failed at fetch"}
    server[1].set()
    assert doit(remote).returncode == 0


@pytest.mark.slow
def test_a_second_run_waits_and_says_for_whom(
    remote: Path, server: tuple[int, threading.Event]
) -> None:
    """A second run in one workspace waits, and names the run that it waits for."""
    first = start(remote)
    wait_until(lambda: children(remote), "the step")
    second = start(remote)
    assert second.stdout is not None
    assert second.stdout.readline().strip() == (
        f"waiting for another run in this workspace (process {first.pid})"
    )
    server[1].set()
    first.communicate(timeout=180)
    rest, _ = second.communicate(timeout=180)
    assert second.returncode == 0
    assert "up-to-date" in rest


@pytest.mark.slow
def test_a_wrong_digest_from_the_network_keeps_nothing(
    remote: Path, server: tuple[int, threading.Event]
) -> None:
    """A download with a wrong digest is not kept."""
    server[1].set()
    path = remote / "recipes" / "remote.yaml"
    path.write_text(path.read_text().replace(hashlib.sha256(CONTENT).hexdigest(), "ab" * 32))
    run = doit(remote)
    assert run.returncode in (1, 2)
    assert f"has sha256 {hashlib.sha256(CONTENT).hexdigest()}, the recipe says abab" in run.stderr


@pytest.mark.usefixtures("built")
def test_a_damaged_blob_is_made_again(build: Build, workspace: Path, tmp_path: Path) -> None:
    """A damaged blob is never used; its step runs again."""
    for path in (tmp_path / "store" / "blobs").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            path.write_bytes(b"rubbish")
    shutil.rmtree(workspace / "build")
    ran = build()
    assert "train_ultralytics" in ran
    assert (workspace / "build/tags/xiao-esp32s3/manifest.json").is_file()
    assert build() == []


@pytest.mark.usefixtures("built")
def test_a_cleared_store_loses_no_published_file(build: Build, tmp_path: Path) -> None:
    """With a cleared store, build/ stays up to date until something changes."""
    shutil.rmtree(tmp_path / "store")
    assert build() == []


@pytest.mark.usefixtures("built")
def test_a_red_gate_withdraws_the_package(build: Build, workspace: Path, tools: StandIn) -> None:
    """A red gate moves the file and the reason to .rejected; a new threshold measures nothing
    again.
    """
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("min: 0.1", "min: 0.9"))
    assert build() == ["gate", "gate"]
    assert not (workspace / "build/tags/grove-vision-ai-v2").exists()
    aside = workspace / "build/.rejected/tags@grove-vision-ai-v2"
    assert sorted(path.name for path in aside.iterdir()) == ["tags_vela.tflite", "verdict.json"]
    verdict = (aside / "verdict.json").read_text()
    assert "box.mAP50-95 is 0.5000, below 0.9" in verdict
    recipe.write_text(recipe.read_text().replace("min: 0.9", "min: 0.4"))
    assert build() == ["gate", "gate"]
    assert (workspace / "build/tags/grove-vision-ai-v2/manifest.json").is_file()
    assert not (workspace / "build/.rejected/tags@grove-vision-ai-v2").exists()


def test_a_failing_step_blocks_only_what_rests_on_it(
    build: Build, workspace: Path, tools: StandIn
) -> None:
    """The next run starts at the failed step; builds that do not depend on it are published."""
    tools.fail = {"compile_vela"}
    build()
    assert (workspace / "build/tags/xiao-esp32s3/manifest.json").is_file()
    assert not (workspace / "build/tags/grove-vision-ai-v2").exists()
    tools.fail = set()
    assert build() == [
        "compile_vela",
        "record_tflite",
        "record_tflm",
        "compare_recordings",
        "check_operators",
        "fit_memory",
        "gate",
        "package_flash",
        "draw_models",
        "load_firmware",
    ]
