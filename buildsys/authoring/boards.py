"""Targets and contracts by name, checked by themselves: a board's mistake is told in its own file."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.authoring.confinement import check_config
from buildsys.authoring.contract import Contract, check_contract
from buildsys.authoring.document import KeyPath, did_you_mean, read_document
from buildsys.authoring.encoding import read_text
from buildsys.authoring.engines import check_precision, check_tensorrt
from buildsys.authoring.registry import (
    consumed,
    shipped_targets,
    step_module,
    step_names,
    versions,
)
from buildsys.authoring.scope import Scope
from buildsys.authoring.target import Target, read_contract, read_target, yaml_files
from buildsys.authoring.validation import Locate, validate
from buildsys.errors import Diagnostic, InputError
from buildsys.spec import MODELS, Format

_EXAMPLES = {
    "vela": "vela: {version: …, accelerator: …, system_config: …, memory_mode: …}",
    "tensorrt": "tensorrt: {version: …, compute_capability: …}",
}
"""Blocks of a target that steps of its pipelines need."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """A target that is right, where it was written, and the files that were read for it.

    `folder`: where the paths of its `vela` block start.
    """

    target: Target
    scope: Scope
    folder: Path
    read: frozenset[Path]


class Boards:
    """What is shipped, joined by the workspace's own; each file is read once."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.targets, taken = self._find("")
        self.contracts, more = self._find("firmware")
        self._taken = taken + more
        self._boards: dict[str, Board] = {}
        self._contracts: dict[Path, Contract] = {}

    def taken_names(self) -> list[Diagnostic]:
        """Files of the workspace that would hide a shipped one: a name means one thing."""
        told: list[Diagnostic] = []
        for path in self._taken:
            message = f"`{path.stem}` is the name of a shipped file"
            hint = "give it a name of its own, in the file and as the file's name"
            try:
                document = read_document(path, self._label(path))
            except InputError as error:
                told += error.diagnostics
            else:
                told.append(document.diagnose(("name",), message, hint))
        return told

    def board(self, name: str) -> Board:
        """A target by name; raises InputError when something is wrong in its file."""
        if name not in self._boards:
            self._boards[name] = self._read_board(self.targets[name])
        return self._boards[name]

    def contract(self, path: Path) -> Contract:
        """A contract by its file; raises InputError when something is wrong in it."""
        if path not in self._contracts:
            contract, document = read_contract(path, self._label(path))
            problems = check_contract(contract, document.diagnose)
            if problems:
                raise InputError(*problems)
            self._contracts[path] = contract
        return self._contracts[path]

    def _read_board(self, path: Path) -> Board:
        base = self._base(path)
        document = read_document(base, self._label(base)) if base else None
        target, scope = read_target(path, self._label(path), document)
        layer = scope.home(("vela", "config"))
        inherited = base is not None and layer is not None and layer.document is document
        folder = base.parent if base is not None and inherited else path.parent
        read = {path, *([base] if base else [])}
        problems = _check_pipelines(target, scope.locate)
        problems += self._check_vela(target, folder, scope.locate, read)
        problems += _check_tensorrt(target, scope.locate)
        problems += self._check_firmware(target, scope.locate, read)
        if problems:
            raise InputError(*problems)
        return Board(target=target, scope=scope, folder=folder, read=frozenset(read))

    def _base(self, path: Path) -> Path | None:
        """The file that a target extends: shipped or the workspace's; one level."""
        document = read_document(path, self._label(path))
        name = document.data.get("extends") if isinstance(document.data, dict) else None
        if name is None:
            return None
        known = {**self.targets, **yaml_files(shipped_targets())}
        if not isinstance(name, str) or name not in known or known[name] == path:
            message = f"there is no target `{str(name)[:60]}` to extend"
            hint = did_you_mean(str(name), known.keys() - {path.stem})
            raise InputError(document.diagnose(("extends",), message, hint))
        below = read_document(known[name], self._label(known[name])).data
        if isinstance(below, dict) and below.get("extends") is not None:
            message = f"`{name}` extends `{below['extends']}`: one level only"
            hint = f"extend {below['extends']} and write here what differs"
            raise InputError(document.diagnose(("extends",), message, hint))
        return known[name]

    def _check_vela(
        self, target: Target, folder: Path, locate: Locate, read: set[Path]
    ) -> list[Diagnostic]:
        if target.vela is None:
            return []
        settings = validate(step_module("compile_vela").Settings, target.vela, ("vela",), locate)
        if isinstance(settings, list):
            return settings
        read |= {folder / settings.config} if settings.config else set()
        return check_vela(settings, folder, locate)

    def _check_firmware(self, target: Target, locate: Locate, read: set[Path]) -> list[Diagnostic]:
        problems = []
        for task, name in target.firmware.items():
            at = ("firmware", task)
            if name == "unchecked":
                continue
            if name not in self.contracts:
                hint = did_you_mean(name, self.contracts)
                problems.append(locate(at, f"there is no firmware contract `{name}`", hint))
                continue
            read.add(self.contracts[name])
            contract = self.contract(self.contracts[name])
            if contract.task not in (None, task):
                message = f"{name} ({contract.label}) decodes {contract.task}, not {task}"
                problems.append(locate(at, message, "another contract, or unchecked"))
        return problems

    def _find(self, folder: str) -> tuple[dict[str, Path], list[Path]]:
        """Files by name, and the workspace's that hide a shipped one without extending it."""
        shipped = yaml_files(shipped_targets() / folder)
        own = yaml_files(self.workspace / "targets" / folder)
        hiding = [n for n in own.keys() & shipped if not _is_same(own[n], shipped[n])]
        extending = {name: own[name] for name in hiding if _extends(own[name])}
        taken = [own[name] for name in hiding if name not in extending]
        return own | shipped | extending, taken

    def _label(self, path: Path) -> str:
        for root, name in ((self.workspace, ""), (shipped_targets(), "targets/")):
            if path.is_relative_to(root):
                return f"{name}{path.relative_to(root)}"
        return str(path)


def _extends(path: Path) -> bool:
    """Whether a target's file says that it changes another."""
    try:
        data = read_document(path, path.name).data
    except InputError:
        return False
    return isinstance(data, dict) and data.get("extends") is not None


def _is_same(one: Path, other: Path) -> bool:
    """Whether two names are one file, or two checkouts' copies; a link to nowhere is no file."""
    try:
        return one.samefile(other) or one.read_bytes() == other.read_bytes()
    except OSError:
        return False


def _missing_sections(settings: Any, config: Path) -> list[tuple[str, str, str]]:
    """(key, message, hint) for each section that the ini does not have."""
    import configparser

    label = f"targets/{settings.config}"
    parser = configparser.ConfigParser()
    try:
        parser.read_string(read_text(config, label))
    except configparser.Error as error:
        raise InputError(_ini_error(error, label)) from error
    missing = []
    for key, kind in (("system_config", "System_Config"), ("memory_mode", "Memory_Mode")):
        known = [s.split(".", 1)[1] for s in parser.sections() if s.startswith(f"{kind}.")]
        value = getattr(settings, key)
        if value not in known:
            message = f"{settings.config} has no section {kind}.{value}"
            missing.append((key, message, did_you_mean(value, known)))
    return missing


def _ini_error(error: Any, label: str) -> Diagnostic:
    """A mistake in an ini at its line; configparser has as many ways to tell it as kinds."""
    line = getattr(error, "lineno", None) or (getattr(error, "errors", None) or [(0,)])[0][0]
    said = {"MissingSectionHeaderError": "no [section] begins above this line",
            "ParsingError": "this line is no `key=value`"}  # fmt: skip
    words = said.get(type(error).__name__, str(error.message).split("]: ", 1)[-1])
    message, hint = f"no Vela configuration: {words}", "see the shipped ones, or Vela's OPTIONS.md"
    return Diagnostic(
        path=label, line=line or 0, column=1 if line else 0, message=message, hint=hint
    )


def check_vela(settings: Any, folder: Path, locate: Locate) -> list[Diagnostic]:
    """What only this installation and the target's folder can say of a `vela` block."""
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
        message = f"{settings.config} does not exist"
        hint = "it is looked for from the target file's folder"
        problems.append(locate(("vela", "config"), message, hint))
    elif settings.config is not None:
        for key, message, hint in _missing_sections(settings, folder / settings.config):
            problems.append(locate(("vela", key), message, hint))
    return problems


def _check_tensorrt(target: Target, locate: Locate) -> list[Diagnostic]:
    if target.tensorrt is None:
        return []
    kind = step_module("build_engine").Settings
    settings = validate(kind, target.tensorrt, ("tensorrt",), locate)
    if isinstance(settings, list):
        return settings
    problems = check_tensorrt(settings, locate)
    return problems or check_precision(settings, target.pipelines, locate)


def _check_pipelines(target: Target, locate: Locate) -> list[Diagnostic]:
    problems = []
    for scheme, names in target.pipelines.items():
        found: list[Diagnostic] = []
        for position, name in enumerate(names):
            told = _blocks(names[:position])
            found += _check_step(target, name, ("pipelines", scheme, position), locate, told)
        last: KeyPath = ("pipelines", scheme, len(names) - 1)
        if not found and step_module(names[-1]).PRODUCES != Format.PACKAGE:
            makes = step_module(names[-1]).PRODUCES
            message = f"the pipeline ends with {names[-1]}, which makes {makes}, no package"
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
    """What these steps read of a target."""
    return {getattr(step_module(name), "BLOCK", "") for name in names if name in step_names()}


def _check_step(
    target: Target, name: str, at: KeyPath, locate: Locate, told: set[str]
) -> list[Diagnostic]:
    """`told`: blocks of which an earlier step has said that they are missing."""
    if name not in step_names():
        hint = did_you_mean(name, step_names())
        return [locate(at, f"there is no step `{name}`", hint)]
    module = step_module(name)
    if not hasattr(module, "CONSUMES") or not set(consumed(module)) & set(MODELS):
        message = f"{name} turns no model file into another; it has no place in a pipeline"
        return [locate(at, message, "training and measuring are the recipe's")]
    block = getattr(module, "BLOCK", "")
    if block in _EXAMPLES and block not in told and getattr(target, block) is None:
        message = f"{name} needs the `{block}` block of this target"
        return [locate(at, message, _EXAMPLES[block])]
    return []
