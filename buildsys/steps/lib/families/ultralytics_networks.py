"""List the heads and branches with which Ultralytics' networks can be exported, and settings that
they cannot be trained with.
"""

import re
from collections.abc import Mapping

from buildsys.spec import SettingProblem
from buildsys.steps.lib.families.ultralytics_architectures import YOLO26, YOLOV10
from buildsys.steps.lib.heads.branches import BRANCHES, ONE_TO_MANY

Heads = tuple[tuple[str, str], ...]
HEADS: Heads = (
    ("raw", "raw"),
    ("decoded", "decoded"),
    ("normalized", "normalized"),
    ("split", "split"),
)
"""(word of `export.head`, name in `outputs.HEADS`), the default first."""
HEAD_TASKS = (("normalized", ("detect",)), ("split", ("detect",)))
"""(word of `export.head`, tasks) for the heads that `ultralytics_head` makes for some tasks only."""
_HEADS_26: Heads = (("raw", "yolo26-raw"), *HEADS[1:])


def heads_of(architecture: str) -> Heads:
    """Return the heads with which a network can be exported."""
    detects = re.fullmatch(YOLO26, architecture) and not architecture.endswith("-cls")
    return _HEADS_26 if detects else HEADS


def branches_of(architecture: str) -> tuple[str, ...]:
    """Return the branches of a network's head; the first is the default if no firmware contract
    decides. YOLO26 is designed to run without suppression. YOLOv10's one-to-many branch is more
    accurate.
    """
    if heads_of(architecture) == _HEADS_26:
        return tuple(reversed(BRANCHES))
    return BRANCHES if re.fullmatch(YOLOV10, architecture) else (ONE_TO_MANY,)


def training_problem(architecture: str, train: Mapping[str, object]) -> SettingProblem | None:
    """Return a problem with settings of the `train` block that this network's loss does not
    support.
    """
    if len(branches_of(architecture)) == 1 or not architecture.endswith("-pose"):
        return None
    for key in ("quantization_aware", "smooth_visibility"):
        if train.get(key) not in (None, False, "no"):
            message = f"`{key}` does not go with {architecture}: its loss is of two branches"
            return SettingProblem(key=(key,), message=message, hint="leave it out")
    return None
