"""Annotation files in COCO format: mistakes with their ids, the facts, and when files are read."""

import json
import os
import shutil
from pathlib import Path

import pytest

from buildsys import cli
from buildsys.authoring.datasets.blocks import Dataset
from buildsys.authoring.datasets.coco_contents import read_contents
from buildsys.authoring.datasets.coco_guess import choose_sheet
from buildsys.execution.places import Workspace
from buildsys.execution.session.loading import load_plans
from buildsys.graph import WaitingPlan
from tests.authoring.golden import HERE, compare
from tests.authoring.sample_workspace import (
    by_stage,
    plan_all,
    plan_good,
    write_recipe,
    write_sheet,
)

RECIPE = """\
source: {family: ultralytics, task: detect, architecture: yolov8n, weights: random}
dataset:
  format: coco
  splits:
    train: {annotations: data/cells/annotations/train.json, images: data/cells/images/train}
    val: {annotations: data/cells/annotations/val.json, images: data/cells/images/val}
input: {size: 96}
train: {epochs: 1}
targets: [{target: host, quantization: {scheme: int8, calibration: {split: train, count: 8}}}]
"""
ALONE = RECIPE.replace(RECIPE.splitlines(keepends=True)[5], "").replace(
    "train: {epochs", "evaluate: none\ntrain: {epochs"
)
CASES = sorted((HERE / "broken_coco").glob("*.json"))


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_mistake_in_annotations_is_reported_once(
    case: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each mistake is reported once, with the id of its entry."""
    write_recipe(workspace, "cells", ALONE)
    shutil.copyfile(case, workspace / "data" / "cells" / "annotations" / "train.json")
    code = cli.main(["-C", str(workspace), "check"])
    printed = capsys.readouterr()
    assert (code, printed.err) == (2, "")
    compare(printed.out, case, ())
    assert printed.out.endswith("\n1 mistake\n")


@pytest.mark.parametrize(
    ("sheets", "name"),
    [
        ([("d/shop/train.json", "d/shop/images")], "d/shop (train.json, images)"),
        (
            [("d/train.json", "d/images"), ("d/val.json", "d/images")],
            "d (train.json, val.json, images)",
        ),
        ([("a/train.json", "b")], "a/train.json, b"),
        ([("/srv/train.json", "b/images")], "/srv/train.json, b/images"),
    ],
)
def test_a_dataset_is_named_by_its_folder(sheets: list[tuple[str, str]], name: str) -> None:
    """Messages name the common folder once, with the files and folders in it."""
    given = dict(zip(("train", "val"), sheets, strict=False))
    splits = {split: {"annotations": a, "images": i} for split, (a, i) in given.items()}
    assert Dataset.model_validate({"format": "coco", "splits": splits}).name == name


def test_the_source_of_a_plan_has_the_name_for_messages(workspace: Path) -> None:
    """Reasons and warnings name the dataset's folder, the lock its annotation files."""
    write_recipe(workspace, "cells", ALONE)
    (given,) = by_stage(plan_good(workspace)["cells@host"])["prepare"].inputs
    assert given.source is not None
    assert given.source.name == "data/cells (annotations/train.json, images/train)"
    files = "data/cells/annotations/train.json data/cells/images/train"
    assert given.source.label == f"train {files}"


def test_no_message_without_a_mistake() -> None:
    """Every golden file belongs to a case."""
    texts = {path.stem for path in (HERE / "broken_coco").glob("*.txt")}
    assert texts == {case.stem for case in CASES}


def test_many_mistakes_are_reported_at_once(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Many mistakes are reported in one run, in a message of limited length."""
    write_recipe(workspace, "cells", RECIPE)
    box = {"image_id": 0, "category_id": 3, "bbox": [90, 10, 200, 10]}
    boxes = [{"id": number} | box for number in range(40)]
    path = workspace / "data" / "cells" / "annotations" / "train.json"
    write_sheet(path, ("a.jpg", "b/c.png"), annotations=boxes)
    assert cli.main(["-C", str(workspace), "check"]) == 2
    lines = [line for line in capsys.readouterr().out.splitlines() if ": error: " in line]
    assert len(lines) == 21
    assert (
        "annotation 7: the box of this egg reaches 1.900 of the width (190.0 px) beyond the right"
        in "\n".join(lines)
    )
    assert lines[-1].endswith("error: … and 20 more mistakes")


def test_both_splits_are_looked_at(workspace: Path) -> None:
    """Mistakes of both splits are reported in one run."""
    write_recipe(workspace, "cells", RECIPE)
    for split in ("train", "val"):
        (workspace / "data" / "cells" / "annotations" / f"{split}.json").write_text("{")
    assert {error.path for error in plan_all(workspace).errors} == {
        f"data/cells/annotations/{split}.json" for split in ("train", "val")
    }


def test_classes_are_categories_by_ascending_id(workspace: Path) -> None:
    """Classes are the categories by ascending id."""
    write_recipe(workspace, "cells", RECIPE)
    stages = by_stage(plan_good(workspace)["cells@host"])
    assert '"classes":["bar","egg"]' in stages["evaluate-onnx"].params
    assert '"paths":["images/val"]' in stages["evaluate-onnx"].params
    assert '"paths":["images/train","annotations/train.json"]' in stages["prepare"].params
    source = stages["prepare"].inputs[0].source
    assert source is not None
    assert source.parts == (
        "annotations/train.json",
        "images/train",
        "annotations/val.json",
        "images/val",
    )


def test_a_generated_set_goes_both_ways(workspace: Path) -> None:
    """`format` of a generated dataset is not a setting of the generator, and both formats work."""
    block = RECIPE[RECIPE.index("dataset:") : RECIPE.index("input:")]
    generated = "dataset: {generator: shapes, format: coco, train: 8, val: 4}\n"
    write_recipe(workspace, "cells", RECIPE.replace(block, generated))
    stages = by_stage(plan_good(workspace)["cells@host"])
    order = [stage for stage in stages if stage in ("dataset", "write-coco", "prepare", "train")]
    assert order == ["dataset", "write-coco", "prepare", "train"]
    assert '"format"' not in stages["dataset"].params
    assert stages["train"].inputs[0].step == stages["prepare"].id


def test_a_family_of_coco_trains_on_coco(workspace: Path) -> None:
    """YOLOX trains on COCO's format, converted from any format; all other steps read the prepared
    layout.
    """
    recipe = RECIPE.replace("ultralytics", "yolox").replace("yolov8n", "yolox-nano")
    block = recipe[recipe.index("dataset:") : recipe.index("input:")]
    plain = "dataset: {path: data/boxes/data.yaml}\n"
    write_recipe(workspace, "cells", recipe)
    write_recipe(workspace, "boxes", recipe.replace(block, plain))
    for build in ("cells@host", "boxes@host"):
        stages = by_stage(plan_good(workspace)[build])
        assert stages["train"].inputs[0].step == stages["dataset-coco"].id
        assert stages["evaluate-onnx"].inputs[1].step != stages["dataset-coco"].id
    assert '"classes":["box","lid"]' in stages["dataset-coco"].params


def test_named_data_in_coco_format(workspace: Path, tmp_path: Path) -> None:
    """Data elsewhere on the machine has a name in buildsys.yaml, as in other formats."""
    (workspace / "data" / "cells").rename(tmp_path / "elsewhere")
    block = RECIPE[RECIPE.index("dataset:") : RECIPE.index("input:")]
    said = "".join(f"  {line}\n" for line in block.splitlines()[1:])
    said = said.replace("data/cells", str(tmp_path / "elsewhere"))
    (workspace / "buildsys.yaml").write_text(f"datasets:\n  cells:\n{said}")
    write_recipe(workspace, "cells", RECIPE.replace(block, "dataset: cells\n"))
    assert "prepare" in by_stage(plan_good(workspace)["cells@host"])


def test_facts_are_kept_for_machines_without_the_data(workspace: Path) -> None:
    """buildsys.lock holds the classes, so that a machine with the store needs no images."""
    from buildsys.lockfile import Lock, content_line, write_lock
    from buildsys.recorded_facts import RecordedDataset

    write_recipe(workspace, "cells", RECIPE)
    plan = plan_good(workspace)["cells@host"]
    (fact,) = plan.facts
    assert isinstance(fact.facts, RecordedDataset)
    assert fact.facts.names == ("bar", "egg")
    lines = (content_line(fact.key, "0" * 64, fact.facts),)
    write_lock(workspace / "buildsys.lock", Lock(lines=lines))
    shutil.rmtree(workspace / "data" / "cells")
    assert plan_good(workspace)["cells@host"] == plan
    recipe = RECIPE.replace("train.json", "other.json")
    write_recipe(workspace, "cells", recipe)
    assert plan_all(workspace).errors, "what the lock knows is of other files"


def test_annotations_are_parsed_when_they_changed(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Annotation files are parsed only after a change, and once for all builds."""
    import time

    from buildsys.steps.lib.datasets.formats import coco_file, coco_splits

    parsed: list[str] = []

    def parse(data: bytes, label: str, shape: str, base_names: bool = False) -> object:
        parsed.append(label)
        return coco_file.parse(data, label, shape, base_names)

    monkeypatch.setattr(coco_splits, "parse", parse)
    write_recipe(workspace, "cells", RECIPE.replace("[{", "[checkpoint, {"))
    time.sleep(0.1)  # files written just now are read again
    assert not load_plans(Workspace(workspace)).errors
    assert len(parsed) == 2
    assert len(load_plans(Workspace(workspace)).plans) == 2
    assert len(parsed) == 2
    write_sheet(workspace / "data" / "cells" / "annotations" / "val.json", ("d.jpg", "d.jpg"))
    assert load_plans(Workspace(workspace)).errors
    assert len(parsed) == 4


@pytest.mark.parametrize("split", ["train", "val"])
def test_new_finds_images_and_the_other_splits(workspace: Path, split: str) -> None:
    """`new` writes a correct recipe from one annotation file."""
    (workspace / "data" / "cells" / "annotations" / "test.json").unlink()
    (workspace / "dodo.py").write_text("")
    given = f"data/cells/annotations/{split}.json"
    assert cli.main(["-C", str(workspace), "new", "mine", "--data", given]) == 0
    text = (workspace / "recipes" / "mine.yaml").read_text()
    for name in ("train", "val"):
        sheet = f"annotations: data/cells/annotations/{name}.json"
        assert f"{name}: {{{sheet}, images: data/cells/images/{name}}}" in text
    assert plan_good(workspace)["mine@host"].package


def test_new_splits_what_is_not_split(workspace: Path) -> None:
    """A single exported file is split; its images are next to it or in a folder `images`."""
    cells = workspace / "data" / "cells"
    (cells / "annotations" / "train.json").rename(cells / "result.json")
    shutil.rmtree(cells / "annotations")
    (cells / "images" / "train").rename(cells / "pictures")
    shutil.rmtree(cells / "images")
    (cells / "pictures").rename(cells / "images")
    words = ["-C", str(workspace), "new", "mine", "--data", "data/cells/result.json"]
    assert cli.main(words) == 0
    text = (workspace / "recipes" / "mine.yaml").read_text()
    assert "split: {val: 0.2, seed: 0}" in text
    assert (
        '"paths":["images/val"]'
        in by_stage(plan_good(workspace)["mine@host"])["evaluate-onnx"].params
    )


def test_new_says_what_it_cannot_find(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`new` reports missing images in one message."""
    shutil.rmtree(workspace / "data" / "cells" / "images")
    words = ["-C", str(workspace), "new", "mine", "--data"]
    assert cli.main([*words, "data/cells/annotations/train.json"]) == 2
    assert "its images were not found: no usual folder has a.jpg" in capsys.readouterr().err
    (workspace / "data" / "cells" / "annotations" / "train.json").write_text("{")
    assert cli.main([*words, "data/cells/annotations/train.json"]) == 2
    assert "not valid JSON" in capsys.readouterr().err
    assert cli.main([*words, "data/cells/annotations/none.json"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_backslashes_in_names_are_one_mistake(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`new` and `check` count names with backslashes, if equal base names are in several folders."""
    sheet = workspace / "data" / "cells" / "annotations" / "train.json"
    images = workspace / "data" / "cells" / "images" / "train"
    data = json.loads(sheet.read_text())
    first = data["images"][0]
    data["images"] = []
    for number in (1, 2, 3):
        folder = images / f"cam{number}"
        folder.mkdir()
        shutil.copy(images / first["file_name"], folder / "a.jpg")
        data["images"].append(first | {"id": number, "file_name": f"cam{number}\\a.jpg"})
    data["annotations"] = [data["annotations"][0] | {"image_id": 1}]
    sheet.write_text(json.dumps(data))
    help_ = r"in every `file_name`, replace `\`, which JSON writes as `\\`, by `/`"
    given = "data/cells/annotations/train.json"
    assert cli.main(["-C", str(workspace), "new", "mine", "--data", given]) == 2
    printed = capsys.readouterr().err
    assert "3 of 3 `file_name`s have a backslash in them, the first is cam1\\a.jpg" in printed
    assert help_ in printed
    write_recipe(workspace, "cells", ALONE)
    (error,) = plan_all(workspace).errors
    message = 'image 1: `file_name` "cam1\\a.jpg" has a backslash in it, as 2 others have'
    assert error.message == message
    assert error.hint.endswith(help_)


@pytest.mark.parametrize(
    ("given", "offered"),
    [
        ("data/cells", "data/cells/images/train"),
        ("data", "data/cells/images/train"),
        ("data/cells/images/train/day", "data/cells/images/train"),
    ],
)
def test_the_right_folder_of_images_is_offered(workspace: Path, given: str, offered: str) -> None:
    """A folder above or below the right one is a mistake of the recipe, at its line."""
    (workspace / "data" / "cells" / "images" / "train" / "day").mkdir()
    write_recipe(
        workspace, "cells", ALONE.replace("images: data/cells/images/train", "images: " + given)
    )
    (error,) = plan_all(workspace).errors
    assert (error.path, error.line) == ("recipes/cells.yaml", 6)
    assert error.message == (
        f"{given} is not the folder that `file_name`s of data/cells/annotations/train.json start at"
    )
    assert error.hint == f"write `images: {offered}`: every image is there"
    write_recipe(
        workspace, "cells", ALONE.replace("images: data/cells/images/train", "images: " + offered)
    )
    assert not plan_all(workspace).errors


LABEL_STUDIO = [
    "images/1/ab12-a.jpg",  # label-studio-converter to 0.0.44, issue 188: the project's id
    "images\\\\1/ab12-a.jpg",  # the same on Windows, issue 139
    "images\\\\ab12-a.jpg",  # Label Studio to 1.15 on Windows, issue 7294
    "..\\\\..\\\\label-studio\\\\media\\\\upload\\\\4\\\\ab12-a.jpg",  # 1.16 on Windows, issue 7294
    "/data/local-files/?d=day/ab12-a.jpg",  # local storage, issue 4903 of Label Studio
    "https://example.org/data/upload/1/ab12-a.jpg?token=b",  # exported without the images
]
"""Values of `file_name` that Label Studio writes for the image images/ab12-a.jpg."""


def bring_label_studio(workspace: Path, name: str) -> Path:
    """Write data/cells as exported by Label Studio: result.json and a folder of images."""
    cells = workspace / "data" / "cells"
    shutil.rmtree(cells)
    (cells / "images").mkdir(parents=True)
    (cells / "images" / "ab12-a.jpg").write_bytes(b"pixels")
    (cells / "images" / "cd34-b.jpg").write_bytes(b"pixels too")
    write_sheet(cells / "result.json", (name, name.replace("ab12-a", "cd34-b")))
    return cells / "result.json"


@pytest.mark.parametrize("name", [name.replace("\\\\", "\\") for name in LABEL_STUDIO])
def test_new_finds_images_by_their_base_names(workspace: Path, name: str) -> None:
    """The recipe has a line for it, and passes `check`."""
    path = bring_label_studio(workspace, name)
    words = ["-C", str(workspace), "new", "mine", "--data", "data/cells/result.json"]
    assert cli.main(words) == 0
    text = (workspace / "recipes" / "mine.yaml").read_text()
    assert "  match: base-name " in text
    stages = by_stage(plan_good(workspace)["mine@host"])
    assert '"format":"coco-base-name"' in stages["prepare"].params
    recipe = workspace / "recipes" / "mine.yaml"
    recipe.write_text(text.replace("  match: base-name ", "  # "))
    (error,) = plan_all(workspace).errors
    assert error.path == "data/cells/result.json"
    assert "2 of its 2 `file_name`s are not paths in data/cells/images" in error.message
    assert error.hint == "write `match: base-name` beside `format: coco`"
    (path.parent / "images" / "ab12-a.jpg").unlink()
    recipe.write_text(text)
    (error,) = plan_all(workspace).errors
    assert 'image 0: "ab12-a.jpg" is not in data/cells/images' in error.message


@pytest.mark.parametrize("name", ["a.jpg", "day/a.jpg", "./a.jpg"])
@pytest.mark.parametrize("folder", ["imgs", "pictures/all"])
def test_new_matches_base_names_only_where_paths_do_not_lead_there(
    workspace: Path, folder: str, name: str
) -> None:
    """Images in a folder of an unusual name need no `match`, if each `file_name` is a path in it."""
    cells = workspace / "data" / "cells"
    shutil.rmtree(cells)
    names = (name, name.replace("a.jpg", "b.jpg"))
    for each in names:
        (cells / folder / each).parent.mkdir(parents=True, exist_ok=True)
        (cells / folder / each).write_bytes(each.encode())
    write_sheet(cells / "annotations" / "instances_train.json", names)
    given = "data/cells/annotations/instances_train.json"
    assert cli.main(["-C", str(workspace), "new", "mine", "--data", given]) == 0
    text = (workspace / "recipes" / "mine.yaml").read_text()
    assert f"images: data/cells/{folder}}}" in text
    assert "match:" not in text
    assert '"format":"coco"' in by_stage(plan_good(workspace)["mine@host"])["prepare"].params


def test_a_base_name_of_two_images(workspace: Path) -> None:
    """A base name that two images have is an error, because its labels are ambiguous."""
    bring_label_studio(workspace, "images\\\\ab12-a.jpg".replace("\\\\", "\\"))
    cells = workspace / "data" / "cells"
    splits = "splits: {train: {annotations: data/cells/result.json, images: data/cells/images}}"
    start, end = ALONE.index("  splits:"), ALONE.index("input:")
    block = f"  {splits}\n  match: base-name\n"
    write_recipe(workspace, "mine", ALONE[:start] + block + ALONE[end:])
    assert not plan_all(workspace).errors
    (cells / "images" / "day").mkdir()
    shutil.copy(cells / "images" / "ab12-a.jpg", cells / "images" / "day")
    (error,) = plan_all(workspace).errors
    assert error.message == (
        'image 0: 2 files are called "ab12-a.jpg": "ab12-a.jpg" and "day/ab12-a.jpg"'
    )
    write_recipe(workspace, "mine", ALONE[:start] + f"  {splits}\n" + ALONE[end:])
    errors = plan_all(workspace).errors  # no suggestion that would not help
    assert "has a backslash in it" in errors[0].message


def test_an_archive_of_coco_data(workspace: Path, tmp_path: Path) -> None:
    """Paths are relative to the archive's root; after unpacking it is like other data."""
    digest = "5" * 64
    recipe = RECIPE.replace("data/cells/", "cells/").replace(
        "format: coco", f"format: coco\n  url: https://example.org/cells.zip\n  sha256: {digest}"
    )
    write_recipe(workspace, "cells", recipe)
    (waiting,) = plan_all(workspace).plans
    assert isinstance(waiting, WaitingPlan)
    assert waiting.waiting_for == "https://example.org/cells.zip"
    unpacked = tmp_path / "cache" / "buildsys" / "datasets" / digest
    shutil.copytree(workspace / "data", unpacked)
    stages = by_stage(plan_good(workspace)["cells@host"])
    assert '"paths":["images/train","annotations/train.json"]' in stages["prepare"].params
    write_recipe(workspace, "cells", recipe.replace("train.json", "none.json"))
    (error,) = plan_all(workspace).errors
    assert "there is no `none.json` in `cells/annotations`; did you mean" in error.hint


def bring_official(folder: Path) -> None:
    """Write the folders and annotation files that unpacking COCO's own archives results in."""
    points = ["nose", *(f"{side}_{number}" for number in range(8) for side in ("left", "right"))]
    person = {"id": 3, "name": "person", "keypoints": points}
    for split in ("train", "val"):
        image = f"{split}2017/00000000000{len(split)}.jpg"
        (folder / image).parent.mkdir(parents=True)
        (folder / image).write_bytes(split.encode())
        names, annotations = (Path(image).name,), folder / "annotations"
        write_sheet(annotations / f"instances_{split}2017.json", names)
        row = {"id": 0, "image_id": 0, "category_id": 3, "bbox": [10, 20, 30.5, 40]}
        keypoints = [row | {"keypoints": [12, 22, 2] * 17, "num_keypoints": 17}]
        sheet = annotations / f"person_keypoints_{split}2017.json"
        write_sheet(sheet, names, categories=[person], annotations=keypoints)
        captions = [{"image_id": 0, "id": number, "caption": "An egg."} for number in range(30)]
        sheet = annotations / f"captions_{split}2017.json"
        write_sheet(sheet, names, annotations=captions)
        content = json.loads(sheet.read_text())
        del content["categories"]
        sheet.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("given", "words", "kind"),
    [
        ("data/coco", (), "instances"),
        ("data/coco/annotations", (), "instances"),
        ("data/coco/annotations/person_keypoints_train2017.json", (), "person_keypoints"),
        ("data/coco", ("--from", "weights/person.pt"), "person_keypoints"),
    ],
)
def test_new_finds_the_file_for_the_task_in_the_folder_of_coco(
    workspace: Path, given: str, words: tuple[str, ...], kind: str
) -> None:
    """COCO's own folder also has captions, without boxes; keypoints are in files of their own."""
    bring_official(workspace / "data" / "coco")
    assert cli.main(["-C", str(workspace), "new", "mine", *words, "--data", given]) == 0
    text = (workspace / "recipes" / "mine.yaml").read_text()
    for split in ("train", "val"):
        sheet = f"data/coco/annotations/{kind}_{split}2017.json"
        assert f"{split}: {{annotations: {sheet}, images: data/coco/{split}2017}}" in text
    assert ("task: pose" in text) == (kind == "person_keypoints")
    assert plan_good(workspace)["mine@host"].package


def test_a_copy_of_the_folder_of_coco_also_has_its_keypoints(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The keypoints that the first recipe leaves out are there for a second one."""
    bring_official(tmp_path / "coco")
    words = ["-C", str(workspace), "new"]
    assert cli.main([*words, "boxes", "--copy", "--data", str(tmp_path / "coco")]) == 0
    keypoints = "data/coco/annotations/person_keypoints_train2017.json"
    assert f"left out  {keypoints}: for task pose, give it as --data\n" in capsys.readouterr().out
    assert not list((workspace / "data" / "coco" / "annotations").glob("captions*"))
    assert cli.main([*words, "points", "--data", keypoints]) == 0
    assert "left out" not in capsys.readouterr().out
    assert plan_good(workspace).keys() == {"boxes@host", "points@host"}
    given = str(tmp_path / "coco" / "annotations" / "person_keypoints_train2017.json")
    assert cli.main([*words, "again", "--copy", "--data", given]) == 2
    assert f"if it is the same data, give --data {keypoints}\n" in capsys.readouterr().err
    (workspace / keypoints).unlink()
    assert cli.main([*words, "again", "--copy", "--data", given]) == 2
    told = capsys.readouterr().err
    name = keypoints.removeprefix("data/coco/")
    assert f"error: data/coco exists without {name}: nothing was copied\n" in told
    assert f"help: copy what is missing there, and give --data {keypoints}; or rename" in told


def test_keypoints_that_start_from_boxes_use_the_instances(workspace: Path) -> None:
    """Without keypoints, a network for pose starts from boxes, not from masks or another set."""
    bring_official(workspace / "data" / "coco")
    annotations = workspace / "data" / "coco" / "annotations"
    for path in sorted(annotations.glob("person_keypoints_*")):
        path.unlink()
    shutil.copy(annotations / "instances_train2017.json", annotations / "boxes_train2017.json")
    masks = {"file_name": "a.png", "image_id": 0, "segments_info": []}
    write_sheet(annotations / "a_train2017.json", ("a.jpg",), annotations=[masks])
    names = [path.name for path in annotations.iterdir()]
    assert choose_sheet(annotations, names, "pose") == "instances_train2017.json"
    assert choose_sheet(annotations, names, "detect") == "instances_train2017.json"
    others = [name for name in names if not name.startswith("instances")]
    assert choose_sheet(annotations, others, "detect") == "boxes_train2017.json"


def test_keypoints_come_before_the_name_of_a_file(workspace: Path) -> None:
    """For pose, a file with keypoints is used, whatever its name; the split counts more."""
    bring_official(workspace / "data" / "coco")
    annotations = workspace / "data" / "coco" / "annotations"
    (annotations / "person_keypoints_train2017.json").rename(annotations / "hands_train.json")
    shutil.copy(annotations / "instances_train2017.json", annotations / "instances_train.json")
    names = [path.name for path in annotations.iterdir()]
    assert choose_sheet(annotations, names, "pose") == "hands_train.json"
    assert choose_sheet(annotations, names, "detect") == "instances_train.json"
    names.remove("hands_train.json")
    assert choose_sheet(annotations, names, "pose") == "instances_train.json"


def test_captions_are_answered_with_the_file_that_has_boxes(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An annotation file without boxes is one mistake, not one per annotation."""
    bring_official(workspace / "data" / "coco")
    given = "data/coco/annotations/captions_train2017.json"
    words = ["-C", str(workspace), "new", "mine", "--data", given]
    assert cli.main(words) == 2
    message = "error: has annotations without categories and boxes, such as captions"
    hint = "give data/coco/annotations/instances_train2017.json"
    assert capsys.readouterr().err == f"{given}: {message}\n    help: {hint}\n"
    for path in (workspace / "data" / "coco" / "annotations").iterdir():
        if not path.name.startswith("captions"):
            path.unlink()
    assert cli.main(words) == 2
    assert capsys.readouterr().err.endswith("help: give the annotation file that has boxes\n")


@pytest.mark.parametrize("name", ["captions.JSON", ".captions.json"])
def test_captions_alone_are_a_mistake(
    workspace: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without another annotation file, no name is suggested, whatever the name of this one."""
    (workspace / "data" / "eggs").mkdir()
    captions = {"annotations": [{"image_id": 0, "id": 0, "caption": "An egg."}]}
    (workspace / "data" / "eggs" / name).write_text(json.dumps(captions))
    assert cli.main(["-C", str(workspace), "new", "mine", "--data", f"data/eggs/{name}"]) == 2
    assert capsys.readouterr().err.endswith("help: give the annotation file that has boxes\n")


def test_a_file_name_in_capital_letters_is_suggested(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An annotation file is found by its ending, in small or capital letters."""
    bring_official(workspace / "data" / "coco")
    annotations = workspace / "data" / "coco" / "annotations"
    for path in sorted(annotations.iterdir()):
        path.rename(path.with_suffix(".JSON"))
    given = "data/coco/annotations/captions_train2017.JSON"
    assert cli.main(["-C", str(workspace), "new", "mine", "--data", given]) == 2
    hint = "give data/coco/annotations/instances_train2017.JSON"
    assert capsys.readouterr().err.endswith(f"help: {hint}\n")
    assert cli.main(["-C", str(workspace), "new", "mine", "--data", "data/coco"]) == 0
    text = (workspace / "recipes" / "mine.yaml").read_text()
    for split in ("train", "val"):
        assert f"annotations/instances_{split}2017.JSON" in text


@pytest.mark.parametrize(
    ("name", "content"),
    [("a_train", '{"version": 1}'), ("notes", "[1, 2]"), ("notes", "not JSON")],
)
def test_json_of_another_program_beside_annotations(
    workspace: Path, name: str, content: str
) -> None:
    """A JSON file without categories and boxes is not used, nor one that is not an object."""
    annotations = workspace / "data" / "cells" / "annotations"
    for other in ("test", "late", "val"):
        (annotations / f"{other}.json").unlink()
    sheet = (annotations / "train.json").rename(annotations / "result.json")
    (annotations / f"{name}.json").write_text(content)
    assert cli.main(["-C", str(workspace), "new", "mine", "--data", "data/cells"]) == 0
    assert f"annotations/{sheet.name}" in (workspace / "recipes" / "mine.yaml").read_text()


@pytest.mark.parametrize("content", ["[1, 2]", '{"images": [{"file_name": "a.j'])
@pytest.mark.parametrize("given", ["data/cells", "data/cells/annotations/val.json"])
def test_a_broken_file_of_train_is_a_mistake(
    workspace: Path, given: str, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No other file takes the place of a damaged one that is named after the split."""
    (workspace / "data" / "cells" / "annotations" / "train.json").write_text(content)
    assert cli.main(["-C", str(workspace), "new", "mine", "--data", given]) == 2
    assert capsys.readouterr().err.startswith("data/cells/annotations/train.json:")


POSE = ALONE.replace("task: detect", "task: pose").replace("yolov8n,", "yolov8n-pose,")


def write_points(path: Path, *categories: dict[str, object]) -> None:
    """Write an annotation file for pose with these categories; one object, of the last one."""
    count = len(categories[-1].get("keypoints", ()))  # type: ignore[arg-type]
    row = {"id": 0, "image_id": 0, "category_id": categories[-1]["id"], "bbox": [10, 20, 30, 40]}
    row["keypoints"] = [12, 22, 2] * count
    write_sheet(path, ("a.jpg",), categories=list(categories), annotations=[row])


@pytest.mark.parametrize(
    ("keypoints", "more", "warned"),
    [
        (["left_eye", "right_eye"], {}, False),
        (["port", "starboard"], {}, True),
        (["LEFT_EYE", "RIGHT_EYE"], {}, False),
        (["nose", "tail"], {}, True),
        (["left_eye", "right_ear"], {}, True),
        (["port", "starboard"], {"flip_idx": [1, 0]}, False),
        (["nose", "tail"], {"flip_idx": [0, 1]}, False),
        (["port", "starboard"], {"flip_idx": [1, 1]}, True),
    ],
)
def test_keypoints_without_a_mirrored_order_are_a_warning(
    workspace: Path, keypoints: list[str], more: dict[str, object], warned: bool
) -> None:
    """If neither names nor `flip_idx` show it, images are not mirrored, whatever `train.flip` is."""
    path = workspace / "data" / "cells" / "annotations" / "train.json"
    write_points(path, {"id": 3, "name": "head", "keypoints": keypoints, **more})
    write_recipe(workspace, "cells", POSE)
    found = plan_all(workspace)
    assert not found.errors
    warnings = [one for one in found.diagnostics if "mirror" in one.message]
    assert [one.path for one in warnings] == ["data/cells/annotations/train.json"] * warned
    for one in warnings:
        assert one.message.startswith("category 3: no names of `keypoints` are pairs of left and")
        assert one.hint.startswith('write `"flip_idx": […]` beside `keypoints`')
    write_recipe(workspace, "cells", ALONE)  # boxes are mirrored without it
    assert not [one for one in plan_all(workspace).diagnostics if "mirror" in one.message]


ROOT = {"id": 0, "name": "cells-abc", "supercategory": "none"}
EGG = {"id": 1, "name": "egg", "supercategory": "cells-abc"}
BAR = {"id": 2, "name": "bar", "supercategory": "cells-abc"}


def test_a_category_that_is_only_the_group_of_the_others_is_a_warning(workspace: Path) -> None:
    """Roboflow's first category is the project: a class without an object, and one too many."""
    path = workspace / "data" / "cells" / "annotations" / "train.json"
    write_points(path, ROOT, EGG, BAR)
    write_recipe(workspace, "cells", ALONE)
    found = plan_all(workspace)
    (warning,) = [one for one in found.diagnostics if "supercategory" in one.message]
    assert (found.errors, warning.severity) == ((), "warning")
    assert (warning.path, warning.line) == ("recipes/cells.yaml", 6)
    assert warning.message == (
        'category 0 "cells-abc" has no annotation: it is only the `supercategory` of the others, as in'
        " Roboflow's exports, but becomes a class of the network"
    )
    assert warning.hint == (
        'remove `{"id": 0, "name": "cells-abc", …}` from `categories` of every annotation file'
    )
    for categories in (
        (EGG, BAR),
        (ROOT | {"name": "other"}, EGG, BAR),  # not their group
        (EGG, BAR, ROOT | {"id": 3}),  # has the object
    ):
        write_points(path, *categories)
        assert not [one for one in plan_all(workspace).diagnostics if "supercat" in one.message]


def test_pose_names_the_category_without_keypoints_to_remove(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same category has no keypoints: the one mistake names the entry; without it, all is well."""
    path = workspace / "data" / "cells" / "annotations" / "train.json"
    egg = EGG | {"keypoints": ["left_eye", "right_eye"]}
    write_points(path, ROOT, egg)
    write_recipe(workspace, "cells", POSE)
    (error,) = plan_all(workspace).errors
    assert error.path == "data/cells/annotations/train.json"
    assert error.message == (
        'category 0 "cells-abc" has no annotation: it is only the `supercategory` of the others, as in'
        " Roboflow's exports, and has no `keypoints`"
    )
    assert error.hint.startswith('remove `{"id": 0, "name": "cells-abc", …}` from `categories`')
    words = ["-C", str(workspace), "new", "mine", "--data", "data/cells/annotations/train.json"]
    shutil.rmtree(workspace / "data" / "cells" / "images" / "val")
    (path.parent / "val.json").unlink()
    assert cli.main(words) == 2, "not a detector, whose keypoints would be lost"
    assert "and has no `keypoints`" in capsys.readouterr().err
    write_points(path, egg)
    assert not plan_all(workspace).errors
    write_points(path, {"id": 0, "name": "x"}, egg)  # another category without keypoints
    (error,) = plan_all(workspace).errors
    assert error.message.startswith("category 0: `keypoints` is missing")


def test_new_parses_an_annotation_file_once_before_it_is_read(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Annotation files may have hundreds of megabytes: the dataset is read twice, because `new` also
    checks its recipe.
    """
    bring_official(workspace / "data" / "coco")
    folder = workspace / "data" / "coco" / "annotations"
    names = {path.read_text(): path.name for path in folder.iterdir()}
    parsed: list[str] = []
    loads = json.loads

    def count(text: str) -> object:
        parsed.extend(filter(None, [names.get(text)]))
        return loads(text)

    monkeypatch.setattr(json, "loads", count)
    assert cli.main(["-C", str(workspace), "new", "mine", "--data", "data/coco"]) == 0
    assert sorted(parsed) == [f"instances_{s}2017.json" for s in ("train", "val") for _ in range(3)]


def test_annotations_that_are_replaced_are_read_again(tmp_path: Path) -> None:
    """Also by a file of the same size and modification time, as copies of backups have."""
    path = tmp_path / "a.json"
    for name in ("a.jpg", "b.jpg"):
        fresh = tmp_path / "fresh.json"
        fresh.write_text(json.dumps({"images": [{"file_name": name}]}))
        os.utime(fresh, (1, 1))
        fresh.rename(path)
        assert read_contents(path, "a.json").file_names == (name,)
