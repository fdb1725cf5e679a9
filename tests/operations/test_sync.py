"""`buildsys sync` downloads everything ahead of time, so that a build needs no network."""

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from buildsys.authoring.scaffold.starters import LOADER_CONFIG
from buildsys.cli import main
from buildsys.commands import sync
from buildsys.execution.tools import definitions
from buildsys.execution.tools.uv_commands import Run
from buildsys.execution.tools.watching import OnTick, watched
from tests.conftest import REPOSITORY
from tests.execution.test_doit import doit, statuses
from tests.execution.tools.test_toolenvs import Uv
from tests.given_models import tflite_bytes
from tests.offline import without_network
from tests.operations import golden
from tests.processes import make_environments, set_tool

Capture = pytest.CaptureFixture[str]
MODEL = tflite_bytes(metadata="x" * 1000)
REMOTE = """\
name: remote
source: {{family: tflite, weights: {{url: "http://127.0.0.1:{port}/{file}", sha256: {sha256}}}}}
targets: [host]
"""
VELA = """\
name: straight
source: {family: tflite, weights: {path: model.tflite}}
targets: [grove-vision-ai-v2]
"""


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Restore the signal handlers that the command replaces."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def run_sync(root: Path, uv: Uv, *arguments: str) -> int:
    """Run the command with a stand-in for uv whose progress is always half."""
    parser = argparse.ArgumentParser()
    sync.arguments(parser)
    options = parser.parse_args(arguments)
    options.folder = root

    def make_run(on_tick: OnTick) -> Run:
        def run(
            command: Sequence[str], extra: Mapping[str, str]
        ) -> "subprocess.CompletedProcess[str]":
            on_tick(3.0, 30.0)
            return uv(command, extra)

        return run

    return sync.run(options, make_run)


def test_a_workspace_gets_what_its_builds_need(
    workspace: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes are printed first, then one line per item; a second run has nothing to do."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert run_sync(workspace, Uv(), "--dry-run") == 0
    golden.check("sync-dry-run", capsys.readouterr().out)
    assert run_sync(workspace, Uv(), "*@xiao*") == 0
    captured = capsys.readouterr()
    golden.check("sync", captured.out)
    golden.check("sync-progress", captured.err)
    again = Uv()
    assert run_sync(workspace, again) == 0
    golden.check("sync-rest", capsys.readouterr().out)
    assert run_sync(workspace, again, "--dry-run") == 0
    golden.check("sync-nothing", capsys.readouterr().out)


def test_all_means_every_environment_and_needs_no_workspace(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--all` syncs every environment and needs no workspace."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert run_sync(tmp_path, Uv(), "--all") == 0
    output = capsys.readouterr().out
    assert all(f"synced          {env.name} in " in output for env in definitions.all_tool_envs())
    assert not (tmp_path / ".buildsys").exists()


def test_a_failure_stops_no_other(
    workspace: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All items are tried, each failure is reported, the exit code is not 0."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    lock = str(definitions.tool_env("evaluate").lock("lock"))
    uv = Uv(fail_at=lock, stderr="error sending request for url")
    assert run_sync(workspace, uv) == 1
    text = capsys.readouterr().out
    output = "\n".join(line for line in text.splitlines() if "to repeat" not in line) + "\n"
    golden.check("sync-failed", output)


@pytest.mark.parametrize(
    ("name", "arguments", "recipes"),
    [
        ("no-recipes", (), False),
        ("unknown", ("tag@xiao-esp32s3",), True),
        ("all-and-some", ("--all", "x"), True),
        ("mistake", ("zz@host",), True),
    ],
)
def test_wrong_arguments(
    workspace: Path,
    tmp_path: Path,
    capsys: Capture,
    name: str,
    arguments: tuple[str, ...],
    recipes: bool,
) -> None:
    """Wrong arguments sync nothing; a recipe's own mistake is printed."""
    (workspace / "recipes" / "zz.yaml").write_text("name: zz\nsurce: 1\n")
    assert main(["-C", str(workspace if recipes else tmp_path), "sync", *arguments]) == 2
    golden.check(f"sync-{name}", capsys.readouterr().err, tmp_path)


def test_a_build_that_waits_is_reported(workspace: Path, capsys: Capture) -> None:
    """A waiting build that was requested, by its id or its recipe's name, gives exit code 10."""
    recipe = workspace / "recipes" / "later.yaml"
    recipe.write_text(
        VELA.replace("straight", "later").replace(
            "model.tflite", f"absent.tflite, sha256: {'0' * 64}"
        )
    )
    assert main(["-C", str(workspace), "sync", "later"]) == 10
    assert main(["-C", str(workspace), "sync", "later@grove-vision-ai-v2"]) == 10
    assert "later@grove-vision-ai-v2 waits for absent.tflite" in capsys.readouterr().out


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    """A server for a folder with one model."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "model.tflite").write_bytes(MODEL)

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def make_remote(tmp_path: Path, port: int, *files: str) -> Path:
    """A workspace whose models are fetched from a server; LiteRT's environment is a stand-in."""
    root = tmp_path / "place"
    if files:
        make_environments(tmp_path)
        set_tool(tmp_path, seconds=0)
    (root / "recipes").mkdir(parents=True)
    (root / "doit.cfg").write_text(LOADER_CONFIG)
    digest = hashlib.sha256(MODEL).hexdigest()
    for file in files:
        name = file.split(".")[0]
        text = REMOTE.format(port=port, file=file, sha256=digest).replace(
            ": remote", f": {name}", 1
        )
        (root / "recipes" / f"{name}.yaml").write_text(text)
    return root


def run_real(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `buildsys sync` as a process."""
    return subprocess.run(
        [sys.executable, "-m", "buildsys", "sync", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


@pytest.mark.slow
def test_what_is_remote_is_fetched_and_then_no_network_is_needed(
    tmp_path: Path, server: ThreadingHTTPServer
) -> None:
    """After `sync` the build runs without network."""
    root = make_remote(tmp_path, server.server_port, "model.tflite")
    assert "would fetch     fetch (model@host)" in run_real(root, "--dry-run").stdout
    refused = without_network(root, "doit")
    assert refused.returncode in (1, 2)
    assert statuses(root) == {"model@host": "failed at fetch"}
    first = run_real(root)
    assert first.returncode == 0, first.stderr
    golden.check("sync-fetch", first.stdout)
    again = "already synced  evaluate\nalready here    fetch (model@host)\n"
    assert run_real(root).stdout == again
    built = without_network(root, "doit")
    assert built.returncode == 0, built.stderr
    assert (root / "build" / "model" / "host" / "model.tflite").read_bytes() == MODEL


@pytest.mark.slow
def test_what_the_store_lost_is_fetched_again(tmp_path: Path, server: ThreadingHTTPServer) -> None:
    """A file that the store lost is fetched again, even if its digest is known."""
    root = make_remote(tmp_path, server.server_port, "model.tflite")
    assert doit(root).returncode == 0
    Path(tmp_path, "store", "blobs", hashlib.sha256(MODEL).hexdigest()[:2]).rename(
        tmp_path / "lost"
    )
    assert "fetched         fetch (model@host)" in run_real(root).stdout


@pytest.mark.slow
def test_a_file_that_is_not_there_stops_no_other(
    tmp_path: Path, server: ThreadingHTTPServer
) -> None:
    """A missing file does not stop the others."""
    root = make_remote(tmp_path, server.server_port, "absent.tflite", "model.tflite")
    run = run_real(root)
    assert run.returncode == 1
    head = "failed          fetch (absent@host): fetch (fetch_file) failed:"
    assert f"{head}\n    http://127.0.0.1:" in run.stdout
    assert "fetched         fetch (model@host)" in run.stdout


@pytest.mark.slow
def test_without_network_and_environment_the_error_says_what_to_do(tmp_path: Path) -> None:
    """Without network and environment, the message says what to do."""
    root = make_remote(tmp_path, 9)
    (root / "recipes" / "straight.yaml").write_text(VELA)
    (root / "model.tflite").write_bytes(MODEL)
    run = without_network(root, "doit", UV_HTTP_RETRIES="0")
    assert run.returncode in (1, 2)
    assert statuses(root) == {"straight@grove-vision-ai-v2": "failed at tflm"}
    assert (
        "the tool environment tflite-micro could not be made: the package index could not be reached;"
        " once synced (`buildsys sync`), no network is needed." in run.stderr
    )


def test_a_quiet_command_is_seen_to_write(tmp_path: Path) -> None:
    """Progress of a silent command is measured by the bytes it writes, including ended children."""
    seen: list[float] = []
    run = watched(lambda seconds, mib: seen.append(mib), every=0.05)
    script = "dd if=/dev/zero of=big bs=1M count=20 2>/dev/null; sleep 0.5; echo done; exit 3"
    done = run(["sh", "-c", f"cd {tmp_path} && {script}"], {})
    assert (done.returncode, done.stdout) == (3, "done\n")
    assert seen[-1] >= 20
