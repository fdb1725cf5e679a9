"""The path of a source through a target's pipeline: its first step, and steps inserted between."""

from dataclasses import dataclass

from buildsys.authoring.recipes.families import source_format
from buildsys.authoring.recipes.recipe import Recipe
from buildsys.authoring.syntax.values import Scheme
from buildsys.authoring.targets.target import Target
from buildsys.registry import StepDefinition, find_step, get_step, kinds
from buildsys.spec import AnyFormat, Format, Intermediate

_ORDER: tuple[AnyFormat, ...] = tuple(Format)
"""Formats in the order in which a model passes through them."""
_REPLACED = "convert_tflite"


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One step of the pipeline, and the steps that first make what it consumes."""

    between: tuple[StepDefinition, ...]
    step: StepDefinition


class UnfitError(Exception):
    """A step that cannot consume what comes before it; `position` counts from 0."""

    def __init__(self, scheme: str, position: int, message: str) -> None:
        super().__init__(message)
        self.scheme, self.position = scheme, position


def chosen_scheme(board: Target, recipe: Recipe) -> Scheme:
    """Return the scheme of the pipeline; a finished tflite file takes any pipeline, unchanged."""
    scheme = recipe.quantization.scheme
    return scheme if scheme in board.pipelines else next(iter(board.pipelines))


def is_finished(recipe: Recipe) -> bool:
    """Return whether the source is a tflite file, whose scheme is fixed."""
    return source_format(recipe.source.family) == Format.TFLITE


def converter_problem(board: Target, recipe: Recipe) -> tuple[str, str] | None:
    """Return why the recipe's converter cannot make what this target's pipeline takes, and a hint.

    A converter from torch uses neither ONNX nor TensorFlow: it takes networks that a step traces, and
    only makes TFLite files.
    """
    tool, family = recipe.convert.tool, recipe.source.family
    quantizer = _own_quantizer(recipe)
    names = board.pipelines.get(recipe.quantization.scheme, ())
    wanted = [name for name in names if Format.SAVED_MODEL in get_step(name).spec.consumes]
    if quantizer is None or not wanted or source_format(family) == Format.TFLITE:
        return None
    if source_format(family) != Format.CHECKPOINT:
        reason = f"{tool} converts networks in torch, and the source is a finished ONNX file"
    elif find_step("trace", family) is None:
        known = " and ".join(kinds("trace"))
        reason = f"{tool} converts networks of families {known}, not of {family}"
    elif wanted != [_REPLACED]:
        reason = f"{tool} makes no TensorFlow SavedModel, which {board.name} ships"
    else:
        return None
    return reason, "write `tool: onnx2tf`"


def follow(board: Target, recipe: Recipe) -> tuple[Leg, ...]:
    """Return all steps from the source's format to the package. Raises UnfitError."""
    scheme = chosen_scheme(board, recipe)
    current: AnyFormat = source_format(recipe.source.family)
    legs: list[Leg] = []
    for position, name in enumerate(board.pipelines[scheme]):
        step = _own_step(get_step(name), recipe)
        between, produced = _bridge(current, step, recipe), step.spec.produces
        if between is None and not legs and _is_behind(step, current):
            continue  # the source is already past this step
        if between is None or produced is None:
            wanted = " or ".join(step.spec.consumes)
            before = "the step before it makes" if legs else "the recipe begins with"
            message = f"{name} consumes {wanted}, but {before} {current}"
            raise UnfitError(scheme, position, message)
        legs.append(Leg(between=between, step=step))
        current = produced
    if not legs:
        message = f"no step of this pipeline consumes {current}"
        raise UnfitError(scheme, 0, message)
    return tuple(legs)


def made_on_the_way(board: Target, recipe: Recipe) -> frozenset[AnyFormat]:
    """Return formats that the steps make; empty if the target has no pipeline for the scheme."""
    if recipe.quantization.scheme not in board.pipelines:
        return frozenset()
    legs = follow(board, recipe)
    steps = (step for leg in legs for step in (*leg.between, leg.step))
    return frozenset(step.spec.produces for step in steps if step.spec.produces is not None)


def _own_quantizer(recipe: Recipe) -> StepDefinition | None:
    """Return the step that quantizes the files of a converter that has its own."""
    return find_step("quantize", recipe.convert.tool)


def _own_step(step: StepDefinition, recipe: Recipe) -> StepDefinition:
    """Replace TensorFlow's step for TFLite files, which targets name, by the converter's own."""
    own = _own_quantizer(recipe) if step.name == _REPLACED else None
    return own or step


def _is_behind(step: StepDefinition, current: AnyFormat) -> bool:
    """Return whether the step comes before the one that makes `current`."""
    wanted = [_ORDER.index(form) for form in step.spec.consumes if form in _ORDER]
    return max(wanted, default=0) < _ORDER.index(current)


def _bridge(
    current: AnyFormat, step: StepDefinition, recipe: Recipe
) -> tuple[StepDefinition, ...] | None:
    """Return the steps that lead from `current` to what `step` consumes; None without any."""
    path: list[StepDefinition] = []
    while current not in step.spec.consumes:
        traced = Intermediate.FLOAT_TFLITE in step.spec.consumes
        makers: dict[AnyFormat, tuple[str, str]] = {
            Format.CHECKPOINT: ("trace" if traced else "export", recipe.source.family),
            Intermediate.PROGRAM if traced else Format.ONNX: ("convert", recipe.convert.tool),
        }
        between = find_step(*makers[current]) if current in makers else None
        if between is None or between.spec.produces is None:
            return None
        path.append(between)
        current = between.spec.produces
    return tuple(path)
