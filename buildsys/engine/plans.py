"""The workspace's plans, kept as JSON a recipe: what did not change is not parsed again.

What a plan depends on is watched by stat: the files that were read for its recipe, our own code and
data. Losing the cache costs a second.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import buildsys
from buildsys.digest import digest_value
from buildsys.engine import fingerprint
from buildsys.engine.lockfile import read_lock
from buildsys.engine.places import Workspace, datasets_root
from buildsys.engine.rivals import find_rivals
from buildsys.errors import Diagnostic, InputError
from buildsys.graph import Against, Comparison, Input, Origin, Output, Plan, Source, Step


@dataclass(frozen=True, kw_only=True)
class RecipePlans:
    """One recipe's builds, what is wrong with the rest, and the stats of the files it rests on."""

    name: str
    plans: tuple[Plan, ...]
    diagnostics: tuple[Diagnostic, ...]
    files: tuple[tuple[str, str], ...]
    lasting: bool = dataclasses.field(compare=False)
    """False where the next run has to look again: mistakes, and files that were just changed."""


@dataclass(frozen=True)
class Plans:
    """Every build that can be planned, and what is wrong with the rest."""

    recipes: tuple[RecipePlans, ...]
    common: tuple[Diagnostic, ...] = ()
    """What is wrong with the workspace, whichever recipe one looks at."""

    @classmethod
    def of(cls, plans: Iterable[Plan]) -> "Plans":
        """Plans that no recipe of the workspace says."""
        recipe = RecipePlans(name="", plans=tuple(plans), diagnostics=(), files=(), lasting=False)
        return cls((recipe,))

    @cached_property
    def plans(self) -> tuple[Plan, ...]:
        """All plans, by id."""
        found = [plan for recipe in self.recipes for plan in recipe.plans]
        return tuple(sorted(found, key=lambda plan: plan.build))

    @cached_property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All that is wrong or noteworthy, once each, by place."""
        found = {*self.common, *(d for recipe in self.recipes for d in recipe.diagnostics)}
        return tuple(sorted(found))

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The diagnostics that are no mere warnings."""
        return tuple(d for d in self.diagnostics if d.severity == "error")

    @property
    def broken(self) -> tuple[str, ...]:
        """Recipes with a mistake."""
        return tuple(
            recipe.name for recipe in self.recipes
            if any(d.severity == "error" for d in recipe.diagnostics)
        )  # fmt: skip


def load_plans(workspace: Workspace, settled: frozenset[str] = frozenset()) -> Plans:
    """Plans of all recipes but the settled ones; from the cache what did not change.

    Of all recipes, settled or not, where builds are compared: with any of them.
    """
    paths = [p for p in fingerprint.recipe_files(workspace) if p.stem not in settled]
    installation = fingerprint.installation(workspace)
    found: dict[Path, RecipePlans] = {}
    for path in paths:
        known = _cached(workspace, path, installation)
        if known is not None:
            found[path] = known
    missing = [path for path in paths if path not in found]
    made, common = _make(workspace, missing) if missing or not (paths or settled) else ({}, ())
    for path, recipe in made.items():
        found[path] = recipe
        if recipe.lasting and not common:
            _keep(workspace, recipe, installation)
    plans = _joined([found[path] for path in paths], common)
    if not any(plan.comparison for plan in plans.plans):
        return plans
    return load_plans(workspace) if settled else _compared(plans)


def read_builds(workspace: Workspace) -> tuple[Any, ...]:
    """Every Build of the workspace that is whole."""
    from buildsys.authoring.builds import Loader
    from buildsys.authoring.facts import Recorded

    recorded = Recorded(lines=read_lock(workspace.lock).lines)
    loader = Loader(workspace.root, recorded, datasets_root())
    paths = fingerprint.recipe_files(workspace)
    return tuple(build for path in paths for build in loader.recipe(path).builds)


def make_plans(workspace: Workspace) -> Plans:
    """Read and plan everything now."""
    made, common = _make(workspace, fingerprint.recipe_files(workspace))
    return _compared(_joined(list(made.values()), common))


def _compared(plans: Plans) -> Plans:
    """With the builds that each is compared with; a recipe that compares rests on all recipes."""
    found = find_rivals(plans.plans, plans.broken)
    rivals, wrong = dict(found.builds), {build for build, _ in found.wrong}
    files = tuple(sorted({file for recipe in plans.recipes for file in recipe.files}))
    certain = all(recipe.lasting for recipe in plans.recipes)
    recipes = []
    for recipe in plans.recipes:
        own = {plan.build for plan in recipe.plans}  # one line of the recipe, however many builds
        told = tuple(dict.fromkeys(mistake for build, mistake in found.wrong if build in own))
        kept = [plan for plan in recipe.plans if plan.build not in wrong]
        named = tuple(dataclasses.replace(p, rivals=rivals.get(p.build, ())) for p in kept)
        compares = bool(told) or any(plan.rivals for plan in named)
        recipes.append(
            dataclasses.replace(
                recipe, plans=named, diagnostics=(*recipe.diagnostics, *told),
                files=files if compares else recipe.files,
                lasting=certain and not told if compares else recipe.lasting,
            )
        )  # fmt: skip
    return Plans(tuple(recipes), plans.common)


def _joined(recipes: list[RecipePlans], common: tuple[Diagnostic, ...]) -> Plans:
    """Together; two builds of one id are told where the second one's recipe is."""
    owners: dict[str, str] = {}
    told = []
    for recipe in recipes:
        for plan in recipe.plans:
            other = owners.setdefault(plan.build, recipe.name)
            if other != recipe.name:
                message = f"its build {plan.build} has the id of one of recipes/{other}.yaml"
                hint = "rename one of the recipes, or the variant"
                path = f"recipes/{recipe.name}.yaml"
                told.append(Diagnostic(path=path, message=message, hint=hint))
    clashing = {diagnostic.path for diagnostic in told}
    kept = [r for r in recipes if f"recipes/{r.name}.yaml" not in clashing]
    for recipe in recipes:
        if f"recipes/{recipe.name}.yaml" in clashing:
            own = tuple(d for d in told if d.path == f"recipes/{recipe.name}.yaml")[:1]
            kept.append(dataclasses.replace(recipe, plans=(), diagnostics=own, lasting=False))
    return Plans(tuple(sorted(kept, key=lambda recipe: recipe.name)), common)


def _make(
    workspace: Workspace, paths: list[Path]
) -> tuple[dict[Path, RecipePlans], tuple[Diagnostic, ...]]:
    """Plans by recipe, and what is wrong with the workspace itself."""
    from buildsys.authoring.builds import Loader
    from buildsys.authoring.facts import Recorded

    if not fingerprint.recipe_files(workspace):
        message = "there is no recipe here"
        hint = "write recipes/NAME.yaml, or `buildsys init` in an empty folder"
        return {}, (Diagnostic(path="recipes", message=message, hint=hint),)
    recorded = Recorded(lines=read_lock(workspace.lock).lines)
    since = fingerprint.begin_reading()
    loader = Loader(workspace.root, recorded, datasets_root())
    made = {path: _plan_recipe(workspace, loader, path, since) for path in paths}
    return made, loader.diagnostics


def _plan_recipe(workspace: Workspace, loader: Any, path: Path, since: int) -> RecipePlans:
    from buildsys.authoring.families import network
    from buildsys.engine.fitkeys import fit_key
    from buildsys.planning import planner

    loaded = loader.recipe(path)
    plans, diagnostics = [], list(loaded.diagnostics)
    for build in loaded.builds:
        if build.waiting_for:
            plans.append(_waiting(build))
            continue
        try:
            plan = complete(planner.plan(build, str(workspace.root)))
            fit = fit_key(build) if network(build.recipe.source.family) else ""
            plans.append(dataclasses.replace(plan, fit=fit))
        except InputError as error:
            diagnostics += error.diagnostics
    plans += [_selection(selection, plans) for selection in loaded.selections]
    files = tuple((name, fingerprint.stat_text(name)) for name in loaded.read)
    racy = fingerprint.is_racy((text for _, text in files), since)
    broken = any(diagnostic.severity == "error" for diagnostic in diagnostics)
    return RecipePlans(
        name=loaded.name, plans=tuple(plans), diagnostics=tuple(diagnostics), files=files,
        lasting=not racy and not broken,  # what mends a mistake may be any file
    )  # fmt: skip


def complete(plan: Plan) -> Plan:
    """A plan whose steps know their code and their tools."""
    from buildsys.engine import stepcode
    from buildsys.engine.toolenvs import tool_env

    steps = []
    for step in plan.steps:
        env = tool_env(step.tool_env) if step.tool_env else None
        steps.append(
            dataclasses.replace(
                step,
                code=stepcode.code_digest(step.module, stepcode.PACKAGE),
                tool=f"{env.title} {_version(env, step)}"
                if env
                else f"buildsys {buildsys.__version__}",
                tool_identity=env.identity if env else "",
            )
        )
    return dataclasses.replace(plan, steps=tuple(steps))


def _version(env: Any, step: Step) -> str:
    """Of an external tool: the one that the target declares."""
    return str(json.loads(step.params)["version"] if env.external else env.version)


def _waiting(build: Any) -> Plan:
    return Plan(
        build=build.id, recipe=build.recipe.name, target=build.target.name,
        label=build.target.label, steps=(), package="", shipped=None, verdicts=(), notes=(),
        licences=(), facts=build.facts, waiting_for=build.waiting_for,
        archive=(build.archive.url, build.archive.sha256) if build.archive else (),
    )  # fmt: skip


def _selection(selection: Any, plans: list[Plan]) -> Plan:
    """A plan that has no steps of its own: it ships what one of its candidates made."""
    label = next((p.label for p in plans if p.build in selection.candidates), selection.target)
    return Plan(
        build=selection.id, recipe=selection.recipe, target=selection.target, label=label,
        steps=(), package="", shipped=None, verdicts=(), notes=(), licences=(),
        candidates=selection.candidates, metric=selection.metric, maximize=selection.maximize,
    )  # fmt: skip


def _cached(workspace: Workspace, path: Path, installation: str) -> RecipePlans | None:
    """What was kept of a recipe, if nothing that it rests on changed."""
    try:
        data = json.loads((workspace.plans / f"{path.stem}.json").read_bytes())
        current = all(fingerprint.stat_text(name) == text for name, text in data["files"])
        return _decode(data) if data["installation"] == installation and current else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent, of another version, damaged


def _keep(workspace: Workspace, recipe: RecipePlans, installation: str) -> None:
    target = workspace.plans / f"{recipe.name}.json"
    temporary = target.with_suffix(f".{os.getpid()}")
    text = json.dumps({"installation": installation, **_encode(recipe)})
    with contextlib.suppress(OSError):  # a full disk is told of where it matters
        workspace.plans.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)


def _encode(recipe: RecipePlans) -> dict[str, Any]:
    """Steps once, however many plans share them."""
    steps = {_key(s): dataclasses.asdict(s) for plan in recipe.plans for s in plan.steps}
    rows = []
    for plan in recipe.plans:
        row = {f.name: getattr(plan, f.name) for f in dataclasses.fields(plan)}
        row["steps"] = [_key(step) for step in plan.steps]
        row["shipped"] = dataclasses.asdict(plan.shipped) if plan.shipped else None
        row["comparison"] = dataclasses.asdict(plan.comparison) if plan.comparison else None
        rows.append(row)
    diagnostics = [dataclasses.asdict(diagnostic) for diagnostic in recipe.diagnostics]
    return {
        "name": recipe.name, "files": recipe.files, "steps": steps, "plans": rows,
        "diagnostics": diagnostics,
    }  # fmt: skip


def _key(step: Step) -> str:
    """Builds share a step's id; each has its own name for it, and its own lines of parameters."""
    return f"{step.id} {digest_value([step.stage, step.origins])[:16]}"


def _decode(data: dict[str, Any]) -> RecipePlans:
    steps = {key: _step(row) for key, row in data["steps"].items()}
    return RecipePlans(
        name=data["name"],
        plans=tuple(_plan(row, steps) for row in data["plans"]),
        diagnostics=tuple(Diagnostic(**row) for row in data["diagnostics"]),
        files=tuple((name, text) for name, text in data["files"]),
        lasting=True,
    )


def _plan(row: dict[str, Any], steps: dict[str, Step]) -> Plan:
    own = {
        "steps": tuple(steps[key] for key in row["steps"]),
        "shipped": _input(row["shipped"]) if row["shipped"] else None,
        "facts": tuple((name, text) for name, text in row["facts"]),
        "comparison": _comparison(row["comparison"]) if row["comparison"] else None,
    }
    lists = {
        name: tuple(row[name])
        for name in ("notes", "licences", "candidates", "archive", "verdicts", "proofs", "rivals")
    }
    return Plan(**{**row, **own, **lists})


def _comparison(row: dict[str, Any]) -> Comparison:
    lines = [(item["pattern"], Diagnostic(**item["place"])) for item in row["against"]]
    against = tuple(Against(pattern=pattern, place=place) for pattern, place in lines)
    return Comparison(**{**row, "against": against})


def _step(row: dict[str, Any]) -> Step:
    return Step(
        **{
            **row,
            "inputs": tuple(_input(item) for item in row["inputs"]),
            "outputs": tuple(Output(**item) for item in row["outputs"]),
            "origins": tuple(Origin(**item) for item in row["origins"]),
        }
    )


def _input(row: dict[str, Any]) -> Input:
    source = row["source"]
    if source is None:
        return Input(**row)
    return Input(**{**row, "source": Source(**{**source, "parts": tuple(source["parts"])})})
