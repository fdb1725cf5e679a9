"""Output streams that escape their text, and the commands of GitHub's workflows."""

import contextlib
import os
import re
from typing import IO, Any

from buildsys.escaping import one_line, terminal

_COMMAND = r"(?m)^([ \t]*):(?=:)"
"""A command of GitHub, whose runner skips blanks before it."""
_OLD_COMMAND = r"##(?=\w*\[)"
"""A command of Azure, and of older runners of GitHub: anywhere in a line."""
_RUNNERS = ("CI", "GITHUB_ACTIONS", "TF_BUILD")


def printed(text: str) -> str:
    """Return `terminal` of a text, in which no line can be a command of a workflow runner."""
    return _uncommanded(terminal(text)) if _in_workflow() else terminal(text)


def _in_workflow() -> bool:
    return any(os.environ.get(name) for name in _RUNNERS)


def _uncommanded(text: str) -> str:
    return re.sub(_OLD_COMMAND, "# #", re.sub(_COMMAND, r"\1: ", text))


class Printed:
    """A text stream that writes everything as `printed`; `command` writes one of our commands.

    The reader may be gone (`| head`) or missing (`>&-`): the output is then lost, and the work
    continues. `lost` is the first such error.
    """

    def __init__(self, stream: IO[str] | None) -> None:
        self.stream = stream
        self.lost: OSError | None = None
        self._begins = True

    def write(self, text: str) -> int:
        """Write a text; a piece that continues a line cannot begin a command."""
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
        """Flush the buffer."""
        self._send("", flush=True)

    def complaint(self) -> str:
        """Return the message about lost output; empty for a reader that stopped (`| head`)."""
        if self.lost is None or isinstance(self.lost, BrokenPipeError):
            return ""
        return f"the output could not be written: {self.lost.strerror}"

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
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
        """Write a line that `annotation` made."""
        self._send(text + "\n")
        self._begins = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def guard(stream: IO[str] | None) -> Any:
    """Return the stream as a `Printed`, unless it is one; None: it is closed."""
    return stream if isinstance(stream, Printed) else Printed(stream)


def unguarded(stream: IO[str]) -> IO[str]:
    """Return the stream that a `Printed` writes to."""
    return stream.stream if isinstance(stream, Printed) and stream.stream else stream


def annotation(kind: str, message: str, **properties: object) -> str:
    """Return a workflow command of GitHub: "error", "warning" or "notice", with its position.

    `properties`: file, line, col, title, as far as they are known. The values are escaped as in
    GitHub's own toolkit (actions/toolkit, packages/core/src/command.ts).
    """
    pairs = [f"{name}={_property(str(value))}" for name, value in properties.items() if value]
    return f"::{kind}{' ' if pairs else ''}{','.join(pairs)}::{_data(message)}"


def _data(text: str) -> str:
    text = "\n".join(map(one_line, text.split("\n")))
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
