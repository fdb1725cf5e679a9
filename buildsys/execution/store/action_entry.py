"""What an action made, as the action cache keeps it under the action's key."""

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from buildsys.graph import Step, StepResult
from buildsys.records import Digest, Seconds, read_record, write_record

_MACHINE = re.compile(r"[A-Za-z0-9_]{0,32}", re.ASCII)
_ACTION = re.compile(
    r"actions/([0-9a-f]{2})/(\1[0-9a-f]{62})(?:\.([A-Za-z0-9_]{1,32}))?\.json", re.ASCII
)
_BLOB = re.compile(r"blobs/([0-9a-f]{2})/(\1[0-9a-f]{62})", re.ASCII)


def check_machine(name: str) -> None:
    """Raises ValueError unless the text is an architecture as the system calls it: x86_64, aarch64."""
    if not _MACHINE.fullmatch(name):
        raise ValueError("it is not the name of an architecture")


def this_machine() -> str:
    """The architecture of this machine."""
    return platform.machine()


def machine_of(step: Step) -> str:
    """The architecture that a step's result depends on, if it is made here: the same network is not
    the same to the last bit on another one. Empty for what does no arithmetic, and for what is made
    for hardware that the step itself names.
    """
    return this_machine() if step.tool_env and not step.requires else ""


def action_name(key: str, machine: str = "") -> str:
    """Where an action's entry lies in an archive and in a remote store."""
    return f"actions/{key[:2]}/{key}{'.' + machine if machine else ''}.json"


def parse_action_name(name: str) -> tuple[str, str] | None:
    """Key and machine of an entry that lies there; None for what is no `action_name`."""
    match = _ACTION.fullmatch(name)
    return (match[2], match[3] or "") if match else None


def blob_name(digest: str) -> str:
    """Where a blob lies in an archive and in a remote store."""
    return f"blobs/{digest[:2]}/{digest}"


def parse_blob_name(name: str) -> str | None:
    """Digest of a blob that lies there; None for what is no `blob_name`."""
    match = _BLOB.fullmatch(name)
    return match[2] if match else None


WORKER = "worker"
"""In the diary of a result that a worker of a cluster made for this machine: its name."""


@dataclass(frozen=True, kw_only=True)
class EntryOutput:
    """One output of an action. `tree`: its digest is that of a tree's index."""

    name: str
    digest: Digest
    tree: bool


@dataclass(frozen=True, kw_only=True)
class ActionEntry:
    """What an action made, how long that took, and facts of the run: the diary, (name, text)."""

    key: Digest
    module: str
    tool: str
    seconds: Seconds
    outputs: tuple[EntryOutput, ...]
    passed: bool
    """False for a gate whose verdict is red."""
    diary: tuple[tuple[str, str], ...] = ()
    digests_only: bool = False
    """What it made is known by digest, and the bytes were left out on purpose."""
    machine: Annotated[str, check_machine] = ""
    """The architecture that made it, see `machine_of`; empty in entries of earlier releases, too."""
    format: Literal[1] = 1


def make_entry(
    step: Step, key: str, result: StepResult, diary: Mapping[str, str] | None = None
) -> ActionEntry:
    """The entry of a step that has just run. `diary`: facts of that run."""
    trees = {output.name: output.tree for output in step.outputs}
    return ActionEntry(
        key=key,
        module=step.module,
        tool=step.tool,
        seconds=result.seconds,
        outputs=tuple(
            EntryOutput(name=name, digest=digest, tree=trees[name])
            for name, digest in result.outputs
        ),
        passed=result.passed,
        diary=tuple(sorted((diary or {}).items())),
        machine=machine_of(step),
    )


def is_of_worker(entry: ActionEntry) -> bool:
    """Whether a worker of a cluster made it for this machine."""
    return WORKER in dict(entry.diary)


def write_entry(entry: ActionEntry) -> bytes:
    """An entry as a record."""
    return write_record(entry)


def read_entry(key: str, data: bytes) -> ActionEntry:
    """The entry of an action. Raises ValueError for a damaged one, one of another version, and one of
    another action.
    """
    entry = read_record(ActionEntry, data)
    check_entry(key, entry)
    return entry


def check_entry(key: str, entry: ActionEntry) -> None:
    """Raises ValueError for the entry of another action, and for one that says something twice."""
    if entry.key != key:
        raise ValueError("the entry of another action")
    names = [output.name for output in entry.outputs]
    if len(set(names)) != len(names):
        raise ValueError("an output is in it twice")
