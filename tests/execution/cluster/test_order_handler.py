"""A worker trusts only its own catalogue, code and locks."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from buildsys.digest import canonical
from buildsys.execution.cluster import order_handler
from buildsys.execution.cluster.order_handler import OrderHandler, OrderStore
from buildsys.execution.cluster.orders import (
    Answer,
    Begun,
    Event,
    Failed,
    InputsLost,
    Order,
    Refused,
    Role,
    Undelivered,
    WireInput,
    WireOutput,
)
from buildsys.execution.places import Workspace
from buildsys.execution.running.process import Command, OnProgress
from buildsys.execution.state.action_keys import make_key
from buildsys.execution.state.completed_plans import complete_step
from buildsys.execution.store.shared_store import SharedStore
from buildsys.registry import get_step, new_step
from buildsys.remote_settings import RemoteSettings
from tests.conftest import StandIn, copy_package, no_environment

MODULE = "examine_tflite"


@pytest.fixture
def remote(tmp_path: Path) -> RemoteSettings:
    """A folder that both machines can write to."""
    return RemoteSettings(url=f"file://{tmp_path}/remote", mode="read-write")


@pytest.fixture
def coordinator(tmp_path: Path, remote: RemoteSettings) -> SharedStore:
    """The store of the machine that sends orders."""
    return SharedStore(tmp_path / "here", remote)


@pytest.fixture
def handler(tmp_path: Path, remote: RemoteSettings) -> OrderHandler:
    """A worker without labels."""
    return make_handler(tmp_path, remote)


def make_handler(tmp_path: Path, remote: RemoteSettings) -> OrderHandler:
    """Start a worker without labels."""
    root = tmp_path / "worker"
    root.mkdir()
    Workspace(root).claim()
    return OrderHandler(
        Workspace(root),
        lambda: OrderStore(tmp_path / "there", remote),
        "w0",
        frozenset(),
        trusts_code=False,
        ensure=no_environment,
    )


def make_order(store: SharedStore, remote: RemoteSettings) -> Order:
    """An order for a small step, whose input is in the remote store."""
    digest = store.put_bytes(b"what the board recorded")
    store.push_blobs(digest, tree=False)
    proof = store.put_bytes(b"the store of this run")
    store.push_blobs(proof, tree=False)
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
        proof=proof,
    )


def given(name: str, tree: bool = False, role: Role = "") -> WireInput:
    """An input of an order that was not uploaded."""
    return WireInput(name=name, digest="d" * 64, tree=tree, suffix=".x", role=role)


Ignore = Callable[[Event], None]


def test_a_result_goes_through_the_remote_store(
    coordinator: SharedStore, handler: OrderHandler, remote: RemoteSettings, tools: StandIn
) -> None:
    """Files, log and entry are uploaded before the reply; a second equal order runs nothing."""
    order, events = make_order(coordinator, remote), list[Event]()
    reply = handler.handle(order, events.append, tools)
    assert isinstance(reply, Answer), reply
    assert (reply.made, reply.worker, reply.passed) == (True, "w0", True)
    assert Begun(key=order.key, worker="w0") in events
    coordinator.look_up([(order.key, "")])
    ((name, digest),) = reply.outputs
    assert name == "verdict"
    assert b"passed" in coordinator.read(digest)
    assert coordinator.read(reply.log) == f"{MODULE} ran\n".encode()
    again = handler.handle(order, events.append, tools)
    assert isinstance(again, Answer)
    assert (again.made, again.outputs, tools.ran) == (False, reply.outputs, [MODULE])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"module": "mine_bitcoin"}, "its buildsys has no step mine_bitcoin"),
        ({"params": '{"classes":1}'}, f"its {MODULE} has different parameters"),
        ({"params": "[]"}, f"its {MODULE} has different parameters"),
        ({"code": "0" * 64}, f"its code of {MODULE} differs"),
        ({"tool_identity": "0" * 64}, "its lock of evaluate differs"),
        ({"key": "0" * 64}, "its action key of signal differs"),
        ({"remote": "file:///elsewhere"}, "its remote store is file:///"),
        ({"outputs": ()}, f"its {MODULE} has other outputs"),
        (
            {"outputs": (WireOutput(name="verdict", tree=True, suffix=".json"),)},
            f"its {MODULE} has other outputs",
        ),
        (
            {"outputs": (WireOutput(name="verdict", tree=False, suffix=".pt"),)},
            f"its {MODULE} has other outputs",
        ),
        ({"device": "cuda"}, f"its {MODULE} has no device to choose"),
        ({"holds_objects": True}, f"its {MODULE} loads no checkpoint"),
        ({"inputs": (given("model", role="checkpoint"),)}, f"its {MODULE} takes no checkpoint as"),
        ({"inputs": (given("weights"),)}, f"its {MODULE} takes a checkpoint as `weights`"),
        ({"inputs": (given("tflite", tree=True),)}, f"its {MODULE} takes `tflite` as a file"),
        ({"inputs": (given("x", role="dataset"),)}, f"its {MODULE} takes `x` as a folder"),
    ],
)
def test_any_difference_is_refused_before_anything_runs(
    coordinator: SharedStore,
    handler: OrderHandler,
    remote: RemoteSettings,
    tools: StandIn,
    change: dict[str, object],
    why: str,
) -> None:
    """An order that differs from the worker's own values is rejected with one sentence before
    anything runs.
    """
    order = dataclasses.replace(make_order(coordinator, remote), **change)  # type: ignore[arg-type]
    reply = handler.handle(order, lambda event: None, tools)
    assert isinstance(reply, Refused)
    assert reply.why.startswith(why)
    assert tools.ran == []


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (given("checkpoint"), "its package_files takes a checkpoint as `checkpoint`"),
        (
            given("checkpoint", tree=True, role="checkpoint"),
            "its package_files takes `checkpoint` as a file",
        ),
        (
            given("checkpoint", role="checkpoint"),
            "it does not run code of checkpoints: `buildsys worker",
        ),
    ],
)
def test_a_checkpoint_is_one_whatever_an_order_calls_it(
    coordinator: SharedStore,
    handler: OrderHandler,
    remote: RemoteSettings,
    tools: StandIn,
    item: WireInput,
    why: str,
) -> None:
    """A checkpoint is examined under any input name of an order."""
    order = dataclasses.replace(
        make_order(coordinator, remote),
        module="package_files",
        params='{"classes":[],"stem":"x"}',
        inputs=(item,),
        outputs=(WireOutput(name="package", tree=True, suffix=".json"),),
        trusts_code=True,
    )
    reply = handler.handle(order, lambda event: None, tools)
    assert isinstance(reply, Refused)
    assert reply.why.startswith(why)


def test_parameters_that_no_plan_has_are_refused(
    coordinator: SharedStore, handler: OrderHandler, remote: RemoteSettings, tools: StandIn
) -> None:
    """Parameters that no plan contains are rejected, even with the right types."""
    frame = {"height": 96, "width": 96, "color": "rgb", "resize": "letterbox"}
    stored = {"scheme": "int8", "granularity": "per-tensor", "io": "int8"}
    params = json.dumps({"tool": "onnx9tf", "quantization": stored, "preprocessing": frame})
    order = dataclasses.replace(
        make_order(coordinator, remote), module="convert_tflite", params=params
    )
    reply = handler.handle(order, lambda event: None, tools)
    assert isinstance(reply, Refused)
    assert reply.why.startswith("its convert_tflite has different parameters (no tool environment")


@pytest.mark.parametrize("module", ["fetch_file", "compare_latency"])
def test_a_step_of_the_machine_that_plans_is_refused(
    coordinator: SharedStore,
    handler: OrderHandler,
    remote: RemoteSettings,
    tools: StandIn,
    module: str,
) -> None:
    """Steps of the planning machine (downloads, latency) are rejected."""
    params = {
        "fetch_file": {"url": "https://example.org/x", "sha256": "0" * 64},
        "compare_latency": {"subjects": [], "threads": 1, "runs": 1, "warmup": 0, "machine": ""},
    }[module]
    order = dataclasses.replace(
        make_order(coordinator, remote), module=module, params=json.dumps(params)
    )
    reply = handler.handle(order, lambda event: None, tools)
    assert reply == Refused(why=f"{module} can only run on the machine that plans it", worker="w0")


def test_a_failure_brings_the_log(
    coordinator: SharedStore, handler: OrderHandler, remote: RemoteSettings, tools: StandIn
) -> None:
    """A failure returns the log, and its path on the worker."""
    tools.fail.add(MODULE)
    order = make_order(coordinator, remote)
    reply = handler.handle(order, lambda event: None, tools)
    assert isinstance(reply, Failed)
    assert reply.place in reply.text
    assert reply.refused
    assert coordinator.read(reply.log) == f"{MODULE} ran\n".encode()


@pytest.mark.parametrize("damage", [b"", b"what the board RECORDED", None])
def test_an_input_that_the_remote_has_lost_is_asked_for(
    coordinator: SharedStore,
    handler: OrderHandler,
    remote: RemoteSettings,
    tools: StandIn,
    tmp_path: Path,
    damage: bytes | None,
) -> None:
    """A missing or damaged input in the remote store is requested from the sender."""
    order = make_order(coordinator, remote)
    (path,) = (tmp_path / "remote" / "blobs").glob(f"*/{order.inputs[0].digest}")
    path.chmod(0o644)
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    reply = handler.handle(order, lambda event: None, tools)
    digest = order.inputs[0].digest
    assert reply == InputsLost(blobs=(digest,), worker="w0")
    assert tools.ran == []
    coordinator.push_blobs(digest, tree=False)
    assert handler.handle(order, lambda event: None, tools) == reply, "it was not sent"
    coordinator.note_unusable({digest})
    coordinator.push_blobs(digest, tree=False)
    assert isinstance(handler.handle(order, lambda event: None, tools), Answer)


def test_another_store_under_the_same_url_is_noticed_first(
    coordinator: SharedStore, handler: OrderHandler, remote: RemoteSettings, tools: StandIn
) -> None:
    """A different store under the same URL is noticed before anything else."""
    order = dataclasses.replace(make_order(coordinator, remote), proof="0" * 64)
    reply = handler.handle(order, lambda event: None, tools)
    assert reply == InputsLost(blobs=("0" * 64,), worker="w0")


def close_remote(place: Path) -> None:
    """Make the remote store unwritable."""
    place.rename(place.with_name("away"))
    place.write_text("")


def open_remote(place: Path) -> None:
    """Make the remote store writable again."""
    place.unlink()
    place.with_name("away").rename(place)


def test_a_result_that_cannot_be_delivered_is_kept(
    coordinator: SharedStore,
    handler: OrderHandler,
    remote: RemoteSettings,
    tools: StandIn,
    tmp_path: Path,
) -> None:
    """A result that cannot be uploaded is kept, and uploaded when the same order comes again."""
    order, place = make_order(coordinator, remote), tmp_path / "remote"
    handler.pauses = (0.0, 0.0)

    def end(command: Command, on_progress: OnProgress) -> int:
        code = tools(command, on_progress)
        close_remote(place)
        return code

    for run in (end, tools):
        reply = handler.handle(order, lambda event: None, run)
        assert isinstance(reply, Undelivered), reply
    open_remote(place)
    reply = handler.handle(order, lambda event: None, tools)
    assert isinstance(reply, Answer)
    assert (reply.made, tools.ran) == (False, [MODULE])
    assert b"passed" in coordinator.read(reply.outputs[0][1])


def test_a_delivery_that_fails_once_is_tried_again(
    coordinator: SharedStore,
    handler: OrderHandler,
    remote: RemoteSettings,
    tools: StandIn,
    tmp_path: Path,
) -> None:
    """A failed upload is repeated."""
    order, place = make_order(coordinator, remote), tmp_path / "remote"
    make = handler.store

    def store() -> OrderStore:
        if place.is_file():
            open_remote(place)
        return make()

    def end(command: Command, on_progress: OnProgress) -> int:
        code = tools(command, on_progress)
        close_remote(place)
        return code

    handler.store, handler.pauses = store, (0.0, 0.0)
    reply = handler.handle(order, lambda event: None, end)
    assert isinstance(reply, Answer), reply
    assert reply.made
    assert coordinator.read(reply.log) == f"{MODULE} ran\n".encode()


def test_a_worker_that_cannot_write_begins_nothing(
    coordinator: SharedStore,
    handler: OrderHandler,
    remote: RemoteSettings,
    tools: StandIn,
    tmp_path: Path,
) -> None:
    """A worker does not start without a required signing key or with an unwritable remote store."""
    order = make_order(coordinator, remote)
    wary = dataclasses.replace(remote, trusted=("ed25519:" + "A" * 43 + "=",))
    handler.store = lambda: OrderStore(tmp_path / "there", wary)
    reply = handler.handle(order, lambda event: None, tools)
    assert isinstance(reply, Refused)
    assert "BUILDSYS_SIGNING_KEY names no key" in reply.why
    handler.store = lambda: OrderStore(tmp_path / "there", remote)
    close_remote(tmp_path / "remote")
    reply = handler.handle(order, lambda event: None, tools)
    assert isinstance(reply, Refused)
    assert f"{remote.url} cannot be written" in reply.why
    assert tools.ran == []


@pytest.mark.parametrize("damaged", [False, True])
def test_a_result_that_the_remote_has_lost_is_made_again(
    coordinator: SharedStore,
    handler: OrderHandler,
    remote: RemoteSettings,
    tools: StandIn,
    tmp_path: Path,
    damaged: bool,
) -> None:
    """A result whose entry exists but whose bytes are missing or damaged is made again."""
    order = make_order(coordinator, remote)
    first = handler.handle(order, lambda event: None, tools)
    assert isinstance(first, Answer)
    digest = first.outputs[0][1]
    blob = tmp_path / "remote" / "blobs" / digest[:2] / digest
    size = blob.stat().st_size
    blob.unlink()
    if damaged:
        blob.write_bytes(b"x" * size)
    handler.store = lambda: OrderStore(tmp_path / "elsewhere", remote)
    again = handler.handle(order, lambda event: None, tools)
    assert isinstance(again, Answer), again
    assert (again.made, again.outputs) == (True, first.outputs)
    assert b"passed" in coordinator.read(digest)


def test_a_worker_whose_package_was_changed_is_started_again(
    coordinator: SharedStore,
    remote: RemoteSettings,
    tools: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker whose package was changed rejects orders until it is restarted."""
    package = copy_package(tmp_path / "buildsys")
    monkeypatch.setattr(order_handler, "PACKAGE", package)
    monkeypatch.setattr(order_handler, "_LOOK_EVERY_SECONDS", 0.0)
    order, handler = make_order(coordinator, remote), make_handler(tmp_path, remote)
    assert isinstance(handler.handle(order, lambda event: None, tools), Answer)
    (package / "spec.py").write_text("")
    reply = handler.handle(order, lambda event: None, tools)
    assert reply == Refused(
        why="its buildsys changed since the worker was started: restart the worker", worker="w0"
    )
