"""Selects builds by name or pattern; a pattern that matches nothing is an error."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from buildsys.errors import InputError

_MOST_NAMED = 4
"""The most builds of a recipe that a message lists."""


def select(patterns: Sequence[str], builds: Sequence[str]) -> list[str]:
    """Return the matching builds, in order; all of them without patterns. Raises InputError."""
    chosen: list[str] = []
    for pattern in patterns or ["*"]:
        found = [build for build in builds if fnmatchcase(build, pattern.removeprefix("build:"))]
        if not found and patterns:
            hint = suggest(pattern.removeprefix("build:"), builds)
            raise InputError.at(pattern, "matches no build", hint)
        chosen += [build for build in found if build not in chosen]
    return chosen


def matching(pattern: str, recipes: Sequence[str]) -> list[str]:
    """Return the recipes that a pattern of builds may match."""
    wanted = pattern.removeprefix("build:").split("@")[0]
    return [recipe for recipe in recipes if fnmatchcase(recipe, wanted)]


def suggest(name: str, builds: Sequence[str]) -> str:
    """Suggest what was probably meant by a name.

    For a recipe's name: its builds. For a build of an existing recipe: the nearest of its targets.
    Otherwise: the nearest id.
    """
    from buildsys.text import count_text, did_you_mean

    recipe, at, target = name.rpartition("@")
    targets = [
        build.removeprefix(f"{recipe}@") for build in builds if build.startswith(f"{recipe}@")
    ]
    if at and targets:
        near = did_you_mean(target, targets)
        if near.startswith("did you mean `"):
            return near.replace("`", f"`{recipe}@", 1)
        what = recipe.removeprefix("build:")
        return f"{what} has the targets {', '.join(targets)}; add others to `targets` in its recipe"
    own = [build for build in builds if build.startswith((f"{name}@", f"{name}-"))]
    if own and "@" not in name:
        names = f": {', '.join(own)}" if len(own) <= _MOST_NAMED else ""
        return f"`{name}` is a recipe: '{name}*' is its {count_text(len(own), 'build')}{names}"
    return did_you_mean(name, builds)
