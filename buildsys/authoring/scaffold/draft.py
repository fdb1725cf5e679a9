"""The recipe that `buildsys new` writes: known facts of weights, data and board are filled in.

Comments name what remains to be decided.
"""

import re
from dataclasses import dataclass
from textwrap import wrap

from buildsys.authoring.datasets.facts import DatasetFacts
from buildsys.authoring.recipes.families import (
    decoded_by,
    decoders,
    network,
    source_format,
    source_names,
)
from buildsys.authoring.recipes.given_checks import classify_decoder, guess_decoder
from buildsys.authoring.recipes.given_file import GivenFile
from buildsys.authoring.recipes.pipelines import follow
from buildsys.authoring.recipes.recipe import CALIBRATED, USUAL_COUNT, Recipe
from buildsys.authoring.scaffold.probing import Probe
from buildsys.authoring.syntax.scalars import scalar
from buildsys.authoring.syntax.values import Scheme
from buildsys.authoring.targets.contract import Contract
from buildsys.authoring.targets.lookup import Board
from buildsys.errors import Diagnostic
from buildsys.registry import find_step
from buildsys.spec import GRID, SCHEMES, CheckpointFacts, Family, Format
from buildsys.steps.lib.heads.outputs import HEADS

_FIRST = source_names()[0]
"""The family to start with if no model is given."""
_SMALL = 192
"""Side of the input in pixels that a microcontroller's memory can hold."""
_SMALLEST, _LARGEST = GRID, 2048
"""Sizes in pixels that are accepted from a checkpoint."""
_GATED = {
    "segment": "masks.mAP50-95",
    "obb": "obb.mAP50-95",
    "classify": "top1",
    "pose": "keypoints.mAP50-95",
}
"""The metric to gate on first, by task."""
_GIVEN_BY_CLASSIFIERS = {
    "yolov8-decoded": "probabilities",
    "yolov8-raw": "logits",
    "none": "each class a probability of its own",
}
"""What a classifier gives, by the decoder for it."""
_COMMENT_COLUMN = 36
_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a recipe is written from.

    `boards`: the targets to build for, at least one; `facts`: of the data; `block`: the whole
    `dataset` block; `images`: the pattern of images without labels, for calibration; `count`: how
    many images calibrate; `chosen`: the
    family, where no file determines it; `brought`: lines to print about copied or linked files;
    `outlines`: where labels are longer than a box.
    """

    name: str
    boards: tuple[Board, ...]
    probe: Probe | None
    facts: DatasetFacts | None
    block: str = ""
    images: str = ""
    count: int = USUAL_COUNT
    chosen: str = ""
    brought: tuple[str, ...] = ()
    outlines: Diagnostic | None = None

    @property
    def family(self) -> str:
        """Return the family, which decides the steps of the source."""
        return self.probe.family if self.probe else self.chosen or _FIRST

    @property
    def format(self) -> Format:
        """Return the format of the source's file."""
        return source_format(self.family)

    @property
    def network(self) -> Family | None:
        """Return the family's declaration; None for a finished file."""
        return network(self.family)

    @property
    def given(self) -> GivenFile | None:
        """Return the finished file, opened."""
        return self.probe.given if self.probe else None

    @property
    def decoder(self) -> str:
        """Return the decoder of a finished file with metadata; otherwise an empty text."""
        return guess_decoder(self.given) if self.given is not None else ""

    @property
    def task(self) -> str:
        """Return the checkpoint's task, if the data can train it; otherwise the data's.

        Returns an empty text if unknown.
        """
        if self.network is None and self.probe and self.probe.checkpoint:
            return self.probe.checkpoint.task
        if self.network is None:
            return "classify" if self.facts is not None and not self.facts.file else ""
        given = "detect" if self.boxes_alone else "pose"
        if self.probe and self.probe.checkpoint:
            given = self.probe.checkpoint.task
        if self.facts is not None and not self.facts.file:
            return "classify"  # only folders of classes are for classify
        if self.facts is not None and not self.facts.keypoints:
            return given if given in ("segment", "obb") else "detect"
        return given if self.probe or self.facts else "detect"

    @property
    def boxes_alone(self) -> bool:
        """Return whether the family reads only boxes, even from labels with keypoints."""
        return self.network is not None and "pose" not in self.network.tasks

    @property
    def trains(self) -> bool:
        """Return whether it trains: without weights, or if the data has other classes than the
        weights.
        """
        if self.network is None:
            return False
        found = self.probe.checkpoint if self.probe else None
        if found is None or self.facts is None:
            return found is None
        points = self.facts.keypoints if found.task == "pose" else 0
        if not self.facts.file:  # folders are found by their classes' names: some are enough
            return not set(self.facts.names) <= set(found.names)
        return (found.keypoints, found.names) != (points, self.facts.names)

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """Return each board's scheme: the first that all boards have, otherwise the first that it
        lists.
        """
        listed = [tuple(board.target.pipelines) for board in self.boards]
        common = [name for name in listed[0] if all(name in other for other in listed)]
        return tuple((common or names)[0] for names in listed)

    @property
    def scheme(self) -> Scheme:
        """Return the scheme of the recipe's own block: a calibrated one, if a board has one."""
        calibrated = [name for name in self.schemes if name in CALIBRATED]
        return (calibrated or self.schemes)[0]

    @property
    def pattern(self) -> str:
        """Return the pattern of images without labels: the given ones, or where to put some."""
        return self.images or f"data/{self.name}/**/*.jpg"

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the names of the splits; a generator makes train and val."""
        if self.facts is not None:
            return tuple(name for name, _ in self.facts.splits)
        return () if self.probe else ("train", "val")


def check_pipeline(draft: Draft, board: Board, scheme: Scheme) -> None:
    """Raise UnfitError if the board's pipeline cannot take such a source."""
    source = {"family": draft.family, "weights": {"path": "x"}}
    blank = {"name": draft.name, "source": source, "quantization": {"scheme": scheme}}
    follow(board.target, Recipe.model_validate(blank))


def write_recipe(
    draft: Draft, contracts: tuple[Contract | None, ...], others: tuple[str, ...]
) -> str:
    """Return the recipe's text.

    `contracts`: the boards' own for the task; `others`: further targets to name.
    """
    blocks = [
        _head(draft),
        _source(draft),
        dataset_block(draft),
        _input(draft),
        _train(draft),
        _conversion(draft),
        _quantization(draft),
        _evaluate(draft),
        _firmware(draft, contracts),
        _targets(draft, contracts, others),
    ]
    return "\n".join(line for block in blocks for line in block) + "\n"


def _head(draft: Draft) -> list[str]:
    lines = ["# yaml-language-server: $schema=../.buildsys/recipe.schema.json"]
    found = draft.probe.checkpoint if draft.probe else None
    if draft.given is not None:
        sides = (draft.given.inputs, draft.given.outputs)
        takes, gives = (printable(", ".join(map(str, edges)), 100) for edges in sides)
        lines += [f"# The file takes {takes},", f"# and gives {gives}."]
    if found is not None:
        lines.append(f"# The weights are {describe(found)}.")
    if found is not None and draft.trains:
        lines.append(
            "# The data has other classes or keypoints: training starts from these weights."
        )
    return [*lines, noted(f"name: {draft.name}", "the file's name")]


def _source(draft: Draft) -> list[str]:
    useful = [name for name in source_names() if (kind := network(name)) is None or kind.heads]
    lines = ["source:", noted(f"  family: {draft.family}", " | ".join(useful))]
    if draft.network is not None:
        lines += _licence(draft.network)
        lines.append(noted(f"  task: {draft.task}", " | ".join(draft.network.tasks)))
        lines += _architecture_line(draft, draft.network)
    elif draft.task:
        stated = draft.probe is not None and draft.probe.checkpoint is not None
        note = (
            "from the file, as are the classes" if stated else "the data is a folder for each class"
        )
        lines.append(noted(f"  task: {draft.task}", note))
    else:
        lines.append(
            "  # task: detect                    # with `firmware`: what its decoder is for"
        )
    if draft.decoder:
        lines.append(noted(f"  decoder: {draft.decoder}", "what decodes outputs of these shapes"))
    if draft.probe is None:
        suffix = draft.network.suffixes[0] if draft.network and draft.network.suffixes else ".pt"
        note = f"trained from these; with weights: {{path: weights/best{suffix}}}, then run `buildsys pin`"
        lines.append(noted("  weights: random", note))
    else:
        path = scalar(draft.probe.path)
        lines.append(f"  weights: {{path: {path}, sha256: {draft.probe.sha256}}}")
        if draft.probe.runs_code:
            note = "the weights may run code in the isolated steps that load them"
            lines.append(noted("  trust: code", note))
    found = draft.probe.checkpoint if draft.probe else None
    if found is not None and not found.names and not draft.trains:
        lines.append(noted("  # classes: [person, …]", "FILL IN the classes, in the file's order"))
    if draft.network is None and not draft.decoder:
        lines += _undescribed(draft, bool(found is not None and found.names))
    return lines


def _undescribed(draft: Draft, has_names: bool) -> list[str]:
    """Return the comment on a given file whose outputs no decoder is known for."""
    if draft.given is not None and draft.given.suppresses:
        return _comment(
            "The file suppresses overlapping boxes itself (NMS), which no decoder reads: export it"
            " with nms=False to measure accuracy."
        )
    names = [scalar(name) for name in draft.facts.names] if draft.facts else ["tag"]
    return [
        "  # Not in the file, but needed to measure accuracy (fill in, then `evaluate`):",
        *_comment(_decoder_comment(draft)),
        *([] if has_names else [f"  # classes: [{', '.join(names)}]"]),
    ]


def _decoder_comment(draft: Draft) -> str:
    """Return the possible decoders; for a classifier, which one its last operator suggests."""
    listed = " | ".join(_decoders_of(draft.task))
    word = classify_decoder(draft.given) if draft.given is not None else ""
    if draft.task != "classify" or draft.given is None or not word:
        return f"decoder: {listed}"
    maker, gives = draft.given.makers[0], _GIVEN_BY_CLASSIFIERS[word]
    return f"decoder: {word}: the file ends in {maker}, which gives {gives}; there are: {listed}"


def _decoders_of(task: str) -> tuple[str, ...]:
    """Return the decoders for a task; all of them if it is unknown."""
    listed = decoders()
    heads = {head for head, tasks in HEADS.items() if not task or task in tasks}
    return tuple(word for word, head in listed.items() if head in heads or head == "none")


def _licence(family: Family) -> list[str]:
    """Return the start of the declared licence; the manifest has the whole text."""
    words = re.split(r"[,;:.] ", family.licence)[0].rstrip(".")
    return [f"  # licence: {words}"] if words else []


def _architecture_line(draft: Draft, family: Family) -> list[str]:
    found = draft.probe.checkpoint if draft.probe else None
    known = architecture(found) if found else ""
    if known and found and found.task == draft.task:
        return [f"  architecture: {known}"]
    guess = dict(family.examples).get(draft.task, "")
    if known and family.task_of(known) != draft.task:  # the same size, for another task
        guess = "-".join([known.split("-")[0], *guess.split("-")[1:]])
    if known or found is None:
        return [noted(f"  architecture: {guess}", family.sizes or " | ".join(family.listed))]
    note = "not in the file: make sure before you train"
    return [noted(f"  {'' if draft.trains else '# '}architecture: {guess}", note)]


def dataset_block(draft: Draft) -> list[str]:
    """Return the lines that name the data."""
    if draft.block:
        return draft.block.splitlines()
    if draft.probe is None:
        note = "or {path: data/my/data.yaml}"
        return [noted("dataset: {generator: fiducials, train: 300, val: 60}", note)]
    return [
        "# dataset: {format: ultralytics, path: data/my/data.yaml}   # labelled images, if you have any"
    ]


def _input(draft: Draft) -> list[str]:
    if draft.network is None:
        return _given_input(draft)
    found = draft.probe.checkpoint if draft.probe else None
    known = found.size if found and _SMALLEST <= found.size <= _LARGEST else 0
    known = 0 if known % GRID else known
    targets = [board.target for board in draft.boards]
    small = any(target.vela is not None or target.flash is not None for target in targets)
    small = small or not (draft.probe or draft.facts)
    usual = draft.network.side_for(draft.task) if draft.network else 0
    own = not draft.trains and 0 < known < _SMALL
    size = _SMALL if small and not own else known or usual
    note = f"pixels, a multiple of {GRID}: smaller is faster and less accurate"
    if known and known != size:
        note = f"trained at {known}; smaller is faster and less accurate"
    return [noted(f"input: {{size: {size}}}", note)]


def _given_input(draft: Draft) -> list[str]:
    """Return the size that a finished file takes, or was exported for."""
    size = draft.given.size if draft.given is not None else None
    side = draft.probe.checkpoint.size if draft.probe and draft.probe.checkpoint else 0
    note = "the file's own"
    if size is None and side and not side % GRID:
        is_open = draft.given is not None and any(None in edge.sides for edge in draft.given.inputs)
        size = (side, side)
        note = "the file takes any; it was exported for this one" if is_open else note
    known = size is not None and not (size[0] % GRID or size[1] % GRID)
    text = "192"
    if size is not None and known:
        text = f"{size[0]}" if size[0] == size[1] else f"[{size[0]}, {size[1]}]"
    elif size is not None:
        note = f"the file takes {size[0]} x {size[1]}; sizes here are multiples of {GRID}"
    if draft.format == Format.TFLITE and not (known and draft.decoder):
        return [noted(f"# input: {{size: {text}}}", f"{note}; needed to measure accuracy")]
    if not known:
        note = note if size is not None else "FILL IN the file's size: a number or [height, width]"
    return [noted(f"input: {{size: {text}}}", note)]


def _train(draft: Draft) -> list[str]:
    if draft.network is None:
        return []
    if draft.trains:
        epochs = 100 if draft.facts else 12
        note = "more epochs give better weights; few images need hundreds"
        return [noted(_training(draft, epochs), note)]
    return [f"# {_training(draft, 30)}   # fine-tunes on `dataset`; absent: used as they are"]


def _training(draft: Draft, epochs: int) -> str:
    """Return the block, with the default batch of the family's training."""
    step = find_step("train", draft.family)
    assert step is not None
    batch = step.settings(epochs=epochs).batch
    return f"train: {{epochs: {epochs}, batch: {batch}, seed: 0}}"


def _conversion(draft: Draft) -> list[str]:
    lines = []
    if draft.network is not None:
        lines.append(noted("# export: {opset: 13}", "default: the head that the firmware decodes"))
    if draft.format != Format.TFLITE:
        lines.append(
            "# convert: {tool: onnx2tf}          # for targets whose pipeline makes TFLite"
        )
    return lines


def _calibrated(draft: Draft, listed: list[tuple[Scheme, ...]]) -> list[str]:
    """Return the comment on the schemes of the targets that need calibration, if there are any."""
    names = [name for name in SCHEMES if name in CALIBRATED and any(name in own for own in listed)]
    needs = "needs" if len(names) == 1 else "need"
    text = f"  # {' and '.join(names)} also {needs} `calibration: {{split: train, count: {draft.count}}}`"
    return [text] if names else []


def _quantization(draft: Draft) -> list[str]:
    if draft.format == Format.TFLITE:
        return ["# quantization: the file is as it is"]
    listed = [tuple(board.target.pipelines) for board in draft.boards]
    common = " | ".join(name for name in listed[0] if all(name in other for other in listed))
    whose = draft.boards[0].target.name if len(draft.boards) == 1 else "all targets"
    note = f"{whose}: {common}" if common else "a target that lacks it uses its own"
    lines = ["quantization:", noted(f"  scheme: {draft.scheme}", note)]
    if draft.scheme not in CALIBRATED:
        return [*lines, *_calibrated(draft, listed)]
    lines.append(
        "  # granularity: per-tensor         # default: per-channel; try which is more accurate"
    )
    note = "use images like those of the camera: they determine the value ranges"
    if draft.splits:
        split = draft.splits[0]
        return [
            *lines,
            noted(f"  calibration: {{split: {split}, count: {draft.count}, seed: 0}}", note),
        ]
    more = "" if draft.images else "; put about a hundred there, without labels"
    return [
        *lines,
        f"  # {note}{more}",
        f"  calibration: {{images: {scalar(draft.pattern)}, count: {draft.count}, seed: 0}}",
    ]


def _evaluate(draft: Draft) -> list[str]:
    split = next((name for name in ("val", "test") if name in draft.splits), "")
    found = draft.probe.checkpoint if draft.probe else None
    other = bool(found and draft.facts and len(found.names) != len(draft.facts.names))
    measured = draft.network is not None or (bool(draft.decoder) and not other)
    if not measured or not split:
        why = "no labelled images: accuracy is not measured"
        if split and draft.network is None:
            why = f"write {{split: {split}}}, once `input`, `decoder` and `classes` are true"
        if split and other and draft.decoder:
            why = "the data is of other classes than the file"
        return [noted("evaluate: none", why)]
    return [
        "evaluate:",
        f"  split: {split}",
        "  # A build that misses a gate does not ship: set one once you know what to expect.",
        f"  # gates: {{{_GATED.get(draft.task, 'box.mAP50-95')}: {{max_drop: 0.02, min: 0.4}}}}",
    ]


def _firmware(draft: Draft, contracts: tuple[Contract | None, ...]) -> list[str]:
    """Return the one board's firmware; of several boards, each entry of `targets` names its own."""
    contract = contracts[0]
    if contract is None or len(contracts) > 1:
        return []
    why = misfit(draft, contract)
    if why:
        return [noted("firmware: unchecked", f"{contract.name} {why}: you need your own decoder")]
    note = "default: the target's; `unchecked` if you have your own decoder"
    return [noted(f"# firmware: {contract.name}", note)]


def misfit(draft: Draft, contract: Contract) -> str:
    """Return why the contract cannot decode this network.

    Returns an empty text if it can, or if that is not known yet.
    """
    named = draft.probe.checkpoint.architecture if draft.probe and draft.probe.checkpoint else ""
    heads = list(draft.network.heads_for(named).values()) if draft.network else []
    heads = heads or ([decoders()[draft.decoder]] if draft.decoder else [])
    if contract.head is not None and heads and contract.head not in heads:
        later = draft.network is not None and contract.head in dict(draft.network.heads).values()
        ours = f", not {draft.decoder or named}" if draft.decoder or later else ""
        return f"decodes {decoded_by(contract.head)} networks{ours}"
    found = draft.facts if draft.trains or draft.probe is None else None
    known = found or (draft.probe.checkpoint if draft.probe else None)
    if known is None:
        return ""
    classes, values = len(known.names), known.keypoints * known.keypoint_dims
    if contract.classes is not None and classes != contract.classes:
        return f"decodes {contract.classes} class, but the network has {classes}"
    if classes in contract.refused_classes:
        return f"cannot distinguish {classes} classes from a box"
    if draft.task != "pose":
        return ""
    if contract.keypoint_values not in (None, values):
        return f"decodes {contract.keypoint_values} keypoint values, but the network has {values}"
    if contract.keypoint_dims not in (None, known.keypoint_dims):
        return f"decodes {contract.keypoint_dims} values for each keypoint, but the data has {known.keypoint_dims}"
    return ""


def _targets(
    draft: Draft, contracts: tuple[Contract | None, ...], others: tuple[str, ...]
) -> list[str]:
    lines = ["targets:"]
    for board, scheme, contract in zip(draft.boards, draft.schemes, contracts, strict=True):
        own = []
        if scheme != draft.scheme and draft.format != Format.TFLITE:
            own.append(f"quantization: {{scheme: {scheme}}}")
        if len(draft.boards) > 1 and contract is not None and (why := misfit(draft, contract)):
            own.append("firmware: unchecked")
            lines.append(f"  # {contract.name} {why}: you need your own decoder")
        name = board.target.name
        entry = f"{{{', '.join([f'target: {name}', *own])}}}" if own else name
        lines.append(noted(f"  - {entry}", printable(board.target.label)))
    text = f"there are also: {', '.join(others)}" if others else ""
    return lines + _comment(text)


def _comment(text: str) -> list[str]:
    """Return a text as comment lines."""
    return wrap(text, 100, initial_indent="  # ", subsequent_indent="  # ", break_on_hyphens=False)


def describe(found: CheckpointFacts) -> str:
    """Return "a pose network (yolov8n-pose), 1 class: tag; 4 keypoints; trained at 192 px"."""
    names = ": " + ", ".join(printable(name) for name in found.names[:5])
    more = ", …" if len(found.names) > 5 else ""
    what = f" ({architecture(found)})" if architecture(found) else ""
    points = f"; {found.keypoints} keypoints" if found.task == "pose" else ""
    size = f"; trained at {found.size} px" if found.size else ""
    classes = f"{len(found.names)} class{'es' if len(found.names) != 1 else ''}"
    if not found.names:
        classes, names = "its classes are not named in the file", ""
    return f"a {found.task} network{what}, {classes}{names}{more}{points}{size}"


def architecture(found: CheckpointFacts) -> str:
    """Return the architecture if it looks like a name: text from a checkpoint is untrusted."""
    return found.architecture if _ARCHITECTURE.fullmatch(found.architecture) else ""


def noted(text: str, comment: str) -> str:
    """Return a line with its comment in the common column of comments."""
    return f"{text:<{_COMMENT_COLUMN - 2}}  # {comment}" if comment else text


def printable(text: str, most: int = 60) -> str:
    """Return text for a comment, which ends with the line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:most]
