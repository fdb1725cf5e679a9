"""`check --data` and `predict` with the real tools, on data with one of each fault."""

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildsys.cli import main
from tests.authoring.golden import compare
from tests.tools.places import copy_workspace, shared_store

pytestmark = pytest.mark.tools

DATA = """\
train: images/train
val: images/val
names: {0: box, 1: lid, 2: nail}
"""
RECIPE = """\
name: boxes
source: {family: ultralytics, task: detect, architecture: yolov8n, weights: random}
dataset: {path: data/boxes/data.yaml}
input: {size: [64, 96]}
train: {epochs: 1}
targets: [host]
"""
TRAIN = {
    "good": "0 .5 .5 .5 .5\n1 .2 .2 .06 .06\n",
    "no-file": None,
    "no-lines": "\n",
    "cut": "0 .5 .5 .5 .5\n",
    "text": "0 .5 .5 .5 .5\n",
    "nothing": None,
    "copy": "0 .5 .5 .5 .5\n",
    "lines": ".5 .5 .5 .5\n7 .5 .5 .5 .5\n0 .5 ,5 .5 .5\n1 .1 .1 .1 .2 .2 .2 .1 .2\n0 nan .5 .5 .5\n",
    "boxes": "0 .9 .5 .5 .5\n0 .5 .5 0 .5\n1 .5 .5 .5 -.1\n0 20 30 10 10\n",
    "twice": "0 .5 .5 .25 .25\n0 .5 .5 .25 .25\n",
}
VAL = {"fine": "0 .5 .5 .5 .5\n", "leaked": "1 .5 .5 .5 .5\n"}


def png(width: int, height: int, pixel: Callable[[int, int], int]) -> bytes:
    """Write a grey PNG; `pixel(x, y)` is 0..255."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    rows = b"".join(b"\0" + bytes(pixel(x, y) for x in range(width)) for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def shade(seed: int) -> Callable[[int, int], int]:
    """Write a different image for every seed."""
    return lambda x, y: (x * 3 + y * 5 + seed * 7 + (x * y * seed) % 11) % 256


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    """A workspace whose dataset has one of each fault."""
    root = tmp_path / "boxes"
    (root / "recipes").mkdir(parents=True)
    (root / "recipes" / "boxes.yaml").write_text(RECIPE)
    data = root / "data" / "boxes"
    for split, labels in (("train", TRAIN), ("val", VAL)):
        for kind in ("images", "labels"):
            (data / kind / split).mkdir(parents=True)
        for seed, (name, text) in enumerate(labels.items(), 1 if split == "train" else 50):
            picture = png(96 + 8 * (seed % 3), 64, shade(seed))
            (data / "images" / split / f"{name}.png").write_bytes(picture)
            if text is not None:
                (data / "labels" / split / f"{name}.txt").write_text(text)
    (data / "data.yaml").write_text(DATA)
    train = data / "images" / "train"
    (train / "cut.png").write_bytes((train / "cut.png").read_bytes()[:-40])
    (train / "text.png").write_text("no picture")
    (train / "nothing.png").write_bytes(b"")
    (train / "copy.png").write_bytes((train / "good.png").read_bytes())
    shutil.copyfile(train / "no-file.png", data / "images" / "val" / "leaked.png")
    (data / "labels" / "train" / "stray.txt").write_text("0 .5 .5 .5 .5\n")
    (data / "labels" / "train" / "classes.txt").write_text("box\nlid\nnail\n")
    return root


def look(root: Path, *names: str) -> int:
    """Run `buildsys check --data`."""
    return main(["-C", str(root), "check", "--data", *names])


def test_every_fault_is_reported_in_one_run(
    boxes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each fault is reported with file and line as an error or warning, with an exit code."""
    assert look(boxes) == 2
    text = capsys.readouterr().out
    compare(text, Path(__file__).with_name("look_faults"), ())
    folder = boxes / "build" / ".data" / "boxes"
    report = json.loads((folder / "report.json").read_text())
    assert len(report["findings"]) == text.count("error:") + text.count("warning:")
    assert (folder / "sheet.jpg").read_bytes()[:3] == b"\xff\xd8\xff"
    assert report["splits"][0]["without_label_file"] == 2
    assert report["splits"][0]["empty_label_file"] == 1


def test_a_second_look_runs_nothing(boxes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The inspection runs again only if a label changes; its bytes do not depend on the folder."""
    look(boxes)
    folder = boxes / "build" / ".data" / "boxes"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    first = capsys.readouterr()
    assert "inspect" in first.err
    shutil.rmtree(folder)
    look(boxes, "boxes")
    second = capsys.readouterr()
    assert second.err == ""
    assert second.out == first.out
    shutil.rmtree(boxes / ".buildsys")
    shutil.rmtree(boxes.parent / "store")
    moved = boxes.rename(boxes.parent / "moved")
    look(moved, "b*@host")
    capsys.readouterr()
    folder = moved / "build" / ".data" / "boxes"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (moved / "data/boxes/labels/val/fine.txt").write_text("2 .5 .5 .5 .5\n")
    look(moved)
    assert "no box in the val split" in capsys.readouterr().out


def test_sound_data_pass(boxes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings alone give exit code 0."""
    for name in set(TRAIN) - {"good"}:
        (boxes / "data/boxes/images/train" / f"{name}.png").unlink()
        (boxes / "data/boxes/labels/train" / f"{name}.txt").unlink(missing_ok=True)
    assert look(boxes) == 0
    assert "no errors and 3 warnings in its images" in capsys.readouterr().out


def test_images_that_become_png_are_counted(
    boxes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A photograph with a rotation in EXIF data becomes a PNG of several times its size."""
    train = boxes / "data" / "boxes" / "images" / "train"
    look(boxes)
    assert "PNG" not in capsys.readouterr().out
    exif = b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)
    for name in ("good", "copy"):
        header = b"\x89PNG\r\n\x1a\n"
        rest = png(96, 64, shade(len(name))).removeprefix(header)
        body = struct.pack(">I", len(exif)) + b"eXIf" + exif
        chunk = body + struct.pack(">I", zlib.crc32(body[4:]))
        (train / f"{name}.png").write_bytes(header + rest[:25] + chunk + rest[25:])
    (train / "no-lines.png").rename(train / "no-lines.jpg")
    report = boxes / "build" / ".data" / "boxes" / "report.json"
    look(boxes)
    told = capsys.readouterr().out
    assert "data/boxes: warning: 3 images become PNG for training and evaluation, about " in told
    hint = (
        "programs read such files differently: 2 rotated by EXIF data; 1 with the file name ending"
        " of another format"
    )
    assert f" KiB; the first is images/train/copy.png\n    help: {hint}\n" in told
    (finding,) = [f for f in json.loads(report.read_text())["findings"] if f["kind"] == "rewritten"]
    assert finding["severity"] == "warning"


def test_a_generator_runs_first(boxes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Generated data is inspected like other data; keypoints are counted."""
    recipe = boxes / "recipes" / "boxes.yaml"
    text = RECIPE.replace(
        "{path: data/boxes/data.yaml}", "{generator: fiducials, train: 2, val: 1}"
    )
    text = text.replace("task: detect", "task: pose").replace("yolov8n", "yolov8n-pose")
    recipe.write_text(text.replace("[64, 96]", "96"))
    assert look(boxes) == 0
    shown = capsys.readouterr()
    (row,) = (line for line in shown.out.splitlines() if line.startswith("keypoints visible"))
    assert row.split() == ["keypoints", "visible", "100.0", "%", "100.0", "%"]
    assert "dataset (data:fiducials-boxes)" in shown.err


@pytest.fixture(scope="module")
def bright(bright_place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a workspace, with photographs of bright spots."""
    root = tmp_path_factory.mktemp("look") / "bright"
    copy_workspace(bright_place, root)
    (root / "camera" / "night").mkdir(parents=True)

    def spot(left: int, top: int, side: int) -> Callable[[int, int], int]:
        return lambda x, y: 255 * (left <= x < left + side and top <= y < top + side)

    (root / "camera" / "a [1].png").write_bytes(png(96, 96, spot(24, 16, 8)))
    (root / "camera" / "night" / "a [1].png").write_bytes(png(384, 192, spot(96, 32, 32)))
    (root / "camera" / "dark.png").write_bytes(png(96, 96, lambda x, y: 0))
    return root


@pytest.mark.parametrize("target", ["onnx-file", "host"])
def test_predict_draws_what_the_file_sees(
    bright: Path, target: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Boxes are in the photograph's pixels."""
    monkeypatch.setenv("BUILDSYS_STORE", str(shared_store()))
    monkeypatch.chdir(bright)
    assert main(["predict", f"bright@{target}", "camera"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "camera/a [1].png: spot 1.00 at 20,12 16x16",
        "camera/dark.png: nothing",
        "camera/night/a [1].png: spot 1.00 at 80,16 64x64",
        f"drawn into build/.predictions/bright@{target}",
    ]
    folder = bright / "build" / ".predictions" / f"bright@{target}"
    names = {"a [1].jpg", "dark.jpg", "night-a [1].jpg", "predictions.json"}
    assert {path.name for path in folder.iterdir()} == names
    rows: list[dict[str, Any]] = json.loads((folder / "predictions.json").read_text())["pictures"]
    assert rows[0]["objects"][0]["box"] == pytest.approx([20, 12, 36, 28], abs=0.05)
    assert rows[2]["width"] == 384
    assert main(["predict", f"bright@{target}", "camera"]) == 0
    assert capsys.readouterr().err == ""


def test_predict_tells_of_images_that_cannot_be_read(
    bright: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An unreadable image gives exit code 2; the others are drawn."""
    monkeypatch.setenv("BUILDSYS_STORE", str(shared_store()))
    whole = (bright / "camera" / "dark.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:-30])
    (tmp_path / "whole.png").write_bytes(whole)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("kept")
    code = main(
        ["-C", str(bright), "predict", "bright@host", str(tmp_path), "--out", str(tmp_path / "out")]
    )
    assert code == 2
    assert f"{tmp_path}/cut.png: error: is truncated" in capsys.readouterr().err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"mine.txt", "whole.jpg", "predictions.json"}


def test_a_cleared_store_is_no_reason_to_build_again(
    bright: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a cleared store only the prediction runs."""
    monkeypatch.setenv("BUILDSYS_STORE", str(bright.parent / "another store"))
    monkeypatch.chdir(bright)
    assert main(["predict", "bright@host", "camera/dark.png"]) == 0
    shown = capsys.readouterr()
    assert "camera/dark.png: nothing" in shown.out
    assert "convert" not in shown.err
