"""`benchmark.against`: which builds are timed together. Pure; the builds of all recipes are known.

It says nothing of when they are built: what is compared is what there is at the end of a run (see
comparing).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from buildsys.errors import Diagnostic
from buildsys.graph import Against, Plan

_MOST = 64
"""Files that one process holds and times in turn."""


@dataclass(frozen=True, kw_only=True)
class Rivals:
    """`builds`: (build, the builds that it is timed with, itself among them); `wrong`: (build,
    mistake).
    """

    builds: tuple[tuple[str, tuple[str, ...]], ...]
    wrong: tuple[tuple[str, Diagnostic], ...]


def find_rivals(plans: Iterable[Plan], broken: Iterable[str]) -> Rivals:
    """`broken`: recipes with a mistake, whose builds nobody knows: they are left out."""
    found = _Finder(tuple(plans), tuple(broken))
    for plan in found.plans:
        found.read(plan)
    found.tell_alone()
    for plan in found.plans:
        together = {name for member in plan.candidates for name in found.builds.get(member, ())}
        if together:  # what a selection ships is one of them
            found.builds[plan.build] = tuple(sorted(together))
    return Rivals(builds=tuple(found.builds.items()), wrong=tuple(found.wrong))


class _Finder:
    def __init__(self, plans: tuple[Plan, ...], broken: tuple[str, ...]) -> None:
        self.plans, self.broken = plans, broken
        self.choices = {plan.build: plan.candidates for plan in plans if plan.candidates}
        self.names = [plan.build for plan in plans if not plan.candidates]
        self.builds: dict[str, tuple[str, ...]] = {}
        self.wrong: list[tuple[str, Diagnostic]] = []
        self.alone: list[tuple[str, Against]] = []
        self._matched: dict[str, list[str]] = {}

    def read(self, plan: Plan) -> None:
        """What a build is compared with, or what is wrong with its lines."""
        wishes = plan.comparison.against if plan.comparison else ()
        told = [diagnostic for wish in wishes for diagnostic in self._mistake(plan, wish)]
        together = {name for wish in wishes for name in self._match(wish.pattern)} | {plan.build}
        if wishes and not told and len(together) > _MOST:
            message = f"{len(together)} builds match; at most {_MOST} are timed together"
            told = [replace(wishes[0].place, message=message, hint="a narrower pattern")]
        self.wrong += [(plan.build, diagnostic) for diagnostic in told]
        if not told and len(together) > 1:
            self.builds[plan.build] = tuple(sorted(together))
        elif not told and wishes and self._match(wishes[0].pattern):
            self.alone.append((plan.build, wishes[0]))

    def tell_alone(self) -> None:
        """A line that compares a build with itself; of a matrix, one variant may be the one named."""
        fine = {
            plan.comparison.against[0].place
            for plan in self.plans
            if plan.comparison and plan.build in self.builds
        }
        for build, wish in self.alone:
            if wish.place not in fine:
                message = f"this compares {build} with itself alone"
                told = replace(wish.place, message=message, hint="name other builds")
                self.wrong.append((build, told))

    def _match(self, pattern: str) -> list[str]:
        if pattern not in self._matched:
            self._matched[pattern] = [n for n in self.names if fnmatchcase(n, pattern)]
        return self._matched[pattern]

    def _mistake(self, plan: Plan, wish: Against) -> list[Diagnostic]:
        """A pattern that matches nothing, unless it may speak of a recipe that cannot be read."""
        pattern = wish.pattern
        if self._match(pattern) or any(pattern.startswith(name) for name in self.broken):
            return []
        if pattern in self.choices:
            message = f"{pattern} is a choice between variants, and has no file of its own"
            hint = f"name a variant, for example {self.choices[pattern][0]}"
            return [replace(wish.place, message=message, hint=hint)]
        from buildsys.text import did_you_mean

        others = [name for name in self.names if name != plan.build]
        message = f"`{pattern}` matches no build"
        return [replace(wish.place, message=message, hint=did_you_mean(pattern, others))]
