"""Decide which of Ultralytics' networks, including YOLO26, are supported, and list their heads and
branches.

`ultralytics_architectures` and `ultralytics_file` describe the networks before YOLO26. The keys of
recorded trainings depend on the code of those two, so later networks are described here.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from buildsys.spec import CheckpointFacts, SettingProblem
from buildsys.steps.lib.families import ultralytics_architectures, ultralytics_file
from buildsys.steps.lib.heads.branches import BRANCHES, ONE_TO_MANY

_YOLO26 = r"yolo26[nsmlx](-(seg|pose|obb|cls|p2|p6))?"
_YOLOV10 = r"yolov10[nsmblx]"
ARCHITECTURES = f"{ultralytics_architectures.ARCHITECTURES}|{_YOLO26}"
"""Regular expression of supported names."""

USUAL = (
    *ultralytics_architectures.USUAL,
    *(
        f"yolo26{size}{ending}"
        for size in "nsmlx"
        for ending in ("", "-seg", "-pose", "-obb", "-cls")
    ),
)
"""Names that are suggested for a misspelled one."""

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

_REFUSED = (
    (r"yolo26.*-sem", "no step here measures or decodes semantic segmentation", "yolo26{size}-seg"),
    (r"yolo26.*-depth", "no step here measures or decodes depth", "yolo26{size}"),
)
"""(names of YOLO26, why they are not supported, what to use instead)."""

_NAMELESS = (
    "its head is YOLO26's, and the file does not say which of its networks it is",
    "bring the checkpoint that Ultralytics' own training wrote; it holds the architecture's name",
)


def architecture_problem(name: str) -> tuple[str, str] | None:
    """Return why one of Ultralytics' networks is not supported, and what to use instead; None for
    any other name.
    """
    if re.fullmatch(_YOLO26, name):
        return None
    for pattern, why, instead in _REFUSED:
        if re.fullmatch(pattern, name):
            size = re.match(r"yolo26([nsmlx]?)", name)
            plain = instead.format(size=(size and size[1]) or "n")
            return why, f"`architecture: {plain}`"
    return ultralytics_architectures.architecture_problem(name)


def heads_of(architecture: str) -> Heads:
    """Return the heads with which a network can be exported."""
    detects = re.fullmatch(_YOLO26, architecture) and not architecture.endswith("-cls")
    return _HEADS_26 if detects else HEADS


def branches_of(architecture: str) -> tuple[str, ...]:
    """Return the branches of a network's head; the first is the default if no firmware contract
    decides. YOLO26 is designed to run without suppression. YOLOv10's one-to-many branch is more
    accurate.
    """
    if heads_of(architecture) == _HEADS_26:
        return tuple(reversed(BRANCHES))
    return BRANCHES if re.fullmatch(_YOLOV10, architecture) else (ONE_TO_MANY,)


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


def read_checkpoint(path: Path) -> CheckpointFacts | None:
    """Return the facts in a `.pt`'s pickle; see `ultralytics_file.read_checkpoint`."""
    found = ultralytics_file.read_checkpoint(path)
    if found is None or found.problem is None:
        return found
    if re.fullmatch(_YOLO26, found.architecture):
        return dataclasses.replace(found, problem=None)
    before = ultralytics_architectures.head_problem
    without_bins = (before("Pose26", 0, 0, ""), before("Detect", 0, 1, ""))
    nameless = found.problem in without_bins and not found.architecture
    return dataclasses.replace(found, problem=_NAMELESS) if nameless else found
