"""Compare the detections of two models on the same images, cell by cell: boxes, scores, keypoints.

Each detection of the reference is compared with the other model's values at the same cell and
class, before suppression, so that wrong boxes, wrong scores and wrong keypoints are distinguished.
What remains after the other model's own suppression is counted separately.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from buildsys.steps.lib.firmware.output_layout import Network
from buildsys.steps.lib.heads import decoders
from buildsys.steps.lib.heads.decoders import Decoded
from buildsys.steps.lib.parity import tolerances
from buildsys.steps.lib.parity.output_figures import distinct, number
from buildsys.steps.lib.parity.recording_files import Recording

if TYPE_CHECKING:
    import numpy as np

_VISIBLE = 0.5
"""Visibility from which the reference's keypoint is compared."""


@dataclass(frozen=True, kw_only=True)
class _Tally:
    """The differences for each detection of the reference: parallel lists over all images."""

    overlaps: list[float]
    scores: list[float]
    distances: list[float]
    shares: list[float]


def decode(recording: Recording, index: int, head: str, network: Network) -> Decoded:
    """Decode one image of a recording with our own decoder."""
    values = {output.name: output.real()[index : index + 1] for output in recording}
    return decoders.decode(
        values, head, network.height, network.width, network.classes, network.keypoint_dims
    )


def keep(
    boxes: "np.ndarray", scores: "np.ndarray", least: float, overlap: float, per_class: bool = True
) -> "tuple[np.ndarray, np.ndarray]":
    """Return the cells and classes that remain, best first: the best class per cell, with scores of
    at least `least`.
    """
    import numpy as np

    from buildsys.steps.lib.heads import yolov8_decoding

    classes, best = scores.argmax(1), scores.max(1)
    cells = np.flatnonzero(best >= least)
    cells = cells[np.argsort(-best[cells], kind="stable")]
    groups = classes[cells] if per_class else np.zeros(len(cells), int)
    kept = cells[yolov8_decoding.greedy(boxes[cells], groups, overlap)]
    return kept, classes[kept]


def compare(
    reference: list[Decoded], found: list[Decoded], judged: bool, cure: str
) -> tuple[dict[str, Any], list[str]]:
    """Return figures over all images, and sentences with `cure` for those beyond their limits."""
    tally = _Tally(overlaps=[], scores=[], distances=[], shares=[])
    counts = {"from": 0, "to": 0, "in_both": 0}
    for wanted, got in zip(reference, found, strict=True):
        cells, classes = keep(*wanted[:2], tolerances.CONFIDENCE, tolerances.OVERLAP)
        others, their = keep(*got[:2], tolerances.CONFIDENCE, tolerances.OVERLAP)
        _note(wanted, got, cells, classes, tally)
        counts["from"] += len(cells)
        counts["to"] += len(others)
        counts["in_both"] += found_again(wanted[0][cells], classes, got[0][others], their)
    figures: dict[str, Any] = {"confidence": tolerances.CONFIDENCE, **counts}
    if tally.overlaps:
        figures |= _summarize(tally)
    return figures, _judge(figures, cure) if judged else []


def _note(
    wanted: Decoded, got: Decoded, cells: "np.ndarray", classes: "np.ndarray", tally: _Tally
) -> None:
    """Add the other model's box, score and visible keypoints at the reference's cells."""
    import numpy as np

    boxes = wanted[0][cells]
    tally.overlaps.extend(overlaps(boxes, got[0][cells]).tolist())
    tally.scores.extend(np.abs(wanted[1][cells, classes] - got[1][cells, classes]).tolist())
    points = wanted[2][cells]
    distances = np.linalg.norm(points[..., :2] - got[2][cells][..., :2], axis=-1)
    sides = np.sqrt(np.clip((boxes[:, 2:] - boxes[:, :2]).prod(1), 1, None))[:, None]
    seen = points[..., 2] >= _VISIBLE if points.shape[1] else np.zeros(distances.shape, bool)
    tally.distances.extend(distances[seen].tolist())
    tally.shares.extend((distances / sides)[seen].tolist())


def _summarize(tally: _Tally) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "boxes": {"mean_iou": _mean(tally.overlaps), "least_iou": number(min(tally.overlaps))},
        "scores": {
            "mean_difference": _mean(tally.scores),
            "largest_difference": number(max(tally.scores)),
        },
    }
    if tally.distances:
        figures["keypoints"] = {
            "mean_distance_px": _mean(tally.distances),
            "largest_distance_px": number(max(tally.distances)),
            "mean_share_of_box": _mean(tally.shares),
        }
    return figures


def _judge(figures: dict[str, Any], cure: str) -> list[str]:
    """Return sentences for means beyond their limits; NaN is beyond any limit."""
    if "boxes" not in figures:
        return []
    problems = []
    iou, score = figures["boxes"]["mean_iou"], figures["scores"]["mean_difference"]
    share = figures.get("keypoints", {"mean_share_of_box": 0.0})["mean_share_of_box"]
    if iou is None or iou < tolerances.BOX_IOU:
        problems.append(
            f"boxes of the same detections overlap by {_say(iou, tolerances.BOX_IOU)} on average (at least"
            f" {tolerances.BOX_IOU:g})"
        )
    if score is None or score > tolerances.PROBABILITY:
        problems.append(
            f"scores of the same detections differ by {_say(score, tolerances.PROBABILITY)} on average (at most"
            f" {tolerances.PROBABILITY:g})"
        )
    if share is None or share > tolerances.KEYPOINT_SHARE:
        problems.append(
            f"keypoints of the same detections are {_say(share, tolerances.KEYPOINT_SHARE)} of their"
            f" box's side apart on average (at most {tolerances.KEYPOINT_SHARE:g})"
        )
    return [f"{problem}. Cure: {cure}." for problem in problems]


def _say(value: float | None, limit: float) -> str:
    return "no number" if value is None else distinct(value, limit, 2)


def found_again(
    boxes: "np.ndarray", classes: "np.ndarray", others: "np.ndarray", their: "np.ndarray"
) -> int:
    """Return how many boxes have a box of the same class in the other set with an IoU of at least
    0.5.
    """
    import numpy as np

    if not len(boxes) or not len(others):
        return 0
    rows, columns = np.divmod(np.arange(len(boxes) * len(others)), len(others))
    table = overlaps(boxes[rows], others[columns]).reshape(len(boxes), -1)
    return int(((table >= tolerances.BOX_IOU) & (classes[:, None] == their)).any(1).sum())


def overlaps(left: "np.ndarray", right: "np.ndarray") -> "np.ndarray":
    """Return the IoU of two lists of boxes [n, 4] x1 y1 x2 y2, pair by pair: [n]."""
    import numpy as np

    low, high = np.maximum(left[:, :2], right[:, :2]), np.minimum(left[:, 2:], right[:, 2:])
    common = np.clip(high - low, 0, None).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (left, right)]
    return np.asarray(common / np.clip(areas[0] + areas[1] - common, 1e-9, None))


def _mean(values: list[float]) -> float | None:
    return number(sum(values) / len(values))
