"""What is printed: streams that escape their text, and the commands of GitHub's workflows."""

import contextlib
import os
import re
from typing import IO, Any

from buildsys.escaping import one_line, terminal

_COMMAND = r"(?m)^([ \t]*):(?=:)"
"""A command of GitHub: its runner passes over blanks before it."""
_OLD_COMMAND = r"##(?=\w*\[)"
"""A command of Azure, and of older runners of GitHub: anywhere in a line."""
_RUNNERS = ("CI", "GITHUB_ACTIONS", "TF_BUILD")


def printed(text: str) -> str:
    """`terminal`, but no line can be a command of a workflow runner."""
    return _uncommanded(terminal(text)) if _in_workflow() else terminal(text)


def _in_workflow() -> bool:
    return any(os.environ.get(name) for name in _RUNNERS)


def _uncommanded(text: str) -> str:
    return re.sub(_OLD_COMMAND, "# #", re.sub(_COMMAND, r"\1: ", text))


class Printed:
    """A text stream on which everything is written as `printed`; `command` writes one of ours.

    The reader may go away (`| head`), or there is none (`>&-`): what is printed is lost then, and
    the work goes on. `lost` is the error of the first text that was.
    """

    def __init__(self, stream: IO[str] | None) -> None:
        self.stream = stream
        self.lost: OSError | None = None
        self._begins = True

    def write(self, text: str) -> int:
        """Write; a piece that goes on with a line can begin no command."""
        shown = terminal(text)
        if _in_workflow():
            head, newline, rest = shown.partition("\n")
            head = re.sub(_OLD_COMMAND, "# #", head) if not self._begins else _uncommanded(head)
            shown = head + newline + _uncommanded(rest)
        if text:
            last = text.rsplit("\n", 1)[-1]
            self._begins = not last.strip() and (self._begins or "\n" in text)
        self._send(shown)
        return len(text)

    def flush(self) -> None:
        """Hand on what is buffered."""
        self._send("", flush=True)

    def complaint(self) -> str:
        """The message about lost output; a reader that stopped (`| head`) needs none."""
        if self.lost is None or isinstance(self.lost, BrokenPipeError):
            return ""
        return f"the output could not be written: {self.lost.strerror}"

    def isatty(self) -> bool:
        """Whether a person looks on."""
        return self.stream is not None and self.stream.isatty()

    def _send(self, text: str, flush: bool = False) -> None:
        if self.stream is None:
            return
        try:
            self.stream.write(text)
            if flush:
                self.stream.flush()
        except OSError as error:
            self.lost = self.lost or error
            with contextlib.suppress(
                OSError, ValueError, AttributeError
            ):  # later flushes, also at exit, do not fail
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.stream.fileno())
                os.close(nowhere)
        except ValueError:  # it was closed
            self.stream = None

    def command(self, text: str) -> None:
        """A line that `annotation` made."""
        self._send(text + "\n")
        self._begins = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def guard(stream: IO[str] | None) -> Any:
    """The stream as a `Printed`; one that is one already stays. None: it is closed."""
    return stream if isinstance(stream, Printed) else Printed(stream)


def unguarded(stream: IO[str]) -> IO[str]:
    """The stream that a `Printed` writes on."""
    return stream.stream if isinstance(stream, Printed) and stream.stream else stream


def annotation(kind: str, message: str, **properties: object) -> str:
    """A workflow command of GitHub: "error", "warning" or "notice", and what it belongs to.

    `properties`: file, line, col, title, as far as they are known. The values are escaped as GitHub's
    own toolkit does it (actions/toolkit, packages/core/src/command.ts).
    """
    pairs = [f"{name}={_property(str(value))}" for name, value in properties.items() if value]
    return f"::{kind}{' ' if pairs else ''}{','.join(pairs)}::{_data(message)}"


def _data(text: str) -> str:
    text = "\n".join(map(one_line, text.split("\n")))
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
