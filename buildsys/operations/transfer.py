"""`buildsys store export` and `import`: results of some builds as one file for another machine.

The file is a plain tar: `buildsys-store.json`, then actions, then blobs, each sorted by name, without
times and owners, so that the same results give the same bytes. An archive comes from elsewhere:
names, types and digests of all members are checked before anything enters the store, and it enters
completely or not at all. Digests prove that bytes are intact, not who made them: results are taken
on trust.
"""

import hashlib
import io
import json
import re
import secrets
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from buildsys.digest import digest_file
from buildsys.errors import BuildsysError, InputError
from buildsys.execution.packages.manifest import EMBEDDED_OUTPUTS
from buildsys.execution.state.decide import State
from buildsys.execution.store.entries import (
    DIGESTS_ONLY,
    STAGING,
    closure,
    outputs_of,
    tree_entries,
)
from buildsys.execution.store.store import Store, seal, use
from buildsys.files import replacing
from buildsys.graph import BuildPlan, Status, Step, StepResult
from buildsys.operations.destinations import find_file, placing

HEADER = "buildsys-store.json"
FORMAT = 1
_ACTION = re.compile(r"actions/([0-9a-f]{2})/(\1[0-9a-f]{62})\.json")
_BLOB = re.compile(r"blobs/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_CHUNK = 1 << 20
_LARGEST_TEXT = 1 << 20
"""Bytes of an action's entry: larger than any, small enough to be read at once."""


@dataclass(frozen=True, kw_only=True)
class MissingResult:
    """A step of a build whose result cannot be taken along."""

    build: str
    stage: str
    lost: bool
    """Known by digest, but the store has not its bytes any more."""
    waits_for: str = ""
    """What this machine missing: no run here makes it."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What goes along: actions as (key, entry as JSON text), blobs by digest; both sorted."""

    actions: tuple[tuple[str, str], ...]
    blobs: tuple[str, ...]
    missing: tuple[MissingResult, ...]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """How much came in, how much had been here."""

    actions: int
    actions_known: int
    blobs: int
    blobs_known: int
    bytes: int


def gather(state: State, plans: Iterable[BuildPlan], packages_only: bool) -> Results:
    """The results of every step of some builds by their current action keys.

    `packages_only`: the bytes of packages, verdicts and proofs; of the rest, the digests and what
    manifests embed.
    """
    actions: dict[str, str] = {}
    blobs: set[str] = set()
    missing: list[MissingResult] = []
    for plan in plans:
        for step in plan.steps:
            found, lack = _find(state, plan, step)
            if lack is not None:
                missing.append(lack)
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
        actions=tuple(sorted(actions.items())), blobs=tuple(sorted(blobs)), missing=tuple(missing)
    )


def write(results: Results, store: Store, path: Path) -> int:
    """Write the archive, complete or not at all; returns its size. Raises BuildsysError."""
    target = find_file(path)
    with placing(path.name, target.parent), replacing(target) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive:
            _add_text(archive, HEADER, _header(results))
            for key, text in results.actions:
                _add_text(archive, action_name(key), text)
            for digest in results.blobs:
                _add_blob(archive, store, digest)
        return temporary.stat().st_size


def action_name(key: str) -> str:
    """Where an action's entry lies in the archive."""
    return f"actions/{key[:2]}/{key}.json"


def blob_name(digest: str) -> str:
    """Where a blob lies in the archive."""
    return f"blobs/{digest[:2]}/{digest}"


def explain_missing(missing: Iterable[MissingResult]) -> str:
    """Which results are missing, and what to do about it."""
    rows = list(missing)
    lines = []
    for build in dict.fromkeys(row.build for row in rows):
        stages: dict[str, list[str]] = {}
        for row in (row for row in rows if row.build == build):
            stages.setdefault(_why(row), []).append(row.stage)
        lines += [f"{build}: {why}: {', '.join(found)}" for why, found in stages.items()]
    advice = []
    if any(_is_unmade(row) for row in rows):
        advice.append("`doit` makes what was not made yet")
    if any(row.waits_for for row in rows):
        advice.append(
            "what waits is made where that is (an engine: `buildsys bundle` takes it there)"
        )
    if any(row.lost for row in rows):
        advice.append("without .buildsys/, `doit` makes again what the store has lost")
    return "\n".join([*lines, f"    help: {'; '.join(advice)}; --partial takes what there is"])


def _why(row: MissingResult) -> str:
    if row.waits_for:
        return f"waits for {row.waits_for}"
    return "made, but the store has lost it" if row.lost else "not made yet"


def _is_unmade(row: MissingResult) -> bool:
    """Whether a run here would make it."""
    return not row.lost and not row.waits_for


def _find(
    state: State, plan: BuildPlan, step: Step
) -> tuple[tuple[str, StepResult] | None, MissingResult | None]:
    """(action key, result) of a step, or what it missing; neither behind a red gate."""
    try:
        decision = state.decide(step)
        result = state.result(step.id)
    except BuildsysError:
        decision, result = None, None
    if decision is not None and result is not None:
        return (decision.key, result), None
    if decision is not None and decision.status == Status.REJECTED:
        return None, None
    waits = decision is not None and decision.status == Status.WAITING
    subject = decision.reasons[0].subject if decision is not None and waits else ""
    return None, MissingResult(build=plan.build, stage=step.stage, lost=False, waits_for=subject)


def _blobs(store: Store, step: Step, result: StepResult, names: tuple[str, ...]) -> set[str] | None:
    """Every blob of a result, or of these outputs alone; None where one is not in the store."""
    trees = {output.name: output.tree for output in step.outputs}
    found: set[str] = set()
    for name, digest in result.outputs:
        if names and name not in names:
            continue
        if not store.has(digest, trees[name]):
            return None
        found.add(digest)
        if trees[name]:
            found |= {blob for _, _, blob in store.index(digest)}
    return found


def _entry(store: Store, step: Step, key: str, result: StepResult, digests_only: bool) -> str:
    """The action's entry as the archive holds it.

    The store's own where it says the same: what this workspace found is what its later keys rest on.
    """
    entry: dict[str, Any] = store.recall(key) or {}
    outputs = [[name, digest] for name, digest in result.outputs]
    if entry.get("outputs") != outputs or entry.get("passed") != result.passed:
        entry = {
            "module": step.module,
            "tool": step.tool,
            "seconds": result.seconds,
            "outputs": outputs,
            "passed": result.passed,
        }
    entry.pop(DIGESTS_ONLY, None)
    if digests_only:
        entry[DIGESTS_ONLY] = True
    return json.dumps(entry, sort_keys=True)


def _header(results: Results) -> str:
    counts = {"actions": len(results.actions), "blobs": len(results.blobs)}
    return json.dumps({"format": FORMAT, **counts}, sort_keys=True)


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode()
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def _add_blob(archive: tarfile.TarFile, store: Store, digest: str) -> None:
    """A blob, looked at before it is passed on."""
    path = store.blob(digest)
    member = tarfile.TarInfo(blob_name(digest))
    try:
        member.size = path.stat().st_size
        if digest_file(path) != digest:
            path.unlink(missing_ok=True)
            raise BuildsysError(
                f"the store's copy of {digest[:12]} was damaged and was removed; nothing was"
                " written. Export again to see which step it belongs to."
            )
        stream = path.open("rb")
    except FileNotFoundError as error:
        message = f"{digest[:12]} left the store meanwhile (`buildsys gc`?); export again"
        raise BuildsysError(message) from error
    with stream:
        archive.addfile(member, stream)


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
    return InputError.at(str(path), text, hint)
