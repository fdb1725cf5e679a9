"""Digests of users' files: which files a pattern matches, and that content decides."""

import os
import time
from pathlib import Path

import pytest

from buildsys.authoring.datasets.calibration_images import (
    find_problem,
    list_matches,
    split_glob,
)
from buildsys.errors import InputError
from buildsys.execution.state.database import Database
from buildsys.execution.state.inputs import Sources
from buildsys.execution.store.store import Store
from buildsys.graph import Source
from buildsys.lockfile import Lock


def sources(root: Path) -> Sources:
    """Sources with an empty database and store."""
    return Sources(Database(root / "state.sqlite"), Store(root / "store"), Lock())


def test_a_pattern_means_the_same_in_check_and_build(tmp_path: Path) -> None:
    """A pattern matches the same files in `check` and in builds: `*` within a folder, `**` in all."""
    for name in ("a.jpg", "deep/b.jpg", "deep/er/c.jpg", "deep/.hidden.jpg", "d.txt"):
        path = tmp_path / "cam" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    expected = {
        "cam/*.jpg": ["a.jpg"],
        "cam/*/*.jpg": ["deep/b.jpg"],
        "cam/**/*.jpg": ["a.jpg", "deep/b.jpg", "deep/er/c.jpg"],
        "cam/a.jpg": ["a.jpg"],
        "cam/*.png": [],
    }
    known = sources(tmp_path)
    for pattern, files in expected.items():
        root, rest = split_glob(pattern)
        source = Source(path=str(tmp_path / root), label=pattern, parts=(rest,))
        assert known.files(source) == files, pattern
        assert (find_problem(tmp_path, list_matches(tmp_path, pattern), pattern) is None) == bool(
            files
        )


def test_a_pattern_whose_files_are_not_images_is_an_error(tmp_path: Path) -> None:
    """A pattern without images is an error."""
    (tmp_path / "cam").mkdir()
    (tmp_path / "cam" / "d.gif").touch()
    assert find_problem(tmp_path, list_matches(tmp_path, "cam/*.gif"), "cam/*.gif") == (
        'none of the files that cam/*.gif matches is an image, such as "d.gif"',
        "images end in .bmp, .jpeg, .jpg, .mpo, .png, .tif, .tiff, .webp",
    )
    (tmp_path / "cam" / "e.JPG").touch()
    assert find_problem(tmp_path, list_matches(tmp_path, "cam/*"), "cam/*") is None


def test_equal_size_and_time_do_not_hide_another_content(tmp_path: Path) -> None:
    """A content change with equal size and time is noticed."""
    path = tmp_path / "cam" / "a.jpg"
    path.parent.mkdir()
    path.write_bytes(b"one")
    source = Source(path=str(path.parent), label="cam", parts=("*.jpg",))
    before = sources(tmp_path).digest(source)
    stat = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert sources(tmp_path).digest(source) != before
    path.write_bytes(b"one")
    assert sources(tmp_path).digest(source) == before


def test_a_link_that_leads_out_is_never_read(tmp_path: Path) -> None:
    """A link out of the workspace is not read, unless the user named the folder."""
    for name in ("secret", "data/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "data" / "b.txt").symlink_to(tmp_path / "secret")
    confined = Source(
        path=str(tmp_path / "data"), label="data", parts=(".",), home=str(tmp_path / "data")
    )
    with pytest.raises(InputError, match=r"b\.txt leads out of the dataset"):
        sources(tmp_path).digest(confined)
    assert sources(tmp_path).files(confined) == ["a.jpg"]
    named = Source(path=confined.path, label="data", parts=(".",))
    assert sources(tmp_path).files(named) == ["a.jpg", "b.txt"]


def test_a_source_that_is_not_a_file_is_an_error_and_never_waited_for(tmp_path: Path) -> None:
    """A pipe or device as source is an error, and never blocks."""
    os.mkfifo(tmp_path / "weights.pt")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("weights.pt", "zero", "."):
        with pytest.raises(InputError, match="is not a file"):
            sources(tmp_path).digest(Source(path=str(tmp_path / name), label=name))


@pytest.mark.parametrize("parts", [(), ("*.jpg",)], ids=["file", "tree"])
def test_a_file_that_just_changed_is_read_again(tmp_path: Path, parts: tuple[str, ...]) -> None:
    """Its next change could get the same change time, so its digest is not kept."""
    path = tmp_path / "cam" / "a.jpg"
    path.parent.mkdir()
    source = Source(path=str(path.parent if parts else path), label="cam", parts=parts)
    path.write_bytes(b"one")
    assert sources(tmp_path).known_stat(source) is None
    time.sleep(0.06)
    assert sources(tmp_path).known_stat(source) is not None


@pytest.mark.parametrize("parts", [(), ("*.jpg",)], ids=["file", "tree"])
def test_a_source_that_is_gone_is_named_once_with_advice(
    tmp_path: Path, parts: tuple[str, ...]
) -> None:
    """A message names the source as its place, and says what to do."""
    (tmp_path / "cam").mkdir()
    path = tmp_path / "cam" / ("" if parts else "a.jpg")
    with pytest.raises(InputError) as error:
        sources(tmp_path).digest(Source(path=str(path), label="cam/a", parts=parts))
    what = "no file found" if parts else "cannot be read: No such file or directory"
    assert str(error.value) == (
        f"cam/a: error: {what}\n    help: put it back, or change the recipe that names it"
    )
