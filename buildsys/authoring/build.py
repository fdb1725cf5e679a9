"""One build, settled: what the author wrote, merged and validated, with the facts around it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.authoring.facts import CheckpointFacts, DatasetFacts
from buildsys.authoring.recipe import Recipe
from buildsys.authoring.target import Contract, Target


@dataclass(frozen=True, kw_only=True)
class Build:
    """One recipe for one target, with everything that planning needs settled.

    `train`, `export`, `vela`, `generator` are settings of step modules; `origins` says where each
    key was written: (dotted key, file, line). `pictures_found` is false where a pattern for
    calibration pictures matches nothing.
    """

    id: str
    recipe: Recipe
    target: Target
    target_folder: Path
    contract: Contract | None
    train: Any
    export: Any
    vela: Any
    generator: Any
    dataset: DatasetFacts | None
    dataset_parts: tuple[str, ...]
    checkpoint: CheckpointFacts | None
    waiting_for: str
    pictures_found: bool
    origins: tuple[tuple[str, str, int], ...]
