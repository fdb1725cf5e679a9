"""The entry of an action in the action cache: what the action made, stored under its key."""

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from buildsys.graph import Step, StepResult
from buildsys.records import Digest, Seconds, read_record, write_record

LARGEST_ENTRY = 1 << 20
"""Limit of an entry's size in bytes: larger than any entry, small enough to read at once."""
_MACHINE = re.compile(r"[A-Za-z0-9_]{0,32}", re.ASCII)
_ACTION = re.compile(
    r"actions/([0-9a-f]{2})/(\1[0-9a-f]{62})(?:\.([A-Za-z0-9_]{1,32}))?\.json", re.ASCII
)
_BLOB = re.compile(r"blobs/([0-9a-f]{2})/(\1[0-9a-f]{62})", re.ASCII)


def check_machine(name: str) -> None:
    """Raise ValueError unless the text is the system's name of an architecture: x86_64, aarch64."""
    if not _MACHINE.fullmatch(name):
        raise ValueError("it is not the name of an architecture")


def this_machine() -> str:
    """Return the architecture of this machine."""
    return platform.machine()


def machine_of(step: Step) -> str:
    """Return the architecture that a step's result depends on, if it is made here.

    The same network differs in its last bits between architectures. Empty for steps without
    arithmetic, and for results made for hardware that the step itself names.
    """
    return this_machine() if step.tool_env and not step.requires else ""


def action_name(key: str, machine: str = "") -> str:
    """Return the name of an action's entry in an archive and in a remote store."""
    return f"actions/{key[:2]}/{key}{'.' + machine if machine else ''}.json"


def parse_action_name(name: str) -> tuple[str, str] | None:
    """Return key and machine of the entry with this name; None if it is not an `action_name`."""
    match = _ACTION.fullmatch(name)
    return (match[2], match[3] or "") if match else None


def blob_name(digest: str) -> str:
    """Return the name of a blob in an archive and in a remote store."""
    return f"blobs/{digest[:2]}/{digest}"


def parse_blob_name(name: str) -> str | None:
    """Return the digest of the blob with this name; None if it is not a `blob_name`."""
    match = _BLOB.fullmatch(name)
    return match[2] if match else None


WORKER = "worker"
"""Key of the diary: the name of the cluster worker that made the result for this machine."""


@dataclass(frozen=True, kw_only=True)
class EntryOutput:
    """One output of an action; `tree`: the digest is that of a tree's index."""

    name: str
    digest: Digest
    tree: bool


@dataclass(frozen=True, kw_only=True)
class ActionEntry:
    """What an action made, how long it took, and its diary: facts of the run as (name, text)."""

    key: Digest
    module: str
    tool: str
    seconds: Seconds
    outputs: tuple[EntryOutput, ...]
    passed: bool
    """False for a gate with a red verdict."""
    diary: tuple[tuple[str, str], ...] = ()
    digests_only: bool = False
    """Only digests are recorded; the bytes were left out deliberately."""
    machine: Annotated[str, check_machine] = ""
    """The architecture that made it, see `machine_of`; also empty in entries of earlier releases.
    """
    format: Literal[1] = 1

    @property
    def artifacts(self) -> tuple[tuple[str, bool], ...]:
        """Return its outputs as (digest, whether it is a tree)."""
        return tuple((output.digest, output.tree) for output in self.outputs)


def make_entry(
    step: Step, key: str, result: StepResult, diary: Mapping[str, str] | None = None
) -> ActionEntry:
    """Return the entry of a step that has just run; `diary`: facts of that run."""
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
    """Return whether a worker of a cluster made the result for this machine."""
    return WORKER in dict(entry.diary)


def write_entry(entry: ActionEntry) -> bytes:
    """Return an entry as the bytes of a record."""
    return write_record(entry)


def read_entry(key: str, data: bytes) -> ActionEntry:
    """Return the entry of an action.

    Raises ValueError for a damaged entry, another version, or another action's entry.
    """
    entry = read_record(ActionEntry, data)
    check_entry(key, entry)
    return entry


def check_entry(key: str, entry: ActionEntry) -> None:
    """Raise ValueError for another action's entry, and for an entry with a duplicate."""
    if entry.key != key:
        raise ValueError("the entry of another action")
    names = [output.name for output in entry.outputs]
    if len(set(names)) != len(names):
        raise ValueError("duplicate output")
