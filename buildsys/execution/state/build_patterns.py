"""Selects builds by id, name or pattern; one that matches nothing is an error.

The name of a recipe without `matrix` or with `select`, or of a variant, stands for its builds for
all targets.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from buildsys.errors import InputError

_WILDCARDS = frozenset("*?[")
_MOST_NAMED = 4
"""The most builds of a recipe that a message lists."""


def select(patterns: Sequence[str], builds: Sequence[str]) -> list[str]:
    """Return the matching builds, in order; all of them without patterns. Raises InputError."""
    chosen: list[str] = []
    for pattern in patterns or ["*"]:
        wanted = _whole(pattern.removeprefix("build:"))
        found = [build for build in builds if fnmatchcase(build, wanted)]
        if not found and patterns:
            hint = suggest(pattern.removeprefix("build:"), builds)
            raise InputError.at(pattern, "matches no build", hint)
        chosen += [build for build in found if build not in chosen]
    return chosen


def task_pattern(name: str) -> str:
    """Return the pattern of doit's tasks for an id, name or pattern of builds."""
    return f"build:{_whole(name.removeprefix('build:'))}"


def _whole(name: str) -> str:
    """Return a pattern of ids; a name without a target stands for every target."""
    return name if "@" in name or _WILDCARDS & set(name) else f"{name}@*"


def matching(pattern: str, recipes: Sequence[str]) -> list[str]:
    """Return the recipes that a pattern of builds may match."""
    wanted = pattern.removeprefix("build:").split("@")[0]
    return [recipe for recipe in recipes if fnmatchcase(recipe, wanted)]


def suggest(name: str, builds: Sequence[str]) -> str:
    """Suggest what was probably meant by a name.

    For a recipe's name: its builds. For a build of an existing recipe: the nearest of its targets.
    Otherwise: the nearest name or id.
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
    for pattern in (f"{name}@*", f"{name}-*@*"):  # itself, or its variants
        own = [build for build in builds if build.startswith(pattern.partition("*")[0])]
        if own and "@" not in name:
            names = f": {', '.join(own)}" if len(own) <= _MOST_NAMED else ""
            return (
                f"`{name}` is a recipe: '{pattern}' is its {count_text(len(own), 'build')}{names}"
            )
    near = did_you_mean(name, dict.fromkeys(build.split("@")[0] for build in builds))
    if "@" not in name and near.startswith("did you mean `"):
        return near.replace("`?", "@*`?")
    return did_you_mean(name, builds)
