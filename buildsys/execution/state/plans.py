"""The plans of a workspace as values, recipe by recipe, with the mistakes found."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from buildsys.errors import Diagnostic, errors_of
from buildsys.execution.state.build_patterns import select
from buildsys.graph import Plan


@dataclass(frozen=True, kw_only=True)
class RecipePlans:
    """One recipe's plans, its mistakes, and the stats of the files that it depends on."""

    name: str
    plans: tuple[Plan, ...]
    diagnostics: tuple[Diagnostic, ...]
    files: tuple[tuple[str, str], ...]
    lasting: bool = dataclasses.field(compare=False)
    """False where the next run has to read again: after mistakes, and for files that just changed.
    """


_SEVERAL, _NAMED = 2, 5
"""A diagnostic of at least this many recipes shows their number; the most that are named."""


@dataclass(frozen=True)
class Plans:
    """Every build that can be planned, and the mistakes in the others."""

    recipes: tuple[RecipePlans, ...]
    common: tuple[Diagnostic, ...] = ()
    """Mistakes of the workspace that belong to no single recipe."""

    @classmethod
    def of(cls, plans: Iterable[Plan]) -> "Plans":
        """Return plans that do not come from recipes of the workspace."""
        recipe = RecipePlans(name="", plans=tuple(plans), diagnostics=(), files=(), lasting=False)
        return cls((recipe,))

    @cached_property
    def plans(self) -> tuple[Plan, ...]:
        """Return all plans by id."""
        found = [plan for recipe in self.recipes for plan in recipe.plans]
        return tuple(sorted(found, key=lambda plan: plan.build))

    @cached_property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Return all errors and warnings, once each, by position."""
        found = {*self.common, *(d for recipe in self.recipes for d in recipe.diagnostics)}
        return tuple(sorted(found))

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """Return the diagnostics that are errors."""
        return errors_of(self.diagnostics)

    @property
    def broken(self) -> tuple[str, ...]:
        """Return the recipes that have a mistake."""
        return tuple(self._mistakes)

    def diagnostics_of(self, recipes: Iterable[str]) -> tuple[Diagnostic, ...]:
        """Return the diagnostics of some recipes, in their own files and in files that they use."""
        names = set(recipes)
        found = {d for recipe in self.recipes if recipe.name in names for d in recipe.diagnostics}
        return tuple(sorted(found))

    def concerning(self, recipes: Iterable[str]) -> tuple[Diagnostic, ...]:
        """Return what a command about some recipes prints: their diagnostics, and those of the
        workspace.
        """
        return tuple(sorted({*self.common, *self.diagnostics_of(recipes)}))

    def render(self, diagnostic: Diagnostic) -> str:
        """Format a diagnostic; for a file that several recipes use, with the recipes that it
        affects.
        """
        names = [recipe.name for recipe in self.recipes if diagnostic in recipe.diagnostics]
        if len(names) < _SEVERAL:
            return diagnostic.render()
        more = len(names) - _NAMED
        shown = ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        return f"{diagnostic.render()}\n    note: for {len(names)} recipes: {shown}"

    def select(
        self,
        patterns: Sequence[str],
        builds: Sequence[str] | None = None,
        *,
        by_recipe: bool = False,
    ) -> list[str]:
        """Return the builds that match, among all or among `builds`, see `build_patterns.select`.

        `by_recipe`: the name of any recipe stands for its builds. Raises InputError.
        """
        known = [plan.build for plan in self.plans] if builds is None else builds
        recipes = {plan.build: plan.recipe for plan in self.plans} if by_recipe else {}
        return select(patterns, known, self._mistakes, recipes)

    @property
    def _mistakes(self) -> dict[str, tuple[Diagnostic, ...]]:
        """Return the errors of recipes that have some."""
        found = {recipe.name: errors_of(recipe.diagnostics) for recipe in self.recipes}
        return {name: errors for name, errors in found.items() if errors}
