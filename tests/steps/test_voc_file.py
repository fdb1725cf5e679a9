"""Annotation files in Pascal VOC's format: their content, and the place of errors."""

import pytest

from buildsys.steps.lib.datasets.formats.voc_file import LARGEST, VocFile, parse
from buildsys.steps.lib.datasets.labels import Finding

LABELIMG = """\
<annotation>
\t<folder>JPEGImages</folder>
\t<filename>a.jpg</filename>
\t<path>C:\\data\\JPEGImages\\a.jpg</path>
\t<source>
\t\t<database>Unknown</database>
\t</source>
\t<size>
\t\t<width>64</width>
\t\t<height>48</height>
\t\t<depth>3</depth>
\t</size>
\t<segmented>0</segmented>
\t<object>
\t\t<name>cell</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>1</truncated>
\t\t<difficult>0</difficult>
\t\t<bndbox>
\t\t\t<xmin>16</xmin>
\t\t\t<ymin>8</ymin>
\t\t\t<xmax>64</xmax>
\t\t\t<ymax>48</ymax>
\t\t</bndbox>
\t</object>
</annotation>
"""
"""As labelImg 1.8.6 writes it (libs/pascal_voc_io.py): tabs, a Windows path, `Unknown`."""


def read(text: str) -> VocFile:
    """Read a valid file."""
    found, mistakes = parse(text.encode(), "a.xml")
    assert found is not None, mistakes
    return found


def test_corners_are_edges_as_labelimg_writes_them() -> None:
    """labelImg writes truncated Qt coordinates: the image's right edge is its width."""
    found = read(LABELIMG)
    assert (found.filename, found.size) == ("a.jpg", (64, 48))
    (item,) = found.objects
    assert (item.name, item.corners, item.difficult) == ("cell", (16, 8, 64, 48), False)
    assert (item.line, item.column) == (14, 2)


def test_corners_are_edges_as_cvat_and_label_studio_write_them() -> None:
    """CVAT and Label Studio write left and top plus size: CVAT with fractions (datumaro,
    voc_format/converter.py), Label Studio with `MyDatabase` and 0 at the edge
    (label-studio-converter 0.0.59).
    """
    text = LABELIMG.replace(">16<", ">0.0<").replace(">64</xmax>", ">63.5</xmax>")
    (item,) = read(text).objects
    assert item.corners == (0, 8, 63.5, 48)
    (item,) = read(LABELIMG.replace("Unknown<", "MyDatabase<").replace(">16<", ">0<")).objects
    assert item.corners == (0, 8, 64, 48)


def test_the_challenges_own_files_count_pixels_from_one() -> None:
    """The challenge's boxes include both corner pixels: (1, 1) to (64, 48) is the whole image."""
    text = LABELIMG.replace("Unknown<", "The VOC2007 Database<")
    (item,) = read(text).objects
    assert item.corners == (15, 7, 64, 48)


def test_a_part_of_an_object_is_no_object() -> None:
    """Parts of an object, such as heads in VOC's person layout, are not objects."""
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymax>2</ymax></bndbox></part></object>"
    (item,) = read(LABELIMG.replace("</object>", part)).objects
    assert (item.name, item.corners) == ("cell", (16, 8, 64, 48))


def test_an_image_without_objects_or_size() -> None:
    """Images without objects are valid; a size of 0 is replaced by the image's own."""
    start, end = LABELIMG.index("\t<object>"), LABELIMG.index("</annotation>")
    empty = LABELIMG[:start] + LABELIMG[end:]
    assert read(empty).objects == ()
    assert read(empty.replace("<width>64<", "<width>0<")).size is None
    assert read("<annotation/>") == VocFile(filename="", size=None, objects=())


def test_windows_paths_and_difficult() -> None:
    """A `filename` with folders is reduced to the file's name; `difficult` is kept."""
    text = LABELIMG.replace(">a.jpg<", ">D:\\my\\b.jpg<").replace("cult>0<", "cult>1<")
    assert (read(text).filename, read(text).objects[0].difficult) == ("b.jpg", True)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "iso-8859-1"])
def test_encodings(encoding: str) -> None:
    """Files with a byte order mark or a declared encoding are read."""
    text = LABELIMG.replace("cell", "Zelle größer")
    head = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>\n'
    found, _ = parse((head + text).encode(encoding), "a.xml")
    assert found is not None
    assert found.objects[0].name == "Zelle größer"


def place_of(finding: Finding) -> str:
    """A finding's line, column and message."""
    return f"{finding.line}:{finding.column}: {finding.message}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "<xmin>16<",
            "<xmin>left<",
            '20:10: `xmin` of this cell is a number of pixels, not "left"',
        ),
        ("<xmin>16<", "<xmin>nan<", '20:10: `xmin` of this cell is a number of pixels, not "nan"'),
        ("<xmin>16</xmin>", "", "19:3: `xmin` of this cell is missing"),
        ("<xmax>64<", "<xmax>6<", "20:10: the box of this cell has a negative size: -10 x 40 px"),
        ("bndbox>", "robndbox>", "14:2: this cell has a turned box alone (`robndbox`)"),
        ("bndbox>", "polygon>", "14:2: this cell has no `bndbox`"),
        ("<name>cell</name>", "", "14:2: an object's `name` is missing"),
        (
            "</bndbox>",
            "</bndbox>\n<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>",
            "25:1: this object has a second `bndbox`",
        ),
        ("</name>", "</name><name>egg</name>", "15:26: this object has a second `name`"),
        ("</xmax>", "</xmax><xmax>48</xmax>", "22:25: this object has a second `bndbox/xmax`"),
        ("<name>cell<", "<name> <", "15:3: an object's `name` is missing"),
        ("cult>0<", "cult>yes<", '18:14: `difficult` is 0 or 1, not "yes"'),
        ("<width>64<", "<width>x<", '9:10: `size/width` is a number of pixels, not "x"'),
        ("</object>", "", "26:3: not valid XML: mismatched tag"),
        ("</annotation>\n", "", "26:1: not valid XML: the file ends before `</annotation>`"),
        ("annotation>", "annotations>", "1:1: this is not an annotation in Pascal VOC's format"),
    ],
)
def test_a_mistake_has_its_place(old: str, new: str, message: str) -> None:
    """An error has the line and column of the wrong text, counted from 1."""
    found, mistakes = parse(LABELIMG.replace(old, new).encode(), "a.xml")
    assert found is None
    assert place_of(mistakes[0]).startswith(message)


def test_nothing_in_a_file_expands_or_leads_elsewhere() -> None:
    """Entity declarations, internal and external, are refused."""
    laughs = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
    outside = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    for head in (laughs, outside, "<!DOCTYPE annotation>"):
        _, mistakes = parse((head + LABELIMG).encode(), "a.xml")
        assert [mistake.message for mistake in mistakes] == [
            "has a document type declaration; annotations have none"
        ]
    _, mistakes = parse(("<annotation>" + "<a>" * 1000).encode(), "a.xml")
    assert [place_of(mistake) for mistake in mistakes] == ["1:106: nested too deep"]
    _, mistakes = parse(b" " * (LARGEST + 1), "a.xml")
    assert mistakes[0].message.endswith("too large for the annotation of one image")


def test_bytes_that_are_no_text() -> None:
    """Damaged files and unsupported encodings are errors without a traceback."""
    for data in (b"", b"\xff\xfe<", b"\x00" * 40, b'<?xml version="1.0" encoding="gb2312"?><a/>'):
        found, mistakes = parse(data, "a.xml")
        assert found is None
        assert len(mistakes) == 1
