"""Check the settings of Ultralytics' trainer in `train.options`, and list those that buildsys sets
itself.

Names, types and limits are in ultralytics_options.json, read from the version in the tool
environment (tests/tools/test_training_options.py writes and verifies it). Values that Ultralytics
accepts but then fails on, or ignores, are in `_LIMITS`, each with its reason.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from buildsys.spec import SettingProblem

DATA = Path(__file__).with_suffix(".json")
_SECTIONS = ("Train settings", "Segmentation", "Classification", "Hyperparameters")
"""Sections of Ultralytics' default.yaml that a training reads."""
_OF_TASK = {"Segmentation": "segment", "Classification": "classify"}
_KEYS = {
    "task": "source.task",
    "model": "source.architecture",
    "pretrained": "source.weights",
    "data": "dataset",
    "imgsz": "train.size",
    "epochs": "train.epochs",
    "batch": "train.batch",
    "seed": "train.seed",
    "device": "train.device",
    "lr0": "train.learning_rate",
    "mosaic": "train.mosaic",
    "fliplr": "train.flip",
    "scale": "train.scale",
    "val": "train.validate",
    "patience": "train.patience",
    "quantize": "train.quantization_aware",
    "nbs": "train.batch",
}
"""The recipe key that decides each setting."""
_OWN = {
    "amp": "trainings compute in full precision, so that they can be repeated",
    "cfg": "settings are written one by one",
    "compile": "trainings compute as they are, so that they can be repeated",
    "deterministic": "trainings can always be repeated",
    "distill_model": "its file would be no input of the build",
    "exist_ok": "buildsys decides where files go",
    "mode": "a training trains",
    "name": "buildsys decides where files go",
    "plots": "buildsys draws the curves of every training",
    "profile": "a training measures no exports",
    "project": "buildsys decides where files go",
    "resume": "a training that was interrupted always goes on where it was",
    "save": "buildsys keeps the end of every epoch",
    "save_period": "buildsys keeps the end of every epoch",
    "single_cls": "the classes are those of the dataset",
    "time": "how many epochs are done in a time differs between machines",
    "verbose": "the log has a line an epoch",
    "workers": "images are read in one process, so that trainings can be repeated",
}
"""Settings that cannot be set, and why."""
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "list": "a list",
    "empty": "null",
}
_ANY_CASE = ("optimizer",)
"""Settings whose words Ultralytics compares case-insensitively."""
_ADAMS = ("adam", "adamax", "adamw", "nadam", "radam")
_LARGEST = 1e30
"""Largest accepted number: float32, in which a training computes, overflows soon above it."""
_MOST_LAYERS = 999
_SMALLEST_SIZE = 32
"""Smallest image size in pixels that Ultralytics trains on."""


@dataclass(frozen=True, kw_only=True)
class _Limit:
    """Which values of the right type are valid (`words`: the text after "is"), and why."""

    fits: Callable[[Any], bool]
    words: str
    reason: str


def _from(least: float, reason: str, most: float = math.inf) -> _Limit:
    words = f"from {least:g} to {most:g}" if most < math.inf else f"at least {least:g}"
    return _Limit(fits=lambda value: least <= value <= most, words=words, reason=reason)


def _is_layer(item: object) -> bool:
    """Return whether an item is a layer of the network, or a module in one: 22, "22.cv2"."""
    if isinstance(item, str):
        return re.fullmatch(r"\d+(\.\w+)*", item) is not None
    return _fits(item, "int") and 0 <= item <= _MOST_LAYERS  # type: ignore[operator]


def _is_share(value: Any) -> bool:
    return _fits(value, "float") and (0 < value <= 1 or (_fits(value, "int") and value > 1))


def _are_shares(value: Any) -> bool:
    """Return whether three shares are valid as in ultralytics/cfg/__init__.py: train and val above
    0, test may be 0.
    """
    if not isinstance(value, list | tuple):
        return _is_share(value)
    shares = len(value) in (2, 3) and all(_is_share(item) for item in value[:2])
    return shares and all(_is_share(item) or item == 0 for item in value[2:])


_GAIN = _from(0, "a loss that counts less than nothing rewards what is wrong")
_LIMITS = {
    "cache": _Limit(
        fits=lambda value: isinstance(value, bool) or value.lower() in ("ram", "disk"),
        words='true, false, "ram" or "disk"',
        reason="any other text does nothing",
    ),
    "fraction": _Limit(
        fits=_are_shares,
        words="a share above 0 and up to 1, a number of images above 1,"
        " or a list of two or three of them",
        reason="a training needs images, and so has a validation",
    ),
    "freeze": _Limit(
        fits=lambda value: (
            all(map(_is_layer, value)) if isinstance(value, list | tuple) else _is_layer(value)
        ),
        words='how many layers, or a list of them such as [0, 1, "22.cv2"]',
        reason=f"layers are counted from 0; no network has more than {_MOST_LAYERS}",
    ),
    "close_mosaic": _from(0, "it is the number of epochs at the end that are without mosaic"),
    "warmup_epochs": _from(0, "it is a number of epochs"),
    "mask_ratio": _from(1, "a mask of the smallest image still has a pixel", _SMALLEST_SIZE),
    "degrees": _from(-180, "images are turned both ways, by half a turn at most", 180),
    "shear": _from(-89, "at 90 degrees an image has no end", 89),
} | dict.fromkeys(("box", "cls", "dfl", "pose", "kobj", "rle", "angle", "dlog", "dgrad"), _GAIN)


@cache
def known() -> dict[str, dict[str, Any]]:
    """Return every setting: `section`, `kinds`, and optionally `choices`, `least`, `most`."""
    found: dict[str, dict[str, Any]] = json.loads(DATA.read_bytes())["settings"]
    return found


def allowed() -> tuple[str, ...]:
    """Return the names that `train.options` accepts."""
    return tuple(
        name
        for name, about in known().items()
        if about["section"] in _SECTIONS and name not in _KEYS and name not in _OWN
    )


def check(options: dict[str, object], task: str) -> list[SettingProblem]:
    """Return everything that is wrong with `train.options`."""
    found = [_check(name, value, task) for name, value in options.items()]
    problems = [problem for problem in found if problem is not None]
    return problems or _check_momentum(options)


def _check_momentum(options: dict[str, object]) -> list[SettingProblem]:
    """Return problems that torch's optimizers would raise: Adam with momentum 1, Nesterov without
    momentum.
    """
    optimizer, momentum = str(options.get("optimizer")), options.get("momentum")
    if momentum == 1 and optimizer.lower() in _ADAMS:
        words = f"below 1 with the optimizer {optimizer}"
        reason = "at 1 its average of gradients never changes"
    elif momentum == 0 and optimizer.lower() in ("sgd", "musgd"):
        words, reason = f"above 0 with the optimizer {optimizer}", "Nesterov's step needs momentum"
    else:
        return []
    shown = json.dumps(momentum)
    message = f"`momentum` is {words}, not {shown}"
    return [SettingProblem(key=("options", "momentum"), message=message, hint=reason)]


def _check(name: str, value: object, task: str) -> SettingProblem | None:
    key, about = ("options", name), known().get(name)
    if name in _KEYS:
        key_words = _KEYS[name]
        message = f"`{name}` is not an option: `{key_words}` decides it"
        return SettingProblem(key=key, message=message, hint=f"write `{key_words}`", at_key=True)
    if name in _OWN:
        message = f"`{name}` is not an option: {_OWN[name]}"
        return SettingProblem(key=key, message=message, hint="leave it out", at_key=True)
    if about is None:
        message = f"Ultralytics' trainer has no setting `{name}`"
        return SettingProblem(key=key, message=message, known=allowed(), word=name, at_key=True)
    section = about["section"]
    if section not in _SECTIONS:
        message = f"`{name}` does nothing in a training: Ultralytics has it under {section}"
        return SettingProblem(key=key, message=message, hint="leave it out", at_key=True)
    if _OF_TASK.get(section, task) != task:
        message = f"`{name}` is for {_OF_TASK[section]}, not for {task}"
        return SettingProblem(key=key, message=message, hint="leave it out", at_key=True)
    return _check_value(key, value, about)


def _check_value(
    key: tuple[str, str], value: object, about: dict[str, Any]
) -> SettingProblem | None:
    name, kinds = key[1], about["kinds"]
    shown = json.dumps(value, ensure_ascii=False, default=str)[:60]
    if not any(_fits(value, kind) for kind in kinds):
        words = " or ".join(_WORDS[kind] for kind in kinds)
        return SettingProblem(key=key, message=f"`{name}` is {words}, not {shown}")
    if value is None:
        return None
    choices = about.get("choices")
    if choices and not _is_among(name, str(value), choices):
        message, possible = f"`{name}` cannot be {shown}", tuple(choices)
        return SettingProblem(key=key, message=message, known=possible, word=str(value))
    least, most = about.get("least", -math.inf), about.get("most", math.inf)
    if isinstance(value, int | float) and not least <= value <= most:
        limits = f"from {least:g} to {most:g}" if most < math.inf else f"at least {least:g}"
        return SettingProblem(key=key, message=f"`{name}` is {limits}, not {shown}")
    limit = _LIMITS.get(name)
    if limit is not None and not limit.fits(value):
        message = f"`{name}` is {limit.words}, not {shown}"
        return SettingProblem(key=key, message=message, hint=limit.reason)
    return None


def _is_among(name: str, value: str, choices: list[str]) -> bool:
    if name in _ANY_CASE:
        return value.lower() in (choice.lower() for choice in choices)
    return value in choices


def _fits(value: object, kind: str) -> bool:
    """Return whether a value is of a kind; integers count as numbers, booleans do not."""
    if kind == "empty":
        return value is None
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "float":
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and -_LARGEST < value < _LARGEST  # type: ignore[operator]
    if kind == "list":
        return isinstance(value, list | tuple) and all(
            _fits(item, "float") or isinstance(item, str) for item in value
        )
    return isinstance(value, str)
