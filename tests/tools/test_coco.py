"""COCO datasets with the real steps: the prepared data, what runs again, findings in images."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from buildsys.execution.tools import environments
from tests.conftest import REPOSITORY
from tests.tools.places import bitmap, make_workspace, read, store_of, tool_environment

pytestmark = pytest.mark.tools

# `check --data` prepares the data without a training
RECIPE = """\
name: cells
source: {family: ultralytics, task: detect, architecture: yolov8n, weights: random}
dataset:
  format: coco
  splits:
    train: {annotations: cells/train.json, images: cells/images}
    val: {annotations: cells/val.json, images: cells/images}
input: {size: 64}
train: {epochs: 1}
targets: [host]
"""
GENERATED = """\
name: made
source: {family: ultralytics, task: TASK, architecture: yolov8n-ARCH, weights: random}
dataset: {generator: GENERATOR, FORMATtrain: 6, val: 3, size: 96}
input: {size: 96}
train: {epochs: 1}
targets: [host]
"""
NAMES = {"train": ("a.bmp", "b/a.bmp", "images/c.bmp"), "val": ("d/a.bmp",)}


def call(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of ours, with a store of the workspace's own."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "BUILDSYS_STORE": str(store_of(root)),
    }
    return subprocess.run(
        [sys.executable, "-m", "buildsys", *words],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def write_sheet(root: Path, split: str, boxes: list[list[float]], **first: Any) -> None:
    """Write an annotation file with all boxes in the split's first image; `first`: its fields."""
    images = [
        {"id": i, "file_name": name, "width": 32, "height": 32}
        for i, name in enumerate(NAMES[split])
    ]
    images[0] |= first
    objects = [
        {"id": i, "image_id": 0, "category_id": 9, "bbox": box} for i, box in enumerate(boxes)
    ]
    categories = [{"id": 9, "name": "egg"}, {"id": 2, "name": "bar"}]
    data = {"images": images, "annotations": objects, "categories": categories}
    (root / "cells" / f"{split}.json").write_text(json.dumps(data))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A workspace with four images in nested folders, two with the same name."""
    root = make_workspace(tmp_path / "place", cells=RECIPE)
    for index, name in enumerate((*NAMES["train"], *NAMES["val"])):
        path = root / "cells" / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bitmap(32, index))
    write_sheet(root, "train", [[4, 8, 16, 8]])
    write_sheet(root, "val", [[4, 8, 16, 8.5], [0, 0, 32.4, 32]])
    return root


def files(root: Path, step: str) -> dict[str, bytes]:
    """The files that the last run of a step made, from the store."""
    from buildsys.execution.places import Workspace
    from buildsys.execution.session.session import Session
    from buildsys.execution.state.plans import Plans
    from buildsys.execution.store.store import Store
    from buildsys.operations.inspect_data import find_datasets

    datasets, _ = find_datasets(Workspace(root))
    session = Session(root, plans=Plans.of(d.plan for d in datasets))
    try:
        found = next(s for d in datasets for s in d.plan.steps if s.module == step)
        result = session.state.result(found.id)
        assert result is not None
        store = Store(store_of(root))
        target = root / "fetched" / str(len(list(root.glob("fetched/*"))))
        store.fetch(dict(result.outputs)["dataset"], target, tree=True)
    finally:
        session.close()
    return {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()}


PREPARE = """\
import sys
from pathlib import Path
from buildsys.steps import prepare_dataset
from buildsys.steps.lib.datasets.ultralytics_layout import Split

splits = tuple(Split(name=n, paths=("images", f"{n}.json")) for n in ("train", "val"))
params = prepare_dataset.Params(format="coco", splits=splits, classes=("bar", "egg"), shape="box")
prepare_dataset.run({"dataset": Path(sys.argv[1])}, {"dataset": Path(sys.argv[2])}, params)
"""
"""The steps of the recipe's plan that prepare its data."""


def prepare(place: Path) -> dict[str, bytes]:
    """Prepare the data and return the files."""
    _, python = environments.ensure("evaluate", print)
    environment = {**tool_environment(python), "PYTHONPATH": str(REPOSITORY)}
    target = place / "prepared" / str(len(list(place.glob("prepared/*"))))
    target.mkdir(parents=True)
    words = [str(python), "-c", PREPARE, str(place / "cells"), str(target)]
    subprocess.run(words, check=True, env=environment)
    return {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()}


def ran(run: subprocess.CompletedProcess[str]) -> set[str]:
    """The steps that a command ran, from its output."""
    return {
        line.split("] ")[1].split(" ")[0] for line in run.stderr.splitlines() if "done in" in line
    }


def test_images_labels_and_classes_come_over(place: Path) -> None:
    """Prepared images keep bytes and folders; labels have exact boxes, or are empty."""
    run = call(place, "check", "--data")
    assert run.returncode == 0, run.stdout + run.stderr
    made = prepare(place)
    for index, name in enumerate(NAMES["train"]):
        assert made[f"images/train/{name.removeprefix('images/')}"] == bitmap(32, index)
    assert made["labels/train/a.txt"].split() == [b"1", b"0.375", b"0.375", b"0.5", b"0.25"]
    assert made["labels/train/b/a.txt"] == b""
    assert made["labels/train/c.txt"] == b"", "no second folder images: Ultralytics takes the last"
    assert made["labels/val/d/a.txt"].decode() == "1 0.375 0.3828125 0.5 0.265625\n1 0.5 0.5 1 1\n"
    assert made["data.yaml"].decode().splitlines() == [
        "train: images/train",
        "val: images/val",
        "names:",
        '  0: "bar"',
        '  1: "egg"',
    ]
    report = read(place / "build" / ".data" / "cells" / "report.json")
    assert [split["objects"] for split in report["splits"]] == [1, 2]
    assert report["splits"][0]["classes"] == {"bar": 0, "egg": 1}


def test_a_box_is_prepared_as_far_as_it_is_on_the_image(place: Path) -> None:
    """What exceeds the image is clipped, what is beside it is left out; both are warnings."""
    write_sheet(place, "train", [[24, 8, 16, 8], [40, 8, 16, 8], [4, 8, 0, 8]])
    assert prepare(place)["labels/train/a.txt"] == b"1 0.875 0.375 0.25 0.25\n"
    run = call(place, "check", "--data")
    assert run.returncode == 0, run.stdout + run.stderr
    for number, text in enumerate(
        (
            "reaches 0.250 of the width (8.0 px) beyond the right edge; it is clipped",
            "has nothing on the image; it is left out",
            "has no extent: 0 x 8 px; it is left out",
        )
    ):
        where = f"cells/images/a.bmp: warning: annotation {number}"
        assert f"{where}: the box of this egg {text}" in run.stdout


def test_an_edited_annotation_runs_what_rests_on_it(place: Path) -> None:
    """A moved box prepares the data again, once; a new file time does not."""
    assert ran(call(place, "check", "--data")) == {"inspect"}
    assert ran(call(place, "check", "--data")) == set()
    text = (place / "cells" / "train.json").read_text()
    (place / "cells" / "train.json").write_text(text)
    assert ran(call(place, "check", "--data")) == set()
    write_sheet(place, "train", [[5, 8, 16, 8]])
    assert ran(call(place, "check", "--data")) == {"inspect"}
    before = prepare(place)
    # a change without effect: the prepared data is the same, and no later step runs
    (place / "cells" / "train.json").write_text(
        (place / "cells" / "train.json").read_text().replace('{"images"', '{"info": {}, "images"')
    )
    assert prepare(place) == before


def test_what_only_an_image_tells_is_reported_at_once(place: Path) -> None:
    """A damaged image and a wrong size are reported with the user's file names before the training."""
    write_sheet(place, "train", [[4, 8, 16, 8]], width=48)
    (place / "cells" / "images" / "d" / "a.bmp").write_bytes(b"BM no picture")
    run = call(place, "check", "--data")
    assert run.returncode == 2
    assert "cells/images/a.bmp: error: is 32x32 px; train.json says 48x32" in run.stdout
    wanted = "cells/images/d/a.bmp: error: is truncated or damaged: it does not decode"
    assert wanted in run.stdout


@pytest.mark.parametrize(
    ("task", "suffix", "generator"),
    [("detect", "", "shapes"), ("segment", "-seg", "shapes"), ("pose", "-pose", "fiducials")],
)
def test_both_ways_give_the_data_that_went_in(
    tmp_path: Path, task: str, suffix: str, generator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ultralytics -> COCO -> Ultralytics keeps images and names, and labels to 1e-6 of a pixel."""
    text = GENERATED.replace("TASK", task).replace("-ARCH", suffix).replace("GENERATOR", generator)
    root = make_workspace(tmp_path / "place", made=text.replace("FORMAT", "format: coco, "))
    monkeypatch.setenv("BUILDSYS_STORE", str(store_of(root)))
    run = call(root, "check", "--data")
    assert run.returncode == 0, run.stdout + run.stderr
    before, after = files(root, f"generate_{generator}"), files(root, "prepare_dataset")
    assert before.keys() == after.keys()
    for name in before:
        if name.startswith("images/"):
            assert before[name] == after[name]
        elif name.startswith("labels/"):
            numbers = [float(word) for word in before[name].split()]
            assert [float(word) for word in after[name].split()] == pytest.approx(numbers, abs=1e-8)
    facts = before["data.yaml"].decode(), after["data.yaml"].decode().replace('"', "")
    assert facts[0] == facts[1]
    sheet = json.loads(files(root, "write_coco")["annotations/train.json"])
    assert [c["id"] for c in sheet["categories"]] == list(range(1, len(sheet["categories"]) + 1))
    assert sheet["images"][0] == {
        "id": 1,
        "file_name": next(
            iter(sorted(n for n in before if n.startswith("images/train")))
        ).removeprefix("images/"),
        "width": 96,
        "height": 96,
    }
