"""Finds further mistakes in a recipe that has one: all that do not depend on a known mistake."""

import itertools
import os
from collections.abc import Callable, Iterable
from typing import TypeVar

from buildsys.authoring.datasets.dataset import find_data
from buildsys.authoring.datasets.facts import DatasetFacts
from buildsys.authoring.recipes.assembly import Assembler
from buildsys.authoring.recipes.checks import (
    check_calibrated,
    check_calibration,
    check_scheme,
    check_step_settings,
    check_task,
    check_training,
)
from buildsys.authoring.recipes.families import network, source_names
from buildsys.authoring.recipes.gates import check_each_gate
from buildsys.authoring.recipes.path_checks import check_paths
from buildsys.authoring.recipes.pipelines import is_finished
from buildsys.authoring.recipes.recipe import Recipe, TargetEntry
from buildsys.authoring.step_settings import is_training
from buildsys.authoring.syntax.document import KeyPath
from buildsys.authoring.syntax.validation import leave_out_mistakes, parse
from buildsys.errors import Diagnostic, InputError
from buildsys.registry import find_step

T = TypeVar("T")

_INSTEAD: dict[KeyPath, object] = {
    ("name",): "name",
    ("source",): {"family": source_names()[0], "weights": {"random": True}},
    ("source", "family"): source_names()[0],
    ("source", "weights"): {"random": True},
}
"""Values that replace wrong ones of a recipe; nothing that depends on them is checked."""
_GATES = ("evaluate", "gates")


class _Collector:
    """Mistakes of one recipe, variant and target; `wrong`: places of the known mistakes."""

    def __init__(self, assembler: Assembler, recipe: Recipe, wrong: frozenset[KeyPath]) -> None:
        self.assembler, self.recipe, self.wrong = assembler, recipe, wrong
        self.locate = assembler.scope.locate
        self.problems: list[Diagnostic] = []

    def is_right(self, *places: str) -> bool:
        """Return whether no mistake is at, above or below one of these dotted places."""
        wanted = [tuple(place.split(".")) for place in places]
        return not any(
            all(one == other for one, other in zip(place, wrong, strict=False))
            for place, wrong in itertools.product(wanted, self.wrong)
        )

    def attempt(self, look_up: Callable[[], T]) -> T | None:
        """Return the result of a lookup; None if it finds a mistake."""
        try:
            return look_up()
        except InputError as error:
            self.problems += error.diagnostics
            return None


def other_mistakes(
    assembler: Assembler,
    entry: tuple[TargetEntry, int] | None = None,
    known: Iterable[Diagnostic] = (),
) -> list[Diagnostic]:
    """Return every mistake of a build that is found without its other parts, possibly known ones
    again.

    `entry`: with its place among the targets; None if these cannot be read. `known`: mistakes of
    the whole build; nothing that depends on a wrong task is reported.
    """
    values = assembler.recipe_values
    rest, wrong = leave_out_mistakes(Recipe, values, _INSTEAD)
    try:
        recipe = Recipe.model_validate(rest)
    except ValueError:
        return []
    task = assembler.scope.locate(("source", "task"), "")
    if any(
        (one.path, one.line, one.column) == (task.path, task.line, task.column) for one in known
    ):
        wrong |= {("source", "task")}
    found = _Collector(assembler, recipe, wrong)
    found.attempt(lambda: parse(Recipe, values, (), found.locate))
    outside = check_paths(assembler.workspace, recipe, assembler.scope.locate)
    found.problems += outside
    _look_at_target(found, entry)
    facts = _look_at_files(found) if not outside else None
    _look_at_steps(found)
    _look_at_values(found, facts)
    return found.problems


def _look_at_target(found: _Collector, entry: tuple[TargetEntry, int] | None) -> None:
    """Check the target, the firmware contract, and the scheme on that target."""
    recipe, assembler = found.recipe, found.assembler
    board = found.attempt(lambda: assembler.find_board(*entry)) if entry is not None else None
    if not found.is_right("quantization.scheme", "source.family") or is_finished(recipe):
        return
    unfit = []
    if board is not None and entry is not None:
        unfit = check_scheme(recipe, board.target, found.locate, entry[1])
    found.problems += unfit
    if not unfit and found.is_right("quantization"):
        found.problems += check_calibrated(recipe, _few_images(found), found.locate)


def _few_images(found: _Collector) -> int | None:
    """Return `Assembler.few_images`; None if the dataset has a mistake, which is reported."""
    recipe, assembler = found.recipe, found.assembler
    try:
        data = find_data(assembler, recipe.dataset, recipe.source.task)
    except InputError:
        return None
    return assembler.few_images(recipe, data)


def _look_at_files(found: _Collector) -> DatasetFacts | None:
    """Check the weights and the dataset; returns the dataset's facts."""
    recipe, assembler = found.recipe, found.assembler
    if found.is_right("source.weights", "source.family", "source.trust"):
        found.attempt(lambda: assembler.find_weights(recipe))
    if found.is_right("dataset") and (found.is_right("source.task") or _is_absent(found)):
        data = found.attempt(lambda: find_data(assembler, recipe.dataset, recipe.source.task))
        return data.dataset if data is not None else None
    return None


def _is_absent(found: _Collector) -> bool:
    """Return whether the dataset's path does not exist, which is a mistake for every task."""
    block = found.recipe.dataset
    if block is None or block.path is None or block.url is not None:
        return False
    return not os.path.lexists(found.assembler.workspace / os.path.expanduser(block.path))


def _look_at_steps(found: _Collector) -> None:
    """Check the blocks of the training and the export, whose keys depend on the family."""
    recipe, assembler = found.recipe, found.assembler
    if not found.is_right("source.family"):
        return
    if found.is_right("export"):
        found.attempt(lambda: assembler.export_settings(recipe))
    step = find_step("train", recipe.source.family)
    if recipe.train is None or step is None or not found.is_right("train"):
        return
    train = found.attempt(
        lambda: assembler.settings("train", recipe.source.family, recipe.train, ("train",))
    )
    values, _ = leave_out_mistakes(step.settings, recipe.train, {})
    found.problems += check_training(values, True, found.locate)
    if is_training(train) and found.is_right("source.task"):
        found.problems += check_step_settings(recipe.source, train, found.locate)
        found.problems += check_task(recipe, train, found.locate)


def _look_at_values(found: _Collector, facts: DatasetFacts | None) -> None:
    """Check blocks that need nothing else: the calibration's images, the gates."""
    recipe = found.recipe
    calibration = recipe.quantization.calibration
    if calibration is not None:
        found.problems += check_calibration(calibration, found.locate)
    source = recipe.source
    if not found.is_right("source.family", "source.task", "evaluate.measure", "dataset"):
        return
    if network(source.family) is not None and source.task is None:
        return  # the measured figures are unknown
    if recipe.evaluate.measure and recipe.dataset is not None:
        misread = {str(place[2]) for place in found.wrong if place[:2] == _GATES and place[2:]}
        found.problems += check_each_gate(recipe, facts, misread, found.locate)
