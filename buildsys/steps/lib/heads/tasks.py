"""What the tasks of a network differ in: how its labels are written.

Standard library only: authoring and every tool environment ask here.
"""

SHAPES = {"segment": "outline", "obb": "corners", "classify": "folder"}
"""How an object is labelled where that is no box: an outline of three points or more, the four
corners of a turned box, or the folder that the picture lies in."""


def shape_of(task: str) -> str:
    """box | outline | corners | folder."""
    return SHAPES.get(task, "box")
