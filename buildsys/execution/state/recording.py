"""Writes buildsys.lock: facts of what a build read, and trainings with their origin.

A build only adds lines for what is new; it neither changes nor removes any. Only `buildsys update`
replaces facts and networks.
"""

import dataclasses
import threading
from collections.abc import Callable, Iterable, Set

from buildsys.execution.places import Workspace
from buildsys.execution.state.action_keys import slice_digest
from buildsys.execution.state.decide import State
from buildsys.execution.state.lock_differences import (
    SHOWN,
    changes_since,
    compare_source,
    describe_training,
    found_sources,
    found_trainings,
    made_checkpoint,
    other_facts,
)
from buildsys.files import stat_text
from buildsys.graph import BuildPlan, Step
from buildsys.lockfile import (
    Content,
    Line,
    Lock,
    Training,
    content_line,
    is_training,
    read_lock,
    recipe_of,
    short_key,
    training_key,
    training_line,
    write_lock,
)
from buildsys.recorded_facts import Facts
from buildsys.spec import Format
from buildsys.text import count_text, duration
from buildsys.write_errors import writing


def describe(state: State, step: Step) -> Training:
    """Return the record of a training that has been made."""
    action_key, result = state.key(step), state.result(step.id)
    assert action_key is not None
    assert result is not None
    entry = state.store.recall(action_key.key)
    diary = dict(entry.diary) if entry else {}
    outputs = dict(result.outputs)
    return Training(
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


def training_notes(state: State, steps: tuple[Step, ...]) -> list[str]:
    """Return notes before a run: trainings that are stale only because of tools or code, and their
    cost.
    """
    notes = []
    for step in steps:
        if not step.trains:
            continue
        note = training_note(state, step)
        if note:
            notes.append(f"{step.stage}: {note}")
    return notes


def trains_anew(state: State, step: Step) -> bool:
    """Return whether `buildsys update` trains a step: it has no line and no result, or tools or
    code changed.

    A recorded network of the current code that is only in another store is no reason to train.
    """
    action_key = state.known_key(step)
    if action_key is None:
        return True
    status = state.decide(step).status
    recorded = state.trainings.get(slice_digest(step, action_key))
    other = recorded is None or recorded.action_key != action_key.key
    return step.id in state.kept or (other and status.is_due)


def training_note(state: State, step: Step) -> str:
    """Return one sentence; empty if the recipe or its data changed, or nothing has to be noted."""
    action_key = state.known_key(step)
    if action_key is None:
        return ""
    recorded = state.trainings.get(slice_digest(step, action_key))
    if recorded is None:
        return ""
    status = state.decide(step).status  # also finds kept trainings
    cost = f"trained in {duration(recorded.seconds)}"
    changed = changes_since(step, recorded)
    if step.id in state.kept:
        since = f"since then {changed}" if changed else "it belongs to another action"
        return f"the recorded network is kept, {cost}; {since}; `buildsys update` trains again"
    if status.is_due:
        unread = state.store.unread
        where = f"did not come from {unread}" if unread else "is not in this store"
        if not changed:
            return (
                f"the recorded network {where}: it is trained again ({cost});"
                " `buildsys store import` imports it from a machine that has it"
            )
        return (
            f"WARNING: the training runs again although recipe and data did not change ({cost}):"
            f" the recorded network {where}, and since then {changed}."
            " `buildsys store import` imports it from a machine that has it."
        )
    return ""


class Record:
    """buildsys.lock during a run: read again before each addition, and written at once."""

    def __init__(
        self, workspace: Workspace, plans: tuple[BuildPlan, ...], state: State, lock: Lock
    ) -> None:
        """`plans`: all of the workspace; `lock`: the lock that `state` was made from."""
        self.workspace, self.plans, self.state = workspace, plans, state
        self.locked = False
        """Whether the lock must not be written."""
        self.replaces = False
        """Whether a new training replaces a recorded one (`buildsys update`)."""
        self.first, self.first_stat = lock, ""
        """The lock when the run began, and the `stat_text` of the file then."""
        self.stat = ""
        """`stat_text` of the file when this run last read or wrote it."""
        self._adding = threading.RLock()  # steps finish in threads
        self._compared: set[tuple[str, str]] = set()
        """(step key, checkpoint) of the trainings that this run has compared with the lock."""

    @property
    def lock(self) -> Lock:
        """Return the lock as last read or written."""
        return self.state.lock

    @property
    def keeps_first(self) -> bool:
        """Return whether every line from the beginning of the run is still there unchanged."""
        return all(self.lock.by_key.get(line.key) == line for line in self.first.lines)

    def read(self) -> None:
        """Read the file again: another run may have written it while this one waited."""
        stat = stat_text(str(self.workspace.lock))
        if stat == self.stat:  # the file is never written in place: a new one replaces it
            return
        self.state.use_lock(read_lock(self.workspace.lock))
        self.stat = stat  # only after reading: an unreadable file has no stat

    def add_training(
        self, step: Step, recipes: set[str], print_line: Callable[[str], None]
    ) -> None:
        """Add a training to buildsys.lock at once, so that a later failure cannot lose it.

        `print_line` gets a line, once, about a recorded training that was made again, and about other
        notes.
        """
        with self._adding:
            self.read()
            action_key = self.state.known_key(step)
            made = made_checkpoint(self.state, step)
            if action_key is None or not made:
                return
            slice_ = slice_digest(step, action_key)
            recorded = self.lock.trainings().get(slice_)
            if (action_key.key, made) not in self._compared:
                self._compared.add((action_key.key, made))
                text = self._compare(step, recorded, made, recipes)
                if text:
                    print_line(text)
            if recorded is None or not self.replaces:
                before = self.lock
                value = recorded or describe(self.state, step)
                keys = (training_key(recipe, slice_) for recipe in recipes)
                self._write(self.lock.adding(training_line(key, value) for key in keys))
                if recorded is None and self.lock != before and not self.replaces:
                    self._print_earlier(recipes, print_line)
                return
            for change in self._replace([(step, slice_, recipe) for recipe in sorted(recipes)]):
                print_line(change)

    def missing_line(self, step: Step, recipes: set[str]) -> str:
        """Return the key of the line that a training would add to a lock that must not change; else
        empty.
        """
        action_key = self.state.known_key(step)
        if not self.locked or action_key is None:
            return ""
        keys = (training_key(recipe, slice_digest(step, action_key)) for recipe in sorted(recipes))
        return next((key for key in keys if key not in self.lock.by_key), "")

    def _compare(self, step: Step, recorded: Training | None, made: str, recipes: set[str]) -> str:
        """Return how a recorded training and its repetition compare; empty if none was recorded."""
        if recorded is None or self.replaces:
            return ""
        if recorded.checkpoint == made:
            return "the same network as buildsys.lock records, byte for byte"
        changes = changes_since(step, recorded)
        return (
            f"the network differs from the one that buildsys.lock records"
            f" ({describe_training(recorded)}{f'; since then {changes}' if changes else ''});"
            f" the lock was not changed; `buildsys update {' '.join(sorted(recipes))}` records this one"
        )

    def _print_earlier(self, recipes: set[str], print_line: Callable[[str], None]) -> None:
        for recipe in sorted(recipes):
            count = len(_earlier(self.lock, {recipe}, self.plans, self.state))
            if count:
                print_line(
                    f"buildsys.lock keeps {count_text(count, 'earlier training')} of {recipe}, too;"
                    f" `buildsys update {recipe}` removes unused ones"
                )

    def add(self, plans: Iterable[BuildPlan]) -> tuple[str, ...]:
        """Add the missing lines for what these builds were made from; returns their keys."""
        with self._adding:
            self.read()
            lines: list[Line] = []
            for plan in plans:
                sources = found_sources(self.state, plan)
                lines += [
                    content_line(*found) for found in sources if found[0] not in self.lock.by_key
                ]
                for step, slice_ in found_trainings(self.state, plan):
                    if made_checkpoint(self.state, step):
                        value = self.state.trainings.get(slice_) or describe(self.state, step)
                        key = training_key(plan.recipe, slice_)
                        lines.append(training_line(key, value))
            before = self.lock
            self._write(before.adding(lines))
            return tuple(key for key in self.lock.by_key if key not in before.by_key)

    def take(self, plans: Iterable[BuildPlan], recipes: frozenset[str]) -> tuple[str, ...]:
        """Replace what the lock records of these builds by what is here (`buildsys update`).

        `recipes`: those whose unused trainings are removed. Returns a sentence for each change.
        """
        with self._adding:
            self.read()
            before, changes = self.lock, list[str]()
            trainings: list[tuple[Step, str, str]] = []
            lines: list[Line] = []
            for plan in plans:
                for key, digest, facts in found_sources(self.state, plan):
                    recorded = before.content(key)
                    if recorded is None or compare_source(key, recorded, digest, facts):
                        lines.append(content_line(key, digest, facts))
                        changes.append(_source_change(key, recorded, digest, facts))
                trainings += [(*found, plan.recipe) for found in found_trainings(self.state, plan)]
            self._write(before.with_lines(lines))
            changes += self._replace(trainings)
            gone = _earlier(self.lock, recipes, self.plans, self.state)
            known = {plan.recipe for plan in self.plans}
            changes += [
                f"{short_key(key)}: removed, "
                + (
                    "the recipe no longer uses it"
                    if recipe_of(key) in known
                    else "the recipe no longer exists"
                )
                for key in gone
            ]
            self._write(self.lock.with_lines((), without=frozenset(gone)))
            return tuple(dict.fromkeys(changes))

    def _replace(self, trainings: list[tuple[Step, str, str]]) -> list[str]:
        """Replace recorded networks by those made here; each is (step, slice, recipe)."""
        changes: list[str] = []
        for step, slice_, recipe in trainings:
            made = made_checkpoint(self.state, step)
            recorded = self.lock.trainings().get(slice_)
            own = training_key(recipe, slice_)
            if not made:
                continue
            if recorded is not None and (
                step.id in self.state.kept or not self._is_other(step, recorded)
            ):
                if own not in self.lock.by_key:
                    self._write(self.lock.adding([training_line(own, recorded)]))
                    changes.append(_training_change(own, None, recorded, step))
                continue
            value = describe(self.state, step)
            if recorded is not None and recorded.checkpoint == made:
                value = dataclasses.replace(value, seconds=recorded.seconds)
            keys = [line.key for line in self.lock.lines if line.key.endswith(f" {slice_}")]
            keys = [*(key for key in keys if is_training(key)), own]
            self._write(self.lock.with_lines(training_line(key, value) for key in keys))
            changes += [_training_change(key, recorded, value, step) for key in dict.fromkeys(keys)]
        return changes

    def _is_other(self, step: Step, recorded: Training) -> bool:
        action_key = self.state.known_key(step)
        other_key = action_key is not None and action_key.key != recorded.action_key
        return other_key or made_checkpoint(self.state, step) != recorded.checkpoint

    def _write(self, lock: Lock) -> None:
        """Write the lock, unless it must not change or nothing has changed."""
        if self.locked or lock == self.lock:
            return
        with writing("buildsys.lock", self.workspace.root):
            write_lock(self.workspace.lock, lock)
        self.stat = stat_text(str(self.workspace.lock))
        self.state.use_lock(lock)


def _earlier(
    lock: Lock, recipes: Set[str], plans: tuple[BuildPlan, ...], state: State
) -> list[str]:
    """Return the keys of these recipes' trainings that no plan uses.

    Only for a recipe whose current trainings have lines, and a training whose other users have
    lines of their own. `plans`: all of the workspace.
    """
    found = [
        line.key
        for line in lock.lines
        if isinstance(line.value, Training) and recipe_of(line.key) in recipes
    ]
    own = _used([plan for plan in plans if plan.recipe in recipes], state)
    if not any(key not in own.get(recipe_of(key), ()) for key in found):
        return []  # other recipes are checked only if it matters
    used = _used(plans, state)
    has_all = {name for name in recipes if used.get(name, set()) <= lock.by_key.keys()}
    needed = {key for keys in used.values() for key in keys}
    shared = {key.rpartition(" ")[2] for key in needed - lock.by_key.keys()}
    return [
        key
        for key in found
        if recipe_of(key) in has_all and key not in needed and key.rpartition(" ")[2] not in shared
    ]


def _used(plans: Iterable[BuildPlan], state: State) -> dict[str, set[str]]:
    """Return by recipe the keys of its trainings' lines; empty text for a training with unknown
    inputs.
    """
    used: dict[str, set[str]] = {}
    for plan in plans:
        keys = used.setdefault(plan.recipe, set())
        for step in plan.steps:
            if step.trains:
                key = state.known_key(step)
                keys.add(training_key(plan.recipe, slice_digest(step, key)) if key else "")
    return used


def _source_change(key: str, recorded: Content | None, digest: str, facts: Facts | None) -> str:
    """Return a sentence about the old and the new content."""
    if recorded is None:
        return f"{key}: added, {digest[:SHOWN]}"
    if recorded.digest == digest:
        return f"{key}: {other_facts(recorded.facts, facts)} changed"
    return f"{key}: {recorded.digest[:SHOWN]} → {digest[:SHOWN]}"


def _training_change(key: str, old: Training | None, new: Training, step: Step) -> str:
    """Return a sentence about the old and the new network."""
    network = new.checkpoint[:SHOWN]
    if old is None:
        return f"{short_key(key)}: added, the network {network}"
    if old.checkpoint == new.checkpoint:
        changes = changes_since(step, old) or "another action"
        return f"{short_key(key)}: the same network {network}; {changes}"
    return f"{short_key(key)}: the network {old.checkpoint[:SHOWN]} → {network}"
