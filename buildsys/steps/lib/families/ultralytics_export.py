"""Load an Ultralytics checkpoint as the network that is exported, the same in every step that runs it."""

from pathlib import Path
from typing import Any

from buildsys.steps.lib.families import (
    ultralytics_checkpoint,
    ultralytics_head,
    ultralytics_setup,
)
from buildsys.steps.lib.runtime import torch_light


def load_network(checkpoint: Path, task: str, head: str) -> Any:
    """Set up Ultralytics, and return the checkpoint's network, fused and with the head `head`."""
    with torch_light.without_torchvision():
        ultralytics_setup.prepare(Path.cwd())
    model = ultralytics_checkpoint.load_model(checkpoint, task)
    model = ultralytics_head.fuse(model, head)
    ultralytics_head.set_head(model, head)
    return model
