"""Differences between operating systems, as far as they can be tested on Linux."""

import os
from pathlib import Path

import pytest

from buildsys.authoring.syntax.workspace_paths import other_spelling
from buildsys.operating_system import (
    file_clock_ns,
    host_title,
    next_file_tick_ns,
    platform_name,
    share_blocks,
    signal_name,
    usable_cores,
    usable_memory,
)


@pytest.mark.parametrize(
    ("system", "machine", "name", "title"),
    [
        ("linux", "x86_64", "linux-x86_64", "Linux x86_64"),
        ("darwin", "arm64", "macos-arm64", "macOS arm64"),
        ("win32", "AMD64", "windows-amd64", "Windows amd64"),
        ("freebsd14", "amd64", "freebsd14-amd64", "freebsd14 amd64"),
    ],
)
def test_a_host_has_a_name_and_a_title(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, name: str, title: str
) -> None:
    """A host has a name for data files and a title for users."""
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert platform_name() == name
    assert host_title(name) == title


@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        ({}, None, None),
        ({"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        ({"cpu.max": "50000 100000", "memory.max": "1048576"}, 1, 1 << 20),
        (
            {
                "cpu/cpu.cfs_quota_us": "100000",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "2097152",
            },
            1,
            2 << 20,
        ),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, None),
    ],
)
def test_a_container_may_have_less_than_the_machine(
    tmp_path: Path, files: dict[str, str], cores: int | None, memory: int | None
) -> None:
    """The limits of a container apply instead of the machine's size."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert usable_cores(tmp_path) == (cores or len(os.sched_getaffinity(0)))
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert usable_memory(tmp_path) == (memory or whole)


def test_the_clock_of_files_is_not_ahead_of_them(tmp_path: Path) -> None:
    """The clock for file times is not ahead of the file system's."""
    before = file_clock_ns()
    (tmp_path / "file").touch()
    assert (tmp_path / "file").stat().st_ctime_ns >= before


def test_what_was_written_before_the_next_tick_is_older(tmp_path: Path) -> None:
    """A file that was written before the next tick counts as older, so that its plan is cached."""
    for _ in range(2):  # a file whose time was read gets finer timestamps
        (tmp_path / "file").touch()
        (tmp_path / "file").stat()
    since = next_file_tick_ns()
    assert (tmp_path / "file").stat().st_ctime_ns < since
    (tmp_path / "file").chmod(0o600)
    assert (tmp_path / "file").stat().st_ctime_ns >= since


def test_blocks_are_shared_or_nothing_is_written(tmp_path: Path) -> None:
    """Blocks are shared, or nothing is written so that the caller can copy."""
    (tmp_path / "one").write_bytes(b"one")
    with (tmp_path / "one").open("rb") as reader, (tmp_path / "two").open("wb") as writer:
        shared = share_blocks(reader, writer)
    assert (tmp_path / "two").read_bytes() == (b"one" if shared else b"")


def test_a_signal_without_a_name_has_a_number() -> None:
    """A signal without a name is shown by its number."""
    assert (signal_name(9), signal_name(36)) == ("SIGKILL", "signal 36")


@pytest.mark.parametrize(
    ("path", "spelled"),
    [
        ("Data/Cam/a.png", ""),
        ("data/Cam/a.png", "Data/Cam/a.png"),
        ("Data/cam/A.png", "Data/Cam/a.png"),
        ("./Data/Cam", ""),
        ("Data/../data", "Data/../Data"),
        ("Data/b.png", ""),
        ("nowhere/a.png", ""),
        ("Data/u\u0308.png", ""),
        ("Data/Ü.png", "Data/ü.png"),
    ],
)
def test_a_path_of_other_letters_than_the_disk_has(tmp_path: Path, path: str, spelled: str) -> None:
    """A path that differs from the disk in upper or lower case is detected."""
    (tmp_path / "Data" / "Cam").mkdir(parents=True)
    (tmp_path / "Data" / "Cam" / "a.png").touch()
    (tmp_path / "Data" / "ü.png").touch()
    assert other_spelling(tmp_path, path) == spelled
