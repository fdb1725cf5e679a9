"""Keeps the digests of steps' code in the user's cache while no file of this package changes.

Computing them takes a third of a second, which every process that plans would spend.
"""

import contextlib
from functools import cache
from pathlib import Path

from buildsys.digest import digest_value
from buildsys.errors import CannotWrite
from buildsys.execution.places import cache_root
from buildsys.execution.state import unchanged
from buildsys.execution.state.code_digest import code_digest
from buildsys.execution.state.fingerprint import package_state
from buildsys.records import Digest
from buildsys.typed_json import decode


def kept_digest(module: str, package: Path) -> str:
    """Return `code_digest` of a step, from the user's cache if it is there."""
    digests = known(package)
    if module not in digests:
        digests[module] = code_digest(module, package)
        with contextlib.suppress(CannotWrite):
            keep(package, digests, cache_root())
    return digests[module]


@cache
def known(package: Path) -> dict[str, str]:
    """Return the digests of this process, which begin with those that earlier ones kept."""
    with contextlib.suppress(CannotWrite, ValueError):
        entry = unchanged.find(_place(package, cache_root()), package_state(package))
        if entry is not None:
            return decode(dict[str, Digest], entry.value)
    return {}


def keep(package: Path, digests: dict[str, str], cache: Path) -> None:
    """Keep digests for other processes in a cache directory; a failure to write is ignored.

    They are kept for the state of the package before this process read any code of steps: after an
    edit meanwhile, no process uses them.
    """
    entry = unchanged.Entry(value=digests, text=package_state(package))
    unchanged.keep(_place(package, cache), entry)


def _place(package: Path, cache: Path) -> Path:
    return cache / "code-digests" / f"{digest_value(str(package))}.json"
