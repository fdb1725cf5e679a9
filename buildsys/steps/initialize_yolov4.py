"""Make a YOLOv4-tiny checkpoint with random weights: for size and latency, never for accuracy.

The network and its .cfg file come from the package wf-pytorch-yolo-v4, a fork of Tianxiaomo's
pytorch-YOLOv4 under Apache-2.0; the .cfg file comes from AlexeyAB's darknet.
"""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import BoardSpec, ExpectedFacts, Format, ModelSpec, Resources, StepSpec
from buildsys.steps.lib.families.yolov4_network import CLASSES


@dataclass(frozen=True, kw_only=True)
class Settings:
    """No settings."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """The architecture, and the seed of its weights."""

    architecture: str
    seed: int


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters; the seed is 0."""
    return Params(architecture=model.architecture, seed=0)


def facts(task: str) -> ExpectedFacts:
    """Return the facts of the .cfg file: 80 classes."""
    names = tuple(f"class-{index}" for index in range(CLASSES))
    return ExpectedFacts(names=names)


STEP = StepSpec(
    tool_env="yolov4",
    produces=Format.CHECKPOINT,
    resources=Resources(memory_mib=1000),
    facts=facts,
)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Build the network and save only its tensors; the bytes depend on nothing else."""
    import torch

    from buildsys.steps.lib.families import yolov4_network

    torch.manual_seed(params.seed)
    model = yolov4_network.network(params.architecture)
    # torch would write a file's name into the file
    with outputs["checkpoint"].open("wb") as stream:
        torch.save(model.state_dict(), stream)
