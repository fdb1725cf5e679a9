"""Build the engine of this folder, a bundle of `buildsys bundle`, on the device: `python3
build.py`.

It needs Python 3.8 or later with its standard library, and the library that builds. It first checks
the bundle's files against their digests, and this machine against the bundle's requirements; then
it builds the engine and writes the folder `result`, complete or not at all, for `buildsys import`.
A second run builds again and reuses the timings of the first.

Exit codes: 0 done, 2 the bundle is damaged, 3 this machine cannot build it or the builder failed, 4
the library is missing, 130 interrupted; 1 any other error.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.dont_write_bytecode = True  # the folder is copied between machines

FORMAT = 1
"""Format version of bundle.json and result.json."""
BUNDLE, RESULT = "bundle.json", "result"
_WORK = ".work"
_TIMINGS = "timing-caches"
_CHUNK = 1 << 20


_ABOUT = """\
Builds the engine of this folder with the TensorRT, or TensorRT-RTX, of this machine, by its Python API:
first these files are held against their digests, and the machine against what bundle.json asks for.

It makes the folder `result`: the engine, what the library says of it, and, where they belong to it,
timings and calibration. It installs and downloads nothing, and writes nothing outside this folder.

It does not make what ships, and measures nothing: packages and their proofs are made where the recipes
are, after `buildsys import`.
"""


def main() -> int:
    """Check, build, and write the result, or print one sentence."""
    raw = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser("build.py", description=_ABOUT, formatter_class=raw).parse_args()
    os.chdir(str(Path(__file__).resolve().parent))
    try:
        code = _build()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("interrupted: `python3 build.py` begins anew", file=sys.stderr)
        code = 130
    except OSError as error:
        print(_explain(error), file=sys.stderr)
        code = 3
    for rest in (_WORK, *(str(path) for path in Path().glob(f".{RESULT}.*"))):
        shutil.rmtree(rest, ignore_errors=True)
    return code


def _build() -> int:
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
    code, reason = _run(request)
    if code:
        hint = f": {bundle['install']}" if code == 4 else ""
        print(f"{reason}{hint}", file=sys.stderr)
        return code if code in (2, 3, 4) else 1
    seconds = round(time.monotonic() - started, 1)
    _keep(bundle, request, seconds)
    print(f"{bundle['build']}: built in {seconds} s; take {RESULT} back: buildsys import {RESULT}")
    return 0


def _run(request: dict[str, Any]) -> tuple[int, str]:
    """Build in a folder like a step's, so that the same request gives the same bytes; returns the
    exit code, and why it is not 0.
    """
    import separate_process as apart  # type: ignore[import-not-found]

    shutil.rmtree(_WORK, ignore_errors=True)
    Path(_WORK).mkdir()
    for name in (request["onnx"], *(path.name for path in Path().glob("engine_*.py"))):
        shutil.copyfile(name, str(Path(_WORK, name)))
    for key in ("pictures", "cudart", "timing_cache"):
        if request[key]:
            request[key] = os.path.join(os.pardir, request[key])
    Path(_WORK, "engine.json").write_text(json.dumps(request), encoding="utf-8")
    os.chdir(_WORK)
    try:
        code = int(apart.run_apart(sys.executable, "engine_program.py", "engine.json"))
    finally:
        os.chdir(os.pardir)
    refused = Path(_WORK, request["error"])
    reason = refused.read_text(encoding="utf-8") if refused.is_file() else ""
    return code, reason or str(apart.describe_end(code))


def _explain(error: OSError) -> str:
    """Return why the operating system failed to write, and what to do."""
    place, reason = os.getcwd(), error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {place} is full ({reason}): make room there, and run build.py again"
    name = f" ({error.filename})" if error.filename else ""
    hint = "copy the bundle into a folder of your own, and run build.py there"
    return f"{place} cannot be written: {reason}{name}; {hint}"


def _keep(bundle: dict[str, Any], request: dict[str, Any], seconds: float) -> None:
    """Write the result to a temporary folder, then move it to its place."""
    fresh = Path(f".{RESULT}.{os.getpid()}")
    shutil.rmtree(str(fresh), ignore_errors=True)
    fresh.mkdir()
    names = [request[key] for key in ("engine", "facts", "calibration_cache") if request[key]]
    for name in names:
        os.replace(str(Path(_WORK, name)), str(fresh / name))
    if Path(_TIMINGS).is_dir():
        shutil.copytree(_TIMINGS, str(fresh / _TIMINGS))
    files = sorted(path for path in fresh.rglob("*") if path.is_file())
    record = {
        "format": FORMAT,
        "build": bundle["build"],
        "bundle": digest_file(BUNDLE),
        "seconds": seconds,
        "files": {path.relative_to(fresh).as_posix(): digest_file(str(path)) for path in files},
    }
    shutil.copyfile(BUNDLE, str(fresh / BUNDLE))
    (fresh / "result.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(RESULT, ignore_errors=True)
    fresh.rename(RESULT)
    shutil.rmtree(_WORK, ignore_errors=True)


def digest_file(path: str) -> str:
    """Return the sha256 of a file. Raises OSError."""
    state = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            chunk = file.read(_CHUNK)
            if not chunk:
                return state.hexdigest()
            state.update(chunk)


if __name__ == "__main__":
    sys.exit(main())
