"""What doit's command line asks for: its names are patterns of builds, and none may match nothing."""

import re
import sys
from collections.abc import Iterable

from doit import doit_cmd
from doit.exceptions import InvalidTask

from buildsys.execution.state.plans import Plans

_OPTIONS_WITH_VALUE = frozenset({"-n", "-f", "-d", "-v", "-o", "-r", "-P", "-s"})
COMMANDS = frozenset(
    {
        "run",
        "list",
        "info",
        "clean",
        "forget",
        "help",
        "ignore",
        "dumpdb",
        "strace",
        "tabcompletion",
        "reset-dep",
        "build",
    }
)
"""Words of doit's command line that name no build; `build` is the group of them all."""
REPORT = "report"
"""A task without an action: the end of every run brings the report up to date."""


def arguments() -> list[str]:
    """The names on doit's command line."""
    found, skip = [], False
    for argument in sys.argv[1:]:
        if skip:
            skip = False
        elif argument.startswith("-"):
            skip = argument in _OPTIONS_WITH_VALUE
        else:
            found.append(argument)
    return found


def is_run() -> bool:
    """Whether doit was asked to build, not to list or explain."""
    words = [word for word in arguments() if word in COMMANDS]
    return not words or words[0] in ("run", "build")


def selects(pattern: str, names: list[str]) -> bool:
    """Whether a pattern of doit's means any of some tasks."""
    from fnmatch import fnmatchcase

    return any(fnmatchcase(name, pattern) for name in names)


def check_arguments(labels: Iterable[str], loaded: Plans) -> None:
    """A name that nothing has is an error with a suggestion, never a green run."""
    assigned = getattr(doit_cmd, "_CMDLINE_VARS", None) or {}
    if assigned:
        name, value = next(iter(assigned.items()))
        raise InvalidTask(f"`{name}={value}` names no build; see `doit list`.")
    if re.search(r"(-P|--parallel-type)[ =]?process\b", " ".join(sys.argv[1:])):
        raise InvalidTask("steps are processes already; `-n N` is enough: leave `-P process` out.")
    names = [f"build:{build}" for build in labels]
    for argument in arguments():
        if argument not in (*COMMANDS, REPORT) and not selects(argument, names):
            from buildsys.execution.state.build_patterns import suggest

            for diagnostic in loaded.errors:
                print(diagnostic.render(), file=sys.stderr)
            recipe = argument.removeprefix("build:").split("@")[0]
            if recipe in loaded.broken:
                raise InvalidTask(
                    f"`{argument}` cannot be built: its recipe has a mistake, see above."
                )
            wanted = argument if argument.startswith("build:") else f"build:{argument}"
            hint = suggest(wanted, names)
            raise InvalidTask(f"`{argument}` matches no build; {hint or 'see `doit list`'}")
