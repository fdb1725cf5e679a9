"""Which steps may run at the same time: a step that measures time runs alone."""

import dataclasses
import threading

from buildsys.execution.running.admission import Admission
from buildsys.graph import Input, Source, Step
from buildsys.planning import plan_builder
from buildsys.registry import read_step
from buildsys.steps import benchmark_onnx, benchmark_tflite


def benchmark(threads: int = 1) -> Step:
    """A benchmark step as in a plan."""
    params = benchmark_tflite.Params(threads=threads, runs=50, warmup=5, machine="one machine")
    model = Input(name="tflite", source=Source(path="/model.tflite", label="model.tflite"))
    return plan_builder.make_step(
        "benchmark", read_step(benchmark_tflite), params, {"tflite": model}, {"latency": False}
    )


def test_a_benchmark_waits_and_is_waited_for() -> None:
    """A benchmark waits for running steps, and later steps wait for it."""
    gate, timed = Admission(cores=16, memory_mib=100_000), benchmark()
    other = dataclasses.replace(timed, id="other", alone=False)
    assert (timed.alone, other.threads) == (True, 1)
    with gate.admit(other):
        assert not gate._fits(timed)
        assert gate._fits(other)
    with gate.admit(timed):
        assert not gate._fits(other)
        assert not gate._fits(timed)
    assert gate._fits(timed)


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


def test_the_machine_is_part_of_what_a_benchmark_is() -> None:
    """The machine is part of a benchmark's action key."""
    model = Input(name="onnx", source=Source(path="/m.onnx", label="m.onnx"))
    one, other = (
        plan_builder.make_step(
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
