"""What is known before a recipe is drafted, and what follows from it: the task, whether it trains."""

from dataclasses import dataclass

from buildsys.authoring.datasets.facts import DatasetFacts
from buildsys.authoring.recipes.families import network, source_format, source_names
from buildsys.authoring.scaffold.probing import Probe
from buildsys.authoring.targets.lookup import Board
from buildsys.spec import Format
from buildsys.steps.lib.families.family import Family

_FIRST = source_names()[0]
"""The family to begin with, where nobody has a model."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """All that a recipe is drafted from. `data` is the path of a data.yaml, `facts` what it says;
    `block`: the whole `dataset` block, where it takes more than a path; `chosen`: the family, where
    no file says it.
    """

    name: str
    board: Board
    probe: Probe | None
    data: str
    facts: DatasetFacts | None
    block: str = ""
    chosen: str = ""

    @property
    def family(self) -> str:
        """Which steps the source goes through."""
        return self.probe.family if self.probe else self.chosen or _FIRST

    @property
    def format(self) -> Format:
        """What the source's file is."""
        return source_format(self.family)

    @property
    def network(self) -> Family | None:
        """What the family declares; None for a finished file."""
        return network(self.family)

    @property
    def task(self) -> str:
        """The checkpoint's, as far as the data can teach it; else the data's; empty: not known."""
        if self.network is None:
            return ""
        given = "detect" if self.boxes_alone else "pose"
        if self.probe and self.probe.checkpoint:
            given = self.probe.checkpoint.task
        if self.facts is not None and not self.facts.file:
            return "classify"  # folders of classes say so; no other labels do
        if self.facts is not None and not self.facts.keypoints:
            return given if given in ("segment", "obb") else "detect"
        return given if self.probe or self.facts else "detect"

    @property
    def boxes_alone(self) -> bool:
        """Whether the family sees nothing but boxes, of labels that have keypoints, too."""
        return self.network is not None and "pose" not in self.network.tasks

    @property
    def trains(self) -> bool:
        """Without weights, or where the data is of other classes than they are."""
        if self.network is None:
            return False
        found = self.probe.checkpoint if self.probe else None
        if found is None or self.facts is None:
            return found is None
        points = self.facts.keypoints if found.task == "pose" else 0
        return (found.keypoints, len(found.names)) != (points, len(self.facts.names))

    @property
    def scheme(self) -> str:
        """The first that the target lists."""
        return next(iter(self.board.target.pipelines))

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that there are; a generator makes train and val."""
        if self.facts is not None:
            return tuple(name for name, _ in self.facts.splits)
        return () if self.probe else ("train", "val")
