"""What this host supports: the tool environments that can be made, the steps that can run."""

from collections.abc import Iterable

from buildsys.execution.tools.definitions import all_tool_envs, explain_absence, missing_package
from buildsys.graph import BuildPlan, Step
from buildsys.operating_system import TRIED, host_title, platform_name
from buildsys.registry import get_step, step_names
from buildsys.text import count_text

_NEVER = "buildsys was never run there"
_TRIALS = {"linux-aarch64": "buildsys was run in an emulator, its tools were never run"}
"""What was tried on hosts other than `TRIED`."""


def describe_host() -> str:
    """Return what this host supports, in a few sentences."""
    host = host_title(platform_name())
    if platform_name() == TRIED:
        return f"{host}: the tool environments are locked for it."
    envs = {env.name: not missing_package(env.name) for env in all_tool_envs()}
    text = (
        f"{host}: unverified, {_TRIALS.get(platform_name(), _NEVER)}. check, plan, restoring and stores need"
        f" no tool environment; {sum(envs.values())} of {len(envs)} can be made here."
    )
    homes = {name: get_step(name).spec.tool_env for name in step_names()}
    here = [name for name, env in homes.items() if isinstance(env, str) and envs.get(env)]
    unsupported = [name for name, env in homes.items() if envs.get(str(env)) is False]
    if not unsupported:
        return text
    if len(here) < len(unsupported):
        return (
            f"{text} Of the steps {', '.join(here)} can run; results of others come from a store."
        )
    return f"{text} The results of {', '.join(unsupported)} can only come from a store."


def describe_waiting(plans: Iterable[BuildPlan]) -> list[str]:
    """Return a sentence for each tool environment that builds need and this host does not
    support.
    """
    builds: dict[str, list[str]] = {}
    for plan in plans:
        for absence in dict.fromkeys(map(_absence, plan.steps)):
            if absence:
                builds.setdefault(absence, []).append(plan.build)
    return [
        f"{_name(found)} for {absence}, unless a store has the results."
        for absence, found in sorted(builds.items())
    ]


def _absence(step: Step) -> str:
    return explain_absence(step.tool_env)


def _name(builds: list[str]) -> str:
    first, *others = builds
    many = f"{first} and {count_text(len(others), 'other build')} wait"
    return many if others else f"{first} waits"
