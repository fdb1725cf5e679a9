"""The state of an interrupted training as an archive, to continue elsewhere from the same bytes."""

import os
from pathlib import Path

import pytest

from buildsys.execution.running import unfinished


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The working folder of a killed training."""
    place = tmp_path / "here" / "key"
    for name, content in (("state.pt", b"epoch 3"), ("best-2.pt", b"best"), ("runs/a.csv", b"1,2")):
        path = place / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (place / "inputs").mkdir()
    return place


def contents(folder: Path) -> dict[str, bytes]:
    """File contents by name."""
    work = folder / "work"
    paths = (path for path in work.rglob("*") if path.is_file())
    return {path.relative_to(work).as_posix(): path.read_bytes() for path in paths}


def test_work_goes_on_elsewhere(folder: Path, tmp_path: Path) -> None:
    """The archive restores the same files, and its bytes do not depend on file times."""
    archive, other = tmp_path / "work.tar", tmp_path / "there" / "key"
    assert unfinished.pack(folder, archive)
    assert unfinished.unpack(archive, other)
    assert contents(other) == contents(folder)
    assert unfinished.pack(other, tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()


def test_work_that_is_there_stays(folder: Path, tmp_path: Path) -> None:
    """Existing files are kept when an archive is unpacked."""
    unfinished.pack(folder, tmp_path / "work.tar")
    (folder / "work" / "state.pt").write_bytes(b"epoch 4")
    assert not unfinished.unpack(tmp_path / "work.tar", folder)
    assert contents(folder)["state.pt"] == b"epoch 4"


def test_a_damaged_file_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    """A damaged archive unpacks nothing."""
    archive, other = tmp_path / "work.tar", tmp_path / "there" / "key"
    unfinished.pack(folder, archive)
    archive.write_bytes(archive.read_bytes()[:700])
    assert not unfinished.unpack(archive, other)
    assert contents(other) == {}


def test_where_nothing_was_worked_there_is_no_file(tmp_path: Path) -> None:
    """Without any work there is no archive."""
    (tmp_path / "key" / "work").mkdir(parents=True)
    assert not unfinished.pack(tmp_path / "key", tmp_path / "work.tar")
    assert not unfinished.pack(tmp_path / "none", tmp_path / "work.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_links_and_pipes_are_no_work(folder: Path, tmp_path: Path) -> None:
    """Links and pipes are not packed."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("secret")
    (folder / "work" / "link").symlink_to(secret / "file")
    (folder / "work" / "all").symlink_to(secret)
    os.mkfifo(folder / "work" / "pipe")
    assert unfinished.pack(folder, tmp_path / "work.tar")
    assert b"secret" not in (tmp_path / "work.tar").read_bytes()


def test_what_is_written_meanwhile_is_packed_anew(folder: Path, tmp_path: Path) -> None:
    """Files that change while packing are packed again; if they never settle, there is no archive."""
    written = 0

    class Archive(type(tmp_path)):  # type: ignore[misc]
        """The temporary archive's path, which is requested in the middle of packing."""

        @property
        def parent(self) -> Path:
            nonlocal written
            if written < times:
                written += 1
                (folder / "work" / "state.pt").write_bytes(b"e" * (20 + written))
            return tmp_path

    times = 2
    assert unfinished.pack(folder, Archive(tmp_path / "work.tar"))
    unfinished.unpack(tmp_path / "work.tar", tmp_path / "there")
    assert contents(tmp_path / "there") == contents(folder)
    times = 99
    assert not unfinished.pack(folder, Archive(tmp_path / "other.tar"))
    assert not (tmp_path / "other.tar").exists()
