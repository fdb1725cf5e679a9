"""`check` allows the classes in Ultralytics' checkpoints, as in the tool environment's libraries.

UPDATE_GOLDEN=1 writes buildsys/steps/lib/families/pickled_code.json anew.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from buildsys.execution.tools import environments
from buildsys.steps.lib.families import pickled_code

pytestmark = pytest.mark.tools

NAMES = """
import importlib, importlib.metadata, json, pkgutil, sys
import torch, ultralytics
from torch import _weights_only_unpickler as upstream
import ultralytics.nn.modules, ultralytics.nn.tasks
import ultralytics.utils.loss, ultralytics.utils.tal

def modules(package):
    yield package
    for each in pkgutil.iter_modules(package.__path__):
        yield importlib.import_module(f"{package.__name__}.{each.name}")

def own(module, wanted):
    return sorted(
        name for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and wanted(value)
    )

def is_network(value):
    return issubclass(value, torch.nn.Module)

def is_layer(value):  # "Lazy" ones change their class; the last calls a function that it holds
    name = value.__name__
    return is_network(value) and not name.startswith(("_", "Lazy")) and name not in (
        "Module", "Container", "TripletMarginWithDistanceLoss"
    )

classes = {}
for module in modules(torch.nn.modules):
    classes[module.__name__] = own(module, is_layer)
for module in (*modules(ultralytics.nn.modules), ultralytics.nn.tasks):
    classes[module.__name__] = own(module, is_network)
for module in (ultralytics.utils.loss, ultralytics.utils.tal):
    classes[module.__name__] = own(module, lambda value: not value.__name__.startswith("_"))
# before 8.0.80 all modules were in one file
package = vars(ultralytics.nn.modules)
classes["ultralytics.nn.modules"] = sorted(
    name for name, value in package.items() if isinstance(value, type) and is_network(value)
)
# old names, as ultralytics.nn.tasks.torch_safe_load has them
classes["ultralytics.nn.modules.block"] += ["Silence"]
classes["ultralytics.nn.tasks"] += ["YOLOv10DetectionModel"]
classes["ultralytics.utils.loss"] += ["v10DetectLoss"]
classes["torchvision.transforms.transforms"] = [
    "CenterCrop", "Compose", "Normalize", "Resize", "ToTensor"
]
allowed = upstream._get_allowed_globals()
values = sorted(
    name.removeprefix("torch.") for name, value in allowed.items()
    if isinstance(value, torch.dtype) or name.endswith("Storage")
)
paths = ["PosixPath", "WindowsPath"]
spaces = ["IterableSimpleNamespace"]
importable = {name for name in importlib.metadata.packages_distributions() if name.isidentifier()}
print(json.dumps({
    "origin": {"torch": [torch.__version__], "ultralytics": [ultralytics.__version__]},
    # with what the environment for NVIDIA's GPUs has beside
    "modules": sorted(importable | {"cuda", "nvidia", "triton"}),
    "calls": {
        "__builtin__": ["bytearray", "complex", "set"],
        "_codecs": ["encode"],
        "builtins": ["bytearray", "complex", "set"],
        "collections": ["OrderedDict"],
        "numpy": ["dtype"],
        "numpy._core.multiarray": ["scalar"],
        "numpy.core.multiarray": ["scalar"],
        "torch": ["Size", "device"],
        "torch._utils": [
            "_rebuild_parameter", "_rebuild_parameter_with_state", "_rebuild_tensor",
            "_rebuild_tensor_v2", "_rebuild_tensor_v3",
        ],
    },
    "mappings": {"collections": ["OrderedDict"]},
    "values": {
        "torch": [name for name in values if "." not in name],
        "torch.cuda": [n.removeprefix("cuda.") for n in values if n.startswith("cuda.")],
        "torch.storage": [n.removeprefix("storage.") for n in values if n.startswith("storage.")],
    },
    "network_calls": {
        "pathlib": paths, "pathlib._local": paths,
        "torchvision.transforms.functional": ["InterpolationMode"],
        "ultralytics.utils": spaces, "ultralytics.yolo.utils": spaces,
    },
    "enums": {"torchvision.transforms.functional": ["InterpolationMode"]},
    "getters": {"__builtin__": ["getattr"], "builtins": ["getattr"]},
    "classes": {name: listed for name, listed in sorted(classes.items()) if listed},
}))
"""
NETWORKS = """
import sys
from pathlib import Path
import torch
from ultralytics import YOLO
from ultralytics.nn.tasks import torch_safe_load
from ultralytics.utils import DEFAULT_CFG

for name in sys.argv[2:]:
    network = YOLO(f"{name}.yaml").model
    network.args = DEFAULT_CFG
    network.criterion = None if "cls" in name else network.init_criterion()
    content = {"model": network, "ema": None, "train_args": {"save_dir": Path("runs")}}
    place = f"{sys.argv[1]}/{name}-made.pt"  # yolov5n.pt is a file that it would fetch
    torch.save(content, place)
    torch_safe_load(place, safe_only=True)
"""
ARCHITECTURES = (
    *("yolov5n", "yolov6n", "yolov8n", "yolov8n-seg", "yolov8n-cls", "yolov8n-pose"),
    *("yolov8n-obb", "yolov9t", "yolov10n", "yolo11n", "yolo12n-seg"),
)


def _ask(code: str, *arguments: str, scratch: Path) -> str:
    _, python = environments.ensure("ultralytics", print)
    quiet = {"YOLO_CONFIG_DIR": str(scratch), "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}
    command = [str(python), "-s", "-c", code, *arguments]
    env = {**os.environ, **quiet, "YOLO_AUTOINSTALL": "false", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_known_names_are_those_of_the_libraries(tmp_path: Path) -> None:
    """The allowed classes are those of the tool environment's version."""
    found: dict[str, Any] = json.loads(_ask(NAMES, scratch=tmp_path).splitlines()[-1])
    if os.environ.get("UPDATE_GOLDEN"):
        text = json.dumps(found, indent=1) + "\n"
        pickled_code.DATA.write_text(text, encoding="utf-8")
    assert json.loads(pickled_code.DATA.read_bytes()) == found


def test_no_network_of_a_family_is_taken_for_foreign_code(tmp_path: Path) -> None:
    """Every kind of network that steps take, with the losses that trainings leave in it; nor is it
    by the unpickler of Ultralytics' loader, which steps use, too.
    """
    _ask(NETWORKS, str(tmp_path), *ARCHITECTURES, scratch=tmp_path)
    found = {
        name: pickled_code.find_code(tmp_path / f"{name}-made.pt", objects=True)
        for name in ARCHITECTURES
    }
    assert found == dict.fromkeys(ARCHITECTURES, pickled_code.NO_CODE)
