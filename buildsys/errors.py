"""Every error that a person can meet, with its exit code.

BuildsysError (1)
├── InputError (2)      mistakes in recipes, targets or data: one or more Diagnostics
├── StepFailed (1)      a step failed: what, its last lines, how to repeat it
├── MissingBytes (1)    the store has lost files; the session makes them again
├── CannotWrite (1)     a full disk, a read-only folder: which, and what to do
├── ToolUnavailable (1) a tool environment cannot be made
├── IsolationUnavailable (1) isolation of steps is required but not available
├── CannotReach (1)     a scheduler does not answer or cannot listen: which, and what to do
├── Interrupted (1)     the scheduler was lost while a step ran on a worker
├── MalformedStep (1)   a step module violates its contract: which field
├── Waiting (10)        a build requested by name needs what this machine lacks
├── Rejected (11)       a contract or gate failed
└── NotAsLocked (12)    with --locked: buildsys.lock would change, or differs

InternalError is not a BuildsysError: it is a bug in buildsys. Like every unexpected error it is
reported in a sentence, with its traceback in a log (execution/unexpected.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from buildsys.escaping import hide_passwords
from buildsys.printing import annotation

_LONGEST_VALUE = 80
_LONGEST_TEXT = 450
"""Characters: room for a firmware's layout of seven outputs beside the layout found."""
_WIDEST_SOURCE = 160


UNEXPECTED_ERROR = "unexpected error"
"""The severity of a diagnostic that is not caused by a line of a file."""


def shorten(text: str, most: int = _LONGEST_VALUE) -> str:
    """Return text for a message: one line, all characters visible, long texts without their
    middle.
    """
    if len(text) > most:
        text = f"{text[: most * 5 // 8]}…{text[-most * 5 // 16 :]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@dataclass(frozen=True, kw_only=True, order=True)
class Diagnostic:
    """One mistake at one place; lines and columns count from 1, and 0 means the whole file.

    Path, message and hint are one printable line each, whatever characters a file contains.
    """

    path: str
    line: int = 0
    column: int = 0
    length: int = 1
    message: str
    hint: str = ""
    source: str = ""
    severity: str = "error"

    def __post_init__(self) -> None:
        for name in ("path", "message", "hint"):
            text = shorten(hide_passwords(getattr(self, name)), _LONGEST_TEXT)
            object.__setattr__(self, name, text)
        object.__setattr__(self, "source", hide_passwords(self.source))

    @property
    def is_error(self) -> bool:
        """Return whether it prevents building; a warning does not."""
        return self.severity != "warning"

    def render(self) -> str:
        """Return `file:line:column: message`, the source line with the position marked, and the
        hint.
        """
        place = self.path if not self.line else f"{self.path}:{self.line}:{self.column}"
        lines = [f"{place}: {self.severity}: {self.message}"]
        if self.source:
            lines += [f"    {line}" for line in self._marked()]
        if self.hint:
            lines.append(f"    help: {self.hint}")
        return "\n".join(lines)

    def _marked(self) -> tuple[str, str]:
        """Return the source line, or the part of a long one around the position, and the mark below
        it.
        """
        column, dots = self.column - 1, ""
        shown = "".join(
            c if c.isprintable() else " " if c == "\t" else "\ufffd" for c in self.source
        )
        if len(shown) > _WIDEST_SOURCE and column > _WIDEST_SOURCE // 2:
            cut = column - _WIDEST_SOURCE // 4
            shown, column, dots = shown[cut:], column - cut + 1, "…"
        end = "…" if len(shown) > _WIDEST_SOURCE else ""
        shown = f"{dots}{shown[:_WIDEST_SOURCE]}{end}"
        length = max(1, min(self.length, len(shown) - column))
        return shown, " " * column + "^" * length

    def annotate(self) -> str:
        """Return a workflow command of GitHub, which shows the message beside the line."""
        text = f"{self.message}; {self.hint}" if self.hint else self.message
        kind = "error" if self.is_error else "warning"
        column = self.column if self.line else 0
        return annotation(kind, text, file=self.path, line=self.line, col=column)


def errors_of(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Return the diagnostics that are errors."""
    return tuple(each for each in diagnostics if each.is_error)


def error_code(diagnostics: Iterable[Diagnostic]) -> int:
    """Return the exit code for diagnostics: 2 for wrong input, 1 for our own error, 0 otherwise."""
    severities = {each.severity for each in diagnostics if each.is_error}
    if UNEXPECTED_ERROR in severities:
        return BuildsysError.exit_code
    return InputError.exit_code if severities else 0


class BuildsysError(Exception):
    """An error that a person can fix; the message says how."""

    exit_code = 1


class InputError(BuildsysError):
    """A mistake in what a person wrote."""

    exit_code = 2

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__("\n".join(diagnostic.render() for diagnostic in diagnostics))
        self.diagnostics = diagnostics

    @classmethod
    def at(
        cls,
        path: str,
        message: str,
        hint: str = "",
        *,
        line: int = 0,
        column: int = 0,
        source: str = "",
    ) -> "InputError":
        """Return an error with one mistake at one place, see Diagnostic."""
        return cls(
            Diagnostic(
                path=path, line=line, column=column, message=message, hint=hint, source=source
            )
        )


def annotations(error: BuildsysError) -> list[str]:
    """Return GitHub's workflow commands for the mistakes of an error; none without a place."""
    return [each.annotate() for each in error.diagnostics] if isinstance(error, InputError) else []


class StepFailed(BuildsysError):
    """A step's process ended with an error or without its outputs.

    `refused`: the step itself rejected its input with a message. `detail`: for the build's row.
    """

    def __init__(self, message: str, refused: bool = False, detail: str = "") -> None:
        super().__init__(message)
        self.refused, self.detail = refused, detail


class MissingBytes(BuildsysError):
    """The store has lost the bytes of a result; `step` makes them again."""

    def __init__(self, step: str) -> None:
        super().__init__(f"the store has lost what step {step} made")
        self.step = step


class CannotWrite(BuildsysError):
    """A folder cannot be written: which, why, and what to do."""


class ToolUnavailable(BuildsysError):
    """A tool environment could not be made."""


class IsolationUnavailable(BuildsysError):
    """Isolation is required and no mechanism works here, or the named mechanism is unknown."""


class Waiting(BuildsysError):
    """A build requested by name needs something that this machine does not have."""

    exit_code = 10


class Rejected(BuildsysError):
    """A file was made but fails its contract or gate."""

    exit_code = 11


class NotAsLocked(BuildsysError):
    """buildsys.lock must not change, but lacks a line or differs from the workspace."""

    exit_code = 12


class CannotReach(BuildsysError):
    """A scheduler does not answer, or its address cannot be used."""


class Interrupted(BuildsysError):
    """The machine that ran a step is gone; the step has not failed, and the next run continues
    there.
    """


class MalformedStep(BuildsysError):
    """A step module violates its contract; names the module and the field."""


class InternalError(Exception):
    """A bug in buildsys."""
