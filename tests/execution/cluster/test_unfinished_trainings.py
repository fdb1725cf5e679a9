"""A training whose worker is taken away goes on elsewhere."""

from pathlib import Path

import pytest

from buildsys.execution.cluster.unfinished_trainings import keep_now, kept, take_up
from buildsys.execution.store.shared_store import SharedStore
from buildsys.remote_settings import RemoteSettings
from tests.processes import wait_until
from tests.sample_steps import changed, make_step

KEY = "d" * 64
STEP = changed(make_step("train"), trains=True)


@pytest.fixture
def remote(tmp_path: Path) -> RemoteSettings:
    """A folder that all workers write."""
    return RemoteSettings(url=f"file://{tmp_path}/remote", mode="read-write")


def work_in(scratch: Path, epoch: int) -> None:
    """What a training leaves after an epoch."""
    (scratch / "work" / "run").mkdir(parents=True, exist_ok=True)
    (scratch / "work" / "run" / "last.pt").write_text(f"epoch {epoch}")


def test_another_worker_has_the_work_of_a_few_minutes_ago(
    tmp_path: Path, remote: RemoteSettings
) -> None:
    """And what that one does is there for the next."""
    one, two = SharedStore(tmp_path / "one", remote), SharedStore(tmp_path / "two", remote)
    assert not take_up(two, STEP, KEY, tmp_path / "b"), "nothing was kept yet"
    with kept(one, STEP, KEY, tmp_path / "a", every=0.01):
        work_in(tmp_path / "a", 1)
        wait_until(lambda: take_up(two, STEP, KEY, tmp_path / "b"), "the work")
    assert (tmp_path / "b/work/run/last.pt").read_text() == "epoch 1"
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["work"]
    work_in(tmp_path / "b", 2)
    keep_now(two, STEP, KEY, tmp_path / "b")
    again = SharedStore(tmp_path / "one", remote)
    assert take_up(again, STEP, KEY, tmp_path / "c")
    assert (tmp_path / "c/work/run/last.pt").read_text() == "epoch 2"


def test_a_worker_that_has_work_of_its_own_goes_on_there(
    tmp_path: Path, remote: RemoteSettings
) -> None:
    """It was ended here, and nothing of it is overwritten."""
    store = SharedStore(tmp_path / "one", remote)
    work_in(tmp_path / "a", 1)
    keep_now(store, STEP, KEY, tmp_path / "a")
    work_in(tmp_path / "b", 7)
    assert not take_up(store, STEP, KEY, tmp_path / "b")
    assert (tmp_path / "b/work/run/last.pt").read_text() == "epoch 7"


def test_work_that_nobody_trusted_has_signed_is_not_taken(
    tmp_path: Path, remote: RemoteSettings
) -> None:
    """Whoever writes it decides what network comes out."""
    work_in(tmp_path / "a", 1)
    keep_now(SharedStore(tmp_path / "one", remote), STEP, KEY, tmp_path / "a")
    trusted = ("ed25519:" + "A" * 43 + "=",)
    wary = RemoteSettings(url=remote.url, mode="read-write", trusted=trusted)
    assert not take_up(SharedStore(tmp_path / "two", wary), STEP, KEY, tmp_path / "b")
