"""Any model file -> the folder to ship it in: the file itself, labels and figures."""

import json
from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import SUFFIXES, BoardSpec, Format, ModelSpec

TOOL_ENV = ""
CONSUMES = (Format.CHECKPOINT, Format.ONNX, Format.TFLITE)
PRODUCES = Format.PACKAGE
NEEDS = ("verdict", "metrics")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Nothing to set."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """The file's name and the classes."""

    stem: str
    classes: tuple[str, ...]


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Named after the recipe (and variant)."""
    return Params(stem=model.name, classes=model.classes)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Copy and write."""
    import shutil

    folder = outputs["package"]
    folder.mkdir(parents=True, exist_ok=True)
    for kind in CONSUMES:
        if kind in inputs:
            shutil.copyfile(inputs[kind], folder / f"{params.stem}{SUFFIXES[kind]}")
    if params.classes:
        (folder / "labels.txt").write_text("\n".join(params.classes) + "\n", encoding="utf-8")
    metrics = {
        name.removeprefix("metrics-"): json.loads(path.read_text())
        for name, path in sorted(inputs.items())
        if name.startswith("metrics-")
    }
    if metrics:
        text = json.dumps(metrics, indent=1, sort_keys=True) + "\n"
        (folder / "metrics.json").write_text(text, encoding="utf-8")
