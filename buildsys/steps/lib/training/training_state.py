"""Save the state of a training between epochs."""

import os
from pathlib import Path
from typing import Any


def save(path: Path, value: Any) -> None:
    """Save a torch value: write a temporary file and rename it, so that the file is always
    complete.
    """
    import torch

    fresh = path.with_suffix(".tmp")
    torch.save(value, fresh)
    os.replace(fresh, path)
