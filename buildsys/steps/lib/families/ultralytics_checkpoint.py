"""Load an Ultralytics checkpoint with an unpickler that allows only classes of networks."""

import os
from pathlib import Path
from typing import Any

from buildsys.steps.lib.families.ultralytics_tasks import HEADS
from buildsys.steps.lib.runtime.progress import fail

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
    if not os.environ.get(_SAFE):
        return _load(path, task)
    from ultralytics.nn.tasks import _SafeLoad

    os.environ[_FORCED] = "1"
    with _SafeLoad.loading(path):
        return _load(path, task)


def _load(path: Path, task: str) -> Any:
    """Return the float32 ``nn.Module`` of a checkpoint, in evaluation mode."""
    import torch

    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # torch raises many unrelated types for a damaged file
        fail(f"{path.name} is not a readable PyTorch checkpoint: {type(error).__name__}: {error}")
    model: Any = None
    if isinstance(checkpoint, dict):
        model = checkpoint.get("ema") or checkpoint.get("model")
    if model is None or not hasattr(model, "names"):
        fail(f"{path.name} holds no Ultralytics model (neither 'model' nor 'ema').")
    found = getattr(model, "task", None) or _task_of(model)
    if found != task:
        fail(f"{path.name} is a {found} checkpoint; the recipe says task: {task}.")
    return model.float().eval()


def _task_of(model: Any) -> str:
    return HEADS.get(type(model.model[-1]).__name__, "unknown")
