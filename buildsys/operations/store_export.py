"""`buildsys store export`: what some builds rest on, as one file that another machine takes in.

A plain tar: `buildsys-store.json`, then actions, then blobs, each sorted by name, without times and
owners, so that the same results are the same bytes. engine/importing.py is its reader.
"""

import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.digest import digest_file
from buildsys.errors import BuildsysError
from buildsys.execution.packages.manifest import EMBEDDED_OUTPUTS
from buildsys.execution.state.decide import State
from buildsys.execution.store.inventory import DIGESTS_ONLY
from buildsys.execution.store.store import Store
from buildsys.files import replacing
from buildsys.graph import Plan, Status, Step, StepResult
from buildsys.operations.destinations import find_file, placing

HEADER = "buildsys-store.json"
FORMAT = 1


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


def gather(state: State, plans: Iterable[Plan], packages_only: bool) -> Results:
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
    state: State, plan: Plan, step: Step
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
