"""What an action made, as the action cache keeps it under the action's key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from buildsys.graph import Step, StepResult
from buildsys.records import Digest, Seconds, read_record, write_record


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
    )


def write_entry(entry: ActionEntry) -> bytes:
    """An entry as a record."""
    return write_record(entry)


def read_entry(key: str, data: bytes) -> ActionEntry:
    """The entry of an action. Raises ValueError for a damaged one, one of another version, and one of
    another action.
    """
    entry = read_record(ActionEntry, data)
    if entry.key != key:
        raise ValueError("the entry of another action")
    names = [output.name for output in entry.outputs]
    if len(set(names)) != len(names):
        raise ValueError("an output is in it twice")
    return entry
