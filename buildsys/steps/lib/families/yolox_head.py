"""Load a YOLOX checkpoint in the form that is exported: the common preprocessing, and one of
three heads.

Only the loaded instance changes, never site-packages; every step that runs the checkpoint like the
exported files uses this module.
"""

from pathlib import Path
from typing import Any

from buildsys.steps.lib.families import yolox_checkpoint, yolox_network
from buildsys.steps.lib.runtime import torch_light


def load_network(checkpoint: Path, architecture: str, classes: int, head: str) -> Any:
    """Set up YOLOX, and return the checkpoint's network in evaluation mode, changed to RGB 0..1 and
    the given head.
    """
    with torch_light.without_torchvision():
        yolox_network.prepare()
        model = yolox_checkpoint.load_model(checkpoint, architecture, classes).eval()
    fold_input(model)
    set_head(model, head)
    return model


def fold_input(model: Any) -> None:
    """Change the input to RGB 0..1 instead of BGR 0..255, and the stem to one convolution.

    Upstream's stem stacks the four pixels of a 2 x 2 block as channels (top left, bottom left, top
    right, bottom right; three channels each) and convolves 3 x 3. A 6 x 6 convolution with stride 2
    computes the same, except for rounding, without slices, which NPU compilers run on the CPU. The
    padding is 0 on both scales.
    """
    import torch

    stem = model.backbone.backbone.stem
    old = stem.conv.conv
    outputs = old.out_channels
    # [outputs, column in block, row in block, channel, y, x]
    weights = old.weight.detach().reshape(outputs, 2, 2, 3, 3, 3).flip(3) * 255
    weights = weights.permute(0, 3, 4, 2, 5, 1).reshape(outputs, 3, 6, 6)
    new = torch.nn.Conv2d(3, outputs, 6, stride=2, padding=2, bias=False)
    new.weight = torch.nn.Parameter(weights.contiguous(), requires_grad=False)
    stem.conv.conv = new
    stem.forward = stem.conv.forward


def set_head(model: Any, head: str) -> None:
    """Make the network return the head `yolox-decoded`, `yolox-concatenated` or `yolox-split`, as a
    tuple.
    """
    last = model.head
    forward = {
        "yolox-decoded": _decoded,
        "yolox-concatenated": _concatenated,
        "yolox-split": _split,
    }[head]
    last.forward = lambda features: forward(last, features)


def _split(head: Any, features: Any) -> tuple[Any, ...]:
    """Return boxes [1, N, 4], objectness [1, N, 1], classes [1, N, nc]."""
    import torch

    branches = [_branches(head, scale, feature) for scale, feature in enumerate(features)]
    return tuple(
        torch.cat([_rows(found) for found in column], 1) for column in zip(*branches, strict=True)
    )


def _concatenated(head: Any, features: Any) -> tuple[Any, ...]:
    """Return predictions [1, N, 5 + nc]."""
    import torch

    branches = [_branches(head, scale, feature) for scale, feature in enumerate(features)]
    return (torch.cat([_rows(torch.cat(found, 1)) for found in branches], 1),)


def _decoded(head: Any, features: Any) -> tuple[Any, ...]:
    """Return detections [1, N, 5 + nc]: cx, cy, w, h in pixels, objectness, classes. It does not
    assign to slices, which would become scatter operators.
    """
    import torch

    boxes, objectness, classes = _split(head, features)
    pairs = list(zip(features, head.strides, strict=True))
    cells = torch.cat([_cells(*feature.shape[-2:]) for feature, _ in pairs], 1)
    strides = torch.cat(
        [torch.full((1, feature[0, 0].numel(), 1), float(stride)) for feature, stride in pairs], 1
    )
    centres = (boxes[..., :2] + cells) * strides
    return (torch.cat([centres, boxes[..., 2:].exp() * strides, objectness, classes], 2),)


def _branches(head: Any, scale: int, feature: Any) -> tuple[Any, Any, Any]:
    """Return boxes, objectness and classes of one stride, [1, channels, h, w]."""
    feature = head.stems[scale](feature)
    seen = head.reg_convs[scale](feature)
    classes = head.cls_preds[scale](head.cls_convs[scale](feature))
    return head.reg_preds[scale](seen), head.obj_preds[scale](seen).sigmoid(), classes.sigmoid()


def _rows(values: Any) -> Any:
    """Convert [1, channels, h, w] to [1, h * w, channels] by permute and reshape, which converters
    can undo.
    """
    return values.permute(0, 2, 3, 1).reshape(values.shape[0], -1, values.shape[1])


def _cells(height: int, width: int) -> Any:
    """Return column and row of each cell, [1, h * w, 2]."""
    import torch

    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack((columns, rows), 2).reshape(1, -1, 2).float()
