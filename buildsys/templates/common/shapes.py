"""Decode an engine's outputs to detections for all five tasks, including masks and oriented boxes.

Uses only NumPy, and the same arithmetic as the build's accuracy measurement. Python 3.8 and later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import vision

if TYPE_CHECKING:
    from vision import Found, Outputs, Placed

TASKS = ("detect", "pose", "segment", "classify", "obb")
COEFFICIENTS, CELL = 32, 4
"""Mask coefficients per object; side of a prototype cell in pixels of the input."""
BLOCK = 256
"""Number of boxes whose overlaps with all better ones are computed at once."""
EPSILON = 1e-7
"""Value of Ultralytics' overlap of oriented boxes, as in the build."""


def see(
    outputs: Outputs,
    facts: dict[str, Any],
    photo: np.ndarray,
    placed: Placed,
    confidence: float,
    iou: float,
) -> list[Found]:
    """Return the detections on an image, uint8 [h, w, 3], best first; `placed`: the engine's input.

    `facts`: engine.json. Raises KeyError and ValueError for outputs of another head.
    """
    task, frame = facts["task"], placed.pixels.shape[:2]
    if task == "classify":
        return vision.classify(outputs, facts["head"], confidence)
    if task == "obb":
        return find_turned(outputs, facts, placed, confidence, iou)
    decoded = vision.decode(outputs, facts, *frame)
    if task == "segment":
        return find_masks(outputs, facts, decoded, photo, placed, confidence, iou)
    return vision.choose(decoded, placed, confidence, iou, vision.is_one_to_one(facts))


def find_masks(
    outputs: Outputs,
    facts: dict[str, Any],
    decoded: Any,
    photo: np.ndarray,
    placed: Placed,
    confidence: float,
    iou: float,
) -> list[Found]:
    """Return boxes with masks: an object's 32 coefficients times the prototypes; above 0 is inside."""
    boxes, scores, _ = decoded
    rows, classes = vision.select(scores, confidence)
    if "mask_coefficients" in outputs:
        every = outputs["mask_coefficients"][0]
    else:
        every = outputs["detections"][0].T[:, 4 + scores.shape[1] :][:, :COEFFICIENTS]
    found = []
    alone = vision.is_one_to_one(facts)
    for index in vision.keep(boxes[rows], classes, iou, alone):
        row, category = rows[index], int(classes[index])
        box = vision.to_photo(boxes[row].reshape(-1, 2), placed).ravel()
        logits = outputs["prototypes"][0].astype(np.float32) @ every[row].astype(np.float32)
        mask = draw(logits, box, photo, placed)
        score = float(scores[row, category])
        found.append(vision.Found(category, score, tuple(box.tolist()), mask=mask))
    return found


def draw(logits: np.ndarray, box: np.ndarray, photo: np.ndarray, placed: Placed) -> np.ndarray:
    """Return the mask, bool [h, w] of the image, from logits [h, w] of the input's cells: where they
    are above 0 inside the box, scaled to the image without the padding.
    """
    high, wide = photo.shape[:2]
    tall, broad = logits.shape
    whole = vision.stretch(logits[..., None], tall * CELL, broad * CELL)
    right = placed.left + round(wide * placed.gains[0])
    bottom = placed.top + round(high * placed.gains[1])
    inside = whole[placed.top : bottom, placed.left : right]
    rows, columns = between(box[1], box[3], high), between(box[0], box[2], wide)
    if inside.shape[:2] == (high, wide):
        part = inside[rows, columns]
    else:
        part = vision.stretch(inside, high, wide, rows, columns)
    mask = np.zeros((high, wide), bool)
    mask[rows, columns] = part[..., 0] > 0
    return mask


def between(low: float, high: float, size: int) -> slice:
    """Return the pixels of 0..size - 1 from `low` up to, but not including, `high`."""
    every = np.arange(size)
    found = np.flatnonzero((every >= low) & (every < high))
    return slice(found[0], found[-1] + 1) if len(found) else slice(0, 0)


def find_turned(
    outputs: Outputs, facts: dict[str, Any], placed: Placed, confidence: float, iou: float
) -> list[Found]:
    """Return oriented boxes as corners, without those that a better one of the class overlaps by more.

    Unlike with axis-aligned boxes, a suppressed box still suppresses others (Ultralytics' fast_nms).
    """
    boxes, scores = decode_turned(outputs, facts, *placed.pixels.shape[:2])
    rows, classes = vision.select(scores, confidence)
    alive = np.ones(len(rows), bool)
    for category in () if vision.is_one_to_one(facts) else np.unique(classes):
        own = np.flatnonzero(classes == category)
        alive[own] = unsuppressed(boxes[rows[own]], iou)
    found = []
    for index in np.flatnonzero(alive)[: vision.MOST_DETECTIONS]:
        points = corners_of(turned_to_photo(boxes[rows[index]], placed))
        box = (*points.min(0).tolist(), *points.max(0).tolist())
        category, score = int(classes[index]), float(scores[rows[index], classes[index]])
        corners = tuple(map(tuple, points.tolist()))
        found.append(vision.Found(category, score, box, corners=corners))
    return found


def unsuppressed(boxes: np.ndarray, iou: float) -> np.ndarray:
    """Return which of one class's boxes [n, 5], best first, no better one overlaps by more; bool [n]."""
    alive = np.ones(len(boxes), bool)
    for start in range(0, len(boxes), BLOCK):
        block = boxes[start : start + BLOCK]
        overlaps = overlap(boxes[: start + len(block)], block) > iou
        alive[start : start + BLOCK] = ~np.triu(overlaps, 1 - start).any(0)
    return alive


def turned_to_photo(box: np.ndarray, placed: Placed) -> np.ndarray:
    """A box [5] of the frame in the photograph's pixels; it may stand over the border."""
    centre = (box[:2] - (placed.left, placed.top)) / placed.gains
    return np.concatenate([centre, box[2:4] / placed.gains, box[4:]])


def decode_turned(
    outputs: Outputs, facts: dict[str, Any], height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [N, 5] x, y, w, h in the input's pixels and an angle in radians; scores [N, classes]."""
    if "angles" not in outputs:
        rows = outputs["detections"][0].T.astype(np.float64)
        if vision.layout(facts) == "normalized":
            rows[:, :4] *= (width, height, width, height)
        classes = len(facts["classes"])
        turned = rows[:, 4 + classes : 5 + classes]
        return np.concatenate([rows[:, :4], turned], 1), rows[:, 4 : 4 + classes]
    # the upright decoder's box is centre and sides; here its sides lie along the turned axes
    upright, scores, _ = vision.decode(outputs, facts, height, width)
    corners, strides = vision.cells(height, width, vision.grids_of(outputs))
    centres = (corners + 0.5) * strides
    turned = outputs["angles"][0].astype(np.float64)
    if vision.layout(facts) == "raw":  # YOLO26's are radians already
        turned = (vision.sigmoid(turned) - 0.25) * np.pi
    along = (upright[:, :2] + upright[:, 2:]) / 2 - centres
    cos, sin = np.cos(turned[:, 0]), np.sin(turned[:, 0])
    x = along[:, 0] * cos - along[:, 1] * sin + centres[:, 0]
    y = along[:, 0] * sin + along[:, 1] * cos + centres[:, 1]
    size = upright[:, 2:] - upright[:, :2]
    return np.concatenate([np.stack([x, y], 1), size, turned], 1), scores


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the overlap of boxes [n, 5] with boxes [m, 5]: [n, m], 0..1, computed for normal
    distributions with the boxes' variances (probabilistic IoU, arXiv 2106.06072).
    """
    one, two = covariance(first), covariance(second)
    a, b, c = (one[part][:, None] + two[part][None, :] for part in range(3))
    dx, dy = (first[:, None, axis] - second[None, :, axis] for axis in (0, 1))
    spread_of = a * b - c**2
    apart = (a * dy**2 + b * dx**2 - 2 * c * dx * dy) / (spread_of + EPSILON) / 4
    single = [np.clip(p * q - r**2, 0, None) for p, q, r in (one, two)]
    size = 4 * np.sqrt(single[0][:, None] * single[1][None, :])
    distance = apart + np.log(spread_of / (size + EPSILON) + EPSILON) / 2
    return 1 - np.sqrt(1 - np.exp(-np.clip(distance, EPSILON, 100.0)) + EPSILON)


def covariance(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return variance along x, along y, and covariance; a uniform side s has variance s^2 / 12."""
    long, short = boxes[:, 2] ** 2 / 12, boxes[:, 3] ** 2 / 12
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    return (
        long * cos**2 + short * sin**2,
        long * sin**2 + short * cos**2,
        (long - short) * cos * sin,
    )


def corners_of(box: np.ndarray) -> np.ndarray:
    """Return the corners [4, 2] of a box [5], in order around it."""
    local = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2 * box[2:4]
    cos, sin = np.cos(box[4]), np.sin(box[4])
    x, y = local[:, 0], local[:, 1]
    return np.stack([x * cos - y * sin + box[0], x * sin + y * cos + box[1]], 1)
