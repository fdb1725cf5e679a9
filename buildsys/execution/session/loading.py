"""Loads the workspace's plans: unchanged ones from the cache, the others read and planned now."""

import contextlib
import dataclasses
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.errors import UNEXPECTED_ERROR, Diagnostic, InputError
from buildsys.execution.places import Workspace, datasets_root
from buildsys.execution.state import fingerprint, plan_cache
from buildsys.execution.state.plans import Plans, RecipePlans
from buildsys.execution.unexpected import UNEXPECTED, find
from buildsys.files import may_change_again, misnamed_yaml_files, stat_text
from buildsys.graph import Plan, SelectionPlan, WaitingPlan
from buildsys.lockfile import read_lock
from buildsys.operating_system import next_file_tick_ns

if TYPE_CHECKING:  # these modules read YAML
    from buildsys.authoring.recipes.build import Build, Selection
    from buildsys.authoring.recipes.loader import LoadedRecipe, Loader, Unwritten


def load_plans(workspace: Workspace, settled: frozenset[str] = frozenset()) -> Plans:
    """Return the plans of all recipes except the settled ones; unchanged plans come from the
    cache.
    """
    workspace.check_own()
    with _nothing_collected():
        return _load(workspace, settled)


@contextlib.contextmanager
def _nothing_collected() -> Iterator[None]:
    """Pause Python's cycle collection: it would scan millions of new, living values repeatedly."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _load(workspace: Workspace, settled: frozenset[str]) -> Plans:
    paths = [p for p in fingerprint.recipe_files(workspace) if p.stem not in settled]
    installation = fingerprint.installation(workspace)
    found: dict[Path, RecipePlans] = {}
    for path in paths:
        known = plan_cache.find(workspace, path, installation)
        if known is not None:
            found[path] = known
    missing = [path for path in paths if path not in found]
    made, common = _make(workspace, missing) if missing or not (paths or settled) else ({}, ())
    for path, recipe in made.items():
        found[path] = recipe
        if recipe.lasting and not common:
            plan_cache.keep(workspace, recipe, installation)
    return _joined([found[path] for path in paths], (*common, *_misnamed(workspace)))


def read_builds(workspace: Workspace) -> tuple["Build", ...]:
    """Return every build of the workspace that has no mistakes."""
    return tuple(build for recipe in read_recipes(workspace) for build in recipe.builds)


def read_recipes(workspace: Workspace) -> tuple["LoadedRecipe", ...]:
    """Return every recipe of the workspace, with its builds that have no mistakes."""
    from buildsys.authoring.recipes.loader import Loader

    loader = Loader(workspace.root, read_lock(workspace.lock), datasets_root())
    return tuple(loader.recipe(path) for path in fingerprint.recipe_files(workspace))


def make_plans(workspace: Workspace, unwritten: "Unwritten | None" = None) -> Plans:
    """Read and plan everything now, `unwritten` text included."""
    drafts = unwritten.recipes if unwritten else ()
    paths = sorted({*fingerprint.recipe_files(workspace), *drafts})
    made, common = _make(workspace, paths, unwritten)
    return _joined(list(made.values()), (*common, *_misnamed(workspace)))


def _joined(recipes: list[RecipePlans], common: tuple[Diagnostic, ...]) -> Plans:
    """Join the plans of all recipes; if two builds share an id, the second recipe has the
    mistake.
    """
    owners: dict[str, str] = {}
    mistakes = []
    for recipe in recipes:
        for plan in recipe.plans:
            other = owners.setdefault(plan.build, recipe.name)
            if other != recipe.name:
                message = f"its build {plan.build} has the same id as one of recipes/{other}.yaml"
                hint = "rename one of the recipes, or the variant"
                path = f"recipes/{recipe.name}.yaml"
                mistakes.append(Diagnostic(path=path, message=message, hint=hint))
    clashing = {diagnostic.path for diagnostic in mistakes}
    kept = [r for r in recipes if f"recipes/{r.name}.yaml" not in clashing]
    for recipe in recipes:
        if f"recipes/{recipe.name}.yaml" in clashing:
            own = tuple(d for d in mistakes if d.path == f"recipes/{recipe.name}.yaml")[:1]
            kept.append(dataclasses.replace(recipe, plans=(), diagnostics=own, lasting=False))
    return Plans(tuple(sorted(kept, key=lambda recipe: recipe.name)), common)


def _make(
    workspace: Workspace, paths: list[Path], unwritten: "Unwritten | None" = None
) -> tuple[dict[Path, RecipePlans], tuple[Diagnostic, ...]]:
    """Return plans by recipe, and the mistakes of the workspace itself."""
    from buildsys.authoring.recipes.loader import Loader

    if not (paths or fingerprint.recipe_files(workspace)):
        message = "no recipe found"
        hint = workspace.hint_without_recipes(
            "write recipes/NAME.yaml, or `buildsys init` in an empty folder"
        )
        return {}, (Diagnostic(path="recipes", message=message, hint=hint),)
    recorded = read_lock(workspace.lock)
    since = next_file_tick_ns()
    loader = Loader(workspace.root, recorded, datasets_root(), unwritten)
    made = {path: _read_recipe(workspace, loader, path, since) for path in paths}
    return made, loader.diagnostics


def _misnamed(workspace: Workspace) -> Iterator[Diagnostic]:
    """Yield a warning for each recipe or target that is not read because of its ending."""
    for folder in ("recipes", "targets", "targets/firmware"):
        for name in misnamed_yaml_files(workspace.root / folder):
            yield Diagnostic(
                path=f"{folder}/{name}",
                message="this file is not read: its name does not end in .yaml",
                hint=f"rename it: {Path(name).stem}.yaml",
                severity="warning",
            )


def _read_recipe(workspace: Workspace, loader: "Loader", path: Path, since: int) -> RecipePlans:
    """Return a recipe's plans; an unexpected error in one recipe does not stop the others."""
    try:
        return _plan_recipe(workspace, loader, path, since)
    except UNEXPECTED as error:
        found = find(error, f"planning {path.name}", workspace.root)
        mistake = Diagnostic(
            path=f"recipes/{path.name}",
            message=found.message,
            hint=f"{found.place}; {found.way_out}",
            severity=UNEXPECTED_ERROR,
        )
        return RecipePlans(
            name=path.stem, plans=(), diagnostics=(mistake,), files=(), lasting=False
        )


def _plan_recipe(workspace: Workspace, loader: "Loader", path: Path, since: int) -> RecipePlans:
    from buildsys.authoring.recipes.families import network
    from buildsys.execution.session.build_planning import complete_steps, fit_key_of, plan_build
    from buildsys.execution.tools import host_facts
    from buildsys.planning.local_gpu import is_local, needs_gpu_facts

    loaded = loader.recipe(path)
    plans, known = list[Plan](), complete_steps()
    diagnostics = list(loaded.diagnostics)
    for build in loaded.builds:
        if build.waiting_for:
            plans.append(_waiting(build))
            continue
        try:
            plan = plan_build(build, workspace, known)
            fit = fit_key_of(build) if network(build.recipe.source.family) else ""
            plans.append(dataclasses.replace(plan, fit=fit))
        except InputError as error:
            diagnostics += error.diagnostics
    plans += [_selection(selection, plans) for selection in loaded.selections]
    on_gpu = [build for build in loaded.builds if needs_gpu_facts(build)]
    watched = {*loaded.read, *(host_facts.watched_files() if on_gpu else ())}
    files = tuple((name, stat_text(name)) for name in sorted(watched))
    unseen = any(host_facts.can_change_unseen(is_local(build)) for build in on_gpu)
    racy = any(may_change_again(text, since) for _, text in files)
    broken = any(diagnostic.is_error for diagnostic in diagnostics)
    return RecipePlans(
        name=loaded.name,
        plans=tuple(plans),
        diagnostics=tuple(diagnostics),
        files=files,
        lasting=not (racy or broken or unseen),  # a change to any file may fix a mistake
    )


def _waiting(build: "Build") -> WaitingPlan:
    return WaitingPlan(
        build=build.id,
        recipe=build.recipe.name,
        target=build.target.name,
        label=build.target.label,
        facts=build.facts,
        waiting_for=build.waiting_for,
        archive=build.archive,
    )


def _selection(selection: "Selection", plans: list[Plan]) -> SelectionPlan:
    label = next((p.label for p in plans if p.build in selection.candidates), selection.target)
    return SelectionPlan(
        build=selection.id,
        recipe=selection.recipe,
        target=selection.target,
        label=label,
        candidates=selection.candidates,
        metric=selection.metric,
        maximize=selection.maximize,
    )
