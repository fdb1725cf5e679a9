"""Names that differ from those on disk in their Unicode form alone, as macOS and Linux write them."""

import os
from pathlib import Path
from typing import Literal
from unicodedata import normalize

import pytest

from buildsys import cli
from buildsys.authoring.datasets.name_forms import explain_forms, find_lost_labels
from buildsys.authoring.syntax.workspace_paths import hint_missing
from buildsys.errors import Diagnostic
from tests.authoring.sample_workspace import plan_all, write_recipe, write_sheet
from tests.brought_sets import share_line, voc_text

Form = Literal["NFC", "NFD"]
RECIPE = """\
source: {family: ultralytics, task: detect, architecture: yolov8n, weights: random}
dataset: BLOCK
input: {size: 64}
train: {epochs: 1}
evaluate: none
targets: [host]
"""
COMPOSED, DECOMPOSED = normalize("NFC", "café"), normalize("NFD", "café")
BOX = ("egg", 16, 8, 48, 40)
START = "it is there in another Unicode form, which looks alike: `convmv -f utf8 -t utf8"
FORMATS = {
    "coco": (
        "{format: coco, splits: {train: {annotations: data/d/a.json, images: data/d/images}}}",
        "data/d/images",
    ),
    "voc": ("{format: voc, path: data/d}", "data/d"),
    "voc-list": ("{format: voc, path: data/d}", "data/d"),
    "darknet": ("{format: darknet, path: data/d}", "data/d"),
    "ultralytics": ("{format: ultralytics, path: data/d/data.yaml}", "data/d"),
}
"""Block of the recipe, and the folder whose files are renamed."""


def fill(folder: Path, form: str, written: str, on_disk: str) -> None:
    """Write a dataset of one image, whose name on disk differs from the one in its files."""
    files: dict[str, str] = {}
    if form == "coco":
        write_sheet(folder / "a.json", (f"{written}.jpg",))
        files = {f"images/{on_disk}.jpg": ""}
    elif form == "voc":
        text = voc_text(f"{written}.jpg", (BOX,))
        files = {f"Annotations/{written}.xml": text, f"JPEGImages/{on_disk}.jpg": ""}
    elif form == "voc-list":
        text = voc_text(f"{on_disk}.jpg", (BOX,))
        files = {f"Annotations/{on_disk}.xml": text, f"JPEGImages/{on_disk}.jpg": ""}
        files["ImageSets/Main/train.txt"] = f"{written}\n"
    elif form == "darknet":
        files = {"obj.data": "names = n.names\ntrain = train.txt\n", "n.names": "cell\negg\n"}
        files |= {"train.txt": f"data/{written}.jpg\n", f"{on_disk}.jpg": ""}
        files[f"{on_disk}.txt"] = share_line(BOX)
    else:
        files = {"data.yaml": "train: train.txt\nnames: [cell, egg]\n"}
        files |= {"train.txt": f"images/{written}.jpg\n", f"images/{on_disk}.jpg": ""}
        files[f"labels/{on_disk}.txt"] = share_line(BOX)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("written", "on_disk", "option"),
    [(COMPOSED, DECOMPOSED, "NFC"), (DECOMPOSED, COMPOSED, "NFD")],
    ids=["mac-disk", "mac-file"],
)
@pytest.mark.parametrize("form", FORMATS)
def test_an_image_in_another_form_is_named_as_such(
    workspace: Path, form: str, written: str, on_disk: str, option: Form
) -> None:
    """The message has the command that renames it; after renaming, the recipe has no mistake."""
    folder = workspace / "data" / "d"
    block, place = FORMATS[form]
    fill(folder, form, written, on_disk)
    write_recipe(workspace, "mine", RECIPE.replace("BLOCK", block))
    (error,) = plan_all(workspace).errors
    assert written in error.message
    assert error.hint == f"{START} --{option.lower()} --notest -r {place}` renames it"
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            os.rename(path, path.with_name(normalize(option, path.name)))
    assert not plan_all(workspace).errors


LABELLED = {
    "apart": ("images/train/{}.jpg", "labels/train/{}.txt"),
    "beside": ("images/train/{}.jpg", "images/train/{}.txt"),
    "capitals": ("images/train/{}.jpg", "labels/train/{}.TXT"),
    "folder": ("images/train/{}/a.jpg", "labels/train/{}/a.txt"),
    "darknet": ("images/train/{}.jpg", "images/train/{}.txt"),
    "voc": ("JPEGImages/{}.jpg", "Annotations/{}.xml"),
}
"""Where an image and its labels are; the other image of the dataset has its labels."""


@pytest.mark.parametrize(
    ("image", "label", "option"),
    [(COMPOSED, DECOMPOSED, "NFC"), (DECOMPOSED, COMPOSED, "NFD")],
    ids=["mac-label", "mac-image"],
)
@pytest.mark.parametrize("form", LABELLED)
def test_no_label_is_lost_by_the_form_of_its_name(
    workspace: Path, form: str, image: str, label: str, option: Form
) -> None:
    """The image would become one without objects; after renaming, the recipe has no mistake."""
    folder = workspace / "data" / "d"
    files = {"data.yaml": "train: images/train\nnames: [cell, egg]\n"}
    block = "{format: ultralytics, path: data/d/data.yaml}"
    text = share_line(BOX)
    if form == "darknet":
        files, block = {"classes.txt": "cell\negg\n"}, FORMATS["darknet"][0]
    elif form == "voc":
        files = {"ImageSets/Main/train.txt": f"{image}\ntea\n"}
        block, text = FORMATS["voc"][0], voc_text("x.jpg", (BOX,))
    where, beside = LABELLED[form]
    files |= {where.format("tea"): "", beside.format("tea"): text}
    files |= {where.format(image): "", beside.format(label): text}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    write_recipe(workspace, "mine", RECIPE.replace("BLOCK", block))
    (error,) = plan_all(workspace).errors
    name = where.format(image)
    message = f"no label file has the name of {name}"
    if form == "voc":
        message = "no annotation file has the name of this image"
        assert error.path == f"data/d/{name}"
    assert error.message == message
    assert error.hint == f"{START} --{option.lower()} --notest -r data/d` renames it"
    for path in sorted(folder.rglob("*"), reverse=True):
        os.rename(path, path.with_name(normalize(option, path.name)))
    assert not plan_all(workspace).errors


def test_lost_labels_are_counted(tmp_path: Path) -> None:
    """Many make one mistake; an image without any label file, and other text files, make none."""
    names = [f"images/{COMPOSED}{n}.jpg" for n in range(3)]
    names += [f"labels/{DECOMPOSED}{n}.txt" for n in range(3)]
    assert [m for m, _ in find_lost_labels(names, "d")] == [
        f"no label file has the name of images/{COMPOSED}0.jpg, nor of 2 other images"
    ]
    assert [m for m, _ in find_lost_labels([*names[:2], *names[3:5]], "d")] == [
        f"no label file has the name of images/{COMPOSED}0.jpg, nor of one other image"
    ]
    assert not [*find_lost_labels([f"{COMPOSED}.jpg", f"{COMPOSED}.txt", f"{DECOMPOSED}.txt"], "")]
    assert not [*find_lost_labels([f"images/{COMPOSED}.jpg", "labels/caf.txt", "thé.txt"], "")]


def test_new_names_the_form_of_coco_images(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The search of `new` for the images has the same hint."""
    fill(workspace / "data" / "d", "coco", COMPOSED, DECOMPOSED)
    assert cli.main(["-C", str(workspace), "new", "mine", "--data", "data/d"]) == 2
    told = capsys.readouterr().err
    assert "its images were not found" in told
    assert f"help: {START} --nfc --notest -r data/d/images` renames it" in told


def test_a_missing_path_in_another_form_is_not_offered_as_a_similar_one(tmp_path: Path) -> None:
    """`did you mean` would show the same name."""
    (tmp_path / "my sets" / DECOMPOSED).mkdir(parents=True)
    hint = hint_missing(tmp_path / "my sets" / COMPOSED, f"my sets/{COMPOSED}")
    command = f"{START} --nfc --notest 'my sets'/*` renames it"
    assert hint == f"there is no `{COMPOSED}` in `my sets`; {command}"
    hint = hint_missing(tmp_path / "my sets" / COMPOSED, COMPOSED)
    assert hint.endswith(f"; {START} --nfc --notest …/*` renames it")
    assert "did you mean" in hint_missing(tmp_path / "my sets" / "cafe", "my sets/cafe")


def test_other_mistakes_keep_their_hints() -> None:
    """Only a mistake about a name that is there in another form has the hint."""
    texts = [f'"{name}.jpg" is not in d' for name in (COMPOSED, "thé", "tea")]
    given = [Diagnostic(path="a.json", message=text, hint="own") for text in texts]
    written = (f"{COMPOSED}.jpg", "thé.jpg", "tea.jpg")
    found = explain_forms(given, written, (f"x/{DECOMPOSED}.jpg",), "d")
    assert [one.hint == "own" for one in found] == [False, True, True]
    folder = explain_forms(given, (f"{COMPOSED}/tea.jpg",), (f"{DECOMPOSED}/tea.jpg",), "d")
    assert folder == tuple(given), "its message does not quote this name"
