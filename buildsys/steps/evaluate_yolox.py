"""Measure the accuracy of a YOLOX checkpoint, with upstream's own decoded head."""

from pathlib import Path
from typing import Any

from buildsys.spec import Format, Resources, StepSpec
from buildsys.steps.lib.metrics.accuracy import Params, measure

__all__ = ["STEP", "Params", "run"]

STEP = StepSpec(
    tool_env="yolox",
    consumes=(Format.CHECKPOINT,),
    produces=Format.METRICS,
    also_produces=(Format.CURVES,),
    resources=Resources(memory_mib=1500),
)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Measure; network and decoding are upstream's, on BGR 0..255, so that they check the input
    folding of the export and our decoding of the exported files.
    """
    from buildsys.steps.lib.families import yolox_checkpoint, yolox_network
    from buildsys.steps.lib.runtime import torch_light

    source = inputs["checkpoint"]
    with torch_light.without_torchvision():
        yolox_network.prepare()
        model = yolox_checkpoint.load_model(
            source, yolox_checkpoint.architecture_of(source), len(params.classes)
        )
    import numpy as np
    import torch

    def predict(picture: Any) -> dict[str, Any]:
        theirs = np.ascontiguousarray(picture[None, ..., ::-1].transpose(0, 3, 1, 2), np.float32)
        with torch.no_grad():
            rows = model(torch.from_numpy(theirs)).numpy()
        scores = rows[..., 4:5] * rows[..., 5:]
        return {"detections": np.concatenate([rows[..., :4], scores], 2).transpose(0, 2, 1)}

    data, target, curves = inputs["dataset"], outputs["metrics"], outputs.get("curves")
    measure(source, data, predict, params, target, "checkpoint", curves_target=curves)
