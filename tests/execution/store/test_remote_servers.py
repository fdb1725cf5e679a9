"""A remote store on real servers, working and failing: runs continue, and no wrong result counts."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from buildsys.execution.session.session import Session
from buildsys.execution.session.summary import unread_note
from buildsys.execution.store.action_entry import blob_name
from buildsys.execution.store.objects import Objects
from buildsys.execution.store.remote_failure import RemoteFailure
from buildsys.execution.store.shared_store import SharedStore
from buildsys.remote_settings import RemoteSettings
from tests.conftest import StandIn, no_environment
from tests.execution.store.test_shared_store import KEY, entry_of
from tests.object_servers import BUCKET, Proxy, S3Server, http_server, s3_server
from tests.processes import shipped, wait_until
from tests.repetitions import repetitions

__all__ = ["s3_server"]
pytestmark = pytest.mark.slow
URL = f"s3://{BUCKET}/team"
Capture = pytest.CaptureFixture[str]


Configure = Callable[..., None]


@pytest.fixture
def configure(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Configure the remote store: in buildsys.yaml, and with `writes` in the environment."""

    def configure(endpoint: str, writes: bool = True, url: str = URL) -> None:
        where = f", endpoint: '{endpoint}'" if endpoint else ""
        (workspace / "buildsys.yaml").write_text(f"remote: {{url: '{url}'{where}}}\n")
        for name, value in {
            "BUILDSYS_REMOTE": url,
            "BUILDSYS_REMOTE_MODE": "read-write",
            "AWS_ENDPOINT_URL": endpoint,
        }.items():
            monkeypatch.setenv(name, value if writes else "")

    return configure


def build(workspace: Path, run: Callable[..., int]) -> set[str]:
    """Build everything; returns the kinds of outcomes."""
    session = Session(workspace, run, no_environment)
    rows = session.build(list(session.plans))
    session.close()
    return {str(row.outcome.kind) for row in rows}


def leave(workspace: Path, store: Path) -> None:
    """Remove what a fresh clone on a new machine does not have."""
    for folder in (workspace / ".buildsys", workspace / "build", store):
        shutil.rmtree(folder, ignore_errors=True)


def look_again(workspace: Path) -> None:
    """Make the next run check everything."""
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text() + "# read again\n")


def unpushed(store: Path) -> list[Path]:
    """Results that still have to be uploaded."""
    return list((store / "unpushed").glob("*"))


def is_curve(name: str) -> bool:
    """Whether a file is optional in a package, so that no step runs if it is lost."""
    return "/curves/" in name or "/training/" in name


def without_curves(workspace: Path) -> dict[str, str]:
    """Digests of a package's files without optional ones."""
    return {name: text for name, text in shipped(workspace).items() if not is_curve(name)}


def size_of(folder: Path) -> int:
    """Total size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def connect(root: Path, endpoint: str) -> SharedStore:
    """A machine's store in front of the server, which records messages."""
    store = SharedStore(root, RemoteSettings(url=URL, endpoint=endpoint, mode="read-write"))
    store.said = []  # type: ignore[attr-defined]
    store.print_line = store.said.append  # type: ignore[attr-defined]
    return store


def large(store: SharedStore, count: int) -> str:
    """Make a blob of `count` random bytes that a result names."""
    digest = store.put_bytes(os.urandom(count))
    store.record(entry_of(digest))
    return digest


def test_a_second_machine_restores_from_the_server(
    configure: Configure,
    workspace: Path,
    tools: StandIn,
    tmp_path: Path,
    s3_server: S3Server,
    capsys: Capture,
) -> None:
    """A second machine restores without running steps, and downloads only a part of the bytes.
    Readers upload nothing; damaged files are made again and replaced by writers.
    """
    configure(s3_server.endpoint)
    assert build(workspace, tools) == {"built"}
    before, lock = shipped(workspace), (workspace / "buildsys.lock").read_bytes()
    assert unpushed(tmp_path / "store") == []
    assert f"{URL}: " in capsys.readouterr().err

    leave(workspace, tmp_path / "store")
    configure(s3_server.endpoint, writes=False)
    writes = s3_server.writes()
    tools.ran.clear()
    assert build(workspace, tools) == {"restored"}
    assert (tools.ran, s3_server.writes()) == ([], writes)
    assert (shipped(workspace), (workspace / "buildsys.lock").read_bytes()) == (before, lock)
    moved = size_of(tmp_path / "store" / "blobs")
    assert 0 < moved < size_of(s3_server.folder / BUCKET / "team" / "blobs")

    came = [path.name for path in (tmp_path / "store" / "blobs").glob("*/*")]
    places = {name: s3_server.folder / BUCKET / "team" / blob_name(name) for name in came}
    stored = {name: path for name, path in places.items() if path.exists()}
    whole = {name: path.read_bytes() for name, path in stored.items()}
    for path in stored.values():
        data = path.read_bytes()
        path.write_bytes(bytes((data[0] ^ 1,)) + data[1:])
    leave(workspace, tmp_path / "store")
    configure(s3_server.endpoint)
    assert build(workspace, tools) == {"built"}
    assert "is damaged there and was ignored" in capsys.readouterr().err
    assert without_curves(workspace) == {k: v for k, v in before.items() if not is_curve(k)}
    mended = {name for name, path in stored.items() if path.read_bytes() == whole[name]}
    made = {path.name for path in (tmp_path / "store" / "blobs").glob("*/*")}
    assert mended >= made & stored.keys()
    assert mended


def test_a_machine_without_the_data_learns_that_the_store_may_be_the_reason(
    configure: Configure, workspace: Path, tools: StandIn, tmp_path: Path, s3_server: S3Server
) -> None:
    """Builds wait for the data. A line names the store if a request to it failed, and only then."""
    configure(s3_server.endpoint)
    assert build(workspace, tools) == {"built"}
    tools.ran.clear()
    (workspace / "tags").rename(tmp_path / "tags")

    def run() -> tuple[set[str], str]:
        leave(workspace, tmp_path / "store")
        configure(s3_server.endpoint, writes=False)
        session = Session(workspace, tools, no_environment)
        outcomes = [row.outcome for row in session.build(list(session.plans))]
        note = unread_note(outcomes, session.state.store)
        session.close()
        return {str(outcome) for outcome in outcomes}, note

    assert run() == ({"restored"}, "")
    s3_server.kill()  # it remembers which files there are
    (s3_server.folder / BUCKET / "team" / "blobs").rename(tmp_path / "kept")
    s3_server.start()
    assert run() == ({"waiting for tags/data.yaml"}, "")
    s3_server.kill()
    note = f"{URL} could not be read completely: it may have what these builds wait for"
    assert run() == ({"waiting for tags/data.yaml"}, note)
    assert tools.ran == []


def test_a_file_that_did_not_come_is_the_reason_of_its_step(
    configure: Configure,
    workspace: Path,
    tools: StandIn,
    tmp_path: Path,
    s3_server: S3Server,
    capsys: Capture,
) -> None:
    """Results known from an earlier run, whose files a store has that is away."""
    configure(s3_server.endpoint)
    assert build(workspace, tools) == {"built"}
    shutil.rmtree(tmp_path / "store" / "blobs")
    shutil.rmtree(workspace / "build")
    s3_server.kill()
    look_again(workspace)
    assert build(workspace, tools) == {"built"}
    told = capsys.readouterr().err
    assert f"its files did not come from {URL}" in told


@pytest.mark.parametrize("trouble", ["refused", "silent", "key", "bucket"])
def test_a_run_goes_on_without_the_server(
    configure: Configure,
    workspace: Path,
    tools: StandIn,
    tmp_path: Path,
    s3_server: S3Server,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
) -> None:
    """A run continues without the server after one line, and a later run uploads the results."""
    endpoint, url = s3_server.endpoint, URL
    proxy = Proxy(s3_server.port, silent=True) if trouble == "silent" else None
    if trouble == "refused":
        s3_server.kill()
    elif proxy is not None:
        endpoint = proxy.endpoint
    elif trouble == "key":
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    else:
        url = "s3://nowhere/team"
    configure(endpoint, url=url)
    assert build(workspace, tools) == {"built"}
    if proxy is not None:
        proxy.close()
    why = {
        "refused": "the connection is refused",
        "silent": "it does not answer within 3 s",
        "key": "the server refuses the credentials",
        "bucket": "the bucket does not exist: create it (buildsys does not create buckets)",
    }[trouble]
    lines = [line for line in capsys.readouterr().err.splitlines() if "s3://" in line]
    assert [line.partition("] ")[2] for line in lines] == [
        f"{url} at {endpoint}: {why}; this run continues with the store of this machine; a later run, or"
        " `buildsys store push`, uploads its results"
    ]
    if trouble == "refused":
        assert unpushed(tmp_path / "store")
        s3_server.start()
        look_again(workspace)
        assert build(workspace, tools) == {"up-to-date"}
        assert unpushed(tmp_path / "store") == []
        assert size_of(s3_server.folder / BUCKET / "team" / "blobs")


def test_the_server_is_killed_while_steps_run(
    configure: Configure,
    workspace: Path,
    tools: StandIn,
    tmp_path: Path,
    s3_server: S3Server,
    capsys: Capture,
) -> None:
    """After two failures the server is no longer used, and results are uploaded by the next run."""
    configure(s3_server.endpoint)

    def run(*arguments: object) -> int:
        if len(tools.ran) == 6:
            s3_server.kill()
        return tools(*arguments)  # type: ignore[arg-type]

    assert build(workspace, run) == {"built"}
    text = capsys.readouterr().err
    assert text.count("is not used for now") == 1
    assert "a later run, or `buildsys store push`, uploads its results" in text
    left = unpushed(tmp_path / "store")
    assert left
    s3_server.start()
    look_again(workspace)
    assert build(workspace, tools) == {"up-to-date"}
    assert unpushed(tmp_path / "store") == []
    leave(workspace, tmp_path / "store")
    tools.ran.clear()
    assert build(workspace, tools) == {"restored"}
    assert tools.ran == []


def test_the_server_is_killed_while_a_large_file_goes_there(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """A partial upload is not used, and is repeated."""
    proxy = Proxy(s3_server.port, rate=4_000_000)
    one = connect(tmp_path / "one", proxy.endpoint)
    digest = large(one, 20_000_000)
    one.publish(entry_of(digest))
    wait_until(lambda: proxy.passed > 2_000_000, "the file to be under way")
    s3_server.kill()
    proxy.close()
    one.finish_run()
    assert unpushed(one.root)
    s3_server.start()
    objects = Objects(RemoteSettings(url=URL, endpoint=s3_server.endpoint))
    assert objects.size(blob_name(digest)) is None
    proxy = Proxy(s3_server.port, at=proxy.port)
    again = connect(tmp_path / "one", proxy.endpoint)
    again.finish_run()
    proxy.close()
    assert objects.size(blob_name(digest)) == 20_000_000
    assert unpushed(one.root) == []


def test_the_server_is_killed_while_a_large_file_comes(tmp_path: Path, s3_server: S3Server) -> None:
    """A partial download is discarded; the file is missing in this run, and downloaded in the next."""
    one = connect(tmp_path / "one", s3_server.endpoint)
    digest = large(one, 20_000_000)
    one.push(entry_of(digest))
    proxy = Proxy(s3_server.port, rate=4_000_000)
    two = connect(tmp_path / "two", proxy.endpoint)
    two.look_up([(KEY, "")])
    killed: list[str] = []

    def kill_soon() -> None:
        wait_until(lambda: proxy.passed > 2_000_000, "the file to be under way")
        s3_server.kill()
        proxy.close()
        killed.append("yes")

    threading.Thread(target=kill_soon, daemon=True).start()
    with pytest.raises(FileNotFoundError):
        two.read(digest)
    assert killed
    assert not two.has(digest, tree=False)
    assert [
        path.name for path in (tmp_path / "two").rglob("*") if path.name.startswith(".tmp")
    ] == []
    s3_server.start()
    three = connect(tmp_path / "two", s3_server.endpoint)
    three.look_up([(KEY, "")])
    assert len(three.read(digest)) == 20_000_000


def test_a_slow_line_is_no_failure(tmp_path: Path, s3_server: S3Server) -> None:
    """A slow connection is not a failure, in both directions."""
    count = 6_000_000 if repetitions(1) == 1 else 50_000_000
    proxy = Proxy(s3_server.port, rate=2_000_000)
    one = connect(tmp_path / "one", proxy.endpoint)
    digest = large(one, count)
    one.push(entry_of(digest))
    two = connect(tmp_path / "two", proxy.endpoint)
    two.look_up([(KEY, "")])
    assert len(two.read(digest)) == count
    said = [*one.said, *two.said]  # type: ignore[attr-defined]
    # only progress lines
    assert [line for line in said if not line.endswith(("/s", " so far"))] == []
    proxy.close()


def test_a_web_server_is_read_from(
    configure: Configure,
    workspace: Path,
    tools: StandIn,
    tmp_path: Path,
    s3_server: S3Server,
    capsys: Capture,
) -> None:
    """A store on any web server can be read; what is cut once is requested once more, and what is
    always cut is rejected.
    """
    configure(s3_server.endpoint)
    assert build(workspace, tools) == {"built"}
    before = shipped(workspace)
    capsys.readouterr()
    for cuts, outcome in ((0, "restored"), (1, "restored"), (99, "built")):
        leave(workspace, tmp_path / "store")
        with http_server(s3_server.folder / BUCKET / "team", cuts=cuts) as url:
            configure("", writes=False, url=url)
            assert build(workspace, tools) == {outcome}
        assert shipped(workspace) == before
        assert capsys.readouterr().err.count("the connection was cut") == int(cuts > 1)
    with (
        http_server(tmp_path / "store") as url,
        pytest.raises(RemoteFailure, match="it is not a remote store"),
    ):
        SharedStore(tmp_path / "x", RemoteSettings(url=url)).remote.objects()


def test_a_command_that_fails_ends_with_its_exit_code(
    configure: Configure, workspace: Path, s3_server: S3Server
) -> None:
    """Failing commands end with their exit code, also many at once, although the library's threads
    outlive Python.
    """
    configure(s3_server.endpoint, url="s3://absent/team")
    command = [sys.executable, "-m", "buildsys", "-C", str(workspace), "remote", "check"]
    running = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(24)
    ]
    assert {process.wait(180) for process in running} == {1}
