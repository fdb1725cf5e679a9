"""The head of an Ultralytics network as it is exported, set on the loaded instance.

Never in site-packages; every step that runs the checkpoint as the exported files run sets it here.
"""

from typing import Any


def set_head(model: Any, head: str) -> None:
    """Make a fused network return the `raw`, the `decoded`, the `normalized` or the `split` head.

    The decoded head builds its anchors on the first call: call the network once before tracing it.
    """
    for module in model.modules():
        if hasattr(module, "forward_split"):
            # chunk() traces to slices with computed bounds, around which converters put transposes
            module.forward = module.forward_split
    last = model.model[-1]
    if head == "raw":
        last.forward = lambda features: _raw_forward(last, features)
    elif head in ("normalized", "split"):
        last.forward = lambda features: _share_forward(last, features, head == "split")
    else:
        last.export, last.format, last.dynamic = True, "onnx", False
        if hasattr(last, "proto"):
            decode = last.forward
            last.forward = lambda features: _last_channels(decode(features))


def _raw_forward(head: Any, features: list[Any]) -> tuple[Any, ...]:
    """Reshape and concatenate, rather than view and permute: no stray transposes after conversion."""
    import torch

    if hasattr(head, "linear"):  # classify: its forward without the softmax
        features = torch.cat(features, 1) if isinstance(features, list) else features
        return (head.linear(head.pool(head.conv(features)).flatten(1)),)

    def flatten(branch: Any, scale: int) -> Any:
        x = branch[scale](features[scale]).permute(0, 2, 3, 1)
        return x.reshape(x.shape[0], -1, x.shape[-1])

    scales = range(head.nl)
    results = [flatten(head.cv2, i) for i in scales] + [flatten(head.cv3, i) for i in scales]
    if hasattr(head, "cv4"):
        results.append(torch.cat([flatten(head.cv4, i) for i in scales], dim=1))
    if hasattr(head, "proto"):
        results.append(head.proto(features[0]).permute(0, 2, 3, 1))
    return tuple(results)


def _last_channels(values: tuple[Any, Any]) -> tuple[Any, Any]:
    """Detections as they are, prototypes [1, height / 4, width / 4, 32]: TFLite's order of axes."""
    return values[0], values[1].permute(0, 2, 3, 1)


def _share_forward(head: Any, features: list[Any], split: bool) -> Any:
    """Boxes cx, cy, w, h as shares of the input, and scores behind their sigmoid.

    The shares are taken before anything is joined: all values then lie in 0..1, and one int8 scale
    serves boxes and scores alike.
    """
    import torch
    from ultralytics.utils.tal import make_anchors

    scales = range(head.nl)
    distances = head.dfl(torch.cat([head.cv2[i](features[i]).flatten(2) for i in scales], 2))
    scores = torch.cat([head.cv3[i](features[i]).flatten(2) for i in scales], 2).sigmoid()
    anchors, strides = (x.transpose(0, 1) for x in make_anchors(features, head.stride, 0.5))
    before, behind = distances.split(2, 1)
    cell = float(head.stride[0])
    height, width = (float(side) * cell for side in features[0].shape[2:])
    share = strides / torch.tensor([[width], [height]])
    centre = (anchors + (behind - before) * 0.5) * share
    boxes = torch.cat([centre, (before + behind) * share], 1)
    if split:
        return boxes, scores.permute(0, 2, 1)
    return torch.cat([boxes, scores], 1)
