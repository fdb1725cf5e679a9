"""BUILDSYS_LOCKED: whether buildsys.lock must not change."""

import os

from buildsys.errors import InputError

VARIABLE = "BUILDSYS_LOCKED"
_WORDS = {"": False, "0": False, "1": True}


def read_variable() -> bool:
    """Return whether BUILDSYS_LOCKED forbids changes of buildsys.lock. Raises InputError."""
    word = os.environ.get(VARIABLE, "")
    if word not in _WORDS:
        message = f"`{word}` is neither 0 nor 1"
        raise InputError.at(VARIABLE, message, "write 1 to forbid changes of buildsys.lock")
    return _WORDS[word]
