"""What isolation costs a step: the same program under each mechanism that works here, turn by turn.

`python benchmarks/isolation.py [REPETITIONS]`. Milliseconds, from starting a Python that does
nothing to its end, smallest of all, for a step with so many input files; the first column is the step without isolation.
"""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from buildsys.errors import IsolationUnavailable
from buildsys.execution.running import isolation
from buildsys.execution.running.isolation import Access, Isolation, Mechanism
from buildsys.execution.running.process import Command, run_command

FILES = (1, 100, 256, 1_000, 10_000, 100_000)


def main() -> None:
    """One line for each number of files."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    mechanisms = tuple(_working())
    print(f"{'inputs':>8}" + "".join(f"{m.mechanism:>20}" for m in mechanisms))
    with TemporaryDirectory(prefix="buildsys-isolation-") as folder:
        for count in FILES:
            times = _measure(Path(folder), count, mechanisms, repetitions)
            bare = min(times[0])
            row = [min(column) for column in times]
            cells = [f"{ms:.0f} ms (+{ms - bare:.0f})" for ms in row]
            print(f"{count:>8}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


def _working() -> Iterator[Isolation]:
    for mechanism in (Mechanism.NONE, Mechanism.BUBBLEWRAP, Mechanism.LANDLOCK):
        os.environ[isolation.VARIABLE] = mechanism
        try:
            yield isolation.choose()
        except IsolationUnavailable as error:
            print(error)


def _measure(
    root: Path, count: int, mechanisms: tuple[Isolation, ...], repetitions: int
) -> list[list[float]]:
    """Milliseconds of every repetition, by mechanism; the mechanisms take turns."""
    scratch = root / str(count)
    for name in ("work", "outputs", "inputs", "data"):
        (scratch / name).mkdir(parents=True)
    for index in range(count):
        (scratch / "data" / str(index)).touch()
        (scratch / "inputs" / str(index)).symlink_to(scratch / "data" / str(index))
    times: list[list[float]] = [[] for _ in mechanisms]
    for _ in range(repetitions if count <= 1_000 else max(3, repetitions // 5)):
        for mechanism, column in zip(mechanisms, times, strict=True):
            started = time.perf_counter()
            _run(scratch, mechanism)
            column.append((time.perf_counter() - started) * 1000)
    return times


def _run(scratch: Path, mechanism: Isolation) -> None:
    inputs = scratch / "inputs"
    python = Path(sys.executable)
    access = Access(
        programs=isolation.python_folders(python),
        readable=(*isolation.link_targets(inputs), str(inputs)),
        writable=(str(scratch / "work"), str(scratch / "outputs")),
        network=False,
    )
    plain = (str(python), "-I", "-S", "-c", f"open({str(inputs / '0')!r})")
    arguments = isolation.isolate(mechanism, plain, access, scratch / "work", scratch)
    command = Command(
        arguments=arguments,
        folder=scratch / "work",
        environment={"PATH": "/usr/bin:/bin"},
        log=scratch / "log",
    )
    code = run_command(command, lambda *_: None)
    assert code == 0, (scratch / "log").read_text(encoding="utf-8")


if __name__ == "__main__":
    main()
