"""Decides which worker can run a step, from counts by label; without side effects.

A label for a thing without an amount (`tensorrt-10.3-sm87`, `machine-linux-x86_64`) has the count
`ANY`: every step that needs it takes one, and it never runs out.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from buildsys.errors import InputError, shorten
from buildsys.graph import Step, names_library
from buildsys.spec import Intermediate

THREADS, MEMORY, GPU = "threads", "memory-mib", "gpu"
ANY = 1_000_000_000
_AMOUNTS = frozenset({THREADS, MEMORY, GPU})
_MACHINE, _ENVIRONMENT = "machine-", "env-"
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", re.ASCII)
_LOCAL = "local"
"""In a target's `tensorrt` block: the GPU of the planning machine, which no worker has."""

Needs = Mapping[str, int]
"""Amounts by label."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A connected worker; `address`: its name in the scheduler, `name`: its name for people."""

    name: str
    address: str
    has: Mapping[str, int]


def needs_of(step: Step, machine: str) -> Needs | None:
    """Return what a step needs; None where it must run on this machine.

    `machine`: system and processor of this machine (`operating_system.platform_name`). A result that
    does not depend on special hardware is made on an equal machine, so that its bytes equal those
    made here.
    """
    if step.local or step.fetches:  # depends on this machine, or uses its network
        return None
    passed = (*(output.name for output in step.outputs), *(item.output for item in step.inputs))
    if Intermediate.PROGRAM in passed:  # loaded only where it was traced: `State.traced`
        return None
    needs = {THREADS: step.threads, MEMORY: step.memory_mib}
    if step.gpu and step.device == "cuda":
        needs[GPU] = 1
    if not step.loads_library:
        needs[_MACHINE + machine] = 1
    if step.requires:
        label = label_of(step.requires)
        if not label:
            return None
        needs[label] = 1
    if step.tool_env:
        needs[_ENVIRONMENT + step.tool_env] = 1
    return needs


def fits(needs: Needs, has: Mapping[str, int]) -> bool:
    """Return whether a worker meets the requirements.

    It may have fewer threads and less memory: a step larger than its machine runs alone there.
    """
    return can_take(hard(needs), has)


def can_take(asked: Needs, has: Mapping[str, int]) -> bool:
    """Return whether a worker has all requested amounts."""
    return all(has.get(label, 0) >= count for label, count in asked.items())


def hard(needs: Needs) -> Needs:
    """Return the requirements without threads and memory."""
    return {name: count for name, count in needs.items() if name not in (THREADS, MEMORY)}


def request(step: Step, needs: Needs, places: Iterable[Place]) -> Needs:
    """Return what to request from the scheduler.

    That is at most the threads and memory of the largest worker that fits, and a whole GPU where
    one of them has any.
    """
    fitting = [place.has for place in places if fits(needs, place.has)]
    if not fitting:
        return needs
    asked = dict(needs)
    if step.gpu and any(has.get(GPU, 0) for has in fitting):
        asked[GPU] = 1
        fitting = [has for has in fitting if has.get(GPU, 0)]
    largest = max(fitting, key=lambda has: (has.get(THREADS, 0), has.get(MEMORY, 0)))
    for label in (THREADS, MEMORY):
        asked[label] = min(asked[label], largest.get(label, 0))
    return asked


def label_of(requires: str) -> str:
    """Return a step's `requires` as a label: "tensorrt 10.3 8.7" is `tensorrt-10.3-sm87`, a program
    its name.

    Empty where only the planning machine can have it.
    """
    if not names_library(requires):
        return requires
    library, version, capability = requires.split(" ")
    if _LOCAL in (version, capability):
        return ""
    return f"{library}-{version}-{_capability(capability)}"


def library_labels(library: str, version: str, capability: str) -> tuple[str, ...]:
    """Return the labels of a machine with a library and a GPU.

    There is one for every prefix of the version that names a release ("10.3.0.30" is a 10.3), with
    the GPU's compute capability, and from 8.0 on also without it.
    """
    parts = version.split(".")
    versions = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    capabilities = [capability, "any"] if float(capability) >= _FIRST_OF_ANY else [capability]
    return tuple(f"{library}-{v}-{_capability(c)}" for v in versions for c in capabilities)


_FIRST_OF_ANY = 8.0
"""See `host_tools.missing_requirement`."""


def _capability(text: str) -> str:
    return text if text == "any" else f"sm{text.replace('.', '')}"


def machine_label(machine: str) -> str:
    """Return the label of a system and processor, such as linux-x86_64."""
    return _MACHINE + machine


def environment_label(name: str) -> str:
    """Return the label of a tool environment that can be made on a machine."""
    return _ENVIRONMENT + name


def check_label(text: str) -> str:
    """Return a label from the command line. Raises InputError if it is invalid."""
    if _LABEL.fullmatch(text) is None or text in _AMOUNTS:
        hint = "letters, digits, and . _ + - in between, such as tensorrt-10.3-sm87"
        raise InputError.at("--label", f"`{shorten(text)}` is not a label", hint)
    return text


def described(needs: Needs) -> str:
    """Return what a worker needs, for people."""
    return ", ".join(sorted(each for each in hard(needs) if not each.startswith(_ENVIRONMENT)))
