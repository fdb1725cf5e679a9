"""Which store a workspace uses, and which it rejects."""

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from buildsys.authoring.workspace import WorkspaceFile
from buildsys.errors import BuildsysError, CannotWrite, InputError
from buildsys.execution.places import Workspace
from buildsys.execution.settings.cluster import find_cluster
from buildsys.execution.settings.stores import default_store, find_remote
from buildsys.execution.settings.workspace_file import KEYS
from buildsys.execution.store.action_entry import WORKER, make_entry
from buildsys.execution.store.shared_store import SharedStore
from buildsys.execution.store.store import Store
from buildsys.graph import StepResult
from buildsys.remote_settings import RemoteSettings, trust_id
from tests.sample_steps import make_step


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace in a folder of a repository, without environment variables."""
    monkeypatch.delenv("BUILDSYS_STORE")
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    (tmp_path / "repository" / "vision").mkdir()
    return Workspace(tmp_path / "repository" / "vision")


@pytest.mark.parametrize("place", ["results", ".", "../results", "{root}/a/../b", "link"])
def test_a_store_in_the_repository_is_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A store in the repository is rejected, also behind a link, because a commit could fill it."""
    (workspace.root.parent / "inside").mkdir()
    (workspace.root / "link").symlink_to(workspace.root.parent / "inside")
    place = place.replace("{root}", str(workspace.root))
    (workspace.root / "buildsys.yaml").write_text(f"datasets: {{}}\nstore: {place}\n")
    with pytest.raises(InputError) as error:
        default_store(workspace)
    assert str(error.value).splitlines()[:2] == [
        "buildsys.yaml:2:8: error: the store would lie in the repository, where a commit could fill it",
        f"    store: {place}",
    ]
    monkeypatch.setenv("BUILDSYS_STORE", str(workspace.root / place))
    with pytest.raises(CannotWrite, match="the store would lie in the repo"):
        default_store(workspace)


def test_a_store_beside_the_repository_is_used(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store outside the repository is used; the environment takes precedence over the file."""
    (workspace.root / "buildsys.yaml").write_text("store: ../../results\n")
    outside = workspace.root.parent.parent
    assert default_store(workspace).root.resolve() == outside / "results"
    monkeypatch.setenv("BUILDSYS_STORE", str(outside / "other"))
    assert default_store(workspace).root == outside / "other"


def test_a_store_that_the_file_names_only_this_user_writes(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A store named in the file must only be writable by this user."""
    place = tmp_path / "results"
    (workspace.root / "buildsys.yaml").write_text(f"store: {place}\n")
    old = os.umask(0o002)
    try:
        default_store(workspace).put_bytes(b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert default_store(workspace).root == place  # no other user can access `blobs`
    for mode, shared in ((0o755, place / "blobs"), (0o770, place), (0o1777, place)):
        place.chmod(mode)
        with pytest.raises(InputError) as error:
            default_store(workspace)
        assert str(error.value).startswith(
            f"buildsys.yaml:1:8: error: other users can write to {shared}, and results in a store"
        )
        assert f"set BUILDSYS_STORE={place} if you trust all of them" in str(error.value)
    place.chmod(0o755)
    (place / "blobs").chmod(0o755)
    assert default_store(workspace).root == place
    for above, there in ((0o777, True), (0o1777, False)):  # another user could replace it
        tmp_path.chmod(above)
        place.rename(tmp_path / "other")
        place.mkdir() if there else None
        with pytest.raises(
            InputError, match=f"other users can write to {tmp_path}, and results"
        ) as error:
            default_store(workspace)
        assert "name another folder, or set BUILDSYS_STORE=" in str(error.value)
        place.rmdir() if there else None
        (tmp_path / "other").rename(place)
    assert default_store(workspace).root == place  # a sticky bit protects an existing one
    tmp_path.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(InputError, match=f"{place} belongs to another user") as error:
        default_store(workspace)
    assert f"set BUILDSYS_STORE={place} if you trust that user" in str(error.value)
    monkeypatch.setenv("BUILDSYS_STORE", str(place))
    assert default_store(workspace).root == place


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "large"])
def test_what_is_no_small_file_of_the_workspace_is_not_read(
    workspace: Workspace, kind: str
) -> None:
    """buildsys.yaml must be a small regular file of the workspace, in runs as in `check`."""
    file, secret = workspace.root / "buildsys.yaml", workspace.root.parent.parent / "secret"
    secret.write_text("remote: {url: s3://u, token: hidden}\n")
    if kind == "link":
        file.symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        file.write_text("#" * (1 << 20) + "\n")
    messages = {
        "link": "this is a symbolic link that leads out of the workspace",
        "pipe": "this is a pipe, socket or device, not a file",
        "folder": "this is a folder, not a file",
        "large": "the file has 1.0 MB; expected a few kilobytes",
    }
    for find in (default_store, find_remote, find_cluster):
        with pytest.raises(InputError) as error:
            find(workspace)
        assert messages[kind] in str(error.value)
        assert "hidden" not in str(error.value)


def test_a_folder_of_other_things_is_no_store(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A folder with other content is rejected as store."""
    home = tmp_path / "home"
    (home / "tmp").mkdir(parents=True)
    (home / "thesis.tex").touch()
    monkeypatch.setenv("HOME", str(home))
    (workspace.root / "buildsys.yaml").write_text('store: "~"\n')
    with pytest.raises(InputError) as error:
        default_store(workspace)
    assert str(error.value).startswith(
        "buildsys.yaml:1:8: error: this folder holds files that are not a store's (`thesis.tex`)"
    )
    monkeypatch.setenv("BUILDSYS_STORE", str(home))
    with pytest.raises(CannotWrite, match="this folder holds files that are not a store's"):
        default_store(workspace)
    (home / "thesis.tex").rename(home / ".snapshot")
    assert default_store(workspace).root == home


def test_a_folder_that_is_no_workspace_may_hold_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder without recipes may contain the store."""
    monkeypatch.setenv("BUILDSYS_STORE", str(tmp_path / "store"))
    assert default_store(Workspace(tmp_path)).root == tmp_path / "store"
    (tmp_path / "recipes").mkdir()
    with pytest.raises(CannotWrite, match="in the repository"):
        default_store(Workspace(tmp_path))


REMOTE = "remote: {url: s3://team/results, endpoint: 'https://h', trusted: [KEY]}\n"
KEY = f"ed25519:{'A' * 43}="


def test_a_workspace_shares_a_remote_store(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables set URL and mode of the remote store; the file sets the trusted keys."""
    assert type(default_store(workspace)) is Store
    (workspace.root / "buildsys.yaml").write_text(REMOTE.replace("KEY", KEY))
    assert isinstance(default_store(workspace), SharedStore)
    written = RemoteSettings(url="s3://team/results", endpoint="https://h", trusted=(KEY,))
    assert find_remote(workspace) == written
    monkeypatch.setenv("BUILDSYS_REMOTE", "gs://mine")
    mine = RemoteSettings(url="gs://mine", trusted=(KEY,))
    assert find_remote(workspace) == mine
    monkeypatch.setenv("BUILDSYS_REMOTE_MODE", "read-write")
    assert find_remote(workspace) == replace(mine, mode="read-write")
    for variable in ("BUILDSYS_REMOTE", "BUILDSYS_REMOTE_MODE"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, "none")
            assert find_remote(workspace) is None


def test_what_a_worker_made_counts_by_itself_where_no_keys_are_trusted(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without trusted keys a worker's results count, even without a remote store."""
    step = make_step("export")
    result = StepResult(outputs=(("made", "e" * 64),), seconds=1.0)
    default_store(workspace).record(make_entry(step, "d" * 64, result, {WORKER: "w0"}))
    settings, counts = workspace.root / "buildsys.yaml", []
    for place, text in (
        ("", ""),
        ("none", REMOTE.replace(", trusted: [KEY]", "")),
        ("none", REMOTE.replace("KEY", KEY)),
        ("file:///nowhere", REMOTE.replace("KEY", KEY)),
    ):
        settings.write_text(text)
        monkeypatch.setenv("BUILDSYS_REMOTE", place)
        store = default_store(workspace)
        counts.append(store.recall("d" * 64) is not None)
        assert store.is_foreign("d" * 64, result.outputs)
    assert counts == [True, True, False, False]


def test_a_run_writes_to_no_store_that_only_the_file_names(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run never writes to a store that only the file names; an explicit command may."""
    (workspace.root / "buildsys.yaml").write_text(REMOTE.replace("KEY", KEY))
    found = find_remote(workspace)
    assert found is not None
    assert not found.writes
    pushed = find_remote(workspace, pushes=True)
    assert pushed == replace(found, mode="read-write")
    monkeypatch.setenv("BUILDSYS_REMOTE_MODE", "read-write")
    assert find_remote(workspace, pushes=True) == pushed
    with pytest.raises(BuildsysError) as error:
        find_remote(workspace)
    assert str(error.value) == (
        "BUILDSYS_REMOTE_MODE is `read-write`, and BUILDSYS_REMOTE is not set: a run writes only to a store"
        " that your environment names, BUILDSYS_REMOTE=s3://team/results AWS_ENDPOINT_URL=https://h"
    )
    monkeypatch.setenv("BUILDSYS_REMOTE_MODE", "read")
    assert find_remote(workspace, pushes=True) == found


def test_who_reads_by_the_file_and_writes_by_variables_has_one_store(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same store named by file and by variables shares its entries."""
    (workspace.root / "buildsys.yaml").write_text(REMOTE.replace("KEY", KEY))
    read = find_remote(workspace)
    monkeypatch.setenv("BUILDSYS_REMOTE", "s3://team/results")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://h")
    monkeypatch.setenv("BUILDSYS_REMOTE_MODE", "read-write")
    written = find_remote(workspace)
    assert read is not None
    assert written is not None
    assert trust_id(read) == trust_id(written)


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"BUILDSYS_REMOTE": "s3://me:secret@team"}, "`s3://***@team`: credentials do not belong"),
        ({"BUILDSYS_REMOTE_MODE": "write"}, "BUILDSYS_REMOTE_MODE is `write`; it is read, "),
        ({"BUILDSYS_REMOTE": "https://h/x?sig=secret"}, "`https://h/x`: a remote store has no `?`"),
        ({"BUILDSYS_REMOTE": "file:///tmp/a%00b"}, "a URL has no control characters"),
        (
            {"BUILDSYS_REMOTE": "https://h/x", "BUILDSYS_REMOTE_MODE": "read-write"},
            "can only be read",
        ),
    ],
)
def test_a_variable_that_names_no_remote_store_is_an_error(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], why: str
) -> None:
    """A wrong variable is an error, and passwords are not printed."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BuildsysError) as error:
        find_remote(workspace)
    assert why in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "remote: {url: s3://t, endpoint: , trusted: [KEY]}",
            "1:32: error: `remote.endpoint`: it is",
        ),
        ("remote: {url: s3://t, trusted: }", "1:31: error: `remote.trusted`: it is not a list"),
        (
            "remote: {url: s3://t, trusted: [ed25519:x]}",
            "1:33: error: `remote.trusted.0`: a public",
        ),
        ("remote: {url: s3://t}\nremote: {url: s3://u}", ":2:1: error: it cannot be read as YAML"),
        (
            "remote: {url: s3://t, endpoint: 'http://minio:9000'}",
            "1:33: error: `remote.endpoint`: credentials would cross the network unprotected",
        ),
        ("remote: {url: s3://t, 1: 2}", "error: `remote.1`: unknown key `1`"),
        ("remote: [x]", "1:9: error: `remote`: it is not an object"),
        ("cluster: {scheduler: }", "`cluster.scheduler`: it is not a text"),
        (
            "cluster: {scheduler: 'tls://farm:8786'}",
            "1:22: error: `cluster.scheduler`: tls:// needs",
        ),
        (
            "cluster: {wait_seconds: 3}",
            "1:10: error: `cluster`: `cluster` needs one of `scheduler`",
        ),
        ("store: 3", "1:8: error: `store`: it is not a text"),
        ("{", "error: it cannot be read as YAML"),
    ],
)
@pytest.mark.parametrize("variable", ["", "s3://mine"])
def test_a_mistake_in_the_file_removes_no_key_from_trusted(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    message: str,
    variable: str,
) -> None:
    """A mistake in the file is an error, never a run without remote, keys or cluster; also if a
    variable names another remote.
    """
    monkeypatch.setenv("BUILDSYS_REMOTE", variable)
    (workspace.root / "buildsys.yaml").write_text(text.replace("KEY", KEY) + "\n")
    for find in (find_remote, find_cluster):
        with pytest.raises(InputError) as error:
            find(workspace)
        assert message in str(error.value)
        assert str(error.value).startswith("buildsys.yaml:")
        assert "run `buildsys check` to see the mistake" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "stor: x",
            "1:1: error: unknown key `stor`\n    stor: x\n    ^\n    help: did you mean `store`?",
        ),
        ("store: /s\nremotes: {url: s3://t, trusted: [KEY]}", "2:1: error: unknown key `remotes`"),
        ("remotes:", "1:1: error: unknown key `remotes`"),
        ("1: {trusted: [KEY]}", "1:1: error: unknown key `1`"),
        ("- remote: {url: s3://t, trusted: [KEY]}", "1:1: error: the file must be a block of"),
        ("remote", "1:1: error: the file must be a block of `key: value` lines"),
    ],
)
@pytest.mark.parametrize("variable", ["", "s3://mine"])
def test_a_misspelled_section_removes_no_key_from_trusted(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    message: str,
    variable: str,
) -> None:
    """An unknown key, or a file without keys, is an error: it could be the section with the
    trusted keys.
    """
    monkeypatch.setenv("BUILDSYS_REMOTE", variable)
    (workspace.root / "buildsys.yaml").write_text(text.replace("KEY", KEY) + "\n")
    for find in (default_store, find_remote, find_cluster):
        with pytest.raises(InputError) as error:
            find(workspace)
        assert str(error.value).startswith(f"buildsys.yaml:{message}")


def test_runs_and_check_accept_the_same_keys(workspace: Workspace) -> None:
    """A run accepts every key of buildsys.yaml that `check` accepts, and no other."""
    assert set(KEYS) == set(WorkspaceFile.model_fields)
    (workspace.root / "buildsys.yaml").write_text("".join(f"{key}:\n" for key in KEYS))
    assert type(default_store(workspace)) is Store


def test_a_remote_store_in_the_repository_is_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A remote store in the repository is rejected."""
    url = f"file://{workspace.root}/results"
    (workspace.root / "buildsys.yaml").write_text(f"remote:\n  url: {url}\n")
    with pytest.raises(InputError) as error:
        find_remote(workspace)
    assert str(error.value).startswith(
        "buildsys.yaml:2:3: error: the remote store would lie in the"
    )
    monkeypatch.setenv("BUILDSYS_REMOTE", url)
    with pytest.raises(BuildsysError, match="where a commit could fill it"):
        find_remote(workspace)


@pytest.mark.parametrize("place", ["", "/inside", "/.."])
def test_a_remote_store_is_not_the_store_of_this_machine(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    """The store of this machine is rejected as a remote store."""
    monkeypatch.setenv("BUILDSYS_STORE", str(tmp_path / "cache" / "store"))
    monkeypatch.setenv("BUILDSYS_REMOTE", f"file://{tmp_path}/cache/store{place}")
    with pytest.raises(CannotWrite, match="overlap"):
        default_store(workspace)
