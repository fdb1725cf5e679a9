"""Describes what made a step's result: the CPU, its instruction sets, its libraries' kernels.

These facts are kept in the diary of an action, never in a key or a manifest, which are equal on all
machines.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from buildsys.execution.running.kernels import PREFIX
from buildsys.execution.store.store import Store
from buildsys.execution.tools.host_facts import cpu_name, instruction_sets

_CPU, _INSTRUCTIONS = "cpu", "instructions"


@dataclass(frozen=True, kw_only=True)
class MadeOn:
    """Where a step ran; all fields are empty if it was not recorded.

    `instructions`: those of `host_facts.INSTRUCTIONS` that the CPU has; `kernels`: (library,
    kernels).
    """

    cpu: str = ""
    instructions: tuple[str, ...] = ()
    kernels: tuple[tuple[str, str], ...] = ()

    @property
    def is_known(self) -> bool:
        """Return whether it was recorded."""
        return bool(self.cpu)


def facts_of_this_machine() -> dict[str, str]:
    """Return the core's facts for the diary of a step that ran here; the step itself records
    kernels.
    """
    return {_CPU: cpu_name(), _INSTRUCTIONS: " ".join(instruction_sets())}


def read_made_on(diary: Iterable[tuple[str, str]]) -> MadeOn:
    """Return the machine that the diary of an action describes."""
    facts = dict(diary)
    return MadeOn(
        cpu=facts.get(_CPU, ""),
        instructions=tuple(facts.get(_INSTRUCTIONS, "").split()),
        kernels=tuple(
            (name.removeprefix(PREFIX), kernels)
            for name, kernels in sorted(facts.items())
            if name.startswith(PREFIX)
        ),
    )


def find_made_on(store: Store, key: str) -> MadeOn:
    """Return the machine that made an action's result, according to the store's entry."""
    entry = store.recall(key) if key else None
    return read_made_on(entry.diary) if entry is not None else MadeOn()


def describe_difference(published: MadeOn, here: MadeOn) -> str:
    """Return how the machines of two results differ; empty if they do not, or one is unknown."""
    if not published.is_known or not here.is_known:
        return ""
    then, now = dict(published.kernels), dict(here.kernels)
    libraries = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    sides = (_side(published, here, libraries, then), _side(here, published, libraries, now))
    if not any(sides):
        return ""
    return f"published by {sides[0] or 'the same'}; this machine has {sides[1] or 'the same'}"


def _side(one: MadeOn, other: MadeOn, libraries: Iterable[str], kernels: Mapping[str, str]) -> str:
    """Return one side of a difference: the CPU if it differs, its extra instructions, the
    kernels.
    """
    words = [one.cpu] if one.cpu != other.cpu else []
    more = [name for name in one.instructions if name not in other.instructions]
    if more:
        words.append(f"{'with' if words else 'a CPU with'} {' '.join(more)}")
    words += [f"{name} {kernels.get(name, 'not loaded')}" for name in libraries]
    if one.cpu == other.cpu and one.instructions != other.instructions and not more:
        words.insert(0, "a CPU without them")
    return ", ".join(words)
