"""Run one step inside its tool environment: `python -s launcher.py MODULE request.json`.

Only the package `buildsys` becomes importable, not the other packages installed with it. A thread
watches a pipe from the parent and ends this process group when the parent has ended.
"""

import dataclasses
import importlib
import importlib.util
import json
import os
import signal
import sys
import threading
import traceback
import types
import typing
from pathlib import Path
from typing import Any


def main() -> int:
    """Run the step. Exit codes: 0 done, 3 the step's own message is in error.txt, 1 any other
    error.
    """
    name, request_path = sys.argv[1], sys.argv[2]
    _follow_parent()
    sys.path.pop(0)
    _expose_package(Path(__file__).resolve().parents[3])
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    from buildsys.steps.lib.runtime import pinned_arithmetic
    from buildsys.steps.lib.runtime.progress import StepError

    inputs = {key: Path(value) for key, value in request["inputs"].items()}
    outputs = {key: Path(value) for key, value in request["outputs"].items()}
    try:
        pinned_arithmetic.pin()
        module = importlib.import_module(f"buildsys.steps.{name}")
        module.run(inputs, outputs, rebuild(module.Params, request["params"]))
    except StepError as error:
        Path(request["error"]).write_text(str(error), encoding="utf-8")
        print(f"error: {error}", file=sys.stderr)
        return 3
    except MemoryError:
        Path(request["error"]).write_text("not enough memory", encoding="utf-8")
        return 3
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def rebuild(kind: Any, value: Any) -> Any:
    """Convert plain JSON to frozen values, by the type annotations of the dataclass."""
    origin: Any = typing.get_origin(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, dict):
        hints = typing.get_type_hints(kind)
        return kind(**{key: rebuild(hints[key], item) for key, item in value.items()})
    if origin is tuple and isinstance(value, list):
        (item_kind, *_) = typing.get_args(kind)
        return tuple(rebuild(item_kind, item) for item in value)
    if origin in (typing.Union, types.UnionType) and value is not None:
        return rebuild(next(k for k in typing.get_args(kind) if k is not type(None)), value)
    return value


def _expose_package(folder: Path) -> None:
    """Make only `buildsys` importable from its folder."""
    spec = importlib.util.spec_from_file_location(
        "buildsys", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["buildsys"] = module
    spec.loader.exec_module(module)


def _follow_parent() -> None:
    """End together with the parent, even if it was killed: its end of the pipe closes."""
    descriptor = int(os.environ.pop("BUILDSYS_PARENT_FD", "-1"))
    if descriptor < 0:
        return
    # stdout and stderr of this process may have no reader any more: only the signal is certain to
    # arrive
    threading.Thread(target=_wait_for_end, args=(descriptor,), daemon=True).start()


def _wait_for_end(descriptor: int) -> None:
    while os.read(descriptor, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # torch and TensorFlow sometimes hang at exit
