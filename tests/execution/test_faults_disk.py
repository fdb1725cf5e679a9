"""Full and read-only disks: small file systems that are mounted only for the run under test.

A mount namespace needs no privileges if user namespaces are allowed; otherwise these tests are
skipped.
"""

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildsys.errors import CannotWrite
from buildsys.write_errors import writing
from tests import processes
from tests.given_models import OTHER


class Cell:
    """A mount namespace that exists until it is closed."""

    def __init__(self, setup: str) -> None:
        self._process = subprocess.Popen(
            ["unshare", "-rm", "sh", "-euc", f"{setup}\necho ready\nread -r _"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.ready = self._process.stdout.readline() == "ready\n"

    def close(self) -> None:
        """Remove the mounts."""
        self._process.communicate("\n")

    def see(self, path: Path) -> Path:
        """The path inside the cell."""
        return Path(f"/proc/{self._process.pid}/root{path}")

    def run(self, command: str, place: Path) -> "subprocess.CompletedProcess[str]":
        """Run a shell command in `place`; stdout and stderr together. Files are limited to 64 MiB,
        in case the small disk is not mounted.
        """
        enter = ["nsenter", "--preserve-credentials", "-U", "-m", "-t", str(self._process.pid)]
        return subprocess.run(
            [*enter, "sh", "-c", f"cd {place} && ulimit -f {64 * 2048} && {command}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=processes.environment(place.parent),
            timeout=120,
        )

    def doit(self, place: Path) -> "subprocess.CompletedProcess[str]":
        """Run doit and check that it prints no traceback."""
        done = self.run(f"{sys.executable} -m doit", place)
        assert not re.search("^Traceback", done.stdout, re.MULTILINE), done.stdout
        return done


@pytest.fixture
def cell() -> Iterator[Callable[[str], Cell]]:
    """A function that makes cells; skips the test if this machine does not allow them."""
    made: list[Cell] = []

    def make(setup: str) -> Cell:
        made.append(Cell(setup))
        if not made[-1].ready:
            pytest.skip("this machine allows no mounts in a user namespace (unshare -rm)")
        return made[-1]

    yield make
    for each in made:
        each.close()


def disk(folder: Path, size: str) -> str:
    """The shell command that mounts a small disk at a folder."""
    return f"mkdir -p {folder}; mount -t tmpfs -o size={size} disk {folder}"


def logs(place: Path) -> dict[str, int]:
    """The start time of each log; a step that ran again has a later one."""
    return {p.name: p.stat().st_ctime_ns for p in (place / ".buildsys/logs").glob("*.log")}


def full(folder: Path) -> str:
    """A pattern for the message about a full disk."""
    return (
        rf"the disk of {folder}\S* is full \(\d+ KiB free(, \d+ KiB needed)?\)\."
        r" Make room there, then run again\."
    )


@pytest.mark.slow
def test_a_full_store(cell: Callable[[str], Cell], tmp_path: Path) -> None:
    """The step fails that finds no space; steps before it stay finished."""
    place, store = processes.make_place(tmp_path), tmp_path / "store"
    here = cell(f"{disk(store, '1m')}; head -c 940k /dev/zero > {store}/.filler")
    first = here.doit(place)
    assert first.returncode in (1, 2)
    assert re.search(f"a result cannot be written: {full(store)}", first.stdout), first.stdout
    assert processes.statuses(place)["plain@host"] == "failed at package"
    assert processes.damage(here.see(place), here.see(store)) == []
    assert list(here.see(store / "tmp").iterdir()) == []
    finished = {path.stem for path in here.see(store).glob("actions/*/*.json")}
    assert finished
    before = logs(place)
    here.see(store / ".filler").unlink()
    assert here.doit(place).returncode == 0
    assert {key: logs(place)[f"{key}.log"] for key in finished} == {
        key: before[f"{key}.log"] for key in finished
    }
    assert set(processes.statuses(place).values()) <= {"built", "up-to-date"}


@pytest.mark.slow
@pytest.mark.parametrize("folder", [".buildsys/scratch", ".buildsys"])
def test_a_tool_that_fills_the_disk(
    cell: Callable[[str], Cell], tmp_path: Path, folder: str
) -> None:
    """The full disk is reported even if the tool's output does not fit in the log."""
    place = processes.make_place(tmp_path, boards=2, fill="compile_vela")
    here = cell(disk(place / folder, "2m"))
    first = here.doit(place)
    assert first.returncode in (1, 2)
    assert "compile (compile_vela) failed" in first.stdout
    assert re.search(full(place / ".buildsys/scratch"), first.stdout), first.stdout
    assert processes.damage(here.see(place), tmp_path / "store") == []
    assert not (place / "build/tags/grove-vision-ai-v2").exists()
    processes.set_tool(tmp_path, seconds=0)
    second = here.doit(place)
    assert second.returncode == 0, second.stdout
    assert processes.damage(here.see(place), tmp_path / "store") == []


@pytest.mark.slow
def test_no_room_for_the_state(cell: Callable[[str], Cell], tmp_path: Path) -> None:
    """It is reported before any step, in one line."""
    place = processes.make_place(tmp_path)
    state = place / ".buildsys"
    here = cell(f"{disk(state, '64k')}; head -c 64k /dev/zero > {state}/before-us")
    first = here.doit(place)
    assert first.returncode == 1
    assert re.search(f"the workspace's state cannot be written: {full(state)}", first.stdout)
    here.see(state / "before-us").unlink()
    here.run(f"mount -o remount,size=8m {state}", place)
    assert here.doit(place).returncode == 0


@pytest.mark.slow
def test_no_inode_left(cell: Callable[[str], Cell], tmp_path: Path) -> None:
    """The message distinguishes missing inodes from missing bytes."""
    place, store = processes.make_place(tmp_path), tmp_path / "store"
    setup = f"mkdir -p {store}; mount -t tmpfs -o size=40m,nr_inodes=12 disk {store}"
    here = cell(setup)
    first = here.doit(place)
    assert first.returncode in (1, 2)
    words = (
        rf"the file system of {store} holds as many files as it can: it has room for \S+ MiB, but"
    )
    assert re.search(words, first.stdout), first.stdout
    assert "is full" not in first.stdout
    here.run(f"mount -o remount,nr_inodes=1000 {store}", place)
    second = here.doit(place)
    assert second.returncode == 0, second.stdout


@pytest.mark.slow
def test_a_full_build_folder(cell: Callable[[str], Cell], tmp_path: Path) -> None:
    """Packages that fit are complete, others are absent; the next run restores them."""
    place, store = processes.make_place(tmp_path), tmp_path / "store"
    here = cell(disk(place / "build", "72k"))
    first = here.doit(place)
    assert first.returncode in (1, 2)
    assert re.search(full(place / "build"), first.stdout), first.stdout
    assert not list(here.see(place / "build/plain").iterdir())
    assert processes.damage(here.see(place), store) == []
    assert processes.statuses(here.see(place))["plain@host"] == "failed at publish"
    here.run(f"mount -o remount,size=8m {place}/build", place)
    before = logs(place)
    assert here.doit(place).returncode == 0
    assert logs(place) == before
    assert processes.statuses(here.see(place))["plain@host"] == "restored"


@pytest.mark.slow
def test_no_room_even_for_the_summary(cell: Callable[[str], Cell], tmp_path: Path) -> None:
    """If the summary does not fit, the run fails with the reason."""
    place = processes.make_place(tmp_path)
    build = place / "build"
    here = cell(f"{disk(build, '64k')}; head -c 64k /dev/zero > {build}/filler")
    done = here.doit(place)
    assert done.returncode in (1, 2)
    assert re.search(f"build/summary.json cannot be written: {full(build)}", done.stdout)


@pytest.mark.slow
def test_a_read_only_store_restores(cell: Callable[[str], Cell], tmp_path: Path) -> None:
    """A read-only store restores what it has; anything else is one error before the step runs."""
    place, store = processes.make_built_place(tmp_path), tmp_path / "store"
    expected = processes.shipped(place)
    shutil.rmtree(place / "build")
    shutil.rmtree(place / ".buildsys")
    here = cell(f"mount --bind {store} {store}; mount -o remount,ro,bind {store}")
    done = here.doit(place)
    assert done.returncode == 0, done.stdout
    assert set(processes.statuses(place).values()) == {"restored"}
    assert processes.shipped(place) == expected
    (place / "model.tflite").write_bytes(OTHER)
    done = here.doit(place)
    assert done.returncode in (1, 2)
    assert done.stdout.count(f"{store} is on a read-only file system.") == 1
    assert processes.statuses(place)["plain@host"] == "failed at signal"
    assert logs(place) == {}, "nothing ran whose result could not be kept"
    assert here.run("true", place).returncode == 0


@pytest.mark.slow
def test_a_damaged_blob_in_a_read_only_store(cell: Callable[[str], Cell], tmp_path: Path) -> None:
    """A damaged blob in a read-only store is reported and not used."""
    place, store = processes.make_built_place(tmp_path), tmp_path / "store"
    blob = store / "blobs" / "x"
    for blob in store.glob("blobs/*/*"):
        if blob.stat().st_size > 50_000:
            break
    blob.chmod(0o644)
    blob.write_bytes(b"rubbish")
    shutil.rmtree(place / "build")
    here = cell(f"mount --bind {store} {store}; mount -o remount,ro,bind {store}")
    done = here.doit(place)
    assert done.returncode in (1, 2)
    assert f"{blob} is damaged and cannot be replaced" in done.stdout
    assert "Use another store (BUILDSYS_STORE)." in done.stdout
    assert not (place / "build/plain/host").exists()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EDQUOT, "the quota of .* is used up. Make room there"),
        (errno.EROFS, "cannot be written by this user|read-only file system"),
        (errno.EACCES, "cannot be written by this user"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EIO, "Look at the disk"),
        (errno.EMFILE, "too many files are open .*ulimit -n"),
    ],
)
def test_what_a_disk_can_refuse(tmp_path: Path, number: int, words: str) -> None:
    """The message names the folder, the reason and what to do."""
    with (
        pytest.raises(CannotWrite, match=words) as caught,
        writing("a result", tmp_path / "not there yet", 2048),
    ):
        raise OSError(number, os.strerror(number))
    assert str(tmp_path) in str(caught.value) or number == errno.EMFILE


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    """A missing file is not reported as a fault of the disk."""
    with pytest.raises(FileNotFoundError), writing("a result", tmp_path):
        (tmp_path / "absent").read_bytes()
