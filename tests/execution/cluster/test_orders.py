"""Messages contain only values: they cannot name code or a path on a worker."""

import dataclasses
import json

import pytest

from buildsys.execution.cluster.orders import (
    Answer,
    Begun,
    Failed,
    InputsLost,
    Message,
    Order,
    Refused,
    Reply,
    Reported,
    Undelivered,
    WireInput,
    WireOutput,
    line_of,
    read_event,
    read_order,
    read_reply,
    role_of,
    text_of,
    write_event,
    write_order,
    write_reply,
)
from buildsys.graph import Input, Source

KEY = "a" * 64
ORDER = Order(
    key=KEY,
    stage="train",
    module="train_ultralytics",
    params="{}",
    device="auto",
    trusts_code=False,
    holds_objects=False,
    inputs=(WireInput(name="dataset", digest="b" * 64, tree=True, suffix="", role="dataset"),),
    outputs=(WireOutput(name="checkpoint", tree=False, suffix=".pt"),),
    code="c",
    tool_identity="d",
    remote="file:///srv/results",
    proof="f" * 64,
)
ANSWER = Answer(
    outputs=(("checkpoint", "b" * 64),),
    seconds=1.5,
    passed=True,
    made=True,
    worker="w0",
    variant="lock-cpu",
    isolation="landlock",
    diary=(("cpu", "EPYC"),),
    log="",
)


def test_an_order_comes_as_it_was_sent() -> None:
    """An order is sent as JSON with its format version."""
    assert read_order(write_order(ORDER)) == ORDER
    assert json.loads(write_order(ORDER))["format"] == 1


@pytest.mark.parametrize(
    "reply",
    [
        ANSWER,
        Refused(why="its code of gate is another", worker="w0"),
        InputsLost(blobs=("b" * 64,), worker="w0"),
        Undelivered(why="the connection was cut", worker="tcp://[::1]:40933"),
        Failed(text="no\n    more", worker="w0", log="", place="/x.log", refused=True),
    ],
)
def test_a_reply_is_one_of_five(reply: Reply) -> None:
    """Each of the five kinds of replies is read as its kind."""
    assert read_reply(write_reply(reply)) == reply


def test_events_tell_what_happens_meanwhile() -> None:
    """Events report the start and progress of a step."""
    for event in (
        Begun(key=KEY, worker="w0"),
        Reported(key=KEY, done=1.0, total=2.0, unit="epochs", note=""),
        Message(key=KEY, worker="w0", text=line_of("two\nlines \x1b[2J")),
    ):
        assert read_event(write_event(event)) == event


@pytest.mark.parametrize(
    ("reply", "key", "value"),
    [
        (ANSWER, "log", "../../../etc/passwd"),
        (ANSWER, "worker", "w0\x1b[2J"),
        (ANSWER, "worker", ""),
        (ANSWER, "variant", "../../x\n"),
        (ANSWER, "isolation", "\r"),
        (ANSWER, "diary", [["cpu", "\x1b]0;x\x07"]]),
        (ANSWER, "outputs", [["../checkpoint", "b" * 64]]),
        (ANSWER, "outputs", [["checkpoint", "b"]]),
        (ANSWER, "seconds", -1.0),
        (Refused(why="", worker="w0"), "why", "a\nb"),
        (InputsLost(blobs=(), worker="w0"), "blobs", ["../x"]),
        (Undelivered(why="", worker="w0"), "why", "x" * 1001),
        (Failed(text="", worker="w0", log="", place="", refused=False), "text", "\x1b[2J"),
        (Failed(text="", worker="w0", log="", place="", refused=False), "place", "a\nb"),
    ],
)
def test_a_reply_that_says_anything_else_is_none(reply: Reply, key: str, value: object) -> None:
    """A reply with an invalid value is rejected."""
    data = json.loads(write_reply(reply))
    assert key in data
    with pytest.raises(ValueError, match=r"`|it is"):
        read_reply(json.dumps(data | {key: value}))


@pytest.mark.parametrize(
    ("key", "value"), [("worker", "w\n"), ("text", "\x1b[2J"), ("text", "a\nb"), ("key", "x")]
)
def test_an_event_that_says_anything_else_is_none(key: str, value: str) -> None:
    """An event with an invalid value is rejected."""
    data = json.loads(write_event(Message(key=KEY, worker="w0", text="")))
    with pytest.raises(ValueError, match=r"`|it is"):
        read_event(json.dumps(data | {key: value}))


def test_what_a_worker_says_is_made_to_fit() -> None:
    """Long or odd texts of a worker are shortened and escaped."""
    wild = "\x1b[31mred\x1b[0m\r\nnext\ttab \u202e\x00\n" + "x" * 200_000
    failed = Failed(text=text_of(wild), worker="w0", log="", place=line_of(wild), refused=False)
    assert read_reply(write_reply(failed)) == failed
    assert failed.text.startswith("red\nnext")


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("module",), "../../evil"),
        (("module",), "os.path"),
        (("key",), "../" + "a" * 61),
        (("inputs", 0, "digest"), "/etc/passwd"),
        (("inputs", 0, "name"), "../../home/me/.ssh/authorized_keys"),
        (("inputs", 0, "name"), "folder/name"),
        (("inputs", 0, "suffix"), "/../../x"),
        (("outputs", 0, "name"), "/etc/passwd"),
        (("outputs", 0, "suffix"), ".pt\n"),
        (("stage",), "train\x1b[2J"),
        (("device",), "cuda; rm"),
        (("format",), 2),
        (("run",), "import os"),
    ],
)
def test_an_order_that_says_anything_else_is_none(where: tuple[str | int, ...], value: str) -> None:
    """An order with an invalid value is rejected."""
    data = json.loads(write_order(ORDER))
    inner = data
    for step in where[:-1]:
        inner = inner[step]
    inner[where[-1]] = value
    with pytest.raises(ValueError, match=r"`|it is not|the name"):
        read_order(json.dumps(data))


def test_two_inputs_cannot_have_one_name() -> None:
    """Two inputs with the same name are rejected."""
    twice = dataclasses.replace(ORDER, inputs=ORDER.inputs * 2)
    with pytest.raises(ValueError, match="duplicate name"):
        read_order(write_order(twice))


def test_a_checkpoint_is_known_as_one() -> None:
    """A checkpoint is marked as one, so that workers examine it before loading."""
    source = Source(path="/x.pt", label="x.pt", kind="model")
    assert role_of(Input(name="weights", source=source)) == "checkpoint"
    assert role_of(Input(name="model", step="train", output="checkpoint")) == "checkpoint"
    assert role_of(Input(name="dataset", step="prepare", output="dataset")) == "dataset"
    assert role_of(Input(name="network", step="export", output="onnx")) == ""
