"""How the labels of each task are written.

Only the standard library is used, because authoring and every tool environment use it.
"""

SHAPES = {"segment": "outline", "obb": "corners", "classify": "folder"}
"""How an object is labelled if not by a box: an outline of three points or more, the four corners
of an oriented box, or the folder of the image.
"""


def shape_of(task: str) -> str:
    """Return the label form of a task: box | outline | corners | folder."""
    return SHAPES.get(task, "box")
