"""Returns the end of a step's log for people, without colours and overwritten progress bars."""

from buildsys.escaping import plain_log

_MOST_LINES, _WIDEST = 40, 400


def last_lines(text: str) -> tuple[str, ...]:
    """Return the last forty lines of a log, long ones shortened."""
    lines = plain_log(text).strip("\n").split("\n")
    return tuple(
        line if len(line) <= _WIDEST else f"{line[:_WIDEST]}…"
        for line in lines[-_MOST_LINES:]
        if lines != [""]
    )
