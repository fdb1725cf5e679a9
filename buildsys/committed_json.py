"""Reads JSON that people commit, merge and edit; reports a mistake at its line and column."""

import json
from pathlib import Path
from typing import TypeVar

from buildsys.errors import InputError
from buildsys.files import LED_OUT, leads_out, read_regular
from buildsys.typed_json import Mismatch, locate, parse

T = TypeVar("T")


def read_committed(kind: type[T], path: Path, label: str, wrong: str, hint: str) -> T:
    """Return the value in a file.

    `label`: its name in messages; `wrong`: the message's first part, "the file does not contain X".
    Raises FileNotFoundError without the file, InputError with `hint` for any mistake.
    """
    if leads_out(path, label):
        raise InputError.at(label, *LED_OUT)
    try:
        text = read_regular(path).decode("utf-8")
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError.at(label, f"{wrong}: the file cannot be read: {why}", hint) from error
    try:
        return parse(kind, text)
    except json.JSONDecodeError as error:
        what, offset = "this is not JSON", error.pos
        raise _at(label, text, offset, f"{wrong}: {what}", hint) from error
    except Mismatch as error:
        offset = locate(text, error.place)
        raise _at(label, text, offset, f"{wrong}: {error.text}", hint) from error
    except ValueError as error:
        raise InputError.at(label, f"{wrong}: {error}", hint) from error


def _at(label: str, text: str, offset: int, message: str, hint: str) -> InputError:
    line = text.count("\n", 0, offset) + 1
    start = text.rfind("\n", 0, offset) + 1
    source = text[start:].partition("\n")[0]
    return InputError.at(
        label, message, hint, line=line, column=offset - start + 1, source=source.rstrip("\r")
    )
