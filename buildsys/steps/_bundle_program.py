"""Builds the engine of this folder, a bundle of `buildsys bundle`, on the device: `python build.py`.

Python 3.8 or later, its standard library, and the library that builds. First the bundle's files are
held against their digests and this machine against what the bundle asks for; then the engine is built,
and `result` is there, whole or not at all: what `buildsys import` takes back. A second run makes it
anew, and knows the timings of the first.

Exit codes: 0 done, 2 the bundle is damaged, 3 this machine cannot build it or the builder refuses, 4 the
library is missing; 1 anything else.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # a folder that is carried around

try:
    import engine_apart as apart  # type: ignore[import-not-found]
except ImportError:  # inside buildsys
    from buildsys.steps import _engine_apart as apart

FORMAT = 1
"""Of bundle.json and result.json."""
BUNDLE, RESULT = "bundle.json", "result"
_WORK = ".work"
_TIMINGS = "timing-caches"
_CHUNK = 1 << 20


def main() -> int:
    """Check, build, and leave the result."""
    os.chdir(str(Path(__file__).resolve().parent))
    try:
        bundle = json.loads(Path(BUNDLE).read_text(encoding="utf-8"))
        broken = [name for name, digest in bundle["files"].items() if digest_file(name) != digest]
        request = dict(bundle["request"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"the bundle cannot be read ({error}): copy it again", file=sys.stderr)
        return 2
    if broken:
        print(f"not as it was bundled: {', '.join(broken)}; copy the bundle again", file=sys.stderr)
        return 2
    started = time.monotonic()
    code = _run(request)
    error_file = Path(_WORK, request["error"])
    if code:
        if error_file.is_file():
            hint = f": {bundle['install']}" if code == 4 else ""
            print(f"{error_file.read_text(encoding='utf-8')}{hint}", file=sys.stderr)
        return code if code in (2, 3, 4) else 1
    seconds = round(time.monotonic() - started, 1)
    _keep(bundle, request, seconds)
    print(f"{bundle['build']}: built in {seconds} s; take {RESULT} back: buildsys import {RESULT}")
    return 0


def _run(request: dict[str, Any]) -> int:
    """In a folder like a step's, so that the same request gives the same bytes."""
    shutil.rmtree(_WORK, ignore_errors=True)
    Path(_WORK).mkdir()
    for name in (request["onnx"], *(path.name for path in Path().glob("engine_*.py"))):
        shutil.copyfile(name, str(Path(_WORK, name)))
    if request["pictures"]:
        request["pictures"] = os.path.join(os.pardir, request["pictures"])
    if request["timing_cache"]:
        request["timing_cache"] = os.path.join(os.pardir, request["timing_cache"])
    Path(_WORK, "engine.json").write_text(json.dumps(request), encoding="utf-8")
    os.chdir(_WORK)
    try:
        return int(apart.run_apart(sys.executable, "engine_program.py", "engine.json"))
    finally:
        os.chdir(os.pardir)


def _keep(bundle: dict[str, Any], request: dict[str, Any], seconds: float) -> None:
    """The result beside its place, then there."""
    fresh = Path(f".{RESULT}.{os.getpid()}")
    shutil.rmtree(str(fresh), ignore_errors=True)
    fresh.mkdir()
    names = [request[key] for key in ("engine", "facts", "calibration_cache") if request[key]]
    for name in names:
        os.replace(str(Path(_WORK, name)), str(fresh / name))
    if Path(_TIMINGS).is_dir():
        shutil.copytree(_TIMINGS, str(fresh / _TIMINGS))
    files = sorted(path for path in fresh.rglob("*") if path.is_file())
    told = {
        "format": FORMAT, "build": bundle["build"], "bundle": digest_file(BUNDLE), "seconds": seconds,
        "files": {path.relative_to(fresh).as_posix(): digest_file(str(path)) for path in files},
    }  # fmt: skip
    shutil.copyfile(BUNDLE, str(fresh / BUNDLE))
    (fresh / "result.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(RESULT, ignore_errors=True)
    fresh.rename(RESULT)
    shutil.rmtree(_WORK, ignore_errors=True)


def digest_file(path: str) -> str:
    """The sha256 of a file. Raises OSError."""
    state = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            chunk = file.read(_CHUNK)
            if not chunk:
                return state.hexdigest()
            state.update(chunk)


if __name__ == "__main__":
    sys.exit(main())
