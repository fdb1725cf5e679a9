"""A user's dataset as every step reads it: lists, labels, names, and which bytes are kept."""

import struct
import zlib
from pathlib import Path, PurePosixPath

import pytest

from buildsys.steps.inspect_dataset import sound_splits
from buildsys.steps.lib.datasets import dataset_survey, prepared, prepared_names, readers
from buildsys.steps.lib.datasets.formats import coco_file
from buildsys.steps.lib.datasets.label_files import LabelFiles
from buildsys.steps.lib.datasets.labels import (
    Finding,
    Layout,
    Object,
    decode_text,
    find_labels,
    label_file,
    parse,
)
from buildsys.steps.lib.datasets.placed_objects import place
from buildsys.steps.lib.datasets.rewritten_images import find_reason
from buildsys.steps.lib.datasets.samples import Sample, find_unlabelled, judge, list_warnings
from buildsys.steps.lib.datasets.survey_text import render_table
from buildsys.steps.lib.datasets.ultralytics_layout import (
    Split,
    find_images,
    iterate_images,
    list_images,
)
from buildsys.steps.lib.images import jpeg_file
from buildsys.steps.lib.images.decoding import Photo, clean_message, explain, is_turned
from buildsys.steps.lib.images.image_headers import is_cut_off, is_plain, orientation_of
from buildsys.steps.lib.metrics import keypoint_sigmas
from buildsys.steps.lib.runtime.progress import StepError
from tests.brought_sets import voc_text

BOXES = Layout(classes=("box", "lid"), keypoints=0, dims=0)


def _write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def told(findings: tuple[Finding, ...]) -> list[str]:
    """Findings as text, with their severity."""
    return [f"{finding.severity}: {finding}" for finding in findings]


def errors(line: str, layout: Layout = BOXES) -> list[str]:
    """The errors of a label line."""
    rows, findings = parse(line, "a.txt", layout)
    found = [*findings]
    for number, item in rows:
        found += place(item, (100, 100), "a.txt", number, layout)[1]
    return [finding.message for finding in found if finding.severity == "error"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 .5 .5 -.2 .3", "the box of this box has a negative size: -0.2 x 0.3"),
    ],
)
def test_what_ultralytics_leaves_out_is_an_error(line: str, message: str) -> None:
    """A label for which Ultralytics would leave out the image is an error."""
    assert errors(line) == [message]


@pytest.mark.parametrize("line", ["0 1.05 .5 .3 .3", "0 .02 .5 .3 .3", "0 .5 .5 1 1"])
def test_a_box_over_the_edge_is_no_error(line: str) -> None:
    """A box over the edge is accepted, also where Ultralytics would leave out the image."""
    assert errors(line) == []


def test_an_outline_is_a_box_where_boxes_are_wanted() -> None:
    """An outline is read as a box if boxes are needed, as in Ultralytics."""
    ((_, item),), findings = parse("1 .1 .2 .5 .2 .5 .6 .1 .6", "a.txt", BOXES)
    assert told(findings) == [
        "warning: a.txt:1: 9 numbers are taken as an outline of 4 points, and the box around it; where"
        " they are a box and keypoints, data.yaml needs `kpt_shape: [2, 2]`"
    ]
    assert item.box == pytest.approx((0.3, 0.4, 0.4, 0.4))
    assert item.outline == ()


@pytest.mark.parametrize(
    ("points", "wrong"),
    [
        (".4 .4 2", True),
        (".4 .4 2 .5 .5 1", True),
        (".4 .4 1 .5 .5 0", False),
        (".4 .4 1 .5 .5 1 .6 .6 0 .6 .6 1", True),
        (".4 .4 1 .5 .5 .9 .6 .6 0 .6 .6 1", False),
    ],
)
@pytest.mark.parametrize("shape", ["box", "outline"])
def test_keypoints_of_a_set_without_kpt_shape_are_no_outline(
    points: str, wrong: bool, shape: str
) -> None:
    """Keypoints in a dataset without `kpt_shape` are not read as an outline."""
    layout = Layout(classes=("box",), keypoints=0, dims=0, shape=shape)
    _, findings = parse(f"0 .5 .5 .2 .2 {points}", "a.txt", layout)
    count = len(points.split()) // 3
    hint = f"write `kpt_shape: [{count}, 3]` into data.yaml, or leave out the keypoints"
    assert [finding.severity for finding in findings if finding.hint == hint] == ["error"] * wrong


@pytest.mark.parametrize("shape", ["box", "outline"])
def test_an_outline_along_the_edges_of_the_image_is_no_keypoints(shape: str) -> None:
    """Numbers of an object that fills the image may all be 0 and 1 where visibilities would be."""
    layout = Layout(classes=("box",), keypoints=0, dims=0, shape=shape)
    line = "0 .9 0 1 .1 1 .5 1 .9 .9 1 .1 1 0 .9 0 0"
    ((_, item),), findings = parse(line, "a.txt", layout)
    assert item.box == (0.5, 0.5, 1, 1)
    assert [finding.severity for finding in findings] == ["warning"] * (shape == "box")


def test_labels_in_capitals_are_found(tmp_path: Path) -> None:
    """Label files with an upper-case ending are found."""
    for name in ("images/a.jpg", "labels/a.TXT", "labels/b.TXT"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("0 .5 .5 .2 .2\n")
    splits = (Split(name="train", paths=("images",)),)
    reading = readers.read(tmp_path, "ultralytics", splits, BOXES)
    assert [sample.labels for sample in reading.samples] == ["labels/a.TXT"]
    assert told(reading.findings) == ["warning: labels/b.TXT: a label file without its image"]


def test_a_label_file_is_found_in_any_case(tmp_path: Path) -> None:
    """The case of a label file's name counts only where several files differ in nothing else."""
    for name in ("images/A.jpg", "images/b.JPG", "images/C.jpg", "images/c.jpg", "images/D.jpg"):
        _write(tmp_path, name, "")
    for name in ("labels/a.txt", "labels/B.Txt", "labels/c.txt", "labels/d.txt", "labels/d.TXT"):
        _write(tmp_path, name, "0 .5 .5 .2 .2\n")
    splits = (Split(name="train", paths=("images",)),)
    reading = readers.read(tmp_path, "ultralytics", splits, BOXES)
    assert [(sample.image, sample.labels) for sample in reading.samples] == [
        ("images/A.jpg", "labels/a.txt"),
        ("images/C.jpg", ""),  # labels/c.txt belongs to images/c.jpg
        ("images/D.jpg", ""),
        ("images/b.JPG", "labels/B.Txt"),
        ("images/c.jpg", "labels/c.txt"),
    ]
    assert told(reading.findings) == [
        "error: images/D.jpg: has 2 label files: labels/d.TXT, labels/d.txt; keep one, called"
        " labels/D.txt",
        "warning: labels/d.TXT: a label file without its image",
        "warning: labels/d.txt: a label file without its image",
    ]
    assert LabelFiles(tmp_path).is_labelled(("images/A.jpg",))


def test_an_object_that_is_there_twice_counts_once() -> None:
    """A repeated object counts once, also if written differently but equal as float32."""
    rows, findings = parse("0 .5 .5 .25 .25\n0 0.50 0.5 0.250000000001 .25\n", "a.txt", BOXES)
    assert len(rows) == 1
    assert told(findings) == [
        "warning: a.txt:2: the same as line 1: one object is labelled twice, and counts once"
    ]


def test_a_file_of_one_line_again_and_again_is_one_object() -> None:
    """A file with thousands of repeated lines."""
    rows, findings = parse("0 .5 .5 .25 .25\n" * 20_000 + "x\n" * 300, "a.txt", BOXES)
    assert len(rows) == 1
    assert [finding.kind for finding in findings].count("repeated-line") == 100
    assert findings[99].message.endswith("counts once; and 19899 more lines like it")
    assert findings[-1].message.endswith("and 200 more lines like it")


@pytest.mark.parametrize("gap", ["\n", ""])
def test_an_object_that_is_there_twice_counts_once_in_every_format(
    tmp_path: Path, gap: str
) -> None:
    """A repeated object counts once in every format, as in Ultralytics' converters."""
    text = voc_text("a.jpg", (("box", 0, 0, 8, 8),) * 3).replace("\n", gap)
    (tmp_path / "a.xml").write_text(text)
    (tmp_path / "a.jpg").touch()
    splits = (Split(name="train", paths=(".",)),)
    (sample,) = readers.read(tmp_path, "voc", splits, BOXES).samples
    assert len(sample.objects) == 3
    (tmp_path / "a.jpg").unlink()  # labels are placed without their image, too
    _, placed, findings = judge(tmp_path, sample, BOXES)
    assert len(placed.objects) == 1
    twice = "one object is labelled twice, and counts once"
    assert [twice in finding for finding in told(findings[1:])] == [True, True]


def test_objects_that_differ_only_outside_the_image_are_one(tmp_path: Path) -> None:
    """Ultralytics trains on one of equal rows, YOLOX and the evaluation would on each."""
    lines = ("0 .5 .5 1.2 1.1", "0 .5 .5 1.4 1.3", "0 .9 .5 .3 .2", "0 .95 .5 .4 .2")
    objects, problems = parse("\n".join(lines), "a.txt", BOXES)
    sample = Sample(image="a.jpg", objects=tuple(objects), labels="a.txt")
    _, placed, findings = judge(tmp_path, sample, BOXES)
    assert [line for line, _ in placed.objects] == [1, 3]
    assert [text for text in told((*problems, *findings)) if "twice" in text] == [
        f"warning: a.txt:{line}: the same as line {first}: one object is labelled twice, and counts"
        " once"
        for line, first in ((2, 1), (4, 3))
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_texts_of_windows_editors_are_read(encoding: str) -> None:
    """Texts with a byte order mark and CRLF are read."""
    text, problem = decode_text("0 .5 .5 .1 .1\r\n".encode(encoding))
    assert (text.splitlines(), problem) == (["0 .5 .5 .1 .1"], "")


def test_labels_are_found_from_the_dataset_s_root(tmp_path: Path) -> None:
    """Labels are found from the dataset's root; folders above it do not matter."""
    root = tmp_path / "images" / "set"
    assert find_labels(root, root / "photos" / "a.b.jpg") == root / "photos" / "a.b.txt"
    assert label_file(PurePosixPath("x/images/images/a.jpg")) == PurePosixPath(
        "x/images/labels/a.txt"
    )


def test_lists_name_images_from_their_folder_or_from_the_root(tmp_path: Path) -> None:
    """Paths in lists are relative to the list's folder or to the root, with or without `./`."""
    (tmp_path / "lists").mkdir()
    (tmp_path / "images").mkdir()
    for name in ("lists/a.jpg", "images/b.jpg"):
        (tmp_path / name).touch()
    lines = "./a.jpg\n../images/b.jpg\nimages/b.jpg\n./nix.jpg\n/c.jpg\nnotes.md\n"
    (tmp_path / "lists" / "train.txt").write_text(lines)
    found, findings = find_images(tmp_path, Split(name="train", paths=("lists/train.txt",)))
    assert found == ("images/b.jpg", "lists/a.jpg")
    split = Split(name="train", paths=("lists/train.txt",))
    assert tuple(iterate_images(tmp_path, split)) == found
    assert told(findings) == [
        "error: lists/train.txt:4: lists ./nix.jpg, which does not exist",
        "error: lists/train.txt:5: /c.jpg lies outside the dataset; lists name images of the"
        " dataset, from the list's own folder",
        "warning: lists/train.txt:6: notes.md is not an image by its name: left out",
    ]


def test_paths_of_another_machine_in_a_list(tmp_path: Path) -> None:
    """For a list with another machine's paths the message has the line to write; an empty list is
    reported.
    """
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "b.jpg").touch()
    for name, text in (("a.TXT", "data/images/b.jpg\n/home/me/images/b.jpg\n"), ("b.txt", "\n")):
        (tmp_path / name).write_text(text)
    split = Split(name="train", paths=("a.TXT", "b.txt", "images/b.jpg"))
    _, findings = find_images(tmp_path, split)
    assert told(findings) == [
        "error: a.TXT:1: lists data/images/b.jpg, which does not exist; write images/b.jpg",
        "error: a.TXT:2: /home/me/images/b.jpg lies outside the dataset; lists name images of the"
        " dataset, from the list's own folder; write images/b.jpg",
        "warning: b.txt: this list names no image",
        "error: images/b.jpg: the train split names this, and it is not a folder or a .txt list; name"
        " the folder of its images, or a .txt file that lists one a line",
    ]


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


def test_pointers_of_git_lfs_are_recognised_in_data() -> None:
    """Git LFS pointers in images, labels and annotations are recognized."""
    what = "this is a Git LFS pointer, not the file itself; `git lfs pull` brings the file"
    assert decode_text(POINTER) == ("", what)
    assert explain(POINTER) == f"cannot be read: {what}"
    _, (mistake, *_) = coco_file.parse(POINTER, "a.json", "box")
    assert f"{mistake.message}; {mistake.hint}" == what


def test_an_image_is_turned_where_its_exif_says_so(tmp_path: Path) -> None:
    """The hint about EXIF is given only if width and height are swapped, in any format."""
    for orientation, turned in ((6, True), (8, True), (3, False), (1, False), (0, False)):
        exif = _exif(orientation).removeprefix(b"Exif\0\0")
        webp = b"WEBPVP8X\1\0\0\0?\0EXIF" + struct.pack("<I", len(exif)) + exif
        files = {
            "a.jpg": _jpeg((0xE1, _exif(orientation))),
            "a.png": _png(8, 2, (b"eXIf", exif)),
            "a.webp": b"RIFF" + struct.pack("<I", len(webp)) + webp,
            "a.tif": exif,
        }
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
            assert orientation_of(data) == (orientation or 1), name
            assert is_turned(tmp_path / name) is turned, name
    assert orientation_of(_jpeg() + _jpeg((0xE1, _exif(6)))) == 1
    assert orientation_of(_jpeg((0xE1, _exif(9)))) is None
    assert not is_turned(tmp_path / "missing.jpg")


@pytest.mark.parametrize(
    ("written", "cleaned"),
    [
        ("", ""),
        (
            "libpng warning: a\nlibpng error: Not enough image data\n",
            "libpng error: Not enough image data",
        ),
        ("[ WARN:0@0.622] global grfmt_tiff.cpp:123 TIFF_Warning Unknown field\n", "Unknown field"),
        ("[ERROR:1@1.5] global a.cpp:1 f can't read data: OpenCV(5.0.0) /io/a.cpp:8: error: b", ""),
    ],
)
def test_a_decoders_message_has_no_clock_and_no_source_file(written: str, cleaned: str) -> None:
    """The same image gives the same message in every run."""
    assert clean_message(written) == cleaned


def test_an_image_above_the_limits_is_not_damaged() -> None:
    """What OpenCV and libpng write about their limits is explained; other reasons are added."""
    for text in (
        "OpenCV(5.0.0) a.cpp:79: error: (-215) pixels <= CV_IO_MAX_IMAGE_PIXELS in function 'f'",
        "libpng warning: Image width exceeds user limit in IHDR\nlibpng error: Invalid IHDR data",
    ):
        assert explain(_png(8, 2), text).startswith("is too large: images of at most 1,000 million")
    assert (
        explain(_png(8, 2), "libpng error: a") == "is damaged: it does not decode (libpng error: a)"
    )
    assert explain(_png(8, 2)) == "is damaged: it does not decode"


def test_a_jpeg_of_12_bits_is_not_damaged() -> None:
    """OpenCV does not decode it, and neither does Pillow."""
    assert explain(_jpeg(precision=12)) == "has 12 bits a channel; save it with 8 bits a channel"
    assert explain(_jpeg()) == "is damaged: it does not decode"


def test_the_first_exif_data_of_a_png_count() -> None:
    """OpenCV applies the first of several, which is an error in the file."""
    assert [orientation_of(_png(8, 2, *_chunks(*order))) for order in ((6, 1), (1, 6))] == [6, 1]


def test_images_that_are_not_read_are_reported(tmp_path: Path) -> None:
    """Files of unsupported image formats are reported."""
    for name in ("a.HEIC", "b.JPG", "d.jfif", "e.ppm", "c.mpo", ".hidden.jpg", "notes.txt"):
        (tmp_path / name).touch()
    found, findings = find_images(tmp_path, Split(name="train", paths=(".",)))
    assert found == ("b.JPG", "c.mpo")
    assert told(findings) == [
        f"warning: {name}: images of the kind {Path(name).suffix} are not read: it is left out; save it"
        " as JPEG or PNG"
        for name in ("a.HEIC", "d.jfif", "e.ppm")
    ]


def test_folders_are_listed_alike_by_every_format(tmp_path: Path) -> None:
    """Files behind links are read, hidden folders are not."""
    (tmp_path / "away").mkdir()
    root = tmp_path / "set"
    for name in ("set/a.jpg", "set/.trash/b.jpg", "away/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (root / "linked").symlink_to(tmp_path / "away")
    found, findings = find_images(root, Split(name="train", paths=(".",)))
    assert (found, findings) == (("a.jpg", "linked/c.jpg"), ())
    assert tuple(iterate_images(root, Split(name="train", paths=(".",)))) == found


def test_labels_without_their_image_and_labels_of_two(tmp_path: Path) -> None:
    """Two images with one label file are reported; images without labels are not."""
    files = ("images/a.jpg", "images/a.png", "labels/a.txt", "labels/classes.txt", "labels/b.txt")
    for name in (*files, "images/c.jpg", "images/c.png", "photos/d.jpg", "photos/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "photos" / "e.txt").touch()
    splits = (Split(name="train", paths=("images", "photos")),)
    assert told(readers.read(tmp_path, "ultralytics", splits, BOXES).findings) == [
        "warning: images/a.png: has its labels (labels/a.txt) from images/a.jpg, too",
        "warning: labels/b.txt: a label file without its image",
        "warning: photos/e.txt: a label file without its image",
    ]


@pytest.mark.parametrize("name", ["ultralytics", "darknet"])
def test_texts_beside_labels_are_the_same_in_every_format(tmp_path: Path, name: str) -> None:
    """A text file is a label file by its ending in any case, unless tools write one of its name."""
    for file in ("a.jpg", "a.txt", "z.TXT", "val.txt", "Classes.txt", "notes.txt", "obj.names"):
        _write(tmp_path, file, "")
    _write(tmp_path, "predefined_classes.txt", "")
    reading = readers.read(tmp_path, name, (Split(name="train", paths=(".",)),), BOXES)
    assert told(reading.findings) == ["warning: z.TXT: a label file without its image"]


def test_a_split_without_images_stops_what_reads_it_alone(tmp_path: Path) -> None:
    """An empty test folder, as in Roboflow's exports, is allowed."""
    (tmp_path / "test" / "images").mkdir(parents=True)
    split = Split(name="test", paths=("test/images",))
    found, findings = find_images(tmp_path, split)
    assert (found, told(findings)) == ((), ["warning: test/images: the test split has no images"])
    with pytest.raises(StepError, match="the test split has no images"):
        list_images(tmp_path, split)


def test_all_findings_of_a_dataset_come_at_once(tmp_path: Path) -> None:
    """All errors are reported in one run."""
    for folder in ("images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True)
    for name in "abc":
        (tmp_path / "images" / "train" / f"{name}.jpg").touch()
    (tmp_path / "labels" / "train" / "a.txt").write_text("0 .5 .5\n")
    (tmp_path / "labels" / "train" / "b.txt").write_bytes(b"\xff\xfa\x00")
    splits = (
        Split(name="train", paths=("images/train",)),
        Split(name="val", paths=("images/val",)),
    )
    reading = readers.read(tmp_path, "ultralytics", splits, BOXES)
    assert [sample.image for sample in reading.samples] == [
        f"images/train/{name}.jpg" for name in "abc"
    ]
    assert told(reading.findings) == [
        "error: labels/train/a.txt:1: 3 numbers; class and box are 5",
        "error: labels/train/b.txt: is not a text in UTF-8 (byte 0); save it as UTF-8, or remove it",
        "error: images/val: the val split names this, and it does not exist",
    ]
    assert (reading.samples[2].labels, reading.samples[2].objects) == ("", ())


def test_a_split_without_an_object_is_an_error_where_it_is_needed() -> None:
    """Label files without an image, and splits without objects, are reported before training."""
    split = Split(name="val", paths=("images/val",))
    samples = (Sample(image="images/val/a.jpg"), Sample(image="images/val/b.jpg"))
    assert told(tuple(find_unlabelled([(split, samples)], ("val",)))) == [
        "error: images/val: no object is labelled in the val split, in 2 images; no image has a label"
        " file: labels/… stands beside images/…, by the same names"
    ]
    left_out = (Sample(image="images/val/a.jpg", labels="labels/val/a.txt"),)
    (finding,) = find_unlabelled([(split, left_out)], ("val",))
    assert finding.hint == "its label files hold no object that is on its image"
    empty = (Sample(image="images/val/a.jpg", labels="labels/val/a.txt"),)
    assert told(tuple(find_unlabelled([(split, empty), (split, ())], ("train",)))) == [
        "warning: images/val: no object is labelled in the val split, in 1 images; its label files hold"
        " no object that is on its image"
    ]


def test_many_warnings_are_a_few_lines_of_the_log() -> None:
    """The first warnings of each kind are listed, and the others counted."""
    boxes = [
        Finding(kind="box-outside", severity="warning", path=f"{n}.txt", message="is clipped")
        for n in range(3000)
    ]
    stray = Finding(kind="stray-label", severity="warning", path="b.txt", message="has no image")
    lines = list(list_warnings([*boxes, stray]))
    assert len(lines) == 22
    assert lines[19:] == [
        "warning: 19.txt: is clipped",
        "warning: … and 2980 more like it; `buildsys check --data` lists them all",
        "warning: b.txt: has no image",
    ]


def test_prepared_labels_are_what_was_labelled() -> None:
    """Labels are written with twelve digits; unlabelled points are at 0, 0."""
    pose = Layout(classes=("tag",), keypoints=2, dims=3)
    ((_, item),), _ = parse("0 .5 .5 .2 .123456789012 .5 .4 2 7 7 0", "a.txt", pose)
    line = prepared.label_line(item)
    assert line == "0 0.5 0.5 0.2 0.123456789012 0.5 0.4 2 0 0 0\n"
    flat = Layout(classes=("tag",), keypoints=1, dims=2)
    ((_, item),), _ = parse("0 .5 .5 .2 .2 .5 .4", "a.txt", flat)
    assert prepared.label_line(item, 2) == "0 0.5 0.5 0.2 0.2 0.5 0.4\n"


def test_no_prepared_path_has_a_second_folder_images() -> None:
    """A folder named images within the path keeps its labels."""
    names = prepared_names.choose_stems(["images/a.jpg", "b/images/a.jpg", "a.png", "b/a.jpg"])
    assert names == ("a", "b/a", "a-png", "b/a-jpg")


def test_a_prepared_dataset_without_val_can_be_trained_on() -> None:
    """A dataset without a val split gets one in its data.yaml, which Ultralytics requires."""
    text = prepared.describe(prepared.Description(classes=("no",)), ("train",))
    assert text == 'train: images/train\nval: images/train\nnames:\n  0: "no"\n'


def _jpeg(*segments: tuple[int, bytes], precision: int = 8, components: int = 3) -> bytes:
    frame = bytes([precision, 0, 16, 0, 16, components]) + b"\x01\x11\x00" * components
    found = b"\xff\xd8"
    for marker, body in (*segments, (0xC0, frame), (0xDA, b"\x01")):
        found += bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
    return found + b"data\xff\xd9"


SCAN = b"\xff\xda\x00\x03\x01"
HUFFMAN = b"\xff\xc4\x00\x06\xff\xd9\xff\xda"  # marks inside a segment are none
WHOLE = {
    "one scan": b"\xff\xd8" + SCAN + b"data\xff\x00\xff\xd0data\xff\xff\xd9",
    "scans": b"\xff\xd8" + SCAN + b"data" + HUFFMAN + SCAN + b"data\xff\xd9",
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("behind", [b"", b"\0\0\0\x18ftypmp42 a film \xff\xda of it", _jpeg()])
def test_what_follows_a_whole_jpeg_does_not_cut_it_off(kind: str, behind: bytes) -> None:
    """Extra data after an image's end is recognized."""
    data = WHOLE[kind]
    assert not is_cut_off(data + behind)
    for end in range(2, len(data) - 1):
        assert is_cut_off(data[:end])
        assert is_cut_off(data[:end].rstrip(b"\xff") + b"\xff\xd8")


def _exif(orientation: int, order: str = "<") -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    row = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0" + mark + struct.pack(f"{order}IH", 8, 1) + row


def _png(depth: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    found = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", 16, 16, depth, colour, 0, 0, 0)
    for name, body in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        found += struct.pack(">I", len(body)) + name + body + b"crc!"
    return found


_XMP_START = b"http://ns.adobe.com/xap/1.0/\0"
RAW, XMP = b"Raw profile type exif", b"XML:com.adobe.xmp"


def _xmp(orientation: int) -> bytes:
    return f'<rdf:Description tiff:Orientation="{orientation}"/>'.encode()


def _raw(orientation: int) -> bytes:
    exif = _exif(orientation)
    return b"\nexif\n%8d\n%s\n" % (len(exif), exif.hex().encode())


def _chunks(*orientations: int) -> list[tuple[bytes, bytes]]:
    return [(b"eXIf", _exif(orientation)[6:]) for orientation in orientations]


_BMP = b"BM" + bytes(26) + b"\x18\x00" + bytes(4)
KINDS: dict[str, tuple[bytes, str, bool]] = {
    "jpeg": (_jpeg(), ".jpg", True),
    "jpeg, capital": (_jpeg(), ".JPEG", True),
    "grey jpeg": (_jpeg(components=1), ".jpg", True),
    "cmyk jpeg": (_jpeg(components=4), ".jpg", False),
    "jpeg of 12 bits": (_jpeg(precision=12), ".jpg", False),
    "upright": (_jpeg((0xE1, _exif(1))), ".jpg", True),
    "turned": (_jpeg((0xE1, _exif(6))), ".jpg", False),
    "turned, other order": (_jpeg((0xE1, _exif(8, ">"))), ".jpg", False),
    "two images": (_jpeg((0xE2, b"MPF\0")), ".jpg", False),
    "something behind": (_jpeg() + b"more", ".jpg", False),
    "arithmetic jpeg": (_jpeg().replace(b"\xff\xc0", b"\xff\xc9"), ".jpg", False),
    "turned by xmp": (_jpeg((0xE1, _XMP_START + _xmp(6))), ".jpg", False),
    "upright by xmp": (_jpeg((0xE1, _XMP_START + _xmp(1))), ".jpg", True),
    "upright by exif": (_jpeg((0xE1, _exif(1)), (0xE1, _XMP_START + _xmp(6))), ".jpg", True),
    "png": (_png(8, 2), ".png", True),
    "grey png": (_png(8, 0), ".png", True),
    "png of 16 bits": (_png(16, 2), ".png", False),
    "palette": (_png(8, 3), ".png", False),
    "alpha": (_png(8, 6), ".png", False),
    "transparent": (_png(8, 2, (b"tRNS", b"12")), ".png", False),
    "animated": (_png(8, 2, (b"acTL", b"12345678")), ".png", False),
    "turned png": (_png(8, 2, (b"eXIf", _exif(6)[6:])), ".png", False),
    "upright png": (_png(8, 2, (b"eXIf", _exif(1)[6:])), ".png", True),
    "png turned by its first exif": (_png(8, 2, *_chunks(6, 1)), ".png", False),
    "png turned by its second exif": (_png(8, 2, *_chunks(1, 6)), ".png", False),
    "png turned by raw exif": (_png(8, 2, (b"tEXt", RAW + b"\0" + _raw(6))), ".png", False),
    "png turned by compressed exif": (
        _png(8, 2, (b"zTXt", RAW + b"\0\0" + zlib.compress(_raw(6)))),
        ".png",
        False,
    ),
    "png of malformed raw exif": (_png(8, 2, (b"zTXt", RAW + b"\0\0")), ".png", False),
    "png upright by raw exif": (_png(8, 2, (b"tEXt", RAW + b"\0" + _raw(1))), ".png", True),
    "png turned by xmp": (_png(8, 2, (b"iTXt", XMP + bytes(5) + _xmp(6))), ".png", False),
    "png turned by compressed xmp": (
        _png(8, 2, (b"iTXt", XMP + b"\0\x01\0\0\0" + zlib.compress(_xmp(6)))),
        ".png",
        False,
    ),
    "png upright by xmp": (_png(8, 2, (b"iTXt", XMP + bytes(5) + _xmp(1))), ".png", True),
    "malformed exif": (_png(8, 2, (b"eXIf", b"12")), ".png", False),
    "png named jpg": (_png(8, 2), ".jpg", False),
    "bmp": (_BMP, ".bmp", True),
    "bmp of 32 bits": (_BMP.replace(b"\x18", b"\x20"), ".bmp", False),
    "webp": (b"RIFF....WEBPVP8 ", ".webp", True),
    "webp with more": (b"RIFF....WEBPVP8X", ".webp", False),
    "tiff": (b"II*\0", ".tif", False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_that_every_decoder_reads_alike_are_kept(kind: str) -> None:
    """Bytes that all decoders read equally are kept; others are written as PNG."""
    data, suffix, kept = KINDS[kind]
    assert is_plain(data, suffix, jpeg_file.keep_image(data)) is kept
    for end in range(len(data)):  # terminates for any truncation
        is_plain(data[:end], suffix, jpeg_file.keep_image(data[:end]))


COLOURS = (0xE2, b"ICC_PROFILE\0\x01\x01...")
SECOND = (0xE2, b"MPF\0II*\0")
FILLED = b"\xff\xd8\xff\xff" + _jpeg(COLOURS)[2:]
CUT: dict[str, tuple[bytes, bytes]] = {
    "a second image": (_jpeg(COLOURS, SECOND) + _jpeg(), _jpeg(COLOURS)),
    "an upright photograph": (_jpeg((0xE1, _exif(1)), SECOND) + _jpeg(), _jpeg((0xE1, _exif(1)))),
    "a film": (_jpeg() + b"\0\0\0\x18ftypmp42", _jpeg()),
    "nothing": (_jpeg(COLOURS), _jpeg(COLOURS)),
    "fill bytes": (FILLED + b"more", FILLED),
    "a rotated photograph": (_jpeg((0xE1, _exif(6)), SECOND) + _jpeg(), b""),
    "CMYK": (_jpeg(SECOND, components=4), b""),
    "a truncated image": (_jpeg(SECOND)[:-1], b""),
    "a PNG": (_png(8, 2), b""),
}


@pytest.mark.parametrize("kind", CUT)
def test_a_jpeg_keeps_its_image_and_its_colours_without_what_follows(kind: str) -> None:
    """Only the index of further images and the bytes behind the image are left out."""
    data, kept = CUT[kind]
    assert jpeg_file.keep_image(data) == kept
    assert jpeg_file.keep_image(kept) == kept


def test_a_photograph_with_a_second_image_is_prepared_as_jpeg(tmp_path: Path) -> None:
    """The prepared file is a JPEG of its own, whatever the ending of the source's name is."""
    data, kept = CUT["a second image"]
    photo = Photo(digest="", image=None, jpeg=kept)
    for name, ending in (("a.JPG", ".JPG"), ("a.mpo", ".jpg"), ("a.png", ".jpg")):
        (tmp_path / name).write_bytes(data)
        assert prepared.ending_of(name, photo) == ending
        prepared.write_image(tmp_path / name, tmp_path / "out" / f"{name}{ending}", photo)
        assert (tmp_path / "out" / f"{name}{ending}").read_bytes() == kept
    assert prepared.ending_of("a.jpg", Photo(digest="", image=None)) == ".png"


REASONS = {
    "JPEG with CMYK or a rare coding": ("cmyk jpeg", "arithmetic jpeg"),
    "PNG with a palette, other than 8 bits, transparency or several frames": (
        "png of 16 bits",
        "transparent",
    ),
    "BMP with other than 24 bits, or compressed": ("bmp of 32 bits",),
    "WebP without loss, or with transparency, metadata or several frames": ("webp with more",),
    "TIFF": ("tiff",),
    "rotated by EXIF data": ("turned", "turned, other order", "turned png"),
    "with a rotation that only some programs apply (XMP, several EXIF data)": (
        "turned by xmp",
        "png turned by its second exif",
        "png turned by raw exif",
        "png turned by compressed xmp",
    ),
    "with malformed EXIF data": ("malformed exif",),
    "with the file name ending of another format": ("png named jpg",),
}


@pytest.mark.parametrize("reason", REASONS)
def test_the_reason_why_an_image_becomes_png_is_the_real_one(tmp_path: Path, reason: str) -> None:
    """A TIFF or an image with another format's ending becomes PNG, whatever its pixels are."""
    for kind in REASONS[reason]:
        data, suffix, _ = KINDS[kind]
        path = tmp_path / f"a{suffix.upper()}"
        path.write_bytes(data)
        assert find_reason(path) == reason


def test_labels_with_mistakes_are_not_missing_as_well(tmp_path: Path) -> None:
    """Keypoints without `kpt_shape` are one mistake; a split with empty files alone is another."""
    texts = {"train": f"0 {' '.join(['.5'] * 4)} .5 .5 2 .5 .5 2\n", "val": ""}
    for split, text in texts.items():
        _write(tmp_path, f"images/{split}/a.jpg", "")
        _write(tmp_path, f"labels/{split}/a.txt", text)
    splits = tuple(Split(name=name, paths=(f"images/{name}",)) for name in texts)
    found = readers.read(tmp_path, "ultralytics", splits, BOXES)
    assert [finding.severity for finding in found.findings] == ["error"]
    assert [split.name for split, _ in sound_splits(splits, found)] == ["val"]


def test_images_in_folders_of_classes_have_no_label_files() -> None:
    """The table of `check --data` has no row for the label files of such data."""
    layout = Layout(classes=("apple",), keypoints=0, dims=0, shape="folder")
    tally = dataset_survey.Tally(name="train", layout=layout, frames=())
    tally.add_sample(Sample(image="train/apple/1.jpg"), (8, 8), empty=False)
    report = {
        "classes": ["apple"],
        "shape": "folder",
        "inputs": [],
        "keypoints": 0,
        "splits": [tally.facts()],
    }
    assert "label file" not in render_table(report)
    assert "without label file" in render_table({**report, "shape": "box"})


def test_sigmas_are_ultralytics_defaults_where_the_dataset_has_none() -> None:
    """A dataset without sigmas gets Ultralytics' default sigmas."""
    assert keypoint_sigmas.choose((0.1, 0.2), 2).values == (0.1, 0.2)
    four = keypoint_sigmas.choose((), 4)
    assert (four.values, four.source) == ((0.25,) * 4, "Ultralytics' default, 1/4")
    assert len(keypoint_sigmas.choose((), 17).values) == 17


def test_a_folder_without_images_of_a_class_is_a_gap() -> None:
    """A class without images in a split of class folders is reported, as one without objects is."""
    layout = Layout(classes=("apple", "pear"), keypoints=0, dims=0, shape="folder")
    tally = dataset_survey.Tally(name="val", layout=layout, frames=())
    item = Object(category=1, box=(0.5, 0.5, 1.0, 1.0), keypoints=(), outline=())
    tally.add_sample(Sample(image="val/pear/1.jpg", objects=((0, item),)), (8, 8), empty=False)
    (finding,) = dataset_survey.find_gaps([tally])
    assert finding.message == "no apple in the val split"


def test_classes_that_differ_only_in_case_are_a_warning() -> None:
    """A person or tool has likely written one class in two ways."""
    (finding,) = dataset_survey.find_alike(["Ball", "cone", "ball", "Cones"])
    assert finding.severity == "warning"
    assert finding.message == "classes Ball, ball differ only in upper and lower case"
