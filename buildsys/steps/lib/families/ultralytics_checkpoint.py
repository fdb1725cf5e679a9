"""Load an Ultralytics checkpoint with an unpickler that allows only classes of networks."""

import os
from pathlib import Path
from typing import Any

from buildsys.steps.lib.families import ultralytics_setup

_SAFE = "ULTRALYTICS_SAFE_LOAD"
"""Set in the step's environment unless the recipe trusts the file (ultralytics/utils/__init__.py).
"""
_FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""With it torch.load rejects every class that was not allowed before, regardless of its arguments.
"""


def load_model(path: Path, task: str) -> Any:
    """Return the float32 ``nn.Module`` of a checkpoint, in evaluation mode; Ultralytics must be set
    up before. The file was checked before the step began; here it is loaded by torch's own
    restricted unpickler, with the classes that Ultralytics' loader allows.
    """
    _name_tasks()
    if not os.environ.get(_SAFE):
        return ultralytics_setup.load_model(path, task)
    from ultralytics.nn.tasks import _SafeLoad

    os.environ[_FORCED] = "1"
    with _SafeLoad.loading(path):
        return ultralytics_setup.load_model(path, task)


def _name_tasks() -> None:
    """Set the task of networks whose file does not state it, and whose head class is new in YOLO26."""
    from ultralytics.nn import tasks

    tasks.SegmentationModel.task = "segment"
    tasks.PoseModel.task = "pose"
    tasks.OBBModel.task = "obb"
