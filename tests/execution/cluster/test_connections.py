"""Checks of a connection before dask is used."""

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from buildsys.errors import InputError
from buildsys.execution.cluster.connections import (
    check_outside,
    explain_failure,
    make_certificate,
    may_be_off,
    probe,
    security,
)

IDLE = """
import asyncio, json
from buildsys.execution.cluster import connections
connections.configure()
from distributed import Scheduler, Worker

async def look():
    off = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": connections.NO_PAGES}
    async with Scheduler(port=0, **off) as scheduler:
        async with Worker(scheduler.address, memory_limit=0, **off) as worker:
            timers = [*scheduler.periodic_callbacks.items(), *worker.periodic_callbacks.items()]
            print(json.dumps({name: timer.callback_time for name, timer in timers}))

asyncio.run(look())
"""


@pytest.mark.slow
def test_an_idle_cluster_uses_almost_no_cpu_time(tmp_path: Path) -> None:
    """No timer of an idle scheduler or worker runs more than four times a second."""
    done = subprocess.run(
        [sys.executable, "-c", IDLE], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    timers: dict[str, float] = json.loads(done.stdout)
    assert timers
    assert {name: each for name, each in timers.items() if each < 250} == {}


def test_a_certificate_that_the_scheduler_refuses_is_named_at_once(tmp_path: Path) -> None:
    """A certificate that the scheduler rejects is reported at once, although TLS reports it after
    the handshake.
    """
    farm, other, mixed = (tmp_path / f"{name}.pem" for name in ("farm", "other", "mixed"))
    for path in (farm, other):
        make_certificate(path, lambda text: None)
    begin = "-----BEGIN PRIVATE KEY-----"
    mixed.write_text(other.read_text() + farm.read_text().partition(begin)[0])
    context = security(farm).get_listen_args("scheduler")["ssl_context"]
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def take() -> None:
            connection, _ = listening.accept()
            with contextlib.suppress(OSError):
                context.wrap_socket(connection, server_side=True).close()
            connection.close()

        thread = threading.Thread(target=take)
        thread.start()
        with pytest.raises(ssl.SSLError) as refused:
            probe(f"tls://127.0.0.1:{listening.getsockname()[1]}", 30, mixed)
        thread.join()
    why = explain_failure(refused.value)
    assert why.startswith("the certificate does not belong to this cluster: copy the file")
    assert not may_be_off(why)
    assert may_be_off(explain_failure(ConnectionRefusedError("Connection refused")))


def test_the_key_of_a_cluster_is_made_in_no_repository(tmp_path: Path) -> None:
    """The key of a cluster is never written into a repository, where a commit could publish it."""
    workspace, other = tmp_path / "workspace", tmp_path / "other"
    (other / ".git").mkdir(parents=True)
    (other / "keys").mkdir()
    workspace.mkdir()
    (workspace / "buildsys.yaml").write_text("store: ~/s\n")
    (tmp_path / "link").symlink_to(other / "keys")
    for path in (workspace / "farm.pem", other / "keys" / "farm.pem", tmp_path / "link/farm.pem"):
        with pytest.raises(InputError, match="in a repository, where a commit could publish") as no:
            check_outside(path, workspace)
        assert no.value.diagnostics[0].hint.startswith("name a file outside of it: `--tls /")
    check_outside(tmp_path / "farm.pem", workspace)
