"""Make an Ultralytics checkpoint with random weights: for size and latency, never for accuracy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import BoardSpec, ExpectedFacts, Format, ModelSpec, Resources, StepSpec


@dataclass(frozen=True, kw_only=True)
class Settings:
    """No settings."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """The architecture, the classes and keypoints of its head, and the seed of its weights.

    Without `classes` it gets the head of Ultralytics' own architecture file.
    """

    task: str
    architecture: str
    seed: int
    classes: tuple[str, ...] = ()
    keypoints: int = 0
    keypoint_dims: int = 0


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters; the seed is 0."""
    return Params(
        task=model.task,
        architecture=model.architecture,
        seed=0,
        classes=model.classes,
        keypoints=model.keypoints,
        keypoint_dims=model.keypoint_dims,
    )


def facts(task: str) -> ExpectedFacts:
    """Return the facts of Ultralytics' own architecture files: 80 classes, 1000 for classify, or a
    person with 17 keypoints.
    """
    if task == "pose":
        return ExpectedFacts(names=("person",), keypoints=17, keypoint_dims=3)
    names = tuple(f"class-{index}" for index in range(1000 if task == "classify" else 80))
    return ExpectedFacts(names=names)


STEP = StepSpec(
    tool_env="ultralytics",
    produces=Format.CHECKPOINT,
    resources=Resources(memory_mib=1500),
    facts=facts,
)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Build the network and save it."""
    from buildsys.steps.lib.families import ultralytics_setup
    from buildsys.steps.lib.runtime import torch_light

    with torch_light.without_torchvision():
        ultralytics_setup.prepare(Path.cwd())
    import torch
    from ultralytics import YOLO

    torch.manual_seed(params.seed)
    network = YOLO(f"{params.architecture}.yaml", task=params.task).model
    if params.classes:
        network = _with_head(network, params)
    ultralytics_setup.save_model(network, outputs["checkpoint"], params.task, 640)


def _with_head(network: Any, params: Params) -> Any:
    """Return the same architecture with a head for these classes and keypoints."""
    import torch

    description = dict(network.yaml) | {"nc": len(params.classes)}
    if params.keypoints:
        description["kpt_shape"] = [params.keypoints, params.keypoint_dims]
    torch.manual_seed(params.seed)
    network = type(network)(description, verbose=False)
    network.names = dict(enumerate(params.classes))
    return network
