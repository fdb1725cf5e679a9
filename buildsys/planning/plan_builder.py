"""Collects the steps of one build during planning, and the artifacts so far."""

from collections.abc import Mapping

from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.families import holds_objects
from buildsys.authoring.recipes.model import board_spec, model_spec
from buildsys.graph import HostFacts, Input, Step, is_checkpoint
from buildsys.planning.plan_steps import KnownSteps, StepOptions, make_step, output
from buildsys.registry import StepDefinition
from buildsys.spec import Format


class PlanBuilder:
    """Steps in order, and the latest artifact of every format or auxiliary name."""

    def __init__(
        self, build: Build, workspace: str, host: HostFacts, known: KnownSteps | None = None
    ) -> None:
        self.build, self.workspace, self.host = build, workspace, host
        self.known = known or KnownSteps()
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
        """Add a step; `outputs`: see `make_step`."""
        train = self.build.train
        reads = any(is_checkpoint(name, item) for name, item in inputs.items())
        source = self.build.recipe.source
        options = StepOptions(
            device=train.device if definition.spec.trains and train is not None else "auto",
            trusts_code=reads and source.trust == "code",
            holds_objects=reads and holds_objects(source.family),
        )
        step = make_step(
            stage, definition, params, inputs, outputs, self.places, options, self.known
        )
        self.steps.append(step)
        return step

    def judge(
        self, stage: str, definition: StepDefinition, params: object, inputs: Mapping[str, Input]
    ) -> Step:
        """Add a step that yields a verdict, available as `verdict-<stage>`."""
        step = self.add(stage, definition, params, inputs)
        self.artifacts[f"verdict-{stage}"] = output(step, Format.VERDICT)
        return step

    def verdicts(self) -> tuple[str, ...]:
        """Return ids of the steps that may reject the build, in the order in which they were
        added.
        """
        ids = {item.step for name, item in self.artifacts.items() if name.startswith("verdict-")}
        return tuple(dict.fromkeys(step.id for step in self.steps if step.id in ids))
