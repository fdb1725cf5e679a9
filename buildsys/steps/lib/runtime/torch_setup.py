"""Set up torch: the declared number of threads, and a torchvision whose binary may not load."""

import os
from typing import Any

from buildsys.steps.lib.runtime.progress import fail, remember


def prepare() -> None:
    """Set up this process; call it before anything imports torchvision."""
    import torch

    limit_threads()
    if "+cpu" in torch.__version__:
        _replace_torchvision_operators()


def limit_threads() -> None:
    """Use the number of threads that the step declared; the runner passes it."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def choose_device() -> str:
    """Return cpu | cuda according to `train.device`; auto uses a GPU if there is one."""
    import torch

    wanted = os.environ.get("BUILDSYS_DEVICE", "auto")
    if wanted == "cuda" and not torch.cuda.is_available():
        fail("the recipe says `train.device: cuda`, and torch sees no GPU here; write auto or cpu.")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def remember_machine(device: str) -> None:
    """Record the facts of this machine that change rounding: part of the record of a training,
    never of a key.
    """
    import torch

    name = torch.cuda.get_device_name(0) if device == "cuda" else "cpu"
    remember(device=name, torch=torch.__version__)


def _replace_torchvision_operators() -> None:
    """Give torchvision an ``nms`` in plain torch.

    The package index has no CPU build of torchvision, and the CUDA build's binary does not load
    with a CPU torch: ``operator torchvision::nms does not exist``. Declaring the schemas first lets
    the import pass; Ultralytics and YOLOX need only ``nms``.
    """
    import torch

    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", _nms, "CPU")
    globals()["_LIBRARY"] = library  # garbage collection of the library would remove its operators
    import torchvision.extension

    torchvision.extension._has_ops = lambda: True


def _nms(boxes: Any, scores: Any, threshold: float) -> Any:
    """Return the indices kept by greedy non-maximum suppression; boxes float [n, 4] x1 y1 x2 y2,
    scores [n].
    """
    import torch

    order = scores.argsort(descending=True, stable=True)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while order.numel():
        best, rest = order[0], order[1:]
        kept.append(best)
        low = torch.maximum(boxes[best, :2], boxes[rest, :2])
        high = torch.minimum(boxes[best, 2:], boxes[rest, 2:])
        overlap = (high - low).clamp(min=0).prod(dim=1)
        order = rest[overlap / (areas[best] + areas[rest] - overlap) <= threshold]
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.int64)
