"""The head of an Ultralytics network as it is exported, set on the loaded instance.

Never in site-packages; every step that runs the checkpoint as the exported files run sets it here.
"""

from typing import Any


def set_head(model: Any, head: str) -> None:
    """Make a fused network return the `raw` or the `decoded` head.

    The decoded head builds its anchors on the first call: call the network once before tracing it.
    """
    for module in model.modules():
        if hasattr(module, "forward_split"):
            # chunk() traces to slices with computed bounds, around which converters put transposes
            module.forward = module.forward_split
    last = model.model[-1]
    if head == "raw":
        last.forward = lambda features: _raw_forward(last, features)
    else:
        last.export, last.format, last.dynamic = True, "onnx", False


def _raw_forward(head: Any, features: list[Any]) -> tuple[Any, ...]:
    """Reshape and concatenate, rather than view and permute: no stray transposes after conversion."""
    import torch

    def flatten(branch: Any, scale: int) -> Any:
        x = branch[scale](features[scale]).permute(0, 2, 3, 1)
        return x.reshape(x.shape[0], -1, x.shape[-1])

    scales = range(head.nl)
    results = [flatten(head.cv2, i) for i in scales] + [flatten(head.cv3, i) for i in scales]
    if hasattr(head, "cv4"):
        results.append(torch.cat([flatten(head.cv4, i) for i in scales], dim=1))
    return tuple(results)
