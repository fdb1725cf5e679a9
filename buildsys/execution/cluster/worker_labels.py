"""What this machine offers as a worker: what is found here, and what the command line adds."""

from collections.abc import Iterable, Mapping

from buildsys.execution.cluster.placement import (
    ANY,
    GPU,
    MEMORY,
    THREADS,
    environment_label,
    library_labels,
    machine_label,
)
from buildsys.execution.running.admission import memory_for_steps, visible_gpus
from buildsys.execution.tools.definitions import all_tool_envs, external_envs, missing_package
from buildsys.execution.tools.host_facts import find_library
from buildsys.execution.tools.host_tools import find_program
from buildsys.operating_system import platform_name, usable_cores
from buildsys.registry import get_step, step_names
from buildsys.steps.lib.tensorrt.engine_program import MODULES


def find_labels(given: Iterable[str], gpus: int | None) -> Mapping[str, int]:
    """Return amounts by label.

    `given`: from `--label`; `gpus`: their number, None to count this machine's.
    """
    has = {
        THREADS: usable_cores(),
        MEMORY: memory_for_steps(),
        GPU: len(visible_gpus()) if gpus is None else gpus,
        machine_label(platform_name()): ANY,
    }
    for env in (*all_tool_envs(), *external_envs()):
        if not missing_package(env.name):
            has[environment_label(env.name)] = ANY
    for library, module in MODULES.items():
        host = find_library(module)
        if host.gpu and host.version and host.compute_capability:
            labels = library_labels(library, host.version, host.compute_capability)
            has |= dict.fromkeys(labels, ANY)
    has |= {program: ANY for program in _programs() if find_program(program)}
    return has | dict.fromkeys(given, ANY)


def _programs() -> Iterable[str]:
    """Yield every program that some step requires."""
    needed = (get_step(name).spec.requires for name in step_names())
    return {text for text in needed if isinstance(text, str) and text}


def describe(has: Mapping[str, int]) -> str:
    """Format labels for people: amounts first; labels that every worker has are left out."""
    amounts = f"{has[THREADS]} threads, {has[MEMORY]} MiB, {has[GPU]} GPUs"
    common = (environment_label(""), machine_label(""))
    labels = [each for each in has if has[each] == ANY and not each.startswith(common)]
    return ", ".join([amounts, *sorted(labels)])
