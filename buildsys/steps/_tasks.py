"""What the tasks of a network differ in: how its labels are written, what its checkpoints are called.

Standard library only: authoring and every tool environment ask here.
"""

SUFFIXES = {"detect": "", "segment": "seg", "classify": "cls", "pose": "pose", "obb": "obb"}
"""What Ultralytics writes behind the size in an architecture's name: yolov8n-seg."""

SHAPES = {"segment": "outline", "obb": "corners", "classify": "folder"}
"""How an object is labelled where that is no box: an outline of three points or more, the four
corners of a turned box, or the folder that the picture lies in."""


def shape_of(task: str) -> str:
    """box | outline | corners | folder."""
    return SHAPES.get(task, "box")


def example_of(task: str) -> str:
    """A small architecture of the task, for hints."""
    suffix = SUFFIXES.get(task, "")
    return f"yolov8n-{suffix}" if suffix else "yolov8n"


def architecture_task(architecture: str) -> str:
    """The task that an architecture's name says: yolov8n-seg -> segment, yolov8n -> detect."""
    words = architecture.split("-")[1:]
    return next((task for task, suffix in SUFFIXES.items() if suffix and suffix in words), "detect")
