"""Makes the steps of plans: equal steps are one value.

It imports no recipe, because a run in which nothing changed makes the step of its report: without
the validation library that run takes three quarters of the CPU time.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from buildsys.digest import canonical, digest_value, encode, plain
from buildsys.graph import Device, Input, Origin, Output, Source, Step
from buildsys.planning.origins import Places, are_origins, find_origins, make_origin
from buildsys.registry import PACKAGE, StepDefinition, make_outputs, new_step
from buildsys.spec import Templates

_NOWHERE: Places = {}


class KnownSteps:
    """The steps of builds that are planned together: equal steps are one value, made once."""

    def __init__(self, complete: Callable[[Step], Step] = lambda step: step) -> None:
        """`complete`: called for each new step, and returns the step to use."""
        self.complete = complete
        self.by_content: dict[Hashable, list[Step]] = {}
        """Steps by everything except their origins, which differ between builds."""
        self.make_origin = cache(make_origin)


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """Values of a recipe for a step beside its parameters, see `Step`."""

    device: Device = "auto"
    trusts_code: bool = False
    holds_objects: bool = False


_NO_OPTIONS = StepOptions()


def make_step(
    stage: str,
    definition: StepDefinition,
    params: object,
    inputs: Mapping[str, Input],
    outputs: Mapping[str, bool] | None = None,
    places: Places = _NOWHERE,
    options: StepOptions = _NO_OPTIONS,
    known: KnownSteps | None = None,
) -> Step:
    """Return a step; steps with equal content are one value.

    `outputs`: name -> whether it is a tree, if they differ from those that the step declares;
    `places`: where each key of the recipe was written; `options`: values of the recipe beside the
    parameters; `known`: the steps of builds that are planned together.
    """
    outputs = definition.outputs if outputs is None else outputs
    known, block = known or KnownSteps(), definition.spec.block
    taken = tuple([(key, item.source, item.step, item.output) for key, item in inputs.items()])
    made = tuple(outputs.items())
    allowed = (options.device, options.trusts_code, options.holds_objects)
    content = (stage, definition.name, _hashable(params), taken, made, allowed)
    same = known.by_content.setdefault(content, [])
    for step in same:
        if are_origins(step.origins, stage, block, places):
            return step
    values = plain(params)
    text = encode(values)
    origins = find_origins(stage, block, values, places, known.make_origin)
    if same:
        step = replace(same[0], origins=origins)
    else:
        named = tuple([_named(item, str(key)) for key, item in inputs.items()])
        step = known.complete(
            _new_step(stage, definition, params, text, named, make_outputs(made), options, origins)
        )
    same.append(step)
    return step


def _hashable(params: object) -> Hashable:
    """Return parameters as they are, or as JSON if they contain a block that a person wrote."""
    try:
        hash(params)
    except TypeError:
        return canonical(params)
    return params


def _named(item: Input, name: str) -> Input:
    """Return an artifact under a step's name for it."""
    return Input(name=name, source=item.source, step=item.step, output=item.output)


def _new_step(
    stage: str,
    definition: StepDefinition,
    params: object,
    text: str,
    named: tuple[Input, ...],
    outputs: tuple[Output, ...],
    options: StepOptions,
    origins: tuple[Origin, ...],
) -> Step:
    identity = [definition.name, text, [_identify(item) for item in named]]
    # a step with this permission is not shared with builds without it
    identity += ["trusts"] if options.trusts_code else []
    return new_step(
        definition,
        params,
        text,
        step_id=digest_value(identity)[:32],
        stage=stage,
        inputs=named,
        outputs=outputs,
        device=options.device,
        trusts_code=options.trusts_code,
        holds_objects=options.holds_objects,
        origins=origins,
    )


def _identify(item: Input) -> list[object]:
    """Return the identity of an input before it exists; it does not depend on where a file is."""
    source = item.source
    given = [source.label, list(source.parts), source.sha256] if source else []
    return [item.name, item.step, item.output, given]


def needed(steps: list[Step], last: tuple[str, ...]) -> tuple[Step, ...]:
    """Return the steps that the last ones depend on, in order."""
    wanted = set(last)
    for step in reversed(steps):
        if step.id in wanted:
            wanted |= {item.step for item in step.inputs}
    return tuple({step.id: step for step in steps if step.id in wanted}.values())


def output(step: Step, name: str) -> Input:
    """Return a step's output as another step's input."""
    return Input(name=str(name), step=step.id, output=str(name))


def shipped_files(templates: Templates | None) -> dict[str, Input]:
    """Return the input `templates` of a step that ships or runs our files, identified by their
    bytes.
    """
    if templates is None:
        return {}
    source = Source(
        path=str(PACKAGE / "templates" / templates.folder),
        label=f"templates/{templates.folder}".rstrip("/"),
        parts=templates.files,
    )
    return {"templates": Input(name="templates", source=source)}
