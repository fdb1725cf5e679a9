"""The end of a step's log as people read it: no colours, no progress bars that wrote over themselves."""

from buildsys.escaping import plain_log

_MOST_LINES, _WIDEST = 40, 400


def last_lines(text: str) -> tuple[str, ...]:
    """The last forty lines of a log, each cut where it is longer than anyone reads."""
    lines = plain_log(text).strip("\n").split("\n")
    return tuple(
        line if len(line) <= _WIDEST else f"{line[:_WIDEST]}…"
        for line in lines[-_MOST_LINES:]
        if lines != [""]
    )
