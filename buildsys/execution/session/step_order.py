"""Which of several steps should start first: that with the longest chain of steps after it."""

from collections.abc import Callable, Iterable

from buildsys.graph import Step

_UNKNOWN_SECONDS = 5.0
"""The time of a step whose module never ran in this workspace: about what conversions take."""


def remaining_seconds(
    steps: Iterable[Step], usual: Callable[[str], float | None]
) -> dict[str, float]:
    """Return the estimated seconds from the start of each step to the end of the longest chain of
    steps that need it, by step id.

    `steps`: each after those that it needs. `usual`: the usual seconds of a module's steps, if
    known.
    """
    remaining: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for step in reversed(list(steps)):
        if step.module not in seconds:
            known = usual(step.module)
            seconds[step.module] = _UNKNOWN_SECONDS if known is None else known
        total = remaining.get(step.id, 0.0) + seconds[step.module]
        remaining[step.id] = total
        for item in step.inputs:
            if item.step:
                remaining[item.step] = max(remaining.get(item.step, 0.0), total)
    return remaining
