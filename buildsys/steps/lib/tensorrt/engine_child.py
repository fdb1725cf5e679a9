"""Run an engine in the Python that has its library: `python -s engine_child.py request.json`.

This program does not import buildsys: it uses the standard library, NumPy, and the package's own
runtime.py, whose folder is in the request. Python 3.8 and later.

request.json: {"runtime": folder, "engine", "facts": files, "error": file for a sentence, "about":
file for {"version", "gpu"}, "times": "" or a file for times}. With `times`, also {"batches": [..],
"height", "width", "warmup", "runs"}: every batch of seeded noise is timed. Without, arrays come
through stdin and outputs go through stdout, see `write_arrays`, until stdin ends. Exit codes: 0
done, 3 a sentence is in `error`, 1 any other error.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, Any

_LENGTH, _FLOAT = 8, 4
"""Size in bytes of a length (little endian), and of a value."""


def main() -> int:
    """Open the engine, and run what the request asks for."""
    answers = _take_stdout()
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.path.insert(0, request["runtime"])
    import runtime

    facts = json.loads(Path(request["facts"]).read_text(encoding="utf-8"))
    try:
        engine = runtime.open_engine(facts, Path(request["engine"]))
        _write(request["about"], {"version": engine.version, "gpu": engine.gpu})
        if request["times"]:
            _write(request["times"], time_batches(engine, request))
        else:
            answer(engine, sys.stdin.buffer, answers)
    except runtime.Refused as refused:
        Path(request["error"]).write_text(str(refused), encoding="utf-8")
        return 3
    return 0


def answer(engine: Any, questions: IO[bytes], answers: IO[bytes]) -> None:
    """Run one inference for every array that is read."""
    while True:
        found = read_arrays(questions)
        if not found:
            return
        write_arrays(answers, engine.infer(found["input"]))


def time_batches(engine: Any, request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the milliseconds of every run, batch by batch: of the engine alone, and with both
    copies.
    """
    import numpy as np

    found = []
    for batch in request["batches"]:
        shape = (batch, 3, request["height"], request["width"])
        noise = np.random.default_rng(0).random(shape, np.float32)
        times = engine.time(noise, request["warmup"], request["runs"])
        found.append({"batch": batch, **times})
    return found


def write_arrays(stream: IO[bytes], arrays: dict[str, Any]) -> None:
    """Write the length of a JSON object {name: shape}, the object, then the float32 values of each.
    numpy.save does not work on a pipe, because it seeks.
    """
    import numpy as np

    held = {name: np.ascontiguousarray(values, np.float32) for name, values in arrays.items()}
    head = json.dumps({name: values.shape for name, values in held.items()}).encode()
    stream.write(len(head).to_bytes(_LENGTH, "little") + head)
    for values in held.values():
        stream.write(values.tobytes())
    stream.flush()


def read_arrays(stream: IO[bytes]) -> dict[str, Any]:
    """Read what `write_arrays` wrote; returns {} at the end of the stream. Raises EOFError,
    ValueError.
    """
    import numpy as np

    first = stream.read(_LENGTH)
    if not first:
        return {}
    shapes = json.loads(_exactly(stream, int.from_bytes(first, "little")))
    found = {}
    for name, shape in shapes.items():
        count = int(np.prod(shape, dtype=np.int64))
        values = np.frombuffer(_exactly(stream, count * _FLOAT), np.float32)
        found[name] = values.reshape(shape)
    return found


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise EOFError("the stream ends in the middle")
    return data


def _take_stdout() -> IO[bytes]:
    """Return the pipe to the parent, and send the library's output to the log."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _write(path: str, data: Any) -> None:
    Path(path).write_text(json.dumps(data), encoding="utf-8")


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of steps must not be importable
    sys.exit(main())
