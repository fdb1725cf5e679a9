"""Recognize files that are not the expected model or data: a pointer, a web page, an archive.

Only the standard library is used, because `check`, `new` and all steps use it.
"""

from pathlib import Path

AGAIN = "fetch or copy it again; then its sha256 changes, too"
_LFS = b"version https://git-lfs.github.com/spec/"
_PAGE = (b"<!doctype html", b"<html", b"<?xml")
_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!")


_POINTER = ("this is a Git LFS pointer, not the file itself", "`git lfs pull` brings the file")


class UnreadableModel(Exception):
    """Raised for a file that is not a model: what it is, and what to do."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what, self.hint = what, hint


def sentence(path: Path, error: UnreadableModel) -> str:
    """Return a step's message about it, with the user's name of the file, which is the target of
    the step's link.
    """
    hint = f" ({error.hint})" if error.hint else ""
    return f"{path.resolve().name}: {error.what}{hint}."


def stand_in(start: bytes) -> tuple[str, str] | None:
    """Return the same for a file that replaced a text or an image; None if it may be the file
    itself.
    """
    page = start.lstrip()[:20].lower().startswith(_PAGE[:2])
    return recognize(start) if page or start.startswith(_LFS) else None


def recognize(start: bytes) -> tuple[str, str] | None:
    """Return what a file is by its first bytes, and what to do; None if it is not recognized.

    `start`: 64 bytes or more, or the whole of a shorter file.
    """
    if not start:
        return "the file is empty", AGAIN
    if start.startswith(_LFS):
        return _POINTER
    if start.lstrip()[:20].lower().startswith(_PAGE):
        return "this is a page of a web site, not the file itself", "download the file itself"
    if start.startswith(_ARCHIVES):
        return "this is an archive, not a model file", "unpack it, and name the model in it"
    if start.lstrip()[:1] == b"{" or start[:1] == b"[":
        return "this is a JSON text, not a model file", "was another file meant?"
    return None
