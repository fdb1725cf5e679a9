"""The outputs of every exported head, by the head's name: one table for all families.

Names of YOLOv8's heads are plain words, those of other networks begin with the network's name.
`yolov8_decoding` and similar modules decode them. Only the standard library is used.
"""

from buildsys.spec import MASK_CHANNELS, MASK_STRIDE, REG_MAX, STRIDES, OutputFormula, TensorSpec
from buildsys.steps.lib.heads.branches import ONE_TO_ONE, of_branch
from buildsys.steps.lib.heads.formulas import dimensions, shapes


def _output(name: str, *axes: str) -> OutputFormula:
    return OutputFormula(name=name, shape=("1", *axes))


_SIDE = f"//{MASK_STRIDE}"
_PROTOTYPES = _output("prototypes", f"H{_SIDE}", f"W{_SIDE}", str(MASK_CHANNELS))


def _raw(strides: tuple[int, ...], channels: str) -> tuple[OutputFormula, ...]:
    return (
        *(_output(f"box_s{stride}", f"hw{stride}", channels) for stride in strides),
        *(_output(f"cls_s{stride}", f"hw{stride}", "nc") for stride in strides),
    )


def _of_tasks(
    channels: str,
) -> dict[str, tuple[OutputFormula, ...]]:
    """Return the raw head of each task with boxes; `channels`: those of a cell's box."""
    raw = _raw(STRIDES, channels)
    return {
        "detect": raw,
        "pose": (*raw, _output("keypoints", "N", "K*D")),
        "segment": (*raw, _output("mask_coefficients", "N", str(MASK_CHANNELS)), _PROTOTYPES),
        "obb": (*raw, _output("angles", "N", "1")),
    }


_DECODED = {
    "detect": (_output("detections", "4+nc", "N"),),
    "pose": (_output("detections", "4+nc+K*D", "N"),),
    "segment": (_output("detections", f"4+nc+{MASK_CHANNELS}", "N"), _PROTOTYPES),
    "classify": (_output("probabilities", "nc"),),
    "obb": (_output("detections", "4+nc+1", "N"),),
}
_SPLIT: dict[str, tuple[OutputFormula, ...]] = {
    "detect": (_output("boxes", "4", "N"), _output("scores", "N", "nc")),
}
HEADS: dict[str, dict[str, tuple[OutputFormula, ...]]] = {
    "raw": {**_of_tasks(str(4 * REG_MAX)), "classify": (_output("logits", "nc"),)},
    "yolo26-raw": _of_tasks("4"),
    "decoded": _DECODED,
    "normalized": _DECODED,
    "split": _SPLIT,
    "yolox-decoded": {"detect": (_output("detections", "N", "5+nc"),)},
    "yolox-concatenated": {"detect": (_output("predictions", "N", "5+nc"),)},
    "yolox-split": {
        "detect": (
            _output("boxes", "N", "4"),
            _output("objectness", "N", "1"),
            _output("classes", "N", "nc"),
        )
    },
}
"""Head -> task -> outputs in their canonical order.

raw: box logits [1, hw, 64] and class logits of each stride, all before their sigmoid; yolo26-raw: the
same with boxes [1, hw, 4], a side a number. decoded: Ultralytics' own, boxes cx, cy, w, h and
keypoints in pixels; normalized: both as shares of the input, as in Ultralytics' TFLite files; split:
boxes as shares, and scores, apart (Himax's detector). yolox-decoded: cx, cy, w, h in pixels,
objectness, class probabilities; yolox-concatenated: boxes as offset from the cell's corner in cells
and logarithm of the size in cells; yolox-split: the same three things apart. Of networks with two
branches each head is there once more, with the ending -one-to-one.
"""
IN_PIXELS = ("decoded", "yolox-decoded")
"""Heads with boxes in pixels and scores in one output."""
_OF_TWO_BRANCHES = tuple(head for head in HEADS if not head.startswith("yolox-"))
HEADS |= {
    of_branch(head, ONE_TO_ONE): {
        task: outputs for task, outputs in HEADS[head].items() if task != "classify"
    }
    for head in _OF_TWO_BRANCHES
}


def head_formulas(
    head: str, task: str, strides: tuple[int, ...] = STRIDES
) -> tuple[OutputFormula, ...]:
    """Return the outputs of a head; a task without its own entry has those of detect."""
    tasks = HEADS[head]
    found = tasks.get(task, tasks["detect"])
    count = 2 * len(STRIDES)  # boxes and classes of each stride
    if strides == STRIDES or not found[0].name.startswith("box_s"):
        return found
    return (*_raw(strides, found[0].shape[-1]), *found[count:])


def head_outputs(
    head: str,
    height: int,
    width: int,
    classes: int,
    keypoints: int,
    keypoint_dims: int,
    task: str = "",
    strides: tuple[int, ...] = STRIDES,
) -> tuple[TensorSpec, ...]:
    """Return the outputs of a head for an input of `height` x `width` pixels. Without a task,
    keypoints mean pose. `strides`: those of the network's cells.
    """
    formulas = head_formulas(head, task or ("pose" if keypoints else "detect"), strides)
    values = dimensions(height, width, classes, keypoints, keypoint_dims, strides)
    found = shapes(formulas, values)
    return tuple(TensorSpec(name=name, shape=shape) for name, shape in found.items())
