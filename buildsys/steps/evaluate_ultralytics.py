"""Measure the accuracy of an Ultralytics checkpoint, with Ultralytics' own decoded head.

For a one-to-one branch that includes its selection of the best cells.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import Format, Resources, StepSpec
from buildsys.steps.lib.heads.branches import is_one_to_one
from buildsys.steps.lib.metrics.accuracy import Params, Predict, measure

if TYPE_CHECKING:
    import numpy as np

__all__ = ["STEP", "Params", "run"]

STEP = StepSpec(
    tool_env="ultralytics",
    consumes=(Format.CHECKPOINT,),
    produces=Format.METRICS,
    also_produces=(Format.CURVES,),
    resources=Resources(memory_mib=1500),
)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Measure; decoding is Ultralytics' own, so that it checks our decoding of the exported files."""
    from buildsys.steps.lib.families import ultralytics_setup
    from buildsys.steps.lib.runtime import torch_light

    with torch_light.without_torchvision():
        ultralytics_setup.prepare(Path.cwd())
    source = inputs["checkpoint"]
    task = "pose" if params.keypoints else params.task or "detect"
    network = open_network(source, task, params.head, len(params.classes))
    data, target, curves = inputs["dataset"], outputs["metrics"], outputs.get("curves")
    measure(source, data, network, params, target, "checkpoint", curves_target=curves)


def open_network(checkpoint: Path, task: str, head: str = "decoded", classes: int = 0) -> Predict:
    """Return a checkpoint as a function: image uint8 [h, w, 3] -> the outputs of the decoded head.

    Ultralytics must be set up before. `head`: decoded, or that of the one-to-one branch, for
    `classes` classes.
    """
    import torch

    from buildsys.steps.lib.families import ultralytics_checkpoint, ultralytics_head
    from buildsys.steps.lib.images import prepared_images

    model = ultralytics_head.fuse(ultralytics_checkpoint.load_model(checkpoint, task), head)

    def predict(picture: Any) -> dict[str, Any]:
        with torch.no_grad():
            values = model(torch.from_numpy(prepared_images.to_nchw(picture[None])))
        values = values[0] if isinstance(values, tuple | list) else values
        if task == "classify":
            return {"probabilities": values.numpy()}
        detections, *prototypes = values if task == "segment" else (values,)
        found = {"detections": detections.numpy()}
        if is_one_to_one(head):
            found["detections"] = _as_cells(found["detections"], classes, task == "obb")
        if prototypes:
            found["prototypes"] = prototypes[0].numpy().transpose(0, 2, 3, 1)
        return found

    return predict


def _as_cells(rows: "np.ndarray", classes: int, turned: bool) -> "np.ndarray":
    """Return Ultralytics' best cells [1, n, 6 + …], x1 y1 x2 y2 score class …, as columns of the
    decoded head [1, 4 + classes + …, n]; oriented boxes already begin with cx, cy, w, h.
    """
    import numpy as np

    boxes, score, category, more = np.split(rows[0].astype(np.float64), [4, 5, 6], axis=1)
    if not turned:
        low, high = boxes[:, :2], boxes[:, 2:]
        boxes = np.concatenate([(low + high) / 2, high - low], 1)
    scores = score * (category == np.arange(classes))
    return np.concatenate([boxes, scores, more], 1).T[None]
