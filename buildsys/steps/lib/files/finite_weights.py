"""Find weights that are NaN or infinite: no file that is made of them can be used."""

from pathlib import Path
from typing import Any

from buildsys.steps.lib.runtime.progress import fail

_WEIGHTED = frozenset({"BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators with weights. Elsewhere infinity has a use: as a limit, a mask or padding."""


def require_finite_onnx(model: Any, source: Path) -> None:
    """End the step if a weight of a ModelProto is not finite. `source`: the file to name."""
    import numpy as np
    from onnx import numpy_helper

    nodes, tensors = model.graph.node, [(item.name, item) for item in model.graph.initializer]
    weights = {name for node in nodes if node.op_type in _WEIGHTED for name in node.input}
    for node in nodes:
        if node.op_type == "Constant":
            tensors += [(node.output[0], item.t) for item in node.attribute if item.name == "value"]
    for name, tensor in tensors:
        values = numpy_helper.to_array(tensor)
        if np.issubdtype(values.dtype, np.floating):
            bad = ~np.isfinite(values) if name in weights else np.isnan(values)
            _require_none(source, name, int(bad.sum()), bad.size)


def require_finite_torch(network: Any, source: Path) -> None:
    """End the step if a weight of a module of torch is not finite. `source`: its checkpoint."""
    for name, values in network.state_dict().items():
        if values.is_floating_point():
            _require_none(source, name, int((~values.isfinite()).sum()), values.numel())


def _require_none(source: Path, name: str, count: int, size: int) -> None:
    """End the step if `count`, of the `size` values of a tensor, is not 0."""
    if count:
        fail(
            f"{source.resolve().name} cannot be used: {count} of {size} values of its weight {name}"
            " are NaN or infinite. Cure: train or export the network again."
        )
