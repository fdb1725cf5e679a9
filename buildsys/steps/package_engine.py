"""Engine -> the folder to load it from: the engine, what is known of it, and a program that loads it.

The program (buildsys/templates/engine/run.py) is shipped as it is; it needs nothing of buildsys.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import BoardSpec, Format, ModelSpec, Preprocessing
from buildsys.steps._engine_readme import Described, describe
from buildsys.steps._package import describe_preprocessing, write_companions, write_json

TOOL_ENV = ""
CONSUMES, PRODUCES = Format.ENGINE, Format.PACKAGE
NEEDS = ("engine-facts", "verdict", "metrics", "calibration")
TEMPLATES = "engine"
"""Whose folder of shipped files is an input of the step."""
TEMPLATE_FILES = ("run.py",)
UNVERIFIED = "Not verified: the package's run.py behind loading the library; no GPU was here."


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Nothing to set."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """The file's name, and what its reader has to know. `head` as ModelSpec's."""

    stem: str
    label: str
    task: str
    head: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing | None
    scheme: str


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Named after the recipe (and variant)."""
    return Params(
        stem=model.name,
        label=board.label,
        task=model.task,
        head=model.head,
        classes=model.classes,
        preprocessing=model.preprocessing,
        scheme=model.quantization.scheme,
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """`inputs`: engine, engine-facts, templates, metrics-*, calibration."""
    import hashlib
    import json
    import shutil

    folder, name = outputs["package"], f"{params.stem}.engine"
    write_companions(folder, params.classes, inputs)
    shutil.copyfile(inputs["engine"], folder / name)
    for program in TEMPLATE_FILES:
        shutil.copyfile(inputs["templates"] / program, folder / program)
    facts: dict[str, Any] = json.loads(inputs["engine-facts"].read_text(encoding="utf-8"))
    sha256 = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    own = {"file": name, "sha256": sha256, "task": params.task, "head": params.head}
    write_json(folder / "engine.json", {**facts, **own, "scheme": params.scheme})
    frame = describe_preprocessing(params.preprocessing)
    if frame is not None:
        said = {"layout": "NCHW", "values": "0..255 divided by 255, float32"}
        write_json(folder / "preprocessing.json", {**frame, **said})
    pictures = 0
    if "calibration" in inputs:
        shutil.copyfile(inputs["calibration"] / "sources.json", folder / "calibration.json")
        pictures = len(json.loads((folder / "calibration.json").read_text(encoding="utf-8")))
    described = Described(
        name=params.stem, label=params.label, file=name, bytes=(folder / name).stat().st_size,
        sha256=sha256, scheme=params.scheme, version=facts["version"],
        gpus=facts["compute_capability"], pictures=pictures,
        tensors=tuple((tensor["name"], tuple(tensor["shape"])) for tensor in facts["outputs"]),
        measured=(folder / "metrics.json").is_file(),
    )  # fmt: skip
    (folder / "README.md").write_text(describe(described), encoding="utf-8")
