"""The outputs of every head that is exported here, by the head's name: one table for all families.

YOLOv8's heads have plain words, other networks' carry the network's name. Decoding them is
`yolov8_decoding` and its neighbours; standard library alone.
"""

from buildsys.spec import MASK_CHANNELS, MASK_STRIDE, REG_MAX, STRIDES, OutputFormula, TensorSpec
from buildsys.steps.lib.heads.formulas import dimensions, shapes


def _output(name: str, *axes: str) -> OutputFormula:
    return OutputFormula(name=name, shape=("1", *axes))


_SIDE = f"//{MASK_STRIDE}"
_PROTOTYPES = _output("prototypes", f"H{_SIDE}", f"W{_SIDE}", str(MASK_CHANNELS))


def _raw(strides: tuple[int, ...]) -> tuple[OutputFormula, ...]:
    return (
        *(_output(f"box_s{stride}", f"hw{stride}", str(4 * REG_MAX)) for stride in strides),
        *(_output(f"cls_s{stride}", f"hw{stride}", "nc") for stride in strides),
    )


_RAW = _raw(STRIDES)
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
    "raw": {
        "detect": _RAW,
        "pose": (*_RAW, _output("keypoints", "N", "K*D")),
        "segment": (*_RAW, _output("mask_coefficients", "N", str(MASK_CHANNELS)), _PROTOTYPES),
        "classify": (_output("logits", "nc"),),
        "obb": (*_RAW, _output("angles", "N", "1")),
    },
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

raw: box logits [1, hw, 64] and class logits of each stride, all before their sigmoid. decoded:
Ultralytics' own, boxes cx, cy, w, h in pixels; normalized: the same as shares of the input; split:
boxes as shares, and scores, apart (Himax's detector). yolox-decoded: cx, cy, w, h in pixels,
objectness, class probabilities; yolox-concatenated: boxes as offset from the cell's corner in cells
and logarithm of the size in cells; yolox-split: the same three things apart.
"""


def head_formulas(
    head: str, task: str, strides: tuple[int, ...] = STRIDES
) -> tuple[OutputFormula, ...]:
    """The outputs of a head; a task that it does not serve has those of detect."""
    tasks = HEADS[head]
    found = tasks.get(task, tasks["detect"])
    if strides == STRIDES or found[: len(_RAW)] != _RAW:
        return found
    return (*_raw(strides), *found[len(_RAW) :])


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
    """The outputs of a head for an input of `height` x `width` pixels; of pose where there are
    keypoints and no task is named; `strides`: of the network's cells.
    """
    formulas = head_formulas(head, task or ("pose" if keypoints else "detect"), strides)
    values = dimensions(height, width, classes, keypoints, keypoint_dims, strides)
    found = shapes(formulas, values)
    return tuple(TensorSpec(name=name, shape=shape) for name, shape in found.items())
