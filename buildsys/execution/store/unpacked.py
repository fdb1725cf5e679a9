"""Unpacked archives of datasets, each in a folder named by its sha256, compared with the archive.

Beside the folder are the index of its files (`<sha256>.index`) and a record (`<sha256>.record`),
which are written before the folder gets its name: a killed run leaves no folder without them. While
no stat differs, nothing is read; otherwise every file is.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from buildsys.digest import digest_bytes, digest_file
from buildsys.execution.places import datasets_root
from buildsys.execution.store.tree_index import Tree, encode_index, read_index
from buildsys.files import (
    free_name,
    make_durable,
    make_tree_durable,
    open_regular,
    read_regular,
    remove_tree,
    stat_line,
    write_atomic,
)
from buildsys.graph import BuildPlan
from buildsys.locks import locked
from buildsys.names import is_junk
from buildsys.records import Digest, find_record, is_digest, write_record
from buildsys.write_errors import writing

WHAT = "an unpacked dataset"
"""What cannot be written, in messages."""
_RECORD, _INDEX, _KEPT, _LOCK = ".record", ".index", ".changed", ".lock"
_PARTIAL = "partial"


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """An unpacked archive: its address, the digest of its index, and that of its files' stats."""

    url: str
    tree: Digest
    stats: Digest
    format: Literal[1] = 1


@contextlib.contextmanager
def alone(folder: Path, wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Allow one run at a time to unpack, check or move a folder; `wait`: called before waiting.

    Raises CannotWrite.
    """
    with contextlib.ExitStack() as held:
        with writing(WHAT, folder.parent):
            held.enter_context(locked(_beside(folder, _LOCK), busy=lambda _: wait()))
        yield


@contextlib.contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """Yield the path of a new folder, from which `place` moves the files; removed at the end.

    Within `alone`: what killed runs left there belongs to no other run, and is removed first.
    """
    for left in folder.parent.glob(f".{folder.name}.*{_PARTIAL}"):
        remove_tree(left)
    holder = folder.with_name(f".{folder.name}.{_PARTIAL}")
    try:
        yield holder / "content"
    finally:
        remove_tree(holder)


def place(fresh: Path, folder: Path, url: str, tree: Tree) -> None:
    """Record what has just been unpacked into `fresh`, and move it to its folder.

    Raises CannotWrite.
    """
    data = encode_index(tree)
    with writing(WHAT, folder.parent):
        make_tree_durable(fresh)
        write_atomic(_beside(folder, _INDEX), data)
        record = Unpacked(url=url, tree=digest_bytes(data), stats=_stats(_look(fresh)))
        write_atomic(_beside(folder, _RECORD), write_record(record))
        fresh.rename(folder)
        make_durable([folder.parent])


def find(folder: Path) -> Unpacked | None:
    """Return the record of an unpacked folder; None without one."""
    return find_record(Unpacked, _beside(folder, _RECORD))


def find_change(folder: Path) -> str:
    """Return what differs from the unpacked archive, in words; empty if nothing does.

    Raises OSError.
    """
    record = find(folder)
    if record is None:
        return "there is no record of the unpacked files"
    found = _look(folder)
    if _stats(found) == record.stats:
        return ""
    strange = [name for name, each in found.items() if not stat.S_ISREG(each.st_mode)]
    if strange:
        return f"{strange[0]} is not a regular file"
    now = {name: _digest(folder / name) for name in found}
    sizes = {name: each.st_size for name, each in found.items()}
    if digest_bytes(encode_index((n, sizes[n], now[n]) for n in now)) == record.tree:
        with contextlib.suppress(OSError):  # a cache that was moved: the next run reads no file
            fresh = replace(record, stats=_stats(found))
            write_atomic(_beside(folder, _RECORD), write_record(fresh))
        return ""
    return _difference(_index(folder), now) or "its files differ"


def move_away(folder: Path) -> Path:
    """Move a changed folder to a path where no dataset is looked up, and return it.

    Raises OSError.
    """
    kept = free_name(_beside(folder, _KEPT))
    folder.rename(kept)
    for suffix in (_RECORD, _INDEX):
        _beside(folder, suffix).unlink(missing_ok=True)
    return kept


def used_folders(plans: Iterable[BuildPlan]) -> tuple[Path, ...]:
    """Return the folders of archives that steps read from."""
    root = f"{datasets_root()}/"
    names = {
        item.source.path[len(root) :].partition("/")[0]
        for plan in plans
        for step in plan.steps
        for item in step.inputs
        if item.source is not None and item.source.path.startswith(root)
    }
    return tuple(Path(root, name) for name in sorted(names) if is_digest(name))


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(folder.name + suffix)


def _look(folder: Path) -> dict[str, os.stat_result]:
    """Return every file below a folder, and what is neither a file nor a folder; follows no
    links.
    """
    if folder.is_symlink():
        return {".": folder.lstat()}
    found = {}
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in (*links, *names):
            path = os.path.join(place, name)
            below = os.path.relpath(path, folder)
            if not is_junk(below):  # files of a file manager
                found[below] = os.lstat(path)
    return found


def _stats(found: dict[str, os.stat_result]) -> str:
    lines = (f"{name}\0{each.st_mode} {stat_line(each)}" for name, each in sorted(found.items()))
    return digest_bytes("\n".join(lines).encode(errors="surrogateescape"))


def _digest(path: Path) -> str:
    open_regular(path).close()
    return digest_file(path)


def _index(folder: Path) -> dict[str, str]:
    """Return digests by name of what was unpacked; empty if the index is damaged."""
    try:
        tree = read_index(read_regular(_beside(folder, _INDEX)))
    except (OSError, ValueError):
        return {}
    return {file.name: file.digest for file in tree}


def _difference(before: dict[str, str], now: dict[str, str]) -> str:
    """Return the first file that differs, and the number of others."""
    both = before.keys() | now.keys()
    names = sorted(name for name in both if before.get(name) != now.get(name))
    if not before or not names:
        return ""
    name, more = names[0], len(names) - 1
    how = "is new" if name not in before else "is gone" if name not in now else "was changed"
    return f"{name} {how}" + (f", and {more} more" if more else "")
