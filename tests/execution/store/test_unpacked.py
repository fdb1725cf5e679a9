"""Unpacked dataset archives are checked for changes."""

import os
import shutil
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from buildsys.digest import digest_file
from buildsys.errors import CannotWrite
from buildsys.execution.places import datasets_root
from buildsys.execution.session.dataset_archives import unpack_changed, unpack_stored
from buildsys.execution.store import unpacked
from buildsys.execution.store.store import Store
from buildsys.graph import Archive
from tests.damage import snapshot
from tests.processes import wait_until
from tests.sample_steps import given, make_plan, make_step

FILES = {"images/a.jpg": b"an image", "data.yaml": b"names: [box]"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with the archive."""
    return Store(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store) -> Path:
    """The folder of the unpacked archive."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for name, data in FILES.items():
            packed.writestr(name, data)
    target = datasets_root() / digest_file(archive)
    store.put_file(archive)
    unpack_stored(store, archive_of(target), print)
    return target


def archive_of(folder: Path) -> Archive:
    """The archive of a folder, without an address."""
    return Archive(url="", sha256=folder.name)


def _edit(folder: Path) -> None:
    found = (folder / "images/a.jpg").stat()
    (folder / "images/a.jpg").write_bytes(b"AN image")
    os.utime(folder / "images/a.jpg", ns=(found.st_atime_ns, found.st_mtime_ns))


def _add(folder: Path) -> None:
    (folder / "images/b.jpg").write_bytes(b"")


def _remove(folder: Path) -> None:
    (folder / "images/a.jpg").unlink()


def _link(folder: Path) -> None:
    (folder / "elsewhere").symlink_to("/")


def _forget(folder: Path) -> None:
    folder.with_name(f"{folder.name}.record").write_bytes(b"")


CHANGES: dict[Callable[[Path], None], str] = {
    _edit: "images/a.jpg was changed",
    _add: "images/b.jpg is new",
    _remove: "images/a.jpg is gone",
    _link: "elsewhere is not a regular file",
    _forget: "there is no record of the unpacked files",
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_unpacked_again(
    change: Callable[[Path], None],
    folder: Path,
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A changed folder is kept, and the archive is unpacked again, with a message."""
    before = snapshot(folder)
    change(folder)
    changed = snapshot(folder)
    plan = make_plan(make_step("train", given(folder / "data.yaml")))
    assert unpacked.used_folders([plan]) == (folder,)
    assert unpack_changed(tmp_path, store, [folder])
    kept = folder.with_name(f"{folder.name}.changed")
    said = capsys.readouterr().err
    changed_line, done_line = said.splitlines()
    assert changed_line.endswith(f"{CHANGES[change]}; the old content is now {kept}")
    assert done_line.endswith(f"the archive {folder.name[:12]} was unpacked again")
    assert snapshot(folder) == before
    assert snapshot(kept) == changed
    assert not unpack_changed(tmp_path, store, [folder])


def test_a_folder_that_was_moved_is_what_it_was(folder: Path, store: Store, tmp_path: Path) -> None:
    """A moved folder with the same bytes is accepted; files of a file manager are ignored."""
    for path in sorted(folder.rglob("*.*")):
        copy = path.with_name("copy")
        copy.write_bytes(path.read_bytes())
        copy.replace(path)
    (folder / ".DS_Store").write_bytes(b"rubbish")
    before = unpacked.find(folder)
    assert not unpack_changed(tmp_path, store, [folder])
    assert unpacked.find(folder) != before
    assert unpacked.find_change(folder) == ""


def test_what_was_changed_twice_is_kept_twice(folder: Path, store: Store, tmp_path: Path) -> None:
    """Each changed folder is kept separately."""
    for text in (b"first", b"second"):
        (folder / "images/a.jpg").write_bytes(text)
        assert unpack_changed(tmp_path, store, [folder])
    kept = [folder.with_name(folder.name + end) for end in (".changed", ".changed.2")]
    assert [(each / "images/a.jpg").read_bytes() for each in kept] == [b"first", b"second"]


def test_what_cannot_be_had_again_is_not_used(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A changed folder whose archive is missing is not used, and its builds wait."""
    _edit(folder)
    assert unpack_changed(tmp_path, Store(tmp_path / "other"), [folder])
    assert not folder.exists()
    said = capsys.readouterr().err
    assert "was not unpacked again: the store does not have it, and its URL is not" in said
    assert "was unpacked again" not in said


def test_an_archive_that_no_longer_unpacks_is_reported(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the archive can no longer be unpacked, the reason is reported."""
    store = Store(tmp_path / "other")
    folder = folder.rename(folder.with_name(store.put_bytes(b"no archive")))
    assert unpack_changed(tmp_path, store, [folder])
    said = capsys.readouterr().err
    assert "was not unpacked again" in said
    assert "this is neither a zip nor a tar archive" in said


def test_a_folder_appears_with_its_record_or_not_at_all(
    folder: Path, store: Store, tmp_path: Path
) -> None:
    """If the record cannot be written, neither the folder nor a part of it appears."""
    shutil.rmtree(folder)
    record = folder.with_name(f"{folder.name}.record")
    record.unlink()
    record.mkdir()
    with pytest.raises(CannotWrite, match="an unpacked dataset cannot be written"):
        unpack_stored(store, archive_of(folder), print)
    assert sorted(path.suffix for path in folder.parent.iterdir()) == [".index", ".record"]
    record.rmdir()
    unpack_stored(store, archive_of(folder), print)
    assert not unpack_changed(tmp_path, store, [folder])


def test_what_a_killed_run_left_is_removed(folder: Path, store: Store) -> None:
    """The next run removes the parts that a killed one unpacked."""
    before = snapshot(folder)
    shutil.rmtree(folder)
    for name in ("", "a1b2c3d4."):
        left = folder.with_name(f".{folder.name}.{name}partial") / "content"
        left.mkdir(parents=True)
        (left / "data.yaml").write_text("half")
    unpack_stored(store, archive_of(folder), print)
    assert snapshot(folder) == before
    assert list(folder.parent.glob("*partial")) == []


def test_a_second_run_waits_for_the_one_that_unpacks(
    folder: Path, store: Store, tmp_path: Path
) -> None:
    """While a run unpacks an archive, another one waits with a message, and then uses its files."""
    before = snapshot(folder)
    aside = folder.rename(tmp_path / "aside")
    lines: list[str] = []
    second = threading.Thread(
        target=unpack_stored, args=(store, archive_of(folder), lines.append), daemon=True
    )
    with unpacked.alone(folder):
        second.start()
        wait_until(lambda: bool(lines), "the second run")
        assert not folder.exists()
        inode = aside.rename(folder).stat().st_ino
    second.join(60)
    assert lines == [f"waiting for another run that unpacks {folder.name}"]
    assert (snapshot(folder), folder.stat().st_ino) == (before, inode)
    assert not unpack_changed(tmp_path, store, [folder])
