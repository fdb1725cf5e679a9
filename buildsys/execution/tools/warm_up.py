"""Compiles our steps and a tool, and imports what they import: `python -s warm_up.py PACKAGE TOOL
MODULE...`.

It runs under a tool environment's own Python, which writes bytecode of all imported modules.
"""

import compileall
import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import types


def main() -> None:
    """Compile and import.

    PACKAGE: the folder of `buildsys`; TOOL: the environment's main package by its installed name.
    Modules that are not installed are left out.
    """
    package, tool, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    sys.path.pop(0)
    for path in ("__init__.py", "spec.py"):
        compileall.compile_file(os.path.join(package, path), quiet=2)
    compileall.compile_dir(os.path.join(package, "steps"), quiet=2)
    if names:
        _compile_distribution(tool)
    here = {name: _is_here(name) for name in {name.partition(".")[0] for name in names}}
    if here.get("torch"):
        _set_torch_up(package)
    for name in names:
        if here[name.partition(".")[0]]:
            # a module that cannot be imported is compiled nevertheless
            with contextlib.suppress(BaseException):
                importlib.import_module(name)
    sys.stdout.flush()
    os._exit(0)  # like the launcher


def _compile_distribution(name: str) -> None:
    """Compile a tool that may be run as a program without being imported."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files(name) or ():
            if file.suffix == ".py":
                compileall.compile_file(str(file.locate()), quiet=2)


def _is_here(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _set_torch_up(package: str) -> None:
    """Set up torch as steps do; without it, torchvision and what imports it may fail to import."""
    exposed = types.ModuleType("buildsys")
    exposed.__path__ = [package]
    sys.modules["buildsys"] = exposed
    os.environ["OMP_NUM_THREADS"] = "1"
    with contextlib.suppress(Exception):
        importlib.import_module("buildsys.steps.lib.runtime.torch_setup").prepare()


if __name__ == "__main__":
    main()
