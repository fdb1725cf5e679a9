"""Files are written whole or not at all."""

import os
import time
from pathlib import Path

import pytest

from buildsys.files import (
    make_tree_durable,
    may_change_again,
    read_regular,
    remove_tree,
    replace_folder,
    replacing,
    write_atomic,
    write_new,
)


def test_a_file_is_replaced_as_a_whole_and_its_folder_is_made(tmp_path: Path) -> None:
    """Text is UTF-8, and nothing else stays in the folder."""
    path = tmp_path / "new" / "file.txt"
    write_atomic(path, "ä\n")
    assert path.read_bytes() == b"\xc3\xa4\n"
    write_atomic(path, b"\r\n")
    assert path.read_bytes() == b"\r\n"
    assert os.listdir(path.parent) == ["file.txt"]


def test_a_file_whose_writing_fails_stays_what_it_was(tmp_path: Path) -> None:
    """The half that was written is removed."""
    path = tmp_path / "file"
    path.write_text("old")

    def fail_half_way() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_written_file_has_the_usual_permissions(tmp_path: Path) -> None:
    """A written file has the permissions of the umask, since others may share a store."""
    path = tmp_path / "file"
    write_atomic(path, "")
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path) -> None:
    """A replaced file keeps its mode."""
    path = tmp_path / "buildsys.lock"
    path.write_text("old")
    path.chmod(0o600)
    write_atomic(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600


def _note_syncs(patch: pytest.MonkeyPatch, look: Path) -> list[tuple[int, bytes]]:
    """Record each fsync: the inode, and the content of `look` at that moment."""
    seen: list[tuple[int, bytes]] = []

    def note(number: int) -> None:
        content = look.read_bytes() if look.is_file() else b"absent"
        seen.append((os.fstat(number).st_ino, content))

    patch.setattr("os.fsync", note)
    return seen


def test_a_replaced_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is synced before it is renamed, and the folder afterwards; files that can be made
    again are not synced.
    """
    path = tmp_path / "file"
    seen = _note_syncs(monkeypatch, path)
    write_atomic(path, "cache", durable=False)
    assert seen == []
    write_atomic(path, "new")
    assert seen == [(path.stat().st_ino, b"cache"), (tmp_path.stat().st_ino, b"new")]


def test_a_tree_is_synced_whole_and_no_link_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tree is synced completely, files before their folders; links and pipes are not opened."""
    (tmp_path / "tree" / "below").mkdir(parents=True)
    for name in ("tree/below/file", "outside"):
        (tmp_path / name).write_text("")
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "outside")
    os.mkfifo(tmp_path / "tree" / "pipe")
    seen = _note_syncs(monkeypatch, tmp_path / "outside")
    make_tree_durable(tmp_path / "tree")
    paths = [tmp_path / name for name in ("tree/below/file", "tree/below", "tree/pipe", "tree")]
    assert [inode for inode, _ in seen] == [path.stat().st_ino for path in paths]


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_is_written_over_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """A new file replaces nothing, not even a broken link, with and without hard links."""
    if not links:

        def refuse(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr("os.link", refuse)
    write_new(tmp_path / "new" / "a.txt", "one")
    (tmp_path / "new" / "b.txt").symlink_to("nowhere")
    for name in ("a.txt", "b.txt"):
        with pytest.raises(FileExistsError):
            write_new(tmp_path / "new" / name, "two")
    assert (tmp_path / "new" / "a.txt").read_text() == "one"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.txt", "b.txt"]


def test_a_folder_replaces_another(tmp_path: Path) -> None:
    """A replaced folder keeps nothing of the old content."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert os.listdir(tmp_path) == ["old"]
    assert os.listdir(tmp_path / "old") == ["new"]


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "absent", "link to itself"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    """FIFOs and devices are refused."""
    path = tmp_path / "file"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "link to itself":
        path.symlink_to(path)
    with pytest.raises(OSError, match=r"regular file|directory|No such file|symbolic links"):
        read_regular(path)
    (tmp_path / "plain").write_bytes(b"bytes")
    assert read_regular(tmp_path / "plain") == b"bytes"


def test_a_folder_is_removed_however_deep(tmp_path: Path) -> None:
    """A folder of any depth is removed, beyond the recursion limit and the system's path length."""
    outside = tmp_path / "outside"
    outside.mkdir()
    for name, depth in (("d", 1500), ("d" * 250, 40)):
        make_deep(tmp_path / "deep", name, depth, outside)
        remove_tree(tmp_path / "deep")
        assert os.listdir(tmp_path) == ["outside"]


def make_deep(folder: Path, name: str, depth: int, link: Path) -> None:
    """Make nested folders with a link in the last one."""
    folder.mkdir(exist_ok=True)
    number = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=number)
        below = os.open(name, os.O_RDONLY, dir_fd=number)
        os.close(number)
        number = below
    os.symlink(link, "link", dir_fd=number)
    os.close(number)


def test_a_file_may_change_again_within_a_tick_of_its_change() -> None:
    """A change time before the reading is settled, and one in the future as well: the clock was set
    back.
    """
    now, second = time.time_ns(), 1_000_000_000
    ages = {second: False, 0: True, -3600 * second: False}
    for age, changes in ages.items():
        assert may_change_again(f"1 2 3 {now - age}") == changes
    assert may_change_again(f"1 2 3 {now - second}", since=now - 2 * second)
    assert not may_change_again(f"1 2 3 {now - second}", since=now)
    assert not may_change_again(f"1 2 3 {now + 3600 * second}", since=now)
    assert not may_change_again("absent", since=0)
