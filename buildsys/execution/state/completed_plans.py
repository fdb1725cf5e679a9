"""Completes planned steps with what only this machine can say of them: the digests of their code and
of their tool environments.
"""

import dataclasses
import json

import buildsys
from buildsys.execution.state import code_digest
from buildsys.execution.state.kept_digests import kept_digest
from buildsys.execution.tools.definitions import ToolEnv, tool_env
from buildsys.graph import BuildPlan, Step
from buildsys.typed_json import maker


def plan_beside(
    name: str, label: str, steps: tuple[Step, ...], recipe: str = "", target: str = ""
) -> BuildPlan:
    """Return a plan of steps outside all builds, which ships nothing; its last step makes the
    result.
    """
    return complete(
        BuildPlan(
            build=name,
            recipe=recipe,
            target=target,
            label=label,
            steps=steps,
            package=steps[-1].id,
            shipped=None,
        )
    )


def complete(plan: BuildPlan) -> BuildPlan:
    """Return a plan whose steps have the digests of their code and tools."""
    return dataclasses.replace(plan, steps=tuple(complete_step(step) for step in plan.steps))


def complete_step(step: Step) -> Step:
    """Return a step with the digests of its code and tool."""
    env = tool_env(step.tool_env) if step.tool_env else None
    return _make_step(
        {
            **vars(step),
            "code": kept_digest(step.module, code_digest.PACKAGE),
            "tool": f"{env.title} {_version(env, step)}"
            if env
            else f"buildsys {buildsys.__version__}",
            "tool_identity": env.identity if env else "",
        }
    )


_make_step = maker(Step)


def _version(env: ToolEnv, step: Step) -> str:
    """Return the version of an external tool that the target declares."""
    return str(json.loads(step.params)["version"] if env.external else env.version)
