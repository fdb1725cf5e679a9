"""Build, load and save YOLOX networks, without executing code of a checkpoint, as reproducible
files.

Upstream trains on BGR 0..255, and checkpoints keep that to stay compatible; exported files take RGB
0..1 like every other family: see `yolox_head.fold_input`.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

from buildsys.steps.lib.runtime import torch_setup
from buildsys.steps.lib.runtime.progress import fail

ARCHITECTURES = ("yolox-nano", "yolox-tiny")
_CLASS_HEAD = "head.cls_preds."
"""Prefix of the tensors whose shape depends on the number of classes."""


def prepare() -> None:
    """Set up this process before anything imports yolox: the declared threads, a quiet log."""
    torch_setup.prepare()
    # its loss uses a deprecated name of a CUDA context, even on the CPU
    warnings.filterwarnings("ignore", message=".*torch.cuda.amp", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*device_type of 'cuda'", category=UserWarning)
    from loguru import logger

    logger.remove()
    logger.add(sys.stderr, level="ERROR")


def make_model(architecture: str, classes: int) -> Any:
    """Return upstream's network with a head for `classes` classes and random weights, in training
    mode.
    """
    if architecture not in ARCHITECTURES:
        fail(
            f"{architecture} is no YOLOX network known here; there are {', '.join(ARCHITECTURES)}."
        )
    from yolox.exp import get_exp

    exp = get_exp(exp_name=architecture)
    exp.num_classes = classes
    return exp.get_model().train()


def load_start(path: Path, architecture: str, classes: int) -> Any:
    """Return the network to train from a checkpoint; the class head is initialized anew if the
    classes differ.
    """
    model = make_model(architecture, classes)
    anew = fill(model, read_state(path), path, architecture)
    if anew:
        print(f"{path.name} was trained on other classes: the class head begins anew.")
    return model.float().train()


def read_state(path: Path) -> dict[str, Any]:
    """Return the tensors of a checkpoint in upstream's form, `{"model": tensors}`, or of tensors
    alone. Nothing in the file is executed: anything but tensors, numbers and text is rejected.
    """
    import torch

    try:
        with torch.serialization.safe_globals(_numpy_globals()):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many unrelated types for a damaged file
        reason = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        fail(f"{path.name} is not a PyTorch checkpoint of plain tensors: {reason}")
    state: Any = found.get("model", found) if isinstance(found, dict) else None
    if (
        not isinstance(state, dict)
        or not state
        or not all(torch.is_tensor(value) for value in state.values())
    ):
        fail(f"{path.name} holds no YOLOX weights (no 'model' with a tensor for each layer).")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _numpy_globals() -> list[Any]:
    """Return the NumPy classes to allow: upstream's trainer saves its best score as a NumPy number,
    whose module had another name in NumPy 1.
    """
    import numpy as np

    scalar = np._core.multiarray.scalar
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)]
    return [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *kinds]


def fill(model: Any, state: dict[str, Any], path: Path, architecture: str) -> list[str]:
    """Load tensors into the network; returns the names of those omitted, all of the class head."""
    wanted = model.state_dict()
    other = [name for name in wanted if name in state and state[name].shape != wanted[name].shape]
    missing = sorted(set(wanted) ^ set(state)) + [n for n in other if not n.startswith(_CLASS_HEAD)]
    if missing:
        fail(
            f"{path.name} holds no {architecture} network: {len(missing)} tensors are missing, too"
            f" many or of another shape, first {missing[0]}."
        )
    model.load_state_dict({k: v for k, v in state.items() if k not in other}, strict=False)
    return other


def save_model(model: Any, path: Path, architecture: str, classes: tuple[str, ...]) -> None:
    """Write upstream's form, float32; its bytes depend only on weights, architecture and classes.
    Besides `model`, which upstream's tools read, the key `buildsys` holds architecture and class
    names.
    """
    import torch

    state = {
        name: value.detach()
        .to("cpu", torch.float32 if value.is_floating_point() else None)
        .contiguous()
        .clone()
        for name, value in model.state_dict().items()
    }
    about = {"architecture": architecture, "classes": list(classes)}
    with path.open("wb") as stream:  # torch would write a file's name into the archive
        torch.save({"model": state, "buildsys": about}, stream)
