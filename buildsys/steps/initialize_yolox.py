"""Random weights -> YOLOX checkpoint: for size and latency, never for accuracy."""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import Format, ModelSpec, Resources

TOOL_ENV = "yolox"
PRODUCES = Format.CHECKPOINT
RESOURCES = Resources(memory_mib=1500, framework=True)
_COCO_CLASSES = 80


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What upstream's own networks tell apart: 80 classes; no keypoints."""

    names: tuple[str, ...]
    keypoints: int = 0
    keypoint_dims: int = 0


@dataclass(frozen=True, kw_only=True)
class Params:
    """The architecture, what its head tells apart, and the seed of its weights."""

    architecture: str
    seed: int
    classes: tuple[str, ...]


def plan(model: ModelSpec) -> Params:
    """Seed 0: random weights are all alike."""
    classes = model.classes or facts(model.task).names
    return Params(architecture=model.architecture, seed=0, classes=classes)


def facts(task: str) -> Facts:
    """Classes of a network that saw no data."""
    return Facts(names=tuple(f"class-{index}" for index in range(_COCO_CLASSES)))


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Build the network and save it."""
    from buildsys.steps.lib.families import yolox_network

    yolox_network.prepare()
    import torch

    torch.manual_seed(params.seed)
    network = yolox_network.make_model(params.architecture, len(params.classes))
    yolox_network.save_model(network, outputs["checkpoint"], params.architecture, params.classes)
