"""Small datasets in COCO format, and steps of family yolox run on them as in a build."""

import json
import random
import struct
import subprocess
from pathlib import Path
from typing import Any

from buildsys.execution.running.runner import LAUNCHER
from buildsys.execution.tools import environments
from tests.conftest import REPOSITORY
from tests.tools.places import tool_environment

SIDE = 96
CLASSES = ("bar", "block")
FRAME = {"height": SIDE, "width": SIDE, "color": "rgb", "resize": "letterbox"}
HEADS = {
    "yolox-decoded": ["detections"],
    "yolox-concatenated": ["predictions"],
    "yolox-split": ["boxes", "objectness", "classes"],
}
TRAIN = {
    "architecture": "yolox-nano",
    "size": SIDE,
    "epochs": 2,
    "batch": 4,
    "seed": 0,
    "learning_rate": 0.002,
    "mosaic": 0.5,
    "flip": 0.5,
    "scale": 0.3,
    "mixed_precision": False,
    "validate": 1,
    "patience": 0,
    "threads": 1,
}
_TELLS_IMPORTS = {"PYTHONPROFILEIMPORTTIME": "1"}
"""Python prints each module that it imports to stderr."""


def draw_dataset(root: Path, count: int = 8) -> Path:
    """Write images of bars and blocks, in COCO format and with label files."""
    for folder in ("annotations", "images", "labels"):
        (root / folder).mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        name, (category, box) = f"{number:02}.bmp", draw_object(number)
        (root / "images" / name).write_bytes(bitmap(category, box))
        x, y, w, h = box
        shares = ((x + w / 2) / SIDE, (y + h / 2) / SIDE, w / SIDE, h / SIDE)
        label = " ".join(str(value) for value in (category, *shares))
        (root / "labels" / f"{number:02}.txt").write_text(label + "\n")
        images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": category + 1,
                "bbox": list(box),
                "area": w * h,
                "iscrowd": 0,
            }
        )
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    found = {"images": images, "annotations": annotations, "categories": categories}
    for split in ("train", "val"):
        (root / "annotations" / f"{split}.json").write_text(json.dumps(found))
    return root


def draw_object(seed: int) -> tuple[int, tuple[int, int, int, int]]:
    """A class and a box x, y, w, h in pixels."""
    draw = random.Random(seed)
    category = seed % 2
    w, h = ((60, 16), (36, 40))[category]
    return category, (draw.randrange(SIDE - w), draw.randrange(SIDE - h), w, h)


def bitmap(category: int, box: tuple[int, int, int, int]) -> bytes:
    """Write a light rectangle on a dark background."""
    x, y, w, h = box
    paint = (b"\x30\xc8\xf0", b"\xf0\x70\x30")[category]
    pixels = b"".join(
        paint if x <= column < x + w and y <= row < y + h else b"\x28\x28\x28"
        for row in range(SIDE - 1, -1, -1)
        for column in range(SIDE)
    )
    head = struct.pack("<2sIHHI", b"BM", 54 + len(pixels), 0, 0, 54)
    more = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    return head + more + pixels


def curves_of(checkpoint: Path) -> Path:
    """The path of a training's second output."""
    return checkpoint.with_suffix(".training")


def start(
    module: str,
    scratch: Path,
    inputs: dict[str, Path],
    output: tuple[str, Path],
    params: dict[str, Any],
) -> subprocess.Popen[str]:
    """Start a step in its scratch folder."""
    _, python = environments.ensure("yolox", print)
    scratch.mkdir(exist_ok=True)
    trains = module == "train_yolox"
    request = {
        "inputs": {key: str(path) for key, path in inputs.items()},
        "outputs": {output[0]: str(output[1])}
        | ({"training": str(curves_of(output[1]))} if trains else {}),
        "params": params,
        "error": str(scratch / "error.txt"),
    }
    (scratch / "request.json").write_text(json.dumps(request))
    return subprocess.Popen(
        [str(python), "-s", str(LAUNCHER), module, str(scratch / "request.json")],
        cwd=scratch,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**tool_environment(python, scratch), **({} if trains else _TELLS_IMPORTS)},
    )


def imported(errors: str) -> set[str]:
    """The modules that a step of `start` imported, by what it printed."""
    lines = (line for line in errors.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip() for line in lines}


def run(
    module: str,
    scratch: Path,
    inputs: dict[str, Path],
    output: tuple[str, Path],
    params: dict[str, Any],
) -> Path:
    """Run a step; return its output. Only a training may import torchvision, which imports torch's
    compiler and doubles the time to start.
    """
    step = start(module, scratch, inputs, output, params)
    _, errors = step.communicate()
    assert step.returncode == 0, errors[-2000:]
    if module != "train_yolox":
        assert not {"torchvision", "torch._dynamo"} & imported(errors)
    return output[1]


def refusal(
    module: str,
    scratch: Path,
    inputs: dict[str, Path],
    output: tuple[str, Path],
    params: dict[str, Any],
) -> str:
    """Run a step that must fail; return its message."""
    step = start(module, scratch, inputs, output, params)
    _, errors = step.communicate()
    assert step.returncode == 3, errors[-2000:]
    return (scratch / "error.txt").read_text()


def ask(script: str, *words: str) -> Any:
    """Run a script in the environment; return its JSON output. Its first argument is the
    repository.
    """
    _, python = environments.ensure("yolox", print)
    code = f"import sys, json; sys.path.insert(0, sys.argv[1])\n{script}"
    done = subprocess.run(
        [str(python), "-c", code, str(REPOSITORY), *words],
        capture_output=True,
        text=True,
        check=False,
        env=tool_environment(python),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])
