"""The recipes that need no work: all their builds are up to date and match buildsys.lock.

A run in which every recipe is settled opens no database, reads no plan and loads no library.
"""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.execution.places import Workspace
from buildsys.execution.state import fingerprint, unchanged
from buildsys.execution.state.unchanged import Entry, Tree
from buildsys.typed_json import decode

if TYPE_CHECKING:  # not needed by a run without work
    from buildsys.execution.state.plans import Plans, RecipePlans
    from buildsys.execution.state.recording import Record
    from buildsys.graph import BuildPlan, Plan


@dataclass(frozen=True, kw_only=True)
class SettledBuild:
    """A build that needs no work, with what its row shows.

    `candidate`: a variant that `select` chooses among; `figures`: see `packages.figures`.
    """

    id: str
    label: str
    candidate: bool
    figures: str


Settled = dict[str, tuple[SettledBuild, ...]]
"""The builds of each recipe that needs no work."""


def settled_recipes(workspace: Workspace) -> Settled:
    """Return the recipes that still need no work; empty if unknown. Raises CannotWrite."""
    workspace.check_own()
    here = fingerprint.recipe_names(workspace)
    installation, look = fingerprint.installation(workspace), unchanged.DiskCheck()
    found: Settled = {}
    for name, entry in unchanged.read(_settled(workspace)).items():
        if name in here and look.confirms(entry, installation):
            with contextlib.suppress(ValueError):
                found[name] = decode(tuple[SettledBuild, ...], entry.value)
    return found


def is_whole(workspace: Workspace, settled: Settled) -> bool:
    """Return whether every recipe of the workspace is settled."""
    names = fingerprint.recipe_names(workspace)
    return bool(names) and names == settled.keys()


def forget_settled(workspace: Workspace) -> None:
    """Have the next run check every recipe."""
    unchanged.write(_settled(workspace), {})


def keep_settled(
    workspace: Workspace,
    settled: Iterable[str],
    loaded: "Plans",
    record: "Record",
    done: set[str],
    figures: Callable[["Plan"], str],
) -> None:
    """Add the recipes of `loaded` all of whose builds are `done`; drop all except the `settled`
    ones.

    `figures`: returns those of a build for its row in later runs.

    Settled recipes depend on buildsys.lock as it was when the run began, and stay settled if it has
    only grown.
    """
    if loaded.common:
        return
    installation, old = fingerprint.installation(workspace), unchanged.read(_settled(workspace))
    entries = {name: old[name] for name in settled if name in old}
    lock = str(workspace.lock)
    if record.keeps_first:
        for name, kept in entries.items():
            if kept.files.get(lock) == record.first_stat:
                entries[name] = replace(kept, files=kept.files | {lock: record.stat})
    for recipe in loaded.recipes:
        if recipe.lasting and not recipe.diagnostics and {p.build for p in recipe.plans} <= done:
            entry = _settle(workspace, recipe, record, installation, figures)
            if entry is not None:
                entries[recipe.name] = entry
    unchanged.write(_settled(workspace), entries)


def _settle(
    workspace: Workspace,
    recipe: "RecipePlans",
    record: "Record",
    installation: str,
    figures: Callable[["Plan"], str],
) -> Entry | None:
    """Return what a recipe depends on, as it was when the recipe was read.

    None where that is uncertain, and where a package has no evidence: its row appears in every run.
    """
    from buildsys.graph import build_plans

    planned = build_plans(recipe.plans)
    if any(plan.steps and not plan.is_proved for plan in planned):
        return None
    sources, packages = _sources(planned, record), _packages(workspace, recipe)
    builds = _rows(recipe, figures)
    if sources is None or packages is None or builds is None:
        return None
    own = dict(recipe.files) | {str(workspace.lock): record.stat}
    return Entry(
        value=builds,
        text=installation,
        files=own | sources[0] | packages[0],
        trees=tuple(sources[1].items()),
        folders=packages[1],
    )


def _sources(
    plans: "Iterable[BuildPlan]", record: "Record"
) -> tuple[dict[str, str], dict[Tree, str]] | None:
    """Return the files and trees that people provide; None if one may have changed."""
    files: dict[str, str] = {}
    trees: dict[Tree, str] = {}
    for step in (step for plan in plans for step in plan.steps):
        for source in (item.source for item in step.inputs if item.source is not None):
            known = record.state.sources.known_stat(source)
            if known is None:
                return None
            if source.parts:
                trees[(source.path, source.parts)] = known
            else:
                files[source.path] = known
    return files, trees


def _packages(
    workspace: Workspace, recipe: "RecipePlans"
) -> tuple[dict[str, str], dict[str, str]] | None:
    """Return the files and folders of the recipe's packages; None if a package is missing."""
    from buildsys.execution.state import published
    from buildsys.graph import candidate_names

    without = candidate_names(recipe.plans)
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for build in (plan.build for plan in recipe.plans):
        package, folder = published.read(workspace, build), workspace.package(build)
        if package is not None:
            files |= {f"{folder}/{name}": file.stat for name, file in package.files.items()}
            folders |= {f"{folder}/{name}": text for name, text in package.folders.items()}
        elif build not in without:
            return None
    return files, folders


def _rows(
    recipe: "RecipePlans", figures: Callable[["Plan"], str]
) -> list[dict[str, object]] | None:
    """Return the recipe's builds as values of JSON; None if one's figures cannot be read."""
    from buildsys.graph import candidate_names

    candidates = candidate_names(recipe.plans)
    try:
        builds = [
            SettledBuild(
                id=plan.build,
                label=plan.label,
                candidate=plan.build in candidates,
                figures=figures(plan),
            )
            for plan in recipe.plans
        ]
    except OSError:
        return None
    return [asdict(build) for build in builds]


def _settled(workspace: Workspace) -> Path:
    return workspace.state / "settled.json"
