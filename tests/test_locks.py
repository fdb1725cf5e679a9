"""Locks between processes."""

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from buildsys.locks import is_held, locked


def test_a_held_lock_is_refused_without_waiting_and_names_its_owner(tmp_path: Path) -> None:
    """A lock that is held is refused at once, with its owner; `busy` is called before waiting."""
    path = tmp_path / "locks" / "lock"
    heard: list[str] = []

    def give_up(owner: str) -> None:
        heard.append(owner)
        raise InterruptedError

    with locked(path, "somebody"):
        with pytest.raises(BlockingIOError), locked(path):
            pass
        with pytest.raises(InterruptedError), locked(path, busy=give_up):
            pass
    assert heard == ["somebody"]
    assert list(path.parent.iterdir()) == []


def test_a_lock_is_held_until_its_holder_ends(tmp_path: Path) -> None:
    """Whether a lock is held can be read without taking it; the file of a killed process holds
    nothing.
    """
    path = tmp_path / "lock"
    assert not is_held(path)
    with locked(path):
        assert is_held(path)
    path.write_text("a killed process")
    assert not is_held(path)
    assert path.exists()


def _add_one(path: Path, ready: Connection) -> None:
    ready.recv()
    for _ in range(50):
        with locked(path.with_suffix(".lock"), busy=lambda _: None):
            path.write_text(str(int(path.read_text()) + 1))


@pytest.mark.slow
def test_processes_take_turns(tmp_path: Path) -> None:
    """Only one process at a time holds a lock, although the lock file is removed and created again."""
    path = tmp_path / "count"
    path.write_text("0")
    context = multiprocessing.get_context("spawn")
    ends = []
    for _ in range(3):
        here, there = context.Pipe()
        process = context.Process(target=_add_one, args=(path, there))
        process.start()
        ends.append((here, process))
    for here, _ in ends:
        here.send(None)
    for _, process in ends:
        process.join(60)
        assert process.exitcode == 0
    assert path.read_text() == "150"
