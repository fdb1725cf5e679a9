"""Accuracy of an Ultralytics checkpoint, through Ultralytics' own decoded head."""

from pathlib import Path
from typing import Any

from buildsys.spec import Format, Resources, StepSpec
from buildsys.steps.lib.metrics.accuracy import Params, Predict, measure

__all__ = ["STEP", "Params", "run"]

STEP = StepSpec(
    tool_env="ultralytics",
    consumes=(Format.CHECKPOINT,),
    produces=Format.METRICS,
    also_produces=(Format.CURVES,),
    resources=Resources(memory_mib=1500, framework=True),
)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """The decode here is Ultralytics', so that our own decode of the exported files is checked."""
    from dataclasses import replace

    from buildsys.steps.lib.families import ultralytics_setup
    from buildsys.steps.lib.runtime import torch_light

    with torch_light.without_torchvision():
        ultralytics_setup.prepare(Path.cwd())
    source = inputs["checkpoint"]
    task = "pose" if params.keypoints else params.task or "detect"
    network = open_network(source, task)
    decoded = replace(params, head="decoded")
    data, target, curves = inputs["dataset"], outputs["metrics"], outputs.get("curves")
    measure(source, data, network, decoded, target, "checkpoint", curves_target=curves)


def open_network(checkpoint: Path, task: str) -> Predict:
    """A checkpoint as a function: picture uint8 [h, w, 3] -> the outputs of the decoded head.

    Ultralytics has been set up before.
    """
    import torch

    from buildsys.steps.lib.datasets import prepared_images
    from buildsys.steps.lib.families import ultralytics_checkpoint

    model = ultralytics_checkpoint.load_model(checkpoint, task).fuse(verbose=False)

    def predict(picture: Any) -> dict[str, Any]:
        with torch.no_grad():
            values = model(torch.from_numpy(prepared_images.to_nchw(picture[None])))
        values = values[0] if isinstance(values, tuple | list) else values
        if task == "segment":
            detections, prototypes = (value.numpy() for value in values)
            return {"detections": detections, "prototypes": prototypes.transpose(0, 2, 3, 1)}
        return {"probabilities" if task == "classify" else "detections": values.numpy()}

    return predict
