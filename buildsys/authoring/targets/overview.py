"""One line about each target, for `buildsys targets`."""

from dataclasses import dataclass

from buildsys.authoring.syntax.values import Task
from buildsys.authoring.targets.lookup import Board, Boards
from buildsys.errors import Diagnostic, InputError


@dataclass(frozen=True, kw_only=True)
class FirmwareRow:
    """The contract for a task on a target; `unverified`: its lines that were not verified."""

    task: str
    contract: str
    verified: bool
    unverified: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TargetRow:
    """A target: what it builds, and what decodes that.

    `tasks`: those that its firmware decodes; all of them if no firmware is named. `file`: its path,
    from the workspace or the package.
    """

    name: str
    board: str
    schemes: tuple[str, ...]
    tasks: tuple[str, ...]
    firmware: tuple[FirmwareRow, ...]
    file: str

    @property
    def contract(self) -> str:
        """Return verified, partly or unverified, the lowest of its contracts; none without a
        contract.
        """
        if not self.firmware:
            return "none"
        if not all(row.verified for row in self.firmware):
            return "unverified"
        return "partly" if any(row.unverified for row in self.firmware) else "verified"


def describe_targets(boards: Boards) -> tuple[tuple[TargetRow, ...], tuple[Diagnostic, ...]]:
    """Return every valid target by name, and the mistakes of the others."""
    rows: list[TargetRow] = []
    problems = list(boards.taken_names())
    for name in sorted(boards.targets):
        try:
            rows.append(_row(boards, boards.board(name)))
        except InputError as error:
            problems += error.diagnostics
    return tuple(rows), tuple(problems)


def _row(boards: Boards, board: Board) -> TargetRow:
    target = board.target
    return TargetRow(
        name=target.name,
        board=target.label,
        schemes=tuple(target.pipelines),
        tasks=tuple(target.firmware) or Task.__args__,  # type: ignore[attr-defined]
        firmware=tuple(
            _firmware(boards, task, name)
            for task, name in target.firmware.items()
            if name != "unchecked"
        ),
        file=boards.label(boards.targets[target.name]),
    )


def _firmware(boards: Boards, task: str, name: str) -> FirmwareRow:
    contract = boards.contract(boards.contracts[name])
    return FirmwareRow(
        task=task, contract=name, verified=contract.verified, unverified=contract.unverified()
    )
