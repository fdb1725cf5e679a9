"""Reads a file that a person wrote: it must be a small, regular file with text in UTF-8."""

import codecs
import re
from pathlib import Path

from buildsys.errors import Diagnostic, InputError
from buildsys.files import read_written

_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ufffe\uffff]")
"""Characters that YAML does not allow in a file; tab, line feed and return are allowed."""
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read_text(path: Path, label: str) -> str:
    """Return a text file's content; `label` is its name in messages.

    Raises InputError at the wrong byte.
    """
    return _decode(read_written(path, label), label)


def split_lines(text: str) -> tuple[str, ...]:
    """Return the lines as YAML 1.2 and editors count them: U+2028 and similar characters start
    none.
    """
    return tuple(re.split(r"\r\n|\r|\n", text))


def _decode(data: bytes, label: str) -> str:
    for mark, name in _MARKS:
        if data.startswith(mark):
            message, hint = f"the file is {name}, not UTF-8", "save it as UTF-8"
            raise InputError.at(label, message, hint)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        message = f"not UTF-8 (byte {error.start})"
        raise InputError(
            _at(before, data.decode("utf-8", "replace"), label, message, "save it as UTF-8")
        ) from error
    if wrong := _UNREADABLE.search(text):
        message = f"the character U+{ord(wrong[0]):04X} is not allowed"
        hint = "delete it; is this a text file?"
        raise InputError(_at(text[: wrong.start()], text, label, message, hint))
    return text


def _at(before: str, text: str, label: str, message: str, hint: str) -> Diagnostic:
    """Return a diagnostic at the character after `before`."""
    lines = split_lines(f"{before}x")
    source = split_lines(text)[len(lines) - 1 : len(lines)]
    return Diagnostic(
        path=label,
        line=len(lines),
        column=len(lines[-1]),
        message=message,
        hint=hint,
        source=source[0] if source else "",
    )
