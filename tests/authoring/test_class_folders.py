"""Images in class folders: the facts that planning reads, and when it reads them again."""

from pathlib import Path
from unicodedata import normalize

import pytest

from buildsys.authoring.datasets.class_folders import find_root, read_class_folders
from buildsys.errors import InputError
from tests.authoring.sample_workspace import (
    Head,
    by_stage,
    plan_all,
    plan_good,
    write_checkpoint,
    write_recipe,
)

RECIPE = """\
source: {family: ultralytics, task: classify, architecture: yolov8n-cls, weights: random}
dataset: {path: data/fruit}
input: {size: 96}
train: {epochs: 1}
targets: [{target: host, quantization: {scheme: int8, calibration: {split: train, count: 8}}}]
"""


def test_folders_are_classes_in_the_order_of_their_names(workspace: Path) -> None:
    """Classes are sorted by folder name, like in the trainer."""
    facts = read_class_folders(workspace / "data" / "fruit", "data/fruit")
    assert facts.names == ("apple", "pear")
    assert facts.splits == (("train", ("train",)), ("val", ("val",)))


def test_valid_is_a_name_of_val(tmp_path: Path) -> None:
    """A folder `valid` is the val split, as in Ultralytics."""
    for place in ("train", "valid"):
        (tmp_path / place / "apple").mkdir(parents=True)
        (tmp_path / place / "apple" / "1.jpg").touch()
    assert dict(read_class_folders(tmp_path, "fruit").given)["val"] == ("valid",)


def test_folders_of_classes_without_train_are_divided(workspace: Path) -> None:
    """The classes are the folders themselves; with `split`, all images are shared out."""
    for name in ("broken part/1.jpg", "ok/1.jpg", "ok/deeper/2.jpg", ".hidden/3.jpg"):
        _touch(workspace / "data" / "parts" / name)
    write_recipe(workspace, "parts", RECIPE.replace("data/fruit}", "data/parts}"))
    assert "has no split `val`" in plan_all(workspace).errors[0].message
    divided = RECIPE.replace("data/fruit}", "data/parts, split: {val: 0.5}}")
    recipe = write_recipe(workspace, "parts", divided)
    stages = by_stage(plan_good(workspace)["parts@host"])
    assert '"classes":["broken part","ok"]' in stages["prepare"].params
    assert '"paths":["."]' in stages["prepare"].params
    assert '"paths":["val"]' in stages["evaluate-onnx"].params
    _touch(workspace / "data" / "parts" / "new" / "1.jpg")
    recipe.write_text(recipe.read_text())
    stages = by_stage(plan_good(workspace)["parts@host"])
    assert '"classes":["broken part","new","ok"]' in stages["prepare"].params


@pytest.mark.parametrize(
    "files",
    [
        ("one/1.jpg",),
        ("one/1.jpg", "two/1.jpg", "3.jpg"),
        ("one/1.jpg", "two/notes.txt"),
        ("one/train/a/1.jpg", "two/train/a/1.jpg"),
        ("val/a/1.jpg", "two/1.jpg"),
        ("images/1.jpg", "masks/1.jpg"),
        ("images_train/1.jpg", "images_val/1.jpg"),
        ("training_set/1.jpg", "test_set/1.jpg", "labels/1.txt"),
        ("JPEGImages/1.jpg", "Train2017/1.jpg"),
        ("apple/1.jpg", "pear/1.jpg"),
    ],
    ids=[
        *("one-class", "image-beside", "other-files", "datasets", "val-alone", "masks", "splits"),
        *("sets", "capitals", "train"),
    ],
)
def test_other_folders_without_train_are_a_mistake(tmp_path: Path, files: tuple[str, ...]) -> None:
    """Folders of datasets, of images and masks, or of splits are no folders of classes."""
    root = tmp_path / ("train" if files[0].startswith("apple") else "fruit")
    for name in files:
        _touch(root / name)
    with pytest.raises(InputError, match="has no folder train"):
        read_class_folders(root, "fruit")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("valid/1.jpg", "expired/1.jpg"), "fruit/valid: error: is named like a part of a dataset"),
        (("apple/1.jpg", "images/1.jpg"), "fruit/images: error: is named like a part of a dataset"),
        (("apple/1.jpg", "pear/.DS_Store"), "fruit/pear: error: is the folder of a class, but has"),
        (
            ("a/1.jpg", "b/1.jpg", "c/notes.txt"),
            "fruit/c: error: is the folder of a class, but has",
        ),
    ],
    ids=["split", "images", "empty", "notes"],
)
def test_a_folder_beside_classes_that_cannot_be_one_is_named(
    tmp_path: Path, files: tuple[str, ...], message: str
) -> None:
    """An empty folder beside classes, and one that is named like a split, are reported."""
    for name in files:
        _touch(tmp_path / "fruit" / name)
    with pytest.raises(InputError) as error:
        read_class_folders(tmp_path / "fruit", "fruit")
    assert error.value.diagnostics[0].render().startswith(message)


def test_names_with_other_words_are_classes(tmp_path: Path) -> None:
    """Words are compared whole: a mask is not masks."""
    for name in ("with_mask", "without_mask", "testament", "labelled"):
        _touch(tmp_path / name / "1.jpg")
    assert len(read_class_folders(tmp_path, "fruit").names) == 4


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_a_class_in_another_unicode_form_is_named_as_such(tmp_path: Path) -> None:
    """The names of both folders look alike in the message."""
    _touch(tmp_path / "train" / normalize("NFD", "thé") / "1.jpg")
    _touch(tmp_path / "val" / normalize("NFC", "thé") / "1.jpg")
    with pytest.raises(InputError) as error:
        read_class_folders(tmp_path, "fruit")
    assert "--nfc --notest fruit/train/*` renames it" in error.value.diagnostics[0].hint


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "\u202eelppa", " "])
def test_a_class_that_cannot_be_printed_is_refused(tmp_path: Path, name: str) -> None:
    """A class name with a newline or control character is an error."""
    (tmp_path / "train" / name).mkdir(parents=True)
    (tmp_path / "train" / name / "1.jpg").touch()
    with pytest.raises(InputError, match="its name cannot be printed on one line"):
        read_class_folders(tmp_path, "fruit")


def test_a_network_of_classes_is_planned_like_any_other(workspace: Path) -> None:
    """A classifier is trained and measured as checkpoint, ONNX and TFLite, on cropped images."""
    write_recipe(workspace, "fruit", RECIPE)
    stages = by_stage(plan_good(workspace)["fruit@host"])
    assert {"train", "evaluate-checkpoint", "evaluate-onnx", "evaluate-tflite"} <= set(stages)
    for stage in ("calibration", "evaluate-tflite", "export"):
        assert '"resize":"center-crop"' in stages[stage].params
    assert '"output_names":["logits"]' in stages["export"].params
    assert '"paths":["val"]' in stages["evaluate-tflite"].params


def test_a_class_more_is_seen(workspace: Path) -> None:
    """A new class folder changes the plan."""
    write_recipe(workspace, "fruit", RECIPE)
    before = plan_good(workspace)["fruit@host"].package
    plum = workspace / "data" / "fruit" / "train" / "plum"
    plum.mkdir()
    assert "but has no image" in plan_all(workspace).errors[0].message
    (plum / "1.jpg").write_bytes(b"never opened while planning")
    assert plan_good(workspace)["fruit@host"].package != before


def test_val_can_be_shared_out_of_train(workspace: Path) -> None:
    """`split` also works for class folders."""
    write_recipe(
        workspace, "fruit", RECIPE.replace("data/fruit}", "data/hollow, split: {val: 0.5}}")
    )
    (workspace / "data" / "hollow" / "train" / "plum" / "1.jpg").write_bytes(b"never opened")
    stages = by_stage(plan_good(workspace)["fruit@host"])
    assert '"description":null' in stages["split"].params
    assert '"paths":["val"]' in stages["evaluate-onnx"].params


def test_some_of_a_given_network_s_classes_are_enough(workspace: Path) -> None:
    """Two of a network's three classes are enough to measure it; an unknown class is an error."""
    digest = write_and_digest(workspace, ("apple", "lemon", "pear"))
    given = RECIPE.replace("weights: random", f"weights: {{path: weights/f.pt, sha256: {digest}}}")
    write_recipe(workspace, "fruit", given.replace("train: {epochs: 1}\n", ""))
    assert "evaluate-tflite" in by_stage(plan_good(workspace)["fruit@host"])
    digest = write_and_digest(workspace, ("apple", "lemon"))
    given = RECIPE.replace("weights: random", f"weights: {{path: weights/f.pt, sha256: {digest}}}")
    write_recipe(workspace, "fruit", given.replace("train: {epochs: 1}\n", ""))
    assert "evaluate-tflite" not in by_stage(plan_good(workspace)["fruit@host"])


def write_and_digest(workspace: Path, classes: tuple[str, ...]) -> str:
    """Write weights/f.pt, a classifier, and return its digest."""
    from buildsys.digest import digest_file

    write_checkpoint(workspace / "weights" / "f.pt", Head(kind="Classify", classes=classes))
    return digest_file(workspace / "weights" / "f.pt")


def test_an_archive_has_one_folder_with_train(tmp_path: Path) -> None:
    """A class named `train` is not mistaken for a dataset."""
    (tmp_path / "fruit" / "train" / "train").mkdir(parents=True)
    assert find_root(tmp_path) == tmp_path / "fruit"
    (tmp_path / "nuts" / "train").mkdir(parents=True)
    assert find_root(tmp_path) is None


def test_a_thousand_names_are_read(tmp_path: Path) -> None:
    """A thousand class names are read, although pickle writes dictionaries in batches of a
    thousand.
    """
    from buildsys.steps.lib.families.ultralytics_file import read_checkpoint

    names = tuple(f"class-{number}" for number in range(1203))
    write_checkpoint(tmp_path / "model.pt", Head(kind="Classify", classes=names))
    found = read_checkpoint(tmp_path / "model.pt")
    assert found is not None
    assert found.names == names
