"""Evidence as lines that people read: what it is in words, and how much, what matters most first.

Names that nobody put into words are shown as they are, without their underscores, at the end.
"""

from collections.abc import Iterator
from typing import Any

from buildsys.digest import canonical

_OF_BOTH = ("boxes", "scores", "keypoints")
"""Taken at the objects before; where none of them was found again, they say nothing of objects."""
Facts = tuple[tuple[str, str], ...]
_MOST = 60
_WORDS = {
    # of every verdict
    "passed": "Holds",
    # of the overlap
    "calibration_overlap": "Calibration pictures among the measured",
    "calibration_pictures": "Calibration pictures",
    "measured_pictures": "Measured pictures",
    "measured_split": "Measured split",
    "overlapping": "Among them",
    # of the rungs that compare detections
    "confidence": "Confidence from which objects count",
    "from": "Objects before",
    "to": "Objects after",
    "in_both": "Objects in both",
    "boxes.mean_iou": "Boxes, mean IoU",
    "boxes.least_iou": "Boxes, least IoU",
    "scores.mean_difference": "Scores, mean difference",
    "scores.largest_difference": "Scores, largest difference",
    "keypoints.mean_distance_px": "Keypoints, mean distance, px",
    "keypoints.largest_distance_px": "Keypoints, largest distance, px",
    "keypoints.mean_share_of_box": "Keypoints, mean distance, sides of the box",
    # of the firmware's decoder
    "threshold": "Its threshold",
    "unverified": "Not verified",
    "boxes_px": "Boxes, largest difference, px",
    "scores": "Scores, largest difference",
    "keypoints_px": "Keypoints, largest difference, px",
    "candidates": "Cells above the threshold",
    "firmware": "Objects that it reports",
    "ours": "Objects that the outputs hold",
    # of the load test
    "arena_bytes": "Arena used, bytes",
    "planned_bytes": "Arena planned by Vela, bytes",
    "difference_bytes": "Difference, bytes",
    "runner.file": "Firmware that loaded it",
    "runner.package": "Package of that firmware",
    "runner.sha256": "sha256 of that firmware",
}


def facts(data: Any) -> Facts:
    """A JSON object as lines of name and text, known names first; what is empty is left out."""
    if not isinstance(data, dict):
        return ()
    if data.get("in_both") == 0:
        data = {
            key: item
            for key, item in data.items()
            if not (key in _OF_BOTH and isinstance(item, dict))
        }
    order = {name: place for place, name in enumerate(_WORDS)}
    known = sorted(_walk(data), key=lambda item: order.get(item[0], len(order)))
    rows = [(_WORDS.get(name, _plain(name)), _text(name, item)) for name, item in known]
    return tuple(row for row in rows if row[1])[:_MOST]


def _walk(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in data.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(item, dict):
            yield from _walk(item, name)
        else:
            yield name, item


def _plain(name: str) -> str:
    words = name.replace("_", " ").replace(".", ", ")
    return words[:1].upper() + words[1:]


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and name.endswith("bytes"):
        return f"{value:,}"
    if isinstance(value, list):
        return _listed(value)
    return "" if value is None else str(value)


def _listed(items: list[Any]) -> str:
    """Words one after the other, tensors by type, shape and scale; anything else as JSON."""
    if items and all(_is_tensor(item) for item in items):
        return "; ".join(map(_tensor, items))
    if all(isinstance(item, str) for item in items):
        return ("; " if any(" " in item for item in items) else ", ").join(items)
    return canonical(items)


def _is_tensor(item: Any) -> bool:
    return isinstance(item, dict) and "dtype" in item and isinstance(item.get("shape"), list)


def _tensor(item: dict[str, Any]) -> str:
    text = f"{item['dtype']} [{', '.join(map(str, item['shape']))}]"
    scale, zero = item.get("scale"), item.get("zero_point")
    return text if scale is None else f"{text} × {scale:.6g}, zero point {zero}"
