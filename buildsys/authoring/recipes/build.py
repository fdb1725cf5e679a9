"""One complete build: the recipe's merged and validated values, with facts about its files."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from buildsys.authoring.datasets.blocks import Split
from buildsys.authoring.datasets.data_yaml import MissingPart
from buildsys.authoring.datasets.facts import DatasetFacts
from buildsys.authoring.recipes.given_file import GivenFile
from buildsys.authoring.recipes.recipe import Recipe
from buildsys.authoring.step_settings import (
    ExportSettings,
    StepSettings,
    TrainSettings,
    chooses_branch,
    chooses_head,
    takes_batch,
)
from buildsys.authoring.targets.contract import Contract
from buildsys.authoring.targets.target import Target
from buildsys.graph import Archive
from buildsys.recorded_facts import Fact
from buildsys.spec import CheckpointFacts
from buildsys.steps import build_engine, compile_vela
from buildsys.steps.lib.heads.batch import Batch, settle


@dataclass(frozen=True, kw_only=True, eq=False)
class Build:
    """One recipe for one target, with all values that planning needs; compared by identity.

    `train`, `export`, `vela`, `tensorrt`, `generator`: settings of step modules. `origins`: (dotted
    key, file, line) of each key. `no_calibration_images`: why the pattern of calibration images
    selects none, and what to do. `calibration_images`: how many images calibration can use, if
    fewer than its `count`. `split`: root and shares of data that is not split.
    `dataset_home`: see `Source.home`. `missing_parts`: parts that the dataset lacks. `facts`: lines
    for buildsys.lock. `given`: the finished file, opened, if it exists. `checkpoint`: facts of the
    network in a checkpoint or finished file.
    """

    id: str
    recipe: Recipe
    target: Target
    target_folder: Path
    contract: Contract | None
    train: TrainSettings | None
    export: ExportSettings | None
    vela: compile_vela.Settings | None
    tensorrt: build_engine.Settings | None
    generator: StepSettings | None
    dataset: DatasetFacts | None
    dataset_parts: tuple[str, ...]
    dataset_home: str
    split: tuple[str, Split] | None
    missing_parts: tuple[MissingPart, ...]
    checkpoint: CheckpointFacts | None
    given: GivenFile | None
    archive: Archive | None
    waiting_for: str
    no_calibration_images: tuple[str, str] | None
    calibration_images: int | None
    facts: tuple[Fact, ...]
    origins: tuple[tuple[str, str, int], ...]

    @cached_property
    def batch(self) -> Batch:
        """Return the numbers of images that the exported file takes at once."""
        return settle(self.export.batch if takes_batch(self.export) else 1)

    @cached_property
    def asked_head(self) -> str:
        """Return the value of `export.head`; empty if the contract or the family decides."""
        return (self.export.head or "") if chooses_head(self.export) else ""

    @cached_property
    def asked_branch(self) -> str:
        """Return the value of `export.branch`; empty if the contract or the network decides."""
        return (self.export.branch or "") if chooses_branch(self.export) else ""

    @property
    def architecture(self) -> str:
        """Return the architecture in the recipe, or else in the checkpoint.

        Returns an empty text if neither names one.
        """
        named = self.recipe.source.architecture
        return named or (self.checkpoint.architecture if self.checkpoint else "")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """`select`: chooses the variant to ship, among a recipe's variants for one target.

    `candidates`: ids of the variants' builds; `metric` is maximized, or minimized.
    """

    id: str
    recipe: str
    target: str
    candidates: tuple[str, ...]
    metric: str
    maximize: bool
