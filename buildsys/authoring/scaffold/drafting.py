"""A recipe as text, with what is known filled in and comments for what is the author's to decide."""

import re
from textwrap import wrap
from typing import Any

from buildsys.authoring.recipes.families import decoded_by, network, source_names
from buildsys.authoring.recipes.pipelines import follow
from buildsys.authoring.recipes.recipe import CALIBRATED, Recipe
from buildsys.authoring.scaffold.drafts import Draft
from buildsys.authoring.scaffold.draftwords import architecture, describe, noted, printable, scalar
from buildsys.authoring.targets.contract import Contract
from buildsys.registry import find_step
from buildsys.spec import Format
from buildsys.steps.lib.families.family import Family

_SMALL = 192
"""Side of the input in pixels that a microcontroller's memory holds."""
_SMALLEST, _LARGEST = 32, 2048
"""Sides that are believed when a checkpoint names them."""
_FIGURES = {"segment": "masks.mAP50-95", "obb": "obb.mAP50-95", "classify": "top1"}


def draft(wish: Draft, contract: Contract | None, others: tuple[str, ...]) -> str:
    """The recipe; `contract` is the target's own for the task, `others` further targets to name.

    Raises UnfitError where the target's pipeline cannot take such a source.
    """
    source = {"family": wish.family, "weights": {"path": "x"}}
    blank = {"name": wish.name, "source": source, "quantization": {"scheme": wish.scheme}}
    follow(wish.board.target, Recipe.model_validate(blank))
    blocks = [
        _head(wish),
        _source(wish),
        _dataset(wish),
        _input(wish),
        _train(wish),
        _making(wish),
        _quantization(wish),
        _evaluate(wish),
        _firmware(wish, contract),
        _targets(wish, others),
    ]
    return "\n".join(line for block in blocks for line in block) + "\n"


def _head(wish: Draft) -> list[str]:
    lines = ["# yaml-language-server: $schema=../.buildsys/recipe.schema.json"]
    found = wish.probe.checkpoint if wish.probe else None
    if found is not None:
        lines.append(f"# The weights are {describe(found)}.")
    if found is not None and wish.trains:
        lines.append(
            "# The data is of other classes or keypoints: the weights are a start, and are trained."
        )
    return [*lines, noted(f"name: {wish.name}", "the file's name")]


def _source(wish: Draft) -> list[str]:
    useful = [name for name in source_names() if (kind := network(name)) is None or kind.heads]
    lines = ["source:", noted(f"  family: {wish.family}", " | ".join(useful))]
    if wish.network is not None:
        lines += _licence(wish.network)
        lines.append(noted(f"  task: {wish.task}", " | ".join(wish.network.tasks)))
        lines += _architecture_line(wish, wish.network)
    else:
        lines.append(
            "  # task: detect                    # with `firmware`: what its decoder is for"
        )
    if wish.probe is None:
        note = "no training went before; {path: weights/best.pt} where there are weights"
        lines.append(noted("  weights: random", note))
    else:
        path = scalar(wish.probe.path)
        lines.append(f"  weights: {{path: {path}, sha256: {wish.probe.sha256}}}")
    found = wish.probe.checkpoint if wish.probe else None
    if found is not None and not found.names and not wish.trains:
        lines.append(noted("  # classes: [person, …]", "FILL IN what it tells apart, in its order"))
    if not wish.task:
        names = [scalar(name) for name in wish.facts.names] if wish.facts else ["tag"]
        lines += [
            "  # What the file cannot say of itself, needed to measure accuracy (fill in, then `evaluate`):",
            noted("  # decoder: yolov8-raw", "yolov8-raw | yolov8-decoded | yolox | none"),
            f"  # classes: [{', '.join(names)}]",
        ]
    return lines


def _licence(family: Family) -> list[str]:
    """The first words of what it declares; the manifest has them all."""
    words = re.split(r"[,;:.] ", family.licence)[0].rstrip(".")
    return [f"  # licence: {words}"] if words else []


def _architecture_line(wish: Draft, family: Family) -> list[str]:
    found = wish.probe.checkpoint if wish.probe else None
    known = architecture(found) if found else ""
    if known and found and found.task == wish.task:
        return [f"  architecture: {known}"]
    guess = dict(family.examples).get(wish.task, "")
    if known and family.task_of(known) != wish.task:  # the same size, for another task
        guess = "-".join([known.split("-")[0], *guess.split("-")[1:]])
    if known or found is None:
        return [noted(f"  architecture: {guess}", family.sizes or " | ".join(family.listed))]
    note = "the file does not say it: make sure before you train"
    return [noted(f"  {'' if wish.trains else '# '}architecture: {guess}", note)]


def _dataset(wish: Draft) -> list[str]:
    if wish.block:
        return wish.block.splitlines()
    if wish.data:
        return [f"dataset: {{format: ultralytics, path: {scalar(wish.data)}}}"]
    if wish.probe is None:
        note = "or {path: data/my/data.yaml}"
        return [noted("dataset: {generator: fiducials, train: 300, val: 60}", note)]
    return [
        "# dataset: {format: ultralytics, path: data/my/data.yaml}   # labelled pictures, where there are any"
    ]


def _input(wish: Draft) -> list[str]:
    if wish.format == Format.TFLITE:
        return [noted("# input: {size: 192}", "the file's own; needed to measure accuracy")]
    if wish.format == Format.ONNX:
        return [noted("input: {size: 192}", "FILL IN the file's own: a number or [height, width]")]
    board, found = wish.board.target, wish.probe.checkpoint if wish.probe else None
    known = found.size if found and _SMALLEST <= found.size <= _LARGEST else 0
    known = 0 if known % 32 else known
    small = board.vela is not None or board.flash is not None or not (wish.probe or wish.facts)
    usual = wish.network.side if wish.network else 0
    size = _SMALL if small else known or usual
    note = "pixels, a multiple of 32: smaller is faster and sees less"
    if known and known != size:
        note = f"trained at {known}; smaller is faster and sees less"
    return [noted(f"input: {{size: {size}}}", note)]


def _train(wish: Draft) -> list[str]:
    if wish.network is None:
        return []
    if wish.trains:
        epochs = 100 if wish.facts else 12
        note = "more epochs, better weights; few pictures want hundreds"
        return [noted(_training(wish, epochs), note)]
    return [f"# {_training(wish, 30)}   # fine-tunes on `dataset`; absent: used as they are"]


def _training(wish: Draft, epochs: int) -> str:
    """The block, with the batch that the family's training has by default."""
    settings: Any = find_step("train", wish.family)
    batch = settings.Settings(epochs=epochs).batch
    return f"train: {{epochs: {epochs}, batch: {batch}, seed: 0}}"


def _making(wish: Draft) -> list[str]:
    lines = []
    if wish.network is not None:
        lines.append(noted("# export: {opset: 13}", "the head is chosen by the firmware"))
    if wish.format != Format.TFLITE:
        lines.append(
            "# convert: {tool: onnx2tf}          # where the target's pipeline makes TFLite"
        )
    return lines


def _quantization(wish: Draft) -> list[str]:
    if wish.format == Format.TFLITE:
        return ["# quantization: the file is as it is"]
    schemes = " | ".join(wish.board.target.pipelines)
    lines = [
        "quantization:",
        noted(f"  scheme: {wish.scheme}", f"{wish.board.target.name}: {schemes}"),
    ]
    if wish.scheme not in CALIBRATED:
        return [*lines, "  # int8 and int16x8 also want `calibration: {split: train, count: 100}`"]
    lines.append(
        "  # granularity: per-tensor         # per-channel without it; try which keeps more"
    )
    note = "pictures of what the camera will see set the ranges"
    if wish.splits:
        split = wish.splits[0]
        return [*lines, noted(f"  calibration: {{split: {split}, count: 100, seed: 0}}", note)]
    pattern = f"data/{wish.name}/**/*.jpg"
    return [
        *lines,
        f"  # {note}; put about a hundred there, no labels needed",
        f'  calibration: {{images: "{pattern}", count: 100, seed: 0}}',
    ]


def _evaluate(wish: Draft) -> list[str]:
    split = next((name for name in ("val", "test") if name in wish.splits), "")
    if wish.network is None or not split:
        why = "no labelled pictures: accuracy is not measured"
        if split and wish.network is None:
            why = f"write {{split: {split}}}, once `input`, `decoder` and `classes` are true"
        return [noted("evaluate: none", why)]
    return [
        "evaluate:",
        f"  split: {split}",
        "  # A gate keeps a build from shipping: set it once you know what to expect.",
        f"  # gates: {{{_FIGURES.get(wish.task, 'box.mAP50-95')}: {{max_drop: 0.02, min: 0.4}}}}",
    ]


def _firmware(wish: Draft, contract: Contract | None) -> list[str]:
    if contract is None:
        return []
    why = misfit(wish, contract)
    if why:
        return [noted("firmware: unchecked", f"{contract.name} {why}: the decoder is yours")]
    note = "the target's own; `unchecked` where the decoder is yours"
    return [noted(f"# firmware: {contract.name}", note)]


def misfit(wish: Draft, contract: Contract) -> str:
    """Why the contract cannot decode this network; empty where it can, or where nobody knows yet."""
    heads = [head for _, head in wish.network.heads] if wish.network else []
    if contract.head is not None and heads and contract.head not in heads:
        return f"decodes {decoded_by(contract.head)} networks"
    found = wish.facts if wish.trains or wish.probe is None else None
    known = found or (wish.probe.checkpoint if wish.probe else None)
    if known is None:
        return ""
    classes, values = len(known.names), known.keypoints * known.keypoint_dims
    if contract.classes is not None and classes != contract.classes:
        return f"decodes {contract.classes} class, the network has {classes}"
    if classes in contract.refused_classes:
        return f"cannot tell {classes} classes from a box"
    if wish.task != "pose":
        return ""
    if contract.keypoint_values not in (None, values):
        return f"decodes {contract.keypoint_values} keypoint values, the network has {values}"
    if contract.keypoint_dims not in (None, known.keypoint_dims):
        return f"decodes {contract.keypoint_dims} values a keypoint, the data has {known.keypoint_dims}"
    return ""


def _targets(wish: Draft, others: tuple[str, ...]) -> list[str]:
    target = wish.board.target
    lines = ["targets:", noted(f"  - {target.name}", printable(target.label))]
    told = f"there are also: {', '.join(others)}" if others else ""
    return lines + wrap(
        told, 100, initial_indent="  # ", subsequent_indent="  # ", break_on_hyphens=False
    )
