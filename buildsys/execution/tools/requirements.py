"""What a step cannot do without, asked of the machines that could run it: this one, unless a run has more."""

from collections.abc import Callable

from buildsys.execution.tools.definitions import explain_absence
from buildsys.execution.tools.host_tools import missing_requirement
from buildsys.graph import Step

MissingForStep = Callable[[Step], tuple[str, ...]]
"""What none of a run's machines has of all that a step needs, in words, its `requires` first; empty where
one of them can run the step."""


def missing_here(step: Step) -> tuple[str, ...]:
    """What this machine lacks: a program, a library, a GPU; a host that the tool environment exists for."""
    found = missing_requirement(step.requires), explain_absence(step.tool_env)
    return tuple(filter(None, found))
