"""What a model family declares of itself: `FAMILY` of its `export_<family>` module.

A new family is new step modules: `export_`, `initialize_`, and where it trains and is measured,
`train_`, `evaluate_` and `record_<family>`. Nothing else knows a family by its name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class CheckpointFacts:
    """What a checkpoint's pickle says: the task of its head, classes and keypoints."""

    task: str
    names: tuple[str, ...]
    keypoints: int
    keypoint_dims: int
    architecture: str = ""
    """As recipes write it, "yolov8n-pose"; empty where unknown."""
    size: int = 0
    """Side of the pictures that it was trained on, in pixels; 0 where unknown."""


def _says_nothing(path: Path) -> CheckpointFacts | None:
    return None


@dataclass(frozen=True, kw_only=True)
class Family:
    """Everything about a family that recipes, checks and plans have to know."""

    heads: tuple[tuple[str, str], ...]
    """(word of `export.head`, name in `outputs.HEADS`), the default first; empty: nobody decodes."""
    decoders: tuple[tuple[str, str], ...]
    """(word of `source.decoder`, head) for files of such networks that were exported elsewhere."""
    architectures: str
    """Regular expression of what `source.architecture` can be."""
    examples: tuple[tuple[str, str], ...]
    """(task, a small architecture): the tasks that there are."""
    task_of: Callable[[str], str]
    """The task that an architecture's name says."""
    suffixes: tuple[str, ...]
    """Of its checkpoints."""
    listed: tuple[str, ...] = ()
    """Every architecture; empty where they are too many to list."""
    sizes: str = ""
    """How its architectures differ, in a few words, where `listed` does not say it."""
    side: int = 640
    """Of the pictures, in pixels, where nothing else decides it: what its authors trained on."""
    branched: tuple[str, ...] = ()
    """Tasks whose checkpoints are a start for a detect network, too."""
    nameless: bool = False
    """Its checkpoints do not say which network they are, or what it tells apart."""
    pixels: str = ""
    """What files that were exported elsewhere take, where it is not RGB 0..1."""
    licence: str = ""
    """What the package says of models that were made with the tool."""
    read_checkpoint: Callable[[Path], CheckpointFacts | None] = _says_nothing
    """Facts of a file, without running anything in it; None where it says nothing that is known."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """What its networks do."""
        return tuple(task for task, _ in self.examples)
