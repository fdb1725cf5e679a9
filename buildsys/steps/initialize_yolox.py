"""Make a YOLOX checkpoint with random weights: for size and latency, never for accuracy."""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import BoardSpec, ExpectedFacts, Format, ModelSpec, Resources, StepSpec

_COCO_CLASSES = 80


@dataclass(frozen=True, kw_only=True)
class Settings:
    """No settings."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """The architecture, the classes of its head, and the seed of its weights."""

    architecture: str
    seed: int
    classes: tuple[str, ...]


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters; the seed is 0."""
    classes = model.classes or facts(model.task).names
    return Params(architecture=model.architecture, seed=0, classes=classes)


def facts(task: str) -> ExpectedFacts:
    """Return the facts of upstream's own networks: 80 classes, no keypoints."""
    return ExpectedFacts(names=tuple(f"class-{index}" for index in range(_COCO_CLASSES)))


STEP = StepSpec(
    tool_env="yolox",
    produces=Format.CHECKPOINT,
    resources=Resources(memory_mib=1500),
    facts=facts,
)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Build the network and save it."""
    from buildsys.steps.lib.families import yolox_network
    from buildsys.steps.lib.runtime import torch_light

    with torch_light.without_torchvision():
        yolox_network.prepare()
        import torch

        torch.manual_seed(params.seed)
        network = yolox_network.make_model(params.architecture, len(params.classes))
    yolox_network.save_model(network, outputs["checkpoint"], params.architecture, params.classes)
