"""Text from elsewhere, made harmless for where it goes: a terminal, an annotation, HTML, Markdown.

Names, labels, messages and logs come from files, servers and tools that anybody may have written. A
character that moves the cursor, reverses the reading order or begins a command is shown, never obeyed.
HTML is escaped by Jinja, after `terminal` (steps/lib/report/pages.py).
"""

import contextlib
import json
import math
import os
import re
from typing import IO, Any

# Patterns are compiled by their first use: a run in which nothing happens prints plain text alone.
_HIDDEN = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and newline
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # order, width
    "\U000e0000-\U000e007f\ud800-\udfff]"  # invisible copies of ASCII; halves of characters
)
"""What a terminal obeys or hides. Joiners inside words (U+200C, U+200D) are part of scripts."""
_ANSI = r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-_])"
_CONTROLS = r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"
_COMMAND = r"(?m)^([ \t]*):(?=:)"
"""A command of GitHub: its runner passes over blanks before it."""
_OLD_COMMAND = r"##(?=\w*\[)"
"""A command of Azure, and of older runners of GitHub: anywhere in a line."""
_CREDENTIALS = r"(?<=://)(?!git@)[^\s/@?#]*(?:@[^\s/@?#]*)*@"
"""What stands before the host of an address: a name with a password, or a token."""
_RUNNERS = ("CI", "GITHUB_ACTIONS", "TF_BUILD")
_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*[]<>|~"})
_EDGE = r"(?<![^\W_])_+|_+(?![^\W_])"
"""Underscores but within a word, where they mean nothing."""
_BLOCK = r"^(?=[#+=-])|^(\d{1,9})(?=[.)](?:\s|$))"
"""What makes the beginning of a line a heading or a list."""


def terminal(text: str) -> str:
    """Text of one or more lines in which every character is shown: ESC is \\x1b. Passwords in
    addresses are not.
    """
    if not text.replace("\n", "").isprintable():
        text = re.sub(_HIDDEN, _show, text)
    return hide_passwords(text)


def hide_passwords(text: str) -> str:
    """Without what stands before the host in the addresses in it: https://***@host."""
    return re.sub(_CREDENTIALS, "***@", text) if "://" in text else text


def one_line(text: str) -> str:
    """`terminal` of a text that must stay on its line: a name, a reason."""
    return terminal(text).replace("\n", "\\n").replace("\t", " ")


def _show(found: re.Match[str]) -> str:
    """As Python and JSON write it."""
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 1 << 16 else "\ufffd"


def printed(text: str) -> str:
    """`terminal`, in which no line is a command to whatever runs a workflow."""
    return _uncommanded(terminal(text)) if _in_workflow() else terminal(text)


def _in_workflow() -> bool:
    return any(os.environ.get(name) for name in _RUNNERS)


def _uncommanded(text: str) -> str:
    return re.sub(_OLD_COMMAND, "# #", re.sub(_COMMAND, r"\1: ", text))


class Printed:
    """A text stream on which everything is written as `printed`; `command` writes one of ours.

    Whoever reads may go away (`| head`), or there is nobody (`>&-`): what is printed is lost then, and
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
        """What to say of text that was lost; who reads no further (`| head`) needs no sentence."""
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
            ):  # no later flush fails, at exit neither
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


def json_text(value: object, **options: Any) -> str:
    """`json.dumps` for readers of every language: NaN and Infinity, which JSON does not have, are null."""
    return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def markdown(text: str) -> str:
    """One line, in running text or in a cell of a table, in which nothing means anything to Markdown."""
    words = " ".join(terminal(" ".join(text.split())).split())
    words = re.sub(
        _EDGE, lambda run: "\\_" * len(run[0]), words.replace("&", "&amp;").translate(_MARKDOWN)
    )
    return re.sub(_BLOCK, lambda found: f"{found[1] or ''}\\", words)


def code_span(text: str) -> str:
    """One line as code in running text: as many backticks around it as it takes."""
    words = one_line(text)
    if not words.strip():
        return "(empty)" if not words else "(blank)"
    runs = {len(run) for run in re.findall("`+", words)}
    fence = next("`" * n for n in range(1, len(words) + 2) if n not in runs)
    pad = " " if words.startswith("`") or words.endswith("`") else ""
    return f"{fence}{pad}{words}{pad}{fence}"


def code_cell(text: str) -> str:
    """`code_span` in a cell of a table, where a bar ends the cell even within code."""
    return code_span(text).replace("|", "\\|")


def fenced(text: str) -> str:
    """Lines as a block of text, in which nothing is Markdown."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{terminal(text)}\n{fence}"


def plain_log(text: str) -> str:
    """A tool's log without colours and control characters; lines as a terminal would have left them."""
    plain = re.sub(_ANSI, "", text).replace("\r\n", "\n")
    lines = (line.rstrip("\r").rsplit("\r", maxsplit=1)[-1] for line in plain.split("\n"))
    return terminal("\n".join(re.sub(_CONTROLS, "", line).rstrip() for line in lines))
