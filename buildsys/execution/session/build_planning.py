"""Makes one build's plan: reads what the planner itself must not read, and passes it in."""

from buildsys.authoring.recipes.build import Build
from buildsys.digest import digest_file
from buildsys.execution.places import Workspace
from buildsys.execution.state.completed_plans import complete_step
from buildsys.execution.tools import host_facts
from buildsys.graph import BuildPlan, HostFacts
from buildsys.planning import planner
from buildsys.planning.fit_key import fit_key, vela_config
from buildsys.planning.local_gpu import needs_gpu_facts
from buildsys.planning.plan_steps import KnownSteps


def plan_build(build: Build, workspace: Workspace, known: KnownSteps | None = None) -> BuildPlan:
    """Return a build's plan; its steps carry the digests of their code and tools.

    Raises InputError. `known`: from `complete_steps`, shared by several builds of one recipe.
    """
    known = known or complete_steps()
    return planner.plan(build, str(workspace.root), host_of(build), known)


def complete_steps() -> KnownSteps:
    """Return an empty collection of steps; steps added to it get the digests of their code and
    tools.
    """
    return KnownSteps(complete_step)


def host_of(build: Build) -> HostFacts:
    """Return the facts about this machine that a build's plan depends on; few plans need its
    GPU.
    """
    return host_facts.read_host(with_gpu=needs_gpu_facts(build))


def fit_key_of(build: Build) -> str:
    """Return the key under which `buildsys fit` records its result for a build."""
    config = vela_config(build)
    present = config is not None and config.is_file()
    return fit_key(build, digest_file(config) if config is not None and present else None)
