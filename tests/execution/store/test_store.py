"""A store that others can write to: content that does not match its name counts as missing."""

import contextlib
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from buildsys.digest import digest_bytes, plain
from buildsys.errors import CannotWrite
from buildsys.execution.store import garbage_collection, workspaces
from buildsys.execution.store.action_entry import ActionEntry, EntryOutput, read_entry, write_entry
from buildsys.execution.store.store import Store
from buildsys.execution.store.tree_index import encode_index, read_index
from buildsys.names import BadName
from buildsys.records import write_record
from tests.damage import cut, flip, snapshot
from tests.repetitions import repetitions

EMPTY = digest_bytes(b"")
KEY = "ab" * 32
ENTRY = ActionEntry(
    key=KEY,
    module="export",
    tool="tool 1.0",
    seconds=1.5,
    outputs=(EntryOutput(name="made", digest=EMPTY, tree=False),),
    passed=True,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store, next to a folder `outside` that must not be touched."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("mine")
    return Store(tmp_path / "store")


def test_an_index_says_the_files_of_a_tree() -> None:
    """The format of tree indexes never changes, because locks and manifests contain their digests."""
    files = (("b/c.txt", 0, EMPTY), ("a ä.txt", 12, "0a" * 32))
    data = encode_index(files)
    assert data == f'[["a \\u00e4.txt",12,"{"0a" * 32}"],["b/c.txt",0,"{EMPTY}"]]'.encode()
    assert [tuple(file) for file in read_index(data)] == sorted(files)
    assert read_index(b"[]") == ()


INDEXES = {
    "leading space": b' [["a",0,"%s"]]',
    "space inside": b'[["a", 0,"%s"]]',
    "line end": b'[["a",0,"%s"]]\n',
    "float": b'[["a",0.0,"%s"]]',
    "negative": b'[["a",-1,"%s"]]',
    "huge": b'[["a",9223372036854775808,"%s"]]',
    "true": b'[["a",true,"%s"]]',
    "text": b'[["a","0","%s"]]',
    "unicode": '[["ä",0,"%s"]]'.encode(),
    "utf-16": '[["a",0,"%s"]]'.encode("utf-16"),
    "mark": b"\xef\xbb\xbf" + b'[["a",0,"%s"]]',
    "parent": b'[["../a",0,"%s"]]',
    "inner parent": b'[["a/../../b",0,"%s"]]',
    "absolute": b'[["/etc/passwd",0,"%s"]]',
    "nul": b'[["a\\u0000",0,"%s"]]',
    "backslash": b'[["a\\\\b",0,"%s"]]',
    "empty": b'[["",0,"%s"]]',
    "point": b'[["./a",0,"%s"]]',
    "doubled": b'[["a",0,"%s"],["a",0,"%s"]]',
    "unsorted": b'[["b",0,"%s"],["a",0,"%s"]]',
    "case": b'[["A",0,"%s"],["a",0,"%s"]]',
    "normal form": b'[["e\\u0301",0,"%s"],["\\u00e9",0,"%s"]]',
    "file and folder": b'[["a",0,"%s"],["a/b",0,"%s"]]',
    "digest with a path": b'[["a",0,"../../../../victim%s"]]',
    "upper case": b'[["a",0,"AB%s"]]',
    "four": b'[["a",0,"%s",0]]',
    "object": b'{"a":[0,"%s"]}',
    "deep": b"[" * 9999,
}


@pytest.mark.parametrize("name", INDEXES)
def test_no_other_bytes_are_an_index(name: str, store: Store, tmp_path: Path) -> None:
    """Any other bytes are not a tree index, and nothing is written for them."""
    data = INDEXES[name].replace(b"%s", EMPTY.encode()).replace(b"\x25\x00s\x00", b"")
    with pytest.raises(ValueError, match=r"."):
        read_index(data)
    store.put_bytes(b"")
    digest = store.put_bytes(data)
    before = snapshot(tmp_path)
    assert not store.has(digest, tree=True)
    assert store.possible_index(digest) == ()
    with pytest.raises(FileNotFoundError):
        store.fetch(digest, tmp_path / "target", tree=True)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "digest", ["", "..", "../../../x", "a" * 63, "A" * 64, "0x" * 32, "/etc/passwd", "٣" * 64]
)
def test_what_is_no_digest_is_not_in_the_store(store: Store, tmp_path: Path, digest: str) -> None:
    """A value that is not a digest is never used as a path."""
    assert not store.has(digest, tree=False)
    assert not store.has(digest, tree=True)
    assert store.recall(digest) is None
    for ask in (
        store.blob,
        store.read,
        store.index,
        lambda text: store.fetch(text, tmp_path / "target", tree=False),
    ):
        with pytest.raises(FileNotFoundError):
            ask(digest)
    with pytest.raises(FileNotFoundError), store.alone(digest, "", print):
        pass
    assert not (tmp_path / "target").exists()


def test_an_entry_counts_for_its_own_key_in_its_own_version(store: Store) -> None:
    """An entry is valid only for its own key and version."""
    store.record(ENTRY)
    assert store.recall(KEY) == ENTRY
    path = store.root / "actions" / "ab" / f"{KEY}.json"
    data = path.read_bytes()
    twice = replace(ENTRY, outputs=ENTRY.outputs * 2)
    others = [
        b"",
        data[:-1],
        data.replace(b"1.5", b"1.6"),
        data.partition(b"\n")[2],
        write_entry(replace(ENTRY, key="cd" * 32)),
        write_record(plain(ENTRY) | {"format": 2}),
        write_entry(replace(ENTRY, seconds=-1.0)),
        write_entry(twice),
    ]
    for other in others:
        path.write_bytes(other)
        assert store.recall(KEY) is None
        with pytest.raises(ValueError, match=r"."):
            read_entry(KEY, other)


@pytest.mark.parametrize("names", [("a.txt", "A.txt"), ("a\\b",), ("a\nb",)])
def test_files_that_cannot_lie_in_one_folder_everywhere_are_not_kept(
    store: Store, tmp_path: Path, names: tuple[str, ...]
) -> None:
    """Files that collide on some file systems are rejected before they are recorded."""
    (tmp_path / "made").mkdir()
    for name in names:
        (tmp_path / "made" / name).touch()
    with pytest.raises(BadName):
        store.put_tree(tmp_path / "made")


def _tree(store: Store, folder: Path) -> str:
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "file").write_text("whole")
    return store.put_tree(folder)


@pytest.mark.parametrize("link", ["target", "target/below"])
def test_no_link_is_followed_while_a_tree_is_restored(
    store: Store, tmp_path: Path, link: str
) -> None:
    """Restoring a tree follows no link in the target."""
    digest = _tree(store, tmp_path / "made")
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / "outside")
    with pytest.raises(CannotWrite, match="buildsys does not write through links"):
        store.fetch(digest, tmp_path / "target", tree=True)
    assert os.listdir(tmp_path / "outside") == ["file"]


def test_a_file_takes_the_place_of_a_link(store: Store, tmp_path: Path) -> None:
    """A restored file replaces a link, not its target."""
    digest = _tree(store, tmp_path / "made")
    (tmp_path / "target" / "below").mkdir(parents=True)
    (tmp_path / "target" / "below" / "file").symlink_to(tmp_path / "outside" / "file")
    store.fetch(digest, tmp_path / "target", tree=True)
    assert (tmp_path / "target" / "below" / "file").read_text() == "whole"
    assert (tmp_path / "outside" / "file").read_text() == "mine"


def test_a_tree_has_the_sizes_that_its_index_says(store: Store, tmp_path: Path) -> None:
    """A tree whose sizes differ from its index is rejected."""
    digest = store.put_bytes(encode_index([("file", 7, store.put_bytes(b"other"))]))
    assert not store.has(digest, tree=True)
    with pytest.raises(FileNotFoundError, match="differs from the index"):
        store.fetch(digest, tmp_path / "target", tree=True)


def test_modes_of_restored_files_are_those_of_new_ones(store: Store, tmp_path: Path) -> None:
    """Restored files have the modes of new files."""
    digest = _tree(store, tmp_path / "made")
    for mask, wanted in ((0o077, 0o600), (0o002, 0o664)):
        before = os.umask(mask)
        try:
            store.fetch(digest, tmp_path / f"target-{mask}", tree=True)
        finally:
            os.umask(before)
        found = (tmp_path / f"target-{mask}" / "below" / "file").stat().st_mode & 0o777
        assert found == wanted


def test_an_artifact_is_copied_into_another_store_while_it_is_whole(
    store: Store, tmp_path: Path
) -> None:
    """Copying to another store copies complete trees; damaged files are not copied and are removed."""
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "a.txt").write_text("whole")
    tree, other = store.put_tree(tmp_path / "made"), Store(tmp_path / "other")
    store.copy_into(other, tree, tree=True)
    assert other.read(other.index(tree)[0].digest) == b"whole"
    file = store.index(tree)[0].digest
    flip(store.blob(file), random.Random(0))
    empty = Store(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="damaged"):
        store.copy_into(empty, file, tree=False)
    assert not empty.has(file, tree=False)
    assert not store.blob(file).exists()


def _make_link(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "file")


def _make_pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [_make_link, _make_pipe])
def test_a_link_or_a_pipe_is_no_blob(
    store: Store, tmp_path: Path, make: Callable[[Path, Path], None]
) -> None:
    """Links and pipes instead of blobs are removed, without blocking."""
    digest = store.put_bytes(b"mine")  # the file outside has the right bytes
    store.blob(digest).unlink()
    make(store.blob(digest), tmp_path / "outside")
    assert not store.has(digest, tree=False)
    with pytest.raises(FileNotFoundError):
        store.read(digest)
    assert not os.path.lexists(store.blob(digest))
    assert (tmp_path / "outside" / "file").read_text() == "mine"
    assert store.put_bytes(b"mine") == digest
    assert store.read(digest) == b"mine"


@pytest.mark.parametrize("name", ["tmp", "blobs", "blobs/e3", "locks", "actions"])
def test_nothing_of_a_store_is_behind_a_link(store: Store, tmp_path: Path, name: str) -> None:
    """Folders of the store that are links are neither written nor cleaned."""
    outside = tmp_path / "outside"
    os.utime(outside / "file", (0, 0))
    (store.root / name).parent.mkdir(parents=True)
    (store.root / name).symlink_to(outside)
    (outside / EMPTY).write_text("a damaged blob")

    def work() -> None:
        with store.alone(KEY, "", print):
            store.put_bytes(b"")
            store.record(ENTRY)

    with pytest.raises(CannotWrite, match="links"):
        work()
    if name == "blobs/e3":
        with pytest.raises(CannotWrite):
            store.read(EMPTY)
    stock = garbage_collection.take_stock(store)
    assert not [
        file for file in (*stock.blobs, *stock.leftovers) if file.path.resolve().parent == outside
    ]
    assert (len(stock.actions), len(stock.unreadable)) == (0, 0)
    assert sorted(os.listdir(outside)) == sorted([EMPTY, "file"])


def test_a_link_as_a_lock_empties_no_file(store: Store, tmp_path: Path) -> None:
    """A link in the place of a lock file is not written through."""
    (store.root / "locks").mkdir(parents=True)
    (store.root / "locks" / KEY).symlink_to(tmp_path / "outside" / "file")
    with pytest.raises(CannotWrite, match="link"), store.alone(KEY, "me", print):
        pass
    assert (tmp_path / "outside" / "file").read_text() == "mine"


def test_blobs_are_on_the_disk_before_an_action_names_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blobs are synced to disk before an action names them."""
    synced: list[int] = []
    entry = store.root / "actions" / "ab" / f"{KEY}.json"

    def note(number: int) -> None:
        synced.append(os.fstat(number).st_ino)
        assert not entry.exists() or store.blob(EMPTY).stat().st_ino in synced

    monkeypatch.setattr("os.fsync", note)
    store.put_bytes(b"")
    assert synced == []
    store.record(ENTRY)
    blob = store.blob(EMPTY)
    before = [synced.index(path.stat().st_ino) for path in (blob, blob.parent)]
    after = [synced.index(path.stat().st_ino) for path in (entry, entry.parent)]
    assert max(before) < min(after)


def test_a_damaged_list_of_workspaces_is_not_an_empty_one(store: Store, tmp_path: Path) -> None:
    """With a damaged list of workspaces nothing is collected."""
    workspaces.register(store, tmp_path / "one")
    assert workspaces.known(store) == (tmp_path / "one",)
    (path,) = (store.root / "workspaces").iterdir()
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(OSError, match="damaged"):
        workspaces.known(store)
    workspaces.register(store, tmp_path / "one")
    assert workspaces.known(store) == (tmp_path / "one",)


@pytest.mark.parametrize("damage", [flip, cut])
def test_whatever_is_damaged_whole_bytes_come_or_none(
    store: Store, tmp_path: Path, damage: Callable[[Path, random.Random], str]
) -> None:
    """With any damage, complete bytes or none are returned, and new results repair it."""
    digest = _tree(store, tmp_path / "made")
    entry = replace(ENTRY, outputs=(EntryOutput(name="made", digest=digest, tree=True),))
    store.record(entry)
    files = [path for path in sorted(store.root.rglob("*")) if path.is_file()]
    chance = random.Random(0)
    for number in range(repetitions(30)):
        damage(files[number % len(files)], chance)
        target = tmp_path / f"target-{number}"
        with contextlib.suppress(FileNotFoundError):
            store.fetch(digest, target, tree=True)
        assert {path.read_text() for path in target.rglob("file")} <= {"whole"}
        assert store.recall(KEY) in (entry, None)
        assert store.put_tree(tmp_path / "made") == digest
        store.record(entry)
        store.fetch(digest, tmp_path / f"again-{number}", tree=True)
        assert snapshot(tmp_path / f"again-{number}") == snapshot(tmp_path / "made")
        assert store.recall(KEY) == entry
