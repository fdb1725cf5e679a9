"""The plans of a workspace as values: recipe by recipe, with what is wrong with the rest."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import buildsys
from buildsys.errors import Diagnostic, InputError
from buildsys.execution.state.build_patterns import matching, select
from buildsys.graph import BuildPlan, Plan, Step
from buildsys.typed_json import maker

if TYPE_CHECKING:
    from buildsys.execution.tools.definitions import ToolEnv


@dataclass(frozen=True, kw_only=True)
class RecipePlans:
    """One recipe's builds, what is wrong with the rest, and the stats of the files it rests on."""

    name: str
    plans: tuple[Plan, ...]
    diagnostics: tuple[Diagnostic, ...]
    files: tuple[tuple[str, str], ...]
    lasting: bool = dataclasses.field(compare=False)
    """False where the next run has to look again: mistakes, and files that were just changed."""


_SEVERAL, _NAMED = 2, 5
"""Recipes of one diagnostic that are counted, and those of them that are named."""


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
        return tuple(d for d in self.diagnostics if d.is_error)

    @property
    def broken(self) -> tuple[str, ...]:
        """Recipes with a mistake."""
        return tuple(
            recipe.name for recipe in self.recipes if any(d.is_error for d in recipe.diagnostics)
        )

    def diagnostics_of(self, recipes: Iterable[str]) -> tuple[Diagnostic, ...]:
        """What is wrong or noteworthy of some recipes, in their own files and in those they rest on."""
        names = set(recipes)
        found = {d for recipe in self.recipes if recipe.name in names for d in recipe.diagnostics}
        return tuple(sorted(found))

    def render(self, diagnostic: Diagnostic) -> str:
        """A diagnostic; of a file that several recipes rest on, whom it stops or concerns."""
        names = [recipe.name for recipe in self.recipes if diagnostic in recipe.diagnostics]
        if len(names) < _SEVERAL:
            return diagnostic.render()
        more = len(names) - _NAMED
        shown = ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        return f"{diagnostic.render()}\n    note: for {len(names)} recipes: {shown}"

    def select(self, patterns: Sequence[str]) -> list[str]:
        """The builds that match, as `build_patterns.select`; for a recipe with mistakes the error lists them.

        Raises InputError.
        """
        try:
            return select(patterns, [plan.build for plan in self.plans])
        except InputError as error:
            name = error.diagnostics[0].path
            known = self.diagnostics_of(matching(name, self.broken))
            own = tuple(d for d in known if d.is_error)
            if not own:
                raise
            message = "cannot be built: its recipe has a mistake, see above"
            raise InputError(*own, Diagnostic(path=name, message=message)) from error


def plan_beside(
    name: str, label: str, steps: tuple[Step, ...], recipe: str = "", target: str = ""
) -> BuildPlan:
    """Steps that run besides the builds and ship nothing; the last one makes the result."""
    return complete(
        BuildPlan(
            build=name,
            recipe=recipe,
            target=target,
            label=label,
            steps=steps,
            package=steps[-1].id,
            shipped=None,
        )
    )


def complete(plan: BuildPlan) -> BuildPlan:
    """A plan whose steps have the digests of their code and tools."""
    return dataclasses.replace(plan, steps=tuple(complete_step(step) for step in plan.steps))


def complete_step(step: Step) -> Step:
    """A step with the digests of its code and tool."""
    from buildsys.execution.state import code_digest
    from buildsys.execution.tools.definitions import tool_env

    env = tool_env(step.tool_env) if step.tool_env else None
    return _make_step(
        {
            **vars(step),
            "code": code_digest.code_digest(step.module, code_digest.PACKAGE),
            "tool": f"{env.title} {_version(env, step)}"
            if env
            else f"buildsys {buildsys.__version__}",
            "tool_identity": env.identity if env else "",
        }
    )


_make_step = maker(Step)


def _version(env: "ToolEnv", step: Step) -> str:
    """Of an external tool: the one that the target declares."""
    return str(json.loads(step.params)["version"] if env.external else env.version)
