"""Set up Ultralytics and save its networks: no downloads, no installs, an optional torchvision,
reproducible files.
"""

import os
from pathlib import Path
from typing import Any

from buildsys.steps.lib.runtime import torch_setup

_QUIET = {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}


def prepare(scratch: Path) -> None:
    """Set up this process before anything imports ultralytics.

    Nothing is installed or downloaded; settings go to ``scratch``; torch uses the declared threads.
    Ultralytics only prints warnings, without progress bars or colours.
    """
    os.environ.update(_QUIET, YOLO_CONFIG_DIR=str(scratch))
    torch_setup.prepare()
    from ultralytics.utils import SETTINGS

    SETTINGS.update({"sync": False})
    _let_warnings_pass()


def _let_warnings_pass() -> None:
    import logging
    import re

    from ultralytics.utils import LOGGER

    def plain(record: logging.LogRecord) -> bool:
        record.msg = re.sub(r"\x1b\[[0-9;]*m", "", str(record.msg))
        return True

    LOGGER.setLevel(logging.WARNING)
    for handler in LOGGER.handlers:
        handler.setLevel(logging.WARNING)
        handler.addFilter(plain)


def save_model(model: Any, path: Path, task: str, size: int) -> None:
    """Write a checkpoint whose bytes depend only on the weights: no dates, paths or arguments.

    It has half precision like Ultralytics' own files, and Ultralytics can read it.
    """
    import copy

    import torch

    model = copy.deepcopy(model).cpu().half().eval()
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.args = {"task": task, "imgsz": size}
    model.task = task
    for name in ("criterion", "pt_path", "loss_names", "transforms"):
        if hasattr(model, name):
            delattr(model, name)
    train_args = {"task": task, "imgsz": size}
    checkpoint = {"epoch": -1, "model": model, "ema": None, "train_args": train_args}
    with path.open("wb") as stream:  # torch would write a file's name into the archive
        torch.save(checkpoint, stream)
