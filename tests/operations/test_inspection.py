"""`buildsys check --data`: the findings that need no tools."""

import re
from pathlib import Path, PurePosixPath

import pytest

from buildsys.cli import main
from buildsys.errors import InputError
from buildsys.execution.places import Workspace
from buildsys.operations.gated_classes import find_rejecting
from buildsys.operations.inspect_data import (
    Dataset,
    Inspection,
    choose,
    describe_shares,
    find_datasets,
    name_datasets,
)
from buildsys.steps.lib.datasets import readers
from buildsys.steps.lib.datasets.labels import Layout, Object, label_file, parse
from buildsys.steps.lib.datasets.placed_objects import place
from buildsys.steps.lib.datasets.ultralytics_layout import Split

POSE = Layout(classes=("tag",), keypoints=2, dims=3)


def messages(line: str, layout: Layout) -> list[str]:
    """The findings about one label line, in an image of 100 x 50."""
    rows, findings = parse(line, "labels/a.txt", layout)
    said = list(findings)
    for number, item in rows:
        said += place(item, (100, 50), "labels/a.txt", number, layout)[1]
    return [finding.message for finding in said]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 .5 .5 .2 .2 .5 .5 2 .4 .4 1", []),
        ("0 .5 .5 .2 .2 .5 .5 2 0 0 0", []),
        ("0 .5 .5 1.004 1 .5 .5 2 .4 .4 1", []),
        ("0 .5 .5 .2 .2", ["5 numbers; class, box and keypoints are 11"]),
        ("-1 .5 .5 .2 .2 .5 .5 2 .4 .4 1", ["class -1; `names` has 0 alone"]),
        ("0.5 .5 .5 .2 .2 .5 .5 2 .4 .4 1", ["class 0.5; `names` has 0 alone"]),
        ("0 inf .5 .2 .2 .5 .5 2 .4 .4 1", ["'inf' is not a number"]),
        ("0 .5 .5 .2 .2 1.008 .5 2 .4 .4 1", []),
        (
            "0 .5 .5 .2 .2 1.2 .5 2 .4 .4 1",
            ["keypoint 0 of this tag is outside the image: 1.2, 0.5"],
        ),
        ("0 .5 .5 .2 .2 .5 .5 2 9 9 0", []),
        ("0 .5 .5 .2 .2 .5 .5 3 .4 .4 1", ["visibility 3; 0, 1 and 2 have a meaning"]),
        (
            "0 .5 .5 .005 .2 .5 .5 2 .4 .4 1",
            ["the box of this tag is 0.50 x 10.00 px: less than a pixel"],
        ),
        (
            "0 0 .5 .2 .2 .5 .5 2 .4 .4 1",
            [
                "the box of this tag reaches 0.100 of the width (10.0 px) beyond the left edge; it is clipped"
            ],
        ),
    ],
)
def test_a_label_line_gives_a_finding(line: str, expected: list[str]) -> None:
    """An invalid label line gives a finding; differences up to a pixel are rounding."""
    assert messages(line, POSE) == expected


OUTLINE = Layout(classes=("bar", "egg"), keypoints=0, dims=0, shape="outline")
CORNERS = Layout(classes=("bar", "egg"), keypoints=0, dims=0, shape="corners")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1 .1 .1 .5 .1 .5 .5", []),
        ("1 .1 .1 .5 .1 .5 .5 .3 .7 .1 .5", []),
        (
            "1 .1 .1 .5 .1 .5",
            ["6 numbers; class and outline are 1 and two for each of 3 points or more"],
        ),
        (
            "1 .5 .5 .2 .2",
            ["5 numbers; class and outline are 1 and two for each of 3 points or more"],
        ),
        ("2 .1 .1 .5 .1 .5 .5", ["class 2; `names` has 0 to 1"]),
        (
            "0 .5 .1 1.2 .1 .5 .5",
            [
                "the outline of this bar reaches 0.200 of the width (20.0 px) beyond the right edge; it is clipped"
            ],
        ),
        (
            "0 .1 .1 .5 .1 .3 .1",
            ["the outline of this bar has no extent: 40 x 0 px; it is left out"],
        ),
    ],
)
def test_an_outline_gives_a_finding(line: str, expected: list[str]) -> None:
    """An invalid outline, such as a box among outlines, gives a finding."""
    assert messages(line, OUTLINE) == expected


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("0 .5 .5 .2 .2", "an upright box, it seems; obb wants four corners"),
        (
            "0 .5 .5 .2 .2 .7",
            "a box and an angle, it seems; obb wants four corners: x1 y1 x2 y2 x3 y3 x4 y4",
        ),
        (
            "0 .1 .1 .5 .1 .5 .5 .3 .7 .1 .5",
            "an outline, it seems; obb wants the four corners of a turned box",
        ),
    ],
)
def test_labels_of_another_task_are_recognised(line: str, hint: str) -> None:
    """The number of values suggests the task or the tool that wrote the labels."""
    _, (finding,) = parse(line, "a.txt", CORNERS)
    assert finding.message.endswith("numbers; class and four corners are 9")
    assert finding.hint == hint


def test_a_turned_box_has_the_box_around_it() -> None:
    """For an oriented box, size and overlap with the edge use its bounding box."""
    ((_, item),), findings = parse("1 .5 .2 .8 .5 .5 .8 .2 .5", "a.txt", CORNERS)
    assert not findings
    assert item.box == pytest.approx((0.5, 0.5, 0.6, 0.6))
    assert len(item.outline) == 4


def test_a_broken_line_hides_no_other() -> None:
    """The valid lines of a file with an invalid line are counted."""
    text = "x\n\n0 .5 .5 .2 .2\n0 .1 .1 .1\n0 .3 .3 .2 .2\n"
    rows, findings = parse(text, "a.txt", Layout(classes=("tag",), keypoints=0, dims=0))
    assert [(line, item.box[0]) for line, item in rows] == [(3, 0.5), (5, 0.3)]
    assert [(f.line, f.severity) for f in findings] == [(1, "error"), (4, "error")]
    assert isinstance(rows[0][1], Object)


def test_labels_are_beside_images() -> None:
    """The last folder named images is replaced by labels, as in evaluation."""
    assert label_file(PurePosixPath("images/train/a.b.jpg")) == PurePosixPath(
        "labels/train/a.b.txt"
    )
    assert label_file(PurePosixPath("images/x/images/a.png")) == PurePosixPath(
        "images/x/labels/a.txt"
    )
    assert label_file(PurePosixPath("a.png")) == PurePosixPath("a.txt")


def test_datasets_are_called_by_their_folders() -> None:
    """Datasets are named by their folder, or by their path if two folders have the same name."""
    labels = {
        "1": "data/cells/data.yaml",
        "2": "a/tags/data.yaml",
        "3": "b/tags/data.yaml",
        "4": "fiducials-tags",
        "5": "data.yaml",
        "6": "../far off/data.yaml",
    }
    assert name_datasets(labels) == {
        "1": "cells",
        "2": "a-tags-data",
        "3": "b-tags-data",
        "4": "fiducials-tags",
        "5": "data.yaml",
        "6": "far-off",
    }


def test_targets_share_one_look(workspace: Path) -> None:
    """Targets with the same data share one inspection, at each of their input sizes."""
    recipe = workspace / "recipes" / "tags.yaml"
    text = recipe.read_text().replace("name: tags", "name: wide").replace("size: 64", "size: 96")
    (workspace / "recipes" / "wide.yaml").write_text(text)
    datasets, builds = find_datasets(Workspace(workspace))
    (dataset,) = datasets
    assert dataset.name == "tags"
    assert len(dataset.builds) == len(builds) == 4
    assert '"frames":[[64,64],[96,96]]' in dataset.plan.steps[-1].params
    for asked in ([], ["wide"], ["tags@xiao-esp32s3"], ["*@grove*"], ["build:wide@*"]):
        assert choose(asked, datasets, builds)[0] == (dataset,)
    with pytest.raises(InputError, match="did you mean `wide`"):
        choose(["wade"], datasets, builds)
    with pytest.raises(InputError) as error:
        choose(["nope"], datasets, builds)
    assert str(error.value).count("tags@xiao-esp32s3") == 1
    for name in ("wade@host", "wade", "wad*"):  # `check` reports its mistakes
        assert choose([name], datasets, builds, ["wade"]) == ((), ())


def find_mine(workspace: Path, declared: str, key: str, blocks: str) -> Dataset:
    """The dataset of a recipe: its data.yaml, a key of the `dataset` block, and further blocks."""
    data = workspace / "data" / "mine"
    for folder in ("images", "labels"):
        (data / folder).mkdir(parents=True)
    (data / "images" / "a.jpg").touch()
    (data / "labels" / "a.txt").write_text("0 .5 .5 .1 .1\n")
    (data / "data.yaml").write_text(declared)
    (workspace / "recipes" / "mine.yaml").write_text(
        "name: mine\n"
        "source: {family: ultralytics, task: detect, architecture: yolov8n, weights: random}\n"
        f"dataset: {{path: data/mine/data.yaml, {key}}}\n"
        f"input: {{size: 64}}\ntrain: {{epochs: 1}}\ntargets: [host]\n{blocks}"
    )
    datasets, builds = find_datasets(Workspace(workspace))
    ((dataset,), _) = choose(["mine"], datasets, builds)
    return dataset


def test_the_images_of_each_split_are_stated(workspace: Path) -> None:
    """With `split`, a line says how many of the different images each split gets."""
    dataset = find_mine(workspace, "train: images\nnames: [tag]\n", "split: {val: 0.2}", "")
    look = Inspection(classes=("tag",), different=30, objects={}, findings=(), sheet=(), table="")
    assert describe_shares(dataset, look) == [
        "`split` divides the 30 different images: 24 train, 6 val"
    ]


def test_a_gate_on_a_class_without_objects_is_a_warning(workspace: Path) -> None:
    """The inspection finds before the training that no build can pass a gate."""
    gates = "evaluate: {gates: {box.mAP50-95: {min: 0.1}, box.mAP50-95.cone: {min: 0.1}}}\n"
    dataset = find_mine(workspace, "train: images\nval: images\nnames: [tag, cone]\n", "", gates)
    (found,) = find_rejecting(dataset.gated, {"val": {"tag": 3, "cone": 0}})
    assert (found.path, found.severity) == ("mine", "warning")
    assert found.message == (
        "gate `box.mAP50-95.cone`: the val split has no objects of cone: the build will be rejected"
    )
    for counts in ({"tag": 3, "cone": 1}, {"tag": 0, "cone": 0}):  # without any: another mistake
        assert not list(find_rejecting(dataset.gated, {"val": counts}))


def test_a_misspelt_target_is_an_error(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A build that a correct recipe does not have is an error: nothing would be checked."""
    assert main(["-C", str(workspace), "check", "--data", "tags@xaio-esp32s3"]) == 2
    error = capsys.readouterr().err
    assert "tags@xaio-esp32s3: error: matches no build and no recipe" in error
    assert "did you mean `tags@xiao-esp32s3`?" in error


def test_calibration_images_are_looked_at(workspace: Path) -> None:
    """Calibration images are inspected, too, once for all recipes with the same pattern."""
    recipe = workspace / "recipes" / "tags.yaml"
    (workspace / "cam").mkdir()
    for name in ("a.jpg", "b.JPG", "page.html"):
        (workspace / "cam" / name).touch()
    calibration = '{images: "cam/*", count: 2}'
    text = re.sub("calibration: {[^}]*}", f"calibration: {calibration}", recipe.read_text())
    assert calibration in text
    recipe.write_text(text)
    datasets, builds = find_datasets(Workspace(workspace))
    assert [each.name for each in datasets] == ["tags", "calibration-cam"]
    assert (datasets[1].place, datasets[1].builds) == ("cam", tuple(builds))
    assert '"format":"images"' in datasets[1].plan.steps[-1].params
    split = Split(name="cam/*", paths=(".",))
    layout = Layout(classes=(), keypoints=0, dims=0, shape="folder")
    reading = readers.read(workspace / "cam", "images", (split,), layout)
    assert [sample.image for sample in reading.samples] == ["a.jpg", "b.JPG"]
    assert reading.findings == ()


def test_names_go_with_data(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Recipe names need `--data`; `check` by itself checks every recipe."""
    assert main(["-C", str(workspace), "check", "tags"]) == 2
    assert "add --data" in capsys.readouterr().err


def test_a_recipe_is_named_whatever_its_matrix_makes(workspace: Path) -> None:
    """A recipe with a matrix is selected by the name in its file, too."""
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text() + "matrix: {input.size: [64, 96]}\n")
    datasets, builds = find_datasets(Workspace(workspace))
    assert "tags-96@xiao-esp32s3" in builds
    for asked in (["tags"], ["tags-96"], ["tags-64@xiao-esp32s3"]):
        assert choose(asked, datasets, builds)[0] == datasets
