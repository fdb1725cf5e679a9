"""An interrupted training's work as a file: it goes on elsewhere from the very bytes."""

import os
from pathlib import Path

import pytest

from buildsys.execution.running import unfinished


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder as a training leaves it when it is killed."""
    place = tmp_path / "here" / "key"
    for name, content in (("state.pt", b"epoch 3"), ("best-2.pt", b"best"), ("runs/a.csv", b"1,2")):
        path = place / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (place / "inputs").mkdir()
    return place


def contents(folder: Path) -> dict[str, bytes]:
    """The work by name."""
    work = folder / "work"
    paths = (path for path in work.rglob("*") if path.is_file())
    return {path.relative_to(work).as_posix(): path.read_bytes() for path in paths}


def test_work_goes_on_elsewhere(folder: Path, tmp_path: Path) -> None:
    """The same files there; the same bytes of the archive, whenever they were written."""
    archive, other = tmp_path / "work.tar", tmp_path / "there" / "key"
    assert unfinished.pack(folder, archive)
    assert unfinished.unpack(archive, other)
    assert contents(other) == contents(folder)
    assert unfinished.pack(other, tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()


def test_work_that_is_there_stays(folder: Path, tmp_path: Path) -> None:
    """A training that was ended here goes on from what it has."""
    unfinished.pack(folder, tmp_path / "work.tar")
    (folder / "work" / "state.pt").write_bytes(b"epoch 4")
    assert not unfinished.unpack(tmp_path / "work.tar", folder)
    assert contents(folder)["state.pt"] == b"epoch 4"


def test_a_damaged_file_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    """The training begins at its first epoch."""
    archive, other = tmp_path / "work.tar", tmp_path / "there" / "key"
    unfinished.pack(folder, archive)
    archive.write_bytes(archive.read_bytes()[:700])
    assert not unfinished.unpack(archive, other)
    assert contents(other) == {}


def test_where_nothing_was_worked_there_is_no_file(tmp_path: Path) -> None:
    """Neither of a step that did not begin nor of one that has written nothing."""
    (tmp_path / "key" / "work").mkdir(parents=True)
    assert not unfinished.pack(tmp_path / "key", tmp_path / "work.tar")
    assert not unfinished.pack(tmp_path / "none", tmp_path / "work.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_links_and_pipes_are_no_work(folder: Path, tmp_path: Path) -> None:
    """What they lead to was not made by the step, and opening a pipe would wait."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("secret")
    (folder / "work" / "link").symlink_to(secret / "file")
    (folder / "work" / "all").symlink_to(secret)
    os.mkfifo(folder / "work" / "pipe")
    assert unfinished.pack(folder, tmp_path / "work.tar")
    assert b"secret" not in (tmp_path / "work.tar").read_bytes()


def test_what_is_written_meanwhile_is_packed_anew(folder: Path, tmp_path: Path) -> None:
    """A state and the weights that it names belong together; of one that never holds still there is none."""
    written = 0

    class Archive(type(tmp_path)):  # type: ignore[misc]
        """Where a file is packed beside: asking for that is in the middle of packing."""

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
