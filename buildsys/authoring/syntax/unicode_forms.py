"""Names that differ in their Unicode form alone: `é` is one character (NFC) or two (NFD).

Both look alike in messages. Linux keeps the form in which a name was written; programs on macOS
often write NFD, others NFC.
"""

import shlex
from collections.abc import Iterable
from unicodedata import is_normalized, normalize


def other_form(name: str, present: Iterable[str]) -> bool:
    """Return whether a missing name is among those that are present in another form."""
    if name.isascii():
        return False
    return normalize("NFC", name) in {normalize("NFC", each) for each in present if each != name}


def hint_form(name: str, folder: str, below: bool = False) -> str:
    """Return what to do about a name that is in a folder, or anywhere `below` it, in another form.

    `folder`: its path for a shell; empty if that depends on where the shell is.
    """
    form = "nfc" if is_normalized("NFC", name) or not is_normalized("NFD", name) else "nfd"
    quoted = shlex.quote(folder) if folder else "…"
    target = f"-r {quoted}" if below else f"{quoted}/*"
    command = f"convmv -f utf8 -t utf8 --{form} --notest {target}"
    return f"it is there in another Unicode form, which looks alike: `{command}` renames it"
