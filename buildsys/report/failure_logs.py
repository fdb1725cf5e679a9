"""The end of a step's log as people read it: no colours, no progress bars that wrote over themselves."""

import re

_MOST_LINES, _WIDEST = 40, 400
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Without escape sequences and control characters; lines as a terminal would have left them."""
    plain = _ESCAPES.sub("", text).replace("\r\n", "\n")
    lines = (line.rstrip("\r").rsplit("\r", maxsplit=1)[-1] for line in plain.split("\n"))
    return "\n".join(_CONTROLS.sub("", line).rstrip() for line in lines)


def last_lines(text: str) -> tuple[str, ...]:
    """The last forty lines of a log, each cut where it is longer than anyone reads."""
    lines = printable(text).strip("\n").split("\n")
    return tuple(
        line if len(line) <= _WIDEST else f"{line[:_WIDEST]}…"
        for line in lines[-_MOST_LINES:]
        if lines != [""]
    )
