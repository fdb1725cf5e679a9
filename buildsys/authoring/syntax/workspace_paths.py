"""Checks that paths stay inside the workspace, so that a recipe means the same on every machine.

A pinned file may be behind a link that leads out: its content is verified. Datasets outside the
workspace have a name in buildsys.yaml and are not restricted here.
"""

import errno
import os
import re
import stat
import sys
from pathlib import Path
from unicodedata import normalize

from buildsys.authoring.syntax.unicode_forms import hint_form, other_form
from buildsys.errors import shorten
from buildsys.names import fold_name
from buildsys.text import did_you_mean

NAMES = "buildsys.yaml"
"""The file whose paths may lead anywhere."""

FROM_ROOT = "the path is relative to the {} root"
RELATIVE = "write the path relative to the workspace root"
_COPIED = "copy it into the workspace; only a dataset that buildsys.yaml names may be elsewhere"
BY_NAME = "copy it into the workspace, or name the dataset in buildsys.yaml"
LINKED = "copy it into the workspace, or link to it: its digest is checked"
PINNED = "copy it into the workspace, or pin its sha256"
WITHIN = "the path is relative to the folder of the file that contains it"
_SHORTER = "write a shorter path"
_LONGEST = 4096
"""Characters of a path: no system opens a longer one, and following its links is slow."""
_LONGEST_NAME = 255
"""Bytes of a file's or folder's name: Linux' NAME_MAX, and at least as many on other systems."""


def check_inside(
    folder: Path,
    path: str,
    *,
    pinned: bool = False,
    start: str = "",
    hint: str = RELATIVE,
    name: str = "the workspace",
) -> tuple[str, str] | None:
    """Return what is wrong with a path and what to do; None if it stays inside `folder`.

    `path` (it need not exist) starts at `start`, which is relative to `folder`; `hint`: what to do
    if it leads out; `name`: the folder's name in messages.
    """
    shown = f"the path `{shorten(path)}`"
    if not path.strip():
        return "the path is empty", "name a file, or remove the key"
    if len(path) > _LONGEST:
        return f"{shown} is longer than {_LONGEST} characters", _SHORTER
    if any(len(part.encode(errors="surrogatepass")) > _LONGEST_NAME for part in path.split("/")):
        return f"{shown} has a name of more than {_LONGEST_NAME} bytes in it", _SHORTER
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        return (
            f"{shown} has a control character in it",
            "did you mean a backslash? Separate folders by `/`",
        )
    if "\\" in path:
        return f"{shown} has a backslash in it", "separate folders by `/`"
    if path.startswith("~"):
        return f"{shown} starts in a home folder, which differs between machines", hint
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        return f"{shown} is absolute: it would not work on another machine", hint
    whole = os.path.normpath(os.path.join(start, path))
    if whole.split("/")[0] == "..":
        return f"{shown} leads out of {name}", hint
    if not pinned and not _stays(folder, whole):
        copied = _COPIED if hint in (RELATIVE, WITHIN) else hint
        return f"{shown} leads out of {name} by a symbolic link", copied
    return None


def check_kind(folder: Path, path: str) -> tuple[str, str] | None:
    """Return what is wrong with the file at an inside path and what to do, before anything reads
    it.

    A pattern must not have `..` after its first wildcard: it could lead anywhere.
    """
    shown = f"the path `{shorten(path)}`"
    parts = path.split("/")
    wild = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
    if ".." in parts[wild:]:
        return f"{shown} has `..` after a wildcard", "write the folder itself"
    place = os.path.join(folder, path)
    try:
        mode = os.stat(place).st_mode
    except OSError as error:
        looped = error.errno == errno.ELOOP
        return (
            (f"{shown} leads through a symbolic link to itself", "remove the link")
            if looped
            else None
        )
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        spelled = other_spelling(folder, path) if sys.platform != "linux" else ""
        message = f"{shown} is spelled `{shorten(spelled)}` on disk: Linux would not find it"
        return (message, "write it that way") if spelled else None
    return f"{shown} is a pipe, a socket or a device, not a file", "replace it by the file"


def other_spelling(folder: Path, path: str) -> str:
    """Return a path with the disk's names, if they differ by case alone; otherwise an empty text.

    Some file systems, such as macOS', find a file by a name with other cases.
    """
    place, spelled = str(folder), []
    for part in path.split("/"):
        try:
            names = os.listdir(place) if part not in ("", ".", "..") else [part]
        except OSError:
            return ""
        near = [name for name in names if fold_name(name) == fold_name(part)]
        exact = [name for name in near if normalize("NFC", name) == normalize("NFC", part)]
        spelled.append((exact or near or [part])[0])
        place = os.path.join(place, spelled[-1])
    found = "/".join(spelled)
    return "" if normalize("NFC", found) == normalize("NFC", path) else found


def check_url(url: str) -> tuple[str, str] | None:
    """Return what is wrong with the address of a remote file, or None."""
    if not url.startswith(("https://", "http://")):
        return (
            f"`{shorten(url)}` is not a URL of a server",
            "write https://…; for a local file, use `path`",
        )
    if not url.isascii() or any(letter <= " " or letter in '"<>\\^`{|}' for letter in url):
        return (
            f"`{shorten(url)}` has characters that a URL cannot have",
            "write %20 for a space",
        )
    if "@" in url.split("/")[2]:
        message = "the URL has a user name or password, and everybody can read recipes"
        return message, "remove it; fetch such a file yourself, and name it by `path`"
    return None


def check_config(folder: Path, config: str, shipped: Path) -> tuple[str, str] | None:
    """Return what is wrong with the path of a Vela configuration, which starts at a target's
    folder.
    """
    if folder == shipped:
        return check_inside(folder, config, hint=WITHIN, name="the shipped targets")
    return check_inside(folder.parent, config, start=folder.name, hint=WITHIN)


def suggest_near(path: Path, written: str) -> str:
    """Return a suggestion for a missing path, from the names in its folder.

    `written`: the folder, see `hint_form`. Returns an empty text otherwise.
    """
    folder, name = os.path.split(path)
    try:
        names = os.listdir(folder)
    except (OSError, ValueError):
        return ""
    return hint_form(name, written) if other_form(name, names) else did_you_mean(name, names)


def hint_missing(path: Path, written: str, from_root: str = FROM_ROOT.format("workspace")) -> str:
    """Return the hint for a missing path: the first part that does not exist, and names like it.

    `written`: the path as its author wrote it; `from_root`: where it starts, for a path of which no
    part exists.
    """
    parts, missing = Path(os.path.normpath(written)).parts, path
    number = len(parts) - 1
    while number > 0 and not os.path.exists(missing.parent):
        missing, number = missing.parent, number - 1
    if number <= 0:
        return "; ".join(filter(None, (from_root, suggest_near(missing, ""))))
    folder = shorten(os.path.join(*parts[:number]))
    if not os.path.isdir(missing.parent):
        return f"`{folder}` is not a directory"
    within = f"there is no `{shorten(parts[number])}` in `{folder}`"
    return "; ".join(filter(None, (within, suggest_near(missing, folder))))


def _stays(folder: Path, path: str) -> bool:
    """Return whether a path is still inside when its links are followed."""
    root = os.path.realpath(folder)
    real = os.path.realpath(os.path.join(root, path))
    return real == root or real.startswith(root.rstrip("/") + "/")
