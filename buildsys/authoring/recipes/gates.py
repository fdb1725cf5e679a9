"""Checks that gates and selections use figures that are measured."""

from collections.abc import Collection, Iterable

from buildsys.authoring.datasets.facts import DatasetFacts
from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.families import network
from buildsys.authoring.recipes.firmware_checks import is_unseen
from buildsys.authoring.recipes.model import describe_outputs, model_fits, model_spec
from buildsys.authoring.recipes.recipe import Gate, Recipe
from buildsys.authoring.syntax.document import KeyPath
from buildsys.authoring.syntax.validation import Locate
from buildsys.errors import Diagnostic
from buildsys.spec import HEADLINES, METRICS, SIZES
from buildsys.text import did_you_mean

_AT: KeyPath = ("evaluate", "gates")


def check_gates(build: Build, locate: Locate) -> list[Diagnostic]:
    """Check that gates have limits, and are on figures that are measured."""
    recipe, facts = build.recipe, build.dataset
    if not recipe.evaluate.gates:
        return _check_described(build, locate)
    if facts is None or not recipe.evaluate.measure:
        why = "without a `dataset`" if facts is None else "with `measure: false`"
        message = f"`gates` have no effect: {why} accuracy is not measured"
        return [locate(_AT, message, "add `dataset`, or remove `gates`", key=True)]
    problems = check_each_gate(recipe, facts, (), locate)
    model = model_spec(build)
    if not problems and not is_unseen(build) and model.classes and not model_fits(model, facts):
        message = "`gates` have no effect: the dataset's classes are not the model's"
        problems.append(locate(_AT, message, "use a dataset with the model's classes", key=True))
    unknown = model.head == "none" or network(recipe.source.family) is None
    if not problems and unknown and not model.outputs:
        message = "`gates` have no effect: the meaning of the outputs is not given"
        problems.append(locate(_AT, message, describe_outputs(build), key=True))
    return problems


def _check_described(build: Build, locate: Locate) -> list[Diagnostic]:
    """Check that a given file is described where the recipe requests its accuracy."""
    evaluate, source, model = build.recipe.evaluate, build.recipe.source, model_spec(build)
    requested = evaluate.measure and "split" in evaluate.model_fields_set
    if not requested or network(source.family) is not None or model.outputs or is_unseen(build):
        return []
    facts = build.dataset
    if facts is None or (model.classes and not model_fits(model, facts)):
        return []  # other checks name that cause
    message = "accuracy is not measured: the meaning of the outputs is not given"
    hint = f"{describe_outputs(build)}, or write `evaluate: none`"
    return [locate(("evaluate", "split"), message, hint, key=True)]


def check_each_gate(
    recipe: Recipe, facts: DatasetFacts | None, misread: Collection[str], locate: Locate
) -> list[Diagnostic]:
    """Check gates by themselves.

    `facts`: None where the dataset cannot be read and may have any classes. `misread`: gates with a
    mistake in their limits.
    """
    task = recipe.source.task
    known, every = _metrics(task, facts)
    problems = []
    for name, gate in recipe.evaluate.gates.items():
        of_a_class = facts is None and any(name.startswith(f"{figure}.") for figure in HEADLINES)
        if name not in every and not of_a_class:
            problems.append(_unmeasured(name, task, known, every, locate))
        elif name not in misread:
            problems += _check_limits(name, gate, locate)
    return problems


def _unmeasured(
    name: str, task: str | None, known: list[str], every: list[str], locate: Locate
) -> Diagnostic:
    of = f" for task {task}" if task else ""
    hint = did_you_mean(name, every) or did_you_mean("", known)
    message = f"there is no metric `{name}`{of}"
    return locate((*_AT, name), message, hint, key=True)


def _check_limits(name: str, gate: Gate, locate: Locate) -> list[Diagnostic]:
    if gate.min is not None or gate.max_drop is not None:
        return []
    message = f"`{name}` needs `min` or `max_drop`"
    hint = "for example {min: 0.5} or {max_drop: 0.01}"
    return [locate((*_AT, name), message, hint, key=True)]


def _metrics(task: str | None, facts: DatasetFacts | None) -> tuple[list[str], list[str]]:
    """Return the measured figures: of all classes together, and those with each class's added."""
    names = facts.names if facts else ()
    known = list(METRICS[task or "detect"])
    single = [figure for figure in known if figure in HEADLINES]
    return known, [*known, *(f"{figure}.{name}" for figure in single for name in names)]


def absent_classes(build: Build) -> tuple[str, ...]:
    """Return the classes without an object in the split that accuracy is measured on.

    Returns none for data that is not split yet, for a split without any object, which is another
    mistake, and if accuracy is not measured.
    """
    evaluate, facts = build.recipe.evaluate, build.dataset
    if facts is None or build.split is not None or not evaluate.measure:
        return ()
    absent = dict(facts.absent).get(evaluate.split, ())
    return absent if len(absent) < len(facts.names) else ()


def class_of(metric: str, names: Iterable[str]) -> str:
    """Return which of the classes a figure is of; "" if it is of none of them."""
    return next((n for n in names if metric in {f"{figure}.{n}" for figure in HEADLINES}), "")


def describe_rejected(split: str, name: str) -> tuple[str, str]:
    """Return what a gate or a selection by a class without objects leads to, and what to do."""
    message = f"the {split} split has no objects of {name}: the build will be rejected"
    return message, "add images of this class to the split, or use another metric"


def warn_absent(
    metric: str, at: KeyPath, build: Build, locate: Locate, key: bool = False
) -> list[Diagnostic]:
    """Warn about a gate or a selection by a class without objects: no build can pass it."""
    name = class_of(metric, absent_classes(build))
    if not name:
        return []
    message, hint = describe_rejected(build.recipe.evaluate.split, name)
    return [locate(at, message, hint, key=key, severity="warning")]


def check_selection(metric: str, key: str, build: Build, locate: Locate) -> list[Diagnostic]:
    """Check that the figure that decides between variants is measured."""
    _, every = _metrics(build.recipe.source.task, build.dataset)
    at: KeyPath = ("select", key)
    if metric in SIZES:
        return []
    if metric not in every:
        hint = did_you_mean(metric, [*every, *SIZES])
        return [locate(at, f"there is no metric `{metric}`", hint)]
    if build.dataset is None or not build.recipe.evaluate.measure:
        message = "accuracy is not measured, so nothing can be compared"
        return [locate(at, message, "add `dataset`, or select by " + " or ".join(SIZES))]
    return warn_absent(metric, at, build, locate)
