"""What goes into buildsys.lock: facts of what a build read, and trainings with where they came from."""

import dataclasses
import threading
from collections.abc import Callable, Iterable

from buildsys.execution.places import Workspace
from buildsys.execution.state.action_keys import slice_digest
from buildsys.execution.state.decide import State
from buildsys.graph import BuildPlan, Source, Status, Step
from buildsys.lockfile import (
    Lock,
    Training,
    content_line,
    read_lock,
    training_key,
    training_line,
    write_lock,
)
from buildsys.spec import Format
from buildsys.text import duration
from buildsys.write_errors import writing


def with_facts(lock: Lock, state: State, plans: Iterable[BuildPlan]) -> Lock:
    """The lock with what these builds were made from; only what is here is looked at."""
    lines = []
    for plan in plans:
        facts = {fact.key: fact.facts for fact in plan.facts}
        for source in _sources(plan):
            key = f"{source.kind} {source.label}"
            if not state.sources.is_missing(source):
                lines.append(content_line(key, state.sources.digest(source), facts.get(key)))
    return lock.with_lines(lines)


def _sources(plan: BuildPlan) -> list[Source]:
    found = [item.source for step in plan.steps for item in step.inputs if item.source is not None]
    return [source for source in dict.fromkeys(found) if source.kind]


def with_training(lock: Lock, state: State, step: Step, recipes: set[str]) -> Lock:
    """The lock with a training that has just been made, for each recipe that uses it.

    An older training of the same recipe goes, unless another recipe's line still names it.
    """
    action_key, result = state.key(step), state.result(step.id)
    assert action_key is not None
    assert result is not None
    entry = state.store.recall(action_key.key)
    diary = dict(entry.diary) if entry else {}
    outputs = dict(result.outputs)
    training = Training(
        action_key=action_key.key,
        checkpoint=outputs[Format.CHECKPOINT],
        training=outputs.get(Format.TRAINING, ""),
        code=step.code,
        device=diary.get("device", ""),
        lock=step.tool_identity,
        seconds=result.seconds,
        tool=step.tool,
        torch=diary.get("torch", ""),
    )
    slice_ = slice_digest(step, action_key)
    recorded = lock.trainings().get(slice_)
    if recorded is not None and dataclasses.replace(recorded, seconds=result.seconds) == training:
        training = recorded  # the same again: a fresh clone that trains stays clean
    current = {
        slice_digest(other, k)
        for other in state.steps.values()
        if other.module == step.module and (k := state.known_key(other))
    }
    keys = [line.key for line in lock.lines if isinstance(line.value, Training)]
    gone = frozenset(
        key
        for key in keys
        if key.split(" ")[1] in recipes and key.rpartition(" ")[2] not in current
    )
    named = [key for key in keys if key.endswith(f" {slice_}")]  # of other recipes as well
    named += [training_key(recipe, slice_) for recipe in recipes]
    return lock.with_lines([training_line(key, training) for key in named], without=gone)


def compare_training(lock: Lock, state: State, step: Step) -> str:
    """What became of a recorded training that was made again; nothing where none was recorded."""
    action_key, result = state.known_key(step), state.result(step.id)
    recorded = lock.trainings().get(slice_digest(step, action_key)) if action_key else None
    if recorded is None or result is None:
        return ""
    if recorded.checkpoint == dict(result.outputs).get(Format.CHECKPOINT):
        return "the same network as buildsys.lock records, byte for byte"
    return (
        f"another network than buildsys.lock recorded (on {recorded.device or 'some device'},"
        f" torch {recorded.torch or 'unknown'}); the lock names the new one now"
    )


def training_notes(state: State, steps: tuple[Step, ...]) -> list[str]:
    """What to know before the run: trainings that only tools or code made stale, with their cost."""
    notes = []
    for step in steps:
        if not step.trains:
            continue
        note = training_note(state, step)
        if note:
            notes.append(f"{step.stage}: {note}")
    return notes


def training_note(state: State, step: Step) -> str:
    """One sentence, or nothing where the recipe or its data changed, or all is well."""
    action_key = state.known_key(step)
    if action_key is None:
        return ""
    recorded = state.trainings.get(slice_digest(step, action_key))
    if recorded is None:
        return ""
    cost = f"trained in {duration(recorded.seconds)}"
    changed = _changes(step, recorded)
    if step.id in state.kept:
        return f"the recorded network is kept, {cost}; since then {changed}; `buildsys update` trains anew"
    if state.decide(step).status in (Status.STALE, Status.MISSING):
        if not changed:
            return (
                f"the recorded network is not in this store: it is trained again ({cost});"
                " `buildsys store import` would bring it from a machine that has it"
            )
        return (
            f"WARNING: nothing of the recipe or its data changed, and it trains again ({cost}):"
            f" the recorded network is not in this store, and since then {changed}."
            " `buildsys store import` brings it from a machine that has it."
        )
    return ""


def _changes(step: Step, recorded: Training) -> str:
    changes = []
    if recorded.tool != step.tool:
        changes.append(f"{recorded.tool} became {step.tool}")
    elif recorded.lock != step.tool_identity:
        changes.append(f"the lock of {step.tool_env} changed")
    if recorded.code != step.code:
        changes.append(f"the code of {step.module} changed")
    return " and ".join(changes)


class Record:
    """buildsys.lock during a run: read again before it is added to, and written at once."""

    def __init__(self, workspace: Workspace, state: State, lock: Lock) -> None:
        """`lock`: as `state` was made from it."""
        self.workspace, self.state, self.lock = workspace, state, lock
        self._adding = threading.RLock()  # steps end in threads
        self._added: set[tuple[str, str]] = set()
        """Key of the step and checkpoint of what this run has recorded."""

    def read(self) -> None:
        """As it is now: another run may have written it while this one waited for its turn."""
        self.lock = read_lock(self.workspace.lock)
        self.state.trainings = self.lock.trainings()

    def add_training(self, step: Step, recipes: set[str], say: Callable[[str], None]) -> None:
        """Into buildsys.lock at once: a training is never lost to what comes after it.

        `say` gets a line, once, on a recorded one that was made again: what this run itself has
        recorded is compared with nothing.
        """
        with self._adding:
            self.read()
            compared = compare_training(self.lock, self.state, step)
            action_key, result = self.state.known_key(step), self.state.result(step.id)
            if action_key is not None and result is not None:
                made = (action_key.key, result.output(Format.CHECKPOINT))
                compared = "" if made in self._added else compared
                self._added.add(made)
            if compared:
                say(compared)
            self.lock = with_training(self.lock, self.state, step, recipes)
            self.state.trainings = self.lock.trainings()
            self._write()

    def add_facts(self, plans: Iterable[BuildPlan]) -> None:
        """Of what these builds were made from."""
        self.read()
        self.lock = with_facts(self.lock, self.state, plans)
        self._write()

    def _write(self) -> None:
        with writing("buildsys.lock", self.workspace.root):
            write_lock(self.workspace.lock, self.lock)
