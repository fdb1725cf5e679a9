"""`new --copy` and `new --link` bring in weights and data without overwriting files or leaving
partial copies.
"""

import os
import signal
import time
from pathlib import Path

import pytest

from buildsys import cli
from buildsys.authoring.scaffold.bringing import name_data
from buildsys.authoring.workspace import read_workspace_file
from buildsys.errors import InputError
from tests.authoring.sample_workspace import (
    Data,
    Head,
    plan_good,
    write_cells,
    write_checkpoint,
    write_data,
)
from tests.brought_sets import FORMS, bring


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Weights and datasets outside the workspace."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    write_checkpoint(place / "mice.pt", Head(kind="Pose", classes=("mouse",), keypoints=4))
    write_data(place / "mice", Data(classes=("mouse",), keypoints=4))
    (place / "mice" / "images" / "train" / "a.jpg").write_bytes(b"an image")
    (place / "mice" / "notes.txt").write_text("not of the data set")
    write_cells(place / "eggs")
    for name in ("test", "late"):
        (place / "eggs" / "annotations" / f"{name}.json").unlink()
    return place


def _new(workspace: Path, *words: str) -> int:
    return cli.main(["-C", str(workspace), "new", "mine", *words])


def _files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if (path.is_file() or path.is_symlink()) and not path.is_relative_to(folder / ".buildsys")
    }


def test_a_copy_is_what_the_data_set_consists_of(
    workspace: Path, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The recipe names the copies; files that do not belong to the dataset are not copied."""
    words = ["--from", str(outside / "mice.pt"), "--data", str(outside / "mice" / "data.yaml")]
    assert _new(workspace, "--copy", *words) == 0
    printed = capsys.readouterr().out
    assert f"copied weights/mice.pt, from {outside / 'mice.pt'}\n" in printed
    assert f"copied data/mice, from {outside / 'mice'}\n" in printed
    copied = _files(workspace / "data" / "mice")
    assert copied == _files(outside / "mice") - {"notes.txt"}
    assert {"data.yaml", "images/train/a.jpg"} < copied
    text = (workspace / "recipes" / "mine.yaml").read_text()
    assert "path: weights/mice.pt, " in text
    assert "path: data/mice/data.yaml}" in text
    assert not (workspace / "buildsys.yaml").exists()
    plan_good(workspace)


def test_a_link_leaves_everything_where_it_is(
    workspace: Path, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights are linked and pinned; data gets a name in buildsys.yaml."""
    words = ["--from", str(outside / "mice.pt"), "--data", str(outside / "mice" / "data.yaml")]
    before = _files(workspace)
    assert _new(workspace, "--link", *words) == 0
    printed = capsys.readouterr().out
    assert f"linked weights/mice.pt, from {outside / 'mice.pt'}\n" in printed
    assert f"named  {outside / 'mice' / 'data.yaml'} as `mine` in buildsys.yaml\n" in printed
    added = {"weights/mice.pt", "buildsys.yaml", "recipes/mine.yaml"}
    assert _files(workspace) == before | added
    assert (workspace / "weights" / "mice.pt").readlink() == outside / "mice.pt"
    assert "dataset: mine " in (workspace / "recipes" / "mine.yaml").read_text()
    plan_good(workspace)


@pytest.mark.parametrize("mode", ["--copy", "--link"])
def test_annotations_bring_the_images_of_every_split(
    workspace: Path, outside: Path, mode: str
) -> None:
    """The annotation files of all splits bring their images, in any layout."""
    sheet = outside / "eggs" / "annotations" / "train.json"
    assert _new(workspace, mode, "--data", str(sheet)) == 0
    plan_good(workspace)
    if mode == "--copy":
        copied = _files(workspace / "data" / "eggs")
        wanted = {"annotations/train.json", "annotations/val.json", "images/val/d.jpg"}
        assert wanted < copied
        assert "images/train/b/c.png" in copied


_REFUSED = {
    "weights of that name": ("mice.pt", "weights/mice.pt exists with other content"),
    "data of that name": (
        "mice/data.yaml",
        "copy what is missing there, and give --data data/mice/data",
    ),
    "no model": ("mice/notes.txt", "does not have the ending of a model file"),
    "no data": ("mice/notes.txt", "data.yaml"),
}


@pytest.mark.parametrize("case", _REFUSED)
def test_nothing_is_overwritten_or_left_half(
    workspace: Path, outside: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files that were copied before a mistake was found are removed."""
    given, message = _REFUSED[case]
    write_checkpoint(workspace / "weights" / "mice.pt", Head(kind="Detect", classes=("x",)))
    (workspace / "data" / "mice").mkdir()
    words = ["--from", str(outside / given)]
    if "data" in case:
        write_checkpoint(outside / "best.pt", Head(kind="Pose", classes=("mouse",), keypoints=4))
        words = ["--from", str(outside / "best.pt"), "--data", str(outside / given)]
    before = _files(workspace)
    assert _new(workspace, "--copy", *words) == 2
    assert message in capsys.readouterr().err
    assert _files(workspace) == before


def test_a_mistake_in_data_elsewhere_is_reported_where_it_is(
    workspace: Path, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message has the path outside the workspace, and nothing is copied."""
    path = outside / "mice" / "data.yaml"
    path.write_text(path.read_text().replace("names:", "naems:"))
    before = _files(workspace)
    assert _new(workspace, "--copy", "--data", str(path)) == 2
    assert f"{path}:" in capsys.readouterr().err
    assert _files(workspace) == before


def test_the_same_weights_are_not_copied_twice(
    workspace: Path, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second recipe uses the first one's copy, and prints that nothing was copied or linked."""
    words = ["--from", str(outside / "mice.pt"), "--data", "data/tags/data.yaml"]
    assert _new(workspace, "--copy", *words) == 0
    assert cli.main(["-C", str(workspace), "new", "other", "--copy", *words]) == 0
    source = outside / "mice.pt"
    assert f"kept   weights/mice.pt, the same as {source}\n" in capsys.readouterr().out
    assert cli.main(["-C", str(workspace), "new", "third", "--link", *words]) == 0
    assert f"kept   weights/mice.pt, a copy of {source}\n" in capsys.readouterr().out


def test_data_that_has_a_name_keeps_it(workspace: Path, outside: Path) -> None:
    """A second recipe uses the existing name of the same data."""
    words = ["--link", "--data", str(outside / "mice" / "data.yaml")]
    assert _new(workspace, *words) == 0
    before = (workspace / "buildsys.yaml").read_text()
    assert cli.main(["-C", str(workspace), "new", "other", *words]) == 0
    assert (workspace / "buildsys.yaml").read_text() == before
    assert "dataset: mine " in (workspace / "recipes" / "other.yaml").read_text()


_BOARDS = ("grove-vision-ai-v2", "xiao-esp32s3", "raspberry-pi-5")


@pytest.mark.parametrize("mode", ["--copy", "--link"])
@pytest.mark.parametrize("form", FORMS)
def test_every_format_is_brought_to_three_boards_with_nothing_edited(
    workspace: Path, tmp_path: Path, form: str, mode: str
) -> None:
    """An exported folder is used unchanged for a detect network with random weights."""
    folder = tmp_path / "exported" / form
    folder.mkdir(parents=True)
    bring(form, folder, lambda name, boxes: f"{name} {len(boxes)}".encode())
    targets = [word for board in _BOARDS for word in ("--target", board)]
    assert _new(workspace, mode, "--data", str(folder), *targets) == 0
    assert cli.main(["-C", str(workspace), "check"]) == 0
    assert set(plan_good(workspace)) == {f"mine@{board}" for board in _BOARDS}


@pytest.mark.parametrize("data", ["mice/data.yaml", "eggs/annotations/train.json"])
def test_data_is_given_by_its_name(workspace: Path, outside: Path, data: str) -> None:
    """`--data` accepts a name in buildsys.yaml."""
    assert _new(workspace, "--link", "--data", str(outside / data)) == 0
    assert cli.main(["-C", str(workspace), "new", "other", "--data", "mine"]) == 0
    assert "dataset: mine " in (workspace / "recipes" / "other.yaml").read_text()
    plan_good(workspace)


def test_images_alone_are_copied_and_not_linked(
    workspace: Path, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Calibration images are found by a pattern, so they must be in the workspace."""
    (outside / "photos").mkdir()
    (outside / "photos" / "a.jpg").write_bytes(b"an image")
    words = ["--from", "weights/tags.pt", "--data", str(outside / "photos")]
    assert _new(workspace, "--link", *words, "--target", "xiao-esp32s3") == 2
    assert "--copy copies them to data/" in capsys.readouterr().err
    assert _new(workspace, "--copy", *words, "--target", "xiao-esp32s3") == 0
    assert _files(workspace / "data" / "photos") == {"a.jpg"}
    plan_good(workspace)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing yet",
        "store: ../shared\n",
        "datasets:\n    old: {path: /data/old/data.yaml}   # ours\nstore: ../shared\n",
        "datasets: {}\n",
        "datasets: {old: {path: /data/old/data.yaml}}\n",
    ],
)
def test_a_name_is_added_to_a_file_that_stays_as_it_is(tmp_path: Path, text: str) -> None:
    """Comments and other lines are kept; if the line cannot be added, the message contains it."""
    (tmp_path / "buildsys.yaml").write_text(text)
    block = {"format": "coco", "splits": {"train": {"annotations": "/d/t.json", "images": "/d/i"}}}
    if "{}" in text or "{old" in text:
        with pytest.raises(InputError, match=r"write below `datasets:` mine: \{format: coco, "):
            name_data(tmp_path, "mine", block)
        return
    name, new = name_data(tmp_path, "mine", block)
    assert name == "mine"
    assert [line for line in new.splitlines() if line in text.splitlines()] == text.splitlines()
    file, _ = read_workspace_file(tmp_path, new)
    assert file.datasets["mine"] == {
        "format": "coco",
        "splits": {"train": {"annotations": "/d/t.json", "images": "/d/i"}},
    }


def test_a_copy_has_nothing_from_beside_the_data(
    workspace: Path, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Links out of the data and unused files are not copied; links within it are copied as files."""
    (outside / "keys").mkdir()
    (outside / "keys" / "k.txt").write_text("secret")
    images = outside / "mice" / "images" / "train"
    (images / "pw").symlink_to(outside / "keys")
    (images / "k.jpg").symlink_to(outside / "keys" / "k.txt")
    (images / "id.pem").write_text("secret")
    (images / "same.jpg").symlink_to("a.jpg")
    assert _new(workspace, "--copy", "--data", str(outside / "mice")) == 0
    copied = workspace / "data" / "mice"
    assert "left   2 links that lead out of the data" in capsys.readouterr().out
    assert not any("secret" in path.read_text() for path in copied.rglob("*") if path.is_file())
    same = copied / "images" / "train" / "same.jpg"
    assert (same.read_bytes(), same.is_symlink()) == (b"an image", False)


def test_a_copy_of_data_whose_path_is_its_own_folder(workspace: Path, outside: Path) -> None:
    """An absolute path in data.yaml is replaced: the copy uses its own images."""
    file = outside / "mice" / "data.yaml"
    file.write_text(f"path: {file.parent}\n" + file.read_text())
    assert _new(workspace, "--copy", "--data", str(file)) == 0
    plan = next(iter(plan_good(workspace).values()))
    sources = {item.source.path for step in plan.steps for item in step.inputs if item.source}
    assert str(workspace / "data" / "mice") in sources


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_copy_leaves_nothing(
    workspace: Path, outside: Path, number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """An interruption prints one sentence and has the usual exit code."""
    large = outside / "mice" / "images" / "train" / "large.jpg"
    with large.open("wb") as file:
        file.truncate(1 << 33)
    before = _files(workspace)
    child = os.fork()
    if child == 0:
        try:
            _new(workspace, "--copy", "--data", str(outside / "mice"))
        finally:
            os._exit(99)
    end = time.monotonic() + 20
    while not list((workspace / "data").glob(".tmp-*/images/train/large.jpg")):
        assert time.monotonic() < end
        time.sleep(0.005)
    os.kill(child, number)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + number
    assert capfd.readouterr().err == "\ninterrupted: nothing was changed\n"
    assert _files(workspace) == before
