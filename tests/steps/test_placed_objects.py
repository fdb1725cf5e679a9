"""Objects at and beyond the edge of their image: one rule for every format."""

import json
from pathlib import Path

import pytest

from buildsys.steps.lib.datasets import readers
from buildsys.steps.lib.datasets.labels import Finding, Layout, Object, parse
from buildsys.steps.lib.datasets.placed_objects import place
from buildsys.steps.lib.datasets.ultralytics_layout import Split

SIZE = (100, 80)
BOXES = Layout(classes=("cell",), keypoints=0, dims=0)
OUTLINES = Layout(classes=("cell",), keypoints=0, dims=0, shape="outline")
CORNERS = Layout(classes=("cell",), keypoints=0, dims=0, shape="corners")
POSE = Layout(classes=("cell",), keypoints=2, dims=3)
FLAT = Layout(classes=("cell",), keypoints=2, dims=2)


def parse_one(line: str, layout: Layout) -> Object:
    """The object of a label line."""
    ((_, item),), _ = parse(line, "a.txt", layout)
    return item


def place_line(line: str, layout: Layout) -> tuple[Object | None, list[str]]:
    """The object of a label line as it is on its image, and the findings."""
    found, findings = place(parse_one(line, layout), SIZE, "a.txt", 1, layout)
    return found, tell(findings)


def tell(findings: tuple[Finding, ...]) -> list[str]:
    """Findings with their severity, without their place."""
    return [f"{finding.severity}: {finding.message}" for finding in findings]


CASES = (
    # box in pixels (left, upper, width, height), what is left of it, finding
    ((10, 20, 40, 20), (10, 20, 50, 40), ""),
    ((-0.5, 0, 101, 80.5), (0, 0, 100, 80), ""),
    (
        (70, 20, 40, 20),
        (70, 20, 100, 40),
        "warning: the box of this cell reaches 0.100 of the width (10.0 px) beyond the right edge; it"
        " is clipped",
    ),
    (
        (-30, 20, 40, 20),
        (0, 20, 10, 40),
        "warning: the box of this cell reaches 0.300 of the width (30.0 px) beyond the left edge; it"
        " is clipped",
    ),
    (
        (20, 100, 10, 10),
        None,
        "warning: the box of this cell has nothing on the image; it is left out",
    ),
    (
        (20, 80, 10, 10),
        None,
        "warning: the box of this cell has nothing on the image; it is left out",
    ),
    ((20, 20, 0, 8), None, "warning: the box of this cell has no extent: 0 x 8 px; it is left out"),
    (
        (20, 20, 300, 8),
        None,
        "error: the box of this cell reaches 2.200 of the width (220.0 px) beyond the right edge",
    ),
)


def _write_ultralytics(root: Path, box: tuple[float, ...]) -> tuple[str, ...]:
    x, y, w, h = box
    shares = ((x + w / 2) / 100, (y + h / 2) / 80, w / 100, h / 80)
    (root / "a.txt").write_text(" ".join(["0", *(f"{share:.12g}" for share in shares)]) + "\n")
    return (".",)


def _write_coco(root: Path, box: tuple[float, ...]) -> tuple[str, ...]:
    row = {"id": 7, "image_id": 1, "category_id": 1, "bbox": box}
    sheet = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 80}],
        # another box, so that not every box can be two corners
        "annotations": [row, row | {"id": 8, "bbox": [60, 60, 5, 5]}],
        "categories": [{"id": 1, "name": "cell"}],
    }
    (root / "train.json").write_text(json.dumps(sheet))
    return (".", "train.json")


def _write_voc(root: Path, box: tuple[float, ...]) -> tuple[str, ...]:
    x, y, w, h = box
    edges = dict(zip(("xmin", "ymin", "xmax", "ymax"), (x, y, x + w, y + h), strict=True))
    corners = "".join(f"<{key}>{value}</{key}>" for key, value in edges.items())
    size = "<size><width>100</width><height>80</height></size>"
    item = f"<object><name>cell</name><bndbox>{corners}</bndbox></object>"
    (root / "a.xml").write_text(f"<annotation>{size}{item}</annotation>")
    return (".",)


WRITERS = {"ultralytics": _write_ultralytics, "coco": _write_coco, "voc": _write_voc}


@pytest.mark.parametrize(("box", "kept", "finding"), CASES)
@pytest.mark.parametrize("name", WRITERS)
def test_a_box_has_one_meaning_in_every_format(
    tmp_path: Path,
    name: str,
    box: tuple[float, ...],
    kept: tuple[float, ...] | None,
    finding: str,
) -> None:
    """A box at the edge is kept, clipped, left out or refused, whatever the format."""
    (tmp_path / "a.jpg").touch()
    split = Split(name="train", paths=WRITERS[name](tmp_path, box))
    reading = readers.read(tmp_path, name, (split,), BOXES)
    told = tell(reading.findings)
    found = None
    if not told:
        line, item = reading.samples[0].objects[0]
        found, findings = place(item, SIZE, "a.txt", line, BOXES)
        told = tell(findings)
    assert [text.split(' of "')[0].replace("annotation 7: ", "") for text in told] == [
        finding
    ] * bool(finding)
    assert finding.startswith("error") or (found is None) == (kept is None)
    if kept is None or found is None:
        return
    x, y, w, h = found.box
    corners = ((x - w / 2) * 100, (y - h / 2) * 80, (x + w / 2) * 100, (y + h / 2) * 80)
    assert corners == pytest.approx(kept, abs=1e-9)


def test_an_outline_is_cut_at_the_edge_and_its_box_with_it() -> None:
    """The visible part of an outline is kept, and the box that encloses it."""
    found, told = place_line("0 .8 .2 1.2 .4 .8 .6", OUTLINES)
    assert told == [
        "warning: the outline of this cell reaches 0.200 of the width (20.0 px) beyond the right edge;"
        " it is clipped"
    ]
    assert found is not None
    assert [value for point in found.outline for value in point] == pytest.approx(
        [0.8, 0.2, 1, 0.3, 1, 0.5, 0.8, 0.6]
    )
    assert found.box == pytest.approx((0.9, 0.4, 0.2, 0.4))


def test_an_outline_beside_the_image_is_left_out() -> None:
    """An outline may miss the image although its box does not."""
    found, told = place_line("0 -.5 .1 .1 -.5 -.5 -.5", OUTLINES)
    assert found is None
    assert told == ["warning: the outline of this cell has nothing on the image; it is left out"]


def test_corners_of_a_turned_box_stay_as_they_are() -> None:
    """A turned box that was clipped would have another angle."""
    line = "0 .8 .2 1.1 .4 .9 .6 .6 .4"
    found, told = place_line(line, CORNERS)
    assert found is not None
    assert [value for point in found.outline for value in point] == [
        float(v) for v in line.split()[1:]
    ]
    assert told == [
        "warning: the turned box of this cell reaches 0.100 of the width (10.0 px) beyond the right edge"
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "0 .9 .5 1.2 .5 1.2 .7 .9 .7",
            "error: the centre of this cell's turned box is outside the image: x 1.05",
        ),
        (
            "0 -.1 .4 1.1 .4 1.1 .6 -.1 .6",
            "error: the turned box of this cell is larger than the image: 1.2 x 0.2",
        ),
        (
            "0 1.1 .4 1.3 .4 1.3 .6 1.1 .6",
            "warning: the turned box of this cell has nothing on the image; it is left out",
        ),
        (
            "0 -.4 .3 .000005 .3 .000005 .6 -.4 .6",
            "warning: the turned box of this cell has nothing on the image; it is left out",
        ),
    ],
)
def test_a_turned_box_is_within_ultralytics_limits(line: str, message: str) -> None:
    """A turned box for which Ultralytics would leave out the image is an error."""
    assert place_line(line, CORNERS)[1] == [message]


def test_a_keypoint_beyond_the_edge_is_moved_to_it() -> None:
    """Ultralytics takes a point of two numbers below 0 as one that is not labelled."""
    found, told = place_line("0 .5 .5 .9 .9 -.005 .5 .5 1.009", FLAT)
    assert found is not None
    assert found.keypoints == ((0.0, 0.5, 2.0), (0.5, 1.0, 2.0))
    assert told == []
    assert tell(
        place(parse_one("0 .5 .5 .9 .9 -.005 .5 .5 1.009", FLAT), (1000, 800), "a.txt", 1, FLAT)[1]
    ) == ["warning: keypoint 0, 1 of this cell is outside the image; it is moved to the edge"]
    assert place_line("0 .5 .5 .9 .9 -.2 .5 .5 .5", FLAT)[1] == [
        "error: keypoint 0 of this cell is outside the image: -0.2, 0.5"
    ]


def test_keypoints_of_an_object_outside_the_image_do_not_count() -> None:
    """An object of which nothing is on the image is left out with its keypoints."""
    assert place_line("0 1.2 .5 .2 .2 1.2 .5 1.2 .5", FLAT) == (
        None,
        ["warning: the box of this cell has nothing on the image; it is left out"],
    )


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("0 .5 .5 .9 .9 .5 .5 -1 .5 .5 2", ""),
        ("0 .5 .5 -.9 .9 .5 .5 2 .5 .5 2", "a box is centre x, centre y, width and height"),
        (
            "0 .5 .5 .9 .9 1.5 .5 2 .5 .5 2",
            "cut it at the image's edge, or remove it: a trainer leaves the whole image out",
        ),
    ],
)
def test_only_what_is_outside_the_image_can_be_cut_at_its_edge(line: str, hint: str) -> None:
    """A visibility or a size below 0 is not a place."""
    (finding,) = place(parse_one(line, POSE), SIZE, "a.txt", 1, POSE)[1]
    assert (finding.severity, finding.hint) == ("error", hint)


def test_labels_in_pixels_are_an_error() -> None:
    """Numbers far above 1 are no shares."""
    (finding,) = place(parse_one("0 20 30 10 10", BOXES), SIZE, "a.txt", 1, BOXES)[1]
    assert (finding.severity, finding.hint) == (
        "error",
        "these look like pixels; a label holds shares of the image's width and height",
    )
