"""What crosses the wire for a step, as JSON: an order to a worker, and what becomes of it.

Bytes go through the remote store, by digest. No code and no path is in an order: a worker looks its
step up in its own catalogue, and finds parameters, tools and inputs by what they are.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from buildsys.digest import canonical
from buildsys.errors import shorten
from buildsys.escaping import plain_log
from buildsys.graph import WEIGHTS, Input, Output, Step, is_checkpoint
from buildsys.names import check_relative_name
from buildsys.records import Digest, Seconds, check_digest
from buildsys.registry import StepDefinition, make_outputs
from buildsys.spec import TREES, Format
from buildsys.typed_json import parse

_MODULE = re.compile(r"[a-z][a-z0-9_]{0,99}", re.ASCII)
_WORKER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/\[\]-]{0,99}", re.ASCII)
"""What `--name` takes, and the addresses that dask names its own workers by."""
_LONGEST_STAGE, _LONGEST_LINE, _LONGEST_TEXT = 200, 1000, 1 << 17
_LONGEST_REPLY = 1 << 24
"""The digests of 200,000 files that are lost have room."""
_SHOWN = 400
"""Characters of a line that are sent of a longer one."""


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
    """Any text as a `Line`."""
    return shorten(text.strip(), _SHOWN)[:_LONGEST_LINE]


def text_of(text: str) -> str:
    """Any text as a `Text`: lines without control characters."""
    lines = (shorten(line, _LONGEST_TEXT) for line in plain_log(text).expandtabs().split("\n"))
    return "\n".join(lines)[:_LONGEST_TEXT]


FileName = Annotated[str, _check_file_name]
Suffix = Annotated[str, _check_suffix]
Module = Annotated[str, _check_module]
Stage = Annotated[str, _check_stage]
WorkerName = Annotated[str, _check_worker]
Line = Annotated[str, _check_line]
"""What is shown as it came: one line without control characters."""
Text = Annotated[str, _check_text]
LogDigest = Annotated[str, _check_log]
"""The digest of a step's log, empty without one."""
Role = Literal["", "checkpoint", "dataset"]
"""What an input is where that matters to how it is given to a step: a checkpoint is looked at before
it is loaded, a dataset's images are linked.
"""


@dataclass(frozen=True, kw_only=True)
class WireInput:
    """One input of a step: which bytes, and what the step finds them as."""

    name: FileName
    digest: Digest
    tree: bool
    suffix: Suffix
    role: Role


@dataclass(frozen=True, kw_only=True)
class WireOutput:
    """One output of a step, as `graph.Output`."""

    name: FileName
    tree: bool
    suffix: Suffix


@dataclass(frozen=True, kw_only=True)
class Order:
    """One step for a worker. `code` and `tool_identity` are the coordinator's: only so that a refusal can
    say what differs; the worker computes `key` from its own.
    """

    key: Digest
    stage: Stage
    module: Module
    params: str
    device: Literal["auto", "cpu", "cuda"]
    trusts_code: bool
    holds_objects: bool
    inputs: tuple[WireInput, ...]
    outputs: tuple[WireOutput, ...]
    code: str
    tool_identity: str
    remote: str
    """The URL of the store that the bytes go through; the worker's own must be the same."""
    proof: Digest
    """A blob that the coordinator has put there: one URL may be two stores."""
    format: Literal[1] = 1


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A step is done: its outputs and its log are in the remote store.

    `made`: False where the worker did not run it for this order: the result was there. `variant` and
    `isolation` as the runner has them; `diary`: facts of the run.
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
    """The worker did not start the step: it is another machine, or has another buildsys, than the order is
    for, or cannot read or write the remote store (`lacks_store`).
    """

    why: Line
    lacks_store: bool = False
    worker: WorkerName
    kind: Literal["refused"] = "refused"
    format: Literal[1] = 1


@dataclass(frozen=True, kw_only=True)
class InputsLost:
    """The worker did not start the step: the remote store does not have these bytes, or has them damaged."""

    blobs: tuple[Digest, ...]
    worker: WorkerName
    kind: Literal["lost"] = "lost"
    format: Literal[1] = 1


@dataclass(frozen=True, kw_only=True)
class Undelivered:
    """The step is done, and its result is in the worker's store alone: the remote store does not take it.
    The same order to the same worker tries again.
    """

    why: Line
    worker: WorkerName
    kind: Literal["undelivered"] = "undelivered"
    format: Literal[1] = 1


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The step ended badly. `text` is the runner's message, in which `place` is the path of its log on
    the worker; `refused` as `StepFailed` has it.
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
    """How far a step is, as the step itself says it."""

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
"""The topic of all events of a scheduler; whoever listens picks those of its own orders."""


def write_order(order: Order) -> str:
    """An order as it is sent."""
    return canonical(order)


def read_order(text: str) -> Order:
    """An order as it came. Raises ValueError for what none can be."""
    order = parse(Order, text)
    for names in ([item.name for item in order.inputs], [item.name for item in order.outputs]):
        if len(set(names)) != len(names):
            raise ValueError("a name is in it twice")
    return order


def check_places(order: Order, definition: StepDefinition) -> None:
    """Whether an order gives a step, as its definition has it, the files that it takes and makes; no action
    key shows that. How a file that a person gave is called is free. Raises ValueError, which goes on from
    the step's name.
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
    """What an order says that its step makes."""
    return tuple(Output(name=o.name, tree=o.tree, suffix=o.suffix) for o in order.outputs)


def write_reply(reply: Reply) -> str:
    """What becomes of an order, as it is sent back."""
    return canonical(reply)


def read_reply(text: str) -> Reply:
    """What became of an order. Raises ValueError for what none can be."""
    if len(text) > _LONGEST_REPLY:
        raise ValueError("it is too long")
    reply: Reply = parse(Reply, text)  # type: ignore[arg-type]
    return reply


def write_event(event: Event) -> str:
    """An event as it is sent."""
    return canonical(event)


def read_event(text: str) -> Event:
    """An event as it came. Raises ValueError for what none can be."""
    event: Event = parse(Event, text)  # type: ignore[arg-type]
    return event


def role_of(item: Input) -> Role:
    """What an input of a step is, see `Role`."""
    if is_checkpoint(item.name, item):
        return "checkpoint"
    if item.source is not None:
        return "dataset" if item.source.parts else ""
    return "dataset" if item.output == Format.DATASET else ""


def wire_outputs(step: Step) -> tuple[WireOutput, ...]:
    """A step's outputs."""
    return tuple(
        WireOutput(name=output.name, tree=output.tree, suffix=output.suffix)
        for output in step.outputs
    )


def given_output(item: WireInput) -> Output:
    """An input as the output of a step that ran somewhere else."""
    return Output(name=item.role or "given", tree=item.tree, suffix=item.suffix)
