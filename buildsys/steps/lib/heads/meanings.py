"""Describe each output of a head, for people who write a decoder from a package alone.

The numbers are those of `yolov8_decoding`, `yolo26_decoding`, `yolox_decoding`, `oriented_boxes`
and `instance_masks`. Only the standard library is used.
"""

from buildsys.spec import MASK_CHANNELS, MASK_STRIDE, REG_MAX, STRIDE_SETS
from buildsys.steps.lib.heads.branches import is_one_to_one, layout

_SHARES = "as shares of the input's width and height"
_LOGITS = "logit of each class, before the sigmoid"
_COEFFICIENTS = f"{MASK_CHANNELS} mask coefficients"
_PROTOTYPES = (
    f"{MASK_CHANNELS} mask prototypes per position, one position for {MASK_STRIDE} x {MASK_STRIDE} pixels of"
    f" the input; a mask's logit is their product with the {MASK_CHANNELS} coefficients of the object"
)
_PIXELS = (
    "one row per cell: cx, cy, w, h in pixels of the input, objectness, probability of each class"
)
_OFFSETS = (
    "offset x, y of the box's centre from the upper left corner of the cell, in cells, and natural"
    " logarithm of its width and height in cells"
)
_STRIDES = sorted({stride for strides in STRIDE_SETS for stride in strides})
_RAW = {
    **{
        f"box_s{stride}": f"one row per cell of stride {stride}: logits of the distances left, top, right,"
        f" bottom from the cell's centre, {REG_MAX} bins each, bin i being i cells"
        for stride in _STRIDES
    },
    **{f"cls_s{stride}": f"one row per cell of stride {stride}: {_LOGITS}" for stride in _STRIDES},
    "keypoints": "one row per cell: x and y of each keypoint, and logit of its visibility if it has"
    " three values; not yet in pixels",
    "mask_coefficients": f"one row per cell: {_COEFFICIENTS}",
    "prototypes": _PROTOTYPES,
    "logits": "logit of each class, before the softmax",
    "angles": "one row per cell: the box's angle, before the sigmoid",
}
_RAW_26 = _RAW | {
    **{
        f"box_s{stride}": f"one row per cell of stride {stride}: distances left, top, right, bottom from the"
        " cell's centre, in cells"
        for stride in _STRIDES
    },
    "angles": "one row per cell: the box's angle in radians",
}
_MORE = {
    "pose": ", then of each keypoint x, y in pixels and, if it has three values, visibility 0..1",
    "segment": f", then {_COEFFICIENTS}",
    "obb": ", then the box's angle in radians",
}
"""A cell's values after its classes."""
_MORE_SHARES = _MORE | {
    "pose": f", then of each keypoint x, y {_SHARES} and, if it has three values, visibility 0..1"
}
"""The same of a head whose boxes are shares."""
_MEANINGS: dict[str, dict[str, str]] = {
    "raw": _RAW,
    "yolo26-raw": _RAW_26,
    "decoded": {
        "detections": "one column per cell: cx, cy, w, h in pixels of the input, probability of each class",
        "prototypes": _PROTOTYPES,
        "probabilities": "probability of each class",
    },
    "normalized": {
        "detections": f"one column per cell: cx, cy, w, h {_SHARES}, probability of each class",
        "prototypes": _PROTOTYPES,
        "probabilities": "probability of each class",
    },
    "split": {
        "boxes": f"one column per cell: cx, cy, w, h {_SHARES}",
        "scores": "one row per cell: probability of each class",
    },
    "yolox-decoded": {"detections": _PIXELS},
    "yolox-concatenated": {
        "predictions": f"one row per cell: {_OFFSETS}; then objectness and probability of each class,"
        " after their sigmoid"
    },
    "yolox-split": {
        "boxes": f"one row per cell: {_OFFSETS}",
        "objectness": "one row per cell: probability that there is an object, after its sigmoid",
        "classes": "one row per cell: probability of each class, after its sigmoid",
    },
}
_ORDER = (
    "Order of cells: stride {} first, then {}; within a stride row by row from the top, each row from the left. A cell is `stride` pixels wide and"
    " high; column and row count from 0."
)
_BINS = f"""\
    p       = softmax of the {REG_MAX} bins of a side
    side    = sum of i * p[i], i = 0 .. {REG_MAX - 1}"""
_SIDES = """\
    x1, y1  = (column + 0.5 - left) * stride, (row + 0.5 - top) * stride
    x2, y2  = (column + 0.5 + right) * stride, (row + 0.5 + bottom) * stride"""
_SCORE = "    score   = sigmoid(logit)"
_ANGLE = "    angle   = (sigmoid(value) - 0.25) * pi"
_TURNED_SIDES = """\
    left, top, right, bottom are along the axes of the box, which are rotated by its angle
    dx, dy  = (right - left) / 2, (bottom - top) / 2
    cx      = (column + 0.5 + dx * cos(angle) - dy * sin(angle)) * stride
    cy      = (row + 0.5 + dx * sin(angle) + dy * cos(angle)) * stride
    w, h    = (left + right) * stride, (top + bottom) * stride"""
_CORNERS = """\
    angle: from the x axis towards the y axis, clockwise in the image; w is along it
    corner  = cx + u * cos(angle) - v * sin(angle), cy + u * sin(angle) + v * cos(angle)
              with u = -w / 2 or w / 2, and v = -h / 2 or h / 2"""
_POINTS = """\
    point   = (2 * x + column) * stride, (2 * y + row) * stride; visibility = sigmoid(third value)"""
_POINTS_26 = """\
    point   = (x + column + 0.5) * stride, (y + row + 0.5) * stride; visibility = sigmoid(third value)"""
_ONE_TO_ONE = "    an object is in one cell: no suppression is needed"
_CENTRE = "    x1, y1, x2, y2 = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2"
_FROM_SHARES = "    cx, w   = share * width of the input; cy, h = share * its height"
_CELLS = """\
    cx, cy  = (column + offset x) * stride, (row + offset y) * stride
    w, h    = exp(log w) * stride, exp(log h) * stride"""
_PRODUCT = "    score   = objectness * probability of the class"


def tell_output(head: str, task: str, name: str) -> str:
    """Return one sentence without its full stop; "" if the output's meaning is unknown."""
    meaning = _MEANINGS.get(layout(head), {}).get(name, "")
    if name != "detections" or head.startswith("yolox-"):
        return meaning
    more = _MORE_SHARES if layout(head) == "normalized" else _MORE
    return meaning + more.get(task, "")


def tell_order(task: str, strides: tuple[int, ...]) -> str:
    """Return the order of cells; "" if the network has one cell for the whole image. `strides`:
    those of the cells.
    """
    first, *others = strides
    return "" if task == "classify" else _ORDER.format(first, ", then ".join(map(str, others)))


def tell_formula(head: str, task: str) -> str:
    """Return the formula from a cell's values to a box in input pixels, as an indented block; "" if
    there is none.
    """
    if task == "classify" or layout(head) not in _MEANINGS:
        return ""
    text = _way_to_corners(layout(head)) if task == "obb" else _way_to_boxes(layout(head), task)
    return f"{text}\n{_ONE_TO_ONE}" if is_one_to_one(head) else text


def _way_to_corners(head: str) -> str:
    ways = {
        "raw": (_BINS, _ANGLE, _TURNED_SIDES, _SCORE),
        "yolo26-raw": (_TURNED_SIDES, _SCORE),
        "normalized": (_FROM_SHARES,),
    }
    return "\n".join((*ways.get(head, ()), _CORNERS))


def _way_to_boxes(head: str, task: str) -> str:
    if head == "raw":
        return "\n".join((_BINS, _SIDES, _SCORE, *((_POINTS,) if task == "pose" else ())))
    if head == "yolo26-raw":
        return "\n".join((_SIDES, _SCORE, *((_POINTS_26,) if task == "pose" else ())))
    if head.startswith("yolox-"):
        cells = () if head == "yolox-decoded" else (_CELLS,)
        return "\n".join((*cells, _CENTRE, _PRODUCT))
    if head == "decoded":
        return _CENTRE
    points = ("    point   = x * width of the input, y * its height",) if task == "pose" else ()
    return "\n".join((_FROM_SHARES, _CENTRE, *points))
