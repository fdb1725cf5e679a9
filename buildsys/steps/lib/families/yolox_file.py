"""Read the facts of a YOLOX checkpoint from its pickle's opcodes."""

from pathlib import Path
from typing import Any

from buildsys.spec import CheckpointFacts
from buildsys.steps.lib.families.torch_file import read_operations

_STEM = "backbone.backbone.stem.conv.conv.weight"
_MOST_NAMES = 20_000
"""Maximum number of operations that are searched for names."""


def read_checkpoint(path: Path) -> CheckpointFacts | None:
    """Return the facts of a `.pth` file, None if it has no YOLOX network; nothing in it is
    executed. Upstream's files name no classes; files trained by buildsys do.
    """
    operations = read_operations(path)
    if operations is None:
        return None
    texts = [str(arg) for op, arg in operations if "UNICODE" in op]
    if not any(text.endswith(_STEM) for text in texts):
        return None
    return CheckpointFacts(
        task="detect",
        names=_classes(operations),
        keypoints=0,
        keypoint_dims=0,
        architecture=_architecture(texts),
    )


def _architecture(texts: list[str]) -> str:
    """Return the architecture that buildsys wrote; otherwise nano, the only network with depthwise
    convolutions, or "".
    """
    if "architecture" in texts[:-1]:
        return texts[texts.index("architecture") + 1]
    return "yolox-nano" if any(".dconv." in text for text in texts) else ""


def _classes(operations: list[tuple[str, Any]]) -> tuple[str, ...]:
    """Return the list that follows the key `classes`."""
    found: list[str] = []
    places = [index for index, (_, arg) in enumerate(operations) if arg == "classes"]
    for op, arg in operations[places[-1] + 1 : places[-1] + _MOST_NAMES] if places else ():
        if "UNICODE" in op:
            found.append(str(arg))
        elif op in ("APPENDS", "APPEND"):
            return tuple(found)
    return ()
