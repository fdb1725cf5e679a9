"""Checks a target's pipelines and blocks: steps exist, and tools accept their settings."""

import configparser
import os
from pathlib import Path

from buildsys.authoring.syntax.document import KeyPath
from buildsys.authoring.syntax.encoding import read_text
from buildsys.authoring.syntax.validation import Locate, parse
from buildsys.authoring.syntax.workspace_paths import check_config, hint_missing
from buildsys.authoring.targets.target import Target
from buildsys.authoring.targets.tensorrt import check_precision, check_tensorrt
from buildsys.errors import Diagnostic, InputError
from buildsys.registry import get_step, shipped_targets, step_names, versions
from buildsys.spec import MODELS, Format
from buildsys.steps import build_engine, compile_vela
from buildsys.text import did_you_mean

_EXAMPLES = {
    "vela": "vela: {version: …, accelerator: …, system_config: …, memory_mode: …}",
    "tensorrt": "tensorrt: {version: …, compute_capability: …}",
}
"""Blocks of a target that steps of its pipelines need."""


def check_pipelines(target: Target, locate: Locate) -> list[Diagnostic]:
    """Check that each step is known and has what it needs, and that the result is a package."""
    problems = []
    for scheme, names in target.pipelines.items():
        found: list[Diagnostic] = []
        for position, name in enumerate(names):
            reported = _blocks(names[:position])
            found += _check_step(target, name, ("pipelines", scheme, position), locate, reported)
        last: KeyPath = ("pipelines", scheme, len(names) - 1)
        makes = None if found else get_step(names[-1]).spec.produces
        if not found and makes != Format.PACKAGE:
            message = f"the pipeline must end with a package, but {names[-1]} makes {makes}"
            found.append(
                locate(
                    last,
                    message,
                    "end with package_engine, package_files, package_flash, package_linux or package_triton",
                )
            )
        problems += found
    return problems


def _blocks(names: tuple[str, ...]) -> set[str]:
    """Return the blocks of a target that these steps read."""
    return {get_step(name).spec.block for name in names if name in step_names()}


def _check_step(
    target: Target, name: str, at: KeyPath, locate: Locate, reported: set[str]
) -> list[Diagnostic]:
    """Check one step; `reported`: blocks whose absence an earlier step has reported."""
    if name not in step_names():
        hint = did_you_mean(name, step_names())
        return [locate(at, f"there is no step `{name}`", hint)]
    spec = get_step(name).spec
    if not set(spec.consumes) & set(MODELS):
        message = f"{name} does not convert a model file, so it cannot be in a pipeline"
        return [locate(at, message, "a recipe adds training and measuring")]
    block = spec.block
    if block in _EXAMPLES and block not in reported and getattr(target, block) is None:
        message = f"{name} needs the `{block}` block of this target"
        return [locate(at, message, _EXAMPLES[block])]
    return []


def check_vela(settings: compile_vela.Settings, folder: Path, locate: Locate) -> list[Diagnostic]:
    """Check a `vela` block against this installation and the target's folder."""
    problems = []
    if settings.version not in versions("vela"):
        message = f"there is no environment for Vela {settings.version}"
        hint = "there are: " + ", ".join(versions("vela"))
        problems.append(locate(("vela", "version"), message, hint))
    outside = settings.config is not None and check_config(
        folder, settings.config, shipped_targets()
    )
    if outside:
        problems.append(locate(("vela", "config"), *outside))
    elif settings.config is not None and not os.path.isfile(folder / settings.config):
        path, start = folder / settings.config, "the path is relative to the target file's folder"
        is_folder = os.path.isdir(path)
        message = f"{settings.config} {'is a directory' if is_folder else 'does not exist'}"
        hint = "name the file in it" if is_folder else hint_missing(path, settings.config, start)
        problems.append(locate(("vela", "config"), message, hint))
    elif settings.config is not None:
        for key, message, hint in _missing_sections(settings, folder / settings.config):
            problems.append(locate(("vela", key), message, hint))
    return problems


def check_target_tensorrt(target: Target, locate: Locate) -> list[Diagnostic]:
    """Check the `tensorrt` block, and that its TensorRT has the precisions of the pipelines."""
    if target.tensorrt is None:
        return []
    try:
        settings = parse(build_engine.Settings, target.tensorrt, ("tensorrt",), locate)
    except InputError as error:
        return list(error.diagnostics)
    problems = check_tensorrt(settings, locate)
    return problems or check_precision(settings, target.pipelines, locate)


def _missing_sections(settings: compile_vela.Settings, config: Path) -> list[tuple[str, str, str]]:
    """Return (key, message, hint) for each section that the ini lacks."""
    label = f"targets/{settings.config}"
    parser = configparser.ConfigParser()
    try:
        parser.read_string(read_text(config, label))
    except configparser.Error as error:
        raise InputError(_ini_error(error, label)) from error
    missing = []
    sections = (
        ("system_config", "System_Config", settings.system_config),
        ("memory_mode", "Memory_Mode", settings.memory_mode),
    )
    for key, kind, value in sections:
        known = [s.split(".", 1)[1] for s in parser.sections() if s.startswith(f"{kind}.")]
        if value not in known:
            message = f"{settings.config} has no section {kind}.{value}"
            missing.append((key, message, did_you_mean(value, known)))
    return missing


def _ini_error(error: configparser.Error, label: str) -> Diagnostic:
    """Return a mistake in an ini file at its line.

    configparser has one error class for each kind of mistake.
    """
    line = 0
    if isinstance(error, configparser.MissingSectionHeaderError):  # a ParsingError without `errors`
        line = error.lineno
    elif isinstance(error, configparser.ParsingError):
        line = error.errors[0][0]
    elif isinstance(error, configparser.DuplicateSectionError | configparser.DuplicateOptionError):
        line = error.lineno or 0
    texts = {
        "MissingSectionHeaderError": "no [section] begins above this line",
        "ParsingError": "this line is not `key=value`",
    }
    words = texts.get(type(error).__name__, str(error.message).split("]: ", 1)[-1])
    message, hint = (
        f"this is not a Vela configuration: {words}",
        "see a shipped one, or Vela's OPTIONS.md",
    )
    return Diagnostic(path=label, line=line, column=1 if line else 0, message=message, hint=hint)
