"""Executes one step, from its inputs in the store to its outputs in the store.

A step works in its own folder, named by its action key. The folder survives a kill, and a training
continues there. Nothing is published before every declared output exists and every input is still
unchanged.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from buildsys.errors import InputError, MissingBytes, StepFailed
from buildsys.escaping import plain_log
from buildsys.execution.places import Workspace, cache_root
from buildsys.execution.running import checkpoints, isolation, kernels, process
from buildsys.execution.running.admission import Admission, gpu_variables
from buildsys.execution.running.durations import finished_epochs, record_seconds
from buildsys.execution.running.made_on import facts_of_this_machine
from buildsys.execution.state.action_keys import ActionKey
from buildsys.execution.state.decide import State
from buildsys.execution.state.step_outputs import is_checked, read_object, read_verdict
from buildsys.execution.store.action_entry import make_entry
from buildsys.execution.store.store import Store, use
from buildsys.execution.tools import bytecode, environments
from buildsys.files import DEEPEST, is_deep, open_regular, remove_tree
from buildsys.graph import Input, Output, Step, StepResult
from buildsys.names import BadName
from buildsys.records import is_digest
from buildsys.spec import Format, Intermediate
from buildsys.steps.lib.images.decoding import SUFFIXES as IMAGES
from buildsys.steps.lib.runtime import launcher
from buildsys.steps.lib.tensorrt import host_library
from buildsys.typed_json import parse
from buildsys.write_errors import explain_log, writing

LAUNCHER = Path(launcher.__file__)
_START = Path(kernels.__file__)
_PACKAGE = LAUNCHER.parents[3]
_LAST_LINES = 12
_LAST_BYTES = 1 << 16
_SHOWN_BYTES = 1 << 14
"""Bytes of a step's message that are shown from its beginning, and from its end."""
_LARGEST_DIARY = 1 << 20
LARGEST_VERDICT, _LARGEST_JSON = 1 << 24, 1 << 30
"""Bytes of a file that is read as a whole: a sparse file may be larger than the memory."""
REFUSED = 3
"""The launcher's exit code when the step itself reports what is wrong with its inputs, or when
memory was not enough.
"""
NO_MEMORY = "not enough memory"
"""The launcher's message in that case."""
_REQUEST, _ERROR, _DIARY = "request.json", "error.txt", "diary.json"
EnsureEnv = Callable[[str, Callable[[str], None]], tuple[str, Path]]
"""Takes (environment, print_line); returns (variant, interpreter)."""
Alone = Callable[[Step, ActionKey], contextlib.AbstractContextManager[None]]
"""Held by the one run that makes a step."""
_NO_NAMES: Mapping[str, str] = MappingProxyType({})


def make_once(
    state: State, step: Step, alone: Alone, make: Callable[[ActionKey], StepResult | None]
) -> StepResult | None:
    """Make a step, on any machine, while no other run makes it.

    Returns None if another run, or another build of this one, made it meanwhile. Raises
    MissingBytes if an input was lost meanwhile.
    """
    action_key = _key(state, step)
    with alone(step, action_key):
        return None if _is_made(state, step, action_key) else make(action_key)


def _key(state: State, step: Step) -> ActionKey:
    action_key = state.key(step)
    if action_key is None:
        lost = next(i.step for i in step.inputs if i.step and state.result(i.step) is None)
        raise MissingBytes(lost)
    return action_key


def _is_made(state: State, step: Step, action_key: ActionKey) -> bool:
    """Return whether the store has the step's result; then it is noted."""
    result = state.recall(step, action_key.key)
    if result is None or not state.is_readable(step, result):
        return False
    state.finish(step, action_key, result)
    return True


def _enters(held: contextlib.ExitStack, lock: contextlib.AbstractContextManager[None]) -> bool:
    """Take a lock until `held` ends; returns False if another holds it."""
    try:
        held.enter_context(lock)
    except BlockingIOError:
        return False
    return True


def describe_change(label: str) -> str:
    """Return the message about a source that no longer has the digest of this run."""
    return f"{label} changed during this run; nothing made from it since then is kept. Run again."


def finished_folders(
    workspace: Workspace, store: Store, find_result: Callable[[str], StepResult | None]
) -> tuple[Path, ...]:
    """Return the working folders that interrupted steps left and whose results the store has.

    `find_result`: by action key. Other folders stay: a training continues there, also one that is
    made again because its checkpoint was lost.
    """
    try:
        with os.scandir(workspace.scratch) as entries:
            found = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return ()
    results = {key: find_result(key) for key in filter(is_digest, found)}
    return tuple(
        workspace.scratch / key
        for key, result in results.items()
        if result is not None and all(store.has(digest, False) for _, digest in result.outputs)
    )


class Runner:
    """Executes steps; everything it needs is in them, nothing in recipes."""

    used_every_seconds = 1200.0
    """Seconds between marks of the files that a running step reads: `buildsys gc` keeps files for an
    hour after their last use.
    """

    def __init__(
        self,
        workspace: Workspace,
        state: State,
        print_line: Callable[[str], None],
        run: process.CommandRunner = process.run_command,
        ensure: EnsureEnv = environments.ensure,
        names: Mapping[str, str] = _NO_NAMES,
    ) -> None:
        """`names`: step id -> the step and its builds, as messages name them."""
        self.workspace, self.state, self.print_line = workspace, state, print_line
        self.run, self.ensure, self.names = run, ensure, names
        self.admission = Admission()
        self.urgencies: Mapping[str, float] = {}
        """By step id: which of several steps that could start does so (step_order.py)."""
        self.variants: dict[str, str] = {}
        self.isolations: dict[str, str] = {}
        """By step id: the mechanism that isolated the step in this run."""
        self.workers: dict[str, str] = {}
        """By step id: the worker that runs it; no entry for a step that runs here."""
        self.warned = False
        """Whether a line about missing isolation was printed: once is enough."""
        self.publishes = True
        """Whether results are offered to other users of the store."""

    def beside(self, state: State) -> "Runner":
        """Return a runner of the same run for other plans, whose results are not shared.

        Lines that are printed once per run are not repeated.
        """
        other = Runner(self.workspace, state, self.print_line, self.run, self.ensure, self.names)
        other.warned, other.publishes = self.warned, False
        return other

    def execute(
        self, step: Step, on_start: Callable[[], None], on_progress: process.OnProgress
    ) -> StepResult | None:
        """Run a step when the machine has room for it, and publish its outputs.

        Returns None as `make_once` does. Raises StepFailed, CannotWrite.
        """
        action_key = _key(self.state, step)
        variant, python = self.ensure(step.tool_env, self.print_line)
        self.variants[step.tool_env] = variant
        alone = partial(self.state.store.alone, action_key.key, self.owner)
        while True:
            # a step that waits for room holds no lock, and one that waits for the lock no room
            with alone(self.waiting(step)):
                if _is_made(self.state, step, action_key):
                    return None
            with self._room(step) as gpu, contextlib.ExitStack() as held:
                if not _enters(held, alone()):
                    continue
                if _is_made(self.state, step, action_key):
                    return None
                return self._run_and_publish(step, action_key, on_start, on_progress, python, gpu)

    def _room(self, step: Step) -> contextlib.AbstractContextManager[str]:
        return self.admission.admit(step, self.urgencies.get(step.id, 0.0))

    def name(self, step: Step) -> str:
        """Return a step's name in messages."""
        return self.names.get(step.id, step.stage)

    @property
    def owner(self) -> str:
        """Return this run's name, for those that wait for its lock."""
        return f"process {os.getpid()} in {self.workspace.root}"

    def waiting(self, step: Step) -> Callable[[str], None]:
        """Return a function that prints what a step waits for.

        It prints nothing where another build of this run makes the same: that wait is short.
        """

        def print_line(who: str) -> None:
            if who != self.owner:
                self.print_line(
                    f"{self.name(step)}: waiting for another run that makes the same result: {who}"
                )

        return print_line

    def _run_and_publish(
        self,
        step: Step,
        action_key: ActionKey,
        on_start: Callable[[], None],
        on_progress: process.OnProgress,
        python: Path,
        gpu: str,
    ) -> StepResult:
        isolated = self._isolation(step)
        on_start()
        started = time.monotonic()
        self.check_sources(step, action_key)
        with writing(f"the inputs of {step.stage}", self.workspace.scratch):
            scratch = self._prepare(step, action_key)
        done = finished_epochs(step, scratch)
        checkpoints.refuse_code(step, scratch / "inputs", isolated)
        outputs = self._output_paths(step, scratch)
        command = self._command(step, action_key, scratch, python, gpu, isolated)
        self._run(step, action_key, command, on_progress, isolated)
        with _naming_log(command):
            _check(step, outputs, scratch)
        self.check_sources(step, action_key)
        seconds = round(time.monotonic() - started, 3)
        diary = _read_diary(scratch) | facts_of_this_machine()
        with _naming_log(command):
            result = self._publish(step, action_key, outputs, seconds, diary)
        record_seconds(self.state.database, step, seconds, done)
        remove_tree(scratch)
        return result

    def _isolation(self, step: Step) -> isolation.Isolation:
        """Return what isolates the step; prints one line per run where nothing does."""
        chosen = isolation.choose()
        if chosen.mechanism == isolation.Mechanism.NONE and not self.warned:
            self.warned = True
            self.print_line(f"steps are not isolated from this machine: {chosen.gap}")
        self.isolations[step.id] = chosen.text
        return chosen

    def log(self, key: str) -> Path:
        """Return the log of the last run under an action key."""
        return self.workspace.logs / f"{key}.log"

    def _prepare(self, step: Step, action_key: ActionKey) -> Path:
        """Return a working folder with the inputs in place and no old outputs."""
        scratch = self.workspace.own(self.workspace.scratch / action_key.key)
        if scratch.exists():  # from a run that was killed
            for name in ("inputs", "outputs"):
                remove_tree(scratch / name)
            if not step.trains:  # only a training continues
                remove_tree(scratch)
        for name in ("inputs", "outputs", "work"):
            (scratch / name).mkdir(parents=True, exist_ok=True)
        paths = {
            item.name: self._place(item, action_key, scratch / "inputs") for item in step.inputs
        }
        request = {
            "inputs": {name: str(path) for name, path in paths.items()},
            "outputs": {name: str(p) for name, p in self._output_paths(step, scratch).items()},
            "params": json.loads(step.params),
            "error": str(scratch / _ERROR),
        }
        # a step writes to these files, and cannot create others beside them
        for name in (_ERROR, _DIARY):
            (scratch / name).unlink(missing_ok=True)
            (scratch / name).touch()
        text = json.dumps(request, indent=1)
        (scratch / _REQUEST).write_text(text, encoding="utf-8")
        return scratch

    def _place(self, item: Input, action_key: ActionKey, folder: Path) -> Path:
        """Put an input where the step can read it, and return its path.

        It is a copy from the store (with links to a dataset's images), or a link to the user's
        file.
        """
        digest = dict(action_key.inputs)[item.name]
        if item.source is None:
            if item.output == Intermediate.PROGRAM and digest not in self.state.traced:
                raise MissingBytes(item.step)
            producer = self.state.steps[item.step]
            output = next(o for o in producer.outputs if o.name == item.output)
            target = folder / (item.name + ("" if output.tree else output.suffix))
            linked = IMAGES if item.output == Format.DATASET else frozenset[str]()
            self.state.fetch(item.step, item.output, target, linked)
            return target
        source = Path(item.source.path)
        if item.source.parts:
            return self._link_tree(item, folder / item.name)
        target = folder / (item.name + source.suffix)
        if source.exists():
            target.symlink_to(source)
        else:
            self.state.store.fetch(digest, target, tree=False)
        return target

    def _link_tree(self, item: Input, target: Path) -> Path:
        """Return a folder of links: a tool that writes beside its input writes there, not to the
        dataset.
        """
        assert item.source is not None
        made: set[str] = set()
        for name in self.state.sources.files(item.source):
            place = os.path.join(target, name)
            folder = os.path.dirname(place)
            if folder not in made:  # a dataset has many files in few folders
                os.makedirs(folder, exist_ok=True)
                made.add(folder)
            os.symlink(os.path.join(item.source.path, name), place)
        return target

    def _output_paths(self, step: Step, scratch: Path) -> dict[str, Path]:
        return {o.name: scratch / "outputs" / _file_name(o) for o in step.outputs}

    def _command(
        self,
        step: Step,
        action_key: ActionKey,
        scratch: Path,
        python: Path,
        slot: str,
        isolated: isolation.Isolation,
    ) -> process.Command:
        program = (str(python), "-s", str(_START), str(LAUNCHER))
        plain = (*program, step.module, str(scratch / _REQUEST))
        access = _access(step, python, scratch)
        return process.Command(
            arguments=isolation.isolate(isolated, plain, access, scratch / "work", scratch),
            folder=scratch / "work",
            environment=process.step_environment(
                python,
                scratch / "work",
                step.threads,
                step.device,
                None if python == Path(sys.executable) else bytecode.root(),
                step.fetches,
                _timing_caches() if step.loads_library else None,
            )
            | checkpoints.variables(step)
            | {"BUILDSYS_DIARY": str(scratch / _DIARY)}
            | gpu_variables(slot),
            log=self.log(action_key.key),
        )

    def _run(
        self,
        step: Step,
        action_key: ActionKey,
        command: process.Command,
        on_progress: process.OnProgress,
        isolated: isolation.Isolation,
    ) -> None:
        scratch = command.folder.parent
        with self._in_use(step, scratch / "inputs"):
            code = isolation.end_code(isolated, self.run(command, on_progress))
        if code == 0:
            return
        message = plain_log(_ends(scratch / _ERROR))
        refused = code == REFUSED and message != NO_MEMORY
        # on a full disk the message could not be written
        message = message or _last_lines(command.log)
        hints = explain_log(message, scratch), self._changed_source(step, action_key)
        message = "\n".join(filter(None, (message, *hints)))
        name = f"{step.stage} ({step.module}) failed:"
        if refused:  # the step's own sentences tell what to change; a repetition says the same
            raise StepFailed(f"{name}\n{_indent(message)}\n{_log(command)}", refused=True)
        end = process.explain_exit(code)
        raise StepFailed(f"{name} {end}\n{_indent(message)}\n{_places(command)}")

    @contextlib.contextmanager
    def _in_use(self, step: Step, inputs: Path) -> Iterator[None]:
        """Within the block, mark the store's files that the step reads through links as used: no result
        may name them, and `buildsys gc` removes such files when they get old.
        """
        ended = threading.Event()
        blobs = os.path.join(os.path.normpath(self.state.store.root.absolute()), "blobs", "")

        def mark() -> None:
            while not ended.wait(self.used_every_seconds):
                with contextlib.suppress(OSError):  # the step has ended, its inputs are removed
                    for target in isolation.link_targets(inputs):
                        if target.startswith(blobs):
                            use(Path(target))

        if any(item.output == Format.DATASET for item in step.inputs):
            threading.Thread(target=mark, daemon=True, name="use").start()
        try:
            yield
        finally:
            ended.set()

    def check_sources(self, step: Step, action_key: ActionKey) -> None:
        """Raise StepFailed if a source no longer has the digest in the action key: hours may have
        passed.
        """
        changed = self._changed_source(step, action_key)
        if changed:
            raise StepFailed(changed)

    def _changed_source(self, step: Step, action_key: ActionKey) -> str:
        for item in step.inputs:
            if item.source is not None:
                self.state.sources.forget(item.source)
                try:
                    same = (
                        self.state.sources.digest(item.source) == dict(action_key.inputs)[item.name]
                    )
                except InputError as error:
                    return str(error)
                if not same:
                    return describe_change(item.source.name)
        return ""

    def _publish(
        self,
        step: Step,
        action_key: ActionKey,
        outputs: dict[str, Path],
        seconds: float,
        diary: dict[str, str],
    ) -> StepResult:
        """Store the blobs first, then the action, then this workspace's record."""
        store = self.state.store
        passed = True
        if Format.VERDICT in outputs:
            name = f"{step.stage} ({step.module})"
            passed = read_verdict(outputs[Format.VERDICT].read_bytes(), name).passed
        try:
            digests = tuple(
                (
                    o.name,
                    store.put_tree(outputs[o.name]) if o.tree else store.put_file(outputs[o.name]),
                )
                for o in step.outputs
            )
        except BadName as error:
            raise StepFailed(
                f"{step.stage} ({step.module}) made files that cannot be stored: {error}."
                " Rename the files that they are made from."
            ) from error
        result = StepResult(outputs=digests, seconds=seconds, passed=passed)
        self.state.traced |= {d for name, d in digests if name == Intermediate.PROGRAM}
        entry = make_entry(step, action_key.key, result, diary)
        store.record(entry)
        if self.publishes:
            store.publish(entry)
        self.state.finish(step, action_key, result)
        return result


def _check(step: Step, outputs: dict[str, Path], scratch: Path) -> None:
    """Raise StepFailed for outputs that a step left out, or that cannot be stored."""
    if is_deep(scratch / "outputs"):
        raise StepFailed(
            f"{step.stage} ({step.module}) made folders nested more than {DEEPEST} deep;"
            " its outputs were discarded."
        )
    foreign = next(_foreign(scratch), "")
    if foreign:
        raise StepFailed(
            f"{step.stage} ({step.module}) made {foreign}, which is not a regular file;"
            " its outputs were discarded."
        )
    missing = [name for name, path in outputs.items() if not path.exists()]
    if missing:
        raise StepFailed(
            f"{step.stage} ({step.module}) did not produce output: {', '.join(missing)}"
        )
    for output in step.outputs:
        most = LARGEST_VERDICT if output.name == Format.VERDICT else _LARGEST_JSON
        size = outputs[output.name].stat().st_size
        if output.suffix == ".json" and size > most:
            raise StepFailed(
                f"{step.stage} ({step.module}) wrote {outputs[output.name].name} with {size}"
                f" bytes; the limit is {most}. Its outputs were discarded."
            )
        if is_checked(output, size):
            text = outputs[output.name].read_bytes()
            read_object(text, f"{step.stage} ({step.module})", output.name)


@contextlib.contextmanager
def _naming_log(command: process.Command) -> Iterator[None]:
    """Add to a StepFailed in the block where the step's log is, and how to repeat the step."""
    try:
        yield
    except StepFailed as error:
        message = f"{error}\n{_places(command)}"
        raise StepFailed(message, error.refused, error.detail) from error


def _places(command: process.Command) -> str:
    """Return where a step's log is, and how to repeat the step."""
    again = f"{process.quote(('cd', str(command.folder)))} && {process.quote(command.arguments)}"
    return f"{_log(command)}\n    to repeat: {again}"


def _log(command: process.Command) -> str:
    return f"    log: {command.log}"


def _access(step: Step, python: Path, scratch: Path) -> isolation.Access:
    """Return what a step may access: its Python and this package, inputs, working folder,
    outputs.
    """
    programs = (*isolation.python_folders(python), str(_PACKAGE))
    readable = (*isolation.link_targets(scratch / "inputs"), str(scratch / "inputs"))
    writable = tuple(str(scratch / name) for name in ("work", "outputs", _ERROR, _DIARY))
    if step.loads_library:
        with writing("TensorRT's timings", cache_root()):
            _timing_caches().mkdir(parents=True, exist_ok=True)
        writable += (str(_timing_caches()),)
        programs += isolation.python_folders(Path(host_library.interpreter()))
        programs += tuple(filter(os.path.isabs, _listed("LD_LIBRARY_PATH")))
    if step.fetches:
        readable += (*_listed("SSL_CERT_FILE"), *_listed("SSL_CERT_DIR"))
    return isolation.Access(
        programs=programs,
        readable=(*readable, str(scratch / _REQUEST), str(bytecode.root())),
        writable=writable,
        network=step.fetches,
    )


def _timing_caches() -> Path:
    return cache_root() / "timing-caches"


def _listed(variable: str) -> tuple[str, ...]:
    return tuple(filter(None, os.environ.get(variable, "").split(os.pathsep)))


def _foreign(scratch: Path) -> Iterator[str]:
    """Yield outputs that are not regular files, or are links to files that were no inputs.

    Such a link would put files into the store that the step itself must not read.
    """
    given: set[str] | None = None
    for folder, folders, names in os.walk(scratch / "outputs"):
        for name in (*names, *(f for f in folders if os.path.islink(os.path.join(folder, f)))):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                if given is None:
                    given = {
                        os.path.realpath(t) for t in isolation.link_targets(scratch / "inputs")
                    }
                target = os.path.realpath(path)
                inside = target.startswith(os.path.realpath(scratch) + os.sep)
                if not inside and target not in given:
                    yield os.path.relpath(path, scratch)
            elif not os.path.isfile(path):
                yield os.path.relpath(path, scratch)


def _read_diary(scratch: Path) -> dict[str, str]:
    """Return the facts that the step recorded about this run."""
    try:
        with open_regular(scratch / _DIARY) as file:
            text = file.read(_LARGEST_DIARY + 1)
        return parse(dict[str, str], text) if len(text) <= _LARGEST_DIARY else {}
    except (OSError, ValueError):
        return {}


def _file_name(output: Output) -> str:
    return output.name if output.tree else output.name + output.suffix


def _ends(path: Path) -> str:
    """Return a text without the middle of a long one; empty if it cannot be read."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            text = file.read(2 * _SHOWN_BYTES)
            if size <= len(text):
                return text.decode(errors="replace")
            file.seek(size - _SHOWN_BYTES)
            ends = [
                part.decode(errors="ignore")
                for part in (text[:_SHOWN_BYTES], file.read(_SHOWN_BYTES))
            ]
    except OSError:
        return ""
    return f"\n… {size - 2 * _SHOWN_BYTES} bytes left out, see {path} …\n".join(ends)


def _last_lines(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LAST_BYTES))
        lines = plain_log(file.read().decode(errors="replace")).splitlines()
    return "\n".join(lines[-_LAST_LINES:]) or "it printed nothing"


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
