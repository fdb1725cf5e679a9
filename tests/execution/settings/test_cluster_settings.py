"""Which cluster a run uses, which connections are allowed, and messages about others."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from buildsys.authoring.workspace import read_workspace_file
from buildsys.cli import main
from buildsys.cluster_settings import ClusterSettings, SlurmSettings, is_loopback
from buildsys.errors import BuildsysError, InputError
from buildsys.execution.cluster.connections import listening_host, read_certificate
from buildsys.execution.cluster.slurm import remove_left
from buildsys.execution.places import Workspace
from buildsys.execution.settings.cluster import find_certificate, find_cluster
from tests.conftest import REPOSITORY, Sample


def write(workspace: Path, text: str) -> None:
    """Write buildsys.yaml with a cluster."""
    (workspace / "buildsys.yaml").write_text(f"cluster: {text}\n")


def test_the_file_names_a_scheduler_and_the_variable_another(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file names a scheduler, a variable overrides it, and `none` disables it."""
    assert find_cluster(Workspace(workspace)) is None
    write(workspace, "{scheduler: 'tls://farm:8786', ca: farm.pem}")
    found = find_cluster(Workspace(workspace))
    assert found == ClusterSettings(scheduler="tls://farm:8786", ca="farm.pem")
    monkeypatch.setenv("BUILDSYS_CLUSTER", "tls://other:1")
    found = find_cluster(Workspace(workspace))
    assert found == ClusterSettings(scheduler="tls://other:1", ca="farm.pem")
    monkeypatch.setenv("BUILDSYS_CLUSTER", "tcp://other:1")
    with pytest.raises(BuildsysError, match=r"without TLS.*insecure: true"):
        find_cluster(Workspace(workspace))
    monkeypatch.setenv("BUILDSYS_CLUSTER", "none")
    assert find_cluster(Workspace(workspace)) is None
    monkeypatch.delenv("BUILDSYS_CLUSTER")
    write(workspace, '{slurm: {partition: gpu, workers: 8, walltime: "4:00:00"}}')
    found = find_cluster(Workspace(workspace))
    assert found is not None
    assert found.slurm == SlurmSettings(partition="gpu", workers=8, walltime="4:00:00")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{scheduler: 'http://farm:8786'}", "1:22: error: the address of a scheduler is tls://"),
        ("{scheduler: 'tls://farm'}", "1:22: error: the address of a scheduler is tls://"),
        (
            "{scheduler: 'tcp://[::1]:1'}",
            "1:22: error: a scheduler without TLS: anyone who can change",
        ),
        (
            "{scheduler: 'tls://f:1', ca: /usr/lib/keycert.pem}",
            "1:39: error: it is not the name",
        ),
        (
            "{scheduler: 'tls://f:1', ca: '~/a.pem'}",
            "1:39: error: it is not the name of a file",
        ),
        (
            "{scheduler: 'tls://f:1', ca: ..}",
            "1:39: error: it is not the name of a file in",
        ),
        ("{scheduler: 'tcp://farm:8786'}", "1:22: error: it leads to another machine without TLS"),
        ("{scheduler: 'tls://farm:8786'}", "1:22: error: tls:// needs `ca`"),
        ("{slurm: {partition: a b, workers: 1, walltime: '1:00:00'}}", "1:30: error: a partition"),
        ("{slurm: {partition: a, workers: 1, walltime: 4:00}}", "a walltime is HOURS"),
        (
            "{slurm: {partition: a, workers: 1, walltime: '1:00:00'}, ca: x}",
            "1:71: error: `ca` belongs",
        ),
        ("{wait_seconds: 3}", "`cluster` needs one of `scheduler` and `slurm`"),
        ("{schedular: x}", "unknown key `schedular`"),
    ],
)
def test_a_mistake_has_its_place(workspace: Path, text: str, message: str) -> None:
    """A mistake has file, line and column."""
    write(workspace, text)
    with pytest.raises(InputError) as raised:
        read_workspace_file(workspace)
    assert message in str(raised.value), str(raised.value)
    assert str(raised.value).startswith("buildsys.yaml:1:")


def test_without_tls_a_scheduler_is_for_this_machine(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without TLS only addresses of this machine are allowed, also on the command line; `insecure`
    allows others.
    """
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.1.2.3", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "farm", "10.0.0.1", "::", "localhost.evil.org")))
    assert listening_host("tcp://127.0.0.1:8786", "") == "127.0.0.1"
    assert listening_host("tls://farm:8786", "") is None
    assert main(["scheduler", "--host", "0.0.0.0"]) == 2
    assert "other machines can reach 0.0.0.0 without TLS" in capsys.readouterr().err
    assert main(["-C", str(workspace), "worker", "tcp://farm:8786"]) == 2
    printed = capsys.readouterr().err
    assert "it leads to another machine without TLS" in printed
    assert "allow it with `--insecure` where" in printed


def test_a_pull_request_chooses_no_scheduler(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """buildsys.yaml cannot choose a scheduler: certificates are outside the repository, and
    addresses without TLS come from a variable.
    """
    here, address = Workspace(workspace), "tcp://farm:8786"
    for text, message in (
        (f"scheduler: '{address}', insecure: true", f"set BUILDSYS_CLUSTER={address} to use it"),
        ("scheduler: 'tcp://127.0.0.1:1'", "set BUILDSYS_CLUSTER=tcp://127.0.0.1:1 to use it"),
        (
            "scheduler: 'tls://a:1', ca: ../keycert.pem",
            "or set BUILDSYS_CLUSTER_CA",
        ),
    ):
        write(workspace, f"{{{text}}}")
        for read in (find_cluster, lambda _: read_workspace_file(workspace)):
            with pytest.raises(InputError, match=message):
                read(here)
    write(workspace, "{insecure: true}")
    assert find_cluster(here) is None
    monkeypatch.setenv("BUILDSYS_CLUSTER", address)
    assert find_cluster(here) == ClusterSettings(scheduler=address, insecure=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    named = ClusterSettings(scheduler="tls://farm:8786", ca="farm.pem")
    assert find_certificate(here, named) == tmp_path / "config" / "buildsys" / "farm.pem"
    for place in (str(workspace / "farm.pem"), f"../../{workspace.name}/farm.pem"):
        inside = ClusterSettings(scheduler="tls://farm:8786", ca=place)
        with pytest.raises(InputError, match="is in the repository"):
            find_certificate(here, inside)


def test_a_variable_names_a_certificate_anywhere(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The variable names a certificate for the scheduler of the file and of the other variable."""
    here, own = Workspace(workspace), str(tmp_path / "elsewhere.pem")
    write(workspace, "{scheduler: 'tls://farm:8786', ca: farm.pem}")
    monkeypatch.setenv("BUILDSYS_CLUSTER_CA", own)
    named = find_cluster(here)
    assert named == ClusterSettings(scheduler="tls://farm:8786", ca=own)
    assert find_certificate(here, named) == Path(own)
    (workspace / "buildsys.yaml").unlink()
    assert find_cluster(here) is None
    monkeypatch.setenv("BUILDSYS_CLUSTER", "tls://other:1")
    assert find_cluster(here) == ClusterSettings(scheduler="tls://other:1", ca=own)


def test_a_cluster_without_a_remote_store_to_write_is_an_error_with_its_way_out(
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """A cluster without a writable remote store is an error before the first step and any
    connection.
    """
    monkeypatch.setenv("BUILDSYS_CLUSTER", "tcp://127.0.0.1:1")
    assert main(["-C", str(workspace), "build"]) == 1
    printed = capsys.readouterr()
    assert "a cluster needs a writable remote store" in printed.out + printed.err
    assert "BUILDSYS_CLUSTER=none builds on this machine" in printed.out + printed.err
    monkeypatch.setenv("BUILDSYS_REMOTE", f"file://{tmp_path}/remote")
    monkeypatch.setenv("BUILDSYS_REMOTE_MODE", "read")
    assert main(["-C", str(workspace), "worker", "tcp://127.0.0.1:1"]) == 1
    assert "is only read: BUILDSYS_REMOTE=file://" in capsys.readouterr().err
    monkeypatch.setenv("BUILDSYS_REMOTE_MODE", "read-write")
    (tmp_path / "remote").write_text("")
    assert main(["-C", str(workspace), "worker", "tcp://127.0.0.1:1"]) == 1
    assert f"file://{tmp_path}/remote cannot be written: " in capsys.readouterr().err
    assert main(["-C", str(workspace), "build"]) == 1
    printed = capsys.readouterr()
    assert f"file://{tmp_path}/remote cannot be written: " in printed.out + printed.err


def test_a_run_without_work_needs_no_library_of_a_cluster_or_a_remote(
    workspace: Path, sample: Sample, tmp_path: Path
) -> None:
    """A run without work makes no connection and imports no library for it."""
    sample.copy(workspace, tmp_path / "store")
    (workspace / "buildsys.yaml").write_text(
        f"remote: {{url: 'file://{tmp_path}/remote'}}\n"
        "cluster: {scheduler: 'tls://127.0.0.1:1', ca: farm.pem}\n"
    )
    code = (
        "import sys; from buildsys.cli import main; code = main(['build']);"
        "print(code, [m for m in ('obstore', 'distributed', 'cryptography') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=workspace,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stdout + done.stderr


def test_what_jobs_of_long_ago_left_is_removed(tmp_path: Path) -> None:
    """Old files of killed workers are removed; recent ones are kept."""
    for name in ("1", "2"):
        (tmp_path / "workers" / f"slurm-{name}" / ".buildsys").mkdir(parents=True)
        (tmp_path / "slurm").mkdir(exist_ok=True)
        (tmp_path / "slurm" / f"buildsys-{name}.out").write_text("")
    (tmp_path / "workers" / "gpu-1").mkdir()
    for place in (
        tmp_path / "workers" / "slurm-1" / ".buildsys",
        tmp_path / "workers" / "slurm-1",
        tmp_path / "workers" / "gpu-1",
        tmp_path / "slurm" / "buildsys-1.out",
    ):
        os.utime(place, (0, 0))
    remove_left(tmp_path, time.time())
    left = sorted(path.name for path in tmp_path.glob("*/*"))
    assert left == ["buildsys-2.out", "gpu-1", "slurm-2"]


def test_keys_of_runs_that_have_ended_are_removed(tmp_path: Path) -> None:
    """A killed run's private key is removed; those of running ones, whose process number may be in use
    again, and of other machines are kept for a month.
    """
    with subprocess.Popen(["true"]) as ended:
        pass
    host, folder = socket.gethostname(), tmp_path / "slurm"
    folder.mkdir()
    kept = (f"{host}-{os.getpid()}.pem", "elsewhere-7.pem", "notes.txt")
    gone = (f"{host}-{ended.pid}.pem", f"{host}-{'9' * 40}.pem", "elsewhere-8.pem", f"{host}-1.pem")
    for name in (*kept, *gone):
        (folder / name).write_text("")
    for name in (kept[2], *gone[2:]):
        os.utime(folder / name, (0, 0))
    remove_left(tmp_path, time.time())
    assert sorted(path.name for path in folder.iterdir()) == sorted(kept)


def test_check_shows_what_ends_a_run(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`check` reports mistakes that would end a run, together with all others."""
    write(workspace, "{scheduler: }")
    (workspace / "recipes" / "tags.yaml").write_text("name: tags\n")
    assert main(["-C", str(workspace), "check"]) == 2
    printed = capsys.readouterr().out
    assert "buildsys.yaml:1:11: error: `scheduler` must be text, not nothing" in printed
    assert "recipes/tags.yaml:1:1: error: " in printed
    assert main(["-C", str(workspace), "plan"]) == 2
    assert "`cluster.scheduler`: it is not a text" in capsys.readouterr().err


def test_a_certificate_is_a_file(tmp_path: Path) -> None:
    """A certificate must be a regular file."""
    for place in ("/dev/zero", str(tmp_path)):
        with pytest.raises(InputError, match="cannot be read"):
            read_certificate(Path(place), "--ca")
