"""Whether calibration images are also evaluated; splitting folders of classes."""

import json
from pathlib import Path

import pytest

from buildsys.steps import check_overlap, split_dataset
from buildsys.steps.lib.datasets.formats import class_folder_format
from buildsys.steps.lib.datasets.labels import Layout
from buildsys.steps.lib.datasets.ultralytics_layout import Split, class_of
from buildsys.steps.lib.runtime.progress import StepError

VAL = Split(name="val", paths=("images/val",))


def make_data(root: Path, names: tuple[str, ...]) -> Path:
    """Write images whose bytes are their stems."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(Path(name).stem)
    return root


def look(tmp_path: Path, chosen: list[str], pictures: Path | None = None) -> dict[str, object]:
    """The evidence for a calibration with `chosen`."""
    data = make_data(
        tmp_path / "data", ("images/train/a.jpg", "images/val/b.jpg", "images/val/c.jpg")
    )
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "sources.json").write_text(json.dumps(chosen))
    inputs = {"dataset": data, "calibration": tmp_path / "prepared"}
    inputs |= {"pictures": pictures} if pictures else {}
    target = tmp_path / "evidence.json"
    check_overlap.run(inputs, {"evidence": target}, check_overlap.Params(split=VAL))
    found: dict[str, object] = json.loads(target.read_text())
    return found


def test_calibration_from_train_overlaps_nothing(tmp_path: Path) -> None:
    """Calibration images from train have no overlap, and the evidence says so."""
    found = look(tmp_path, ["images/train/a.jpg"])
    assert found["calibration_overlap"] == 0
    assert (found["calibration_pictures"], found["measured_pictures"]) == (1, 2)


def test_a_measured_image_among_the_calibration_is_counted(tmp_path: Path) -> None:
    """Evaluated images that were used for calibration are counted."""
    found = look(tmp_path, ["images/train/a.jpg", "images/val/c.jpg"])
    assert found["calibration_overlap"] == 1
    assert found["overlapping"] == ["images/val/c.jpg"]


def test_a_copy_under_another_name_is_the_same_image(tmp_path: Path) -> None:
    """A copy under another name or path is the same image."""
    elsewhere = make_data(tmp_path / "camera", ("2024/b.png", "2024/x.png"))
    found = look(tmp_path, ["2024/b.png", "2024/x.png"], elsewhere)
    assert found["overlapping"] == ["2024/b.png"]


def test_overlap_is_a_matter_of_bytes() -> None:
    """Overlap is determined by bytes, not names."""
    one, two, three = (check_overlap.Image(path=Path(name), digest=name) for name in "123")
    assert check_overlap.find_overlap({"a": one, "b": two}, {"c": two, "a": three}) == ("b",)


def test_folders_of_classes_stay_folders_of_classes(tmp_path: Path) -> None:
    """Splitting keeps folders of classes; each image is in one split."""
    names = tuple(f"train/{kind}/{kind}{n}.jpg" for kind in ("apple", "pear") for n in range(6))
    data = make_data(tmp_path / "data", names)
    split = Split(name="train", paths=("train",))
    params = split_dataset.Params(description=None, split=split, val=0.25, test=0.0, seed=0)
    split_dataset.run({"dataset": data}, {"dataset": tmp_path / "out"}, params)
    found = [p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.jpg")]
    assert sorted(name.split("/", 1)[1] for name in found) == sorted(n[6:] for n in names)
    assert sum(name.startswith("val/") for name in found) == 3
    assert not (tmp_path / "out" / "data.yaml").exists()


def test_an_image_belongs_to_its_folder(tmp_path: Path) -> None:
    """An image belongs to its class folder at any depth; outside a class it is reported."""
    split = Split(name="val", paths=("val",))
    classes = ("apple", "pear")
    assert class_of(tmp_path / "val" / "pear" / "x" / "1.jpg", tmp_path, split, classes) == 1
    for name, message in (
        ("val/1.jpg", r"not in the folder of a class: val/<class>/"),
        ("val/plum/1.jpg", r"plum is not a class"),
        ("other/pear/1.jpg", r"not in the folder of a class"),
    ):
        with pytest.raises(StepError, match=message):
            class_of(tmp_path / name, tmp_path, split, classes)
        layout = Layout(classes=classes, keypoints=0, dims=0, shape="folder")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    _, findings = class_folder_format.read_split(tmp_path, split, layout)
    assert [str(finding) for finding in findings] == [
        "val/1.jpg: is not in the folder of a class: val/<class>/",
        "val/plum/1.jpg: plum is not a class: train has no such folder",
    ]
