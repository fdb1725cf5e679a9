"""Damaged stores, states and plans, wrong clocks, and inputs that change during a run."""

import itertools
import json
import os
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from buildsys.digest import digest_file
from buildsys.execution.places import Workspace
from buildsys.execution.session.loading import load_plans
from buildsys.execution.state import inputs as sources_module
from buildsys.graph import Source, steps_of
from buildsys.records import write_record
from tests import processes
from tests.checkpoints import checkpoint_of
from tests.conftest import Build, StandIn
from tests.execution.state.test_sources import sources
from tests.given_models import OTHER, tflite_bytes
from tests.processes import make_built_place, make_place, run_doit, start_doit, tools_in

ACTIONS = {
    "empty": b"",
    "no JSON": b"\xff\xfe{",
    "cut off": b'{"outputs": [["check',
    "a list": b"[1, 2]",
    "other names": b'{"result": 1}',
    "outputs of no shape": b'{"outputs": 7, "seconds": 1, "passed": true}',
    "bytes that are not there": b'{"outputs": [["model", "00"]], "seconds": 1, "passed": true}',
}


@pytest.mark.usefixtures("built")
def test_a_damaged_action_is_an_unknown_one(build: Build, tools: StandIn, tmp_path: Path) -> None:
    """Steps with a damaged record run again, and the records are complete afterwards."""
    ran = list(tools.ran)
    shutil.rmtree(tmp_path / "workspace/.buildsys")
    paths = sorted((tmp_path / "store/actions").glob("*/*.json"))
    assert len(paths) == len(ran) > 5 * len(ACTIONS)
    for path, damage in zip(paths, itertools.cycle(ACTIONS.values()), strict=False):
        path.write_bytes(damage)
    ran.remove("train_ultralytics")  # its checkpoint is in buildsys.lock and in the store
    assert sorted(build()) == sorted(ran)
    shutil.rmtree(tmp_path / "workspace/.buildsys")
    assert build() == []


@pytest.mark.slow
def test_a_cut_off_blob_is_made_again(tmp_path: Path) -> None:
    """A truncated blob is made again with the same bytes."""
    place, store = make_built_place(tmp_path), tmp_path / "store"
    expected = processes.shipped(place)
    for path in store.glob("blobs/*/*"):
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1])
    shutil.rmtree(place / "build")
    done = run_doit(place)
    assert done.returncode == 0, done.stdout
    assert processes.shipped(place) == expected


def overwrite(offset: float, data: bytes) -> Callable[[Path], None]:
    """A change that writes at an offset, given as a fraction of the file's length."""

    def apply(path: Path) -> None:
        with path.open("r+b") as stream:
            stream.seek(int(path.stat().st_size * offset) // 4096 * 4096)
            stream.write(data)

    return apply


def other_layout(path: Path) -> None:
    """A database with another program's tables."""
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE results (something TEXT)")
    connection.close()


def damaged_rows(path: Path) -> None:
    """Rows with invalid JSON and unknown digests."""
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE results SET outputs = '[[' WHERE rowid % 2")
        connection.execute("UPDATE results SET seconds = NULL WHERE rowid % 3 = 0")
        connection.execute("UPDATE roles SET parts = CAST(x'ff' AS TEXT)")
        connection.execute("UPDATE files SET digest = 'x' WHERE key LIKE '%start.bin'")
        connection.execute("UPDATE files SET stat = '' WHERE rowid % 2")
        connection.execute("UPDATE durations SET seconds = 'x'")
    connection.close()


def other_version(path: Path) -> None:
    """A database of a later buildsys."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()


def fifo(path: Path) -> None:
    """A named pipe: opening it blocks."""
    path.unlink()
    os.mkfifo(path)


def newer_header(path: Path) -> None:
    """A header with which SQLite opens the file only for reading."""
    with path.open("r+b") as stream:
        stream.seek(18)
        stream.write(b"\x09")


def rubbish(suffix: str) -> Callable[[Path], None]:
    """A change that replaces the file, or one beside it, with other bytes."""

    def apply(path: Path) -> None:
        Path(f"{path}{suffix}").write_bytes(b"rubbish" * 1000)

    return apply


def cut(part: float) -> Callable[[Path], None]:
    """A change that keeps only the beginning of the file."""
    return lambda path: os.truncate(path, int(path.stat().st_size * part))


DATABASES: dict[str, Callable[[Path], None]] = {
    "gone": Path.unlink,
    "empty": cut(0),
    "cut within its first page": cut(0.01),
    "cut in half": cut(0.5),
    "no database": rubbish(""),
    "its header": overwrite(0, b"rubbish"),
    "a page of it": overwrite(0.3, os.urandom(4096)),
    "most of it": overwrite(0.1, os.urandom(20_000)),
    "another layout": other_layout,
    "its rows": damaged_rows,
    "a log of nothing beside it": rubbish("-wal"),
    "a journal beside it": rubbish("-journal"),
    "another version": other_version,
    "a FIFO": fifo,
    "a newer header": newer_header,
}


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("damage", DATABASES)
def test_a_damaged_database_costs_no_step(
    build: Build, workspace: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    """A damaged database is replaced without running a step, and reported once."""
    expected = processes.shipped(workspace)
    assert processes.damage(workspace, workspace.parent / "store") == []
    DATABASES[damage](workspace / ".buildsys/state.sqlite")
    capsys.readouterr()
    assert build() == []
    assert processes.shipped(workspace) == expected
    assert build() == []
    assert capsys.readouterr().err.count("it was started again") <= 1


def waits_with(number: int, path: Path) -> bool:
    """Whether a process is asleep and has the file open."""
    entry = Path(f"/proc/{number}")
    try:
        opened = {os.readlink(each) for each in (entry / "fd").iterdir()}
    except FileNotFoundError:  # the file was closed in between
        return False
    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
    return str(path) in opened and state == "S"


@pytest.mark.slow
def test_a_busy_database_is_not_a_damaged_one(tmp_path: Path) -> None:
    """A database that another process has locked is not deleted."""
    place = make_built_place(tmp_path)
    database = place / ".buildsys/state.sqlite"
    inode = database.stat().st_ino
    (place / "model.tflite").write_bytes(tflite_bytes(metadata="other"))
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    process = start_doit(place)
    processes.wait_until(lambda: waits_with(process.pid, database), "doit at the database")
    other.execute("COMMIT")
    other.close()
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    assert database.stat().st_ino == inode


def kept(change: dict[str, object]) -> Callable[[bytes], bytes]:
    """A change that keeps the digest correct for other content."""

    def apply(data: bytes) -> bytes:
        file = json.loads(data.splitlines()[1])
        file["entries"][""]["value"] |= change
        return write_record(file)

    return apply


CACHES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "a list": lambda data: write_record([]),
    "no JSON": lambda data: b"\x00\x01",
    "no steps": kept({"steps": []}),
    "plans of no shape": kept({"plans": {"a": 1}}),
    "a step that is not there": kept({"plans": [{"steps": ["absent"]}]}),
}


@pytest.mark.usefixtures("built")
def test_a_damaged_cache_of_plans_is_made_anew(build: Build, workspace: Path) -> None:
    """With a damaged cache of plans, recipes are read again and no step runs."""
    time.sleep(0.06)  # files written just before planning are not cached
    build()
    path = workspace / ".buildsys/plans/tags.json"
    before = path.read_bytes()
    for name, damage in CACHES.items():
        path.write_bytes(damage(before))
        assert build() == [], name
        assert path.read_bytes() == before, name


@pytest.mark.slow
def test_a_recipe_that_is_edited_while_it_is_planned(workspace: Path) -> None:
    """An edit during planning takes effect in the next run."""
    recipe, cache = workspace / "recipes/tags.yaml", workspace / ".buildsys/plans/tags.json"
    load_plans(Workspace(workspace))  # imports the modules of planning
    cache.unlink(missing_ok=True)
    before = time.monotonic()
    load_plans(Workspace(workspace))
    seconds = time.monotonic() - before
    for part in range(12):
        cache.unlink(missing_ok=True)
        text = re.sub("epochs: [0-9]+", f"epochs: {part + 10}", recipe.read_text())
        edit = threading.Timer(seconds * part / 12, recipe.write_text, [text])
        edit.start()
        load_plans(Workspace(workspace))
        edit.join()
        plans = load_plans(Workspace(workspace)).plans
        steps = [step for plan in plans for step in steps_of(plan)]
        (train,) = {step.params for step in steps if step.module == "train_ultralytics"}
        assert json.loads(train)["epochs"] == part + 10


SHIFTED = """\
import time
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + SHIFT
time.time_ns = lambda: _time_ns() + SHIFT * 10**9
"""


@pytest.mark.slow
@pytest.mark.parametrize("years", [-30, 30])
def test_a_clock_that_jumps(tmp_path: Path, years: int) -> None:
    """A changed clock runs nothing, and an edit is still detected."""
    place = make_built_place(tmp_path)
    shifted = tmp_path / "shifted"
    shifted.mkdir()
    shift = years * 365 * 24 * 3600
    (shifted / "sitecustomize.py").write_text(SHIFTED.replace("SHIFT", str(shift)))
    extra = {"PYTHONPATH": f"{shifted}:{processes.environment(tmp_path)['PYTHONPATH']}"}
    for expected in ("up-to-date", "built", "up-to-date"):
        if expected == "built":
            (place / "model.tflite").write_bytes(OTHER)
        output, _ = start_doit(place, extra=extra).communicate(timeout=180)
        assert processes.statuses(place)["plain@host"].split(", ")[0] == expected, output
        assert processes.statuses(place)["tags@xiao-esp32s3"] == "up-to-date"
    assert run_doit(place).returncode == 0
    assert processes.statuses(place)["plain@host"].split(", ")[0] == "up-to-date"


def note_reads(monkeypatch: pytest.MonkeyPatch, read: list[Path]) -> None:
    """Record each file that is read for a digest."""

    def digest(path: Path) -> str:
        read.append(path)
        return digest_file(path)

    monkeypatch.setattr(sources_module, "digest_file", digest)


@pytest.mark.parametrize("when", [1, 4_000_000_000, 0])
def test_a_file_of_any_date_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    """A file is hashed once, whether its date is old, in the future or now."""
    path = tmp_path / "cam" / "a.jpg"
    path.parent.mkdir()
    path.write_bytes(b"one")
    os.utime(path, (when, when) if when else None)
    processes.wait_until(
        lambda: time.time_ns() - path.stat().st_ctime_ns > 10**8, "a file that is no longer new"
    )
    read: list[Path] = []
    note_reads(monkeypatch, read)
    for source in (
        Source(path=str(path), label="a", parts=()),
        Source(path=str(path.parent), label="cam", parts=("*.jpg",)),
    ):
        first = sources(tmp_path).digest(source)
        assert sources(tmp_path).digest(source) == first
    assert len(read) == 1


def change_picture(place: Path) -> None:
    """Change one byte of the training data."""
    (place / "tags/images/train/0.jpg").write_bytes(b"train O")


def add_picture(place: Path) -> None:
    """Add an image."""
    shutil.copy(place / "tags/images/train/0.jpg", place / "tags/images/train/9.jpg")


def remove_weights(place: Path) -> None:
    """Remove the start weights."""
    (place / "start.bin").unlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "module", "stage"),
    [
        (change_picture, "prepare_dataset", "prepare"),
        (add_picture, "prepare_dataset", "prepare"),
        (remove_weights, "train_ultralytics", "train"),
    ],
)
def test_an_input_that_changes_under_the_step(
    tmp_path: Path, change: Callable[[Path], None], module: str, stage: str
) -> None:
    """If an input changes during a step, its result is not kept, and the next run uses the new
    input.
    """
    place, store = make_place(tmp_path, hold=module), tmp_path / "store"
    process = start_doit(place, "build:tags@xiao-esp32s3")
    processes.wait_until(lambda: tools_in(place, module), "the step")
    change(place)
    processes.let_go(tmp_path)
    output, _ = process.communicate(timeout=180)
    assert process.returncode in (1, 2)
    assert not re.search("^Traceback", output, re.MULTILINE), output
    assert module not in processes.results(store)
    if change == remove_weights:
        assert "start.bin" in output
        (place / "start.bin").write_bytes(checkpoint_of("weights"))
    else:
        told = "changed during this run; nothing made from it since then is kept. Run again."
        assert told in output
    assert processes.statuses(place)["tags@xiao-esp32s3"] == f"failed at {stage}"
    assert run_doit(place).returncode == 0
    assert processes.damage(place, store) == []
