"""`new --data` recognizes the data, or its message contains the line or file to write."""

import json
import shutil
from pathlib import Path

import pytest

from buildsys import cli
from buildsys.authoring.datasets.coco_guess import split_of
from buildsys.authoring.syntax.document import read_document
from tests.authoring.sample_workspace import Data as DataYaml
from tests.authoring.sample_workspace import (
    Head,
    by_stage,
    plan_all,
    plan_good,
    write_checkpoint,
    write_data,
    write_recipe,
    write_sheet,
)
from tests.brought_sets import bring, voc_text
from tests.given_models import Edge, onnx_bytes, picture


def draw(name: str, boxes: object) -> bytes:
    """Bytes instead of an image, because planning opens no image."""
    return f"{name} {boxes}".encode()


@pytest.fixture
def folder(workspace: Path) -> Path:
    """An empty folder of the workspace, data/d."""
    place = workspace / "data" / "d"
    place.mkdir()
    return place


def new(workspace: Path, *words: str) -> int:
    """`buildsys new mine …`."""
    return cli.main(["-C", str(workspace), "new", "mine", *words])


def recipe(workspace: Path) -> str:
    """The recipe that `new` wrote."""
    return (workspace / "recipes" / "mine.yaml").read_text()


def fill(folder: Path, files: dict[str, str]) -> None:
    """Write files by their paths."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_an_xml_file_beside_another_format_changes_nothing(workspace: Path, folder: Path) -> None:
    """An XML file that is not an annotation, or belongs to no image, does not change the recognized
    format.
    """
    bring("darknet", folder / "darknet", draw)
    bring("label-studio", folder / "coco", draw)
    fill(folder / "classes", {"train/cat/a.jpg": "", "train/dog/b.jpg": ""})
    for kind, files in (
        ("darknet", {"a.xml": "<project/>", "notes.xml": "<annotation/>"}),
        ("coco", {"settings.xml": "<annotation></annotation>"}),
        ("classes", {"train/cat/a.xml": "<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"}),
    ):
        fill(folder / kind, files)
        (workspace / "recipes" / "mine.yaml").unlink(missing_ok=True)
        assert new(workspace, "--data", f"data/d/{kind}") == 0
        block = read_document(workspace / "recipes" / "mine.yaml", "mine").get("dataset")
        assert isinstance(block, dict)
        assert block["format"] == {"classes": "ultralytics"}.get(kind, kind)
        plan_good(workspace)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_an_annotation_file_of_an_image_s_name_is_pascal_voc(
    workspace: Path, folder: Path, encoding: str
) -> None:
    """An annotation file with an image's name means Pascal VOC, even next to labelImg's
    classes.txt.
    """
    fill(folder, {"a.jpg": "", "classes.txt": "dog\n"})
    text = voc_text("a.jpg", (("egg", 0, 0, 32, 32),))
    (folder / "a.xml").write_text(f'<?xml version="1.0"?>\n{text}', encoding=encoding)
    assert new(workspace, "--data", "data/d") == 0
    assert "  format: voc\n" in recipe(workspace)
    assert "  classes: [egg] " in recipe(workspace)


ROW = "1 .5 .5 .2 .2\n"
UNNAMED = {
    "images and labels": (
        {"images/a.jpg": "", "labels/a.txt": ROW},
        "write data/d/data.yaml: `{train: images, names: [class_0, class_1]}`",
    ),
    "a folder a split": (
        {
            "train/images/a.jpg": "",
            "train/labels/a.txt": ROW,
            "valid/images/b.jpg": "",
            "valid/labels/b.txt": "",
        },
        "write data/d/data.yaml: `{train: train/images, val: valid/images, names: [class_0,",
    ),
    "splits below images": (
        {
            "images/train/x/a.jpg": "",
            "labels/train/x/a.txt": "0 .5 .5 .2 .2 .1 .1 2 .3 .3 2\n",
            "images/train/b.jpg": "",
            "labels/train/b.txt": "",
        },
        "`{train: images/train, names: [class_0]}`, with your own name; for keypoints"
        " `kpt_shape: [2, 3]`, too",
    ),
    "many classes": (
        {"images/a.jpg": "", "labels/a.txt": "79 .5 .5 .2 .2\n"},
        "`{train: images, names: […]}`, with your own 80 names",
    ),
    "beside": (
        {"a.jpg": "", "a.txt": ROW, "b.jpg": ""},
        "write data/d/classes.txt: 2 lines, the names of class 0 to 1",
    ),
}


@pytest.mark.parametrize("weights", [(), ("--from", "weights/boxes.pt")], ids=["alone", "weights"])
@pytest.mark.parametrize("case", UNNAMED)
def test_labels_without_class_names_are_not_passed_over(
    workspace: Path,
    folder: Path,
    case: str,
    weights: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Labels without class names are not ignored: the message contains the file to write."""
    files, told = UNNAMED[case]
    fill(folder, files)
    assert new(workspace, "--data", "data/d", *weights) == 2
    error = capsys.readouterr().err
    assert "names their classes" in error
    assert told in error
    assert not (workspace / "recipes" / "mine.yaml").exists()


def test_a_data_yaml_further_inside_is_named(
    workspace: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An archive unpacked with its outer folder: the file that names the classes is there."""
    inner = "My Export"
    fill(
        folder, {f"{inner}/{name}": text for name, text in UNNAMED["images and labels"][0].items()}
    )
    fill(folder, {f"{inner}/data.yaml": "train: images\nval: images\nnames: [box]\n"})
    assert new(workspace, "--data", "data/d") == 2
    told = "has no data.yaml itself\n    help: did you mean data/d/My Export/data.yaml?"
    assert told in capsys.readouterr().err
    assert new(workspace, "--data", "data/d/My Export/data.yaml") == 0


@pytest.mark.parametrize(
    ("val", "hint"),
    [
        ("../vaild/images", "looked in d/; did you mean `valid`?"),
        ("../valid/imgs", "there is no `imgs` in `valid`; did you mean `images`?"),
        ("../other/images", "there is no `images` in `../other`"),
    ],
)
def test_the_hint_for_a_wrong_split_follows_the_rule_for_roboflow_s_paths(
    workspace: Path, folder: Path, val: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A leading `../` means the folder of data.yaml, unless the other folder is there."""
    for split in ("train", "valid"):
        fill(folder, {f"{split}/images/a.jpg": "", f"{split}/labels/a.txt": ROW})
    (folder.parent / "other").mkdir()
    fill(folder, {"data.yaml": f"train: ../train/images\nval: {val}\nnames: [box]\n"})
    assert new(workspace, "--data", "data/d") == 2
    assert f"    help: {hint}" in capsys.readouterr().err


@pytest.mark.parametrize("case", ["images and labels", "a folder a split", "beside"])
def test_the_file_that_the_message_says_is_enough(
    workspace: Path, folder: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """After writing that file unchanged, the same command succeeds."""
    files, _ = UNNAMED[case]
    fill(folder, {**files, **dict.fromkeys([n for n in files if n.endswith(".txt")], ROW)})
    assert new(workspace, "--data", "data/d") == 2
    error = capsys.readouterr().err
    if case == "beside":
        (folder / "classes.txt").write_text("box\nlid\n")
    else:
        (folder / "data.yaml").write_text(error.split("`")[1] + "\n")
    assert new(workspace, "--data", "data/d") == 0
    plan_good(workspace)


def test_check_says_which_file_to_write(workspace: Path, folder: Path) -> None:
    """`check` of a recipe with that folder gives the same message."""
    fill(folder, UNNAMED["images and labels"][0])
    source = "source: {family: ultralytics, task: detect, architecture: yolov8n, weights: random}"
    lines = (source, "dataset: {path: data/d}", "input: {size: 64}", "train: {epochs: 1}")
    write_recipe(workspace, "mine", "\n".join((*lines, "targets: [host]", "")))
    (error,) = plan_all(workspace).errors
    assert error.hint.startswith("write data/d/data.yaml: `{train: images, names: ")


def test_a_dataset_of_darknet_in_the_workspace_s_own_folder(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Messages name obj.data by the given path."""
    (workspace / "n.data").write_text("train = x.txt\n")
    assert new(workspace, "--data", "n.data") == 2
    assert capsys.readouterr().err.startswith("n.data:1:1: error: `train` names")


def test_text_beside_images_is_not_a_label(workspace: Path, folder: Path) -> None:
    """Other text files next to images are not labels; such images can calibrate."""
    fill(folder, {"a.jpg": "", "a.txt": "a red car\n", "b.jpg": "", "b.txt": ""})
    words = ("--from", "weights/boxes.pt", "--target", "xiao-esp32s3")
    assert new(workspace, "--data", "data/d", *words) == 0
    assert '{images: "data/d/**/*.jpg", ' in recipe(workspace)


@pytest.mark.parametrize("name", ["nothing.json", "n.data", "gone/data.yaml", "classes.txt", "tag"])
@pytest.mark.parametrize("family", ["ultralytics", "yolox"])
def test_absent_data_is_reported_as_missing(
    workspace: Path, name: str, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Missing data is reported with its path and a similar name."""
    assert new(workspace, "--family", family, "--data", f"data/{name}") == 2
    told = capsys.readouterr().err
    assert told.startswith(f"data/{name}: error: does not exist\n")
    assert ("did you mean `tags`?" in told) == (name == "tag")


@pytest.mark.parametrize("name", ["model.onnx", "notes.txt"])
def test_a_file_of_another_kind_is_answered_with_the_kinds(
    workspace: Path, folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a model or a label file the message lists the supported kinds of data."""
    (folder / name).write_bytes(b"0 .5 .5 .2 .2" if name == "notes.txt" else b"\x08\xff\xfe")
    assert new(workspace, "--data", f"data/d/{name}") == 2
    told = capsys.readouterr().err
    assert told.startswith(f"data/d/{name}: error: has no data in a format that buildsys reads\n")
    assert "there are: a data.yaml" in told


def test_a_named_dataset_is_read_with_all_that_its_block_says(
    workspace: Path, tmp_path: Path
) -> None:
    """A named dataset is read with its own images, class order and split from buildsys.yaml."""
    away = tmp_path / "away"
    bring("voc", away / "cells", draw)
    bring("label-studio", away / "studio", draw)
    shutil.move(away / "studio" / "train" / "images", away / "elsewhere")
    fill(away / "fruit", {"train/kiwi/a.jpg": "", "train/fig/b.jpg": ""})
    sheet = f"{{annotations: {away}/studio/train/result.json, images: {away}/elsewhere}}"
    split = "split: {val: 0.5, seed: 3}"
    lines = [
        f"cells: {{format: voc, path: {away}/cells, classes: [egg, cell]}}",
        f"studio: {{format: coco, splits: {{train: {sheet}}}, match: base-name, {split}}}",
        f"fruit: {{path: {away}/fruit, {split}}}",
        "drawn: {generator: fiducials, train: 8, val: 4}",
    ]
    (workspace / "buildsys.yaml").write_text("datasets:\n  " + "\n  ".join(lines) + "\n")
    found = {}
    for name in ("cells", "studio", "fruit", "drawn"):
        (workspace / "recipes" / "mine.yaml").unlink(missing_ok=True)
        assert new(workspace, "--data", name) == 0, name
        assert f"dataset: {name} " in recipe(workspace)
        found[name] = by_stage(plan_good(workspace)["mine@host"])["evaluate-onnx"].params
    assert '"classes":["egg","cell"]' in found["cells"]
    assert '"classes":["cell","egg"]' in found["studio"]
    assert '"classes":["fig","kiwi"]' in found["fruit"]


NAMED = {
    "{format: voc, path: GONE}": "2:33: error: GONE does not exist",
    "{path: ~nobody-here/d}": "2:20: error: ~nobody-here/d does not exist",
    "{path: HERE}": "help: write ../yolo/data.yaml: `{train: images, names: [class_0, class_1]}`",
    "{format: voc, split: 3, path: HERE}": "2:34: error: ",
    "{generator: nothing}": "error: there is no generator `nothing`",
}


@pytest.mark.parametrize("case", NAMED)
def test_mistakes_of_a_named_dataset_are_at_buildsys_yaml(
    workspace: Path, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mistakes of a named dataset are reported at its line in buildsys.yaml."""
    fill(tmp_path / "yolo", UNNAMED["images and labels"][0])
    paths = {"GONE": f"{tmp_path}/gone", "HERE": f"{tmp_path}/yolo"}
    block, told = case, NAMED[case]
    for word, path in paths.items():
        block, told = block.replace(word, path), told.replace(word, path)
    (workspace / "buildsys.yaml").write_text(f"datasets:\n  mine-too: {block}\n")
    assert new(workspace, "--data", "mine-too") == 2
    error = capsys.readouterr().err
    assert error.startswith("buildsys.yaml:2:")
    assert told in error
    assert not (workspace / "recipes" / "mine.yaml").exists()


def test_a_named_archive_is_taken_before_and_after_it_is_here(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recipe for an archive waits for it; after unpacking, classes and splits are known."""
    digest = "6" * 64
    archive = f"{{url: https://example.org/a.tar, sha256: {digest}}}"
    (workspace / "buildsys.yaml").write_text(f"datasets:\n  far: {archive}\n")
    assert new(workspace, "--data", "far") == 0
    told = capsys.readouterr().out
    assert (
        "https://example.org/a.tar does not exist yet: its task, classes and splits are unknown"
        in told
    )
    unpacked = tmp_path / "cache" / "buildsys" / "datasets" / digest
    write_data(unpacked / "set", DataYaml(classes=("far", "near")))
    (workspace / "recipes" / "mine.yaml").unlink()
    assert new(workspace, "--data", "far") == 0
    stages = by_stage(plan_good(workspace)["mine@host"])
    assert '"classes":["far","near"]' in stages["evaluate-onnx"].params


def test_a_copy_of_images_is_of_the_images_alone(workspace: Path, tmp_path: Path) -> None:
    """Only images are copied, no other files of the folder."""
    files = ("a.jpg", "day/b.jpg", "secret.txt", ".git/c.jpg")
    fill(tmp_path / "photos", dict.fromkeys(files, ""))
    words = ("--from", "weights/boxes.pt", "--data", str(tmp_path / "photos"))
    assert new(workspace, "--copy", *words, "--target", "xiao-esp32s3") == 0
    copy = workspace / "data" / "photos"
    copied = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    assert copied == {"a.jpg", "day/b.jpg"}
    plan_good(workspace)


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("constraint/annotations/val.json", "val"),
        ("data/train/annotations_val.json", "val"),
        ("instances_train2017.json", "train"),
        ("data/valid/_annotations.coco.json", "val"),
        ("train/annotations/instances.json", "train"),
        ("data/Test/result.json", "test"),
        ("training/tested.json", ""),
        ("train/mine/project/result.json", ""),
    ],
)
def test_a_split_is_a_whole_word_of_the_file_or_its_folder(path: str, split: str) -> None:
    """Split names are matched as whole words, first in the file's name, then in its folder's."""
    assert split_of(path) == split


def test_a_folder_around_the_data_names_no_split(workspace: Path, folder: Path) -> None:
    """In a folder `constraint`, val.json is val, and train.json next to it is found."""
    for split in ("train", "val"):
        write_sheet(folder / "constraint" / "annotations" / f"{split}.json", (f"{split}.jpg",))
        fill(folder / "constraint", {f"images/{split}.jpg": ""})
    assert new(workspace, "--data", "data/d/constraint/annotations/val.json") == 0
    document = read_document(workspace / "recipes" / "mine.yaml", "mine")
    for split in ("train", "val"):
        path = f"data/d/constraint/annotations/{split}.json"
        assert document.get("dataset", "splits", split, "annotations") == path


def test_the_other_split_may_have_another_spelling(workspace: Path, folder: Path) -> None:
    """Programs write instances_Train.json next to instances_Validation.json, and images alike."""
    for split in ("Train", "Validation"):
        write_sheet(folder / "annotations" / f"instances_{split}.json", (f"{split}.jpg",))
        fill(folder, {f"images/{split}/{split}.jpg": ""})
    assert new(workspace, "--data", "data/d/annotations/instances_Train.json") == 0
    document = read_document(workspace / "recipes" / "mine.yaml", "mine")
    for split, word in (("train", "Train"), ("val", "Validation")):
        path = f"data/d/annotations/instances_{word}.json"
        assert document.get("dataset", "splits", split, "annotations") == path
        assert document.get("dataset", "splits", split, "images") == f"data/d/images/{word}"


@pytest.mark.parametrize("name", ['q"q', "d[1]", "é & #", "a*b?"])
def test_a_pattern_means_its_folder_whatever_that_is_called(workspace: Path, name: str) -> None:
    """Special characters in a folder's name are escaped in YAML and in the pattern."""
    fill(workspace / "data" / name, {"a.jpg": ""})
    words = ("--from", "weights/boxes.pt", "--target", "xiao-esp32s3")
    assert new(workspace, "--data", f"data/{name}", *words) == 0
    plan_good(workspace)


def test_messages_about_data_elsewhere_have_its_own_path(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Messages about data elsewhere have its absolute path."""
    away = tmp_path / "dd"
    fill(away / "a", {"data.yaml": "train: images\nnames: [no]\n", "images/a.jpg": ""})
    fill(away / "b", {"images/a.jpg": "", "labels/a.txt": ROW})
    fill(away / "c", {"d.data": "train = x.txt\n"})
    sheet = {"images": [{"id": 1, "file_name": "x.jpg"}], "annotations": [], "categories": []}
    fill(away / "e", {"train.json": json.dumps(sheet)})
    for data, start in (
        ("a", f"{away}/a/data.yaml:2:"),
        ("b", f"{away}/b: error: "),
        ("c", f"{away}/c/d.data:1:"),
        ("c/d.data", f"{away}/c/d.data:1:"),
        ("e", f"{away}/e/train.json: error: "),
        ("f", f"{away}/f: error: does not exist"),
    ):
        assert new(workspace, "--link", "--data", f"{away}/{data}") == 2
        assert capsys.readouterr().err.startswith(start)


def test_a_val_split_that_is_missing_is_not_replaced_by_another(
    workspace: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A declared but missing val split is an error, not replaced by a share of train."""
    bring("roboflow", folder, draw)
    shutil.rmtree(folder / "valid")
    assert new(workspace, "--data", "data/d") == 2
    told = capsys.readouterr().err
    assert "which does not exist" in told
    assert "without this line, a share of train becomes val" in told


def test_annotations_of_val_without_images_are_a_mistake(
    workspace: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """COCO annotations of val without images are an error."""
    for split in ("train", "val"):
        write_sheet(folder / f"{split}.json", (f"{split}.jpg",))
    fill(folder, {"train.jpg": ""})
    assert new(workspace, "--data", "data/d") == 2
    assert "data/d/val.json: error: its images were not found" in capsys.readouterr().err


def test_class_folders_beside_a_file_without_words_are_to_classify(
    workspace: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With class folders and a file without a task, `new` writes `task: classify`."""
    fill(folder, {f"{s}/{c}/1.png": "" for s in ("train", "val") for c in ("red", "blue")})
    assert new(workspace, "--from", "weights/model.tflite", "--data", "data/d") == 0
    assert "  task: classify" in recipe(workspace)
    capsys.readouterr()
    assert cli.main(["-C", str(workspace), "check"]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("words", [(), ("--copy",), ("--link",)], ids=["inside", "copy", "link"])
def test_folders_of_classes_without_train_are_to_classify(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """Without weights, a folder of images for each class is a dataset that `split` divides."""
    folder = tmp_path / "parts" if words else workspace / "data" / "parts"
    fill(folder, {f"{name}/{n}.jpg": "" for name in ("ok", "broken part") for n in range(9)})
    given = str(folder) if words else "data/parts"
    assert new(workspace, "--data", given, *words) == 0
    assert "taken as classes to classify: broken part, ok\n" in capsys.readouterr().out
    text = recipe(workspace)
    assert "  task: classify" in text
    assert ("dataset: mine" if "--link" in words else "split: {val: 0.2, seed: 0}") in text
    plan_good(workspace)
    if not words:
        return
    (workspace / "recipes" / "mine.yaml").unlink()
    again = "data/parts" if "--copy" in words else "mine"
    assert new(workspace, "--data", again) == 0
    assert recipe(workspace) == text


def test_images_in_folders_calibrate_a_given_network(workspace: Path, folder: Path) -> None:
    """With weights, folders of images may be those of several cameras."""
    fill(folder, {f"{name}/{n}.jpg": "" for name in ("left", "right") for n in range(9)})
    assert new(workspace, "--from", "weights/model.tflite", "--data", "data/d") == 0
    assert "classify" not in recipe(workspace)


@pytest.mark.parametrize("classes", [("apple", "pear"), ("cat", "dog")], ids=["same", "others"])
def test_folders_of_a_classifier_s_classes_are_its_dataset(
    workspace: Path, folder: Path, capsys: pytest.CaptureFixture[str], classes: tuple[str, ...]
) -> None:
    """They are divided and measure a given classifier; of other folders, the images calibrate."""
    words = {"task": "classify", "names": "{0: 'apple', 1: 'pear'}", "imgsz": "[64, 64]"}
    rows = (Edge(name="output0", shape=(1, 2)),)
    content = onnx_bytes((picture(64, 64),), rows, metadata=words)
    (workspace / "weights" / "cls.onnx").write_bytes(content)
    fill(folder, {f"{name}/{n}.jpg": "" for name in classes for n in range(9)})
    assert new(workspace, "--from", "weights/cls.onnx", "--data", "data/d") == 0
    same = classes == ("apple", "pear")
    assert ("taken as classes to classify: apple, pear" in capsys.readouterr().out) == same
    text = recipe(workspace)
    assert ("split: {val: 0.2, seed: 0}" in text) == same
    assert ("evaluate: none" in text) != same
    plan_good(workspace)


def test_a_classifier_has_the_size_of_its_authors(workspace: Path, folder: Path) -> None:
    """Classifiers were trained on 224 pixels, detection networks on 640."""
    fill(folder, {f"{name}/{n}.jpg": "" for name in ("cat", "dog") for n in range(9)})
    assert new(workspace, "--data", "data/d", "--target", "host") == 0
    assert "architecture: yolov8n-cls" in recipe(workspace)
    assert "input: {size: 224}" in recipe(workspace)


def test_folders_of_classes_train_a_checkpoint(workspace: Path, folder: Path) -> None:
    """They also train a classifier that is given as a checkpoint."""
    write_checkpoint(workspace / "weights" / "f.pt", Head(kind="Classify", classes=("a", "b")))
    fill(folder, {f"{name}/{n}.jpg": "" for name in ("cat", "dog") for n in range(9)})
    assert new(workspace, "--from", "weights/f.pt", "--data", "data/d") == 0
    assert "split: {val: 0.2, seed: 0}" in recipe(workspace)
    plan_good(workspace)


def test_folders_that_are_no_classes_are_images_without_labels(
    workspace: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images and masks, or splits, are refused; a class with the name of a split is named."""
    fill(folder, {f"{name}/1.jpg": "" for name in ("images", "masks")})
    assert new(workspace, "--data", "data/d") == 2
    assert "data/d: error: contains images without labels" in capsys.readouterr().err
    fill(workspace / "data" / "food", {f"{name}/1.jpg": "" for name in ("expired", "valid")})
    assert new(workspace, "--data", "data/food") == 2
    hint = "if it is a class, move the folders of all classes into data/food/train"
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("part", ["Annotations", "JPEGImages"])
def test_a_folder_of_pascal_voc_stands_for_the_dataset(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    """`new` takes the folder around it, also where it copies; in a recipe it is a mistake."""
    files = {"JPEGImages/a.jpg": "", "Annotations/a.xml": voc_text("a.jpg", (("egg", 1, 1, 9, 9),))}
    fill(tmp_path / "voc", {**files, "Annotations/._a.xml": "", "Annotations/.DS_Store": ""})
    assert new(workspace, "--copy", "--data", str(tmp_path / "voc" / part)) == 0
    text = recipe(workspace)
    assert "  path: data/voc\n" in text
    wrong = text.replace("data/voc", f"data/voc/{part}")
    (workspace / "recipes" / "mine.yaml").write_text(wrong)
    capsys.readouterr()
    assert cli.main(["-C", str(workspace), "check"]) == 2
    assert f"data/voc/{part}: error: is a folder of the dataset" in capsys.readouterr().out


def _label(folder: Path, row: str, more: str = "") -> None:
    fill(
        folder,
        {
            "data.yaml": f"train: images/train\nval: images/val\nnames: [card]\n{more}",
            **{f"images/{split}/{n}.jpg": "" for split in ("train", "val") for n in range(3)},
            **{f"labels/{split}/1.txt": f"{row}\n" for split in ("train", "val")},
        },
    )


def test_keypoints_that_data_yaml_does_not_declare_are_a_mistake(
    workspace: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`new` does not write a recipe for boxes, and `check` needs no --data to find it."""
    row = "0 .5 .5 .2 .2 .4 .4 2 .6 .4 2 .6 .6 2 .4 .6 2"
    _label(folder, row)
    assert new(workspace, "--data", "data/d") == 2
    line = "data/d/labels/train/1.txt:1:1: error: 17 numbers: a box and 4 keypoints with their visibility"
    hint = "help: write `kpt_shape: [4, 3]` into data.yaml, or leave out the keypoints"
    assert f"{line}\n    {hint}\n" in capsys.readouterr().err
    _label(folder, row, "kpt_shape: [4, 3]\nflip_idx: [1, 0, 3, 2]\n")
    assert new(workspace, "--data", "data/d") == 0
    assert "  task: pose" in recipe(workspace)
    _label(folder, row)
    capsys.readouterr()
    assert cli.main(["-C", str(workspace), "check"]) == 2
    assert hint in capsys.readouterr().out


@pytest.mark.parametrize("words", [(), ("--copy",), ("--link",)], ids=["inside", "copy", "link"])
def test_new_names_labels_that_are_longer_than_a_box(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """They are outlines, or keypoints without visibility: the recipe is for boxes."""
    place = tmp_path / "d" if words else workspace / "data" / "d"
    _label(place, "0 .5 .5 .2 .2 .4 .4 .6 .4 .6 .6 .4 .6")
    given = str(place) if words else "data/d"
    assert new(workspace, "--data", given, *words) == 0
    told = capsys.readouterr().out
    assert "labels/train/1.txt:1:1: warning: 13 numbers are taken as an outline of 6 points" in told
    assert "help: for outlines write `task: segment`, for four corners `task: obb`; where" in told
    assert "`kpt_shape: [4, 2]`" in told
    (workspace / "recipes" / "mine.yaml").unlink()
    _label(place, "0 .5 .5 .2 .2")
    again = ("--link", "--data", given) if "--link" in words else ("--data", "data/d")
    _label(workspace / "data" / "d", "0 .5 .5 .2 .2")
    assert new(workspace, *again) == 0
    assert "outline" not in capsys.readouterr().out


def test_no_recipe_is_written_for_splits_that_are_not_found(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recipe without splits would measure nothing after data.yaml is corrected."""
    data = workspace / "data" / "tags" / "data.yaml"
    good = data.read_text()
    data.write_text(good.replace("images/", "images\\"))
    with (workspace / "buildsys.yaml").open("a") as file:
        file.write("datasets: {mine: {format: ultralytics, path: data/tags/data.yaml}}\n")
    for given in ("data/tags/data.yaml", "mine"):
        assert new(workspace, "--data", given) == 2
        assert r"the path `images\val` has a backslash in it" in capsys.readouterr().err
        assert not (workspace / "recipes" / "mine.yaml").exists()
    data.write_text(good)
    assert new(workspace, "--data", "data/tags/data.yaml") == 0
    assert "evaluate:\n  split: val\n" in recipe(workspace)
