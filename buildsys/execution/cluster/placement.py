"""Which worker can run a step: what a step needs, what a worker has, as counts by label. Pure.

A label that is a thing and no amount (`tensorrt-10.3-sm87`, `machine-linux-x86_64`) has the count `ANY`:
every step that needs it takes one, and it never runs out.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from buildsys.errors import InputError, shorten
from buildsys.graph import Step

THREADS, MEMORY, GPU = "threads", "memory-mib", "gpu"
ANY = 1_000_000_000
_AMOUNTS = frozenset({THREADS, MEMORY, GPU})
_MACHINE, _ENVIRONMENT = "machine-", "env-"
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", re.ASCII)
_LOCAL = "local"
"""Of a target's `tensorrt` block: the GPU of the machine that plans, which no worker can be."""

Needs = Mapping[str, int]
"""Label -> how much of it."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A worker that is there. `address` is how the scheduler knows it, `name` how people do."""

    name: str
    address: str
    has: Mapping[str, int]


def needs_of(step: Step, machine: str) -> Needs | None:
    """What a step takes; None where it runs on this machine alone.

    `machine`: the system and processor here (`operating_system.host_name`). A result that is not of special hardware is made on the same one,
    so that its bytes are those that would be made here.
    """
    if step.local or step.fetches:  # true of this machine; the network is this one's, too
        return None
    needs = {THREADS: step.threads, MEMORY: step.memory_mib}
    if step.gpu and step.device == "cuda":
        needs[GPU] = 1
    if " " not in step.requires:
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
    """Whether a worker has everything. Of threads and memory it may have less: a step that is larger
    than a machine runs alone there.
    """
    return all(has.get(label, 0) >= count for label, count in hard(needs).items())


def hard(needs: Needs) -> Needs:
    """What a worker has or has not: all but threads and memory."""
    return {name: count for name, count in needs.items() if name not in (THREADS, MEMORY)}


def request(step: Step, needs: Needs, places: Iterable[Place]) -> Needs:
    """What to ask the scheduler for: no more threads and memory than the largest worker that fits has,
    and a whole GPU where one of them has any.
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
    """A step's `requires` as a label: "tensorrt 10.3 8.7" is `tensorrt-10.3-sm87`, a program its name.

    Empty where only the machine that plans can have it.
    """
    if " " not in requires:
        return requires
    library, version, capability = requires.split(" ")
    if _LOCAL in (version, capability):
        return ""
    return f"{library}-{version}-{_capability(capability)}"


def library_labels(library: str, version: str, capability: str) -> tuple[str, ...]:
    """What a machine with a library and a GPU can be asked for: every beginning of the version that names
    a release, "10.3.0.30" being a 10.3, for its compute capability; from 8.0 on, for any.
    """
    parts = version.split(".")
    versions = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    capabilities = [capability] + ["any"] * (float(capability) >= _FIRST_OF_ANY)
    return tuple(f"{library}-{v}-{_capability(c)}" for v in versions for c in capabilities)


_FIRST_OF_ANY = 8.0
"""See `host_tools.missing_requirement`."""


def _capability(text: str) -> str:
    return text if text == "any" else f"sm{text.replace('.', '')}"


def machine_label(machine: str) -> str:
    """Of a system and processor, such as linux-x86_64."""
    return _MACHINE + machine


def environment_label(name: str) -> str:
    """Of a tool environment that can be made on a machine."""
    return _ENVIRONMENT + name


def check_label(text: str) -> str:
    """A label that a person gives a worker. Raises InputError for what none can be."""
    if _LABEL.fullmatch(text) is None or text in _AMOUNTS:
        hint = "letters, digits, and . _ + - in between, such as tensorrt-10.3-sm87"
        raise InputError.at("--label", f"`{shorten(text)}` is not a label", hint)
    return text


def described(needs: Needs) -> str:
    """What a worker would have to have, for people."""
    return ", ".join(sorted(each for each in hard(needs) if not each.startswith(_ENVIRONMENT)))
