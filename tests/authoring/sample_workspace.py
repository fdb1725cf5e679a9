"""A small workspace for recipes: datasets and given models, as far as planning reads them."""

import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buildsys.execution.places import Workspace
from buildsys.execution.session.loading import make_plans
from buildsys.execution.state.plans import Plans
from buildsys.graph import BuildPlan, Plan, Step, build_plans, steps_of
from tests import given_models

if TYPE_CHECKING:
    from _pytest.mark.structures import ParameterSet

TAGS_SHA256 = "50c7cc65d4b83f43a9ee1bc00bf715b254f4cb90213253a4d1db58e71561319c"
PERSON_SHA256 = "64019c3ed4683c44e035f9065434799f2a16b4ec01aa893e71d17598ac0a6501"
"""Digests of the checkpoints that `make_workspace` writes; the recipes here pin them."""


TRAINED = f"""\
source:
  family: ultralytics
  task: pose
  architecture: yolov8n-pose
  weights: {{path: weights/tags.pt, sha256: {TAGS_SHA256}}}
dataset: {{path: data/tags/data.yaml}}
input: {{size: 192}}
train: {{epochs: 4}}
quantization: {{scheme: int8, calibration: {{split: train, count: 1}}}}
evaluate: {{gates: {{box.mAP50-95: {{max_drop: 0.01}}}}}}
targets: [grove-vision-ai-v2, xiao-esp32s3]
"""
GIVEN = f"""\
source:
  family: ultralytics
  task: pose
  weights: {{path: weights/person.pt, sha256: {PERSON_SHA256}}}
input: {{size: 192}}
quantization: {{scheme: int8, calibration: {{images: "data/cam/**/*.jpg", count: 1}}}}
evaluate: none
targets:
  - grove-vision-ai-v2
  - {{target: grove-vision-ai-v2, as: grove-himax, firmware: himax-yolov8-pose}}
"""
TFLITE = """\
source: {family: tflite, weights: {path: weights/model.tflite}}
targets:
  - {target: grove-vision-ai-v2, vela: {version: "3.9"}}
  - host
"""
ONNX = """\
source: {family: onnx, weights: {path: weights/model.onnx}}
input: {size: [96, 160]}
quantization: {scheme: int8, calibration: {images: "data/cam/*.jpg", count: 1}}
targets: [ethos-u55-128-high-end]
"""


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a checkpoint states about its last layer."""

    kind: str
    classes: tuple[str, ...]
    keypoints: int = 0
    levels: int = 0
    architecture: str = ""


@dataclass(frozen=True, kw_only=True)
class Data:
    """What a data.yaml declares."""

    classes: tuple[str, ...]
    keypoints: int = 0
    dims: int = 3


_DATA = {
    "tags": Data(classes=("tag",), keypoints=4),
    "boxes": Data(classes=("box", "lid")),
    "people": Data(classes=("person",), keypoints=17),
    "hands": Data(classes=("left", "right"), keypoints=21),
    "letters": Data(classes=tuple(f"letter-{number}" for number in range(64))),
    "points": Data(classes=("point",), keypoints=1, dims=2),
}
_FOLDERS = (
    "fruit/train/apple/1.jpg",
    "fruit/train/pear/1.png",
    "fruit/val/pear/2.jpg",
    "loose/train/1.jpg",
    "late/train/apple/1.jpg",
    "late/valid/pear/1.jpg",
    "hollow/train/apple/1.jpg",
)
"""Images to classify: whole, outside any class, a class of val alone, and (plum) one without."""
_CHECKPOINTS = {
    "tags": Head(kind="Pose", classes=("tag",), keypoints=4),
    "boxes": Head(kind="Detect", classes=("box", "lid")),
    "person": Head(kind="Pose", classes=("person",), keypoints=17),
}


def make_workspace(root: Path) -> Path:
    """`data/<name>/data.yaml`, `weights/<name>.pt`, `weights/model.{onnx,tflite}`, no recipe."""
    for name, data in _DATA.items():
        write_data(root / "data" / name, data)
    (root / "data" / "flat" / "images").mkdir(parents=True)
    (root / "data" / "flat" / "data.yaml").write_text("train: images\nnames: [box]\n")
    (root / "data" / "flat" / "labels").mkdir()
    (root / "data" / "flat" / "labels" / "0.txt").write_text("0 .5 .5 .2 .2\n")
    (root / "data" / "flat" / "images" / "0.jpg").touch()
    for place in _FOLDERS:
        (root / "data" / place).parent.mkdir(parents=True, exist_ok=True)
        (root / "data" / place).write_bytes(b"never opened while planning")
    (root / "data" / "hollow" / "train" / "plum").mkdir()
    write_cells(root / "data" / "cells")
    (root / "weights").mkdir(parents=True)
    for name, head in _CHECKPOINTS.items():
        write_checkpoint(root / "weights" / f"{name}.pt", head)
    open_size = given_models.Edge(name="images", shape=(1, 3, "height", "width"))
    (root / "weights" / "model.onnx").write_bytes(given_models.onnx_bytes((open_size,)))
    rows = given_models.Edge(name="output0", shape=(1, 3549, 6))  # 416 px, one class
    yolox = given_models.onnx_bytes((open_size,), (rows,))
    (root / "weights" / "yolox.onnx").write_bytes(yolox)
    (root / "weights" / "model.tflite").write_bytes(given_models.tflite_bytes())
    (root / "data" / "cam").mkdir()
    (root / "data" / "cam" / "first.jpg").write_bytes(b"never opened while planning")
    (root / "recipes").mkdir()
    return root


def write_data(folder: Path, data: Data) -> None:
    """A dataset in Ultralytics' layout with one labelled image per split, which planning never
    opens.
    """
    for split in ("train", "val"):
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
        (folder / "labels" / split / "0.txt").write_text("0 .5 .5 .2 .2\n")
        (folder / "images" / split / "0.jpg").touch()
    lines = ["train: images/train", "val: images/val", "names:"]
    lines += [f"  {number}: {name}" for number, name in enumerate(data.classes)]
    if data.keypoints:
        lines.append(f"kpt_shape: [{data.keypoints}, {data.dims}]")
        lines.append(f"flip_idx: {list(range(data.keypoints))}")
    (folder / "data.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


CELLS = {"categories": [{"id": 3, "name": "egg"}, {"id": 1, "name": "bar"}]}
"""The content of every annotation file in data/cells, which are named after their splits."""


def write_cells(folder: Path) -> None:
    """A dataset in COCO format with one or two images per split; `test` has other categories,
    `late` is `val` with a crowd.
    """
    for split, names in (("train", ("a.jpg", "b/c.png")), ("val", ("d.jpg",))):
        for name in names:
            (folder / "images" / split / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "images" / split / name).write_bytes(b"never opened while planning")
        write_sheet(folder / "annotations" / f"{split}.json", names)
    write_sheet(folder / "annotations" / "late.json", ("d.jpg",), crowds=2)
    other = [{"id": 1, "name": "bar"}, {"id": 3, "name": "rod"}]
    write_sheet(folder / "annotations" / "test.json", ("d.jpg",), categories=other)


def write_sheet(path: Path, names: tuple[str, ...], crowds: int = 0, **other: object) -> None:
    """Write an annotation file: one object in each image of 100 x 80, and crowds in the first."""
    images = [{"id": i, "file_name": n, "width": 100, "height": 80} for i, n in enumerate(names)]
    objects = [
        {
            "id": i,
            "image_id": i % len(names),
            "category_id": 3,
            "bbox": [10, 20, 30.5, 40],
            "iscrowd": int(i >= len(names)),
        }
        for i in range(len(names) + crowds)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**CELLS, "images": images, "annotations": objects, **other}))


def write_checkpoint(path: Path, head: Head) -> None:
    """Write a `.pt` file that names its head like PyTorch's pickle; the same bytes every time."""
    facts: dict[str, object] = {"names": dict(enumerate(head.classes))}
    if head.keypoints:
        facts = {"kpt_shape": [head.keypoints, 3], **facts}
    if head.levels:
        facts = {"nl": head.levels, **facts}
    if head.architecture:
        facts = {"yaml_file": f"{head.architecture}.yaml", **facts}
    protocol, body = b"\x80\x02", pickle.dumps(facts, protocol=2)[2:-1]
    name = f"cultralytics.nn.modules.head\n{head.kind}\n".encode()
    member = zipfile.ZipInfo("archive/data.pkl", date_time=(2020, 1, 1, 0, 0, 0))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, protocol + name + body + b".")


def write_yolox(path: Path, architecture: str, classes: tuple[str, ...]) -> None:
    """Write a YOLOX checkpoint without tensors, in the form of our trainings; the same bytes every
    time.
    """
    stem = "backbone.backbone.stem.conv.conv.weight"
    about = {"architecture": architecture, "classes": list(classes)}
    member = zipfile.ZipInfo("archive/data.pkl", date_time=(2020, 1, 1, 0, 0, 0))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, pickle.dumps({"model": {stem: 0}, "buildsys": about}, protocol=2))


def write_recipe(workspace: Path, name: str, text: str) -> Path:
    """Write a recipe into a workspace; `name` is the file's stem and its first line."""
    path = workspace / "recipes" / f"{name}.yaml"
    path.write_text(f"name: {name}\n{text}", encoding="utf-8")
    return path


def write_target(workspace: Path, name: str, text: str) -> Path:
    """Write a target into a workspace."""
    path = workspace / "targets" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"name: {name}\n{text}", encoding="utf-8")
    return path


def plan_all(workspace: Path) -> Plans:
    """Read and plan everything in the workspace."""
    return make_plans(Workspace(workspace))


def plan_good(workspace: Path) -> dict[str, BuildPlan]:
    """Plans by build of a correct workspace, without waiting builds and selections."""
    plans = plan_all(workspace)
    assert not plans.errors, "\n".join(error.render() for error in plans.errors)
    return {plan.build: plan for plan in build_plans(plans.plans)}


def expecting(cases: Mapping[str, object], bugs: Mapping[str, str]) -> "list[ParameterSet]":
    """One named parameter set per case; a case with a known bug is expected to fail."""
    marks = {name: [pytest.mark.xfail(strict=True, reason=why)] for name, why in bugs.items()}
    assert marks.keys() <= cases.keys(), "a bug of no case"
    return [pytest.param(case, id=name, marks=marks.get(name, [])) for name, case in cases.items()]


def by_stage(plan: Plan) -> dict[str, Step]:
    """Steps by stage; stages in a plan are unique."""
    stages = {step.stage: step for step in steps_of(plan)}
    assert len(stages) == len(steps_of(plan))
    return stages
