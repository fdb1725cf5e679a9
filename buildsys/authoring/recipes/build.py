"""One build, settled: what the author wrote, merged and validated, with the facts around it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.authoring.datasets.blocks import Archive
from buildsys.authoring.datasets.facts import DatasetFacts
from buildsys.authoring.recipes.recipe import Recipe
from buildsys.authoring.targets.contract import Contract
from buildsys.authoring.targets.target import Target
from buildsys.spec import CheckpointFacts


@dataclass(frozen=True, kw_only=True)
class Build:
    """One recipe for one target, with everything that planning needs settled.

    `train`, `export`, `vela`, `tensorrt`, `generator` are settings of step modules; `origins` says where each
    key was written: (dotted key, file, line). `pictures_found` is false where a pattern for
    calibration pictures matches nothing. `split` says how data that is not split is split; `facts` are
    lines for buildsys.lock.
    """

    id: str
    recipe: Recipe
    target: Target
    target_folder: Path
    contract: Contract | None
    train: Any
    export: Any
    vela: Any
    tensorrt: Any
    generator: Any
    dataset: DatasetFacts | None
    dataset_parts: tuple[str, ...]
    split: Any
    checkpoint: CheckpointFacts | None
    archive: Archive | None
    waiting_for: str
    pictures_found: bool
    facts: tuple[tuple[str, str], ...]
    origins: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """`select`: of a recipe's variants for one target, the one to ship.

    `candidates`: ids of the variants' builds; `metric` is maximized, or minimized.
    """

    id: str
    recipe: str
    target: str
    candidates: tuple[str, ...]
    metric: str
    maximize: bool
