"""A store of two machines: what one makes, the other restores, and fetches only what it reads."""

from collections.abc import Callable
from pathlib import Path

import pytest

from buildsys.execution.store.action_entry import ActionEntry, EntryOutput, blob_name
from buildsys.execution.store.shared_store import SharedStore
from buildsys.remote_settings import RemoteSettings

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
