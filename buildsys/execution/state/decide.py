"""Decides whether a step is stale or up to date, with reasons as values.

This is the only place that does. A step's action key is the digest of everything that decides its
result: module and code, parameters, tool versions, the content of every input. If a result is
recorded for the key, nothing has to run, whatever happened in between. This also stops a rebuild
early: a step that ran again and made the same bytes leaves the following keys unchanged.
"""

import contextlib
import threading
from collections.abc import Iterable, Set
from pathlib import Path

from buildsys.errors import BuildsysError, CannotWrite, MissingBytes, StepFailed
from buildsys.execution.state.action_keys import ActionKey, Parts, make_key, parts_of, slice_digest
from buildsys.execution.state.database import Database
from buildsys.execution.state.inputs import Sources
from buildsys.execution.state.reasons import compare
from buildsys.execution.state.step_outputs import is_checked, read_object, read_verdict
from buildsys.execution.store.action_entry import machine_of
from buildsys.execution.store.store import Store
from buildsys.execution.tools.requirements import MissingForStep, missing_here
from buildsys.graph import BuildPlan, Decision, Input, Reason, Status, Step, StepResult
from buildsys.lockfile import Lock, Training
from buildsys.spec import Format, Intermediate

_UNDECIDED = frozenset(status for status in Status if status.may_run)
"""Decisions that a new result of an earlier step may change."""


class State:
    """Decisions about a set of plans; each is made once and dropped when a step finishes."""

    def __init__(
        self,
        plans: tuple[BuildPlan, ...],
        database: Database,
        store: Store,
        lock: Lock | None = None,
        missing: MissingForStep = missing_here,
    ) -> None:
        """`missing`: what a step that has to run waits for; by default, what this machine lacks."""
        self.database, self.store, self.missing = database, store, missing
        self.lock = lock or Lock()
        """buildsys.lock as this run last read or wrote it."""
        self.sources = Sources(database, store, self.lock)
        self.trainings = self.lock.trainings()
        self.retrain = False
        """Whether trainings recorded with other tools or code are made again (`buildsys update`).
        """
        self.kept: dict[str, Training] = {}
        """Steps whose recorded training is used although tool or code have changed."""
        self.steps = {step.id: step for plan in plans for step in plan.steps}
        self._consumers: dict[str, set[str]] = {}
        """By step id: the ids of the steps that read its outputs."""
        for step in self.steps.values():
            self._note_inputs(step)
        self.roles: dict[str, list[str]] = {}
        for plan in plans:
            for step in plan.steps:
                self.roles.setdefault(step.id, []).append(f"{plan.build}/{step.stage}")
        self._decisions: dict[str, Decision] = {}
        self._fresh_keys: dict[str, ActionKey] = {}
        """Keys that `look_up` has just computed, for the decisions that follow."""
        self._same_action: dict[str, set[str]] = {}
        """By action key: the ids of the steps that make its result."""
        self._results: dict[str, StepResult] = {}
        self._wanted: set[str] = set()
        self._unusable: dict[str, str] = {}
        """Why a recorded result is not used, by action key: what an output of it contains."""
        self._incomplete: set[str] = set()
        """Action keys whose result is known to the store, but not all of it is there."""
        self.traced: set[str] = set()
        """Digests of the programs that were traced here in this run. No other is loaded: torch can
        run code while it loads one, and a store or a worker may have made it.
        """
        self.has_turned_red = False
        """Whether a verdict recorded as passed was made again and failed."""
        self._lock = threading.RLock()  # steps finish in threads while doit checks others

    def use_lock(self, lock: Lock) -> None:
        """Replace the lock; decisions already made stay."""
        self.lock, self.trainings = lock, lock.trainings()

    def include(self, step: Step) -> None:
        """Add a step whose inputs have known digests; it has no role in any plan."""
        with self._lock:
            self.steps[step.id] = step
            self._note_inputs(step)

    def _note_inputs(self, step: Step) -> None:
        for item in step.inputs:
            if item.step:
                self._consumers.setdefault(item.step, set()).add(step.id)

    def add_known(self, step: Step, result: StepResult) -> None:
        """Add a step that has run elsewhere, and its result."""
        with self._lock:
            self.steps[step.id] = step
            self._results[step.id] = result
            self._decisions[step.id] = Decision(status=Status.UP_TO_DATE)

    def decide(self, step: Step) -> Decision:
        """Return whether a step has to run, and why."""
        with self._lock:
            found = self._decisions.get(step.id)
            if found is None:
                found = self._decisions[step.id] = self._decide(step)
                if found.status.is_due:
                    self._same_action.setdefault(found.key, set()).add(step.id)
            return found

    def is_undone(self, plan: BuildPlan, step: Step) -> bool:
        """Return whether a step is a proof that this machine cannot give: no build waits for it.

        Raises BuildsysError for a bad source.
        """
        decision = self.decide(step)
        return step.id in plan.proofs and decision.status == Status.WAITING and bool(decision.key)

    def result(self, step_id: str) -> StepResult | None:
        """Return the outputs of a step that has run or needs no run; None otherwise."""
        with self._lock:
            self.decide(self.steps[step_id])
            return self._results.get(step_id)

    def finish(self, step: Step, action_key: ActionKey, result: StepResult) -> None:
        """Record a result at once, and drop the decisions that depend on it."""
        with self._lock:
            before = self.known_result(action_key.key)
            self._record(action_key.key, result)
            self._wanted.discard(step.id)
            self.kept.pop(step.id, None)
            self._unusable.pop(action_key.key, None)
            self._note_roles(step, action_key)
            same = self._same_action.pop(action_key.key, set())
            self._reconsider([step.id, *same], _UNDECIDED)
            if before and (before.outputs, before.passed) != (result.outputs, result.passed):
                self.has_turned_red |= before.passed and not result.passed
                self._reconsider(self._made_alike(action_key.key), frozenset(Status))
            self._results[step.id] = result
            self._decisions[step.id] = Decision(status=Status.UP_TO_DATE, key=action_key.key)

    def _made_alike(self, key: str) -> list[str]:
        """Return the ids of the steps with a result under an action key."""
        return [name for name, decision in self._decisions.items() if decision.key == key]

    def _reconsider(self, changed: Iterable[str], which: Set[Status]) -> None:
        """Drop the decisions on some steps, and those with a status in `which` on all their
        readers.

        Other statuses do not depend on them. A result is dropped with the decision that found it.
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

    def drop_undone(self) -> None:
        """Drop decisions on steps without a result: a machine that can run them may have come or
        gone.
        """
        with self._lock:
            self._decisions = {
                key: decision
                for key, decision in self._decisions.items()
                if not (decision.status.may_run or decision.status == Status.WAITING)
            }

    def require_bytes(self, step_id: str) -> None:
        """Make sure that a step's outputs can be read; if only their digests are here, it has to
        run again.
        """
        step = self.steps[step_id]
        result = self.result(step_id)
        if result is None:
            return
        with self._lock:
            if not self.is_readable(step, result):
                self._wanted.add(step_id)
                self._reconsider([step_id], frozenset(Status))

    def read(self, step_id: str, output: str) -> bytes:
        """Return the bytes of an output that is a file.

        Raises MissingBytes if its step has to run.
        """
        try:
            found = self.store.read(self._digest(step_id, output))
        except FileNotFoundError as error:
            raise MissingBytes(step_id) from error
        if self._is_checked(step_id, output, len(found)):
            self._check_content(step_id, output, found)
        return found

    def check(self, step_id: str, output: str) -> None:
        """Raise MissingBytes if an output that is here contains what its step cannot have made."""
        size = self.store.size(self._digest(step_id, output))
        if size is not None and self._is_checked(step_id, output, size):
            self.read(step_id, output)

    def _is_checked(self, step_id: str, name: str, size: int) -> bool:
        """Return whether an output's content is checked when it is read; `size`: in bytes."""
        output = next(item for item in self.steps[step_id].outputs if item.name == name)
        return name == Format.VERDICT or is_checked(output, size)

    def _check_content(self, step_id: str, output: str, text: bytes) -> None:
        """Raise MissingBytes if a verdict contradicts its step's recorded result, or if figures
        cannot be read: then the result is not used.
        """
        with self._lock:
            step, result = self.steps[step_id], self.result(step_id)
            key = self.decide(step).key
            if result is None or not key:  # a result without a key was checked where it was made
                return
            fault = _find_fault(step, result, output, text)
            if fault:
                self._unusable[key] = fault
                self._reconsider(self._made_alike(key), frozenset(Status))
                raise MissingBytes(step_id)

    def fetch(
        self, step_id: str, output: str, target: Path, linked: frozenset[str] = frozenset()
    ) -> None:
        """Copy an output, a file or a folder, to `target`; `linked`: see `Store.fetch`.

        Raises MissingBytes, like `read`.
        """
        trees = {item.name: item.tree for item in self.steps[step_id].outputs}
        try:
            self.store.fetch(self._digest(step_id, output), target, trees[output], linked)
        except FileNotFoundError as error:
            raise MissingBytes(step_id) from error
        if not trees[output] and self._is_checked(step_id, output, target.stat().st_size):
            self._check_content(step_id, output, target.read_bytes())

    def _digest(self, step_id: str, output: str) -> str:
        result = self.result(step_id)
        if result is None:
            raise MissingBytes(step_id)
        return result.output(output)

    def look_up(self, plans: Iterable[BuildPlan]) -> None:
        """Query a shared store about the steps that have no result here.

        Sends one query per level of the graph, for all steps whose inputs are known.
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
                with contextlib.suppress(BuildsysError):  # a bad source: its step reports it
                    self.decide(step)
            self._fresh_keys.clear()

    def _unanswered(self, step: Step) -> str:
        """Return the action key of a step with known inputs and no result here.

        Returns an empty text otherwise.
        """
        if step.id in self._decisions:
            return ""
        if any(item.step and self._results.get(item.step) is None for item in step.inputs):
            return ""
        action_key = self.known_key(step)
        if action_key is None:
            return ""
        self._fresh_keys[step.id] = action_key
        return "" if self.known_result(action_key.key) is not None else action_key.key

    def request_inputs(self, plans: tuple[BuildPlan, ...]) -> None:
        """Request the bytes that the steps to run will read; an input known only by digest is made
        again.
        """
        steps = {step.id: step for plan in plans for step in plan.steps}
        for step in reversed(steps.values()):
            with contextlib.suppress(BuildsysError):  # a bad source: its step reports it
                if self.decide(step).status.may_run:
                    for item in step.inputs:
                        if item.step:
                            self.require_bytes(item.step)

    def key(self, step: Step) -> ActionKey | None:
        """Return the action key, or None while an input is unknown."""
        digests: list[tuple[str, str]] = []
        for item in step.inputs:
            digest = self.input_digest(item)
            if digest is None:
                return None
            digests.append((item.name, digest))
        return make_key(step, digests)

    def known_parts(self, step: Step) -> Parts:
        """Return the parts of an action key, without inputs that are not known yet."""
        found = [(item.name, self.input_digest(item)) for item in step.inputs]
        return parts_of(step, [(name, digest) for name, digest in found if digest is not None])

    def known_key(self, step: Step) -> ActionKey | None:
        """Return the action key if it can be computed now without an error, otherwise None."""
        with contextlib.suppress(BuildsysError):
            return self.key(step)
        return None

    def input_digest(self, item: Input) -> str | None:
        """Return the digest of an input's content, or None while its step has to run."""
        if item.source is not None:
            return self.sources.digest(item.source)
        result = self.result(item.step)
        return result.output(item.output) if result else None

    def _decide(self, step: Step) -> Decision:
        """Decide; results and roles found on the way are recorded."""
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
                subject = waiting[0].waits_for
                return Decision(
                    status=Status.WAITING, reasons=(Reason(subject=subject),), waits_for=subject
                )
            stages = dict.fromkeys(self.steps[item.step].stage for item in blocked)
            reasons = tuple(Reason(subject=f"after {stage}") for stage in stages)
            return Decision(status=Status.REJECTED if red else Status.PENDING, reasons=reasons)
        judges = [self.steps[item.step].stage for item in step.inputs if self._is_red(item)]
        if judges:
            reason = Reason(subject=f"rejected by {', '.join(judges)}")
            return Decision(status=Status.REJECTED, reasons=(reason,))
        action_key = self._fresh_keys.pop(step.id, None) or self.key(step)
        assert action_key is not None
        recorded = self._training(step, action_key)
        if recorded is not None:
            return self._keep_training(step, action_key, recorded)
        is_unusable = action_key.key in self._unusable
        result = None if is_unusable else self.known_result(action_key.key)
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

    def known_result(self, key: str) -> StepResult | None:
        """Return a recorded result of this machine, or of the current remote store and its
        workers.
        """
        return self.database.result(key) or self.database.result(f"{key}.{self.store.trust}")

    def _record(self, key: str, result: StepResult) -> None:
        """Record a result; one from a remote store or a worker with that store and the trusted
        keys.
        """
        foreign = self.store.is_foreign(key, result.outputs)
        self.database.record_result(f"{key}.{self.store.trust}" if foreign else key, result)

    def _to_make(self, step: Step, action_key: ActionKey, was_made: bool) -> Decision:
        """Return the decision on a step without an output here."""
        files = [
            item.source.name
            for item in step.inputs
            if item.source is not None and self.sources.is_missing(item.source)
        ]
        missing = [*files, *self.missing(step)]
        if missing:
            reasons = tuple(Reason(subject=subject) for subject in missing)
            reasons += self._differences(step, action_key) or ()
            return Decision(
                status=Status.WAITING,
                key=action_key.key,
                reasons=reasons,
                waits_for=missing[0],
                needs_machine=not files,
            )
        if was_made:
            return Decision(status=Status.MISSING, key=action_key.key, reasons=self._why_missing())
        if action_key.key in self._unusable:
            reason = Reason(subject=self._unusable[action_key.key])
            return Decision(status=Status.STALE, key=action_key.key, reasons=(reason,))
        return Decision(
            status=Status.STALE, key=action_key.key, reasons=self._explain(step, action_key)
        )

    def _training(self, step: Step, action_key: ActionKey) -> Training | None:
        """Return the recorded training of this recipe and data, if its checkpoint is or was here.

        Host, tool versions and our code are not compared: a recorded training is used until
        `buildsys update`.
        """
        if not step.trains or step.id in self._wanted:
            return None
        recorded = self.trainings.get(slice_digest(step, action_key))
        if recorded is None or not self._was_here(recorded):
            return None
        other = recorded.action_key != action_key.key
        return None if other and self.retrain else recorded

    def _was_here(self, recorded: Training) -> bool:
        """Return whether the store has or had the checkpoint of a recorded training.

        Like any result, it is used without its bytes until a step needs them: a remote store that
        had it may be away.
        """
        name = _note_of(recorded)
        if self.database.result(name) is not None:
            return True
        if not self.store.has(recorded.checkpoint, tree=False):
            return False
        outputs = ((str(Format.CHECKPOINT), recorded.checkpoint),)
        noted = StepResult(outputs=outputs, seconds=recorded.seconds)
        with contextlib.suppress(CannotWrite):  # a full disk: a run first makes room on it
            self.database.record_result(name, noted)
        return True

    def recorded(self, step: Step) -> Training | None:
        """Return the record of the training that is a step's result, or None."""
        action_key, result = self.key(step), self.result(step.id)
        if action_key is None or result is None or not step.trains:
            return None
        found = self.trainings.get(slice_digest(step, action_key))
        same = found is not None and found.checkpoint in dict(result.outputs).values()
        return found if same else None

    def _keep_training(self, step: Step, action_key: ActionKey, recorded: Training) -> Decision:
        """Use the recorded network as the result, with its curves if they are in the store."""
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
        """Return a complete result from the store, left there by another workspace or an earlier
        run.
        """
        if key in self._unusable:
            return None
        machine = machine_of(step)
        self.store.look_up([(key, machine)])
        entry = self.store.recall(key)
        declared = {(output.name, output.tree) for output in step.outputs}
        if entry is None or {(output.name, output.tree) for output in entry.outputs} != declared:
            return None
        if entry.machine not in ("", machine):  # results differ between architectures
            return None
        result = StepResult(
            outputs=tuple((output.name, output.digest) for output in entry.outputs),
            seconds=entry.seconds,
            passed=entry.passed,
        )
        if entry.digests_only:  # deliberately, by `store export --packages-only`
            return result
        if not self.holds(step, result):
            self._incomplete.add(key)
            return None
        return result

    def holds(self, step: Step, result: StepResult) -> bool:
        """Return whether the store has every byte of a result."""
        trees = {output.name: output.tree for output in step.outputs}
        return all(self.store.has(digest, trees[name]) for name, digest in result.outputs)

    def is_readable(self, step: Step, result: StepResult) -> bool:
        """Return whether steps may read a result: the store has it, and a program is this run's."""
        programs = {digest for name, digest in result.outputs if name == Intermediate.PROGRAM}
        return programs <= self.traced and self.holds(step, result)

    def _is_red(self, item: Input) -> bool:
        result = self.result(item.step) if item.step else None
        return result is not None and not result.passed

    def _note_roles(self, step: Step, action_key: ActionKey) -> None:
        for role in self.roles.get(step.id, ()):
            known = self.database.role(role)
            if known is None or known.key != action_key.key:
                self.database.record_role(role, action_key.key, action_key.parts)

    def _explain(self, step: Step, action_key: ActionKey) -> tuple[Reason, ...]:
        """Return why a step has to run that waits for nothing."""
        if self.database.has_foreign_results(action_key.key):
            return (Reason(subject="its result is of a remote store or key not trusted here"),)
        found = self._differences(step, action_key)
        if found:
            return found
        if action_key.key in self._incomplete:
            return self._why_missing()
        return (Reason(subject="no recorded result" if found is None else "its record was lost"),)

    def _why_missing(self) -> tuple[Reason, ...]:
        """Return why files of a known result are not here."""
        unread = self.store.unread
        told = (
            f"its files did not come from {unread}" if unread else "output missing from the store"
        )
        return (Reason(subject=told),)

    def _differences(self, step: Step, action_key: ActionKey) -> tuple[Reason, ...] | None:
        """Return what differs from the last time that this role was made; None if it never was."""
        known = [self.database.role(role) for role in self.roles.get(step.id, ())]
        before = next((entry for entry in known if entry is not None), None)
        if before is None:
            return None
        return compare(step, before.parts, action_key.parts, self.steps, self.store)


def _note_of(recorded: Training) -> str:
    """Return the name under which the database notes that a recorded checkpoint was here.

    It contains the digest: another record of the same action, for example on another branch, is
    another one.
    """
    return f"{recorded.action_key}:{recorded.checkpoint}"


def _find_fault(step: Step, result: StepResult, output: str, text: bytes) -> str:
    """Return why a step with this result cannot have made an output; empty if it can."""
    try:
        if output != Format.VERDICT:
            read_object(text, step.stage, output)
        elif read_verdict(text, step.stage).passed != result.passed:
            return "its verdict contradicts its record"
    except StepFailed:  # no step can have written it
        return f"its recorded {output} cannot be read"
    return ""
