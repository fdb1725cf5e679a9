"""Which steps may run at the same time, and which is next: a step that measures time runs alone."""

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildsys.execution.running.admission import Admission, visible_gpus
from buildsys.execution.tools import host_facts
from buildsys.graph import Input, Source, Step
from buildsys.planning import plan_steps
from buildsys.registry import read_step
from buildsys.steps import benchmark_onnx, benchmark_tflite


def benchmark(threads: int = 1) -> Step:
    """A benchmark step as in a plan."""
    params = benchmark_tflite.Params(threads=threads, runs=50, warmup=5, machine="one machine")
    model = Input(name="tflite", source=Source(path="/model.tflite", label="model.tflite"))
    return plan_steps.make_step(
        "benchmark", read_step(benchmark_tflite), params, {"tflite": model}, {"latency": False}
    )


def test_a_benchmark_waits_and_is_waited_for() -> None:
    """A benchmark waits for running steps, and later steps wait for it."""
    timed, later = benchmark(), dataclasses.replace(benchmark(), id="later")
    with queue(cores=16) as steps:
        for step in (plain("first"), timed, plain("second"), later):
            steps.send(step)
        assert steps.begun == ["first", "second"]
        steps.end("first")
        steps.end("second")
        assert steps.begun[2:] == [timed.id]
        steps.send(plain("third"))
        assert steps.begun[2:] == [timed.id]
        steps.end(timed.id)
        assert steps.begun[3:] == ["later"]
        steps.end("later")
        assert steps.begun[4:] == ["third"]


def test_it_runs_even_with_more_threads_than_cores() -> None:
    """A benchmark with more threads than cores still runs."""
    with Admission(cores=1, memory_mib=100).admit(benchmark(threads=4)) as slot:
        assert slot == ""


def test_two_benchmarks_come_one_after_the_other() -> None:
    """Several benchmarks run one after the other, and all of them run."""
    gate, running, most = Admission(cores=8, memory_mib=10_000), [0], [0]

    def run() -> None:
        with gate.admit(benchmark()):
            running[0] += 1
            most[0] = max(most[0], running[0])
            running[0] -= 1

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)
    assert most == [1]


def plain(name: str, threads: int = 1) -> Step:
    """A step that measures no time."""
    return dataclasses.replace(benchmark(), id=name, alone=False, threads=threads)


class Queue:
    """Steps before one gate, each in its own thread."""

    def __init__(self, gate: Admission) -> None:
        self._gate = gate
        self._ends: dict[str, threading.Event] = {}
        self.begun: list[str] = []
        self.slots: dict[str, str] = {}
        """The GPU of each step that has begun; empty for none."""

    def send(self, step: Step, urgency: float = 0.0) -> None:
        """Let a step come to the gate; returns when it waits there or has passed."""
        end = self._ends[step.id] = threading.Event()

        def run() -> None:
            with self._gate.admit(step, urgency) as slot:
                self.slots[step.id] = slot
                self.begun.append(step.id)
                end.wait(30)

        threading.Thread(target=run, daemon=True).start()
        self._settle()

    def end(self, name: str) -> None:
        """End a step; returns when those that waited for it have passed."""
        self._ends.pop(name).set()
        self._settle()

    def end_all(self) -> None:
        """End every step, also one that still waits."""
        for end in self._ends.values():
            end.set()

    def _settle(self) -> None:
        """Wait until every step that has not ended runs or waits, and none of them can go on."""
        gate = self._gate
        for _ in range(3000):
            with gate._changed:
                at_gate = {step.id for step in (*gate._running, *gate._waiting.values())}
                begun = {step.id for step in gate._running} <= set(self.begun)
                if begun and at_gate == set(self._ends) and gate._next() is None:
                    return
            time.sleep(0.01)
        raise AssertionError((self.begun, gate._waiting))


@contextmanager
def queue(most: int | None = None, gpus: tuple[str, ...] = (), cores: int = 2) -> Iterator[Queue]:
    """A gate, and a queue before it; at the end every step ends."""
    gate = Admission(cores=cores, memory_mib=10_000, gpus=gpus)
    gate.most = most
    steps = Queue(gate)
    try:
        yield steps
    finally:
        steps.end_all()


def test_the_most_urgent_step_is_next() -> None:
    """Among equals the first to arrive is; no more than the limit run."""
    with queue(most=1) as steps:
        steps.send(plain("running"))
        for name, urgency in (("late", 1.0), ("soon", 7.0), ("next", 7.0), ("last", 0.0)):
            steps.send(plain(name), urgency=urgency)
        for name in ("running", "soon", "next", "late"):
            assert steps.begun[-1] == name
            steps.end(name)
        assert steps.begun == ["running", "soon", "next", "late", "last"]


def test_steps_pass_a_benchmark_that_waits() -> None:
    """A benchmark waits until nothing runs; others do not wait for it, however urgent it is."""
    with queue() as steps:
        steps.send(plain("first"))
        steps.send(benchmark(), urgency=9.0)
        steps.send(plain("second"))
        assert steps.begun == ["first", "second"]
        steps.end("first")
        assert steps.begun == ["first", "second"]
        steps.end("second")
        assert steps.begun == ["first", "second", benchmark().id]


def test_steps_without_a_gpu_pass_one_that_waits_for_it() -> None:
    """A step waits while another uses the only GPU; steps that need none do not wait for it."""
    on_gpu = [dataclasses.replace(plain(name), gpu=True) for name in ("first", "second")]
    with queue(gpus=("0",)) as steps:
        steps.send(on_gpu[0])
        steps.send(on_gpu[1], urgency=9.0)
        steps.send(plain("beside"))
        assert steps.begun == ["first", "beside"]
        steps.end("first")
        assert steps.begun == ["first", "beside", "second"]


def test_each_gpu_runs_one_step_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step gets one of the GPUs that this process may use, and the next step waits for one."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_gpus() == ()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    with queue(gpus=visible_gpus(), cores=8) as steps:
        for name in ("first", "second", "third"):
            steps.send(dataclasses.replace(plain(name), gpu=True))
        assert steps.slots == {"first": "3", "second": "5"}
        steps.end("second")
        assert steps.slots["third"] == "5"


def test_a_driver_is_a_gpu_where_it_lists_no_cards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Jetson's driver, and that of Windows' subsystem for Linux, list no cards: they have one GPU,
    of which steps take turns.
    """
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("buildsys.execution.running.admission._CARDS", str(tmp_path / "cards"))
    assert visible_gpus() == ()
    (tmp_path / "driver").touch()
    monkeypatch.setattr(host_facts, "MARKS", (str(tmp_path / "driver"),))
    assert visible_gpus() == ("0",)
    (tmp_path / "cards").mkdir()
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "cards" / name).mkdir()
    assert visible_gpus() == ("0", "1")


def test_small_steps_do_not_keep_a_large_one_waiting() -> None:
    """A step of more threads than the machine has cores runs alone, although they would be few
    enough beside one more; less urgent ones wait for it.
    """
    with queue(cores=4) as steps:
        steps.send(plain("small"))
        steps.send(plain("large", threads=5), urgency=9.0)
        steps.send(plain("more"))
        assert steps.begun == ["small"]
        steps.end("small")
        assert steps.begun == ["small", "large"]
        steps.end("large")
        assert steps.begun == ["small", "large", "more"]


def test_there_are_half_as_many_threads_again_as_cores() -> None:
    """On two cores, a step of one thread runs beside one of two; a second one of two waits."""
    with queue() as steps:
        steps.send(plain("two", threads=2))
        steps.send(plain("one"))
        steps.send(plain("two more", threads=2))
        assert steps.begun == ["two", "one"]
        steps.end("one")
        assert steps.begun == ["two", "one"]
        steps.end("two")
        assert steps.begun == ["two", "one", "two more"]


def test_the_machine_is_part_of_what_a_benchmark_is() -> None:
    """The machine is part of a benchmark's action key."""
    model = Input(name="onnx", source=Source(path="/m.onnx", label="m.onnx"))
    one, other = (
        plan_steps.make_step(
            "benchmark",
            read_step(benchmark_onnx),
            benchmark_onnx.Params(threads=1, runs=5, warmup=1, machine=machine),
            {"onnx": model},
            {"latency": False},
        )
        for machine in ("one (x86_64)", "other (aarch64)")
    )
    assert one.id != other.id
    assert one.params != other.params
