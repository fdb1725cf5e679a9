"""The planner by itself: from a build and the facts of the host to ordered steps."""

import dataclasses
from pathlib import Path

import pytest

from buildsys.authoring.recipes import pipelines
from buildsys.authoring.recipes.build import Build
from buildsys.execution.places import Workspace
from buildsys.execution.session.loading import read_builds
from buildsys.graph import BuildPlan, HostFacts
from buildsys.planning import planner
from buildsys.planning.local_gpu import needs_gpu_facts
from buildsys.registry import get_step, read_step
from buildsys.steps import package_flash
from tests.authoring.sample_workspace import TRAINED, by_stage, write_recipe

HOST = HostFacts(cpu="a CPU")
GPU_HOST = HostFacts(cpu="a CPU", gpu="a GPU", compute_capability="8.0", tensorrt="10.3.0.30")
_HEAD = TRAINED.partition("targets:")[0]
_LOCAL = f"{_HEAD}targets: [nvidia-local]\n"
_NAMED = (
    f"{_HEAD}targets:\n"
    '  - {target: nvidia-a100, as: nvidia-local, tensorrt: {version: "10.3", workspace_gib: 2}}\n'
)


def read(workspace: Path, text: str) -> dict[str, Build]:
    """Read the builds of one recipe, by target."""
    write_recipe(workspace, "tags", text)
    return {build.target.name: build for build in read_builds(Workspace(workspace))}


def plan(build: Build, host: HostFacts = HOST) -> BuildPlan:
    """The planner's result; its steps have no code digest yet."""
    return planner.plan(build, "/workspace", host)


def test_stages_stand_in_the_order_of_the_work(workspace: Path) -> None:
    """A board's build: train, export, convert, compile, package, each after its inputs."""
    steps = plan(read(workspace, TRAINED)["grove-vision-ai-v2"]).steps
    stages = [step.stage for step in steps]
    chain = ["train", "export", "convert", "quantize", "compile", "package"]
    assert [stage for stage in stages if stage in chain] == chain
    done: set[str] = set()
    for step in steps:
        assert {item.step for item in step.inputs if item.step} <= done, step.stage
        done.add(step.id)


def test_the_package_and_the_verdicts_are_steps_of_the_plan(workspace: Path) -> None:
    """The package and the verdicts that can reject it are named by step id."""
    found = plan(read(workspace, TRAINED)["grove-vision-ai-v2"])
    stages = {step.id: step.stage for step in found.steps}
    assert stages[found.package] == "package"
    assert {"signal", "contract", "fit", "gate"} <= {stages[i] for i in found.verdicts}
    assert found.shipped is not None
    assert found.shipped.name == "vela-tflite"


def test_a_package_rests_on_every_verdict_and_figure(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package depends on every verdict and figure, even if its step does not read them."""
    build = read(workspace, TRAINED)["grove-vision-ai-v2"]
    asked = plan(build)
    step = read_step(package_flash)
    bare = dataclasses.replace(step, spec=dataclasses.replace(step.spec, needs=("summary",)))
    monkeypatch.setattr(
        pipelines, "get_step", lambda name: bare if name == step.name else get_step(name)
    )
    found = plan(build)
    assert found.verdicts == asked.verdicts
    (package,) = (item for item in found.steps if item.id == found.package)
    names = {item.name for item in package.inputs}
    assert {"verdict-contract", "verdict-gate", "metrics-checkpoint", "summary"} <= names


def test_two_targets_share_the_steps_before_they_part(workspace: Path) -> None:
    """Two targets share the ids of their common steps."""
    builds = read(workspace, TRAINED)
    grove, xiao = (by_stage(plan(builds[name])) for name in ("grove-vision-ai-v2", "xiao-esp32s3"))
    assert grove["train"].id == xiao["train"].id
    assert grove["evaluate-checkpoint"].id == xiao["evaluate-checkpoint"].id
    assert grove["package"].id != xiao["package"].id


def test_a_checkpoint_is_measured_once_for_all_heads(workspace: Path) -> None:
    """Whatever head targets export, a checkpoint decodes its own output."""
    targets = "targets: [xiao-esp32s3, {target: host, export: {head: decoded},"
    targets += " quantization: {scheme: float16}}]\n"
    builds = read(workspace, f"{_HEAD}{targets}")
    raw, decoded = (by_stage(plan(builds[name])) for name in ("xiao-esp32s3", "host"))
    assert raw["export"].id != decoded["export"].id
    assert raw["evaluate-onnx"].id != decoded["evaluate-onnx"].id
    assert raw["evaluate-checkpoint"].id == decoded["evaluate-checkpoint"].id


@pytest.mark.parametrize(
    ("old", "new", "first", "kept"),
    [
        ("epochs: 4", "epochs: 5", "train", "samples"),
        ("count: 1", "count: 2", "calibration", "export"),
        ("max_drop: 0.01", "max_drop: 0.02", "gate", "evaluate-tflite"),
    ],
)
def test_an_edited_setting_changes_what_depends_on_it(
    workspace: Path, old: str, new: str, first: str, kept: str
) -> None:
    """A changed setting changes exactly the steps that depend on it."""
    before = plan(read(workspace, TRAINED)["grove-vision-ai-v2"])
    after = plan(read(workspace, TRAINED.replace(old, new))["grove-vision-ai-v2"])
    ids = {step.stage: step.id for step in after.steps}
    changed = {step.id for step in before.steps if ids[step.stage] != step.id}
    stages = {step.stage: step for step in before.steps}
    assert stages[first].id in changed
    assert stages[kept].id not in changed
    for step in before.steps:
        reached = any(item.step in changed for item in step.inputs)
        edited = step.params != {s.stage: s for s in after.steps}[step.stage].params
        assert (step.id in changed) == (reached or edited), step.stage


def test_where_the_workspace_lies_changes_no_id(workspace: Path) -> None:
    """The workspace's path is in no id."""
    build = read(workspace, TRAINED)["grove-vision-ai-v2"]
    here, there = planner.plan(build, "/here", HOST), planner.plan(build, "/there", HOST)
    assert [step.id for step in here.steps] == [step.id for step in there.steps]


def test_local_becomes_what_the_host_has(workspace: Path) -> None:
    """`local` gives the engine the same id as the host's version and GPU written out."""
    local = plan(read(workspace, _LOCAL)["nvidia-local"], GPU_HOST)
    named = plan(read(workspace, _NAMED)["nvidia-a100"])
    assert by_stage(local)["engine"].id == by_stage(named)["engine"].id
    assert by_stage(local)["engine"].requires == "tensorrt 10.3 8.0"


def test_local_stays_local_without_a_gpu(workspace: Path) -> None:
    """Without a GPU, `local` stays and the engine waits."""
    found = plan(read(workspace, _LOCAL)["nvidia-local"])
    assert by_stage(found)["engine"].requires == "tensorrt local local"


def test_only_what_takes_the_gpus_facts_asks_for_them(workspace: Path) -> None:
    """Only `local` engines and engines' latency need the GPU's facts."""
    targets = "targets: [nvidia-local, nvidia-a100, grove-vision-ai-v2]\n"
    plain = read(workspace, _HEAD + targets)
    assert {name for name, build in plain.items() if needs_gpu_facts(build)} == {"nvidia-local"}
    timed = read(workspace, f"{_HEAD}benchmark: {{runs: 50}}\n{targets}")
    asking = {name for name, build in timed.items() if needs_gpu_facts(build)}
    assert asking == {"nvidia-local", "nvidia-a100"}


def test_builds_that_ask_for_no_gpu_take_nothing_from_it(workspace: Path) -> None:
    """Builds that do not need the GPU's facts have the same plan with any."""
    targets = "targets: [nvidia-a100, grove-vision-ai-v2, host]\n"
    for build in read(workspace, _HEAD + targets).values():
        assert not needs_gpu_facts(build)
        assert plan(build, HOST) == plan(build, GPU_HOST)


def test_latency_is_of_the_machine_that_is_named(workspace: Path) -> None:
    """Latency has an id per machine; an engine's also depends on the GPU."""
    text = f"{_HEAD}benchmark: {{runs: 50}}\ntargets: [nvidia-a100]\n"
    stages = by_stage(plan(read(workspace, text)["nvidia-a100"], GPU_HOST))
    assert '"machine":"a CPU"' in stages["benchmark-onnx"].params
    assert '"machine":"a GPU, a CPU"' in stages["benchmark-engine"].params
