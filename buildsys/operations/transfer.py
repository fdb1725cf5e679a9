"""`buildsys store export` and `import`: results of some builds as one file for another machine.

The file is a plain tar: `buildsys-store.json`, then actions, then blobs, each sorted by name,
without times and owners, so that equal results give equal bytes. An archive comes from another
machine: names, types and digests of all members are checked before anything enters the store; it
may only contain what its actions name, and it is imported completely or not at all. Digests prove
that bytes are intact, not who made them: results are taken on trust.
"""

import hashlib
import io
import os
import secrets
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal

from buildsys.digest import canonical
from buildsys.errors import BuildsysError, InputError, shorten
from buildsys.execution.packages.manifest import EMBEDDED_OUTPUTS
from buildsys.execution.state.decide import State
from buildsys.execution.store.action_entry import (
    LARGEST_ENTRY,
    ActionEntry,
    action_name,
    blob_name,
    machine_of,
    make_entry,
    parse_action_name,
    parse_blob_name,
    read_entry,
    write_entry,
)
from buildsys.execution.store.archives import DAMAGED, BoundedHeader
from buildsys.execution.store.store import STAGING, STAGING_LOCK, Store, use
from buildsys.execution.store.tree_index import Tree, all_blobs
from buildsys.files import replacing
from buildsys.graph import BuildPlan, Status, Step, StepResult
from buildsys.locks import locked
from buildsys.operations.destinations import find_file, placing
from buildsys.records import Size
from buildsys.typed_json import parse, read

HEADER = "buildsys-store.json"
FORMAT = 2
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class MissingResult:
    """A step of a build whose result cannot be exported."""

    build: str
    stage: str
    lost: bool
    """The digest is known, but the store has lost the bytes."""
    waits_for: str = ""
    """What a result needs that this machine cannot make."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """The archive's first member: the number of its actions and blobs."""

    actions: Size
    blobs: Size
    format: Literal[2] = 2


@dataclass(frozen=True, kw_only=True)
class Results:
    """The exported entries of actions, sorted by key, and the blobs by digest, sorted."""

    actions: tuple[ActionEntry, ...]
    blobs: tuple[str, ...]
    missing: tuple[MissingResult, ...]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The numbers of imported and of already present actions and blobs."""

    actions: int
    actions_known: int
    blobs: int
    blobs_known: int
    bytes: int


def gather(state: State, plans: Iterable[BuildPlan], packages_only: bool) -> Results:
    """Return the results of every step of some builds by their current action keys.

    `packages_only`: with the bytes of packages, verdicts and proofs; the rest as digests and what
    manifests embed.
    """
    actions: dict[str, ActionEntry] = {}
    blobs: set[str] = set()
    missing: list[MissingResult] = []
    for plan in plans:
        for step in plan.steps:
            found, absent = _find(state, plan, step)
            if absent is not None:
                missing.append(absent)
            if found is None:
                continue
            key, result = found
            whole = not packages_only or step.id in (plan.package, *plan.verdicts, *plan.proofs)
            taken = _blobs(state.store, step, result, () if whole else EMBEDDED_OUTPUTS)
            if taken is None:
                missing.append(MissingResult(build=plan.build, stage=step.stage, lost=True))
                continue
            blobs |= taken
            actions[key] = _entry(state.store, step, key, result, digests_only=not whole)
    return Results(
        actions=tuple(actions[key] for key in sorted(actions)),
        blobs=tuple(sorted(blobs)),
        missing=tuple(missing),
    )


def write(results: Results, store: Store, path: Path) -> int:
    """Write the archive, completely or not at all; returns its size. Raises BuildsysError."""
    target = find_file(path)
    with placing(path.name, target.parent), replacing(target) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive:
            header = Header(actions=len(results.actions), blobs=len(results.blobs))
            _add_bytes(archive, HEADER, canonical(header).encode())
            for entry in results.actions:
                _add_bytes(archive, action_name(entry.key), write_entry(entry))
            for digest in results.blobs:
                _add_blob(archive, store, digest)
        return temporary.stat().st_size


def explain_missing(missing: Iterable[MissingResult], partial: bool) -> str:
    """Return which results are missing, and what to do; `partial`: not even a part is here."""
    rows = list(missing)
    lines = []
    for build in dict.fromkeys(row.build for row in rows):
        stages: dict[str, list[str]] = {}
        for row in (row for row in rows if row.build == build):
            stages.setdefault(_why(row), []).append(row.stage)
        lines += [f"{build}: {why}: {', '.join(found)}" for why, found in stages.items()]
    advice = []
    if any(_is_unmade(row) for row in rows):
        advice.append("`doit` builds the missing results")
    if any(row.waits_for for row in rows):
        advice.append(
            "a build that waits has to run on another machine (an engine: see `buildsys bundle`)"
        )
    if any(row.lost for row in rows):
        advice.append("delete .buildsys/, then `doit` makes lost results again")
    if not partial:
        advice.append("--partial exports the existing results")
    return "\n".join([*lines, f"    help: {'; '.join(advice)}"])


def _why(row: MissingResult) -> str:
    if row.waits_for:
        return f"waits for {row.waits_for}"
    return "built, but the store has lost it" if row.lost else "not built yet"


def _is_unmade(row: MissingResult) -> bool:
    """Return whether a run here would make it."""
    return not row.lost and not row.waits_for


def _find(
    state: State, plan: BuildPlan, step: Step
) -> tuple[tuple[str, StepResult] | None, MissingResult | None]:
    """Return (action key, result) of a step, or what is missing; neither after a failed gate, and for
    a proof that this machine cannot give.
    """
    try:
        decision = state.decide(step)
        result = state.result(step.id)
    except BuildsysError:
        decision, result = None, None
    if decision is not None and result is not None:
        return (decision.key, result), None
    if decision is not None and decision.status == Status.REJECTED:
        return None, None
    if decision is not None and state.is_undone(plan, step):
        return None, None
    subject = decision.waits_for if decision is not None else ""
    return None, MissingResult(build=plan.build, stage=step.stage, lost=False, waits_for=subject)


def _blobs(store: Store, step: Step, result: StepResult, names: tuple[str, ...]) -> set[str] | None:
    """Return every blob of a result, or of these outputs; None if the store lacks one."""
    trees = {output.name: output.tree for output in step.outputs}
    taken = [(digest, trees[name]) for name, digest in result.outputs if not names or name in names]
    if not all(store.has(*each) for each in taken):
        return None
    try:
        return all_blobs(taken, store.index)
    except FileNotFoundError:  # the remote store may have lost the index of a tree
        return None


def _entry(
    store: Store, step: Step, key: str, result: StepResult, digests_only: bool
) -> ActionEntry:
    """Return the action's entry for the archive.

    It is the store's own if that has the same outputs: later keys of this workspace depend on it.
    """
    found, known = make_entry(step, key, result), store.recall(key)
    if known is not None and (known.outputs, known.passed) == (found.outputs, found.passed):
        found = known
    # an entry of an earlier release names no machine: this one made or imported it
    machine = found.machine or machine_of(step)
    return replace(found, digests_only=digests_only, machine=machine)


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def _add_blob(archive: tarfile.TarFile, store: Store, digest: str) -> None:
    """Add a blob after checking it."""
    member = tarfile.TarInfo(blob_name(digest))
    try:
        with store.opened(digest) as (stream, size):
            member.size = size
            archive.addfile(member, stream)
    except FileNotFoundError as error:
        then = "nothing was written. Export again to learn which step it belongs to."
        raise lost_file(digest, then) from error


def lost_file(digest: str, then: str) -> BuildsysError:
    """Return the error about a file that disappeared from the store; `then`: what follows."""
    return BuildsysError(
        f"{digest[:12]} was removed from the store meanwhile (`buildsys gc`?), or was damaged and is"
        f" removed; {then}"
    )


def take_in(store: Store, path: Path) -> Imported:
    """Check an archive, then add what the store lacks.

    Raises InputError, and leaves no files behind.
    """
    try:
        with _opened(path) as archive, _staging(store) as staging:
            members = _checked_members(archive, path)
            actions = _read_actions(archive, members, path)
            blobs = _unpack(archive, members, store, staging, path)
            _check_complete(actions, blobs, store, staging, path)
            return _commit(actions, blobs, store, staging)
    except OSError as error:
        where = error.filename or path
        raise BuildsysError(f"{where}: {error.strerror or error}; nothing was imported") from error


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    """Open an archive; tarfile's errors for other files become InputError."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise _refusal(path, "this is not a file")
    try:
        with tarfile.open(path, "r:", tarinfo=BoundedHeader) as archive:
            yield archive
    except DAMAGED as error:
        message = f"not an archive of `buildsys store export`, or incomplete ({error})"
        raise _refusal(path, message) from error


@contextmanager
def _staging(store: Store) -> Iterator[Store]:
    """Yield a store beside the blobs, from which they can be moved into place; removed at the
    end. Its lock keeps `buildsys gc` from removing its files.
    """
    folder = store.root / f"{STAGING}{secrets.token_hex(8)}"
    folder.mkdir(parents=True)
    try:
        with locked(folder / STAGING_LOCK, busy=lambda _: None):
            yield Store(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _checked_members(archive: tarfile.TarFile, path: Path) -> list[tarfile.TarInfo]:
    """Return every member after the header: only plain files with the names that we write, each
    once.
    """
    members = archive.getmembers()
    if not members or members[0].name != HEADER or not _is_plain(members[0]):
        raise _refusal(
            path,
            f"it does not begin with {HEADER}",
            "only `buildsys store export` writes such archives",
        )
    header = _read_header(archive, members[0], path)
    counts = {"actions": 0, "blobs": 0}
    for member in members[1:]:
        if not (_key(member.name) or parse_blob_name(member.name)):
            message = f"an unexpected member: {shorten(member.name)!r}"
            raise _refusal(path, message)
        if not _is_plain(member):
            raise _refusal(path, f"{member.name} is not a regular file")
        counts[member.name.partition("/")[0]] += 1
    if len({member.name for member in members}) != len(members):
        raise _refusal(path, "duplicate member")
    for kind, count in counts.items():
        listed = getattr(header, kind)
        if listed != count:
            raise _refusal(path, f"it has {count} of its {listed} {kind}", "copy it again")
    return members[1:]


def _key(name: str) -> str | None:
    """Return the key of an action's entry; archives do not name its machine."""
    parts = parse_action_name(name)
    return parts[0] if parts and not parts[1] else None


def _read_header(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> Header:
    data = _read_text(archive, member, path)
    try:
        value = read(data)
        known = value.get("format") if isinstance(value, dict) else None
        if type(known) is int and known != FORMAT:
            message = f"it has format {known}, but this buildsys reads {FORMAT}"
            raise _refusal(path, message, "use the same version of buildsys on both machines")
        return parse(Header, data)
    except ValueError as error:
        raise _refusal(path, f"{member.name} cannot be read") from error


def _is_plain(member: tarfile.TarInfo) -> bool:
    # isreg() alone accepts sparse files, whose few bytes may claim to be terabytes
    return member.isreg() and not member.issparse()


def _read_actions(
    archive: tarfile.TarFile, members: list[tarfile.TarInfo], path: Path
) -> tuple[ActionEntry, ...]:
    actions = []
    for member in members:
        key = _key(member.name)
        if key:
            try:
                actions.append(read_entry(key, _read_text(archive, member, path)))
            except ValueError as error:
                message = f"{member.name} is not an action result ({error})"
                raise _refusal(path, message) from error
    return tuple(actions)


def _read_text(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes:
    if member.size > LARGEST_ENTRY:
        raise _refusal(path, f"{member.name} cannot be read")
    return _stream(archive, member).read()


def _stream(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(member)
    if stream is None:
        raise tarfile.ReadError(f"{member.name} is not a regular file")
    return stream


def _unpack(
    archive: tarfile.TarFile,
    members: list[tarfile.TarInfo],
    store: Store,
    staging: Store,
    path: Path,
) -> dict[str, int]:
    """Unpack every blob into the staging folder after checking its digest; known ones are only
    checked.

    Returns digests with sizes in bytes.
    """
    sizes = {}
    for member in members:
        digest = parse_blob_name(member.name)
        if digest is None:
            continue
        stream, state = _stream(archive, member), hashlib.sha256()
        target = staging.blob(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        known = store.holds(digest)
        with target.open("xb") as out:
            while chunk := stream.read(_CHUNK):
                state.update(chunk)
                if not known:
                    out.write(chunk)
        if state.hexdigest() != digest:
            message = f"the content of {member.name} does not match its name"
            raise _refusal(path, message, "copy it again")
        if known:
            target.unlink()
        sizes[digest] = member.size
    return sizes


def _check_complete(
    actions: tuple[ActionEntry, ...],
    blobs: dict[str, int],
    store: Store,
    staging: Store,
    path: Path,
) -> None:
    """Check that entries name no absent bytes unless they declare so, and that every blob is
    named. What is expected in the store counts as used, as no entry there may name it.
    """
    named: set[str] = set()
    for entry in actions:
        for output in entry.outputs:
            named.add(output.digest)
            tree: Tree = ()
            for place in (staging, store):
                if output.tree and not tree and place.has(output.digest, tree=False):
                    tree = _read_tree(place, output.digest, path)
            for file in tree:
                named.add(file.digest)
                if blobs.get(file.digest, file.size) != file.size:
                    message = f"the tree {output.digest[:12]} lists a size that is not that of"
                    raise _refusal(path, f"{message} {shorten(file.name)}")
            wanted = (output.digest, *(file.digest for file in tree))
            lost = [d for d in wanted if d not in blobs and not use(store.blob(d))]
            if lost and not entry.digests_only:
                message = f"the file {lost[0][:12]} of the result {entry.key[:12]} is missing"
                raise _refusal(path, message)
    foreign = sorted(blobs.keys() - named)
    if foreign:
        raise _refusal(path, f"no result in it uses the file {foreign[0][:12]}")


def _read_tree(store: Store, digest: str, path: Path) -> Tree:
    try:
        return store.index(digest)
    except FileNotFoundError as error:
        message = f"{blob_name(digest)} is not a valid list of files"
        raise _refusal(path, message) from error


def _commit(
    actions: tuple[ActionEntry, ...], blobs: dict[str, int], store: Store, staging: Store
) -> Imported:
    """Move the blobs, then record the actions that name them; existing ones stay.

    Raises BuildsysError, before anything is moved, for a blob that is neither here nor there.
    """
    new = [digest for digest in blobs if staging.size(digest) is not None]
    for digest in blobs.keys() - set(new):
        if not use(store.blob(digest)):  # no entry may name it yet
            raise BuildsysError(
                f"{digest[:12]} was removed from the store during the import (`buildsys gc`?); nothing"
                " was imported. Import it again."
            )
    for digest in new:
        store.take(staging.blob(digest), digest)
    recorded = 0
    for entry in actions:
        if not _is_whole(store, store.recall(entry.key), entry):
            store.record(entry)
            recorded += 1
    return Imported(
        actions=recorded,
        actions_known=len(actions) - recorded,
        blobs=len(new),
        blobs_known=len(blobs) - len(new),
        bytes=sum(blobs[digest] for digest in new),
    )


def _is_whole(store: Store, known: ActionEntry | None, offered: ActionEntry) -> bool:
    """Return whether the existing entry is at least as good as the offered one."""
    if known is None:
        return False
    if known.digests_only:
        return offered.digests_only
    return all(store.has(output.digest, output.tree) for output in known.outputs)


def _refusal(path: Path, message: str, hint: str = "") -> InputError:
    text = f"{message}; nothing was imported"
    return InputError.at(str(path), text, hint)
