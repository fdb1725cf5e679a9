"""Datasets of darknet: class names, lists whose paths start anywhere, a .txt beside each image."""

from pathlib import Path

import pytest

from buildsys.authoring.datasets import folder_sets
from buildsys.authoring.datasets.blocks import Dataset
from buildsys.authoring.datasets.class_folders import read_class_folders
from buildsys.authoring.datasets.data_yaml import read_dataset
from buildsys.steps.lib.datasets.formats import voc_format
from buildsys.steps.lib.datasets.formats.darknet_format import (
    DarknetSet,
    Declared,
    find_set,
    find_strays,
    read_declared,
    read_split,
)
from buildsys.steps.lib.datasets.labels import Finding, Layout
from buildsys.steps.lib.datasets.samples import Sample
from buildsys.steps.lib.datasets.ultralytics_layout import Split

LAYOUT = Layout(classes=("cell", "egg"), keypoints=0, dims=0)


def write(root: Path, **files: str) -> Path:
    """Write files by path; `__` is a folder separator, `_` precedes the ending."""
    for written, text in files.items():
        folder, _, name = written.rpartition("__")
        path = root / folder.replace("__", "/") / ".".join(name.rsplit("_", 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def declare(root: Path, data: str = "") -> tuple[Declared | None, list[str]]:
    """The declared dataset of a folder, and the findings."""
    files = find_set(root, data)
    if isinstance(files, Finding):
        return None, [str(files)]
    declared, findings = read_declared(root, files)
    return declared, [str(finding) for finding in findings]


def samples(root: Path, *paths: str) -> tuple[dict[str, str], list[str]]:
    """The images with their label files, and the findings."""
    found, findings = read_split(root, Split(name="train", paths=paths), LAYOUT)
    return {sample.image: sample.labels for sample in found}, [str(f) for f in findings]


@pytest.mark.parametrize(
    "line",
    [
        "obj/a.jpg",
        "./obj/a.jpg",
        "data/obj/a.jpg",
        "../data/obj/a.jpg",
        "/home/me/darknet/data/obj/a.jpg",
        "D:\\my\\data\\obj\\a.jpg",
    ],
)
def test_paths_start_where_darknet_was_started(tmp_path: Path, line: str) -> None:
    """Paths relative to an unknown folder are matched by their end."""
    root = write(tmp_path, obj__a_jpg="", obj__a_txt="0 .5 .5 .5 .5", obj_names="cell\negg\n")
    write(root, obj_data="classes=2\ntrain  = data/train.txt\nnames = data/obj.names\n")
    write(root, train_txt=line + "\n", a_jpg="")
    declared, findings = declare(root)
    assert findings == []
    assert declared == Declared(classes=("cell", "egg"), splits=(("train", ("obj", "train.txt")),))
    assert samples(root, "obj", "train.txt") == ({"obj/a.jpg": "obj/a.txt"}, [])


def test_a_folder_of_labelimg(tmp_path: Path) -> None:
    """In a folder of labelImg, `classes.txt` has the names; images without a label file have no
    objects.
    """
    root = write(tmp_path, a_jpg="", a_txt="1 .5 .5 .5 .5", b_jpg="", classes_txt="cell\negg\n\n")
    write(root, c_txt="0 .5 .5 .5 .5", notes_txt="mine")
    declared, findings = declare(root)
    assert (declared, findings) == (
        Declared(classes=("cell", "egg"), splits=(("train", (".",)),)),
        [],
    )
    assert samples(root, ".") == ({"a.jpg": "a.txt", "b.jpg": ""}, [])
    used = [Sample(image="a.jpg", labels="a.txt"), Sample(image="b.jpg")]
    assert [f.path for f in find_strays(root, (), used)] == ["c.txt"]


def test_stray_labels_are_found_whatever_their_names(tmp_path: Path) -> None:
    """A thousand label files without an image are reported; a stem is not used as a pattern."""
    root = write(tmp_path, classes_txt="cell\n", a_jpg="", a_txt="0 .5 .5 .5 .5")
    (root / "b[1].png").touch()
    (root / "b[1].txt").touch()
    for number in range(1000):
        (root / f"{number}.txt").touch()
    found = list(find_strays(root, (), [Sample(image="a.jpg", labels="a.txt")]))
    assert len(found) == 1000


def test_labels_beside_or_in_their_own_folder(tmp_path: Path) -> None:
    """Labels are beside images, or in their own folder as in exports of Label Studio and Roboflow."""
    root = write(tmp_path / "a", images__a_jpg="", labels__a_txt="0 .5 .5 .5 .5")
    write(root, classes_txt="cell\negg", notes_json="{}")
    declared, _ = declare(root)
    assert declared is not None
    assert declared.splits == (("train", ("images",)),)
    assert samples(root, "images")[0] == {"images/a.jpg": "labels/a.txt"}
    root = tmp_path / "b"
    for folder in ("train", "valid"):
        write(root / folder, a_jpg="", a_txt="0 .5 .5 .5 .5", _darknet_labels="cell\negg")
    declared, _ = declare(root)
    assert declared is not None
    assert declared.splits == (("train", ("train",)), ("val", ("valid",)))
    root = write(tmp_path / "c", images__train__a_jpg="", labels__train__a_txt="0 .5 .5 .5 .5")
    write(root, images__val__b_jpg="", classes_txt="cell\negg")
    declared, _ = declare(root)
    assert declared is not None
    assert declared.splits == (("train", ("images/train",)), ("val", ("images/val",)))
    assert samples(root, "images/train")[0] == {"images/train/a.jpg": "labels/train/a.txt"}


@pytest.mark.parametrize(
    ("files", "finding"),
    [
        ({"obj_names": "cell\n\negg"}, "obj.names:2: class 1 has no name"),
        ({"obj_names": "cell\ncell\n"}, 'obj.names:2: the class "cell" is there twice: line 1'),
        ({"obj_names": "cell\n"}, "obj.data:1: `classes` is 2, and obj.names has 1"),
        ({"train_txt": "obj/b.jpg\n"}, 'none of its 1 images is here, the first is "obj/b.jpg"'),
        ({"train_txt": ""}, "train.txt: names no image"),
        ({"obj_data": "classes = 2\nnames = obj.names"}, "obj.data: has no line `train = …`"),
        ({"obj_data": "train = x.txt"}, 'obj.data:1: `train` names "x.txt", which is not here'),
        ({"other_data": "classes = 2"}, "holds 2 .data files: obj.data, other.data; say which"),
    ],
)
def test_mistakes_have_their_place(tmp_path: Path, files: dict[str, str], finding: str) -> None:
    """Errors in the files that declare the dataset have a place, before any image is opened."""
    root = write(tmp_path, obj__a_jpg="", obj_names="cell\negg", train_txt="obj/a.jpg")
    write(root, obj_data="classes = 2\ntrain = train.txt\nnames = obj.names\n")
    write(root, **files)
    declared, findings = declare(root)
    assert declared is None
    assert len(findings) == 1
    assert finding in findings[0]


def test_a_line_of_a_list_that_leads_nowhere(tmp_path: Path) -> None:
    """A list line without an image is reported, and the other lines are read; likewise in label
    files.
    """
    root = write(tmp_path, a_jpg="", a_txt="0 .5 .5 .5 .5\n7 .5 .5 .5 .5", train_txt="a.jpg\nb.jpg")
    found, findings = samples(root, ".", "train.txt")
    assert found == {"a.jpg": "a.txt"}
    assert findings == [
        'train.txt:2: lists "b.jpg", which is not here',
        "a.txt:2: class 7; `names` has 0 to 1",
    ]


def test_every_line_of_a_list_that_leads_nowhere_is_reported_before_any_work(
    tmp_path: Path,
) -> None:
    """Every list line without an image is reported before any work."""
    root = write(tmp_path, a_jpg="", a_txt="0 .5 .5 .5 .5", classes_txt="cell\n")
    write(root, train_txt="a.jpg\nb.jpg\nc.jpg\n")
    assert declare(root) == (
        None,
        [
            'train.txt:2: lists "b.jpg", which is not here',
            'train.txt:3: lists "c.jpg", which is not here',
        ],
    )


def test_a_declared_list_that_is_missing_is_reported_where_it_is_needed(tmp_path: Path) -> None:
    """A declared list that is missing is reported when it is needed."""
    root = write(tmp_path, a_jpg="", a_txt="0 .5 .5 .5 .5", obj_names="cell\n", train_txt="a.jpg")
    write(root, obj_data="train = train.txt\nvalid = nothing.txt\nnames = obj.names\n")
    found = folder_sets.read_folder(root, "data", Dataset(format="darknet", path="data"), {})
    (lack,) = found.missing_parts
    assert (lack.split, lack.what) == ("val", "images")
    assert (lack.diagnostic.path, lack.diagnostic.line) == ("data/obj.data", 2)
    assert lack.diagnostic.message == '`valid` names "nothing.txt", which is not here'


@pytest.mark.parametrize("word", ["val", "valid", "validation"])
def test_a_split_has_the_same_names_in_every_format(tmp_path: Path, word: str) -> None:
    """Splits have the same names in every format."""
    root = write(tmp_path / "darknet", classes_txt="cell\n")
    for name in ("train", word):
        write(root / name, a_jpg="", a_txt="0 .5 .5 .5 .5")
        write(tmp_path / "voc" / name, a_jpg="", a_xml="<annotation/>")
        write(tmp_path / "folders" / name / "cell", a_jpg="")
    files = find_set(root)
    assert isinstance(files, DarknetSet)
    assert files.splits == (("train", "train"), ("val", word))
    assert [split.name for split in voc_format.find_splits(tmp_path / "voc")] == ["train", "val"]
    facts = read_class_folders(tmp_path / "folders", "data")
    assert facts.given == (("train", ("train",)), ("val", (word,)))
    (root / "data.yaml").write_text(f"train: train\n{word}: {word}\nnames: [cell]\n")
    facts = read_dataset(root / "data.yaml", "data.yaml").facts
    assert facts.given == (("train", ("train",)), ("val", (word,)))


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    """For a folder that is not a dataset, the message says what is missing."""
    assert declare(tmp_path)[1] == [
        ": holds no obj.data and no file of class names (obj.names, classes.txt, _darknet.labels);"
        " write classes.txt: a name a line"
    ]
