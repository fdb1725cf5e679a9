"""Convert labels to marks that are drawn on their image."""

from buildsys.steps.lib.datasets.labels import Object
from buildsys.steps.lib.images.overlays import Mark


def mark(item: Object, size: tuple[int, int], classes: tuple[str, ...]) -> Mark:
    """Return the mark of one labelled object on an image of (width, height) pixels; unlabelled
    points are omitted.
    """
    x, y, w, h = item.box
    wide, high = size
    return Mark(
        text=classes[item.category],
        category=item.category,
        box=((x - w / 2) * wide, (y - h / 2) * high, (x + w / 2) * wide, (y + h / 2) * high),
        keypoints=tuple(
            (number, px * wide, py * high, v > 1)
            for number, (px, py, v) in enumerate(item.keypoints)
            if v > 0
        ),
        outline=tuple((px * wide, py * high) for px, py in item.outline),
    )
