"""Conversion between the COCO format and Ultralytics' layout."""

import json
import math
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildsys.steps import prepare_dataset, write_coco
from buildsys.steps.lib.datasets import readers
from buildsys.steps.lib.datasets.formats import coco_file
from buildsys.steps.lib.datasets.formats.coco_file import AnnotationFile, parse
from buildsys.steps.lib.datasets.labels import Layout, Object, make_object
from buildsys.steps.lib.datasets.prepared import Description, describe, label_line
from buildsys.steps.lib.datasets.samples import Sample
from buildsys.steps.lib.datasets.ultralytics_layout import Split

SIDES = {"width": 640, "height": 427}
PERSON = {"id": 1, "name": "person", "keypoints": ["nose", "left_eye", "right_eye"]}


def sheet(shape: str = "box", category: Any = None, **row: Any) -> AnnotationFile:
    """A valid annotation file with one image and one annotation."""
    found, mistakes = read(shape, category, **row)
    assert found is not None, mistakes
    return found


def read(
    shape: str = "box", category: Any = None, **row: Any
) -> tuple[AnnotationFile | None, list[str]]:
    """Read one image with one annotation; return it and the findings."""
    usual = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 100, 50]}
    data = {
        "images": [{"id": 1, "file_name": "a.jpg", **SIDES}],
        "annotations": [usual | row],
        "categories": [category or {"id": 1, "name": "cell"}],
    }
    found, mistakes = parse(json.dumps(data).encode(), "train.json", shape)
    return found, [mistake.message for mistake in mistakes]


def only(found: AnnotationFile) -> Object:
    """The only object of the only image."""
    ((item,),) = found.objects
    return item


class CountedCategories(tuple[tuple[int, str], ...]):
    """Categories that count how often they are looked through."""

    passes = 0

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Count one more pass."""
        self.passes += 1
        return super().__iter__()


def test_an_annotation_finds_its_category_without_a_search() -> None:
    """Categories are looked through once for a file, not once for each annotation."""
    categories = CountedCategories((number, f"c{number}") for number in range(10, 20))
    layout = coco_file.Layout(categories=categories, shape="box")
    image = coco_file.ImageEntry(id=1, name="a.jpg", width=640, height=427)
    row = {"bbox": [10, 10, 100, 50]}
    notes = coco_file.Notes()
    found = [
        coco_file.read_object({**row, "category_id": number}, "", layout, image, notes)
        for number, _ in sorted(categories)
    ]
    assert [item.category for item in found if item is not None] == list(range(10))
    assert categories.passes <= 3


def test_a_box_is_centre_and_size_as_shares() -> None:
    """A box becomes centre and size as fractions."""
    item = only(sheet(bbox=[64, 42.7, 320, 213.5]))
    assert item.box == pytest.approx((0.35, 0.35, 0.5, 0.5), abs=1e-12)


def test_crowds_are_left_out_and_counted() -> None:
    """Crowd annotations are left out and counted."""
    crowd = {"iscrowd": 1, "segmentation": {"counts": [], "size": [427, 640]}}
    box = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}
    data = {
        "images": [{"id": 1, "file_name": "a.jpg", **SIDES}],
        "annotations": [{"id": 1, **box, **crowd}, {"id": 2, **box}],
        "categories": [{"id": 1, "name": "bar"}],
    }
    found, _ = parse(json.dumps(data).encode(), "train.json", "box")
    assert found is not None
    assert (len(found.objects[0]), found.crowds) == (1, 1)


def test_ids_with_gaps_are_ranks() -> None:
    """Category ids with gaps become consecutive classes, as for COCO (ids to 90, classes to 79)."""
    data = {
        "images": [{"id": 1, "file_name": "a.jpg", **SIDES}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 90, "bbox": [1, 1, 2, 2]}],
        "categories": [
            {"id": 90, "name": "brush"},
            {"id": 0, "name": "hand"},
            {"id": 7, "name": "up"},
        ],
    }
    found, mistakes = parse(json.dumps(data).encode("utf-8-sig"), "train.json", "box")
    assert not mistakes
    assert found is not None
    assert found.layout.names == ("hand", "up", "brush")
    assert only(found).category == 2


def test_an_outline_is_what_segment_learns() -> None:
    """Several polygons of one object are joined by lines without width."""
    near, far = [0, 0, 64, 0, 64, 42.7, 0, 42.7], [128, 0, 192, 0, 192, 42.7, 128, 42.7]
    item = only(sheet("outline", segmentation=[near, far]))
    points = [(round(x * 640, 6), round(y * 427, 6)) for x, y in item.outline]
    assert set(points) == {(x, y) for x in (0, 64, 128, 192) for y in (0, 42.7)}
    # joined there and back, so that the area is the sum
    ends = zip(points, [*points[1:], points[0]], strict=True)
    area = abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in ends)) / 2
    assert area == pytest.approx(2 * 64 * 42.7)


def test_the_box_of_an_outline_is_around_it() -> None:
    """With outlines, a `bbox` may be missing, and does not count where it is elsewhere."""
    around = [64, 42.7, 128, 42.7, 128, 85.4]
    for box, apart in ((None, ()), ([62, 41, 67, 45], ()), ([300, 10, 9, 5], ("annotation 1",))):
        found = sheet("outline", segmentation=[around], bbox=box)
        assert only(found).box == pytest.approx((0.15, 0.15, 0.1, 0.1))
        assert found.apart == apart


def test_a_bbox_beside_its_outline_is_reported_once(tmp_path: Path) -> None:
    """A file whose boxes are not around their outlines gives one warning."""
    row = {"image_id": 1, "category_id": 1, "bbox": [300, 10, 9, 5]}
    row["segmentation"] = [[64, 42.7, 128, 42.7, 128, 85.4]]
    other = row | {"segmentation": [[64, 42.7, 128, 42.7, 128, 99]]}
    data = {
        "images": [{"id": 1, "file_name": "a.jpg", **SIDES}],
        "annotations": [{"id": 4, **row}, {"id": 5, **other}],
        "categories": [{"id": 1, "name": "cell"}],
    }
    (tmp_path / "a.jpg").touch()
    (tmp_path / "train.json").write_text(json.dumps(data))
    split = Split(name="train", paths=(".", "train.json"))
    layout = Layout(classes=("cell",), keypoints=0, dims=0, shape="outline")
    assert [
        str(finding) for finding in readers.read(tmp_path, "coco", (split,), layout).findings
    ] == [
        "train.json: 2 `bbox` not around the `segmentation`, which counts; the first: annotation 4"
    ]


def test_boxes_that_are_all_two_corners_are_a_mistake() -> None:
    """A box may exceed its image, unless all boxes of the file look like two corners."""
    assert read(bbox=[100, 100, 600, 400])[1] == [
        "annotation 1: its box reaches 0.171 of the height (73.0 px) beyond the lower edge of"
        ' "a.jpg", which is 640x427'
    ]
    assert read(bbox=[100, 300, 600, 200])[1] == []


@pytest.mark.parametrize(("beyond", "is_mistake"), [(1, False), (2, True)])
def test_boxes_of_large_objects_are_no_corners(beyond: int, is_mistake: bool) -> None:
    """The size of a close-up is greater than its place, and few of them exceed the image."""
    boxes = [[12, 8, 630, 466]] * beyond + [[20, 12, 610, 440]] * (4 - beyond)
    data = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 640, "height": 480}],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": 1, "bbox": box}
            for number, box in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "cell"}],
    }
    found, mistakes = parse(json.dumps(data).encode(), "train.json", "box")
    assert (found is None, len(mistakes)) == ((True, 2) if is_mistake else (False, 0))


def test_outlines_of_many_points_are_joined() -> None:
    """Outlines of a segmentation network have thousands of points: a slower way would not end."""
    circle = [(math.cos(turn / 1000) * 100, math.sin(turn / 1000) * 100) for turn in range(6283)]
    polygons = [[place + 200 * number for xy in circle for place in xy] for number in (1, 2)]
    assert len(only(sheet("outline", segmentation=polygons)).outline) == 2 * 6283 + 2


def test_numbers_as_other_languages_write_them() -> None:
    """JavaScript and pandas write `true` for 1, and 1.0 for 1."""
    assert sheet(id=1.0, image_id=1.0, category_id=1.0, iscrowd=False).crowds == 0
    assert read(iscrowd=True)[1] == [
        "every annotation is of a crowd (`iscrowd: 1`): nothing is left to learn"
    ]
    assert read(category_id=1.5)[1] == ["annotation 1: `category_id` is a whole number, not 1.5"]


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (
            {"counts": "abc", "size": [427, 640]},
            "annotation 1: `segmentation` is a run-length mask",
        ),
        ([[1, 1, 2, 2]], "annotation 1: `segmentation` is lists of x, y of three points or more"),
        ([[1, 1, 2, 2, 3, "3"]], "annotation 1: `segmentation` is lists of x, y of three"),
        ([1, 1, 2, 2, 3, 3], "annotation 1: `segmentation` is lists of x, y of three"),
        (
            [[1, 1, 7000, 2, 3, 3]],
            "annotation 1: the outline of this cell reaches 9.938 of the width (6360.0 px) beyond the"
            ' right edge of "a.jpg", which is 640x427',
        ),
        ([], "no annotation has a `segmentation`"),
    ],
)
def test_an_outline_that_is_none(segmentation: object, message: str) -> None:
    """An invalid outline gives a finding."""
    found, mistakes = read("outline", segmentation=segmentation)
    assert found is None
    (told,) = mistakes
    assert told.startswith(message)
    assert read("box", segmentation=segmentation)[0] is not None, "boxes need no outline"


def test_keypoints_with_what_their_names_say() -> None:
    """Keypoints are read with flip pairs from their names; unlabelled points are at 0, 0."""
    found = sheet("keypoints", PERSON, keypoints=[64, 42.7, 2, 0, 0, 0, 640, 427, 1])
    points = [value for point in only(found).keypoints for value in point]
    assert points == pytest.approx([0.1, 0.1, 2, 0, 0, 0, 1, 1, 1])
    assert found.layout.flip == (0, 2, 1)


@pytest.mark.parametrize(
    ("names", "flip"),
    [
        ("nose left_eye right_eye", (0, 2, 1)),
        ("nose LEFT_EYE RIGHT_EYE", (0, 2, 1)),
        ("nose l_eye r_eye", (0, 2, 1)),
        ("Eye-L Eye-R nose", (1, 0, 2)),
        ("LEye REye leftEye rightEye", (1, 0, 3, 2)),
        ("lefteye righteye", (1, 0)),
        ("left right", (1, 0)),
        ("bright_spot left_eye right_eye Upright", (0, 2, 1, 3)),
        ("left_eye right_eye left_ear", ()),
        ("nose tail", ()),
        ("k l m r", ()),  # letters
        ("left_eye right_eye l1 r1", (1, 0, 3, 2)),
        ("left_hip right_hip L1 L2", (1, 0, 2, 3)),  # vertebrae
        ("left_eye right_eye leftear rigthear", ()),
        ("left_a right_a leftb rightc", ()),
        ("left_a right_a l_b r_c", ()),
        ("lhip rhip left_knee right_knee", ()),
        ("hipl hipr left_knee right_knee", ()),
    ],
)
def test_sides_in_names_of_keypoints_are_their_counterparts(
    names: str, flip: tuple[int, ...]
) -> None:
    """Sides are words in any notation; one without its counterpart makes the order unknown."""
    person = {"id": 1, "name": "person", "keypoints": names.split()}
    found = sheet("keypoints", person, keypoints=[0] * 3 * len(names.split()))
    assert found.layout.flip == flip


@pytest.mark.parametrize(
    ("keypoints", "message"),
    [
        (None, "annotation 1: `keypoints` are 9 numbers: x, y, visibility of each"),
        ([1, 1, 2], "annotation 1: `keypoints` are 9 numbers: x, y, visibility of each, not 3"),
        ([1, 1, 3] + [0] * 6, "annotation 1: a keypoint's visibility is 0, 1 or 2"),
        (
            [0] * 6 + [1, 500, 2],
            "annotation 1: keypoint 2 of this person is outside the image: 0.0015625, 1.17096",
        ),
    ],
)
def test_keypoints_that_are_none(keypoints: object, message: str) -> None:
    """Invalid keypoints give a finding."""
    (told,) = read("keypoints", PERSON, keypoints=keypoints)[1]
    assert told.startswith(message)


@pytest.mark.parametrize("sigmas", [[0.1], [0.1, 0.1, 0], "all", [0.1, 0.1, "x"]])
def test_sigmas_that_are_none(sigmas: object) -> None:
    """Invalid sigmas give a finding."""
    category = PERSON | {"sigmas": sigmas}
    (told,) = read("keypoints", category, keypoints=[0] * 9)[1]
    assert told == "category 1: `sigmas` are numbers above 0, one a keypoint"


def test_names_that_yaml_reads_otherwise() -> None:
    """Class names with a meaning in YAML are kept."""
    from ruamel.yaml import YAML

    found = sheet(category={"id": 1, "name": 'no: "é" #1'})
    text = describe(Description(classes=found.layout.names), ("train",))
    assert YAML(typ="safe").load(text)["names"] == {0: 'no: "é" #1'}


def stems(split: str, folder: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """The target names of a split's images in `folder`."""
    chosen = Split(name=split, paths=(folder, f"{split}.json"))
    samples = tuple(Sample(image=posixpath.normpath(f"{folder}/{name}")) for name in names)
    params = prepare_dataset.Params(format="coco", splits=(chosen,), classes=("cell",), shape="box")
    return prepare_dataset.choose_stems(Path(), chosen, samples, params)


def test_images_that_differ_in_their_ending_keep_their_labels() -> None:
    """Images that differ only in their ending keep separate labels."""
    names = ("a.jpg", "a.png", "a-png.png", "b/a.jpg", "b/c.d.jpg")
    assert stems("train", "images", names) == ("a", "a-png-png", "a-png", "b/a", "b/c.d")


def test_a_folder_of_the_split_is_not_doubled() -> None:
    """A folder named like the split is not repeated in paths."""
    for folder in ("images", "."):
        assert stems("val", folder, ("val/0.jpg", "val/1.jpg")) == ("0", "1")
        assert stems("train", folder, ("val/0.jpg", "val/1.jpg")) == ("val/0", "val/1")


Side = st.integers(1, 5000)
Pixels = st.floats(0, 1, allow_subnormal=False)


@given(width=Side, height=Side, ends=st.tuples(Pixels, Pixels, Pixels, Pixels))
def test_boxes_come_back(width: int, height: int, ends: tuple[float, ...]) -> None:
    """Boxes survive COCO -> label file -> COCO to a millionth of a pixel."""
    x, w, y, h = ends[0] * width, ends[1] * width, ends[2] * height, ends[3] * height
    w, h = min(w, width - x), min(h, height - y)
    if min(w, h) < 1e-3:
        return
    data = {
        "images": [{"id": 5, "file_name": "a.jpg", "width": width, "height": height}],
        "annotations": [{"id": 1, "image_id": 5, "category_id": 1, "bbox": [x, y, w, h]}],
        "categories": [{"id": 1, "name": "cell"}],
    }
    found, mistakes = parse(json.dumps(data).encode(), "a.json", "box")
    assert found is not None, mistakes
    line = label_line(only(found))
    item = make_object([float(word) for word in line.split()], "box", 0, 0)
    row = write_coco.annotation(item, width, height)
    assert row["bbox"] == pytest.approx([x, y, w, h], abs=1e-6)
    assert (row["category_id"], row["iscrowd"]) == (1, 0)


@given(points=st.lists(st.tuples(Pixels, Pixels), min_size=3, max_size=8))
def test_outlines_come_back(points: list[tuple[float, float]]) -> None:
    """Outlines keep the number and order of their points."""
    given_ = [value for x, y in points for value in (x * 640, y * 427)]
    outline = make_object([0, *(v for p in points for v in p)], "outline", 0, 0)
    row = write_coco.annotation(outline, 640, 427)
    assert row["segmentation"][0] == pytest.approx(given_, abs=1e-6)


def test_keypoints_come_back() -> None:
    """Keypoints keep their visibility; unlabelled ones are at 0, 0."""
    numbers = [64.25, 42.7, 2, 0, 0, 0, 320, 213.5, 1]
    item = only(sheet("keypoints", PERSON, keypoints=numbers))
    line = label_line(item)
    back = make_object([float(word) for word in line.split()], "box", 3, 3)
    row = write_coco.annotation(back, **SIDES)
    assert row["keypoints"] == pytest.approx(numbers, abs=1e-6)
    assert row["num_keypoints"] == 2


Anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=6,
)
Rows = st.sampled_from(("images", "annotations", "categories"))
Keys = st.sampled_from(
    (
        "id",
        "file_name",
        "width",
        "height",
        "image_id",
        "category_id",
        "bbox",
        "iscrowd",
        "name",
        "segmentation",
        "keypoints",
        "sigmas",
        "flip_idx",
        "",
    )
)


@given(rows=Rows, key=Keys, value=Anything, shape=st.sampled_from(("box", "outline", "keypoints")))
def test_anything_in_the_place_of_anything_is_a_mistake_or_fine(
    rows: str, key: str, value: object, shape: str
) -> None:
    """Any value in any place is valid or a finding, never a traceback."""
    outline = [[10, 10, 20, 10, 20, 20]]
    usual = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 100, 50]}
    data: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a.jpg", **SIDES}],
        "annotations": [usual | {"segmentation": outline, "keypoints": [0] * 9}],
        "categories": [dict(PERSON)],
    }
    if key:
        data[rows][0][key] = value
    else:
        data[rows] = value
    found, mistakes = parse(json.dumps(data).encode(), "train.json", shape)
    assert (found is None) == bool(mistakes)
    assert all(mistake.message.strip() for mistake in mistakes)
    if found is not None:
        [label_line(item) for objects in found.objects for item in objects]


def bring(root: Path, name: str, crowds: int = 0, file_name: str = "b.jpg") -> readers.Reading:
    """Read a split with one annotation file whose images exist."""
    (root / "images" / "day").mkdir(parents=True)
    for image in ("day/b.jpg", "a.jpg"):
        (root / "images" / image).write_bytes(b"")
    box = {"image_id": 1, "category_id": 4, "bbox": [64, 42.7, 320, 213.5]}
    data = {
        "images": [
            {"id": 1, "file_name": file_name, **SIDES},
            {"id": 2, "file_name": "a.jpg", **SIDES},
        ],
        "annotations": [{"id": i, **box, "iscrowd": int(i < crowds)} for i in range(crowds + 1)],
        "categories": [{"id": 4, "name": "cell"}],
    }
    (root / "train.json").write_text(json.dumps(data))
    layout = Layout(classes=("cell",), keypoints=0, dims=0)
    return readers.read(root, name, (Split(name="train", paths=("images", "train.json")),), layout)


def test_coco_is_read_like_every_other_format(tmp_path: Path) -> None:
    """COCO gives samples with the size from the annotation file; crowds are a warning."""
    reading = bring(tmp_path, "coco", crowds=2, file_name="day/b.jpg")
    ((_, (first, second)),) = reading.splits
    assert (first.image, first.objects) == ("images/a.jpg", ())
    assert (second.image, second.labels, second.size) == (
        "images/day/b.jpg",
        "train.json",
        (640, 427),
    )
    ((line, item),) = second.objects
    assert (line, item.category, item.box[2]) == (0, 0, 0.5)
    assert [(f.severity, str(f)) for f in reading.findings] == [
        ("warning", "train.json: annotations of crowds (`iscrowd: 1`) are left out: 2")
    ]


def test_base_names_are_a_format_of_their_own(tmp_path: Path) -> None:
    """Images are searched by base name only with that setting; the finding says what to write."""
    (problem,) = bring(tmp_path / "a", "coco").findings
    assert (problem.severity, problem.hint) == (
        "error",
        "write `match: base-name` beside `format: coco`",
    )
    ((_, samples),) = bring(tmp_path / "b", "coco-base-name").splits
    assert [sample.image for sample in samples] == ["images/a.jpg", "images/day/b.jpg"]


def test_categories_that_are_not_the_classes(tmp_path: Path) -> None:
    """Categories that differ from the dataset's classes are a finding."""
    bring(tmp_path, "coco", file_name="day/b.jpg")
    split = Split(name="train", paths=("images", "train.json"))
    for classes, told in (
        (("egg",), 'category 4 is "cell" here, and "egg" in the dataset'),
        (("cell", "egg"), "has 1 categories, and the dataset has 2"),
    ):
        layout = Layout(classes=classes, keypoints=0, dims=0)
        reading = readers.read(tmp_path, "coco", (split,), layout)
        assert [finding.message for finding in reading.findings] == [told]
        assert reading.samples == []
