"""The steps of one build while they are put together: what was made so far, and how a step is known."""

import dataclasses
from collections.abc import Mapping

from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.families import holds_objects
from buildsys.authoring.recipes.model import board_spec, model_spec
from buildsys.digest import canonical, digest_value
from buildsys.graph import HostFacts, Input, Output, Source, Step, is_checkpoint
from buildsys.planning.origins import find_origins
from buildsys.registry import PACKAGE, StepDefinition
from buildsys.spec import SUFFIXES, Format, Templates

_NOWHERE: Mapping[str, tuple[str, int]] = {}
_SUFFIXES = {str(kind): suffix for kind, suffix in SUFFIXES.items()}


class PlanBuilder:
    """Steps in order, and the latest artifact of every format or auxiliary name."""

    def __init__(self, build: Build, workspace: str, host: HostFacts) -> None:
        self.build, self.workspace, self.host = build, workspace, host
        self.model, self.board = model_spec(build), board_spec(build)
        self.places = {key: (path, line) for key, path, line in build.origins}
        self.steps: list[Step] = []
        self.artifacts: dict[str, Input] = {}

    def add(
        self,
        stage: str,
        definition: StepDefinition,
        params: object,
        inputs: Mapping[str, Input],
        outputs: Mapping[str, bool] | None = None,
    ) -> Step:
        """One step more; its outputs as of `make_step`."""
        train = self.build.train
        device = train.device if definition.spec.trains and train is not None else "auto"
        reads = any(is_checkpoint(name, item) for name, item in inputs.items())
        source = self.build.recipe.source
        trusts = reads and source.trust == "code"
        holds = reads and holds_objects(source.family)
        step = make_step(
            stage, definition, params, inputs, outputs, self.places, device, trusts, holds
        )
        self.steps.append(step)
        return step

    def judge(
        self, stage: str, definition: StepDefinition, params: object, inputs: Mapping[str, Input]
    ) -> Step:
        """A step that yields a verdict, found again as `verdict-<stage>`."""
        step = self.add(stage, definition, params, inputs)
        self.artifacts[f"verdict-{stage}"] = output(step, Format.VERDICT)
        return step

    def verdicts(self) -> tuple[str, ...]:
        """Ids of the steps that may reject the build, in the order in which they were added."""
        ids = {item.step for name, item in self.artifacts.items() if name.startswith("verdict-")}
        return tuple(dict.fromkeys(step.id for step in self.steps if step.id in ids))


def make_step(
    stage: str,
    definition: StepDefinition,
    params: object,
    inputs: Mapping[str, Input],
    outputs: Mapping[str, bool] | None = None,
    places: Mapping[str, tuple[str, int]] = _NOWHERE,
    device: str = "auto",
    trusts: bool = False,
    holds: bool = False,
) -> Step:
    """One step, known by what decides its result. `outputs`: name -> whether it is a tree, where they
    are others than the step declares; `places`: where each key of the recipe was written; `trusts`,
    `holds`: see `Step.trusts_code`, `Step.holds_objects`.
    """
    outputs = definition.outputs if outputs is None else outputs
    named = tuple(
        item
        if type(item.name) is str and item.name == key
        else dataclasses.replace(item, name=str(key))
        for key, item in inputs.items()
    )
    spec, needs = definition.spec, definition.resources(params)
    text = canonical(params)
    identity = [definition.name, text, [_identify(item) for item in named]]
    identity += ["trusts"] if trusts else []  # no build gets it by sharing another's step
    return Step(
        id=digest_value(identity)[:32],
        stage=stage,
        module=definition.name,
        params=text,
        inputs=named,
        outputs=tuple(
            Output(name=str(key), tree=tree, suffix=_SUFFIXES.get(key, ".json"))
            for key, tree in outputs.items()
        ),
        code="",
        tool_env=definition.tool_env(params),
        tool="",
        tool_identity="",
        memory_mib=needs.memory_mib,
        threads=needs.threads,
        framework=needs.framework,
        gpu=needs.gpu and device != "cpu",
        alone=needs.alone,
        device=device,
        origins=find_origins(stage, spec.block, text, places),
        local=spec.local,
        trains=spec.trains,
        fetches=spec.fetches,
        requires=definition.requires(params),
        trusts_code=trusts,
        holds_objects=holds,
    )


def _identify(item: Input) -> list[object]:
    """What makes two inputs the same before they exist; where a file lies does not."""
    source = item.source
    given = [source.label, list(source.parts), source.sha256] if source else []
    return [item.name, item.step, item.output, given]


def needed(steps: list[Step], last: tuple[str, ...]) -> tuple[Step, ...]:
    """The steps that the last ones rest on, in order."""
    wanted = set(last)
    for step in reversed(steps):
        if step.id in wanted:
            wanted |= {item.step for item in step.inputs}
    return tuple({step.id: step for step in steps if step.id in wanted}.values())


def output(step: Step, name: str) -> Input:
    """A step's output as another's input."""
    return Input(name=str(name), step=step.id, output=str(name))


def shipped_files(templates: Templates | None) -> dict[str, Input]:
    """The input `templates` of a step that ships or runs files of ours: they count by their bytes."""
    if templates is None:
        return {}
    source = Source(
        path=str(PACKAGE / "templates" / templates.folder),
        label=f"templates/{templates.folder}".rstrip("/"),
        parts=templates.files,
    )
    return {"templates": Input(name="templates", source=source)}
