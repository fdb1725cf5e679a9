"""`buildsys store import`: an archive of engine/exporting.py into the store, all of it or nothing.

The archive comes from elsewhere: names, kinds and digests are checked before the store sees a byte.
Digests prove that bytes are whole, not who made them: results are taken on trust.
"""

import hashlib
import json
import re
import secrets
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from buildsys.errors import BuildsysError, Diagnostic, InputError
from buildsys.execution.store.inventory import (
    DIGESTS_ONLY,
    STAGING,
    closure,
    outputs_of,
    tree_entries,
)
from buildsys.execution.store.store import Store, seal, use
from buildsys.operations.store_export import FORMAT, HEADER

_ACTION = re.compile(r"actions/([0-9a-f]{2})/(\1[0-9a-f]{62})\.json")
_BLOB = re.compile(r"blobs/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_CHUNK = 1 << 20
_LARGEST_TEXT = 1 << 20
"""Bytes of an action's entry: larger than any, small enough to be read at once."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """How much came in, how much had been here."""

    actions: int
    actions_known: int
    blobs: int
    blobs_known: int
    bytes: int


def take_in(store: Store, path: Path) -> Imported:
    """Check an archive, then add what the store lacks. Raises InputError and leaves nothing behind."""
    try:
        with tarfile.open(path, "r:") as archive, _staging(store) as staging:
            members = _checked_members(archive, path)
            actions = _read_actions(archive, members, path)
            _unpack(archive, members, store, staging, path)
            _check_complete(actions, store, Store(staging), path)
            return _commit(actions, [_BLOB.fullmatch(m.name) for m in members], store, staging)
    except (tarfile.TarError, EOFError) as error:
        message = f"no archive of `buildsys store export`, or only a part of one ({error})"
        raise _refusal(path, message) from error
    except OSError as error:
        where = error.filename or path
        raise BuildsysError(f"{where}: {error.strerror or error}; nothing was imported") from error


@contextmanager
def _staging(store: Store) -> Iterator[Path]:
    """A folder beside the blobs, so that they can be moved into place; gone at the end."""
    staging = store.root / f"{STAGING}{secrets.token_hex(8)}"
    staging.mkdir(parents=True)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _checked_members(archive: tarfile.TarFile, path: Path) -> list[tarfile.TarInfo]:
    """Every member behind the header; only plain files with the names that we write, each once."""
    members = archive.getmembers()
    if not members or members[0].name != HEADER or not _is_plain(members[0]):
        raise _refusal(
            path,
            f"it does not begin with {HEADER}",
            "only `buildsys store export` writes such archives",
        )
    header = _read_json(archive, members[0], path)
    if header.get("format") != FORMAT:
        message = f"its format is {header.get('format')}, this buildsys reads {FORMAT}"
        raise _refusal(path, message, "use the same version of buildsys on both machines")
    counts = {"actions": 0, "blobs": 0}
    for member in members[1:]:
        if not (_ACTION.fullmatch(member.name) or _BLOB.fullmatch(member.name)):
            raise _refusal(path, f"a member that does not belong into it: {member.name[:120]!r}")
        if not _is_plain(member):
            raise _refusal(path, f"{member.name} is no plain file")
        counts[member.name.partition("/")[0]] += 1
    if len({member.name for member in members}) != len(members):
        raise _refusal(path, "a member is in it twice")
    for kind, count in counts.items():
        if header.get(kind) != count:
            raise _refusal(
                path, f"{count} of its {header.get(kind)} {kind} are there", "copy it again"
            )
    return members[1:]


def _is_plain(member: tarfile.TarInfo) -> bool:
    # isreg() alone says yes to sparse files, whose few bytes may claim to be terabytes
    return member.isreg() and not member.issparse()


def _read_actions(
    archive: tarfile.TarFile, members: list[tarfile.TarInfo], path: Path
) -> dict[str, dict[str, Any]]:
    """The entries by action key."""
    actions = {}
    for member in members:
        match = _ACTION.fullmatch(member.name)
        if match:
            entry = _read_json(archive, member, path)
            try:
                outputs_of(entry)
            except ValueError as error:
                raise _refusal(path, f"{member.name}: {error}") from error
            actions[match[2]] = entry
    return actions


def _read_json(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> dict[str, Any]:
    stream = archive.extractfile(member) if member.size <= _LARGEST_TEXT else None
    try:
        value = json.loads(stream.read()) if stream else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _refusal(path, f"{member.name} cannot be read")
    return value


def _unpack(
    archive: tarfile.TarFile,
    members: list[tarfile.TarInfo],
    store: Store,
    staging: Path,
    path: Path,
) -> None:
    """Every blob into the staging folder, its digest checked; those of the store are only checked."""
    unpacked = Store(staging)
    for member in members:
        match = _BLOB.fullmatch(member.name)
        stream = archive.extractfile(member) if match else None
        if match is None or stream is None:
            continue
        state = hashlib.sha256()
        target = unpacked.blob(match[2])
        target.parent.mkdir(parents=True, exist_ok=True)
        known = store.blob(match[2]).is_file()
        with target.open("wb") as out:
            while chunk := stream.read(_CHUNK):
                state.update(chunk)
                if not known:
                    out.write(chunk)
        if state.hexdigest() != match[2]:
            raise _refusal(
                path, f"{member.name} has other bytes than its name says", "copy it again"
            )
        if known:
            target.unlink()
        for name, _, _ in tree_entries(target if not known else store.blob(match[2])):
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not name:
                raise _refusal(
                    path, f"{member.name} lists a file outside its folder: {name[:120]!r}"
                )


def _check_complete(
    actions: dict[str, dict[str, Any]], store: Store, unpacked: Store, path: Path
) -> None:
    """No entry may name bytes that are neither in the archive nor here, unless it says so."""
    for key, entry in actions.items():
        if entry.get(DIGESTS_ONLY):
            continue
        outputs = outputs_of(entry)
        for digest in closure(unpacked, outputs) | closure(store, outputs):
            if not unpacked.blob(digest).is_file() and not store.blob(digest).is_file():
                raise _refusal(path, f"the result {key[:12]} lacks its file {digest[:12]}")


def _commit(
    actions: dict[str, dict[str, Any]],
    blobs: list[re.Match[str] | None],
    store: Store,
    staging: Path,
) -> Imported:
    """Blobs first, then the actions that name them; what is here stays."""
    added = size = 0
    digests = [match[2] for match in blobs if match]
    for digest in digests:
        target, fresh = store.blob(digest), Store(staging).blob(digest)
        if use(target):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        seal(fresh)
        size += fresh.stat().st_size
        fresh.replace(target)
        added += 1
    recorded = 0
    for key, entry in actions.items():
        if not _is_whole(store, store.recall(key), entry):
            store.record(key, entry)
            recorded += 1
    return Imported(
        actions=recorded,
        actions_known=len(actions) - recorded,
        blobs=added,
        blobs_known=len(digests) - added,
        bytes=size,
    )


def _is_whole(store: Store, known: dict[str, Any] | None, offered: dict[str, Any]) -> bool:
    """Whether the entry that is here is at least as good as the one that came."""
    if known is None:
        return False
    try:
        digests = closure(store, outputs_of(known))
    except ValueError:
        return False
    if known.get(DIGESTS_ONLY):
        return bool(offered.get(DIGESTS_ONLY))
    return all(store.blob(digest).is_file() for digest in digests)


def _refusal(path: Path, message: str, hint: str = "") -> InputError:
    text = f"{message}; nothing was imported"
    return InputError(Diagnostic(path=str(path), message=text, hint=hint))
