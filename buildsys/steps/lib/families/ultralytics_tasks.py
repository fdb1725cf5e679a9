"""Name the task of an Ultralytics network, by its architecture's name and by its last module."""

SUFFIXES = {"detect": "", "segment": "seg", "classify": "cls", "pose": "pose", "obb": "obb"}
"""The task suffix in an architecture's name: yolov8n-seg."""
HEADS = {
    "Detect": "detect",
    "v10Detect": "detect",
    "Segment": "segment",
    "Classify": "classify",
    "Pose": "pose",
    "OBB": "obb",
    "Segment26": "segment",
    "Pose26": "pose",
    "OBB26": "obb",
}
"""Class of the last module of a supported network -> its task."""


def example_of(task: str) -> str:
    """Return a small architecture for the task, for hints."""
    suffix = SUFFIXES.get(task, "")
    return f"yolov8n-{suffix}" if suffix else "yolov8n"


def architecture_task(architecture: str) -> str:
    """Return the task in an architecture's name: yolov8n-seg -> segment, yolov8n -> detect."""
    words = architecture.split("-")[1:]
    return next((task for task, suffix in SUFFIXES.items() if suffix and suffix in words), "detect")
