"""Selects builds by id, name or pattern; one that matches nothing is an error.

The name of a recipe without `matrix` or with `select`, or of a variant, stands for its builds for
all targets.
"""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from buildsys.errors import Diagnostic, InputError

_WILDCARDS = frozenset("*?[")
_MOST_NAMED = 4
"""The most builds of a recipe that a message lists."""
HAS_MISTAKE = "cannot be built: its recipe has a mistake, see above"
_NO_MISTAKES: Mapping[str, tuple[Diagnostic, ...]] = {}
_NO_RECIPES: Mapping[str, str] = {}


def select(
    patterns: Sequence[str],
    builds: Sequence[str],
    broken: Mapping[str, tuple[Diagnostic, ...]] = _NO_MISTAKES,
    recipes: Mapping[str, str] = _NO_RECIPES,
) -> list[str]:
    """Return the matching builds, in order; all of them without patterns.

    `broken`: mistakes by recipe. `recipes`, by build: the name of a recipe, or of a variant, or a
    pattern of these then also stands for all its builds. Raises InputError for a pattern that
    matches nothing; where it matches broken recipes, with their mistakes.
    """
    chosen: dict[str, None] = {}
    for pattern in patterns or ["*"]:
        name = pattern.removeprefix("build:")
        found = [build for build in builds if _matches(build, name, recipes)]
        if not found and patterns:
            mistakes = {d for recipe in matching(name, broken, builds) for d in broken[recipe]}
            if mistakes:
                raise InputError(*sorted(mistakes), Diagnostic(path=pattern, message=HAS_MISTAKE))
            message = "matches no build and no recipe" if recipes else "matches no build"
            raise InputError.at(pattern, message, suggest(name, builds, set(recipes.values())))
        chosen |= dict.fromkeys(found)
    return list(chosen)


def _matches(build: str, name: str, recipes: Mapping[str, str]) -> bool:
    variant = build.split("@", maxsplit=1)[0]
    others = (variant, recipes[build]) if recipes else ()
    return fnmatchcase(build, _whole(name)) or any(fnmatchcase(other, name) for other in others)


def task_pattern(name: str) -> str:
    """Return the pattern of doit's tasks for an id, name or pattern of builds."""
    return f"build:{_whole(name.removeprefix('build:'))}"


def _whole(name: str) -> str:
    """Return a pattern of ids; a name without a target stands for every target."""
    return name if "@" in name or _WILDCARDS & set(name) else f"{name}@*"


def matching(pattern: str, broken: Iterable[str], builds: Iterable[str]) -> list[str]:
    """Return the broken recipes whose builds a pattern that matches no build may mean; they may have
    variants, which cannot be listed. `builds`: those that can be planned.
    """
    wanted = pattern.removeprefix("build:").split("@")[0]
    if any(build.startswith(f"{wanted}@") for build in builds):
        return []
    return [
        recipe for recipe in broken if fnmatchcase(recipe, wanted) or is_variant(wanted, recipe)
    ]


def is_variant(name: str, recipe: str) -> bool:
    """Return whether a name begins like those of a recipe's variants."""
    return name.startswith(f"{recipe}-")


def suggest(name: str, builds: Sequence[str], recipes: Iterable[str] = ()) -> str:
    """Suggest what was probably meant by a name.

    For a recipe's name: its builds. For a build of an existing recipe: the nearest of its targets.
    Otherwise: the nearest name or id. `recipes`: names that stand for their builds as they are.
    """
    from buildsys.text import count_text, did_you_mean, nearest

    recipe, at, target = name.rpartition("@")
    targets = [
        build.removeprefix(f"{recipe}@") for build in builds if build.startswith(f"{recipe}@")
    ]
    if at and targets:
        near = nearest(target, targets)
        if near is not None:
            return f"did you mean `{recipe}@{near}`?"
        what = recipe.removeprefix("build:")
        return f"{what} has the targets {', '.join(targets)}; add others to `targets` in its recipe"
    for pattern in (f"{name}@*", f"{name}-*@*"):  # itself, or its variants
        own = [build for build in builds if build.startswith(pattern.partition("*")[0])]
        if own and "@" not in name:
            names = f": {', '.join(own)}" if len(own) <= _MOST_NAMED else ""
            return (
                f"`{name}` is a recipe: '{pattern}' is its {count_text(len(own), 'build')}{names}"
            )
    if "@" not in name:
        known = nearest(name, recipes)
        if known is not None:
            return f"did you mean `{known}`?"
        near = nearest(name, {build.split("@")[0] for build in builds})
        if near is not None:
            return f"did you mean `{near}@*`?"
    return did_you_mean(name, builds)
