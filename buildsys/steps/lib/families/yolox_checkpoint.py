"""Load a YOLOX checkpoint for everything but training."""

from pathlib import Path
from typing import Any

from buildsys.steps.lib.families import yolox_network
from buildsys.steps.lib.runtime.progress import fail

_STEMS = {16: "yolox-nano", 24: "yolox-tiny"}
"""Output channels of the first convolution -> architecture."""


def load_model(path: Path, architecture: str, classes: int) -> Any:
    """Return the network of a checkpoint, float32, in evaluation mode; ends the step if it is
    another architecture.
    """
    state = yolox_network.read_state(path)
    model = yolox_network.make_model(architecture, classes)
    other = yolox_network.fill(model, state, path, architecture)
    if other:
        found = len(state[other[0]])
        fail(f"{path.name} has {found} classes; the recipe names {classes}.")
    return model.float().eval()


def architecture_of(path: Path) -> str:
    """Return the architecture of a checkpoint by the channels of its stem, because upstream's files
    do not state it.
    """
    state = yolox_network.read_state(path)
    found = _STEMS.get(len(state.get("backbone.backbone.stem.conv.conv.weight", ())))
    if found is None:
        known = ", ".join(yolox_network.ARCHITECTURES)
        fail(f"{path.name} holds no YOLOX network known here; there are {known}.")
    return str(found)
