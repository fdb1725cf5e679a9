"""Decodes what Ultralytics' heads give for TFLite files, where boxes and keypoints are shares of the
input, and compares it with what the same networks give in pixels.

`python -m tests.tools.normalized_cases` in the environment `ultralytics` prints JSON: the largest
difference in pixels, by task and input.
"""

import json
import sys
from pathlib import Path
from typing import Any

from buildsys.steps.lib.families import ultralytics_setup
from buildsys.steps.lib.heads import decoders, yolov8_decoding
from buildsys.steps.lib.runtime.torch_light import without_torchvision

sys.path.insert(0, str(Path(yolov8_decoding.__file__).parents[3] / "templates" / "common"))
import shapes
import vision

NETWORKS = {
    "detect": "yolov8n.yaml",
    "pose": "yolov8n-pose.yaml",
    "segment": "yolov8n-seg.yaml",
    "obb": "yolov8n-obb.yaml",
}
SIZES = ((64, 64), (64, 96))
"""Height and width. Of oriented boxes only the square one is compared: Ultralytics turns a box after
it has divided by the sides, which is another box where they differ.
"""


def answer(network: Any, picture: Any, normalized: bool) -> Any:
    """The first output of an exported head, [1, 4 + classes + more, N]."""
    import torch
    from ultralytics.utils.export.tensorflow import tf_wrapper

    head = network.model[-1]
    head.export, head.format, head.shape = True, "tflite" if normalized else "onnx", None
    network = tf_wrapper(network) if normalized else network
    with torch.no_grad():
        found = network(picture)
    return (found[0] if isinstance(found, tuple) else found).numpy()


def decode(detections: Any, head: str, task: str, size: tuple[int, int], facts: Any) -> Any:
    """What the build and the programs of a package decode: boxes, scores and keypoints of each."""
    classes, dims = len(facts["classes"]), facts["keypoint_dims"]
    outputs, told = {"detections": detections}, facts | {"head": head}
    if task == "obb":
        ours = decoders.decode_turned(outputs, head, *size, classes)
        return [ours, shapes.decode_turned(outputs, told, *size)]
    return [
        decoders.decode(outputs, head, *size, classes, dims),
        vision.decode(outputs, told, *size),
    ]


def compare(task: str, size: tuple[int, int]) -> float:
    """The largest difference between the network's results in pixels and those from shares."""
    import numpy as np
    import torch
    from ultralytics import YOLO

    torch.manual_seed(0)
    network = YOLO(NETWORKS[task]).model.float().eval()
    head = network.model[-1]
    points = getattr(head, "kpt_shape", (0, 0))
    facts = {"classes": [""] * head.nc, "keypoints": points[0], "keypoint_dims": points[1]}
    picture = torch.rand(1, 3, *size)
    wanted = decode(answer(network, picture, normalized=False), "decoded", task, size, facts)
    found = decode(answer(network, picture, normalized=True), "normalized", task, size, facts)
    return max(
        float(np.abs(one - other).max(initial=0))
        for way, same in zip(wanted, found, strict=True)
        for one, other in zip(way, same, strict=True)
    )


def main() -> None:
    """Compare every task, and print the differences."""
    with without_torchvision():
        ultralytics_setup.prepare(Path.cwd())
    found = {
        f"{task} {height} x {width}": compare(task, (height, width))
        for task in NETWORKS
        for height, width in SIZES
        if task != "obb" or height == width
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
