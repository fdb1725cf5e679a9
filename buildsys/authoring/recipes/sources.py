"""Checks the `source` block against weights, data and pipeline."""

import re

from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.families import network, networks, source_format
from buildsys.authoring.recipes.model import known_model, strides
from buildsys.authoring.recipes.pipelines import made_on_the_way
from buildsys.authoring.recipes.recipe import SourceModel
from buildsys.authoring.syntax.validation import Locate
from buildsys.errors import Diagnostic
from buildsys.registry import find_step
from buildsys.spec import GRID, Family, Format, Intermediate
from buildsys.text import did_you_mean, first_of

_SHOWN = 5


def check_source(build: Build, locate: Locate) -> list[Diagnostic]:
    source, at = build.recipe.source, ("source",)
    family = network(source.family)
    if source.trust is not None and (problem := _check_trust(build, locate)):
        return [problem]
    if family is None:
        return _check_file(build, locate)
    if source.task is None:
        message = "`task` is missing: it names what the network does"
        return [locate(at, message, "there are: " + ", ".join(family.tasks), key=True)]
    if source.task not in family.tasks:
        message = f"family {source.family} has no networks for {source.task}"
        return [locate((*at, "task"), message, "there are: " + ", ".join(family.tasks))]
    problems = _check_network(build, family, locate) or _check_weights(build, family, locate)
    return problems or _check_grid(build, locate)


def _check_trust(build: Build, locate: Locate) -> Diagnostic | None:
    """Check `trust` that has no effect, because such a source runs no code."""
    source, family = build.recipe.source, network(build.recipe.source.family)
    if source.weights.random:
        why = "random weights are not a file"
    elif family is None or not family.holds_objects:
        why = f"a file of family {source.family} cannot run code"
    else:
        return None
    message = f"`trust` has no effect: {why}"
    return locate(("source", "trust"), message, "remove it", key=True)


def _check_network(build: Build, family: Family, locate: Locate) -> list[Diagnostic]:
    """Check the architecture, if the weights do not name it."""
    recipe, at = build.recipe, ("source",)
    source = recipe.source
    example = f"for example {dict(family.examples)[source.task or '']}"
    problem = family.architecture_problem(source.architecture or "")
    if problem is not None:
        message = f"no step supports the architecture {source.architecture}: {problem[0]}"
        return [locate((*at, "architecture"), message, problem[1])]
    made = recipe.train is not None or source.weights.random or family.nameless
    if source.architecture is None and made:
        hint = example if family.sizes else _nearest(source, family) or example
        return [locate(at, "`architecture` is missing", hint, key=True)]
    if made and not re.fullmatch(family.architectures, source.architecture or ""):
        message = f"there is no architecture `{source.architecture}`"
        return [locate((*at, "architecture"), message, _nearest(source, family) or example)]
    if made and family.task_of(source.architecture or "") != source.task:
        message = f"`architecture` {source.architecture} is not a network for task {source.task}"
        return [locate((*at, "architecture"), message, example)]
    if recipe.input is None:
        return [locate(at, "`input` is missing: the size of the images", "", key=True)]
    if source.weights.random and recipe.train is None and recipe.evaluate.measure:
        message = "without `train`, random weights have no accuracy to measure"
        return [locate((*at, "weights"), message, "add `train`, or write `evaluate: none`")]
    if recipe.train is not None and find_step("train", source.family) is None:
        message = f"buildsys does not train networks of family {source.family}"
        return [locate(("train",), message, "remove `train`", key=True)]
    return []


def _nearest(source: SourceModel, family: Family) -> str:
    """Return a suggestion for a name that is probably a typing error.

    Such a name differs by one or two letters (yolox-s, for example, is not meant as yolox).
    """
    fit = [name for name in family.listed if family.task_of(name) == source.task]
    return did_you_mean(source.architecture or "", fit, cutoff=0.85)


def _check_grid(build: Build, locate: Locate) -> list[Diagnostic]:
    """Check that larger strides than usual divide the size."""
    coarsest, block = max(strides(build)), build.recipe.input
    if coarsest == GRID:
        return []  # sizes of every network are multiples of that
    train = build.train.size if build.train is not None else None
    sizes = [(("input", "size"), side) for side in (block.size if block else ())]
    sizes += [(("train", "size"), train)] if train is not None else []
    for at, side in sizes:
        if side % coarsest:
            near = max(coarsest, round(side / coarsest) * coarsest)
            message = (
                f"`size` {side} is not a multiple of {coarsest}, the stride of its largest cells"
            )
            return [locate(at, message, f"the nearest is {near}")]
    return []


def _check_weights(build: Build, family: Family, locate: Locate) -> list[Diagnostic]:
    """Check that the weights belong to the network that the recipe names."""
    recipe, found, at = build.recipe, build.checkpoint, ("source",)
    source = recipe.source
    known = known_model(build)
    silent = family.nameless or source.weights.url is not None  # other weights name their classes
    if known is None and silent and (problem := _check_unknown(source, locate)):
        return [problem]
    if known is not None and source.classes and source.classes != known.names:
        of_file = source.weights.path if known is found else "a network of random weights"
        where = "the dataset" if known is build.dataset else of_file
        message = f"`classes` differs from {where}, which has {first_of(known.names, _SHOWN)}"
        return [locate((*at, "classes"), message, "remove `classes`", key=True)]
    if found is None:
        return []
    if found.problem is not None:
        network = f" ({found.architecture})" if found.architecture else ""
        message = (
            f"no step supports the network in {source.weights.path}{network}: {found.problem[0]}"
        )
        return [locate((*at, "weights"), message, found.problem[1])]
    size, wanted = found.architecture, source.architecture or ""
    same_grids = family.strides(size) == family.strides(wanted)
    if family.branched and (same_grids or recipe.train is not None):  # one size for several tasks
        size, wanted = size.split("-")[0], wanted.split("-")[0]
    if size and wanted and size != wanted:
        message = f"`architecture` is {source.architecture}, but {source.weights.path} is a {size} network"
        hint = f"write `architecture: {found.architecture}`, or give other weights"
        return [locate((*at, "architecture"), message, hint)]
    if found.task == source.task:
        return []
    if recipe.train is not None and source.task == "detect" and found.task in family.branched:
        return []  # a detect network with an additional branch can start a detect network
    message = f"`task` is {source.task}, but {source.weights.path} is a {found.task} checkpoint"
    return [locate((*at, "task"), message, f"write `task: {found.task}`, or give other weights")]


def _check_unknown(source: SourceModel, locate: Locate) -> Diagnostic | None:
    """Check that the recipe states what neither the data nor a checkpoint on this machine does."""
    at = ("source",)
    if source.task == "pose":
        message = "the number of keypoints is unknown until the weights are fetched"
        hint = "give a `dataset`, or fetch the file and write `weights: {path: …}`"
        return locate((*at, "weights"), message, hint)
    if source.classes:
        return None
    message = "`classes` is missing: list the classes of the weights, in their order"
    hint = "write classes: [person, …], or give a `dataset` that names them"
    return locate(at, message, hint, key=True)


def _check_file(build: Build, locate: Locate) -> list[Diagnostic]:
    """Check a finished file: no step trains or exports it, and converting it needs a size."""
    recipe, family = build.recipe, build.recipe.source.family
    problems = [
        locate((key,), f"`{key}` has no effect on a source of family {family}", "", key=True)
        for key, block in (("train", recipe.train), ("export", recipe.export))
        if block is not None
    ]
    problems += _check_pixels(build, locate)
    if recipe.source.weights.random:
        message = f"a source of family {family} needs a file, not random weights"
        problems.append(
            locate(("source", "weights"), message, "write {path: …} or {url: …, sha256: …}")
        )
    made = made_on_the_way(build.target, recipe) - {Format.PACKAGE}
    if source_format(family) == Format.ONNX and recipe.input is None and made:
        message = "`input` is missing: conversion needs the size of the images"
        problems.append(locate(("source",), message, "input: {size: 192}", key=True))
    return problems


def _check_pixels(build: Build, locate: Locate) -> list[Diagnostic]:
    """Check `pixels`; stock files of some networks are known not to take RGB 0..1."""
    source, at = build.recipe.source, ("source",)
    if source.pixels is not None and source_format(source.family) != Format.ONNX:
        message = f"`pixels` has no effect on a source of family {source.family}"
        return [locate((*at, "pixels"), message, "it is for files of family onnx", key=True)]
    usual = {word: family.pixels for family in networks().values() for word, _ in family.decoders}
    known = usual.get(source.decoder, "")
    if known and source.pixels is None:
        message = f"files with decoder {source.decoder} often take {known}; buildsys gives this one RGB 0..1"
        hint = "write pixels: {color: bgr, values: 0..255}, or `pixels: {}` if it takes RGB 0..1"
        return [locate((*at, "decoder"), message, hint, severity="warning")]
    return []


def check_converter(build: Build, locate: Locate) -> list[Diagnostic]:
    """Warn about a converter that is chosen although nothing is converted, and about `export.opset`
    beside a converter that makes no ONNX file.
    """
    recipe, board = build.recipe, build.target
    made = made_on_the_way(board, recipe)
    if Intermediate.PROGRAM in made and "opset" in (recipe.export or {}):
        tool = recipe.convert.tool
        message = f"`opset` has no effect: {tool} makes files for {board.name} without ONNX"
        hint = "remove it here, and write it in the entries of targets that take ONNX"
        at = ("export", "opset")
        return [locate(at, message, hint, key=True, severity="warning")]
    if "convert" not in recipe.model_fields_set or not made:
        return []
    if made & {Format.SAVED_MODEL, Intermediate.FLOAT_TFLITE}:
        return []
    message = f"`convert` has no effect: no file is converted to TFLite for {board.name}"
    hint = "write it in the entries of targets that take TFLite files; without any, remove it"
    return [locate(("convert",), message, hint, key=True, severity="warning")]
