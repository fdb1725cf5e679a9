"""Command blocks of docs/ and README, and the folders in which they run."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from buildsys.authoring.scaffold.starters import LOADER_CONFIG
from tests.conftest import REPOSITORY, Sample
from tests.given_models import Edge, onnx_bytes, picture

_BLOCK = re.compile(
    r"(?:^<!-- (?P<kind>run|not run): (?P<text>.*?) -->\n\n?)?^```sh\n(?P<code>.*?)^```",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced `sh` block. `scenario`: the folder in which it runs; `reason`: why it does not run."""

    place: str
    code: str
    scenario: str = ""
    reason: str = ""


def blocks(pages: list[Path]) -> list[Block]:
    """All blocks, in order."""
    found = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            line = text.count("\n", 0, match.start("code"))
            found.append(
                Block(
                    place=f"{page.relative_to(REPOSITORY)}:{line}",
                    code=match["code"],
                    scenario=match["text"] if match["kind"] == "run" else "",
                    reason=match["text"] if match["kind"] == "not run" else "",
                )
            )
    return found


def _empty(place: Path, sample: Sample) -> None:
    """An empty folder."""
    place.mkdir()


def _data(place: Path, sample: Sample) -> None:
    """Data in several formats, a model, and data outside the workspace; no recipes."""
    place.mkdir()
    for folder in (place / "data" / "tags", place.parent / "mice"):
        shutil.copytree(sample.root / "workspace" / "tags", folder)
    _coco(place / "data" / "cam", "annotations.json")
    for split in ("train", "val"):
        _coco(place / "data" / "cells", f"annotations/{split}.json", f"{split}-")
    (place / "weights").mkdir()
    words = {"task": "detect", "names": "{0: 'box', 1: 'lid'}", "imgsz": "[96, 160]"}
    rows = (Edge(name="output0", shape=(1, 6, 315)),)
    (place / "weights" / "best.onnx").write_bytes(onnx_bytes((picture(),), rows, metadata=words))


def _coco(folder: Path, name: str, beginning: str = "") -> None:
    """Write an annotation file of five images with one object each."""
    images = [
        {"id": i, "file_name": f"{beginning}{i}.jpg", "width": 64, "height": 64} for i in range(5)
    ]
    boxes = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [8, 8, 32, 32], "iscrowd": 0}
        for i in range(5)
    ]
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    for image in images:
        (folder / str(image["file_name"])).write_bytes(f"{folder.name} {image}".encode())
    found = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cell"}]}
    (folder / name).write_text(json.dumps(found))


def _built(place: Path, sample: Sample) -> None:
    """The sample workspace with the recipe `tags` for two boards, built by the stand-in."""
    sample.copy(place, place.parent / "store")
    (place / "doit.cfg").write_text(LOADER_CONFIG)


def _repository(place: Path, sample: Sample) -> None:
    """The content of a clone: recipes, targets, weights."""
    place.mkdir()
    for name in ("recipes", "targets", "weights"):
        shutil.copytree(REPOSITORY / name, place / name)


def _board(place: Path, sample: Sample) -> None:
    """A workspace with every target and firmware contract that a page shows completely."""
    (place / "targets" / "firmware").mkdir(parents=True)
    for page in sorted((REPOSITORY / "docs").rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        for code in re.findall(r"^```yaml\n(name: my-.*?)^```", text, re.MULTILINE | re.DOTALL):
            folder = place / "targets" / ("firmware" if "\nsource: " in code else "")
            (folder / f"{code.split()[1]}.yaml").write_text(code)
    (place / "recipes").mkdir()
    source = "source: {family: ultralytics, task: detect, architecture: yolov8n, weights: random}"
    rest = f"{source}\ninput: {{size: 96}}\ntrain: {{epochs: 1}}\nevaluate: none\n"
    data = "dataset: {generator: shapes}\n"
    (place / "recipes" / "size.yaml").write_text(
        f"name: size\n{rest}{data}targets: [my-camera, my-gpu]\n"
    )
    (place / "recipes" / "npu.yaml").write_text(
        f"name: npu\n{rest}{data}firmware: my-firmware\ntargets: [my-board]\n"
        "quantization: {scheme: int8, calibration: {split: train, count: 8}}\n"
    )


def _accents(place: Path, sample: Sample) -> None:
    """Names in both forms: of a folder, of its files, and of files that have both."""
    for form in (NFC, NFD):
        folder = place / "data" / "my" / f"{'new' if form == NFC else 'old'}-{form}"
        folder.mkdir(parents=True)
        for name in (f"{form}.jpg", f"both-{NFD}.jpg", f"both-{NFC}.jpg", "plain.jpg"):
            (folder / name).write_text(name)


NFC, NFD = "\u00e9", "e\u0301"
"""The letter e with an acute accent as one character and as two."""
SCENARIOS: dict[str, Callable[[Path, Sample], None]] = {
    "empty": _empty,
    "data": _data,
    "built": _built,
    "repository": _repository,
    "board": _board,
    "accents": _accents,
}
"""Functions that write the folder in which the blocks of a page run, one after the other."""
