"""One build's plan: what the planner does not read itself is read here, and handed to it."""

from buildsys.authoring.recipes.build import Build
from buildsys.digest import digest_file
from buildsys.execution.places import Workspace
from buildsys.execution.state.plans import complete_step
from buildsys.execution.tools import host_facts
from buildsys.graph import BuildPlan, HostFacts
from buildsys.planning import planner
from buildsys.planning.fit_key import fit_key, vela_config
from buildsys.planning.local_gpu import needs_gpu_facts
from buildsys.planning.plan_builder import KnownSteps


def plan_build(build: Build, workspace: Workspace, known: KnownSteps | None = None) -> BuildPlan:
    """A build's plan, whose steps have the digests of their code and tools. Raises InputError.

    `known`: of `complete_steps`, for several builds of one recipe.
    """
    known = known or complete_steps()
    return planner.plan(build, str(workspace.root), host_of(build), known)


def complete_steps() -> KnownSteps:
    """No steps yet; later ones get the digests of their code and tools."""
    return KnownSteps(complete_step)


def host_of(build: Build) -> HostFacts:
    """What a build's plan takes from this machine; only some builds ask for its GPU."""
    return host_facts.read_host(with_gpu=needs_gpu_facts(build))


def fit_key_of(build: Build) -> str:
    """What `buildsys fit` keeps its answer by."""
    config = vela_config(build)
    present = config is not None and config.is_file()
    return fit_key(build, digest_file(config) if config is not None and present else None)
