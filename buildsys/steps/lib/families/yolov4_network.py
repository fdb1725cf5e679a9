"""Build YOLOv4-tiny with the package wf-pytorch-yolo-v4, from the .cfg file in it."""

from pathlib import Path
from typing import Any

from buildsys.steps.lib.runtime.progress import fail

CLASSES = 80
"""`classes` of the yolo layers in the .cfg file."""


def network(architecture: str) -> Any:
    """Return the network in evaluation mode with random weights.

    Its outputs are those of the last convolutions, not decoded, one row per cell, float32: [1,
    height * width / 32**2, 255] and [1, height * width / 16**2, 255].
    """
    torch = _torch()
    import yolov4
    from yolov4.tool import darknet2pytorch as package

    package.get_region_boxes = tuple  # it joins decoded boxes, which this network does not have
    place = Path(yolov4.__file__).parent / "cfg" / f"{architecture}.cfg"
    model = package.Darknet(str(place)).eval()
    for index, module in enumerate(model.models):
        if isinstance(module, package.YoloLayer):
            module.forward = _rows
        if isinstance(module, package.Upsample_expand):  # six axes, which converters do not support
            model.models[index] = torch.nn.Upsample(scale_factor=module.stride, mode="nearest")
    return model


def _rows(values: Any) -> Any:
    """Convert [1, channels, h, w] to [1, h * w, channels], which is the same in NCHW and NHWC
    files.
    """
    return values.permute(0, 2, 3, 1).reshape(values.shape[0], -1, values.shape[1])


def load(path: Path, architecture: str) -> Any:
    """Return the network with the weights of a checkpoint of `initialize_yolov4`, tensors by name.
    Ends the step if the file is not one. Nothing in it is executed.
    """
    model = network(architecture)
    try:
        model.load_state_dict(_torch().load(path, map_location="cpu", weights_only=True))
    except MemoryError:
        raise
    except Exception as error:  # torch raises a dozen unrelated types for a damaged file
        reason = (str(error).strip().splitlines() or [""])[0]
        fail(f"{path.resolve().name} holds no weights of {architecture}: {reason[:200]}")
    return model


def _torch() -> Any:
    """Return torch, limited to the declared threads."""
    import os

    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return torch
