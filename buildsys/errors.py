"""Every error a person can meet, with its exit code.

BuildsysError (1)
├── InputError (2)      recipes, targets, data: one or more Diagnostics
├── StepFailed (1)      a step ended badly: what, the last lines, how to repeat it
├── MissingBytes (1)    the store lost something; the session makes it again
├── CannotWrite (1)     a full disk, a read-only folder: which, and what to do
├── ToolUnavailable (1) a tool environment cannot be had
├── IsolationUnavailable (1) steps were to be isolated, and cannot be here
├── CannotReach (1)     no scheduler, or nobody to listen to: who, and what to do
├── Interrupted (1)     the scheduler is gone while a step ran on a worker
├── MalformedStep (1)   a step module does not keep its contract: which field
├── Waiting (10)        something this machine lacks; asked for by name
├── Rejected (11)       a contract or gate failed
└── NotAsLocked (12)    with --locked: buildsys.lock would change, or is not met

InternalError is no BuildsysError: it is our bug. Like every unexpected error it is reported in a
sentence, and its traceback is in a log (execution/unexpected.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from buildsys.escaping import hide_passwords
from buildsys.printing import annotation

_LONGEST_VALUE = 80
_LONGEST_TEXT = 450
"""The layout that a firmware decodes, seven outputs, and the one that came are read whole."""
_WIDEST_SOURCE = 160


UNEXPECTED_ERROR = "unexpected error"
"""The severity of a diagnostic that no line of a file is to blame for."""


def shorten(text: str, most: int = _LONGEST_VALUE) -> str:
    """Text as a message shows it: one line, every character visible, the middle of long ones left out."""
    if len(text) > most:
        text = f"{text[: most * 5 // 8]}…{text[-most * 5 // 16 :]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@dataclass(frozen=True, kw_only=True, order=True)
class Diagnostic:
    """One mistake at one place. Lines and columns count from 1; 0 means the whole file.

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
        """Whether nothing can be built as it is; a warning stops nothing."""
        return self.severity != "warning"

    def render(self) -> str:
        """`file:line:column: message`, the source line with the spot marked, what would be right."""
        place = self.path if not self.line else f"{self.path}:{self.line}:{self.column}"
        lines = [f"{place}: {self.severity}: {self.message}"]
        if self.source:
            lines += [f"    {line}" for line in self._marked()]
        if self.hint:
            lines.append(f"    help: {self.hint}")
        return "\n".join(lines)

    def _marked(self) -> tuple[str, str]:
        """The source line, or the part of a long one around the spot, and the spot below it."""
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
        """As a workflow command of GitHub, which shows it beside the line."""
        text = f"{self.message}; {self.hint}" if self.hint else self.message
        kind = "error" if self.is_error else "warning"
        column = self.column if self.line else 0
        return annotation(kind, text, file=self.path, line=self.line, col=column)


def error_code(diagnostics: Iterable[Diagnostic]) -> int:
    """The exit code for diagnostics: 2 the input is wrong, 1 we are, 0 nothing is."""
    severities = {each.severity for each in diagnostics if each.is_error}
    if UNEXPECTED_ERROR in severities:
        return BuildsysError.exit_code
    return InputError.exit_code if severities else 0


class BuildsysError(Exception):
    """Something that a person can mend; the message says how."""

    exit_code = 1


class InputError(BuildsysError):
    """What was written is wrong."""

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
        """One mistake at one place, see Diagnostic."""
        return cls(
            Diagnostic(
                path=path, line=line, column=column, message=message, hint=hint, source=source
            )
        )


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
    """The disk refuses: which folder, why, what to do."""


class ToolUnavailable(BuildsysError):
    """A tool environment could not be made."""


class IsolationUnavailable(BuildsysError):
    """Isolation is required and no mechanism works here, or the named mechanism is unknown."""


class Waiting(BuildsysError):
    """A build requested by name needs something that this machine does not have."""

    exit_code = 10


class Rejected(BuildsysError):
    """The file was made and is not good enough."""

    exit_code = 11


class NotAsLocked(BuildsysError):
    """buildsys.lock must not change, and lacks a line or differs from what is here."""

    exit_code = 12


class CannotReach(BuildsysError):
    """A scheduler does not answer, or its address cannot be used."""


class Interrupted(BuildsysError):
    """What ran a step is gone, through no fault of the step: the next run goes on there."""


class MalformedStep(BuildsysError):
    """A step module does not keep its contract; names the module and the field."""


class InternalError(Exception):
    """A bug in buildsys."""
