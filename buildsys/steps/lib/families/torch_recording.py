"""Record the outputs of a torch network for the parity ladder."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.steps.lib.parity.recording_files import Output, record

if TYPE_CHECKING:
    import numpy as np


def record_torch(model: Any, names: tuple[str, ...], pictures: "np.ndarray", target: Path) -> None:
    """Record a torch network whose outputs are named `names` in order. Further outputs are ignored:
    decoded heads also return their features.
    """
    from buildsys.steps.lib.families import onnx_export
    from buildsys.steps.lib.images import prepared_images

    ask = onnx_export.ask(model)

    def answer(picture: "np.ndarray") -> Iterable[Output]:
        values = ask(prepared_images.to_nchw(picture[None]))[: len(names)]
        return (Output(name=name, values=value) for name, value in zip(names, values, strict=True))

    record(answer, pictures, target)
