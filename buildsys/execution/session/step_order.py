"""Which of several steps should start first: that with the longest chain of steps after it."""

from collections.abc import Callable, Iterable

from buildsys.graph import Step

_UNKNOWN_SECONDS = 5.0
"""The time of a step of a kind that never ran in this workspace: about what conversions take."""


def remaining_seconds(
    steps: Iterable[Step], usual: Callable[[Step], float | None]
) -> dict[str, float]:
    """Return the estimated seconds from the start of each step to the end of the longest chain of
    steps that need it, by step id.

    `steps`: each after those that it needs. `usual`: the seconds that a step will take, if known.
    """
    remaining: dict[str, float] = {}
    for step in reversed(list(steps)):
        known = usual(step)
        total = remaining.get(step.id, 0.0) + (_UNKNOWN_SECONDS if known is None else known)
        remaining[step.id] = total
        for item in step.inputs:
            if item.step:
                remaining[item.step] = max(remaining.get(item.step, 0.0), total)
    return remaining


def run_seconds(
    steps: Iterable[Step], usual: Callable[[Step], float | None], parallel: int
) -> float:
    """Return the estimated seconds of a run of some steps, `parallel` at a time; 0 if unknown.

    It is unknown if a training is of unknown length, because the other steps are short beside it.
    """
    steps = list(steps)
    known = {step.id: usual(step) for step in steps}
    if any(step.trains and known[step.id] is None for step in steps):
        return 0.0
    chains = remaining_seconds(steps, lambda step: known[step.id] or 0.0)
    every = sum(seconds or 0.0 for seconds in known.values())
    return max(every / parallel, *(chains[step.id] for step in steps), 0.0)
