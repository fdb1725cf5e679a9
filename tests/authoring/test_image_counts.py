"""How many images a split has, before a step reads it."""

from pathlib import Path

import pytest

from buildsys.authoring.datasets.blocks import Split
from buildsys.authoring.datasets.class_folders import read_class_folders
from buildsys.authoring.datasets.image_counts import count_images
from buildsys.cli import main
from buildsys.steps import split_dataset
from buildsys.steps.lib.datasets import ultralytics_layout
from buildsys.steps.lib.datasets.split_shares import divide
from tests.authoring.sample_workspace import write_recipe

RECIPE = """\
source: {family: ultralytics, task: classify, architecture: yolov8n-cls, weights: random}
dataset: {path: data/many}
input: {size: 96}
train: {epochs: 1}
targets: [{target: host, quantization: {scheme: int8, calibration: {split: train, count: 4}}}]
"""


def write_images(root: Path, *names: str) -> None:
    """Files that planning never opens."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_a_divided_dataset_has_the_shares_of_the_step(tmp_path: Path) -> None:
    """Shares of a dataset are those that the step makes."""
    for count in range(4, 60):
        for test in (0.0, 0.01, 0.25):
            params = split_dataset.Params(
                split=ultralytics_layout.Split(name="train", paths=("train",)),
                description=None,
                val=0.2,
                test=test,
                seed=0,
            )
            sides = split_dataset._share(count, params)
            found = divide(count, 0.2, test)
            assert found == {name: sides.count(name) for name in ("train", "val", "test")}
    write_images(tmp_path, *(f"train/a/{number}.jpg" for number in range(10)))
    facts = read_class_folders(tmp_path, "many")
    found_train = count_images(facts, "train", 100, {}, (str(tmp_path), Split(val=0.2)))
    assert found_train is not None
    assert found_train.number == 8


def test_more_images_are_noticed(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The warning about a count above the number of images goes when there are enough."""
    data = workspace / "data" / "many"
    write_images(data, "train/a/deep/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/b/1.jpg")
    write_recipe(workspace, "many", RECIPE)
    place = "recipes/many.yaml:6:90: warning: `count` is 4, but split train has only 2 images"
    for command in ("check", "plan"):
        assert main(["-C", str(workspace), command]) == 0
        assert place in "".join(capsys.readouterr()), command
    write_images(data, "train/a/deep/2.jpg", "train/a/deep/3.jpg")
    assert main(["-C", str(workspace), "check"]) == 0
    assert "`count`" not in capsys.readouterr().out
