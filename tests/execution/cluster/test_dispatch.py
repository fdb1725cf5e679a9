"""Orders of a run to workers in this process with their own stores: the handling of each reply."""

import contextlib
import dataclasses
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildsys.errors import BuildsysError
from buildsys.execution.cluster import dispatch
from buildsys.execution.cluster.executor import ClusterExecutor
from buildsys.execution.cluster.order_handler import OrderHandler, OrderStore
from buildsys.execution.cluster.orders import (
    Answer,
    Event,
    InputsLost,
    Order,
    Refused,
    Reply,
    read_order,
    read_reply,
    write_order,
    write_reply,
)
from buildsys.execution.cluster.placement import Place
from buildsys.execution.cluster.scheduler_connection import WorkersDied
from buildsys.execution.cluster.unfinished_trainings import keep_now
from buildsys.execution.cluster.worker_labels import find_labels
from buildsys.execution.places import Workspace
from buildsys.execution.session.session import Session
from buildsys.execution.store.action_entry import ActionEntry, blob_name
from buildsys.execution.store.folder_objects import FolderObjects
from buildsys.execution.store.remote import Remote
from buildsys.execution.store.remote_entry import make_key
from buildsys.execution.store.remote_failure import RemoteFailure
from buildsys.execution.store.tree_index import read_index
from buildsys.graph import build_plans
from buildsys.operations.sharing import push
from buildsys.remote_settings import RemoteSettings
from tests.conftest import StandIn, no_environment
from tests.execution.packages.test_judged_again import forge
from tests.processes import shipped
from tests.sample_steps import changed, make_step

pytestmark = pytest.mark.slow(disk=False)  # each builds a recipe, most of them more than once


class NearConnection:
    """A scheduler with workers in this process: the first suitable worker carries out an order at
    once.
    """

    address = "near"
    is_lost = False

    def __init__(self, root: Path, tools: StandIn) -> None:
        self.root, self.tools = root, tools
        self.settings = RemoteSettings(url=f"file://{root}/remote", mode="read-write")
        self.workers: dict[str, OrderHandler] = {}
        self.has = find_labels((), 0)
        self.left_out: dict[str, str] = {}
        self.before: Callable[[Order], None] = lambda order: None
        """Called when an order is sent."""
        self.lie: Callable[[Order], Reply | None] = lambda order: None
        """A reply to use instead of the worker's."""
        self.alter: Callable[[Order, Reply], Reply] = lambda order, reply: reply
        """Changes a worker's reply."""
        self.took: list[tuple[str, str, str]] = []
        """(worker, stage, kind of its reply) of each order."""

    def add(self, name: str) -> None:
        """A worker with an empty store."""
        place = Workspace(self.root / name)
        place.root.mkdir()
        place.claim()
        worker = self.workers[name] = OrderHandler(
            place,
            lambda: OrderStore(self.root / f"store-{name}", self.settings),
            name,
            frozenset(),
            trusts_code=False,
            ensure=no_environment,
        )
        worker.pauses = (0.0,)

    def remove(self, name: str) -> None:
        """Remove a worker with its store."""
        self.workers.pop(name).close()
        shutil.rmtree(self.root / f"store-{name}")

    def places(self) -> tuple[Place, ...]:
        """Every worker, with its name as address."""
        return tuple(Place(name=name, address=name, has=self.has) for name in self.workers)

    @contextlib.contextmanager
    def ordered(
        self,
        order: Order,
        needs: object,
        only: tuple[str, ...],
        on_event: Callable[[Event], None],
        attempt: int = 0,
    ) -> Iterator["NearConnection"]:
        """See `SchedulerConnection.ordered`."""
        self.before(order)
        lie = self.lie(order)
        if lie is not None:
            self._reply = read_reply(write_reply(lie))
            self.took.append((lie.worker, order.stage, lie.kind))
            yield self
            return
        name = next(name for name in self.workers if not only or name in only)
        reply = self.workers[name].handle(read_order(write_order(order)), on_event, self.tools)
        reply = self.alter(order, reply)
        self._reply = read_reply(write_reply(reply))
        self.took.append((name, order.stage, self._reply.kind))
        yield self

    def reply(self, seconds: float) -> Reply:
        """The reply to the last order."""
        return self._reply

    def close(self) -> None:
        """The end of a run."""


@pytest.fixture
def near(
    tmp_path: Path, tools: StandIn, monkeypatch: pytest.MonkeyPatch
) -> Iterator[NearConnection]:
    """A cluster with one worker, w0, used by every session of the test."""
    made = NearConnection(tmp_path, tools)
    monkeypatch.setenv("BUILDSYS_CLUSTER", "tcp://127.0.0.1:1")
    monkeypatch.setenv("BUILDSYS_REMOTE", made.settings.url)
    monkeypatch.setenv("BUILDSYS_REMOTE_MODE", "read-write")
    monkeypatch.setattr(ClusterExecutor, "_connect", lambda self: made)
    monkeypatch.setattr(dispatch, "_DELIVERY_PAUSES", (0.0, 0.0))
    made.add("w0")
    yield made
    for worker in made.workers.values():
        worker.close()


def build(workspace: Path, near: NearConnection) -> Session:
    """Build everything; returns the closed session."""
    near.tools.ran.clear()
    near.took.clear()
    session = Session(workspace, near.tools, no_environment)
    session.build(list(session.plans))
    session.close()
    assert not session.executor.failures, session.executor.failures
    return session


def forget(workspace: Path, root: Path) -> None:
    """Start over as another clone with an empty store."""
    shutil.rmtree(workspace / ".buildsys")
    shutil.rmtree(root / "store")


def kinds(near: NearConnection, stage: str) -> list[tuple[str, str]]:
    """(worker, kind of its reply) of each order of a stage."""
    return [(worker, kind) for worker, name, kind in near.took if name == stage]


def test_what_the_remote_loses_during_a_run_is_sent_or_made_again(
    workspace: Path, near: NearConnection, tmp_path: Path
) -> None:
    """If the remote loses all files and their worker, the run continues and publishes the same
    bytes.
    """
    lost: list[str] = []

    def lose(order: Order) -> None:
        if order.stage == "record-float-tflite" and not lost:
            lost.append(order.key)
            shutil.rmtree(tmp_path / "remote" / "blobs")
            near.remove("w0")
            near.add("w1")

    near.before = lose
    build(workspace, near)
    assert kinds(near, "record-float-tflite")[0] == ("w1", "lost")
    assert kinds(near, "record-float-tflite")[-1] == ("w1", "answer")
    assert near.tools.ran.count("train_ultralytics") == 2
    again = shipped(workspace)
    shutil.rmtree(workspace / "build")
    shutil.rmtree(tmp_path / "remote")
    forget(workspace, tmp_path)
    near.remove("w1")
    near.add("w2")
    build(workspace, near)
    assert shipped(workspace) == again


def test_a_remote_that_loses_everything_at_once_leaves_the_step_to_this_machine(
    workspace: Path, near: NearConnection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the remote keeps losing files, the step runs on this machine instead of being ordered
    repeatedly.
    """

    def lose(order: Order) -> None:
        if order.stage == "prepare":
            shutil.rmtree(tmp_path / "remote" / "blobs")

    near.before = lose
    build(workspace, near)
    assert set(kinds(near, "prepare")) == {("w0", "lost")}
    assert "loses uploaded files; prepare (tags) runs here" in capsys.readouterr().err


def test_without_scheduler_and_remote_nothing_starts_here(
    workspace: Path, near: NearConnection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step that would run here because of the remote store does not, once the scheduler is gone:
    else an interrupted run would repeat finished trainings.
    """

    def lose(order: Order) -> None:
        if order.stage == "prepare":
            shutil.rmtree(tmp_path / "remote" / "blobs")
            near.is_lost = True

    near.before = lose
    session = build(workspace, near)
    text = capsys.readouterr().err
    assert "prepare (tags): interrupted: the scheduler at near is gone" in text
    assert "prepare (tags): no recorded result" not in text  # begun here
    assert {session.state.steps[name].stage for name in session.executor.interrupted} >= {"prepare"}


@pytest.mark.parametrize(
    ("lie", "sentence"),
    [
        (
            lambda order: Answer(
                outputs=tuple((output.name, "e" * 64) for output in order.outputs),
                seconds=1.0,
                passed=True,
                made=True,
                worker="w9",
                variant="",
                isolation="",
                diary=(),
                log="",
            ),
            "worker w9 gets no more steps in this run: probe: the remote store does not have the files that the worker reports to have uploaded",
        ),
        (
            lambda order: InputsLost(blobs=(order.proof,), worker="w9"),
            "refused probe: file:// is another store there than here",
        ),
    ],
)
def test_a_worker_whose_files_are_elsewhere_gets_no_other_step(
    workspace: Path,
    near: NearConnection,
    capsys: pytest.CaptureFixture[str],
    lie: Callable[[Order], Reply],
    sentence: str,
) -> None:
    """Reported uploads are checked at once; a worker whose files are missing gets no more steps."""
    near.lie = lambda order: None if near.took else lie(order)
    build(workspace, near)
    assert {worker for worker, _, _ in near.took[1:]} == {"w0"}
    printed = re.sub(r"file:\S+", "file://", capsys.readouterr().err)
    assert re.search(sentence.replace("probe", r"\S+ \(.*\)"), printed)


def test_a_step_that_is_always_refused_runs_here(workspace: Path, near: NearConnection) -> None:
    """A step that every worker rejects runs on this machine, even if workers rejoin under new
    names, and give no reason.
    """

    def refuse(order: Order) -> Refused | None:
        if order.stage != "train":
            return None
        return Refused(why="", worker=f"x{len(near.took)}")

    near.lie = refuse
    build(workspace, near)
    assert len(kinds(near, "train")) == 20
    assert near.tools.ran.count("train_ultralytics") == 1


def test_without_the_remote_store_every_step_runs_here_after_one_line(
    workspace: Path, near: NearConnection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the remote store steps run here; no worker is blamed or waited for."""
    place = tmp_path / "remote"

    def lose(order: Order) -> None:
        if order.stage == "record-float-tflite" and place.is_dir():
            place.rename(tmp_path / "away")
            place.write_text("")

    near.before = lose
    build(workspace, near)
    printed = capsys.readouterr().err
    assert printed.count("steps run here") == 1
    assert "refused" not in printed
    assert "waits for a worker" not in printed


def test_a_package_without_what_could_not_be_asked_for_is_published_again(
    workspace: Path,
    near: NearConnection,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a short failure of the remote store, the next run adds missing curves without running
    steps.
    """
    session = build(workspace, near)
    whole = shipped(workspace)
    state = session.state
    (training,) = {
        digest
        for step in state.steps.values()
        for name, digest in getattr(state.result(step.id), "outputs", ())
        if step.trains and name == "training"
    }
    forget(workspace, tmp_path)
    shutil.rmtree(workspace / "build")
    stream = FolderObjects.stream

    def fail(objects: FolderObjects, name: str) -> Iterator[bytes]:
        if name.endswith(training):
            raise RemoteFailure("the connection was cut")
        return stream(objects, name)

    with monkeypatch.context() as cut:
        cut.setattr(FolderObjects, "stream", fail)
        build(workspace, near)
    assert "the remote store did not answer; the next run tries again" in capsys.readouterr().err
    assert shipped(workspace) != whole
    build(workspace, near)
    assert near.tools.ran == []
    assert shipped(workspace) == whole
    assert "published" not in capsys.readouterr().err


class Stubborn(OrderStore):
    """A store whose remote store rejects results; `left`: how many more times."""

    left = 0

    def push(self, *entries: ActionEntry) -> None:
        """See `SharedStore.push`."""
        if Stubborn.left:
            Stubborn.left -= 1
            raise RemoteFailure("the connection was cut")
        super().push(*entries)


@pytest.mark.parametrize("failures", [1, 9])
def test_a_finished_training_is_asked_for_where_it_was_made(
    workspace: Path,
    near: NearConnection,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    failures: int,
) -> None:
    """A result that a worker could not upload is requested again; a worker that never can is given
    up.
    """
    near.add("w1")
    near.workers["w0"].store = lambda: Stubborn(tmp_path / "store-w0", near.settings)

    def fail(order: Order) -> None:
        if order.stage == "train" and not kinds(near, "train"):
            Stubborn.left = failures

    near.before = fail
    session = build(workspace, near)
    Stubborn.left = 0
    printed = capsys.readouterr().err
    assert "train (tags) is done on w0, and its result is not in the remote store yet" in printed
    ways = [("w0", "undelivered")] * min(failures, 3)
    assert kinds(near, "train") == [*ways, ("w0" if failures == 1 else "w1", "answer")]
    assert near.tools.ran.count("train_ultralytics") == (1 if failures == 1 else 2)
    assert all(outcome.headline == "built" for outcome in session.publisher.outcomes.values())
    assert "train (tags): its result was there already" not in printed
    assert "is gone" not in printed


def test_a_worker_that_replied_did_not_die(
    workspace: Path, near: NearConnection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A worker whose reply cannot be used is neither gone nor one of those that died with a step."""
    near.add("w1")
    died: list[str] = []

    def alter(order: Order, reply: Reply) -> Reply:
        if order.stage != "train" or died:
            return reply
        if not kinds(near, "train"):
            shutil.rmtree(tmp_path / "remote" / "actions")
            return InputsLost(blobs=(os.urandom(32).hex(),), worker="w0")
        died.append("w1")
        raise WorkersDied

    near.alter = alter
    build(workspace, near)
    assert died
    assert kinds(near, "train") == [("w0", "lost"), ("w1", "answer")]
    printed = capsys.readouterr().err
    assert "train (tags) begins again on w1" in printed
    assert "is gone" not in printed


def test_a_training_goes_on_where_another_worker_was(
    workspace: Path, near: NearConnection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not one whose result is there; and nothing is kept of one that is done, here neither."""
    remote = Remote(near.settings, lambda text: None)
    step = changed(make_step("train_ultralytics"), tool_env="train", trains=True)
    work = tmp_path / "left" / "work"
    work.mkdir(parents=True)
    (work / "last.pt").write_text("epoch 7")

    left: list[str | None] = []
    interrupted = workspace / ".buildsys" / "scratch"

    def leave(order: Order) -> None:
        if order.stage == "train":
            left.append(keep_now(remote, step, order.key, work.parent))
            (interrupted / order.key).mkdir(parents=True)

    near.before = leave
    build(workspace, near)
    said = "w0: train continues the work of another worker"
    assert said in capsys.readouterr().err
    assert left[0]
    assert not list(interrupted.iterdir())
    assert not list((tmp_path / "remote").glob(f"blobs/*/{left[0]}"))
    forget(workspace, tmp_path)
    shutil.rmtree(tmp_path / "remote" / "actions")
    build(workspace, near)
    assert said not in capsys.readouterr().err
    assert near.tools.ran == []


def test_what_a_worker_had_already_was_not_made_in_this_run(
    workspace: Path, near: NearConnection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A result that a worker already had counts as restored, not as made in this run."""
    build(workspace, near)
    shutil.rmtree(tmp_path / "remote")
    forget(workspace, tmp_path)
    capsys.readouterr()
    session = build(workspace, near)
    assert near.tools.ran == []
    printed = capsys.readouterr().err
    assert "train (tags): its result was there already" in printed
    assert "done in" not in printed
    assert {outcome.headline for outcome in session.publisher.outcomes.values()} == {"restored"}


def test_a_worker_that_always_reports_lost_files_gets_no_other_step(
    workspace: Path, near: NearConnection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reports of files that are not inputs, of existing inputs, or of one file after the other end
    a worker's use.
    """

    def lie(order: Order) -> Reply | None:
        told = len(kinds(near, order.stage))
        if order.stage == "train" and told < 1:
            return InputsLost(blobs=(os.urandom(32).hex(),), worker="w7")
        if order.stage == "samples" and told < 2:
            return InputsLost(blobs=(order.inputs[0].digest,), worker="w8")
        if order.stage == "prepare" and told < 5:
            index = (tmp_path / "remote" / blob_name(order.inputs[0].digest)).read_bytes()
            files = tuple(file.digest for file in read_index(index))
            return InputsLost(blobs=files[: told + 1], worker="w9")
        return None

    near.lie = lie
    build(workspace, near)
    printed = capsys.readouterr().err
    gone = "gets no more steps in this run:"
    assert f"worker w7 {gone} train (tags): it reports files as lost that are not" in printed
    assert "worker w8 finds `dataset` of samples (tags) lost or damaged in file:" in printed
    assert f"worker w8 {gone} samples (tags): it reports files as lost or" in printed
    assert f"worker w9 {gone} prepare (tags): it reports more files" in printed


@pytest.mark.parametrize("is_signed", [False, True])
def test_a_verdict_is_what_its_file_and_its_signature_say(
    workspace: Path,
    near: NearConnection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    is_signed: bool,
) -> None:
    """A worker whose reply contradicts the verdict gets no more steps."""
    if is_signed:
        trust(workspace, near, tmp_path, monkeypatch)
    near.add("w1")

    def alter(order: Order, reply: Reply) -> Reply:
        if order.stage == "gate" and isinstance(reply, Answer) and reply.worker == "w0":
            return dataclasses.replace(reply, passed=not reply.passed)
        return reply

    near.alter = alter
    session = build(workspace, near)
    than = "the signed one" if is_signed else "its `verdict`"
    assert f": its reported verdict differs from {than}" in capsys.readouterr().err
    assert ("w1", "answer") in kinds(near, "gate")
    assert all(outcome.headline == "built" for outcome in session.publisher.outcomes.values())


def test_a_worker_whose_figures_cannot_be_read_gets_no_other_step(
    workspace: Path, near: NearConnection, capsys: pytest.CaptureFixture[str]
) -> None:
    """Figures that are not a JSON object are not taken from a worker: another makes them."""
    near.add("w1")

    def alter(order: Order, reply: Reply) -> Reply:
        if order.stage == "compile" and isinstance(reply, Answer) and reply.worker == "w0":
            store = near.workers["w0"].store()
            made = dict(reply.outputs) | {"summary": store.put_bytes(b"[]")}
            store.push_blobs(made["summary"], tree=False)
            return dataclasses.replace(reply, outputs=tuple(made.items()))
        return reply

    near.alter = alter
    session = build(workspace, near)
    printed = capsys.readouterr().err
    assert "wrote a summary that cannot be used: it is not an object" in printed
    assert ("w1", "answer") in kinds(near, "compile")
    assert all(outcome.headline == "built" for outcome in session.publisher.outcomes.values())


def test_recorded_figures_are_read_before_a_worker_gets_them(
    workspace: Path, near: NearConnection
) -> None:
    """A worker gets no figures that cannot be read: their step runs again."""
    build(workspace, near)
    forge(workspace, near.tools, "compile", "summary", b"[]")
    shutil.rmtree(workspace / "build")
    build(workspace, near)
    assert kinds(near, "compile") == [("w0", "answer")]


def test_what_a_worker_made_unsigned_does_not_count_where_keys_are_trusted(
    workspace: Path, near: NearConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With trusted keys, unsigned results in the store do not count, except trainings in
    buildsys.lock.
    """
    build(workspace, near)
    first = sorted(stage for _, stage, _ in near.took if stage != "train")
    build(workspace, near)
    assert near.took == []
    near.remove("w0")
    trust(workspace, near, tmp_path, monkeypatch)
    near.add("w1")
    build(workspace, near)
    assert sorted(stage for _, stage, _ in near.took) == first
    build(workspace, near)
    assert near.took == []


@pytest.mark.parametrize(
    ("stage", "output", "is_lost", "why"),
    [
        ("train", "training", True, "its `training` cannot be read .*: `file` is missing"),
        ("package", "package", False, "what it uploaded is damaged"),
    ],
)
def test_a_worker_whose_result_cannot_be_read_gets_no_other_step(
    workspace: Path,
    near: NearConnection,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    stage: str,
    output: str,
    is_lost: bool,
    why: str,
) -> None:
    """A missing file of a folder, or a file with other bytes: another worker makes the step."""
    near.add("w1")

    def alter(order: Order, reply: Reply) -> Reply:
        if order.stage == stage and isinstance(reply, Answer) and reply.worker == "w0":
            remote = tmp_path / "remote"
            index = remote / blob_name(dict(reply.outputs)[output])
            file = remote / blob_name(read_index(index.read_bytes())[0].digest)
            if is_lost:
                file.unlink()
            else:
                data = file.read_bytes()
                file.unlink()
                file.write_bytes(bytes(len(data)))
        return reply

    near.alter = alter
    session = build(workspace, near)
    printed = capsys.readouterr().err
    assert re.search(rf"worker w0 gets no more steps in this run: {stage} \(.*\): {why}", printed)
    assert ("w1", "answer") in kinds(near, stage)
    assert len(kinds(near, stage)) < 6
    assert all(outcome.headline == "built" for outcome in session.publisher.outcomes.values())


def trust(
    workspace: Path, near: NearConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Make the workspace and its workers trust one key, with which the workers sign."""
    key = tmp_path / "key.pem"
    trusted = make_key(key)
    near.settings = dataclasses.replace(near.settings, trusted=(trusted,))
    (workspace / "buildsys.yaml").write_text(
        f"remote: {{url: '{near.settings.url}', trusted: ['{trusted}']}}\n"
    )
    monkeypatch.setenv("BUILDSYS_SIGNING_KEY", str(key))


def unsigned(near: NearConnection, order: Order) -> Answer:
    """The reply of worker w0, which has uploaded files but no entry."""
    store = near.workers["w0"].store()
    made = store.put_bytes(b"{}")
    store.push_blobs(made, tree=False)
    return Answer(
        outputs=tuple((output.name, made) for output in order.outputs),
        seconds=1.0,
        passed=True,
        made=True,
        worker="w0",
        variant="",
        isolation="",
        diary=(),
        log="",
    )


def test_a_worker_without_a_trusted_key_refuses_and_nothing_waits_for_it(
    workspace: Path,
    near: NearConnection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where results are signed, a worker without the key does no work in vain: it names what is
    missing, and steps run here at once.
    """
    key = tmp_path / "key.pem"
    trusted = make_key(key)
    (workspace / "buildsys.yaml").write_text(
        f"remote: {{url: '{near.settings.url}', trusted: ['{trusted}']}}\n"
    )
    monkeypatch.setenv("BUILDSYS_SIGNING_KEY", str(key))
    near.before = lambda order: monkeypatch.delenv("BUILDSYS_SIGNING_KEY")

    def sign_again(order: Order, reply: Reply) -> Reply:
        monkeypatch.setenv("BUILDSYS_SIGNING_KEY", str(key))
        return reply

    near.alter = sign_again
    build(workspace, near)
    assert [(worker, kind) for worker, _, kind in near.took] == [("w0", "refused")]
    printed = capsys.readouterr().err
    missing = "signed results, but BUILDSYS_SIGNING_KEY names no key (on the worker)"
    assert re.search(rf"worker w0 refused .*{re.escape(missing)}", printed)
    assert "waits for a worker" not in printed
    assert printed.count("get no more steps in this run: steps run here") == 1


def test_a_second_coordinator_gets_signed_results_and_sends_no_order(
    workspace: Path,
    near: NearConnection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Workers sign their results; a machine that trusts their key restores them and passes them on
    unchanged. Unsigned results do not count.
    """
    key = tmp_path / "key.pem"
    trusted = make_key(key)
    near.settings = dataclasses.replace(near.settings, trusted=(trusted,))
    (workspace / "buildsys.yaml").write_text(
        f"remote: {{url: '{near.settings.url}', trusted: ['{trusted}']}}\n"
    )
    with pytest.raises(BuildsysError, match="BUILDSYS_SIGNING_KEY names no key"):
        build(workspace, near)
    monkeypatch.setenv("BUILDSYS_SIGNING_KEY", str(key))
    near.add("w1")
    near.lie = lambda order: None if near.took else unsigned(near, order)
    build(workspace, near)
    refused = r"worker w0 gets no more steps .*: \S+ \(.*\): no key in `remote.trusted` has signed"
    assert re.search(refused, capsys.readouterr().err)
    assert {worker for worker, _, _ in near.took[1:]} == {"w1"}
    near.lie = lambda order: None
    actions = tmp_path / "remote" / "actions"
    signed = {path: path.read_bytes() for path in actions.glob("*/*")}
    shutil.rmtree(actions)
    session = Session(workspace, near.tools, no_environment)
    push(session, build_plans(session.loaded.plans))
    session.close()
    again = {path: path.read_bytes() for path in actions.glob("*/*")}
    assert again == {path: signed[path] for path in again}
    assert len(again) > 1
    forget(workspace, tmp_path)
    session = build(workspace, near)
    assert (near.took, near.tools.ran) == ([], [])
    assert {outcome.headline for outcome in session.publisher.outcomes.values()} == {"restored"}
