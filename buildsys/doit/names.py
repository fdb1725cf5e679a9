"""Checks the names that a person gives doit; every pattern must match a build."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from doit import get_var
from doit.exceptions import InvalidTask

from buildsys.execution.state.plans import Plans
from buildsys.printing import guard

REPORT = "report"
"""A task without an action: the end of every run updates the report."""


def matches(pattern: str, names: Iterable[str]) -> bool:
    """Return whether a name or pattern matches any of some tasks."""
    return any(fnmatchcase(name, pattern) for name in names)


def check_names(
    given: Sequence[str],
    builds: Iterable[str],
    others: Iterable[str],
    loaded: Plans,
    typed: Mapping[str, str],
) -> None:
    """Raise InvalidTask, with a suggestion, for a name that matches no task.

    `others`: further names that doit accepts: the report, files of packages, tasks of a dodo.py.
    `typed`: what a person typed for a pattern of tasks, if that was not the pattern.
    """
    builds = list(builds)
    names = [f"build:{build}" for build in builds]
    accepted = [*names, REPORT, *others]
    for name in given:
        if matches(name, accepted):
            continue
        from buildsys.execution.state.build_patterns import HAS_MISTAKE, matching, suggest

        for diagnostic in loaded.errors:
            print(loaded.render(diagnostic), file=guard(sys.stderr))
        shown = typed.get(name, name)
        if matching(name, loaded.broken, builds):
            raise InvalidTask(f"`{shown}` {HAS_MISTAKE}.")
        bare = name in typed and not shown.startswith("build:")
        hint = suggest(shown, builds) if bare else suggest(_prefixed(shown), names)
        raise InvalidTask(f"`{shown}` matches no build; {hint or 'see `doit list`'}")


def _prefixed(name: str) -> str:
    return name if name.startswith("build:") else f"build:{name}"


def check_variables(builds: Iterable[str]) -> None:
    """Raise InvalidTask if a build's name is assigned a value.

    doit removes `name=value` from the arguments, whatever the name, so that `doit build:ID=x` would
    build everything. Its variables can only be queried by name: the parts of builds' names are
    checked, and any other one is a variable of dodo.py.
    """
    for build in builds:
        recipe, _, target = build.partition("@")
        for name in (f"build:{build}", build, f"build:{recipe}", recipe, target):
            _refuse_variable(name)
    for name in ("build", "builds", "recipe", "target", REPORT):
        _refuse_variable(name)


def _refuse_variable(name: str) -> None:
    value = get_var(name)
    if value is not None:
        raise InvalidTask(f"`{name}={value}` is not a build; see `doit list`.")
