"""decide: the one place that knows stale from up-to-date, with reasons as values.

A step's action key digests what decides its result: module and code, parameters, tool versions,
the content of every input. A known result for the key means that there is nothing to do, whatever
happened in between; that is also the early cutoff, since a step that ran again and made the same
bytes leaves the keys after it as they were.
"""

import contextlib
import threading
from collections.abc import Iterable, Set
from pathlib import Path

from buildsys.errors import BuildsysError, MissingBytes, StepFailed
from buildsys.execution.state.action_keys import ActionKey, Parts, make_key, parts_of, slice_digest
from buildsys.execution.state.database import Database
from buildsys.execution.state.inputs import Sources
from buildsys.execution.state.reasons import compare
from buildsys.execution.state.step_outputs import read_verdict
from buildsys.execution.store.action_entry import machine_of
from buildsys.execution.store.store import Store
from buildsys.execution.tools.requirements import MissingForStep, missing_here
from buildsys.graph import BuildPlan, Decision, Input, Reason, Status, Step, StepResult
from buildsys.lockfile import Lock, Training
from buildsys.spec import Format

_TO_MAKE = frozenset({Status.STALE, Status.MISSING})
_UNDECIDED = _TO_MAKE | {Status.PENDING}
"""What the result of an earlier step may turn into something else."""


class State:
    """Decisions over a set of plans; a decision is made once and dropped when a step finishes."""

    def __init__(
        self,
        plans: tuple[BuildPlan, ...],
        database: Database,
        store: Store,
        lock: Lock | None = None,
        missing: MissingForStep = missing_here,
    ) -> None:
        """`missing`: what a step that has to run waits for; this machine's answer, unless others help."""
        self.database, self.store, self.missing = database, store, missing
        self.lock = lock or Lock()
        """buildsys.lock as far as this run has read or written it."""
        self.sources = Sources(database, store, self.lock)
        self.trainings = self.lock.trainings()
        self.retrain = False
        """Whether recorded trainings of other tools or code are made again (`buildsys update`)."""
        self.kept: dict[str, Training] = {}
        """Steps whose recorded training counts, although tool or code are others now."""
        self.steps = {step.id: step for plan in plans for step in plan.steps}
        self._consumers: dict[str, set[str]] = {}
        """Ids of the steps that read a step's outputs, by its id."""
        for step in self.steps.values():
            self._note_inputs(step)
        self.roles: dict[str, list[str]] = {}
        for plan in plans:
            for step in plan.steps:
                self.roles.setdefault(step.id, []).append(f"{plan.build}/{step.stage}")
        self._decisions: dict[str, Decision] = {}
        self._fresh_keys: dict[str, ActionKey] = {}
        """Keys that `look_up` has just made, for the decisions that follow at once."""
        self._same_action: dict[str, set[str]] = {}
        """Ids of the steps that were to make what an action key names, by the key."""
        self._results: dict[str, StepResult] = {}
        self._wanted: set[str] = set()
        self._contradicted: set[str] = set()
        """Action keys whose verdict says other than the result that named it: neither counts."""
        self.has_turned_red = False
        """Whether a verdict that was recorded as passed was made again, and is red."""
        self._lock = threading.RLock()  # steps end in threads while doit checks others

    def use_lock(self, lock: Lock) -> None:
        """The lock is another one now; what is decided stays so."""
        self.lock, self.trainings = lock, lock.trainings()

    def include(self, step: Step) -> None:
        """One step more, whose inputs are known here; it has no role in any plan."""
        with self._lock:
            self.steps[step.id] = step
            self._note_inputs(step)

    def _note_inputs(self, step: Step) -> None:
        for item in step.inputs:
            if item.step:
                self._consumers.setdefault(item.step, set()).add(step.id)

    def know(self, step: Step, result: StepResult) -> None:
        """A step that has run somewhere else, with what it made there."""
        with self._lock:
            self.steps[step.id] = step
            self._results[step.id] = result
            self._decisions[step.id] = Decision(status=Status.UP_TO_DATE)

    def decide(self, step: Step) -> Decision:
        """Whether a step has to run, and why."""
        with self._lock:
            found = self._decisions.get(step.id)
            if found is None:
                found = self._decisions[step.id] = self._decide(step)
                if found.status in _TO_MAKE:
                    self._same_action.setdefault(found.key, set()).add(step.id)
            return found

    def result(self, step_id: str) -> StepResult | None:
        """Outputs of a step that needs not run, or has run."""
        with self._lock:
            self.decide(self.steps[step_id])
            return self._results.get(step_id)

    def finish(self, step: Step, action_key: ActionKey, result: StepResult) -> None:
        """Record a result at once, and decide anew about what depends on it."""
        with self._lock:
            before = self._recorded(action_key.key)
            self._record(action_key.key, result)
            self._wanted.discard(step.id)
            self._contradicted.discard(action_key.key)
            self._note_roles(step, action_key)
            same = self._same_action.pop(action_key.key, set())
            self._reconsider([step.id, *same], _UNDECIDED)
            if before and (before.outputs, before.passed) != (result.outputs, result.passed):
                self.has_turned_red |= before.passed and not result.passed
                self._reconsider(self._made_alike(action_key.key), frozenset(Status))
            self._results[step.id] = result
            self._decisions[step.id] = Decision(status=Status.UP_TO_DATE, key=action_key.key)

    def _made_alike(self, key: str) -> list[str]:
        """Ids of the steps that were found made under an action key."""
        return [name for name, decision in self._decisions.items() if decision.key == key]

    def _reconsider(self, changed: Iterable[str], which: Set[Status]) -> None:
        """Drop the decisions on some steps, and those of `which` statuses on all that reads them: no others
        rest on them. A result goes with the decision that found it.
        """
        waiting = list(changed)
        for name in waiting:
            self._decisions.pop(name, None)
            self._results.pop(name, None)
        while waiting:
            for name in self._consumers.get(waiting.pop(), ()):
                found = self._decisions.get(name)
                if found is not None and found.status in which:
                    del self._decisions[name]
                    self._results.pop(name, None)
                    waiting.append(name)

    def ask_again(self) -> None:
        """Decide anew about what is not made: a machine that can run it may be there now, or gone."""
        undone = (Status.WAITING, Status.PENDING, Status.STALE, Status.MISSING)
        with self._lock:
            self._decisions = {
                key: decision
                for key, decision in self._decisions.items()
                if decision.status not in undone
            }

    def want_bytes(self, step_id: str) -> None:
        """Make sure that a step's outputs can be read: known by digest alone, it has to run again."""
        step = self.steps[step_id]
        result = self.result(step_id)
        if result is None:
            return
        with self._lock:
            if not self.holds(step, result):
                self._wanted.add(step_id)
                self._reconsider([step_id], frozenset(Status))

    def read(self, step_id: str, output: str) -> bytes:
        """The bytes of an output that is a file. Raises MissingBytes where its step has to run."""
        try:
            found = self.store.read(self._digest(step_id, output))
        except FileNotFoundError as error:
            raise MissingBytes(step_id) from error
        if output == Format.VERDICT:
            self._check_verdict(step_id, found)
        return found

    def _check_verdict(self, step_id: str, text: bytes) -> None:
        """What a verdict says is what its result says; else neither counts. Raises MissingBytes."""
        with self._lock:
            step, result = self.steps[step_id], self.result(step_id)
            key = self.decide(step).key
            if result is None or not key:  # the latter is known from elsewhere, where it is judged
                return
            passed: bool | None = None
            with contextlib.suppress(StepFailed):  # what no step could have written
                passed = read_verdict(text, step.stage).passed
            if result.passed != passed:
                self._contradicted.add(key)
                self._reconsider(self._made_alike(key), frozenset(Status))
                raise MissingBytes(step_id)

    def fetch(
        self, step_id: str, output: str, target: Path, linked: frozenset[str] = frozenset()
    ) -> None:
        """Copy an output, a file or a folder, to `target`; `linked` as `Store.fetch` has it. Raises
        MissingBytes, as `read`.
        """
        trees = {item.name: item.tree for item in self.steps[step_id].outputs}
        try:
            self.store.fetch(self._digest(step_id, output), target, trees[output], linked)
        except FileNotFoundError as error:
            raise MissingBytes(step_id) from error
        if output == Format.VERDICT:
            self._check_verdict(step_id, target.read_bytes())

    def _digest(self, step_id: str, output: str) -> str:
        result = self.result(step_id)
        if result is None:
            raise MissingBytes(step_id)
        return result.output(output)

    def look_up(self, plans: Iterable[BuildPlan]) -> None:
        """Ask a shared store about the steps that have no result here, level by level: one question for
        all whose inputs are known.
        """
        if not self.store.is_shared:
            return
        levels, depths = list[list[Step]](), dict[str, int]()
        for step in (step for plan in plans for step in plan.steps):
            if step.id in depths:
                continue
            depth = 1 + max((depths.get(item.step, -1) for item in step.inputs), default=-1)
            depths[step.id] = depth
            if depth == len(levels):
                levels.append([])
            levels[depth].append(step)
        for level in levels:
            keys = [(self._unanswered(step), machine_of(step)) for step in level]
            self.store.look_up([(key, machine) for key, machine in keys if key])
            for step in level:
                with contextlib.suppress(BuildsysError):  # a bad source: its step will say so
                    self.decide(step)
            self._fresh_keys.clear()

    def _unanswered(self, step: Step) -> str:
        """The action key of a step whose inputs are known and whose result is not here; else nothing."""
        if step.id in self._decisions:
            return ""
        if any(item.step and self._results.get(item.step) is None for item in step.inputs):
            return ""
        action_key = self.known_key(step)
        if action_key is None:
            return ""
        self._fresh_keys[step.id] = action_key
        return "" if self._recorded(action_key.key) is not None else action_key.key

    def request_inputs(self, plans: tuple[BuildPlan, ...]) -> None:
        """Request the bytes that the steps which have to run will read: a result known by digest alone is
        made again.
        """
        steps = {step.id: step for plan in plans for step in plan.steps}
        for step in reversed(steps.values()):
            with contextlib.suppress(BuildsysError):  # a bad source: its step will say so
                if self.decide(step).status in (Status.STALE, Status.PENDING, Status.MISSING):
                    for item in step.inputs:
                        if item.step:
                            self.want_bytes(item.step)

    def key(self, step: Step) -> ActionKey | None:
        """The action key, or None while an input is not known yet."""
        digests: list[tuple[str, str]] = []
        for item in step.inputs:
            digest = self.input_digest(item)
            if digest is None:
                return None
            digests.append((item.name, digest))
        return make_key(step, digests)

    def known_parts(self, step: Step) -> Parts:
        """What an action key is made from, without the inputs that are not known yet."""
        found = [(item.name, self.input_digest(item)) for item in step.inputs]
        return parts_of(step, [(name, digest) for name, digest in found if digest is not None])

    def known_key(self, step: Step) -> ActionKey | None:
        """The action key if it can be computed now without an error."""
        with contextlib.suppress(BuildsysError):
            return self.key(step)
        return None

    def input_digest(self, item: Input) -> str | None:
        """Digest of an input's content, or None while its step has to run."""
        if item.source is not None:
            return self.sources.digest(item.source)
        result = self.result(item.step)
        return result.output(item.output) if result else None

    def _decide(self, step: Step) -> Decision:
        """The decision; results and roles that are found on the way are recorded."""
        blocked = [item for item in step.inputs if item.step and self.result(item.step) is None]
        red = [
            item for item in blocked if self.decide(self.steps[item.step]).status == Status.REJECTED
        ]
        if blocked:
            waiting = [
                d
                for item in blocked
                if (d := self.decide(self.steps[item.step])).status == Status.WAITING
            ]
            if waiting:
                return Decision(status=Status.WAITING, reasons=waiting[0].reasons[:1])
            stages = dict.fromkeys(self.steps[item.step].stage for item in blocked)
            reasons = tuple(Reason(subject=f"after {stage}") for stage in stages)
            return Decision(status=Status.REJECTED if red else Status.PENDING, reasons=reasons)
        if any(self._is_red(item) for item in step.inputs):
            return Decision(status=Status.REJECTED, reasons=(Reason(subject="a check failed"),))
        action_key = self._fresh_keys.pop(step.id, None) or self.key(step)
        assert action_key is not None
        recorded = self._training(step, action_key)
        if recorded is not None:
            return self._keep_training(step, action_key, recorded)
        is_contradicted = action_key.key in self._contradicted
        result = None if is_contradicted else self._recorded(action_key.key)
        status = Status.UP_TO_DATE
        if result is None:
            result = self.recall(step, action_key.key)
            status = Status.RESTORABLE
        if result is None or step.id in self._wanted:
            return self._to_make(step, action_key, was_made=result is not None)
        self._results[step.id] = result
        if status == Status.RESTORABLE:
            self._record(action_key.key, result)
        self._note_roles(step, action_key)
        return Decision(status=status, key=action_key.key)

    def _recorded(self, key: str) -> StepResult | None:
        """A recorded result: of this machine, or of the current remote store and what workers made."""
        return self.database.result(key) or self.database.result(f"{key}.{self.store.trust}")

    def _record(self, key: str, result: StepResult) -> None:
        """Record a result; for one from a remote store or a worker, also the store and the trusted keys."""
        foreign = self.store.is_foreign(key, result.outputs)
        self.database.record_result(f"{key}.{self.store.trust}" if foreign else key, result)

    def _to_make(self, step: Step, action_key: ActionKey, was_made: bool) -> Decision:
        """The decision on a step whose output is not here; what it waits for is the first reason."""
        missing = [
            item.source.label
            for item in step.inputs
            if item.source is not None and self.sources.is_missing(item.source)
        ]
        missing += self.missing(step)
        if missing:
            reasons = tuple(Reason(subject=subject) for subject in missing)
            reasons += self._differences(step, action_key) or ()
            return Decision(status=Status.WAITING, key=action_key.key, reasons=reasons)
        if was_made:
            reason = Reason(subject="output missing from the store")
            return Decision(status=Status.MISSING, key=action_key.key, reasons=(reason,))
        if action_key.key in self._contradicted:
            reason = Reason(subject="its verdict says other than its record")
            return Decision(status=Status.STALE, key=action_key.key, reasons=(reason,))
        return Decision(
            status=Status.STALE, key=action_key.key, reasons=self._explain(step, action_key)
        )

    def _training(self, step: Step, action_key: ActionKey) -> Training | None:
        """The recorded training of this slice of recipe and data, if its checkpoint is in the
        store.

        Host, tool versions and our code are not part of the slice: a recorded training counts until
        `buildsys update`.
        """
        if not step.trains or step.id in self._wanted:
            return None
        recorded = self.trainings.get(slice_digest(step, action_key))
        if recorded is None or not self.store.has(recorded.checkpoint, tree=False):
            return None
        other = recorded.action_key != action_key.key
        return None if other and self.retrain else recorded

    def recorded(self, step: Step) -> Training | None:
        """The record of the training that a step's result is, or None."""
        action_key, result = self.key(step), self.result(step.id)
        if action_key is None or result is None or not step.trains:
            return None
        found = self.trainings.get(slice_digest(step, action_key))
        same = found is not None and found.checkpoint in dict(result.outputs).values()
        return found if same else None

    def _keep_training(self, step: Step, action_key: ActionKey, recorded: Training) -> Decision:
        """The recorded network is the result; its curves, too, where they are in the store."""
        trees = {output.name: output.tree for output in step.outputs}
        outputs = tuple(
            (name, digest)
            for name, digest in recorded.outputs.items()
            if name == Format.CHECKPOINT
            or (name in trees and self.store.has(digest, tree=trees[name]))
        )
        self._results[step.id] = StepResult(outputs=outputs, seconds=recorded.seconds)
        key = recorded.action_key
        if key != action_key.key:
            self.kept[step.id] = recorded
        made_with = {"code": recorded.code, "tool": recorded.tool, "lock": recorded.lock}
        parts = {**action_key.parts, **made_with}
        self._note_roles(step, ActionKey(key=key, parts=parts, inputs=action_key.inputs))
        return Decision(status=Status.UP_TO_DATE, key=key)

    def recall(self, step: Step, key: str) -> StepResult | None:
        """A result that another workspace, or this one long ago, left whole in the store."""
        if key in self._contradicted:
            return None
        machine = machine_of(step)
        self.store.look_up([(key, machine)])
        entry = self.store.recall(key)
        declared = {(output.name, output.tree) for output in step.outputs}
        if entry is None or {(output.name, output.tree) for output in entry.outputs} != declared:
            return None
        if entry.machine not in ("", machine):  # another architecture does other arithmetic
            return None
        result = StepResult(
            outputs=tuple((output.name, output.digest) for output in entry.outputs),
            seconds=entry.seconds,
            passed=entry.passed,
        )
        if entry.digests_only:  # on purpose, by `store export --packages-only`
            return result
        return result if self.holds(step, result) else None

    def holds(self, step: Step, result: StepResult) -> bool:
        """Whether the store has every byte of a result."""
        trees = {output.name: output.tree for output in step.outputs}
        return all(self.store.has(digest, trees[name]) for name, digest in result.outputs)

    def _is_red(self, item: Input) -> bool:
        result = self.result(item.step) if item.step else None
        return result is not None and not result.passed

    def _note_roles(self, step: Step, action_key: ActionKey) -> None:
        for role in self.roles.get(step.id, ()):
            known = self.database.role(role)
            if known is None or known.key != action_key.key:
                self.database.record_role(role, action_key.key, action_key.parts)

    def _explain(self, step: Step, action_key: ActionKey) -> tuple[Reason, ...]:
        """Why a step has to run that nothing is waited for."""
        found = self._differences(step, action_key)
        if found is None:
            return (Reason(subject="no recorded result"),)
        return found or (Reason(subject="its record was lost"),)

    def _differences(self, step: Step, action_key: ActionKey) -> tuple[Reason, ...] | None:
        """What differs from the last time that this role was made; None where it never was."""
        known = [self.database.role(role) for role in self.roles.get(step.id, ())]
        before = next((entry for entry in known if entry is not None), None)
        if before is None:
            return None
        return compare(step, before.parts, action_key.parts, self.steps, self.store)
