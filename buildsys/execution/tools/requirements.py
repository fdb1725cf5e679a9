"""What a step requires of a machine that runs it; by default, of this machine."""

from collections.abc import Callable

from buildsys.execution.tools.definitions import explain_absence
from buildsys.execution.tools.host_tools import missing_requirement
from buildsys.graph import Step

MissingForStep = Callable[[Step], tuple[str, ...]]
"""Returns what all machines of a run lack for a step, in words, its `requires` first.

Empty if one of them can run the step.
"""


def missing_here(step: Step) -> tuple[str, ...]:
    """Return what this machine lacks: a program, a library, a GPU, or a host for the tool
    environment.
    """
    found = missing_requirement(step.requires), explain_absence(step.tool_env)
    return tuple(filter(None, found))
