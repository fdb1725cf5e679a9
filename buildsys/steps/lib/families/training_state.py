"""What a training keeps from one epoch to the next, on disk."""

import os
from pathlib import Path
from typing import Any


def save(path: Path, value: Any) -> None:
    """Of torch; written beside its place and put there whole."""
    import torch

    fresh = path.with_suffix(".tmp")
    torch.save(value, fresh)
    os.replace(fresh, path)
