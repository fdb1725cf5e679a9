"""Precompiles the bytecode of tool environments and of our own steps, which steps only read.

A step that could write bytecode could change what the next step runs. It is made by `warm_up`, a
program that imports what steps import and gets no input and no recipe.
"""

import contextlib
import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

from buildsys.digest import digest_value
from buildsys.execution import children
from buildsys.execution.places import cache_root
from buildsys.files import write_atomic
from buildsys.locks import locked
from buildsys.python_source import parse_source

PACKAGE = Path(__file__).resolve().parents[2]
_WARM_UP = str(Path(__file__).with_name("warm_up.py"))
_READY = ".ready"
_SEARCHED = "/usr/local/bin:/usr/bin:/bin"

_prepared: set[Path] = set()


def root() -> Path:
    """Return the folder of bytecode; below it are the paths of the sources
    (PYTHONPYCACHEPREFIX).
    """
    return cache_root() / "bytecode"


def prepare(python: Path, name: str, package: str, print_line: Callable[[str], None]) -> None:
    """Compile what is missing for a tool environment; checked once per process.

    `package`: the name of its main package on the index. What cannot be compiled here is compiled
    by every step for itself: slower, with the same result.
    """
    if python in _prepared:
        return
    mark, wanted = mark_of(python), state_of(python)
    known = _read(mark)
    if known != wanted:
        names = () if known[:1] == wanted[:1] else imported_names()
        ours, imports = _mark_of_imports(python), [wanted[0], digest_value([package, *names])]
        if names and _read(ours) == imports:  # another clone of this release has made them
            names = ()
        if names:
            print_line(f"{name}: compiling what its steps import, once")
        with (
            contextlib.suppress(OSError),
            locked(mark.with_suffix(".lock"), busy=lambda _: None),
        ):
            if _read(mark) != wanted:
                _warm(python, package, names)
                write_atomic(mark, "\n".join(wanted), durable=False)
                if names:
                    write_atomic(ours, "\n".join(imports), durable=False)
    _prepared.add(python)


def mark_of(python: Path) -> Path:
    """Return the file that records which state of an environment and of our steps was compiled."""
    return root() / _READY / digest_value([str(python), str(PACKAGE)])


def _mark_of_imports(python: Path) -> Path:
    """Return the file that records which state of an environment was compiled for the steps'
    imports.
    """
    return root() / _READY / digest_value(str(python))


def state_of(python: Path) -> list[str]:
    """Return the current content for the record."""
    return [_made(python), _signature()]


def _warm(python: Path, package: str, names: tuple[str, ...]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="buildsys-") as home:
        settings = {
            "PATH": f"{python.parent}:{_SEARCHED}",
            "HOME": home,
            "TMPDIR": home,
            "MPLCONFIGDIR": home,
            "YOLO_CONFIG_DIR": home,
            "YOLO_OFFLINE": "true",
            "YOLO_AUTOINSTALL": "false",
            "HF_HUB_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPYCACHEPREFIX": str(root()),
        }
        command = (str(python), "-s", _WARM_UP, str(PACKAGE), package, *names)
        with (
            tempfile.TemporaryFile() as log,  # its output is not needed
            children.child(
                command, settings, cwd=Path(home), stdout=log, stderr=subprocess.STDOUT
            ) as process,
        ):
            children.wait(process)


@cache
def imported_names() -> tuple[str, ...]:
    """Return every module that steps import from outside the package: "torch",
    "ultralytics.nn.tasks".
    """
    import ast

    found: set[str] = set()
    for path in sorted((PACKAGE / "steps").rglob("*.py")):
        for node in ast.walk(parse_source(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
    return tuple(sorted(name for name in found if name.partition(".")[0] != "buildsys"))


@cache
def _signature() -> str:
    """Return a text that changes with the source of our steps."""
    paths = [PACKAGE / "spec.py", *sorted((PACKAGE / "steps").rglob("*.py"))]
    return digest_value([[str(path), path.stat().st_mtime_ns] for path in paths])


def _made(python: Path) -> str:
    """Return a text that changes when the environment is made again or its Python replaced."""
    try:
        stats = os.lstat(python), os.stat(python)
    except OSError:
        return ""
    return " ".join(f"{stat.st_ino}-{stat.st_mtime_ns}" for stat in stats)


def _read(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return []
