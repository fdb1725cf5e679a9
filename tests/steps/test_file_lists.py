"""Listing a dataset's files by their paths from its root."""

import os
from pathlib import Path

from buildsys.execution.running.isolation import link_targets
from buildsys.files import remove_tree
from buildsys.steps.lib.datasets.file_lists import list_files, list_parts
from tests.test_files import make_deep


def test_links_are_followed_but_never_in_circles(tmp_path: Path) -> None:
    """Links to folders are followed, but not in cycles."""
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "c.jpg").touch()
    root = tmp_path / "data"
    for name in ("a.jpg", "._a.xml", ".hidden/x.jpg", "day/b.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "linked").symlink_to(tmp_path / "away")
    for name in ("one", "two", "day/three"):
        (root / name).symlink_to(root)
    (root / "gone").symlink_to(root / "nothing")
    assert list(list_files(root)) == ["a.jpg", "gone", "day/b.jpg", "linked/c.jpg"]
    assert list(list_files(root, "day")) == ["day/b.jpg"]


def test_what_cannot_be_read_is_listed_apart(tmp_path: Path) -> None:
    """Names that are not UTF-8, link cycles and links out of the data are listed separately."""
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


def test_what_is_no_file_is_listed_apart(tmp_path: Path) -> None:
    """Pipes and broken links are listed separately and not opened."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    (root / "images" / "a.jpg").touch()
    os.mkfifo(root / "images" / "pipe.jpg")
    (root / "images" / "gone.jpg").symlink_to("nowhere.jpg")
    (root / "images" / "null.jpg").symlink_to("/dev/null")
    expected = (
        ("gone", "images/gone.jpg"),
        ("special", "images/null.jpg"),
        ("special", "images/pipe.jpg"),
    )
    for part in (".", "images", "images/*.jpg", "**/*.jpg"):
        found = list_parts(str(root), (part,))
        assert [name for name, _ in found.files] == ["images/a.jpg"]
        assert found.faults == expected
    assert list_parts(str(root), ("images/pipe.jpg",)).faults == expected[2:]
    assert list(found.problems())[1] == (
        "images/null.jpg is a pipe, a socket or a device, not a file, and 1 more like it",
        "remove it",
    )


def test_folders_without_end_are_a_mistake(tmp_path: Path) -> None:
    """Folders nested deeper than the recursion limit are an error."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    make_deep(root / "images", "d", 1500, tmp_path)
    for part in (".", "images", "images/**/*.jpg"):
        assert list(list_parts(str(root), (part,)).problems()) == [
            (
                "images/d/d has folders in folders, more than 100 deep",
                "move up what is deeper, or remove it",
            )
        ]
    assert list(list_files(root)) == []
    assert set(link_targets(root)) == {str(tmp_path)}
    remove_tree(root)


def test_patterns_leave_out_what_is_not_the_users(tmp_path: Path) -> None:
    """Patterns such as `**/*.jpg` do not match buildsys' own folders."""
    for name in (
        "a.jpg",
        "cam/b.jpg",
        "cam/deep/c.jpg",
        "cam/build/d.jpg",
        "cam/.hidden/e.jpg",
        ".named/f.jpg",
        "build/tags/host/g.jpg",
        ".buildsys/scratch/h.jpg",
        ".git/i.jpg",
        "env/lib/j.jpg",
        "env/pyvenv.cfg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def names(*parts: str) -> list[str]:
        return [name for name, _ in list_parts(str(tmp_path), parts).files]

    mine = ["a.jpg", "cam/b.jpg", "cam/build/d.jpg", "cam/deep/c.jpg"]
    assert names("**/*.jpg") == names("**/**/*.jpg") == names("**/?.jpg") == names(".") == mine
    assert names("*.jpg") == ["a.jpg"]
    assert names("*/*.jpg") == ["cam/b.jpg"]
    assert names("c[a-b]m/**/c.jpg") == ["cam/deep/c.jpg"]
    assert names(".n*/*.jpg") == [".named/f.jpg"]
    assert names("**", "*/**", "nowhere/*.jpg") == []
    outside = list_parts(str(tmp_path / "cam"), ("**/../*.jpg",))
    assert (outside.files, outside.faults) == ((), (("above", "**/../*.jpg"),))


def test_links_that_a_pattern_finds_end_inside_and_not_in_circles(tmp_path: Path) -> None:
    """A pattern follows a link to a folder that it names, but not below `**`."""
    root = tmp_path / "data"
    (root / "cam").mkdir(parents=True)
    (root / "cam" / "a.jpg").touch()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "s.jpg").touch()
    (root / "beside").symlink_to("cam")
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "cam" / "back").symlink_to("..")
    found = list_parts(str(root), ("*/*.jpg",), str(root))
    assert [name for name, _ in found.files] == ["beside/a.jpg", "cam/a.jpg"]
    assert found.faults == (("outside", "out"),)
    assert list_parts(str(root), ("*/*/*.jpg",), str(root)).faults == (
        ("loop", "beside/back"),
        ("loop", "cam/back"),
        ("outside", "out"),
    )
    assert [name for name, _ in list_parts(str(root), ("**/*.jpg",)).files] == ["cam/a.jpg"]
