"""The folder of a bundle: which may be taken, and how it is filled, whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from buildsys.errors import Diagnostic, InputError
from buildsys.operations.destinations import find_folder, fresh_inside, is_empty
from buildsys.steps.lib.tensorrt.bundle_program import BUNDLE, RESULT


def find(named: Path) -> Path:
    """Where it will be, links followed. Raises InputError for what holds something else, CannotWrite."""
    target = find_folder(named)
    _refuse_others(target)
    return target


@contextmanager
def filling(target: Path) -> Iterator[Path]:
    """A new folder for what goes in; at the end of the block it takes the place of `target`.

    An empty folder, or one that a disk is mounted at, stays and is filled. Raises OSError.
    """
    inside = target.is_dir() and (os.path.ismount(target) or is_empty(target))
    place = target if inside else target.parent
    place.mkdir(parents=True, exist_ok=True)
    fresh = fresh_inside(place, "bundle")
    fresh.mkdir()
    try:
        yield fresh
        if inside:
            _move_into(fresh, target)
        else:
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _refuse_others(target: Path) -> None:
    """Only an earlier bundle is replaced, and none whose result nobody took back."""
    if not target.exists() or is_empty(target):
        return
    if not (target / BUNDLE).is_file():
        message, hint = "is there, and no bundle", "name another folder with --out"
    elif (target / RESULT).exists():
        message = f"an engine was built in it: {RESULT} is there"
        hint = f"`buildsys import {target}` takes it back; or remove it"
    else:
        return
    raise InputError(Diagnostic(path=str(target), message=message, hint=hint))


def _move_into(fresh: Path, target: Path) -> None:
    """Into a folder that stays, as a stick's: bundle.json goes first and comes last."""
    names = sorted((path.name for path in fresh.iterdir()), key=BUNDLE.__eq__)
    for name in reversed(names):
        old = target / name
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
    for name in names:
        (fresh / name).rename(target / name)
