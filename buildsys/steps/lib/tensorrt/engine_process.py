"""Start, use and end the child process that runs an engine in the machine's Python.

The library and its Python belong to the machine (see `host_library`); decoding and counting are
ours. Arrays are exchanged through pipes.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.steps.lib.runtime.progress import fail
from buildsys.steps.lib.tensorrt import engine_child, engine_program, host_library

if TYPE_CHECKING:
    import numpy as np

RUNTIME_FILES = ("cudart.py", "runtime.py")
"""Files of templates/engine that open and run an engine, as shipped in every package."""
_PASSED_ON = ("PATH", "HOME", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
_ABOUT, _ERROR, _TIMES = "about.json", "refused.txt", "times.json"


@dataclass(frozen=True, kw_only=True)
class GpuLibrary:
    """The requirements of an engine: a library, its version, and a compute capability; empty: any
    from 8.0 on.
    """

    name: str
    version: str
    compute_capability: str


def requires_gpu(library: GpuLibrary) -> str:
    """Return the requirement in the form of `Step.requires`."""
    return f"{library.name} {library.version} {library.compute_capability or 'any'}"


@dataclass(frozen=True, kw_only=True)
class Child:
    """The child to start: an interpreter that has the library and NumPy, and the files of an
    engine. `runtime`: the folder with RUNTIME_FILES.
    """

    python: str
    runtime: Path
    engine: Path
    facts: Path

    def time(
        self, batches: Sequence[int], frame: tuple[int, int], warmup: int, runs: int
    ) -> list[dict[str, Any]]:
        """Return the milliseconds of single runs: [{"batch", "engine": [..], "end_to_end": [..]},
        ..]. `frame`: height and width of the input. Ends the step if the child fails.
        """
        more = {
            "batches": list(batches),
            "height": frame[0],
            "width": frame[1],
            "warmup": warmup,
            "runs": runs,
        }
        process = self._start({"times": _TIMES, **more}, subprocess.DEVNULL)
        self._demand(process.wait())
        found: list[dict[str, Any]] = json.loads(Path(_TIMES).read_text(encoding="utf-8"))
        return found

    def open(self) -> "Answering":
        """Return a child that runs inferences, as a context manager."""
        return Answering(self, self._start({"times": ""}, subprocess.PIPE))

    def _start(self, more: dict[str, Any], stdin: int) -> "subprocess.Popen[bytes]":
        for name in (_ABOUT, _ERROR, _TIMES):
            Path(name).unlink(missing_ok=True)
        request = {
            "runtime": str(self.runtime.resolve()),
            "engine": str(self.engine),
            "facts": str(self.facts),
            "error": _ERROR,
            "about": _ABOUT,
            **more,
        }
        Path("child.json").write_text(json.dumps(request), encoding="utf-8")
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        return subprocess.Popen(
            [self.python, "-s", engine_child.__file__, "child.json"],
            stdin=stdin,
            stdout=subprocess.PIPE if stdin == subprocess.PIPE else None,
            env=environment,
        )

    def _demand(self, code: int) -> None:
        """End the step with the child's message, or with its exit code."""
        refused = Path(_ERROR)
        if code == 3 and refused.is_file():
            fail(f"the engine cannot be run here: {refused.read_text(encoding='utf-8')}.")
        if code:
            fail(
                f"the program that runs the engine ended with exit code {code}; the reason is in the log."
            )


class Answering:
    """A child that runs one inference per batch."""

    def __init__(self, child: Child, process: "subprocess.Popen[bytes]") -> None:
        self._child, self._process = child, process

    def __enter__(self) -> "Answering":
        return self

    def __exit__(self, *failed: object) -> None:
        """Wait for the child's end; a failure after the last result is also an error."""
        if any(failed):
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # unread data
                assert pipe is not None
                pipe.close()
        code = self._process.wait()
        if not any(failed):
            self._child._demand(code)

    def infer(self, batch: "np.ndarray") -> "dict[str, np.ndarray]":
        """Run float32 [B, 3, height, width]; returns outputs by name. Ends the step if the child
        fails.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            engine_child.write_arrays(stdin, {"input": batch})
            found = engine_child.read_arrays(stdout)
        # it has ended, and its exit code says more than the pipe
        except (OSError, EOFError, ValueError):
            found = {}
        if not found:
            self._child._demand(self._process.wait() or 1)
        return found


def find_child(library: GpuLibrary, inputs: dict[str, Path]) -> Child:
    """Return the child for a step's inputs: engine, engine-facts, templates."""
    python = host_library.interpreter()
    if not python:
        fail(
            f"no Python here has {library.name}: {host_library.VARIABLE} names the one that has it."
        )
    return Child(
        python=python,
        runtime=inputs["templates"],
        engine=inputs["engine"],
        facts=inputs["engine-facts"],
    )


def describe(library: GpuLibrary) -> str:
    """Return what ran the engine: "NVIDIA A100-SXM4-40GB, TensorRT 11.4.0.15"."""
    version, gpu = about()
    return f"{gpu}, {engine_program.TITLES[library.name]} {version}"


def about() -> tuple[str, str]:
    """Return the library's exact version and the GPU's name, as reported by the child."""
    found = json.loads(Path(_ABOUT).read_text(encoding="utf-8"))
    return str(found["version"]), str(found["gpu"])
