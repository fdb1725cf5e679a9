"""A store that two machines share: one restores the other's results, and downloads only what it
reads.
"""

import contextlib
import hashlib
import shutil
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from buildsys.errors import BuildsysError
from buildsys.execution.state.database import Database
from buildsys.execution.state.decide import State
from buildsys.execution.store.action_entry import (
    ActionEntry,
    EntryOutput,
    action_name,
    blob_name,
    make_entry,
)
from buildsys.execution.store.garbage_collection import Limits, choose, take_stock
from buildsys.execution.store.objects import _READ_CHUNK
from buildsys.execution.store.remote import Remote
from buildsys.execution.store.remote_entry import make_key
from buildsys.execution.store.remote_failure import RemoteFailure
from buildsys.execution.store.shared_store import SharedStore, require_shared
from buildsys.execution.store.store import Store
from buildsys.graph import StepResult
from buildsys.records import write_record
from buildsys.remote_settings import RemoteSettings, remote_id
from tests.object_servers import http_server
from tests.sample_steps import IN_MEMORY, given, make_plan, make_step, output_of

KEY = "c" * 64
Connect = Callable[..., SharedStore]


@pytest.fixture
def connect(tmp_path: Path) -> Connect:
    """A machine's store in front of the folder `remote`."""

    def make(
        name: str, mode: str = "read", remote: str = "remote", **settings: object
    ) -> SharedStore:
        (tmp_path / remote).mkdir(exist_ok=True)
        url = f"file://{tmp_path}/{remote}"
        found = RemoteSettings(url=url, mode=mode, **settings)  # type: ignore[arg-type]
        store = SharedStore(tmp_path / name, found)
        store.print_line = lines.append
        return store

    lines: list[str] = []
    return make


def entry_of(digest: str, tree: bool = False) -> ActionEntry:
    """The entry of an action with one output."""
    output = EntryOutput(name="made", digest=digest, tree=tree)
    return ActionEntry(
        key=KEY, module="convert", tool="tool 1", seconds=1.0, outputs=(output,), passed=True
    )


def publish(store: SharedStore, tmp_path: Path) -> str:
    """Publish a folder of two files as the result of the action `KEY`; returns its digest."""
    folder = tmp_path / "made"
    folder.mkdir(exist_ok=True)
    (folder / "a").write_text("first")
    (folder / "b").write_text("second")
    digest = store.put_tree(folder)
    store.record(entry_of(digest, tree=True))
    store.publish(entry_of(digest, tree=True))
    store.finish_run()
    return digest


def test_a_result_of_another_machine_counts_as_here(connect: Connect, tmp_path: Path) -> None:
    """Another machine's result is used; its bytes are downloaded only when read."""
    digest = publish(connect("one", "read-write"), tmp_path)
    other = connect("two")
    assert other.recall(KEY) is None
    other.look_up([(KEY, "")])
    assert other.recall(KEY) == entry_of(digest, tree=True)
    assert other.has(digest, tree=True)
    assert other.size(digest) is None
    other.fetch(digest, tmp_path / "copy", tree=True)
    assert (tmp_path / "copy" / "b").read_text() == "second"
    assert other.remote.traffic.blobs_read == 3


def test_what_is_damaged_in_the_remote_is_absent_and_mended(
    connect: Connect, tmp_path: Path
) -> None:
    """Damaged files in the remote are found by digest, and replaced by a writer that makes them
    again.
    """
    digest = publish(connect("one", "read-write"), tmp_path)
    stored = tmp_path / "remote" / blob_name(digest)
    whole = stored.read_bytes()
    stored.write_bytes(whole[:-1] + b"?")
    other = connect("two", "read-write")
    other.look_up([(KEY, "")])
    assert other.has(digest, tree=True)
    with pytest.raises(FileNotFoundError):
        other.read(digest)
    assert not other.has(digest, tree=True)
    assert publish(other, tmp_path) == digest
    assert stored.read_bytes() == whole


def test_each_question_is_asked_once_a_run(connect: Connect, tmp_path: Path) -> None:
    """Each request is sent once per run; missing entries are remembered."""
    digest = publish(connect("one", "read-write"), tmp_path)
    other = connect("two")
    keys = [(f"{number:064x}", "") for number in range(40)] + [(KEY, "")]
    for _ in range(3):
        other.look_up(keys)
    assert other.remote.traffic.questions == 41
    for _ in range(3):
        assert other.has(digest, tree=True)
        assert not other.has("e" * 64, tree=False)
        assert not other.has("no digest", tree=False)
    assert other.remote.traffic.questions == 42


def test_steps_of_one_level_are_asked_for_together(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of one level are requested together; after a missing entry later steps are not
    requested.
    """
    given_file = tmp_path / "given"
    given_file.write_text("given")
    first = [make_step(f"first{n}", given(given_file)) for n in range(5)]
    second = [make_step(f"second{n}", output_of(step)) for n, step in enumerate(first)]
    third = [make_step(f"third{n}", output_of(step)) for n, step in enumerate(second)]
    plan = make_plan(*first, *second, *third)
    store, rounds = connect("one", "read-write"), list[int]()
    state = State((plan,), Database(IN_MEMORY), store)
    for step in (*first, second[0]):
        key = state.key(step)
        assert key is not None
        result = StepResult(outputs=(("made", store.put_bytes(step.id.encode())),), seconds=1.0)
        store.push(make_entry(step, key.key, result))
        state.finish(step, key, result)
    other = connect("two")
    ask = other.look_up

    def counted(wanted: Iterable[tuple[str, str]]) -> None:
        found = list(wanted)
        rounds.append(len(found))
        ask(found)

    monkeypatch.setattr(other, "look_up", counted)
    state = State((plan,), Database(IN_MEMORY), other)
    state.look_up([plan])
    assert [count for count in rounds if count > 1] == [5, 5]
    assert other.remote.traffic.questions == 11
    statuses = [state.decide(step).status for step in (*first, *second[:2], *third[:2])]
    assert statuses == [*["restorable"] * 6, "stale", "stale", "pending"]


def test_without_its_libraries_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its libraries, a run continues after one line that says what to install."""
    for library, trusted in (("obstore", ()), ("cryptography", (f"ed25519:{'A' * 43}=",))):
        monkeypatch.setitem(sys.modules, library, None)
        settings = RemoteSettings(url="s3://team", trusted=trusted)
        store, said = SharedStore(tmp_path / "one", settings), list[str]()
        store.print_line = said.append
        store.look_up([(KEY, "")])
        assert store.recall(KEY) is None
        assert len(said) == 1
        assert "`pip install 'buildsys[remote]'`; this run continues" in said[0]
        monkeypatch.delitem(sys.modules, library)


def test_a_result_counts_where_its_remote_is_used_and_nowhere_else(
    connect: Connect, tmp_path: Path
) -> None:
    """Entries of a workspace's remote are not used or signed by another workspace with the same
    local store.
    """
    publish(connect("bad", "read-write"), tmp_path)
    one = connect("machine")
    one.look_up([(KEY, "")])
    assert one.recall(KEY) is not None
    one.bring(one.recall(KEY).outputs[0].digest, tree=True)  # type: ignore[union-attr]
    offline = connect("machine")
    shutil.move(tmp_path / "remote", tmp_path / "gone")
    assert offline.recall(KEY) is not None  # entries found before are also valid offline
    assert offline.has(offline.recall(KEY).outputs[0].digest, tree=True)  # type: ignore[union-attr]
    other_remote = connect("machine", remote="other")
    wary = connect("machine", trusted=(f"ed25519:{'A' * 43}=",))
    for store in (Store(tmp_path / "machine"), other_remote, wary):
        store.look_up([(KEY, "")])
        assert store.recall(KEY) is None
        assert store.entry(KEY) is None


def test_what_came_from_a_remote_is_passed_on_as_it_came(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results from a remote are passed on unchanged, never signed by this machine."""
    keys = [make_key(tmp_path / name) for name in ("theirs.pem", "ours.pem")]
    monkeypatch.setenv("BUILDSYS_SIGNING_KEY", str(tmp_path / "theirs.pem"))
    publish(connect("one", "read-write"), tmp_path)
    place = tmp_path / "remote" / action_name(KEY)
    signed = place.read_bytes()
    monkeypatch.setenv("BUILDSYS_SIGNING_KEY", str(tmp_path / "ours.pem"))
    two = connect("two", "read-write", trusted=tuple(keys))
    two.look_up([(KEY, "")])
    found = two.recall(KEY)
    assert found is not None
    assert two.can_pass_on(found)
    assert not two.is_own_result(found)
    place.unlink()
    two.push(found)
    assert place.read_bytes() == signed
    two.record(found)  # also made here
    two.push(found)
    assert keys[1] in place.read_text()


def test_entries_of_remotes_are_collected_like_results(connect: Connect, tmp_path: Path) -> None:
    """Entries of remotes are collected like results: old and invalid ones are removed, and files
    they name are kept.
    """
    digest = publish(connect("one", "read-write"), tmp_path)
    two = connect("two")
    two.look_up([(KEY, "")])
    two.bring(digest, tree=True)
    (kept,) = (two.root / "remotes").glob("*/actions/*/*")
    damaged = kept.with_name(f"{KEY[:2]}{'d' * 62}.json")
    damaged.write_bytes(b"damaged")
    later = damaged.stat().st_mtime + 10_000
    chosen = choose(take_stock(two), frozenset(), Limits(), later)
    assert [file.path for file in chosen.files] == [damaged]
    chosen = choose(take_stock(two), frozenset(), Limits(seconds=5000), later)
    assert len(chosen.files) == 2 + 3
    assert choose(take_stock(two), frozenset({KEY}), Limits(seconds=1), later).kept_blobs == 3


@pytest.mark.parametrize("size", ["same", "shorter"])
def test_a_damaged_copy_is_replaced_from_the_remote(
    connect: Connect, tmp_path: Path, size: str
) -> None:
    """A damaged local copy is replaced from the remote, without running its step."""
    digest = publish(connect("one", "read-write"), tmp_path)
    two = connect("two")
    two.look_up([(KEY, "")])
    for read in (
        lambda place: two.fetch(digest, place, tree=True),
        lambda place: two.fetch(digest, place, tree=True, linked=frozenset({""})),
        lambda _: two.read(digest),
        lambda _: two.has(digest, tree=True) and two.bring(digest, tree=True),
    ):
        two.bring(digest, tree=True)
        index = two.index(digest)
        for name in (index[0].digest, digest):
            blob = two.blob(name)
            blob.chmod(0o644)
            blob.write_bytes(b"?" * blob.stat().st_size if size == "same" else b"?")
        read(tmp_path / f"copy{len(list(tmp_path.iterdir()))}")
        assert two.has(digest, tree=True)
    assert two.read(index[0].digest) == b"first"


def test_what_is_no_index_of_a_tree_is_not_all_here(connect: Connect, tmp_path: Path) -> None:
    """A result with an invalid tree index counts as missing."""
    one = connect("one", "read-write")
    digest = one.put_bytes(b"no index")
    one.push_blobs(digest, tree=False)
    two = connect("two")
    assert not two.bring(digest, tree=True)
    assert not two.has(digest, tree=True)


def test_the_same_bucket_of_two_servers_is_two_remotes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bucket on two servers is two different remotes."""
    one, two = (
        RemoteSettings(url="s3://results", endpoint=f"https://{name}") for name in ("a", "b")
    )
    bare = RemoteSettings(url="s3://results")
    assert len({remote_id(each) for each in (one, two, bare)}) == 3
    before = remote_id(bare), remote_id(one)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://a")
    assert remote_id(bare) != before[0]
    assert remote_id(one) == before[1]


def test_many_threads_ask_at_once(connect: Connect, tmp_path: Path) -> None:
    """Requests from many threads are sent once."""
    digest = publish(connect("one", "read-write"), tmp_path)
    other = connect("two")
    keys = [(f"{number:064x}", "") for number in range(200)]

    def ask(_: int) -> None:
        other.look_up(keys)
        assert other.has(digest, tree=True)
        other.note_there([digest])

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(16)))
    assert 200 < other.remote.traffic.questions <= 200 + 16


def test_a_damaged_mark_is_made_again_and_that_of_another_release_is_refused(
    connect: Connect, tmp_path: Path
) -> None:
    """A damaged marker is made again, and that of a newer release is rejected."""
    publish(connect("one", "read-write"), tmp_path)
    mark = tmp_path / "remote" / "buildsys-remote.json"
    whole = mark.read_bytes()
    mark.write_bytes(b"0" * 64 + whole[64:])
    two = connect("two", "read-write")
    two.look_up([(KEY, "")])
    assert two.recall(KEY) is not None
    publish(connect("three", "read-write"), tmp_path)
    assert mark.read_bytes() == whole
    mark.write_bytes(write_record({"format": 2}))
    with pytest.raises(RemoteFailure, match="the layout of another release"):
        connect("four").remote.objects()


def test_a_mark_goes_where_the_bytes_are_lost(connect: Connect, tmp_path: Path) -> None:
    """When bytes are lost, their upload marker is removed."""
    store = connect("one", "read-write")
    store.record(entry_of("a" * 64))
    mark = store.folder("unpushed") / f"{KEY}.{remote_id(store.settings)}"
    mark.touch()
    store.finish_run()
    assert not mark.exists()


def test_a_failed_upload_is_named_with_what_makes_up_for_it(
    connect: Connect, tmp_path: Path
) -> None:
    """After a reason such as a full disk, the end of the run states how many results are not there
    yet, and what uploads them; a later run does.
    """
    store, lines = connect("one", "read-write"), list[str]()
    store.print_line = lines.append
    (tmp_path / "remote" / "actions").write_text("")
    publish(store, tmp_path)
    assert lines[0].endswith("its folder actions is a link or not a folder")
    assert lines[-1].endswith(
        "/remote: 1 result was not uploaded; a later run, or `buildsys store push`, uploads what is missing"
    )
    (tmp_path / "remote" / "actions").unlink()
    again = connect("one", "read-write")
    again.print_line = lines.append
    lines.clear()
    again.finish_run()
    assert [line for line in lines if "not uploaded" in line] == []
    assert list((tmp_path / "remote" / "actions").glob("*/*"))


def test_uploads_end_after_two_failures_in_a_row(connect: Connect, tmp_path: Path) -> None:
    """Two failures end the uploads only when no upload succeeds between them; each reason is printed
    once.
    """
    store, lines = connect("one", "read-write"), list[str]()
    good = store.put_bytes(b"good")
    bad = next(d for n in range(99) if (d := store.put_bytes(str(n).encode()))[:2] != good[:2])
    remote = store.remote
    remote.print_line = lines.append
    remote.put_blob(good, store.blob(good))
    (tmp_path / "remote" / blob_name(bad)).parent.touch()  # a file in the place of a folder

    def fail() -> None:
        with pytest.raises(RemoteFailure, match="is a link or not a folder"):
            remote.put_blob(bad, store.blob(bad))

    for _ in range(3):
        fail()
        remote.put_blob(good, store.blob(good))
    assert (remote.writes, len(lines)) == (True, 1)
    fail()
    fail()
    assert (remote.writes, len(lines)) == (False, 2)
    assert lines[0].startswith(f"{store.settings.url}: its folder blobs/")
    assert lines[1].startswith(f"{store.settings.url} is not used for now: ")


def test_a_server_that_cuts_files_is_not_kept_by_its_other_answers(
    connect: Connect, tmp_path: Path
) -> None:
    """Neither the first bytes of a file nor answers about entries and sizes count as the success of a
    file: after two files that break off, no more requests are made.
    """
    publish(connect("one", "read-write"), tmp_path)
    with http_server(tmp_path / "remote", cuts=99) as url:
        remote = Remote(RemoteSettings(url=url), list[str]().append)
        lost = [hashlib.sha256(bytes([i])).hexdigest() for i in range(5)]
        for digest in lost:
            stored = tmp_path / "remote" / blob_name(digest)
            stored.parent.mkdir(parents=True, exist_ok=True)
            stored.write_bytes(bytes(1 << 20))
        begun = 0
        assert not remote.is_unread
        for digest in lost:
            with contextlib.suppress(RemoteFailure):
                assert remote.size(digest) == 1 << 20
                assert remote.find_entry(KEY, "") is not None
                begun += 1
                remote.fetch(digest, tmp_path / "file")
            assert remote.is_unread
        assert (begun, remote.reads) == (2, False)
        assert remote.traffic.bytes_read > 2 * _READ_CHUNK


def test_a_workspace_forgets_what_a_remote_said_that_it_does_not_use_any_more(
    connect: Connect, tmp_path: Path
) -> None:
    """A workspace ignores entries of a remote that it no longer uses, or of unsigned results after
    it lists keys; its own stay.
    """
    step = make_step("convert")
    plan, database = make_plan(step), Database(IN_MEMORY)
    one = connect("one", "read-write")
    key = State((plan,), Database(IN_MEMORY), one).key(step)
    assert key is not None
    result = StepResult(outputs=(("made", one.put_bytes(b"x")),), seconds=1.0)
    entry = make_entry(step, key.key, result)
    one.record(entry)
    one.push(entry)

    def status(store: Store) -> str:
        return State((plan,), database, store).decide(step).status

    assert [status(connect("two")) for _ in range(2)] == ["restorable", "up-to-date"]
    wary = connect("two", trusted=(f"ed25519:{'A' * 43}=",))
    for store in (Store(tmp_path / "two"), connect("two", remote="other"), wary):
        assert status(store) == "stale"
    assert status(connect("two")) == "up-to-date"
    connect("two").record(entry)
    connect("two").put_bytes(b"x")
    assert status(Store(tmp_path / "two")) == "restorable"
    assert status(Store(tmp_path / "two")) == "up-to-date"


def test_a_store_that_is_only_read_says_which_variables_let_it_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only store's message names the variables to set for writing."""
    monkeypatch.delenv("BUILDSYS_REMOTE_MODE", raising=False)
    settings = RemoteSettings(url="s3://team/x", endpoint="https://s3.example.com")
    store = SharedStore(tmp_path, settings)
    wanted = (
        "BUILDSYS_REMOTE=s3://team/x AWS_ENDPOINT_URL=https://s3.example.com and"
        " BUILDSYS_REMOTE_MODE=read-write in your environment"
    )
    with pytest.raises(BuildsysError, match=wanted) as refused:
        require_shared(store, writes=True)
    assert "unset" not in str(refused.value)
    monkeypatch.setenv("BUILDSYS_REMOTE_MODE", "read")
    with pytest.raises(BuildsysError, match="enough to unset BUILDSYS_REMOTE_MODE"):
        require_shared(store, writes=True)
