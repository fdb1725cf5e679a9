"""decide: the one place that knows stale from up-to-date, with reasons as values.

A step's action key digests what decides its result: module and code, parameters, tool versions,
the content of every input. A known result for the key means that there is nothing to do, whatever
happened in between; that is also the early cutoff, since a step that ran again and made the same
bytes leaves the keys after it as they were.
"""

import contextlib
import json
import threading
from dataclasses import dataclass
from typing import Any

from buildsys.digest import digest_value, flatten
from buildsys.engine.database import Database
from buildsys.engine.hosttools import lacking
from buildsys.engine.lockfile import Lock
from buildsys.engine.sources import Sources, changed_files
from buildsys.engine.store import Store
from buildsys.errors import BuildsysError
from buildsys.graph import Decision, Input, Plan, Reason, Status, Step, StepResult


@dataclass(frozen=True, kw_only=True)
class Keyed:
    """A step's action key with the parts that it was made from."""

    key: str
    parts: dict[str, Any]
    inputs: tuple[tuple[str, str], ...]
    """(input name, digest)."""


class State:
    """Decisions over a set of plans; a decision is made once and dropped when a step finishes."""

    def __init__(
        self, plans: tuple[Plan, ...], database: Database, store: Store, lock: Lock | None = None
    ) -> None:
        self.database, self.store = database, store
        self.sources = Sources(database, store, lock or Lock())
        self.trainings = lock.trainings() if lock else {}
        self.retrain = False
        """Whether recorded trainings of other tools or code are made again (`buildsys update`)."""
        self.kept: dict[str, dict[str, Any]] = {}
        """Steps whose recorded training counts, although tool or code are others now."""
        self.steps = {step.id: step for plan in plans for step in plan.steps}
        self.roles: dict[str, list[str]] = {}
        for plan in plans:
            for step in plan.steps:
                self.roles.setdefault(step.id, []).append(f"{plan.build}/{step.stage}")
        self._decisions: dict[str, Decision] = {}
        self._results: dict[str, StepResult] = {}
        self._wanted: set[str] = set()
        self._lock = threading.RLock()  # steps end in threads while doit asks about others

    def include(self, step: Step) -> None:
        """One step more, whose inputs are known here; it has no role in any plan."""
        with self._lock:
            self.steps[step.id] = step

    def decide(self, step: Step) -> Decision:
        """Whether a step has to run, and why."""
        with self._lock:
            if step.id not in self._decisions:
                self._decisions[step.id] = self._decide(step)
            return self._decisions[step.id]

    def result(self, step_id: str) -> StepResult | None:
        """Outputs of a step that needs not run, or has run."""
        with self._lock:
            self.decide(self.steps[step_id])
            return self._results.get(step_id)

    def finish(self, step: Step, keyed: Keyed, result: StepResult) -> None:
        """Record a result at once, and decide anew about what depends on it."""
        with self._lock:
            self.database.record_result(keyed.key, result)
            self._wanted.discard(step.id)
            self._note_roles(step, keyed)
            self._results[step.id] = result
            self._decisions = {
                key: decision
                for key, decision in self._decisions.items()
                if decision.status not in (Status.PENDING, Status.STALE, Status.MISSING)
            }
            self._decisions[step.id] = Decision(status=Status.UP_TO_DATE, key=keyed.key)

    def want_bytes(self, step_id: str) -> None:
        """Make sure that a step's outputs can be read: known by digest alone, it has to run again."""
        step = self.steps[step_id]
        result = self.result(step_id)
        if result is None:
            return
        with self._lock:
            if not self.holds(step, result):
                self._wanted.add(step_id)
                self._decisions.clear()
                self._results.pop(step_id, None)

    def settle(self, plans: tuple[Plan, ...]) -> None:
        """Ask for the bytes that steps which are going to run will read."""
        steps = {step.id: step for plan in plans for step in plan.steps}
        for step in reversed(steps.values()):
            with contextlib.suppress(BuildsysError):  # a bad source: its step will say so
                if self.decide(step).status in (Status.STALE, Status.PENDING, Status.MISSING):
                    for item in step.inputs:
                        if item.step:
                            self.want_bytes(item.step)

    def key(self, step: Step) -> Keyed | None:
        """The action key, or None while an input is not known yet."""
        digests: list[tuple[str, str]] = []
        for item in step.inputs:
            digest = self.input_digest(item)
            if digest is None:
                return None
            digests.append((item.name, digest))
        params = json.loads(step.params)
        identity = [step.module, step.code, params, step.tool_identity, sorted(digests)]
        parts = _parts(step, digests)
        return Keyed(key=digest_value(identity), parts=parts, inputs=tuple(digests))

    def known_parts(self, step: Step) -> dict[str, Any]:
        """What an action key is made from, without the inputs that are not known yet."""
        found = [(item.name, self.input_digest(item)) for item in step.inputs]
        return _parts(step, [(name, digest) for name, digest in found if digest is not None])

    def known_key(self, step: Step) -> Keyed | None:
        """The action key where it can be said now without an error."""
        with contextlib.suppress(BuildsysError):
            return self.key(step)
        return None

    def input_digest(self, item: Input) -> str | None:
        """Digest of an input's content, or None while its step has to run."""
        if item.source is not None:
            return self.sources.digest(item.source)
        result = self.result(item.step)
        return dict(result.outputs)[item.output] if result else None

    def _decide(self, step: Step) -> Decision:
        blocked = [item for item in step.inputs if item.step and self.result(item.step) is None]
        red = [
            item for item in blocked if self.decide(self.steps[item.step]).status == Status.REJECTED
        ]
        if blocked:
            waiting = [d for item in blocked if (d := self.decide(self.steps[item.step])).status
                       == Status.WAITING]  # fmt: skip
            if waiting:
                return Decision(status=Status.WAITING, reasons=waiting[0].reasons)
            stages = dict.fromkeys(self.steps[item.step].stage for item in blocked)
            reasons = tuple(Reason(subject=f"after {stage}") for stage in stages)
            return Decision(status=Status.REJECTED if red else Status.PENDING, reasons=reasons)
        if any(self._is_red(item) for item in step.inputs):
            return Decision(status=Status.REJECTED, reasons=(Reason(subject="a verdict is red"),))
        keyed = self.key(step)
        assert keyed is not None
        recorded = self._training(step, keyed)
        if recorded is not None:
            return self._keep_training(step, keyed, recorded)
        result = self.database.result(keyed.key)
        status = Status.UP_TO_DATE
        if result is None:
            result = self.recall(step, keyed.key)
            status = Status.RESTORABLE
        if result is None or step.id in self._wanted:
            return self._to_make(step, keyed, was_made=result is not None)
        self._results[step.id] = result
        if status == Status.RESTORABLE:
            self.database.record_result(keyed.key, result)
        self._note_roles(step, keyed)
        return Decision(status=status, key=keyed.key)

    def _to_make(self, step: Step, keyed: Keyed, was_made: bool) -> Decision:
        """The decision on a step whose output is not here."""
        missing = [] if was_made else [
            item.source.label for item in step.inputs
            if item.source is not None and self.sources.is_missing(item.source)
        ]  # fmt: skip
        missing += [lacks for lacks in (lacking(step.requires),) if lacks]
        if missing:
            reasons = tuple(Reason(subject=subject) for subject in missing)
            return Decision(status=Status.WAITING, key=keyed.key, reasons=reasons)
        if was_made:
            reason = Reason(subject="its output is not in the store any more")
            return Decision(status=Status.MISSING, key=keyed.key, reasons=(reason,))
        return Decision(status=Status.STALE, key=keyed.key, reasons=self._explain(step, keyed))

    def _training(self, step: Step, keyed: Keyed) -> dict[str, Any] | None:
        """The recorded training of this slice of recipe and data, if its checkpoint is in the store.

        Neither the host nor a tool's version nor our code is part of the slice: what was trained
        stays trained until `buildsys update`.
        """
        if not step.module.startswith("train_") or step.id in self._wanted:
            return None
        recorded = self.trainings.get(slice_digest(step, keyed))
        if recorded is None or not self.store.has(recorded["checkpoint"], tree=False):
            return None
        other = recorded["action_key"] != keyed.key
        return None if other and self.retrain else recorded

    def recorded(self, step: Step) -> dict[str, Any] | None:
        """The record of the training that a step's result is, or None."""
        keyed, result = self.key(step), self.result(step.id)
        if keyed is None or result is None or not step.module.startswith("train_"):
            return None
        found = self.trainings.get(slice_digest(step, keyed))
        same = found is not None and found["checkpoint"] in dict(result.outputs).values()
        return found if same else None

    def _keep_training(self, step: Step, keyed: Keyed, recorded: dict[str, Any]) -> Decision:
        outputs = tuple((output.name, recorded["checkpoint"]) for output in step.outputs)
        self._results[step.id] = StepResult(outputs=outputs, seconds=recorded["seconds"])
        key = recorded["action_key"]
        if key != keyed.key:
            self.kept[step.id] = recorded
        known = ("code", "tool", "lock")
        parts = {**keyed.parts, **{name: recorded[name] for name in known}}
        self._note_roles(step, Keyed(key=key, parts=parts, inputs=keyed.inputs))
        return Decision(status=Status.UP_TO_DATE, key=key)

    def recall(self, step: Step, key: str) -> StepResult | None:
        """A result that another workspace, or this one long ago, left whole in the store."""
        entry = self.store.recall(key) or {}
        try:
            outputs = tuple((str(name), str(digest)) for name, digest in entry["outputs"])
            result = StepResult(
                outputs=outputs, seconds=float(entry["seconds"]), passed=bool(entry["passed"])
            )
        except (KeyError, ValueError, TypeError):
            return None
        trees = {output.name: output.tree for output in step.outputs}
        if {name for name, _ in outputs} != set(trees):
            return None
        if entry.get("digests_only"):  # on purpose, by `store export --packages-only`
            return result
        return result if self.holds(step, result) else None

    def holds(self, step: Step, result: StepResult) -> bool:
        """Whether the store has every byte of a result."""
        trees = {output.name: output.tree for output in step.outputs}
        return all(self.store.has(digest, trees[name]) for name, digest in result.outputs)

    def _is_red(self, item: Input) -> bool:
        result = self.result(item.step) if item.step else None
        return result is not None and not result.passed

    def _note_roles(self, step: Step, keyed: Keyed) -> None:
        for role in self.roles.get(step.id, ()):
            known = self.database.role(role)
            if known is None or known[0] != keyed.key:
                self.database.record_role(role, keyed.key, keyed.parts)

    def _explain(self, step: Step, keyed: Keyed) -> tuple[Reason, ...]:
        """What differs from the last time that this role was made."""
        known = [self.database.role(role) for role in self.roles.get(step.id, ())]
        before = next((entry for entry in known if entry is not None), None)
        if before is None:
            return (Reason(subject="never made here"),)
        return self.compare(step, before[1], keyed.parts) or (
            Reason(subject="its result is not known any more"),
        )

    def compare(self, step: Step, old: dict[str, Any], new: dict[str, Any]) -> tuple[Reason, ...]:
        """What differs between the parts of two action keys."""
        reasons: list[Reason] = []
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                reasons += self._reasons(step, name, old, new)
        return tuple(dict.fromkeys(reasons))

    def _reasons(
        self, step: Step, name: str, old: dict[str, Any], new: dict[str, Any]
    ) -> list[Reason]:
        kind, _, rest = name.partition(".")
        before, after = old.get(name), new.get(name)
        if kind == "params":
            origin = next((o for o in step.origins if o.parameter == rest), None)
            label = origin.label if origin else rest
            place = f"{origin.path}:{origin.line}" if origin and origin.path else ""
            return [Reason(subject=label, old=_show(before), new=_show(after), place=place)]
        if kind == "input":
            return self._input_reasons(step, rest, str(before), str(after))
        if kind == "code":
            return [Reason(subject=f"the code of {step.module} changed")]
        if kind == "lock" and old.get("tool") == new.get("tool"):
            return [Reason(subject=f"the lock of {step.tool_env or 'the core'} changed")]
        if kind == "tool":
            title, version = str(after).rsplit(" ", 1)
            return [Reason(subject=title, old=str(before).rsplit(" ", 1)[-1], new=version)]
        return []

    def _input_reasons(self, step: Step, name: str, old: str, new: str) -> list[Reason]:
        item = next((item for item in step.inputs if item.name == name), None)
        if item is None or old == "None":
            return [Reason(subject=f"input {name} {'is gone' if item is None else 'is new'}")]
        if item.source is None:
            return [Reason(subject=f"the output of {self.steps[item.step].stage} changed")]
        if not item.source.parts:
            return [Reason(subject=f"{item.source.label} changed")]
        changes = changed_files(self.store, old, new)
        if not changes:
            return [Reason(subject=f"{item.source.label} changed")]
        more = f" (and {len(changes) - 1} more)" if len(changes) > 1 else ""
        return [Reason(subject=changes[0] + more)]


def _parts(step: Step, digests: list[tuple[str, str]]) -> dict[str, Any]:
    parts = {f"params.{name}": value for name, value in flatten(json.loads(step.params)).items()}
    parts |= {f"input.{name}": digest for name, digest in digests}
    return parts | {"code": step.code, "tool": step.tool, "lock": step.tool_identity}


def slice_digest(step: Step, keyed: Keyed) -> str:
    """What a training's record goes by: parameters and the content of its inputs."""
    return digest_value([step.module, json.loads(step.params), sorted(keyed.inputs)])


def _show(value: Any) -> str:
    return "nothing" if value is None else str(value)
