"""A worker believes its own catalogue, code and locks, and nothing else."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from buildsys.digest import canonical
from buildsys.execution.cluster.orders import (
    Answer,
    Begun,
    Event,
    Failed,
    Order,
    Refused,
    WireInput,
    WireOutput,
)
from buildsys.execution.cluster.work import OrderStore, Workplace
from buildsys.execution.places import Workspace
from buildsys.execution.state.action_keys import make_key
from buildsys.execution.state.plans import complete_step
from buildsys.execution.store.shared_store import SharedStore
from buildsys.registry import get_step, new_step
from buildsys.remote_settings import RemoteSettings
from tests.conftest import StandIn, no_environment

MODULE = "examine_tflite"


@pytest.fixture
def remote(tmp_path: Path) -> RemoteSettings:
    """A folder that both machines may write."""
    return RemoteSettings(url=f"file://{tmp_path}/remote", mode="read-write")


@pytest.fixture
def coordinator(tmp_path: Path, remote: RemoteSettings) -> SharedStore:
    """The store of the machine that sends orders."""
    return SharedStore(tmp_path / "here", remote)


@pytest.fixture
def workplace(tmp_path: Path, remote: RemoteSettings) -> Workplace:
    """A worker without labels."""
    root = tmp_path / "worker"
    root.mkdir()
    Workspace(root).claim()
    return Workplace(
        Workspace(root),
        lambda: OrderStore(tmp_path / "there", remote),
        "w0",
        frozenset(),
        no_environment,
    )


def make_order(store: SharedStore, remote: RemoteSettings) -> Order:
    """An order for a small step, whose input is in the remote store."""
    digest = store.put_bytes(b"what the board recorded")
    store.push_blobs(digest, tree=False)
    params = get_step(MODULE).params(classes=1, trained=True, head="yolov8", described=True)
    plain = new_step(
        get_step(MODULE),
        params,
        canonical(params),
        step_id="x",
        stage="signal",
        inputs=(),
        outputs=(),
    )
    step = complete_step(plain)
    return Order(
        key=make_key(step, [("recording", digest)]).key,
        stage="signal",
        module=MODULE,
        params=canonical(params),
        device="auto",
        trusts_code=False,
        holds_objects=False,
        inputs=(WireInput(name="recording", digest=digest, tree=False, suffix=".npz", role=""),),
        outputs=(WireOutput(name="verdict", tree=False, suffix=".json"),),
        code=step.code,
        tool_identity=step.tool_identity,
        remote=remote.url,
    )


Ignore = Callable[[Event], None]


def test_a_result_goes_through_the_remote_store(
    coordinator: SharedStore, workplace: Workplace, remote: RemoteSettings, tools: StandIn
) -> None:
    """Blobs, log and entry are there when the reply comes; the second order of the same runs nothing."""
    order, events = make_order(coordinator, remote), list[Event]()
    reply = workplace.carry_out(order, events.append, tools)
    assert isinstance(reply, Answer), reply
    assert (reply.made, reply.worker, reply.passed) == (True, "w0", True)
    assert Begun(key=order.key, worker="w0") in events
    coordinator.look_up([(order.key, "")])
    ((name, digest),) = reply.outputs
    assert name == "verdict"
    assert b"passed" in coordinator.read(digest)
    assert coordinator.read(reply.log) == f"{MODULE} ran\n".encode()
    again = workplace.carry_out(order, events.append, tools)
    assert isinstance(again, Answer)
    assert (again.made, again.outputs, tools.ran) == (False, reply.outputs, [MODULE])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"module": "mine_bitcoin"}, "its buildsys has no step mine_bitcoin"),
        ({"params": '{"classes":1}'}, f"its {MODULE} has other parameters"),
        ({"params": "[]"}, f"its {MODULE} has other parameters"),
        ({"code": "0" * 64}, f"its code of {MODULE} is another"),
        ({"tool_identity": "0" * 64}, "its lock of evaluate is another"),
        ({"key": "0" * 64}, "the action key of signal is another one there"),
        ({"remote": "file:///elsewhere"}, "its remote store is file:///"),
    ],
)
def test_any_difference_is_refused_before_anything_runs(
    coordinator: SharedStore,
    workplace: Workplace,
    remote: RemoteSettings,
    tools: StandIn,
    change: dict[str, str],
    why: str,
) -> None:
    """In one sentence."""
    order = dataclasses.replace(make_order(coordinator, remote), **change)  # type: ignore[arg-type]
    reply = workplace.carry_out(order, lambda event: None, tools)
    assert isinstance(reply, Refused)
    assert reply.why.startswith(why)
    assert tools.ran == []


def test_a_failure_brings_the_log(
    coordinator: SharedStore, workplace: Workplace, remote: RemoteSettings, tools: StandIn
) -> None:
    """And says where it lies there, for the message to be read here."""
    tools.fail.add(MODULE)
    order = make_order(coordinator, remote)
    reply = workplace.carry_out(order, lambda event: None, tools)
    assert isinstance(reply, Failed)
    assert reply.place in reply.text
    assert reply.refused
    assert coordinator.read(reply.log) == f"{MODULE} ran\n".encode()


def test_an_input_that_the_remote_lost_is_a_failure_and_no_crash(
    coordinator: SharedStore,
    workplace: Workplace,
    remote: RemoteSettings,
    tools: StandIn,
    tmp_path: Path,
) -> None:
    """Somebody cleaned up the bucket."""
    order = make_order(coordinator, remote)
    for path in (tmp_path / "remote" / "blobs").glob("*/*"):
        path.unlink()
    reply = workplace.carry_out(order, lambda event: None, tools)
    assert isinstance(reply, Failed)
    assert "recording" in reply.text


def test_a_worker_whose_package_was_changed_is_started_again(
    coordinator: SharedStore, workplace: Workplace, remote: RemoteSettings, tools: StandIn
) -> None:
    """It would send other code to work than it knows."""
    order = make_order(coordinator, remote)
    workplace._package, workplace._looked = "as it was", 0.0
    reply = workplace.carry_out(order, lambda event: None, tools)
    assert reply == Refused(
        why="its buildsys was changed since it was started: start it again", worker="w0"
    )
