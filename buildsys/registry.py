"""Finds step modules and shipped data by name."""

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import buildsys.steps
from buildsys.spec import Format
from buildsys.text import did_you_mean

PACKAGE = Path(__file__).resolve().parent


@cache
def step_names() -> tuple[str, ...]:
    """Names of all step modules, sorted."""
    found = pkgutil.iter_modules(buildsys.steps.__path__)
    return tuple(sorted(module.name for module in found if not module.name.startswith("_")))


def step_module(name: str) -> ModuleType:
    """A step module; raises LookupError with a suggestion."""
    if name not in step_names():
        raise LookupError(f"there is no step `{name}`; {did_you_mean(name, step_names())}")
    return importlib.import_module(f"buildsys.steps.{name}")


def find_step(verb: str, kind: str) -> ModuleType | None:
    """The module `<verb>_<kind>`, such as train_ultralytics; None where there is none.

    A hyphen of a tool's name is an underscore of its module's: onnx-tf, convert_onnx_tf.
    """
    name = f"{verb}_{kind}".replace("-", "_")
    return step_module(name) if name in step_names() else None


def converters() -> tuple[str, ...]:
    """What `convert.tool` can be: every step from ONNX to another format, by its environment's name."""
    modules = [step_module(f"convert_{kind}") for kind in kinds("convert")]
    return tuple(module.TOOL_ENV for module in modules if consumed(module) == (Format.ONNX,))


def kinds(verb: str) -> tuple[str, ...]:
    """Everything that has a `<verb>_` module: kinds("generate") -> ("fiducials",)."""
    prefix = f"{verb}_"
    return tuple(name.removeprefix(prefix) for name in step_names() if name.startswith(prefix))


@cache
def versions(tool: str) -> tuple[str, ...]:
    """Generations of a tool that have an environment of their own, `<tool>-<version>`."""
    folders = (PACKAGE / "envs").glob(f"{tool}-*")
    return tuple(sorted(folder.name.removeprefix(f"{tool}-") for folder in folders))


def consumed(module: ModuleType) -> tuple[Any, ...]:
    """The formats that a step accepts."""
    formats = module.CONSUMES
    return formats if isinstance(formats, tuple) else (formats,)


def shipped_targets() -> Path:
    """The folder of targets and firmware contracts that came with the package.

    In a checkout it is the top-level `targets/`; a wheel carries a copy inside the package.
    """
    inside = PACKAGE / "targets"
    return inside if inside.is_dir() else PACKAGE.parent / "targets"
