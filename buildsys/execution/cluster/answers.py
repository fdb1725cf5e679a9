"""Checks what workers report before it is used: a result counts only if its files can be read here."""

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from buildsys.errors import BuildsysError, StepFailed
from buildsys.execution.cluster.orders import Answer, Failed
from buildsys.execution.running.durations import record_seconds
from buildsys.execution.running.process import open_log
from buildsys.execution.running.runner import LARGEST_VERDICT, Runner
from buildsys.execution.state.action_keys import ActionKey
from buildsys.execution.state.step_outputs import is_checked, read_object, read_verdict
from buildsys.execution.store.action_entry import WORKER, blob_name, machine_of, make_entry
from buildsys.execution.store.remote_failure import Damaged, RemoteFailure
from buildsys.execution.store.shared_store import SharedStore
from buildsys.graph import Step, StepResult
from buildsys.spec import Format

_MOST_UNREAD = 3
"""Times that a step is made again because a worker's result could not be read."""


class Answers:
    """The results of one run's steps that workers made."""

    def __init__(
        self, runner: Runner, store: SharedStore, exclude: Callable[[Step, str, str], None]
    ) -> None:
        """`exclude`: called with a step, a worker and a reason, so that it gets no more steps."""
        self.runner, self.store, self._exclude = runner, store, exclude
        self._taken: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {}
        """By action key: the worker that made it in this run, and its outputs."""
        self._unread: Counter[str] = Counter()
        """By action key: how often a worker's result could not be read."""

    def drop_unreadable(self, step: Step, key: str) -> bool:
        """If a result of this run could not be read, remove its damaged files from the remote store,
        and its worker from this run.

        Returns False if that happened too often.
        """
        worker, outputs = self._taken.pop(key, ("", ()))
        name, trees = self.runner.name(step), {output.name: output.tree for output in step.outputs}
        damaged = {d for o, digest in outputs for d in self.store.damaged(digest, trees[o])}
        if damaged:
            with contextlib.suppress(RemoteFailure):  # damaged files would not be uploaded again
                self.store.remote.remove(*map(blob_name, damaged))
            self._exclude(step, worker, "what it uploaded is damaged")
        elif worker:
            self.runner.print_line(
                f"{self.store.settings.url} no longer has what worker {worker} made for {name}:"
                " it is made again"
            )
        if worker:
            self._unread[key] += 1
        if self._unread[key] <= _MOST_UNREAD:
            return True
        if worker:
            self.runner.print_line(
                f"{name} runs here: its results from workers could not be read {self._unread[key]} times"
            )
        return False

    def check(self, step: Step, action_key: ActionKey, reply: Answer) -> Answer | str:
        """Return the answer as it is used, or what is wrong with it. Raises RemoteFailure.

        Where keys are trusted, the signed content decides. A verdict must match its file.
        """
        trees = {output.name: output.tree for output in step.outputs}
        if sorted(name for name, _ in reply.outputs) != sorted(trees):
            return f"it reports outputs that {step.stage} does not have"
        store = self.store
        try:
            sizes = store.remote.each(store.remote.size, [digest for _, digest in reply.outputs])
            if None in sizes:
                return "the remote store does not have the files that the worker reports to have uploaded"
            if store.settings.trusted:
                signed = store.keep_signed(action_key.key, machine_of(step))
                if signed is None:
                    return "no key in `remote.trusted` has signed its result"
                outputs = {(o.name, o.digest, o.tree) for o in signed.outputs}
                if outputs != {(name, digest, trees[name]) for name, digest in reply.outputs}:
                    return "its reported files differ from the signed ones"
                if signed.passed != reply.passed:
                    return "its reported verdict differs from the signed one"
                reply = replace(
                    reply,
                    outputs=tuple((o.name, o.digest) for o in signed.outputs),
                    seconds=signed.seconds,
                    diary=signed.diary,
                )
            for name, digest in reply.outputs:
                fault = store.find_fault(digest, trees[name])
                if fault:
                    return f"its `{name}` cannot be read from the remote store: {fault}"
            if self._has_passed(step, reply) != reply.passed:
                return "its reported verdict differs from its `verdict`"
            self._require_figures(step, reply)
        except StepFailed as error:
            return str(error)
        return reply

    def take(
        self, step: Step, action_key: ActionKey, reply: Answer, begun: list[str]
    ) -> StepResult | None:
        """Return the result of a step from a checked answer.

        Returns None if its worker had it already; `begun`: workers that started it in this run.
        """
        self._fetch_log(reply.log, self.runner.log(action_key.key))
        self._taken[action_key.key] = (reply.worker, reply.outputs)
        result = StepResult(outputs=reply.outputs, seconds=reply.seconds, passed=reply.passed)
        self.store.note_there(digest for _, digest in reply.outputs)
        diary = dict(reply.diary) | {WORKER: reply.worker}
        self.store.note(make_entry(step, action_key.key, result, diary))
        if not reply.made and reply.worker not in begun:
            self.runner.state.finish(step, action_key, result)
            return None
        self.runner.variants[step.tool_env] = reply.variant
        self.runner.isolations[step.id] = reply.isolation
        self.runner.state.finish(step, action_key, result)
        if not step.trains:  # it may have continued on its worker
            record_seconds(self.runner.state.database, step, reply.seconds)
        return result

    def failure(self, action_key: ActionKey, reply: Failed) -> StepFailed:
        """Return the error of a step that failed on a worker, with the path of its local log."""
        log = self.runner.log(action_key.key)
        self._fetch_log(reply.log, log)
        is_path = reply.place.endswith(f"{action_key.key}.log")
        text = reply.text.replace(reply.place, str(log)) if is_path else reply.text
        return StepFailed(f"on worker {reply.worker}: {text}", refused=reply.refused)

    def _has_passed(self, step: Step, reply: Answer) -> bool:
        """Return whether a verdict passes; a step without one passes.

        Raises StepFailed, RemoteFailure.
        """
        verdict = dict(reply.outputs).get(Format.VERDICT)
        if verdict is None:
            return True
        text = self._read("verdict", verdict, LARGEST_VERDICT)
        return read_verdict(text, f"{step.stage} ({step.module})").passed

    def _require_figures(self, step: Step, reply: Answer) -> None:
        """Raise StepFailed if figures that a worker reports cannot be read. Raises RemoteFailure."""
        digests = dict(reply.outputs)
        for output in step.outputs:
            size = self.store.remote.size(digests[output.name]) if is_checked(output, 0) else None
            if size is not None and is_checked(output, size):
                text = self._read(output.name, digests[output.name], size)
                read_object(text, f"{step.stage} ({step.module})", output.name)

    def _read(self, name: str, digest: str, largest: int) -> bytes:
        """Return the bytes of an output that a worker reports. Raises StepFailed, RemoteFailure."""
        try:
            self.store.bring_new(digest, largest)
            return self.store.read(digest)
        except (Damaged, FileNotFoundError) as error:
            raise StepFailed(
                f"its `{name}` cannot be read from the remote store: it is damaged"
            ) from error

    def _fetch_log(self, digest: str, log: Path) -> None:
        """Fetch a step's log into this workspace, like those of local steps."""
        if not digest:
            return
        try:
            open_log(log).close()
            self.store.remote.fetch(digest, log)
        except (OSError, BuildsysError, RemoteFailure, Damaged):
            log.unlink(missing_ok=True)
