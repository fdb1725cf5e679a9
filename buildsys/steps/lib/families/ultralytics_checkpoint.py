"""An Ultralytics checkpoint, for a step that reads one: unpickled by what knows networks alone."""

import os
from pathlib import Path
from typing import Any

from buildsys.steps.lib.families import ultralytics_setup

_SAFE = "ULTRALYTICS_SAFE_LOAD"
"""Set by whoever starts the step, unless the recipe trusts the file (ultralytics/utils/__init__.py)."""
_FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""With it torch.load refuses every class that was not named before, whatever its caller asks for."""


def load_model(path: Path, task: str) -> Any:
    """The float32 ``nn.Module`` of a checkpoint, in evaluation mode; Ultralytics has been set up before.

    The file was looked at before the step began; here it is loaded by torch's own restricted unpickler,
    with the classes that Ultralytics' loader names to it.
    """
    _name_tasks()
    if not os.environ.get(_SAFE):
        return ultralytics_setup.load_model(path, task)
    from ultralytics.nn.tasks import _SafeLoad

    os.environ[_FORCED] = "1"
    with _SafeLoad.loading(path):
        return ultralytics_setup.load_model(path, task)


def _name_tasks() -> None:
    """Networks whose file does not say their task, and whose head has another name than before YOLO26."""
    from ultralytics.nn import tasks

    tasks.SegmentationModel.task = "segment"
    tasks.PoseModel.task = "pose"
    tasks.OBBModel.task = "obb"
