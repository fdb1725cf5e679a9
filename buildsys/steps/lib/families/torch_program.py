"""Trace a network of torch into a program that can be loaded without the code of its family.

`torch.export` traces the network once: the program has operators of ATen and weights, and no class of the
family. Its input is that of TFLite files, float32 [1, height, width, 3] in 0..1.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import Preprocessing

if TYPE_CHECKING:
    import numpy as np

_PLACES = ("stack_trace", "source_fn_stack", "torch_fn")
"""Keys of an operator's metadata that hold files and lines of the machine that traced."""


def save(
    model: Any, frame: Preprocessing, names: tuple[str, ...], samples: Path | None, target: Path
) -> None:
    """Trace the network, compare the program with it on sample images, and write the program.

    `names`: those of the outputs, in canonical order. Results after these are left out: decoded heads
    also return their features.
    """
    import torch

    from buildsys.steps.lib.images import prepared_images
    from buildsys.steps.lib.parity import conversion

    whole = _channels_last(model, len(names))
    example = torch.zeros(1, frame.height, frame.width, 3)
    with torch.no_grad():
        whole(example)  # decoded heads build their anchors on the first call
        program = torch.export.export(whole, (example,), strict=False)
    for node in list(program.graph.nodes):
        for key in _PLACES:
            node.meta.pop(key, None)
        if node.target is torch.ops.aten.detach_.default:
            # of a constant made in `forward`: without gradients nothing, and refused when traced again
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
    program.graph_module.recompile()
    traced = program.module()
    for picture in prepared_images.to_nhwc(prepared_images.load(samples, frame)):
        wanted, found = (
            dict(zip(names, ask(net, picture), strict=True)) for net in (whole, traced)
        )
        worst = conversion.require_close("tracing by torch", wanted, found)
    print("largest difference, torch against the traced program:", worst)
    content = io.BytesIO()  # given a path, torch writes its name into the archive
    torch.export.save(program, content)
    target.write_bytes(content.getvalue())


def load(path: Path) -> Any:
    """Return a program's network, a module that returns a tuple of tensors."""
    import torch

    return torch.export.load(io.BytesIO(path.read_bytes())).module()


def ask(network: Any, picture: "np.ndarray") -> "list[np.ndarray]":
    """Return the outputs of a network that takes channels last, for one image [height, width, 3].

    The image is float32 in 0..1.
    """
    import torch

    with torch.no_grad():
        return [value.numpy() for value in network(torch.from_numpy(picture[None]))]


def _channels_last(model: Any, count: int) -> Any:
    """Return a network that takes images with channels last and returns the first `count` outputs."""
    import torch

    def forward(images: Any) -> tuple[Any, ...]:
        values = model(images.permute(0, 3, 1, 2))
        values = values if isinstance(values, tuple | list) else (values,)
        return tuple(values[:count])

    whole = torch.nn.Module()
    whole.network, whole.forward = model, forward
    return whole.eval()
