"""Detects files of a tool environment that were changed after it was made.

Sizes and times of all files are compared first. Where they differ, the digests in RECORD decide,
which installers write for every package
(https://packaging.python.org/specifications/recording-installed-packages).
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from buildsys.digest import digest_bytes
from buildsys.files import TEMPORARY, write_atomic

RECORD = ".record"
_OWN = frozenset({RECORD, ".synced", ".lock"})
_BYTECODE = "__pycache__"
"""Bytecode beside its source is never read: see `bytecode`."""
_OF_THE_INSTALLER = frozenset({"_virtualenv.py", "_virtualenv.pth"})


def write(place: Path) -> None:
    """Record the environment as it is. If that fails, changes are not detected."""
    with contextlib.suppress(OSError):
        os.scandir(place).close()  # a folder that another process removes is not made again
        write_atomic(place / RECORD, _stats(place), durable=False)


def find_change(place: Path) -> str:
    """Return the first file that differs from what was installed, relative to the environment; or
    "".

    An environment without a record is recorded as it is.
    """
    try:
        known = (place / RECORD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        known = ""
    if known and known == _stats(place):
        return ""
    changed = next(_differences(place), "") if known else ""
    if not changed:
        write(place)
    return changed


def verify(place: Path) -> str:
    """Like `find_change`, by digests alone."""
    return next(_differences(place), "")


def _stats(place: Path) -> str:
    root, lines = str(place), []
    for path in _files(root):
        folder, name = os.path.split(path)
        if folder == root and name.startswith(TEMPORARY):
            continue  # another process or thread is writing its record
        stat = os.lstat(path)
        lines.append(f"{path[len(root) :]}\0{stat.st_size}\0{stat.st_mtime_ns}")
    return digest_bytes("\n".join(sorted(lines)).encode(errors="surrogateescape"))


def _files(folder: str) -> Iterator[str]:
    """Yield every file below a folder, except our own marks and bytecode."""
    folders = [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != _BYTECODE:
                        folders.append(entry.path)
                elif entry.name not in _OWN:
                    yield entry.path


def _differences(place: Path) -> Iterator[str]:
    """Yield files that differ from a RECORD, are missing, or are in no RECORD; unknown hashes are
    skipped.
    """
    known: set[str] = set()
    packages = sorted(place.glob("lib/python*/site-packages"))
    for packages_folder in packages:
        for record in sorted(packages_folder.glob("*.dist-info/RECORD")):
            for name, digest, size in _rows(record):
                path = os.path.normpath(packages_folder / name)
                known.add(path)
                if _BYTECODE not in path and not _is(path, digest, size):
                    yield os.path.relpath(path, place)
    for packages_folder in packages:
        for path in sorted(_files(str(packages_folder))):
            if path not in known and os.path.basename(path) not in _OF_THE_INSTALLER:
                yield os.path.relpath(path, place)


def _rows(record: Path) -> Iterator[tuple[str, str, str]]:
    import csv

    with record.open(encoding="utf-8", newline="") as stream:
        for row in csv.reader(stream):
            if len(row) == 3:
                yield row[0], row[1], row[2]


def _is(path: str, digest: str, size: str) -> bool:
    import base64
    import hashlib

    algorithm, _, value = digest.partition("=")
    try:
        if size and os.stat(path).st_size != int(size):
            return False
        if algorithm != "sha256":
            return os.path.exists(path)
        with open(path, "rb") as stream:
            found = hashlib.file_digest(stream, "sha256").digest()
    except (OSError, ValueError):
        return False
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode() == value
