"""The messages between coordinator and workers, as JSON: an order, events, and a reply.

Bytes are exchanged through the remote store, by digest. An order contains neither code nor paths: a
worker looks the step up in its own catalogue, and identifies parameters, tools and inputs by
digest.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from buildsys.digest import canonical
from buildsys.errors import shorten
from buildsys.escaping import plain_log
from buildsys.graph import WEIGHTS, Device, Input, Output, Step, is_checkpoint
from buildsys.names import check_relative_name
from buildsys.records import Digest, Seconds, check_digest
from buildsys.registry import StepDefinition, make_outputs
from buildsys.spec import TREES, Format
from buildsys.typed_json import parse

_MODULE = re.compile(r"[a-z][a-z0-9_]{0,99}", re.ASCII)
_WORKER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/\[\]-]{0,99}", re.ASCII)
"""Names that `--name` accepts, and addresses by which dask names its own workers."""
_LONGEST_STAGE, _LONGEST_LINE, _LONGEST_TEXT = 200, 1000, 1 << 17
_LONGEST_REPLY = 1 << 24
"""Room for the digests of 200,000 lost files."""
_SHOWN = 400
"""Characters sent of a longer line."""


def _check_module(name: str) -> None:
    if _MODULE.fullmatch(name) is None:
        raise ValueError("it is not the name of a step")


def _check_file_name(name: str) -> None:
    check_relative_name(name)
    if "/" in name:
        raise ValueError("it is not the name of one file")


def _check_suffix(suffix: str) -> None:
    if suffix:
        _check_file_name(f"x{suffix}")
    if suffix and (suffix[0] != "." or "." in suffix[1:]):
        raise ValueError("it is not the ending of a file's name")


def _check_stage(text: str) -> None:
    if not text.isprintable() or len(text) > _LONGEST_STAGE:
        raise ValueError("it is not the name of a stage")


def _check_worker(name: str) -> None:
    if _WORKER.fullmatch(name) is None:
        raise ValueError("it is not the name of a worker")


def _check_line(text: str) -> None:
    if not text.isprintable() or len(text) > _LONGEST_LINE:
        raise ValueError("it is not a line for people")


def _check_text(text: str) -> None:
    lines = text.replace("\t", " ").split("\n")
    if len(text) > _LONGEST_TEXT or not all(line.isprintable() for line in lines):
        raise ValueError("it is not a text for people")


def _check_log(digest: str) -> None:
    if digest:
        check_digest(digest)


def line_of(text: str) -> str:
    """Return any text as a `Line`."""
    return shorten(text.strip(), _SHOWN)[:_LONGEST_LINE]


def text_of(text: str) -> str:
    """Return any text as a `Text`: lines without control characters."""
    lines = (shorten(line, _LONGEST_TEXT) for line in plain_log(text).expandtabs().split("\n"))
    return "\n".join(lines)[:_LONGEST_TEXT]


FileName = Annotated[str, _check_file_name]
Suffix = Annotated[str, _check_suffix]
Module = Annotated[str, _check_module]
Stage = Annotated[str, _check_stage]
WorkerName = Annotated[str, _check_worker]
Line = Annotated[str, _check_line]
"""One line without control characters, shown unchanged."""
Text = Annotated[str, _check_text]
LogDigest = Annotated[str, _check_log]
"""The digest of a step's log, or an empty text."""
Role = Literal["", "checkpoint", "dataset"]
"""The kind of an input where it affects how a step gets it: a checkpoint is inspected before it is
loaded, and images of a dataset are linked.
"""


@dataclass(frozen=True, kw_only=True)
class WireInput:
    """One input of a step: its bytes, and the name under which the step finds them."""

    name: FileName
    digest: Digest
    tree: bool
    suffix: Suffix
    role: Role


@dataclass(frozen=True, kw_only=True)
class WireOutput:
    """One output of a step, see `graph.Output`."""

    name: FileName
    tree: bool
    suffix: Suffix


@dataclass(frozen=True, kw_only=True)
class Order:
    """One step for a worker.

    `code` and `tool_identity` are the coordinator's, used only to say what differs; the worker
    computes `key` from its own.
    """

    key: Digest
    stage: Stage
    module: Module
    params: str
    device: Device
    trusts_code: bool
    holds_objects: bool
    inputs: tuple[WireInput, ...]
    outputs: tuple[WireOutput, ...]
    code: str
    tool_identity: str
    remote: str
    """The URL of the store for the bytes; the worker must use the same one."""
    proof: Digest
    """A blob that the coordinator has uploaded, since one URL may mean two stores."""
    trusted: tuple[Line, ...] = ()
    """Public keys; if there are any, one of them must sign the result."""
    format: Literal[1] = 1


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A step is done: its outputs and its log are in the remote store.

    `made`: False where the worker found an existing result. `variant` and `isolation`: see the
    runner; `diary`: facts of the run.
    """

    outputs: tuple[tuple[FileName, Digest], ...]
    seconds: Seconds
    passed: bool
    made: bool
    worker: WorkerName
    variant: Line
    isolation: Line
    diary: tuple[tuple[Line, Text], ...]
    log: LogDigest
    kind: Literal["answer"] = "answer"
    format: Literal[1] = 1


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The worker did not start the step.

    The order does not suit its machine or its buildsys, or it cannot read or write the remote store
    (`lacks_store`).
    """

    why: Line
    lacks_store: bool = False
    worker: WorkerName
    kind: Literal["refused"] = "refused"
    format: Literal[1] = 1


@dataclass(frozen=True, kw_only=True)
class InputsLost:
    """The worker did not start the step: the remote store lacks these bytes, or they are damaged
    there.
    """

    blobs: tuple[Digest, ...]
    worker: WorkerName
    kind: Literal["lost"] = "lost"
    format: Literal[1] = 1


@dataclass(frozen=True, kw_only=True)
class Undelivered:
    """The step is done, but its result is only in the worker's store: uploading failed.

    Sending the same order to the same worker repeats the upload.
    """

    why: Line
    worker: WorkerName
    kind: Literal["undelivered"] = "undelivered"
    format: Literal[1] = 1


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The step failed.

    `text` is the runner's message, with the path of the log on the worker as `place`; `refused`:
    see `StepFailed`.
    """

    text: Text
    worker: WorkerName
    log: LogDigest
    place: Line
    refused: bool
    kind: Literal["failed"] = "failed"
    format: Literal[1] = 1


Reply = Answer | Refused | InputsLost | Undelivered | Failed


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A worker has started the process of a step."""

    key: Digest
    worker: WorkerName
    kind: Literal["begun"] = "begun"


@dataclass(frozen=True, kw_only=True)
class Reported:
    """The progress of a step, as the step reports it."""

    key: Digest
    done: float
    total: float
    unit: Line
    note: Line


@dataclass(frozen=True, kw_only=True)
class Message:
    """A line for people: a tool environment is synced, a step waits for another."""

    key: Digest
    worker: WorkerName
    text: Line


Event = Begun | Reported | Message
EVENTS = "buildsys"
"""The topic of all events of a scheduler; a listener picks those of its own orders."""


def write_order(order: Order) -> str:
    """Return an order as it is sent."""
    return canonical(order)


def read_order(text: str) -> Order:
    """Return an order that was received. Raises ValueError if it is invalid."""
    order = parse(Order, text)
    for names in ([item.name for item in order.inputs], [item.name for item in order.outputs]):
        if len(set(names)) != len(names):
            raise ValueError("duplicate name")
    return order


def check_places(order: Order, definition: StepDefinition) -> None:
    """Check that an order has the files that the step's definition takes and makes.

    The action key does not cover them. Names of files that people gave are free. Raises ValueError
    with a text that continues a sentence after the step's name.
    """
    spec = definition.spec
    declared, outputs = make_outputs(tuple(definition.outputs.items())), outputs_of(order)
    if not outputs or (declared and set(outputs) != set(declared)):
        raise ValueError("has other outputs")
    if order.device != "auto" and not spec.trains:
        raise ValueError("has no device to choose")
    loads = False
    for item in order.inputs:
        is_checkpoint = item.name == WEIGHTS or (
            item.name == Format.CHECKPOINT and (not spec.consumes or item.name in spec.consumes)
        )
        if (item.role == "checkpoint") != is_checkpoint:
            what = "a" if is_checkpoint else "no"
            raise ValueError(f"takes {what} checkpoint as `{item.name}`")
        wanted = item.name in TREES if item.name in spec.consumes else None
        wanted = False if is_checkpoint else True if item.role == "dataset" else wanted
        if wanted is not None and item.tree != wanted:
            raise ValueError(f"takes `{item.name}` as a {'folder' if wanted else 'file'}")
        loads |= is_checkpoint
    if not loads and (order.trusts_code or order.holds_objects):
        raise ValueError("loads no checkpoint")


def outputs_of(order: Order) -> tuple[Output, ...]:
    """Return the outputs of an order's step."""
    return tuple(Output(name=o.name, tree=o.tree, suffix=o.suffix) for o in order.outputs)


def write_reply(reply: Reply) -> str:
    """Return a reply as it is sent."""
    return canonical(reply)


def read_reply(text: str) -> Reply:
    """Return a reply that was received. Raises ValueError if it is invalid."""
    if len(text) > _LONGEST_REPLY:
        raise ValueError("it is too long")
    reply: Reply = parse(Reply, text)  # type: ignore[arg-type]
    return reply


def write_event(event: Event) -> str:
    """Return an event as it is sent."""
    return canonical(event)


def read_event(text: str) -> Event:
    """Return an event that was received. Raises ValueError if it is invalid."""
    event: Event = parse(Event, text)  # type: ignore[arg-type]
    return event


def role_of(item: Input) -> Role:
    """Return the kind of a step's input, see `Role`."""
    if is_checkpoint(item.name, item):
        return "checkpoint"
    if item.source is not None:
        return "dataset" if item.source.parts else ""
    return "dataset" if item.output == Format.DATASET else ""


def wire_outputs(step: Step) -> tuple[WireOutput, ...]:
    """Return a step's outputs."""
    return tuple(
        WireOutput(name=output.name, tree=output.tree, suffix=output.suffix)
        for output in step.outputs
    )


def given_output(item: WireInput) -> Output:
    """Return an input as the output of a step that ran elsewhere."""
    return Output(name=item.role or "given", tree=item.tree, suffix=item.suffix)
