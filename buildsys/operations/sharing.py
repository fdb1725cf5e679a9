"""`buildsys store push` and `pull`, `buildsys remote check` and `gc`: a team's store, by hand."""

import hashlib
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from buildsys.errors import BuildsysError
from buildsys.execution.places import Workspace
from buildsys.execution.session.session import Session
from buildsys.execution.store.action_entry import ActionEntry, blob_name
from buildsys.execution.store.garbage_collection import files_of
from buildsys.execution.store.objects import Listed, Objects
from buildsys.execution.store.remote import Remote
from buildsys.execution.store.remote_entry import LARGEST_ENTRY, NotTrusted, read_remote_entry
from buildsys.execution.store.remote_failure import RemoteFailure
from buildsys.execution.store.shared_store import SharedStore, require_shared
from buildsys.execution.store.tree_index import read_index
from buildsys.graph import BuildPlan
from buildsys.lockfile import read_lock
from buildsys.operations.transfer import MissingResult, gather

_ACTION = re.compile(r"actions/([0-9a-f]{2})/(\1[0-9a-f]{62})(?:\.([A-Za-z0-9_]{1,32}))?\.json")
_BLOB = re.compile(r"blobs/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_YOUNG_SECONDS = 24 * 3600.0
"""Blobs this new may belong to a result that is on its way."""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """How many results there are, how many had been there, and what is missing of the builds."""

    results: int
    known: int
    missing: tuple[MissingResult, ...]


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What `buildsys remote check` found."""

    seconds: float
    results: int
    blobs: int
    bytes: int
    untrusted: int
    damaged: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What `buildsys remote gc` removes, and what is left."""

    results: tuple[Listed, ...]
    blobs: tuple[Listed, ...]
    kept_results: int
    kept_blobs: int
    kept_bytes: int


def push(session: Session, plans: tuple[BuildPlan, ...]) -> Moved:
    """Put what these builds consist of into the remote. Raises BuildsysError."""
    store, state = require_shared(session.state.store, writes=True), session.state
    _connect(store.remote)
    state.look_up(plans)
    found = gather(state, plans, packages_only=False)
    entries = {entry.key: entry for entry in found.actions if not entry.digests_only}
    there = store.remote.each(lambda key: _is_there(store.remote, entries[key]), entries)
    new = [entry for entry, known in zip(entries.values(), there, strict=True) if not known]
    files = {digest for entry in new for digest in files_of(store, entry)}
    store.remote.expect(len(files))
    try:
        store.push(*new)
    except RemoteFailure as failure:
        done = store.remote.traffic
        raise BuildsysError(
            f"{store.remote.settings.url}: {failure}; {done.entries_written} of {len(new)} results were"
            " put there. Run it again: what is there is not sent twice."
        ) from failure
    return Moved(results=len(new), known=len(entries) - len(new), missing=found.missing)


def pull(session: Session, plans: tuple[BuildPlan, ...]) -> Moved:
    """Bring all that these builds consist of from the remote. Raises BuildsysError."""
    store, state = require_shared(session.state.store), session.state
    _connect(store.remote)
    state.look_up(plans)
    wanted: dict[tuple[str, bool], str] = {}
    missing = []
    for plan in plans:
        for step in plan.steps:
            result = state.result(step.id)
            if result is None:
                missing.append(MissingResult(build=plan.build, stage=step.stage, lost=False))
                continue
            trees = {output.name: output.tree for output in step.outputs}
            for name, digest in result.outputs:
                wanted[digest, trees[name]] = step.stage
    came = {item: store.bring(*item) for item in wanted}
    lost = {stage for item, stage in wanted.items() if not came[item]}
    if lost:
        raise BuildsysError(
            f"{store.remote.settings.url} does not have all bytes of {', '.join(sorted(lost))};"
            " `doit` makes them again"
        )
    return Moved(results=len(wanted), known=0, missing=tuple(missing))


def check(store: SharedStore, every_byte: bool) -> Looked:
    """Whether a remote store answers, may be written where it is to be, and what lies in it.

    `every_byte`: read all blobs; those that are damaged are removed where writing is allowed, so that
    they are made again. Raises BuildsysError.
    """
    settings = store.remote.settings
    began = time.monotonic()
    objects = _connect(store.remote)
    seconds = time.monotonic() - began
    try:
        if settings.writes:
            objects.write("check", b"buildsys remote check\n")
            objects.delete(["check"])
        if settings.scheme.startswith("http"):
            return Looked(seconds=seconds, results=0, blobs=0, bytes=0, untrusted=0, damaged=())
        actions, blobs = _inventory(objects)
        trust = store.remote.settings.trusted
        untrusted = sum(_is_untrusted(objects, each, trust) for each in actions) if trust else 0
        damaged = tuple(_damaged(store.remote, objects, blobs)) if every_byte else ()
        if settings.writes:
            objects.delete(map(blob_name, damaged))
    except RemoteFailure as failure:
        raise BuildsysError(f"{settings.url}: {failure}") from failure
    size = sum(each.size for each in (*actions, *blobs))
    return Looked(
        seconds=seconds,
        results=len(actions),
        blobs=len(blobs),
        bytes=size,
        untrusted=untrusted,
        damaged=damaged,
    )


def sweep(store: SharedStore, workspace: Workspace, age: float, dry_run: bool) -> Swept:
    """Remove results that were put there longer ago than `age` seconds, and blobs that none names.

    What this workspace's buildsys.lock names stays. Raises BuildsysError; nothing goes where the store
    cannot be read to its end.
    """
    objects = _connect(store.remote)
    lock = read_lock(workspace.lock)
    protected = {training.checkpoint for training in lock.trainings().values()}
    try:
        actions, blobs = _inventory(objects)
        now = time.time()
        old = [each for each in actions if now - each.changed > age]
        stay = [each for each in actions if now - each.changed <= age]
        live: set[str] = set(protected)
        for found in store.remote.each(lambda name: _named(objects, name), [e.name for e in stay]):
            live |= found
        gone = [
            each
            for each in blobs
            if each.name.rpartition("/")[2] not in live and now - each.changed > _YOUNG_SECONDS
        ]
        if not dry_run:
            objects.delete(each.name for each in old)  # before the blobs that they name
            store.remote.each(lambda name: objects.delete([name]), [each.name for each in gone])
    except RemoteFailure as failure:
        raise BuildsysError(f"{store.remote.settings.url}: {failure}") from failure
    size = sum(each.size for each in (*actions, *blobs))
    return Swept(
        results=tuple(old),
        blobs=tuple(gone),
        kept_results=len(stay),
        kept_blobs=len(blobs) - len(gone),
        kept_bytes=size - sum(each.size for each in (*old, *gone)),
    )


def _connect(remote: Remote) -> Objects:
    try:
        return remote.objects()
    except RemoteFailure as failure:
        raise BuildsysError(f"{remote.settings.url}: {failure}") from failure


def _is_there(remote: Remote, entry: ActionEntry) -> bool:
    try:
        known = remote.find_entry(entry.key, entry.machine)
    except RemoteFailure:
        return False
    return known is not None and known.outputs == entry.outputs


def _inventory(objects: Objects) -> tuple[list[Listed], list[Listed]]:
    """Entries and blobs; objects of other names are left alone."""
    actions = [each for each in objects.list("actions") if _ACTION.fullmatch(each.name)]
    # after the entries: a result that comes meanwhile has its blobs there
    blobs = [each for each in objects.list("blobs") if _BLOB.fullmatch(each.name)]
    return actions, blobs


def _read(objects: Objects, name: str, trusted: Iterable[str] = ()) -> ActionEntry:
    """Raises ValueError."""
    match = _ACTION.fullmatch(name)
    data = objects.read(name, LARGEST_ENTRY)
    if match is None or data is None:
        raise ValueError("it is gone")
    return read_remote_entry(data, match[2], match[3] or "", trusted)


def _is_untrusted(objects: Objects, found: Listed, trusted: Iterable[str]) -> bool:
    try:
        _read(objects, found.name, trusted)
    except NotTrusted:
        return True
    except ValueError:
        return False
    return False


def _named(objects: Objects, name: str) -> set[str]:
    """Every blob that an entry names, those in its trees too; of a damaged entry none."""
    try:
        entry = _read(objects, name)
    except ValueError:
        return set()
    found = {output.digest for output in entry.outputs}
    for output in entry.outputs:
        data = objects.read(blob_name(output.digest), 1 << 30) if output.tree else None
        if data is not None:
            try:
                found |= {file.digest for file in read_index(data)}
            except ValueError:
                continue  # a damaged index: who needs it makes it again
    return found


def _damaged(remote: Remote, objects: Objects, blobs: list[Listed]) -> list[str]:
    def is_whole(name: str) -> bool:
        state = hashlib.sha256()
        try:
            for chunk in objects.stream(name):
                state.update(chunk)
        except FileNotFoundError:
            return True
        return state.hexdigest() == name.rpartition("/")[2]

    names = [each.name for each in blobs]
    whole = remote.each(is_whole, names)
    return [n.rpartition("/")[2] for n, good in zip(names, whole, strict=True) if not good]
