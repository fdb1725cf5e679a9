"""`buildsys store push` and `pull`, `buildsys remote check` and `gc`: the team's store, by
command.
"""

import contextlib
import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from buildsys.digest import digest_bytes
from buildsys.errors import BuildsysError
from buildsys.execution.places import Workspace
from buildsys.execution.session.session import Session
from buildsys.execution.store.action_entry import (
    LARGEST_ENTRY,
    ActionEntry,
    blob_name,
    parse_action_name,
    parse_blob_name,
)
from buildsys.execution.store.folder_objects import Listed, is_leftover
from buildsys.execution.store.garbage_collection import files_of
from buildsys.execution.store.objects import LARGEST, RemoteObjects
from buildsys.execution.store.remote import Remote, signing_key
from buildsys.execution.store.remote_entry import NotTrusted, read_remote_entry
from buildsys.execution.store.remote_failure import OddName, RemoteFailure
from buildsys.execution.store.shared_store import SharedStore, require_shared
from buildsys.execution.store.tree_index import Tree, all_blobs, read_index
from buildsys.graph import BuildPlan
from buildsys.lockfile import Training, read_lock
from buildsys.operations.transfer import MissingResult, gather, lost_file
from buildsys.remote_settings import READ_ONLY_SCHEMES, describe_remote
from buildsys.spec import Format

_YOUNG_SECONDS = 24 * 3600.0
"""Seconds: newer blobs may belong to a result that is being uploaded."""
_LARGEST_INDEX = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Moved:
    """Numbers of uploaded and of known results, and what the builds lack.

    `foreign`: results that cannot be signed: only their digests are known here, or a worker made
    them and its signature is gone.
    """

    results: int
    known: int
    missing: tuple[MissingResult, ...]
    foreign: int = 0


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a remote store contains; `odd`: see `_Inventory`.

    `untrusted`: results without a trusted signature; `invalid`: entries that every run ignores,
    which are known only if all entries were read. `missing`: files that results name; known if
    every byte was read.
    """

    results: int
    blobs: int
    bytes: int
    untrusted: int
    invalid: int
    odd: int
    damaged: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Looked:
    """The result of `buildsys remote check`; `content`: None for a web server, which has no
    listing.
    """

    seconds: float
    content: Content | None


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What `buildsys remote gc` removes, and what is left.

    `unreadable`: results that stay and whose blobs are unknown: as long as there are any, all blobs
    stay. `leftovers`: files of interrupted transfers. `odd`: see `_Inventory`.
    """

    results: tuple[Listed, ...]
    blobs: tuple[Listed, ...]
    leftovers: tuple[Listed, ...]
    odd: int
    kept_results: int
    kept_blobs: int
    kept_bytes: int
    unreadable: tuple[str, ...]


def push(session: Session, plans: tuple[BuildPlan, ...]) -> Moved:
    """Upload everything that these builds consist of. Raises BuildsysError."""
    store, state = require_shared(session.state.store, writes=True), session.state
    signing_key(store.settings)
    _connect(store.remote)
    state.look_up(plans)
    found = gather(state, plans, packages_only=False)
    entries = {entry.key: entry for entry in found.actions if not entry.digests_only}
    there = store.remote.each(lambda key: _is_there(store.remote, entries[key]), entries)
    known = dict(zip(entries, there, strict=True))
    absent = [entry for key, entry in entries.items() if not known[key]]
    absent += _without_files(store, [entry for key, entry in entries.items() if known[key]])
    new = [each for each in absent if store.can_pass_on(each)]
    files = {digest for entry in new for digest in files_of(store, entry)}
    store.remote.expect(len(files))
    try:
        store.push(*new)
    except RemoteFailure as failure:
        raise BuildsysError(
            f"{store.remote.settings.url}: {failure}; {_done(store, new)}. Run it again: nothing is"
            " uploaded twice."
        ) from failure
    except FileNotFoundError as error:
        lost = next((each for each in sorted(files) if not store.has(each, tree=False)), "a file")
        then = f"{_done(store, new)}. Push again to learn which step it belongs to."
        raise lost_file(lost, then) from error
    return Moved(
        results=len(new),
        known=len(entries) - len(absent),
        missing=found.missing,
        foreign=len(absent) - len(new),
    )


def _without_files(store: SharedStore, known: list[ActionEntry]) -> list[ActionEntry]:
    """Return those results in the remote whose files it has lost, or has in another size; they are
    uploaded again. Raises BuildsysError.
    """
    files = {entry.key: files_of(store, entry) for entry in known}
    sizes = {digest: store.size(digest) for each in files.values() for digest in each}
    here = {digest: size for digest, size in sizes.items() if size is not None}
    try:
        there = store.remote.each(store.remote.size, here)
    except RemoteFailure as failure:
        raise BuildsysError(f"{store.remote.settings.url}: {failure}") from failure
    lost = {
        digest for (digest, size), found in zip(here.items(), there, strict=True) if found != size
    }
    store.note_unusable(lost)
    return [each for each in known if not lost.isdisjoint(files[each.key])]


def _done(store: SharedStore, new: list[ActionEntry]) -> str:
    return f"{store.remote.traffic.entries_written} of {len(new)} results were uploaded"


def pull(session: Session, plans: tuple[BuildPlan, ...]) -> Moved:
    """Download everything that these builds consist of. Raises BuildsysError."""
    store, state = require_shared(session.state.store), session.state
    _connect(store.remote)
    state.look_up(plans)
    wanted: dict[tuple[str, bool], str] = {}
    missing = []
    for plan in plans:
        for step in plan.steps:
            result = state.result(step.id)
            if result is None and state.is_undone(plan, step):
                continue
            if result is None:
                missing.append(MissingResult(build=plan.build, stage=step.stage, lost=False))
                continue
            trees = {output.name: output.tree for output in step.outputs}
            for name, digest in result.outputs:
                wanted[digest, trees[name]] = step.stage
    came = {item: store.bring(*item) for item in wanted}
    lost = {stage for item, stage in wanted.items() if not came[item]}
    if lost:
        url, stages = store.remote.settings.url, ", ".join(sorted(lost))
        if store.remote.has_failed:
            raise BuildsysError(
                f"{url} did not send all bytes of {stages}. Run it again: nothing is fetched twice."
            )
        raise BuildsysError(f"{url} does not have all bytes of {stages}; `doit` makes them again")
    return Moved(results=len(wanted), known=0, missing=tuple(missing))


def check(store: SharedStore, every_byte: bool) -> Looked:
    """Check whether a remote store answers and, if it should be, is writable, and list its content.

    `every_byte`: read all entries and blobs; damaged blobs are removed where writing is allowed, so that they
    are made again. Raises BuildsysError.
    """
    settings = store.remote.settings
    began = time.monotonic()
    objects = _connect(store.remote)
    seconds = time.monotonic() - began
    try:
        if settings.writes:
            objects.write("check", b"buildsys remote check\n")
            objects.delete(["check"])
        listed = settings.scheme not in READ_ONLY_SCHEMES
        content = _look_at(store.remote, objects, every_byte) if listed else None
    except RemoteFailure as failure:
        raise BuildsysError(f"{settings.url}: {failure}") from failure
    return Looked(seconds=seconds, content=content)


def _look_at(remote: Remote, objects: RemoteObjects, every_byte: bool) -> Content:
    there, trust = _take_stock(remote, objects), remote.settings.trusted
    names = [each.name for each in there.actions] if trust or every_byte else []
    faults = remote.each(lambda name: _fault(objects, name, trust), names)
    damaged = tuple(_damaged(remote, objects, there.blobs)) if every_byte else ()
    missing = tuple(_missing(remote, objects, there)) if every_byte else ()
    if remote.settings.writes:
        objects.delete(map(blob_name, damaged))
    untrusted = sum(isinstance(fault, NotTrusted) for fault in faults)
    return Content(
        results=len(there.actions),
        blobs=len(there.blobs),
        bytes=sum(each.size for each in (*there.actions, *there.blobs)),
        untrusted=untrusted,
        invalid=sum(fault is not None for fault in faults) - untrusted,
        odd=there.odd,
        damaged=damaged,
        missing=missing,
    )


def sweep(store: SharedStore, workspace: Workspace, age: float, dry_run: bool) -> Swept:
    """Remove results that were uploaded longer ago than `age` seconds, and unused blobs.

    Trainings in this workspace's buildsys.lock stay, with their curves, and all blobs stay if a
    remaining result cannot be read. Raises BuildsysError; nothing is removed unless the whole
    listing can be read.
    """
    if store.settings.scheme in READ_ONLY_SCHEMES:
        raise BuildsysError(f"{store.settings.url}: a web server cannot be listed")
    objects = _connect(store.remote)
    trainings = tuple(read_lock(workspace.lock).trainings().values())
    keys = {training.action_key for training in trainings}
    try:
        there = _take_stock(store.remote, objects)
        actions, blobs = there.actions, there.blobs
        now = time.time()
        stay = [each for each in actions if now - each.changed <= age or _key_of(each.name) in keys]
        old = sorted(set(actions) - set(stay), key=lambda each: each.name)
        names = [each.name for each in stay]
        protected = _recorded(objects, trainings)
        named = store.remote.each(lambda name: _named(objects, name), names)
        live = protected.union(*(found for found in named if found is not None))
        unreadable = [n for n, found in zip(names, named, strict=True) if found is None]
        unreadable += there.unlisted
        gone = [
            each
            for each in blobs
            if not unreadable
            and parse_blob_name(each.name) not in live
            and now - each.changed > _YOUNG_SECONDS
        ]
        leftovers = [each for each in there.leftovers if now - each.changed > _YOUNG_SECONDS]
        if not dry_run:
            objects.delete(each.name for each in leftovers)
            objects.delete(each.name for each in old)  # before the blobs that they name
            store.remote.each(lambda name: objects.delete([name]), [each.name for each in gone])
    except RemoteFailure as failure:
        raise BuildsysError(f"{store.remote.settings.url}: {failure}") from failure
    size = sum(each.size for each in (*actions, *blobs))
    return Swept(
        results=tuple(old),
        blobs=tuple(gone),
        leftovers=tuple(leftovers),
        odd=there.odd,
        kept_results=len(stay),
        kept_blobs=len(blobs) - len(gone),
        kept_bytes=size - sum(each.size for each in (*old, *gone)),
        unreadable=tuple(unreadable),
    )


def _connect(remote: Remote) -> RemoteObjects:
    try:
        return remote.objects()
    except RemoteFailure as failure:
        raise BuildsysError(f"{describe_remote(remote.settings)}: {failure}") from failure


def _is_there(remote: Remote, entry: ActionEntry) -> bool:
    try:
        known = remote.find_entry(entry.key, entry.machine)
    except RemoteFailure:
        return False
    return known is not None and known.outputs == entry.outputs


@dataclass(frozen=True, kw_only=True)
class _Inventory:
    """Entries, blobs, and files of interrupted transfers; objects with other names are ignored.

    `unlisted`: folders of entries that cannot be listed. `odd`: the number of such folders,
    including those of blobs, and of objects with an impossible size, which counts as 0.
    """

    actions: tuple[Listed, ...]
    blobs: tuple[Listed, ...]
    leftovers: tuple[Listed, ...]
    unlisted: tuple[str, ...]
    odd: int


def _take_stock(remote: Remote, objects: RemoteObjects) -> _Inventory:
    actions, no_actions = _list(remote, objects, "actions")
    # after the entries: all blobs of a result that is added meanwhile are then found
    blobs, no_blobs = _list(remote, objects, "blobs")
    everything = (*actions, *blobs)
    oversized = {each.name for each in everything if each.size > LARGEST}
    sane = [replace(each, size=0) if each.name in oversized else each for each in everything]
    return _Inventory(
        actions=tuple(each for each in sane if parse_action_name(each.name)),
        blobs=tuple(each for each in sane if parse_blob_name(each.name)),
        leftovers=tuple(each for each in sane if is_leftover(each.name)),
        unlisted=no_actions,
        odd=len(oversized) + len(no_actions) + len(no_blobs),
    )


def _list(
    remote: Remote, objects: RemoteObjects, prefix: str
) -> tuple[list[Listed], tuple[str, ...]]:
    """Return all objects below a prefix, and the folders that cannot be listed.

    An invalid name hides the names that are listed with it; each folder is then listed separately.
    """
    with contextlib.suppress(OddName):
        return list(objects.list(prefix)), ()

    def look(folder: str) -> list[Listed] | None:
        with contextlib.suppress(OddName):
            return list(objects.list(folder))
        return None

    folders = [f"{prefix}/{number:02x}" for number in range(256)]
    found = remote.each(look, folders)
    unlisted = (folder for folder, each in zip(folders, found, strict=True) if each is None)
    return [one for each in found if each for one in each], tuple(unlisted)


def _read(objects: RemoteObjects, name: str, trusted: Iterable[str] = ()) -> ActionEntry:
    """Read an entry. Raises ValueError."""
    parts = parse_action_name(name)
    data = objects.read(name, LARGEST_ENTRY)
    if parts is None or data is None:
        raise ValueError("it is gone")
    return read_remote_entry(data, *parts, trusted)


def _fault(objects: RemoteObjects, name: str, trusted: Iterable[str]) -> ValueError | None:
    """Return why runs ignore an entry; None if they use it, or if it was removed meanwhile."""
    try:
        _read(objects, name, trusted)
    except NotTrusted as error:
        return error
    except ValueError as error:
        return error if objects.size(name) is not None else None
    return None


def _named(objects: RemoteObjects, name: str) -> set[str] | None:
    """Return every blob that an entry names, including those in its trees.

    Returns None if it cannot be read. It may be the entry of another release, or damaged.
    """
    try:
        entry = _read(objects, name)
        return all_blobs(entry.artifacts, lambda digest: _read_tree(objects, digest))
    except ValueError:
        return set() if objects.size(name) is None else None


def _key_of(name: str) -> str:
    """Return the key of the entry with this name; empty for other names."""
    parts = parse_action_name(name)
    return parts[0] if parts else ""


def _recorded(objects: RemoteObjects, trainings: Iterable[Training]) -> set[str]:
    """Return the outputs of recorded trainings and the files of their curves, with or without an
    entry. Raises RemoteFailure.
    """
    return all_blobs(
        (
            (digest, name == Format.TRAINING)
            for training in trainings
            for name, digest in training.outputs.items()
        ),
        lambda digest: _possible_tree(objects, digest),
    )


def _read_tree(objects: RemoteObjects, digest: str) -> Tree:
    """Read the files of a tree. Raises ValueError for one that is absent or damaged."""
    data = objects.read(blob_name(digest), _LARGEST_INDEX)
    if data is None or digest_bytes(data) != digest:
        raise ValueError("it is absent or damaged")
    return read_index(data)


def _possible_tree(objects: RemoteObjects, digest: str) -> Tree:
    """Return the files of a tree; none without its index, since then none can be used."""
    try:
        return _read_tree(objects, digest)
    except ValueError:
        return ()


def _damaged(remote: Remote, objects: RemoteObjects, blobs: Iterable[Listed]) -> list[str]:
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


def _missing(remote: Remote, objects: RemoteObjects, there: _Inventory) -> list[str]:
    """Return the digests of files that readable results name and that do not exist."""

    def named(name: str) -> set[str]:
        try:
            entry = _read(objects, name)
        except ValueError:
            return set()
        return all_blobs(entry.artifacts, lambda digest: _possible_tree(objects, digest))

    listed = {parse_blob_name(each.name) for each in there.blobs}
    wanted = set[str]().union(*remote.each(named, [each.name for each in there.actions]))
    # not those that came after the listing, with a result that is older
    return [digest for digest in sorted(wanted - listed) if objects.size(blob_name(digest)) is None]
