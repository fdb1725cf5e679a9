"""buildsys gc: remove unused files from the store, by size and age."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.errors import InputError

if TYPE_CHECKING:
    from buildsys.execution.store.garbage_collection import Limits
    from buildsys.operations.gc import Sweep

_SIZES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_AGES = {"h": 3600, "d": 86400, "w": 7 * 86400}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: limits on size and age."""
    parser.add_argument(
        "--max-size",
        metavar="20G",
        default="",
        help="remove the least recently used results until the store is this small",
    )
    parser.add_argument(
        "--max-age",
        metavar="30d",
        default="",
        help="remove results that were not used for this long (h, d, w)",
    )
    parser.add_argument(
        "--tools",
        action="store_true",
        help="also remove tool environments that this version does not use",
    )
    parser.add_argument("--dry-run", action="store_true", help="only print what would be removed")


def run(options: argparse.Namespace) -> int:
    """Print what was removed and how much is left."""
    from buildsys.execution.places import Workspace
    from buildsys.execution.settings.stores import default_store
    from buildsys.execution.store.garbage_collection import Limits
    from buildsys.operations.gc import sweep

    size = _parse("--max-size", options.max_size, _SIZES, "500M, 20G, 1.5T")
    age = read_age("--max-age", options.max_age) if options.max_age else None
    limits = Limits(bytes=None if size is None else int(size), seconds=age)
    store = default_store(Workspace(options.folder.resolve()))
    swept = sweep(store, options.folder.resolve(), limits, options.tools, options.dry_run)
    for line in _lines(swept, limits, "would remove" if options.dry_run else "removed"):
        print(line)
    print(_left(swept, store.root))
    return 0


def read_age(option: str, text: str) -> float:
    """Return the seconds of an age such as 30d. Raises InputError."""
    age = _parse(option, text or "0", _AGES, "12h, 30d, 8w")
    assert age is not None
    return age


def _parse(option: str, text: str, units: dict[str, int], examples: str) -> float | None:
    """Return a number with a unit. Raises InputError."""
    if not text:
        return None
    match = re.fullmatch(rf"(\d+(?:\.\d+)?)([{''.join(units)}])", text)
    if match is None:
        message = f"`{text}` is not a number with one of the units {', '.join(units)}"
        raise InputError.at(option, message, f"for example {examples}")
    return float(match[1]) * units[match[2]]


def _lines(swept: "Sweep", limits: "Limits", verb: str) -> Iterator[str]:
    """One line for each kind of removed file."""
    from buildsys.text import count_text, size_text

    choice = swept.choice
    for files, noun, why in (
        (choice.too_old, "result", "not used for that long"),
        (choice.too_much, "result", "least recently used"),
        (choice.incomplete, "result", "their files are lost"),
        (choice.blobs, "file", "no result names them"),
        (choice.leftovers, "leftover", "left by killed runs"),
        (swept.scratch, "working folder", "of finished steps"),
        (swept.environments, "tool environment", "of other locks"),
    ):
        if files:
            size = size_text(sum(file.size for file in files))
            yield f"{verb} {count_text(len(files), noun)}, {size}: {why}"
    for path in swept.gone:
        yield f"{verb} the record of the workspace {path}: it no longer exists"
    for folder in swept.without_recipe:
        yield (
            f"kept {folder.path}, {size_text(folder.size)}: no recipe has this build; delete the"
            " folder if it is not needed"
        )
    if swept.busy:
        yield "kept the working folders: another run uses this workspace"
    if limits.bytes is not None and choice.kept_bytes > limits.bytes:
        yield (
            f"{size_text(choice.kept_bytes)} is more than {size_text(limits.bytes)}: the rest was used"
            " within the last hour, or workspaces need it"
        )


def _left(swept: "Sweep", root: Path) -> str:
    from buildsys.text import count_text, size_text

    choice = swept.choice
    return (
        f"{root}: {count_text(choice.kept_actions, 'result')} and"
        f" {count_text(choice.kept_blobs, 'file')}, {size_text(choice.kept_bytes)};"
        f" used by {count_text(swept.users, 'workspace')}"
    )
