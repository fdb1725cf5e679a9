"""YOLOv4-tiny as the package wf-pytorch-yolo-v4 builds it from the .cfg file that it ships."""

from pathlib import Path
from typing import Any

from buildsys.steps.lib.runtime.progress import fail

CLASSES = 80
"""What the .cfg file says: `classes` of its yolo layers."""


def network(architecture: str) -> Any:
    """The network in evaluation mode, weights as torch draws them.

    Its outputs are those of the last convolutions, not decoded, a row a cell, float32:
    [1, height * width / 32**2, 255] and [1, height * width / 16**2, 255].
    """
    torch = _torch()
    import yolov4
    from yolov4.tool import darknet2pytorch as package

    package.get_region_boxes = tuple  # it joins decoded boxes; here there are none
    place = Path(yolov4.__file__).parent / "cfg" / f"{architecture}.cfg"
    model = package.Darknet(str(place)).eval()
    for index, module in enumerate(model.models):
        if isinstance(module, package.YoloLayer):
            module.forward = _rows
        if isinstance(module, package.Upsample_expand):  # six axes, which converters do not follow
            model.models[index] = torch.nn.Upsample(scale_factor=module.stride, mode="nearest")
    return model


def _rows(values: Any) -> Any:
    """[1, channels, h, w] -> [1, h * w, channels]: the same in files of either order of axes."""
    return values.permute(0, 2, 3, 1).reshape(values.shape[0], -1, values.shape[1])


def load(path: Path, architecture: str) -> Any:
    """The network with the weights of a checkpoint of `initialize_yolov4`, tensors by name.

    Ends the step where the file is none. Nothing in it is run.
    """
    model = network(architecture)
    try:
        model.load_state_dict(_torch().load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises a dozen unrelated types for a damaged file
        reason = (str(error).strip().splitlines() or [""])[0]
        fail(f"{path.resolve().name} holds no weights of {architecture}: {reason[:200]}")
    return model


def _torch() -> Any:
    """torch on the declared threads."""
    import os

    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return torch
