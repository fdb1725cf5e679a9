"""Datasets in Pascal VOC's format: images, annotation files, splits and errors."""

from pathlib import Path

import pytest

from buildsys.steps.lib.datasets.formats.voc_format import (
    class_names,
    find_splits,
    find_strays,
    read_entries,
    read_split,
)
from buildsys.steps.lib.datasets.labels import Layout
from buildsys.steps.lib.datasets.samples import Sample
from buildsys.steps.lib.datasets.ultralytics_layout import Split
from tests.brought_sets import voc_text

CELL = (("cell", 16, 8, 48, 40),)
LAYOUT = Layout(classes=("cell", "egg"), keypoints=0, dims=0)


def write(root: Path, *paths: str) -> Path:
    """Write files by path: an annotation file with a cell, a list (`list: a, b`), or an empty
    image.
    """
    for written in paths:
        name, _, lines = written.partition(": ")
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = voc_text(f"{path.stem}.jpg", CELL) if path.suffix == ".xml" else ""
        path.write_text("\n".join(lines.split(", ")) if lines else text)
    return root


def read(root: Path, name: str = "train") -> tuple[tuple[Sample, ...], list[str]]:
    """Read a split's samples and findings."""
    samples, findings = read_split(root, Split(name=name, paths=()), LAYOUT)
    return samples, [str(finding) for finding in findings]


def test_the_development_kit(tmp_path: Path) -> None:
    """Lists of classes (`cell_train.txt`) are not splits; `trainval` is used if there is no train."""
    main = "ImageSets/Main"
    root = write(tmp_path, *(f"Annotations/{n}.xml" for n in "abc"))
    write(root, *(f"JPEGImages/{n}.jpg" for n in "abcd"))
    write(root, f"{main}/train.txt: a, d", f"{main}/val.txt: b", f"{main}/trainval.txt: a, b")
    write(root, f"{main}/cell_train.txt: c  1")
    assert [(split.name, split.names) for split in find_splits(root)] == [
        ("train", f"{main}/train.txt"),
        ("val", f"{main}/val.txt"),
    ]
    samples, findings = read(root)
    assert findings == []
    assert [(s.image, s.labels, len(s.objects), s.size) for s in samples] == [
        ("JPEGImages/a.jpg", "Annotations/a.xml", 1, (64, 64)),
        ("JPEGImages/d.jpg", "", 0, None),
    ]
    assert samples[0].objects[0][1].box == (0.5, 0.375, 0.5, 0.5)
    splits = tuple(Split(name=split.name, paths=()) for split in find_splits(root))
    stray = [
        finding.path for finding in find_strays(root, splits, [*samples, *read(root, "val")[0]])
    ]
    assert stray == ["Annotations/c.xml"]
    (root / main / "train.txt").unlink()
    (root / main / "val.txt").unlink()
    assert [split.names for split in find_splits(root)] == [f"{main}/trainval.txt"]


def test_folders_of_splits_and_a_folder_of_labelimg(tmp_path: Path) -> None:
    """Folders per split (Roboflow) and a single folder (labelImg) are read."""
    root = write(tmp_path / "a", "train/a.jpg", "train/a.xml", "valid/b.jpg", "valid/b.xml")
    assert [(s.name, s.annotations, s.images) for s in find_splits(root)] == [
        ("train", "train", "train"),
        ("val", "valid", "valid"),
    ]
    assert [sample.image for sample in read(root, "val")[0]] == ["valid/b.jpg"]
    root = write(tmp_path / "b", "a.JPG", "a.xml", "b.jpg", "day/c.png", "day/c.xml")
    samples, findings = read(root)
    assert [(s.image, s.labels) for s in samples] == [
        ("a.JPG", "a.xml"),
        ("b.jpg", ""),
        ("day/c.png", "day/c.xml"),
    ]
    assert findings == []
    assert find_splits(write(tmp_path / "c", "a.jpg")) == ()


def test_hidden_annotation_files_label_nothing(tmp_path: Path) -> None:
    """Files that macOS leaves beside annotation files are not read, as in every other format."""
    root = write(tmp_path, "Annotations/a.xml", "JPEGImages/a.jpg", "JPEGImages/b.jpg")
    (root / "Annotations" / "._a.xml").write_bytes(b"\0\5\x16\7Mac OS X        ")
    (root / "Annotations" / ".b.xml").write_text(voc_text("b.jpg", CELL))
    samples, findings = read(root)
    assert findings == []
    assert [(s.image, s.labels) for s in samples] == [
        ("JPEGImages/a.jpg", "Annotations/a.xml"),
        ("JPEGImages/b.jpg", ""),
    ]
    (root / "Annotations" / "a.xml").unlink()
    assert find_splits(root) == ()


def test_the_image_of_an_annotation_file(tmp_path: Path) -> None:
    """The annotation file's own name is used before `filename`, since images get renamed."""
    root = write(tmp_path, "a.jpg", "b.jpg", "c.jpg", "c.png", "d.jpg")
    (root / "a.xml").write_text(voc_text("b.jpg", CELL))
    (root / "c.xml").write_text(voc_text("c.png", CELL))
    (root / "x1.xml").write_text(voc_text("d.jpg", CELL))
    samples, findings = read(root)
    assert findings == [
        "c.jpg: has the name of c.png, which c.xml belongs to; it counts as an image without objects;"
        " give it another name, or remove it"
    ]
    assert {s.image: s.labels for s in samples} == {
        "a.jpg": "a.xml",
        "b.jpg": "",
        "c.jpg": "",
        "c.png": "c.xml",
        "d.jpg": "x1.xml",
    }


def test_labels_of_an_image_that_is_gone_are_not_used_for_another(tmp_path: Path) -> None:
    """An annotation file's copy does not replace the labels of the image in its `filename`."""
    root = write(tmp_path, "Annotations/a0.xml", "Annotations/i0.xml", "JPEGImages/i0.jpg")
    (root / "Annotations" / "a0.xml").write_text(voc_text("i0.jpg", (("egg", 0, 0, 8, 8),)))
    (sample,), findings = read(root)
    assert (sample.labels, sample.objects[0][1].category) == ("Annotations/i0.xml", 0)
    wrong = (
        'Annotations/a0.xml: its image "a0" is not in JPEGImages; its `filename` is i0.jpg, the image'
        " of Annotations/i0.xml: remove one of the two"
    )
    assert findings == [wrong]
    write(root, "ImageSets/Main/train.txt: a0")
    assert read(root) == ((), [wrong])
    (root / "Annotations" / "i0.xml").rename(root / "Annotations" / "b0.xml")
    (root / "ImageSets" / "Main" / "train.txt").unlink()
    (sample,), findings = read(root)
    assert (sample.labels, len(findings)) == ("Annotations/a0.xml", 1)


def test_images_of_kinds_that_are_not_read_are_reported(tmp_path: Path) -> None:
    """Images of unsupported formats are reported."""
    root = write(tmp_path, "Annotations/a.xml", "JPEGImages/a.jpg", "JPEGImages/b.jfif")
    (sample,), (finding,) = read(root)
    assert sample.image == "JPEGImages/a.jpg"
    assert finding.startswith("JPEGImages/b.jfif: images of the kind .jfif are not read")


def test_endings_in_capitals(tmp_path: Path) -> None:
    """Upper-case endings are accepted."""
    root = write(tmp_path, "Annotations/a.XML", "JPEGImages/a.JPG")
    (root / "Annotations" / "a.XML").write_text(voc_text("a.JPG", CELL))
    (sample,), findings = read(root)
    assert (sample.labels, len(sample.objects), findings) == ("Annotations/a.XML", 1, [])


def test_what_has_no_image(tmp_path: Path) -> None:
    """Missing images are one sentence if all are missing, else one finding each."""
    root = write(tmp_path, "Annotations/a.xml", "Annotations/b.xml", "JPEGImages/a.jpg")
    _, findings = read(root)
    assert findings == ['Annotations/b.xml: its image "b" is not in JPEGImages']
    (root / "JPEGImages" / "a.jpg").unlink()
    _, findings = read(root)
    assert findings == ['Annotations: none of its 2 images is in JPEGImages, the first is "a"']
    write(root, "JPEGImages/a.jpg", "ImageSets/Main/train.txt: a.jpg, nothing, ../../etc/passwd")
    samples, findings = read(root)
    assert [sample.image for sample in samples] == ["JPEGImages/a.jpg"]
    assert [text.split(": ")[0] for text in findings] == [
        "ImageSets/Main/train.txt:3",
        "ImageSets/Main/train.txt:2",
    ]


def test_an_annotation_file_of_several_images(tmp_path: Path) -> None:
    """An annotation file that matches several images is reported with their names."""
    root = write(tmp_path, "Annotations/a.xml", "JPEGImages/a.jpg", "JPEGImages/a.png")
    (root / "Annotations" / "a.xml").write_text(voc_text("x.jpg", CELL))
    _, findings = read(root)
    assert findings == [
        'Annotations/a.xml: 2 images are called "a"; write which one as its `filename`:'
        " JPEGImages/a.jpg, JPEGImages/a.png"
    ]


def test_lists_of_windows_editors_are_read(tmp_path: Path) -> None:
    """Lists in UTF-16 are read; an unreadable list is reported."""
    root = write(tmp_path, "Annotations/a.xml", "JPEGImages/a.jpg", "ImageSets/Main/train.txt: a")
    (root / "Annotations" / "a.xml").write_text(voc_text("a.jpg", CELL))
    names = root / "ImageSets" / "Main" / "train.txt"
    names.write_bytes("a\r\n".encode("utf-16"))
    samples, findings = read(root)
    assert ([sample.labels for sample in samples], findings) == (["Annotations/a.xml"], [])
    (split,) = find_splits(root)
    names.unlink()
    names.symlink_to(names)
    _, broken = read_entries(root, split)
    assert str(broken[0]).startswith("ImageSets/Main/train.txt: cannot be read: Too many levels")


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        (
            "<name>cell",
            "<name>cel",
            'a.xml:14: "cel" is not one of the classes; there are: cell, egg',
        ),
        (
            ">48<",
            ">480<",
            "the box of this cell reaches 6.500 of the width (416.0 px) beyond the right",
        ),
        ("cult>0", "cult>1", "a.xml: objects that are marked as difficult are left out: 1"),
        ("width>64", "width>0", "a.xml: has no `size`, and boxes are in pixels"),
        ("<annotation>", "", "a.xml:2: this is not an annotation in Pascal VOC's format"),
    ],
)
def test_findings_have_their_place(tmp_path: Path, old: str, new: str, finding: str) -> None:
    """Findings have a line, and objects that are left out are reported."""
    write(tmp_path, "a.jpg")
    (tmp_path / "a.xml").write_text(voc_text("a.jpg", CELL).replace(old, new, 1))
    samples, findings = read(tmp_path)
    assert len(findings) == 1
    assert finding in findings[0]
    assert [sample.objects for sample in samples] in ([()], [])


def test_classes_are_sorted_names(tmp_path: Path) -> None:
    """Classes are sorted by name, since the format has no order."""
    root = write(tmp_path, "a.jpg", "b.jpg")
    (root / "a.xml").write_text(voc_text("a.jpg", (("egg", 0, 0, 8, 8), ("Cell", 0, 0, 8, 8))))
    (root / "b.xml").write_text(voc_text("b.jpg", (("bar", 0, 0, 8, 8),)))
    (split,) = find_splits(root)
    assert class_names(read_entries(root, split)[0]) == ("Cell", "bar", "egg")
