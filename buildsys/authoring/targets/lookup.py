"""Finds targets and contracts by name; each is checked by itself, with mistakes in its own file."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from buildsys.authoring.syntax.document import read_document
from buildsys.authoring.syntax.scope import Scope
from buildsys.authoring.syntax.validation import Locate, parse
from buildsys.authoring.targets.contract import Contract, check_contract
from buildsys.authoring.targets.target import Target, read_contract, read_target
from buildsys.authoring.targets.target_checks import (
    check_pipelines,
    check_target_tensorrt,
    check_vela,
)
from buildsys.errors import Diagnostic, InputError, shorten
from buildsys.files import yaml_files
from buildsys.registry import shipped_targets
from buildsys.steps import compile_vela
from buildsys.text import did_you_mean


@dataclass(frozen=True, kw_only=True)
class Board:
    """A valid target, where it was written, and the files that were read for it.

    `folder`: the paths of its `vela` block are relative to it.
    """

    target: Target
    scope: Scope
    folder: Path
    read: frozenset[Path]

    @cached_property
    def origins(self) -> dict[str, tuple[str, int]]:
        """Return `Scope.origins`, for every build of the target."""
        return self.scope.origins()


class Boards:
    """Shipped targets and contracts, and the workspace's own; each file is read once."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.targets, taken = self._find("")
        self.contracts, more = self._find("firmware")
        self._taken = taken + more
        self._boards: dict[str, Board] = {}
        self._contracts: dict[Path, Contract] = {}

    def taken_names(self) -> list[Diagnostic]:
        """Return mistakes for files of the workspace with a shipped file's name: a name has one
        meaning.
        """
        mistakes: list[Diagnostic] = []
        for path in self._taken:
            message = f"`{path.stem}` is already the name of a shipped file"
            hint = "choose another name, for the file and for `name` in it"
            try:
                document = read_document(path, self.label(path))
            except InputError as error:
                mistakes += error.diagnostics
            else:
                mistakes.append(document.diagnose(("name",), message, hint))
        return mistakes

    def board(self, name: str) -> Board:
        """Return a target by name. Raises InputError for a mistake in its file."""
        if name not in self._boards:
            self._boards[name] = self._read_board(self.targets[name])
        return self._boards[name]

    def contract(self, path: Path) -> Contract:
        """Return a contract by its file. Raises InputError for a mistake in it."""
        if path not in self._contracts:
            contract, document = read_contract(path, self.label(path))
            problems = check_contract(contract, document.diagnose)
            if problems:
                raise InputError(*problems)
            self._contracts[path] = contract
        return self._contracts[path]

    def _read_board(self, path: Path) -> Board:
        base = self._base(path)
        document = read_document(base, self.label(base)) if base else None
        target, scope = read_target(path, self.label(path), document)
        layer = scope.home(("vela", "config"))
        inherited = base is not None and layer is not None and layer.document is document
        folder = base.parent if base is not None and inherited else path.parent
        read = {path, *([base] if base else [])}
        problems = check_pipelines(target, scope.locate)
        problems += self._check_vela(target, folder, scope.locate, read)
        problems += check_target_tensorrt(target, scope.locate)
        problems += self._check_firmware(target, scope.locate, read)
        if problems:
            raise InputError(*problems)
        return Board(target=target, scope=scope, folder=folder, read=frozenset(read))

    def _base(self, path: Path) -> Path | None:
        """Return the file that a target extends: shipped or the workspace's; one level."""
        document = read_document(path, self.label(path))
        name = document.data.get("extends") if isinstance(document.data, dict) else None
        if name is None:
            return None
        known = {**self.targets, **yaml_files(shipped_targets())}
        if not isinstance(name, str) or name not in known or known[name] == path:
            message = f"`extends` names a target that does not exist: `{shorten(str(name))}`"
            hint = did_you_mean(str(name), known.keys() - {path.stem})
            hint = hint or "`buildsys targets` lists them"
            raise InputError(document.diagnose(("extends",), message, hint))
        below = read_document(known[name], self.label(known[name])).data
        if isinstance(below, dict) and below.get("extends") is not None:
            message = f"`{name}` extends `{below['extends']}`; only one level is allowed"
            hint = f"extend {below['extends']} and write here what differs"
            raise InputError(document.diagnose(("extends",), message, hint))
        return known[name]

    def _check_vela(
        self, target: Target, folder: Path, locate: Locate, read: set[Path]
    ) -> list[Diagnostic]:
        if target.vela is None:
            return []
        try:
            settings = parse(compile_vela.Settings, target.vela, ("vela",), locate)
        except InputError as error:
            return list(error.diagnostics)
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
                problems.append(locate(at, message, "choose another contract, or write unchecked"))
        return problems

    def _find(self, folder: str) -> tuple[dict[str, Path], list[Path]]:
        """Return files by name, and the workspace's that have a shipped name without
        extending it.
        """
        shipped = yaml_files(shipped_targets() / folder)
        own = yaml_files(self.workspace / "targets" / folder)
        hiding = [n for n in own.keys() & shipped if not _is_same(own[n], shipped[n])]
        extending = {name: own[name] for name in hiding if _extends(own[name])}
        taken = [own[name] for name in hiding if name not in extending]
        return own | shipped | extending, taken

    def suggest(self, name: str) -> str:
        """Return a suggestion for an unknown target name."""
        return did_you_mean(name, self.targets) or "`buildsys targets` lists them"

    def label(self, path: Path) -> str:
        """Return a file's name in messages: from the workspace, or from the package's targets."""
        for root, name in ((self.workspace, ""), (shipped_targets(), "targets/")):
            if path.is_relative_to(root):
                return f"{name}{path.relative_to(root)}"
        return str(path)


def _extends(path: Path) -> bool:
    """Return whether a target's file extends another."""
    try:
        data = read_document(path, path.name).data
    except InputError:
        return False
    return isinstance(data, dict) and data.get("extends") is not None


def _is_same(one: Path, other: Path) -> bool:
    """Return whether two names are one file, or two checkouts' copies; a dangling link is no
    file.
    """
    try:
        return one.samefile(other) or one.read_bytes() == other.read_bytes()
    except OSError:
        return False
