"""Escape untrusted text for its medium: a terminal, HTML, Markdown.

Names, labels, messages and logs come from untrusted files, servers and tools. A character that
moves the cursor, reverses the reading order or begins a command is shown, never interpreted. HTML
is escaped by Jinja, after `terminal` (steps/lib/report/pages.py); printed text and annotations of a
workflow are escaped in printing.py.
"""

import re

# Patterns are compiled by their first use: a run in which nothing happens prints plain text alone.
_HIDDEN = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and newline
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # order, width
    "\U000e0000-\U000e007f\ud800-\udfff]"  # invisible copies of ASCII; halves of characters
)
"""Characters that a terminal interprets or hides; joiners inside words (U+200C, U+200D) belong to
scripts.
"""
_ANSI = r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-_])"
_CONTROLS = r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"
_CREDENTIALS = r"(?<=://)(?!git@)[^\s/@?#]*(?:@[^\s/@?#]*)*@"
"""The part of an address before its host: a name with a password, or a token."""
_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*[]<>|~"})
_EDGE = r"(?<![^\W_])_+|_+(?![^\W_])"
"""Underscores, except within a word, where Markdown does not interpret them."""
_BLOCK = r"^(?=[#+=-])|^(\d{1,9})(?=[.)](?:\s|$))"
"""Characters that make the beginning of a line a heading or a list."""


def terminal(text: str) -> str:
    """Return text of one or more lines with every character visible: ESC becomes \\x1b.

    Passwords in addresses are hidden.
    """
    if not text.replace("\n", "").isprintable():
        text = re.sub(_HIDDEN, _show, text)
    return hide_passwords(text)


def hide_passwords(text: str) -> str:
    """Replace what precedes the host in addresses: https://***@host."""
    return re.sub(_CREDENTIALS, "***@", text) if "://" in text else text


def one_line(text: str) -> str:
    """Return `terminal` of a text that must stay on one line: a name, a reason."""
    return terminal(text).replace("\n", "\\n").replace("\t", " ")


def _show(found: re.Match[str]) -> str:
    """Return a character in the notation of Python and JSON."""
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 1 << 16 else "\ufffd"


def markdown(text: str) -> str:
    """Return one line, for running text or a cell of a table, without Markdown in it."""
    words = " ".join(terminal(" ".join(text.split())).split())
    words = re.sub(
        _EDGE, lambda run: "\\_" * len(run[0]), words.replace("&", "&amp;").translate(_MARKDOWN)
    )
    return re.sub(_BLOCK, lambda found: f"{found[1] or ''}\\", words)


def code_span(text: str) -> str:
    """Return one line as code in running text, with as many backticks around it as it needs."""
    words = one_line(text)
    if not words.strip():
        return "(empty)" if not words else "(blank)"
    runs = {len(run) for run in re.findall("`+", words)}
    fence = next("`" * n for n in range(1, len(words) + 2) if n not in runs)
    pad = " " if words.startswith("`") or words.endswith("`") else ""
    return f"{fence}{pad}{words}{pad}{fence}"


def code_cell(text: str) -> str:
    """Return `code_span` for a cell of a table, where a bar ends the cell even within code."""
    return code_span(text).replace("|", "\\|")


def fenced(text: str) -> str:
    """Return lines as a block of text without Markdown in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{terminal(text)}\n{fence}"


def plain_log(text: str) -> str:
    """Return a tool's log without colours and control characters, its lines as a terminal shows
    them.
    """
    plain = re.sub(_ANSI, "", text).replace("\r\n", "\n")
    lines = (line.rstrip("\r").rsplit("\r", maxsplit=1)[-1] for line in plain.split("\n"))
    return terminal("\n".join(re.sub(_CONTROLS, "", line).rstrip() for line in lines))
