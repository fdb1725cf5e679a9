"""The runner: one step from inputs to outputs in the store, with a function as tool."""

import json
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildsys.errors import MissingBytes, StepFailed
from buildsys.execution.places import Workspace
from buildsys.execution.running import process
from buildsys.execution.running.admission import Admission
from buildsys.execution.running.process import Command, OnProgress
from buildsys.execution.running.runner import NO_MEMORY, REFUSED, Runner
from buildsys.execution.state.decide import State
from buildsys.execution.state.step_outputs import LARGEST_CHECKED
from buildsys.execution.store import garbage_collection
from buildsys.execution.tools.host_facts import cpu_name, instruction_sets
from buildsys.graph import Output, Status, Step, StepResult
from tests.processes import wait_until
from tests.sample_steps import changed, given, make_plan, make_state, make_step, output_of
from tests.test_files import make_deep

Tool = Callable[[dict[str, Path], dict[str, Path]], int]
"""(inputs, outputs) -> exit code."""


class Bench:
    """A workspace with decisions on steps, and a runner whose tool is a function of the test."""

    def __init__(self, root: Path, *steps: Step) -> None:
        self.workspace = Workspace(root / "workspace")
        self.state = make_state(root, make_plan(*steps))
        self.tool: Tool = write_outputs
        self.commands: list[Command] = []
        self.requests: list[dict[str, Any]] = []
        self.said: list[str] = []
        self.progress: list[tuple[float, float, str, str]] = []
        self.started = 0
        self.runner = Runner(
            self.workspace,
            self.state,
            self.said.append,
            self._run,
            lambda name, say: ("cpu", Path(sys.executable)),
        )

    def execute(self, step: Step) -> StepResult | None:
        """Run a step."""
        return self.runner.execute(step, self._start, lambda *report: self.progress.append(report))

    def _start(self) -> None:
        self.started += 1

    def _run(self, command: Command, on_progress: OnProgress) -> int:
        request = json.loads(Path(command.arguments[-1]).read_text())
        self.commands.append(command)
        self.requests.append(request)
        command.log.parent.mkdir(parents=True, exist_ok=True)
        command.log.write_text("line 1\nline 2\n")
        on_progress(1, 2, "epoch", "")
        inputs, outputs = (
            {name: Path(path) for name, path in request[group].items()}
            for group in ("inputs", "outputs")
        )
        return self.tool(inputs, outputs)


def write_outputs(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
    """A tool that succeeds: writes a file, or a folder with one file."""
    for name, path in outputs.items():
        if path.suffix:
            path.write_text(name)
        else:
            path.mkdir()
            (path / "inner.txt").write_text(name)
    return 0


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A user's file."""
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def export(source: Path) -> Step:
    """A step that reads it."""
    return make_step("export_onnx", given(source), stage="export", tool_env="ultralytics")


def failure(bench: Bench, step: Step) -> StepFailed:
    """Run a step that must fail; returns the error."""
    with pytest.raises(StepFailed) as caught:
        bench.execute(step)
    return caught.value


def test_outputs_are_in_the_store_and_the_step_is_up_to_date(tmp_path: Path, export: Step) -> None:
    """Bytes, action entry and record exist, and the working folder is removed."""
    bench = Bench(tmp_path, export)
    result = bench.execute(export)
    assert result is not None
    ((name, digest),) = result.outputs
    assert (name, bench.state.store.read(digest)) == ("made", b"made")
    decision = bench.state.decide(export)
    assert decision.status == Status.UP_TO_DATE
    entry = bench.state.store.recall(decision.key)
    assert entry is not None
    assert (entry.module, entry.tool, entry.passed) == ("export_onnx", "tool 1.0", True)
    assert bench.state.database.duration("export_onnx") == result.seconds
    assert list(bench.workspace.scratch.iterdir()) == []
    assert (bench.started, bench.progress) == (1, [(1, 2, "epoch", "")])
    assert bench.runner.variants == {"ultralytics": "cpu"}


def test_the_request_names_inputs_outputs_and_parameters(tmp_path: Path, export: Step) -> None:
    """All paths in the request are below the working folder, which is named after the action key."""
    bench = Bench(tmp_path, export)
    bench.execute(export)
    (request,), (command,) = bench.requests, bench.commands
    scratch = bench.workspace.scratch / bench.state.decide(export).key
    assert request == {
        "inputs": {"given": str(scratch / "inputs" / "given.pt")},
        "outputs": {"made": str(scratch / "outputs" / "made.bin")},
        "params": {"size": 64},
        "error": str(scratch / "error.txt"),
    }
    assert command.folder == scratch / "work"
    assert command.arguments[-2:] == ("export_onnx", str(scratch / "request.json"))
    assert command.log == bench.runner.log(bench.state.decide(export).key)


def test_a_tool_gets_a_copy_of_what_another_step_made(tmp_path: Path, export: Step) -> None:
    """A tool gets copies, so that writing to inputs does not damage the store."""
    convert = make_step("convert", output_of(export))
    bench = Bench(tmp_path, export, convert)
    bench.execute(export)

    def spoil(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        assert inputs["made"].read_text() == "made"
        inputs["made"].write_text("spoilt")
        return write_outputs(inputs, outputs)

    bench.tool = spoil
    assert bench.execute(convert) is not None
    made = bench.state.result("export_onnx")
    assert made is not None
    assert bench.state.store.read(made.outputs[0][1]) == b"made"


def test_a_folder_comes_out_and_goes_in_whole(tmp_path: Path, source: Path) -> None:
    """A folder output is a folder input of the next step."""
    tree = make_step("unpack", given(source), outputs=(Output(name="data", tree=True),))
    reader = make_step("read", output_of(tree))
    bench = Bench(tmp_path, tree, reader)
    bench.execute(tree)

    def look(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        assert (inputs["data"] / "inner.txt").read_text() == "data"
        return write_outputs(inputs, outputs)

    bench.tool = look
    assert bench.execute(reader) is not None


def test_what_a_running_step_reads_is_not_collected(tmp_path: Path, source: Path) -> None:
    """`buildsys gc` keeps the images that a step reads in the store, although no result names them, as
    on a worker.
    """
    data = make_step("prepare", given(source), outputs=(Output(name="dataset", tree=True),))
    train = make_step("train", output_of(data))
    bench = Bench(tmp_path, data, train)
    store = bench.state.store

    def prepare(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        outputs["dataset"].mkdir()
        (outputs["dataset"] / "image.jpg").write_bytes(b"pixels")
        return 0

    def read(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        image = inputs["dataset"] / "image.jpg"
        for entry in store.root.glob("actions/*/*"):
            entry.unlink()
        for blob in store.root.glob("blobs/*/*"):
            os.utime(blob, (0, 0))
        wait_until(lambda: image.stat().st_mtime > 0, "a mark of its use", 20)
        stock = garbage_collection.take_stock(store)
        limits = garbage_collection.Limits()
        chosen = garbage_collection.choose(stock, frozenset(), limits, time.time())
        garbage_collection.remove(chosen.files)
        assert image.read_bytes() == b"pixels"
        assert len(chosen.blobs) == len(stock.blobs) - 1
        return write_outputs(inputs, outputs)

    bench.tool = prepare
    bench.execute(data)
    bench.tool, bench.runner.used_every_seconds = read, 0.01
    assert bench.execute(train) is not None


def test_a_failed_step_says_stage_exit_code_and_last_lines(tmp_path: Path, export: Step) -> None:
    """The message has stage, exit code, last lines, the log and the command to repeat it; the
    working folder is kept.
    """
    bench = Bench(tmp_path / "a place with $(spaces)", export)
    bench.tool = lambda inputs, outputs: 1
    error = failure(bench, export)
    key = bench.state.decide(export).key
    assert str(error).splitlines()[:3] == [
        "export (export_onnx) failed: exit code 1",
        "    line 1",
        "    line 2",
    ]
    assert f"log: {bench.runner.log(key)}" in str(error)
    words = shlex.split(str(error).rpartition("to repeat: ")[2])
    assert words[:3] == ["cd", str(bench.workspace.scratch / key / "work"), "&&"]
    assert words[3:] == list(bench.commands[-1].arguments)
    assert not error.refused
    assert bench.state.decide(export).status == Status.STALE
    assert bench.state.store.recall(key) is None


def test_a_step_that_refuses_its_input_is_quoted(tmp_path: Path, export: Step) -> None:
    """A step's own message is printed instead of the log's last lines, without an exit code and a
    command to repeat it, which would end alike.
    """
    bench = Bench(tmp_path, export)

    def refuse(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        Path(bench.requests[-1]["error"]).write_text("model.pt holds no network.")
        return REFUSED

    bench.tool = refuse
    error = failure(bench, export)
    assert error.refused
    assert str(error).splitlines()[:2] == [
        "export (export_onnx) failed:",
        "    model.pt holds no network.",
    ]
    assert str(error).splitlines()[2].startswith("    log: ")
    assert len(str(error).splitlines()) == 3


def test_too_little_memory_is_no_refusal(tmp_path: Path, export: Step) -> None:
    """The launcher ends alike for both; `check --data` calls a refusal a fault of the input."""
    bench = Bench(tmp_path, export)

    def run_out(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        Path(bench.requests[-1]["error"]).write_text(NO_MEMORY)
        return REFUSED

    bench.tool = run_out
    error = failure(bench, export)
    assert not error.refused
    assert "    not enough memory" in str(error)


def test_the_words_of_a_tool_are_text(tmp_path: Path, export: Step) -> None:
    """In messages, colours of a tool's output are removed and control characters are escaped; the
    log is unchanged.
    """
    bench = Bench(tmp_path, export)

    def refuse(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        Path(bench.requests[-1]["error"]).write_text(
            "\x1b[31mno\x1b[0m\x07 \u202ematch\n::error::x"
        )
        return 1

    bench.tool = refuse
    error = str(failure(bench, export))
    assert error.splitlines()[1:3] == ["    no \\u202ematch", "    ::error::x"]
    assert "\x1b" not in error


def test_a_report_that_is_none_is_passed_over() -> None:
    """Invalid progress reports are ignored, and the next valid one is used."""
    read, write = os.pipe()
    lines = (
        b'{"done": NaN, "total": 1, "unit": "", "note": ""}',
        b'{"done": "1", "total": 1, "unit": "", "note": ""}',
        b'{"done": 1, "total": 1, "unit": "MB", "note": "", "more": 1}',
        b"x" * 100,
        b'{"done": 1, "total": 2, "unit": "MB", "note": "n"}',
    )
    os.write(write, b"\n".join(lines) + b"\n")
    os.close(write)
    seen: list[tuple[float, float, str, str]] = []
    process.forward_reports(read, lambda *report: seen.append(report))
    assert seen == [(1.0, 2.0, "MB", "n")]


def test_a_killed_tool_is_called_killed(tmp_path: Path, export: Step) -> None:
    """The message names the signal and its usual cause."""
    bench = Bench(tmp_path, export)
    bench.tool = lambda inputs, outputs: -9
    assert "ended by SIGKILL; the machine may have run out of memory" in str(failure(bench, export))


def test_an_output_that_is_not_there_fails_the_step(tmp_path: Path, export: Step) -> None:
    """A missing output fails the step by name, even with exit code 0, and nothing is recorded; the
    message names the log and the command to repeat it.
    """
    bench = Bench(tmp_path, export)
    bench.tool = lambda inputs, outputs: 0
    key = bench.state.decide(export).key
    work = bench.workspace.scratch / key / "work"
    lines = str(failure(bench, export)).splitlines()
    assert lines[:2] == [
        "export (export_onnx) did not produce output: made",
        f"    log: {bench.runner.log(key)}",
    ]
    assert lines[2].startswith(f"    to repeat: cd {work} && ")
    assert bench.state.store.recall(key) is None


def test_a_source_that_changes_under_the_tool_fails_the_step(
    tmp_path: Path, export: Step, source: Path
) -> None:
    """A source that changes during a step fails the step."""
    bench = Bench(tmp_path, export)

    def change(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        source.write_bytes(b"other weights")
        return write_outputs(inputs, outputs)

    bench.tool = change
    error = str(failure(bench, export))
    assert error.startswith(
        "model.pt changed during this run; nothing made from it since then is kept"
    )
    assert not list((tmp_path / "store" / "actions").rglob("*.json"))


def test_a_red_verdict_is_a_result(tmp_path: Path, source: Path) -> None:
    """A red verdict is a successful step."""
    gate = make_step(
        "gate", given(source), outputs=(Output(name="verdict", tree=False, suffix=".json"),)
    )
    bench = Bench(tmp_path, gate)

    def judge(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        outputs["verdict"].write_text(json.dumps({"passed": False, "failures": ["too low"]}))
        return 0

    bench.tool = judge
    result = bench.execute(gate)
    assert result is not None
    assert not result.passed
    assert bench.state.decide(gate).status == Status.UP_TO_DATE


def test_a_verdict_of_another_form_fails_the_step(tmp_path: Path, source: Path) -> None:
    """A verdict of another form fails the step, and is not kept."""
    gate = make_step(
        "gate", given(source), outputs=(Output(name="verdict", tree=False, suffix=".json"),)
    )
    bench = Bench(tmp_path, gate)

    def answer(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        outputs["verdict"].write_text(json.dumps({"passed": "yes", "failures": []}))
        return 0

    bench.tool = answer
    error = str(failure(bench, gate))
    assert "wrote a verdict that cannot be used: `passed`: it is neither true nor false" in error
    assert error.startswith("gate (")
    assert bench.state.result(gate.id) is None


def test_figures_that_cannot_be_read_fail_the_step(tmp_path: Path, source: Path) -> None:
    """Figures that are not a JSON object fail the step by name, and are not kept."""
    metrics = Output(name="metrics", tree=False, suffix=".json")
    evaluate = make_step("evaluate", given(source), outputs=(metrics,))
    bench = Bench(tmp_path, evaluate)  # its tool writes the output's name
    error = str(failure(bench, evaluate))
    assert error.startswith("evaluate (evaluate) wrote a metrics that cannot be used: Expecting")
    assert bench.state.result(evaluate.id) is None


def test_large_figures_are_not_read(tmp_path: Path, source: Path) -> None:
    """A large file of figures is left to the step that reads it."""
    metrics = Output(name="metrics", tree=False, suffix=".json")
    evaluate = make_step("evaluate", given(source), outputs=(metrics,))
    bench = Bench(tmp_path, evaluate)

    def write_many(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        outputs["metrics"].write_bytes(b" " * (LARGEST_CHECKED + 1))
        return 0

    bench.tool = write_many
    assert bench.execute(evaluate) is not None


def test_what_a_step_tells_of_its_run_is_kept_with_the_action(tmp_path: Path, export: Step) -> None:
    """Facts about the run (device, CPU) are kept with the action, not in outputs or keys."""
    bench = Bench(tmp_path, export)

    def tell(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        diary = Path(bench.commands[-1].environment["BUILDSYS_DIARY"])
        diary.write_text(json.dumps({"device": "cpu"}))
        return write_outputs(inputs, outputs)

    bench.tool = tell
    bench.execute(export)
    entry = bench.state.store.recall(bench.state.decide(export).key)
    assert entry is not None
    facts = {"device": "cpu", "cpu": cpu_name(), "instructions": " ".join(instruction_sets())}
    assert entry.diary == tuple(sorted(facts.items()))


def test_what_another_run_made_meanwhile_is_not_made_again(tmp_path: Path, export: Step) -> None:
    """If another run made the result meanwhile, the step does not run."""
    bench = Bench(tmp_path, export)
    assert bench.state.decide(export).status == Status.STALE
    Bench(tmp_path, export).execute(export)
    assert bench.execute(export) is None
    assert bench.commands == []
    assert bench.state.decide(export).status == Status.UP_TO_DATE


def test_an_input_that_the_store_lost_names_the_step_that_makes_it(
    tmp_path: Path, export: Step
) -> None:
    """A lost input is reported with the step that makes it."""
    convert = make_step("convert", output_of(export))
    bench = Bench(tmp_path, export, convert)
    bench.execute(export)
    for blob in (tmp_path / "store" / "blobs").rglob("*"):
        if blob.is_file():
            blob.unlink()
    with pytest.raises(MissingBytes) as caught:
        bench.execute(convert)
    assert caught.value.step == "export_onnx"


def test_an_input_that_is_dropped_before_its_reader_begins_is_named(
    tmp_path: Path, export: Step
) -> None:
    """Another thread may drop an input's result after its reader was decided."""
    convert = make_step("convert", output_of(export))
    bench = Bench(tmp_path, export, convert)
    with pytest.raises(MissingBytes) as caught:
        bench.execute(convert)
    assert caught.value.step == "export_onnx"


@pytest.mark.parametrize(("module", "kept"), [("train_ultralytics", True), ("export_onnx", False)])
def test_only_a_training_finds_what_an_ended_run_left(
    tmp_path: Path, source: Path, module: str, kept: bool
) -> None:
    """Only a training gets the files of an interrupted run; other steps start in an empty folder."""
    step = make_step(module, given(source), trains=kept)
    bench = Bench(tmp_path, step)

    def end(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        (bench.commands[-1].folder / "last.pt").write_bytes(b"epoch 1")
        outputs["made"].write_bytes(b"half")
        return -15

    bench.tool = end
    failure(bench, step)
    found = []

    def look(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        assert not outputs["made"].exists()
        found.append((bench.commands[-1].folder / "last.pt").exists())
        return write_outputs(inputs, outputs)

    bench.tool = look
    assert bench.execute(step) is not None
    assert found == [kept]


def environment_of(root: Path, step: Step) -> dict[str, str]:
    """The environment of a step's process."""
    bench = Bench(root, step)
    bench.execute(step)
    return dict(bench.commands[0].environment)


def test_a_step_gets_threads_and_device_and_no_habit_of_this_machine(
    tmp_path: Path, export: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is an allow-list without the user's PYTHONPATH, home and proxies."""
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    step = changed(export, threads=2, device="cpu")
    found = environment_of(tmp_path, step)
    assert (found["OMP_NUM_THREADS"], found["BUILDSYS_DEVICE"]) == ("2", "cpu")
    assert "PYTHONPATH" not in found
    assert found["HTTPS_PROXY"] == "http://127.0.0.1:9"
    assert found["HOME"].startswith(str(tmp_path))


def test_a_step_that_fetches_gets_the_proxies(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only steps that fetch get the proxy variables."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    found = environment_of(tmp_path, make_step("fetch_file", given(source), fetches=True))
    assert found["HTTPS_PROXY"] == "http://proxy:3128"


def test_a_step_with_a_gpu_sees_its_own_alone(
    tmp_path: Path, export: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step gets only the first free GPU of the allowed ones."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert environment_of(tmp_path, changed(export, gpu=True))["CUDA_VISIBLE_DEVICES"] == "3"


def test_the_state_of_a_failed_step_does_not_change(tmp_path: Path, export: Step) -> None:
    """A failed step leaves the recorded state unchanged."""
    bench = Bench(tmp_path, export)
    bench.tool = lambda inputs, outputs: 1
    failure(bench, export)
    following = State((make_plan(export),), bench.state.database, bench.state.store)
    assert [str(reason) for reason in following.decide(export).reasons] == ["no recorded result"]


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_is_no_file_of_the_step_is_refused(tmp_path: Path, export: Step, kind: str) -> None:
    """Links and pipes in outputs are rejected."""
    bench = Bench(tmp_path, export)
    (tmp_path / "secret").write_text("secret")

    def make(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        (path,) = outputs.values()
        if kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(tmp_path / "secret" if kind == "link" else tmp_path)
        return 0

    bench.tool = make
    message = str(failure(bench, export))
    assert "export (export_onnx) made outputs/made.bin, which is not a regular file" in message
    assert bench.state.store.recall(bench.state.decide(export).key) is None


def test_a_link_to_an_input_is_an_output(tmp_path: Path, export: Step, source: Path) -> None:
    """A link to an input is a valid output."""
    bench = Bench(tmp_path, export)

    def link(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        outputs["made"].symlink_to(inputs["given"].resolve())
        return 0

    bench.tool = link
    result = bench.execute(export)
    assert result is not None
    assert bench.state.store.read(result.outputs[0][1]) == source.read_bytes()


def test_only_what_is_about_a_step_reaches_it(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step gets only the variables that it needs: library paths or proxies."""
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/libraries")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/own.pem")
    plain = make_step("export_onnx", given(source), stage="export")
    engine = make_step("build_engine", given(source), stage="engine", requires="tensorrt 10.3 8.7")
    fetch = make_step("fetch_file", given(source), stage="fetch", fetches=True)
    bench = Bench(tmp_path, plain, engine, fetch)
    for step in (plain, engine, fetch):
        bench.execute(step)
    told = [
        {"LD_LIBRARY_PATH", "SSL_CERT_FILE", "BUILDSYS_TIMING_CACHES"} & set(command.environment)
        for command in bench.commands
    ]
    assert told == [set(), {"LD_LIBRARY_PATH", "BUILDSYS_TIMING_CACHES"}, {"SSL_CERT_FILE"}]
    assert all(c.environment["PYTHONDONTWRITEBYTECODE"] == "1" for c in bench.commands)


def test_what_isolates_is_reported_once(tmp_path: Path, export: Step, source: Path) -> None:
    """The isolation mechanism is printed once, and recorded for the diary."""
    other = make_step("export_other", given(source), stage="other", tool_env="ultralytics")
    bench = Bench(tmp_path, export, other)
    for step in (export, other):
        bench.execute(step)
    told = "steps are not isolated from this machine: BUILDSYS_ISOLATION=none"
    assert bench.said.count(told) == 1
    assert bench.runner.isolations[other.id] == "none (BUILDSYS_ISOLATION=none)"


def test_folders_without_end_fail_the_step_and_not_the_next_run(
    tmp_path: Path, export: Step
) -> None:
    """Endlessly nested folders are rejected in outputs, and removed in the working folder."""
    bench = Bench(tmp_path, export)

    def dig(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        make_deep(outputs["made"].parent, "d", 1500, tmp_path)
        make_deep(outputs["made"].parents[1] / "work", "d", 1500, tmp_path)
        return write_outputs(inputs, outputs)

    bench.tool = dig
    assert str(failure(bench, export)).startswith(
        "export (export_onnx) made folders nested more than 100 deep; its outputs were discarded.\n"
    )
    bench.tool = write_outputs
    assert bench.execute(export) is not None
    assert list(bench.workspace.scratch.iterdir()) == []


def test_what_a_step_writes_is_read_up_to_a_bound(tmp_path: Path, source: Path) -> None:
    """Sparse files of 60 GiB as message, facts or verdict are only read up to a limit."""
    gate = make_step(
        "gate", given(source), outputs=(Output(name="verdict", tree=False, suffix=".json"),)
    )
    bench = Bench(tmp_path, gate)

    def refuse(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        error = Path(bench.requests[-1]["error"])
        error.write_text("the beginning\n")
        os.truncate(error, 60 << 30)
        with error.open("a") as file:
            file.write("\nthe end")
        return REFUSED

    def answer(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        outputs["verdict"].write_text(json.dumps({"passed": True, "failures": []}))
        os.truncate(bench.commands[-1].environment["BUILDSYS_DIARY"], 60 << 30)
        return 0

    def answer_without_end(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        answer(inputs, outputs)
        os.truncate(outputs["verdict"], 60 << 30)
        return 0

    bench.tool = refuse
    message = str(failure(bench, gate))
    assert len(message) < 40_000
    assert "    the beginning\n" in message
    assert "bytes left out, see" in message
    assert "    the end\n" in message
    bench.tool = answer_without_end
    assert (
        " wrote verdict.json with 64424509440 bytes; the limit is 16777216."
        " Its outputs were discarded.\n    log: "
    ) in str(failure(bench, gate))
    bench.tool = answer
    assert bench.execute(gate) is not None
    entry = bench.state.store.recall(bench.state.decide(gate).key)
    assert entry is not None
    assert [name for name, _ in entry.diary] == ["cpu", "instructions"]


def test_a_log_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log keeps its beginning and end with a note in between, and the step continues."""
    monkeypatch.setattr(process, "LONGEST_LOG", 10)
    command = Command(
        arguments=("/bin/sh", "-c", "printf '0123456789'; head -c 300000 /dev/zero; printf end"),
        folder=tmp_path,
        environment={"PATH": os.environ["PATH"]},
        log=tmp_path / "log",
    )
    assert process.run_command(command, lambda *_: None) == 0
    beginning, line, end = (tmp_path / "log").read_bytes().split(b"\n")
    assert beginning == b"0123456789"
    assert line.decode() == "… 234467 bytes left out: the size of a log is limited …"
    assert end == bytes((1 << 16) - 3) + b"end"


def test_a_log_that_is_just_above_the_bound_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No note interrupts a log of which nothing is left out."""
    monkeypatch.setattr(process, "LONGEST_LOG", 10)
    command = Command(
        arguments=("/bin/sh", "-c", "printf '0123456789'; sleep 0.1; printf end"),
        folder=tmp_path,
        environment={"PATH": os.environ["PATH"]},
        log=tmp_path / "log",
    )
    assert process.run_command(command, lambda *_: None) == 0
    assert (tmp_path / "log").read_bytes() == b"0123456789end"


def test_a_result_of_another_run_needs_no_room_here(tmp_path: Path) -> None:
    """A step that another run makes is taken when it is made, although the GPU is busy here."""
    (tmp_path / "data").write_text("data")
    step = make_step("train", given(tmp_path / "data"), gpu=True)
    here, there = Bench(tmp_path / "here", step), Bench(tmp_path / "there", step)
    there.state.store = here.state.store
    begun, go_on = threading.Event(), threading.Event()

    def hold(inputs: dict[str, Path], outputs: dict[str, Path]) -> int:
        begun.set()
        assert go_on.wait(60)
        return write_outputs(inputs, outputs)

    there.tool = hold
    runs = [threading.Thread(target=each.execute, args=(step,)) for each in (there, here)]
    gate = here.runner.admission = Admission(cores=4, memory_mib=1000, gpus=("0",))
    with gate.admit(make_step("other", given(tmp_path / "data"), gpu=True)):
        runs[0].start()
        assert begun.wait(60)
        runs[1].start()
        wait_until(lambda: here.said, "the line about the other run")
        go_on.set()
        for run in runs:
            run.join(60)
        assert not any(run.is_alive() for run in runs)
    assert "waiting for another run that makes the same result" in here.said[0]
    assert (there.started, here.started) == (1, 0)
    assert here.state.result(step.id) == there.state.result(step.id)
