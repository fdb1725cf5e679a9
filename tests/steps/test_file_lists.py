"""The files of a dataset, by their paths from its root."""

import os
from pathlib import Path

from buildsys.steps.lib.datasets.file_lists import list_files, list_parts


def test_links_are_followed_but_never_in_circles(tmp_path: Path) -> None:
    """Data often lies behind a link; two links to the folder around them would never end."""
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "c.jpg").touch()
    root = tmp_path / "data"
    for name in ("a.jpg", ".hidden/x.jpg", "day/b.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "linked").symlink_to(tmp_path / "away")
    for name in ("one", "two", "day/three"):
        (root / name).symlink_to(root)
    (root / "gone").symlink_to(root / "nothing")
    assert list(list_files(root)) == ["a.jpg", "gone", "day/b.jpg", "linked/c.jpg"]
    assert list(list_files(root, "day")) == ["day/b.jpg"]


def test_what_nobody_can_read_is_listed_apart(tmp_path: Path) -> None:
    """A name of other bytes, links without an end, a link to what is nobody's data."""
    root = tmp_path / "data"
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
        (root / folder / "a.jpg").touch()
    (tmp_path / "secret").touch()
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "b.jpg").touch()
    (root / "images" / os.fsdecode(b"\xff.db")).touch()
    (root / "images" / "round").symlink_to(root / "labels")
    (root / "labels" / "and").symlink_to(root / "images")
    (root / "images" / "itself").symlink_to("itself")
    (root / "images" / "beside").symlink_to(tmp_path / "beside")
    (root / "labels" / "a.txt").symlink_to(tmp_path / "secret")
    assert set(list_files(root, "images")) >= {"images/a.jpg", "images/round/a.jpg"}
    within = list_parts(str(root), ("images", "labels"), str(root))
    assert [name for name, _ in within.files] == [
        "images/a.jpg",
        "images/round/a.jpg",
        "labels/a.jpg",
        "labels/and/a.jpg",
    ]
    assert within.faults == (
        ("loop", "images/itself"),
        ("loop", "images/round/and"),
        ("loop", "labels/and/itself"),
        ("loop", "labels/and/round"),
        ("name", "images/\udcff.db"),
        ("name", "labels/and/\udcff.db"),
        ("outside", "images/beside"),
        ("outside", "images/round/a.txt"),
        ("outside", "labels/a.txt"),
        ("outside", "labels/and/beside"),
    )
    assert next(message for message, _ in within.problems()) == (
        r"'images/\udcff.db' is a name that is not UTF-8, and 1 more like it"
    )
    workspace = list_parts(str(root), ("images/*.jpg", "images/beside"), str(tmp_path))
    assert [name for name, _ in workspace.files] == ["images/a.jpg", "images/beside/b.jpg"]
    (root / os.fsdecode(b"\xff")).mkdir()
    assert list_parts(str(root), (os.fsdecode(b"\xff"),)).faults == (("name", "\udcff"),)
    anywhere = list_parts(str(root), ("labels/a.txt",))
    assert [name for name, _ in anywhere.files] == ["labels/a.txt"]
