"""A training whose worker is removed continues on another one."""

import shutil
import time
from pathlib import Path

import pytest

from buildsys.execution.cluster.unfinished_trainings import drop, keep_now, kept, take_up
from buildsys.execution.store.remote import Remote
from buildsys.remote_settings import RemoteSettings
from tests.processes import wait_until
from tests.sample_steps import changed, make_step

KEY = "d" * 64
STEP = changed(make_step("train"), trains=True)


@pytest.fixture
def remote(tmp_path: Path) -> RemoteSettings:
    """A folder that all workers can write to."""
    return RemoteSettings(url=f"file://{tmp_path}/remote", mode="read-write")


def work_in(scratch: Path, epoch: int) -> None:
    """Write the state of a training after an epoch."""
    (scratch / "work" / "run").mkdir(parents=True, exist_ok=True)
    (scratch / "work" / "run" / "last.pt").write_text(f"epoch {epoch}")


def remote_of(settings: RemoteSettings) -> Remote:
    """The remote store of one worker."""
    return Remote(settings, lambda text: None)


def blobs(tmp_path: Path) -> list[str]:
    """All files in the remote store except entries."""
    return [path.name for path in (tmp_path / "remote").glob("blobs/*/*")]


def test_another_worker_has_the_work_of_a_few_minutes_ago(
    tmp_path: Path, remote: RemoteSettings
) -> None:
    """Another worker gets a recent state, and uploads its own for the next."""
    two = remote_of(remote)
    assert not take_up(two, STEP, KEY, tmp_path / "b"), "nothing was kept yet"
    with kept(remote, STEP, KEY, tmp_path / "a", print, every=0.01):
        work_in(tmp_path / "a", 1)
        wait_until(lambda: take_up(two, STEP, KEY, tmp_path / "b"), "the work")
    assert (tmp_path / "b/work/run/last.pt").read_text() == "epoch 1"
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["work"]
    work_in(tmp_path / "b", 2)
    keep_now(two, STEP, KEY, tmp_path / "b")
    again = remote_of(remote)
    assert take_up(again, STEP, KEY, tmp_path / "c")
    assert (tmp_path / "c/work/run/last.pt").read_text() == "epoch 2"


def test_the_newest_work_alone_is_kept_until_the_training_is_done(
    tmp_path: Path, remote: RemoteSettings
) -> None:
    """Only the newest state is kept, until the training is finished."""
    one, two, before = remote_of(remote), remote_of(remote), None
    for epoch in range(3):
        work_in(tmp_path / "a", epoch)
        before = keep_now(one, STEP, KEY, tmp_path / "a", before)
        assert blobs(tmp_path) == [before]
    assert keep_now(one, STEP, KEY, tmp_path / "a", before) == before, "nothing has changed"
    assert blobs(tmp_path) == [before]
    work_in(tmp_path / "b", 9)
    newest = keep_now(two, STEP, KEY, tmp_path / "b")
    assert blobs(tmp_path) == [newest]
    drop(two, STEP, KEY)
    assert blobs(tmp_path) == []
    assert not take_up(one, STEP, KEY, tmp_path / "c")


def test_a_remote_store_that_was_away_gets_the_work_later(
    tmp_path: Path, remote: RemoteSettings
) -> None:
    """However often the remote store fails, later attempts use it; one line says why, before each
    success.
    """
    lines = list[str]()
    work_in(tmp_path / "a", 1)
    (tmp_path / "remote").write_text("not a folder")
    with kept(remote, STEP, KEY, tmp_path / "a", lines.append, every=0.01):
        wait_until(lambda: bool(lines), "the first failure")
        time.sleep(0.2)
        (tmp_path / "remote").unlink()
        wait_until(lambda: _epoch(remote, tmp_path) == "epoch 1", "the work")
        (tmp_path / "remote").rename(tmp_path / "away")
        (tmp_path / "remote").write_text("not a folder")
        work_in(tmp_path / "a", 2)
        wait_until(lambda: len(lines) == 2, "the second failure")
        time.sleep(0.2)
        (tmp_path / "remote").unlink()
        wait_until(lambda: _epoch(remote, tmp_path) == "epoch 2", "the later work")
    assert len(lines) == 2
    assert lines[0].startswith(
        f"train: the state of the training cannot be saved in the remote store ({remote.url} cannot"
        " be written: File exists); the next attempt is in "
    )


def _epoch(remote: RemoteSettings, tmp_path: Path) -> str:
    """Return what another worker continues from."""
    other = tmp_path / "other"
    shutil.rmtree(other, ignore_errors=True)
    if not take_up(remote_of(remote), STEP, KEY, other):
        return ""
    return (other / "work/run/last.pt").read_text()


def test_a_worker_that_has_work_of_its_own_goes_on_there(
    tmp_path: Path, remote: RemoteSettings
) -> None:
    """A worker with its own state of the training continues from it."""
    store = remote_of(remote)
    work_in(tmp_path / "a", 1)
    keep_now(store, STEP, KEY, tmp_path / "a")
    work_in(tmp_path / "b", 7)
    assert not take_up(store, STEP, KEY, tmp_path / "b")
    assert (tmp_path / "b/work/run/last.pt").read_text() == "epoch 7"


def test_work_without_a_trusted_signature_is_not_taken(
    tmp_path: Path, remote: RemoteSettings
) -> None:
    """An unsigned state is not used if keys are trusted."""
    work_in(tmp_path / "a", 1)
    keep_now(remote_of(remote), STEP, KEY, tmp_path / "a")
    trusted = ("ed25519:" + "A" * 43 + "=",)
    wary = RemoteSettings(url=remote.url, mode="read-write", trusted=trusted)
    assert not take_up(remote_of(wary), STEP, KEY, tmp_path / "b")
