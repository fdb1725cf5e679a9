"""A store of two machines: what one makes, the other restores, and fetches only what it reads."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from buildsys.execution.state.database import Database
from buildsys.execution.state.decide import State
from buildsys.execution.store.action_entry import ActionEntry, EntryOutput, blob_name, make_entry
from buildsys.execution.store.shared_store import SharedStore
from buildsys.graph import StepResult
from buildsys.remote_settings import RemoteSettings
from tests.sample_steps import IN_MEMORY, given, make_plan, make_step, output_of

KEY = "c" * 64
Connect = Callable[..., SharedStore]


@pytest.fixture
def connect(tmp_path: Path) -> Connect:
    """A machine's store in front of the folder `remote`."""

    def make(name: str, mode: str = "read", **settings: object) -> SharedStore:
        (tmp_path / "remote").mkdir(exist_ok=True)
        url = f"file://{tmp_path}/remote"
        found = RemoteSettings(url=url, mode=mode, **settings)  # type: ignore[arg-type]
        store = SharedStore(tmp_path / name, found)
        store.say = lines.append
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
    """A folder of two files, put there as the result of the action `KEY`; returns its digest."""
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
    """Its bytes come when they are read, and no sooner."""
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
    """A flipped byte is found by its digest; who makes it again and may write replaces it."""
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
    """What the remote does not have is remembered; for what a result names nobody asks."""
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
    other.forget(KEY)
    other.recall(KEY)
    (tmp_path / "two" / "actions" / KEY[:2] / f"{KEY}.json").unlink()
    other.look_up(keys)
    assert other.recall(KEY) is not None


def test_steps_of_one_level_are_asked_for_together(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many rounds as the longest chain has steps; what no one has made is asked for no further."""
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
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says what to install."""
    for library, trusted in (("obstore", ()), ("cryptography", (f"ed25519:{'A' * 43}=",))):
        monkeypatch.setitem(sys.modules, library, None)
        store, said = connect("one", trusted=trusted), list[str]()
        store.say = said.append
        store.look_up([(KEY, "")])
        assert store.recall(KEY) is None
        assert len(said) == 1
        assert "`pip install 'buildsys[remote]'`; this run goes on" in said[0]
        monkeypatch.delitem(sys.modules, library)
