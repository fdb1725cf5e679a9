"""Settings of Ultralytics' trainer that a recipe may pass on, and those that buildsys decides itself.

Names, types and limits are data: ultralytics_options.json, read from the version in the tool
environment (tests/tools/test_training_options.py writes it and holds it against that).
"""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

from buildsys.spec import SettingProblem

DATA = Path(__file__).with_suffix(".json")
_SECTIONS = ("Train settings", "Segmentation", "Classification", "Hyperparameters")
"""Of Ultralytics' default.yaml: those that a training reads."""
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
"""What decides each in a recipe."""
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
"""What nobody sets, and why."""
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "list": "a list",
    "empty": "null",
}


@cache
def known() -> dict[str, dict[str, Any]]:
    """Every setting: `section`, `kinds`, and where there are such `choices`, `least`, `most`."""
    found: dict[str, dict[str, Any]] = json.loads(DATA.read_bytes())["settings"]
    return found


def allowed() -> tuple[str, ...]:
    """Names that `train.options` takes."""
    return tuple(
        name
        for name, about in known().items()
        if about["section"] in _SECTIONS and name not in _KEYS and name not in _OWN
    )


def check(options: dict[str, object], task: str) -> list[SettingProblem]:
    """Everything that is wrong with `train.options`."""
    found = (_check(name, value, task) for name, value in options.items())
    return [problem for problem in found if problem is not None]


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
    choices = about.get("choices") if value is not None else None
    if choices and str(value).lower() not in (choice.lower() for choice in choices):
        message, possible = f"`{name}` cannot be {shown}", tuple(choices)
        return SettingProblem(key=key, message=message, known=possible, word=str(value))
    least, most = about.get("least", -math.inf), about.get("most", math.inf)
    if isinstance(value, int | float) and not least <= value <= most:
        limits = f"from {least:g} to {most:g}" if most < math.inf else f"at least {least:g}"
        return SettingProblem(key=key, message=f"`{name}` is {limits}, not {shown}")
    return None


def _fits(value: object, kind: str) -> bool:
    """Whether a value is of a kind; whole numbers are numbers, truths are not."""
    if kind == "empty":
        return value is None
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "float":
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(float(value))  # type: ignore[arg-type]
    if kind == "list":
        return isinstance(value, list | tuple) and all(
            isinstance(item, int | float | str) for item in value
        )
    return isinstance(value, str)
