"""Users' datasets: `new` recognizes the format, its recipe passes `check`, mistakes have a
position.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from buildsys import cli
from buildsys.authoring.datasets.leftovers import is_visible
from buildsys.graph import WaitingPlan
from buildsys.names import is_junk
from buildsys.steps.lib.images.decoding import is_image
from tests.authoring.golden import HERE, compare
from tests.authoring.sample_workspace import by_stage, plan_all, plan_good, write_recipe
from tests.brought_sets import FORMS, Box, bring, share_line, voc_text

RECIPE = """\
source: {family: ultralytics, task: detect, architecture: yolov8n, weights: random}
dataset: {format: voc, path: data/brought}
input: {size: 64}
train: {epochs: 1}
targets: [host]
"""


def draw(name: str, boxes: tuple[Box, ...]) -> bytes:
    """Bytes instead of an image, because planning opens no image."""
    return f"{name} {len(boxes)}".encode()


@pytest.fixture
def brought(workspace: Path) -> Path:
    """The folder for the data."""
    folder = workspace / "data" / "brought"
    folder.mkdir()
    return folder


def new(workspace: Path, *words: str) -> int:
    """`buildsys new mine --data …`."""
    return cli.main(["-C", str(workspace), "new", "mine", "--data", *words])


def block(workspace: Path) -> str:
    """The `dataset` block of the recipe that `new` wrote."""
    text = (workspace / "recipes" / "mine.yaml").read_text()
    return text[text.index("dataset:") : text.index("input:")]


BLOCKS = {
    "roboflow": "dataset: {format: ultralytics, path: data/brought/data.yaml}\n",
    "voc": """\
dataset:
  format: voc
  path: data/brought
  classes: [cell, egg]   # in this order: the format defines none
""",
    "label-studio": """\
dataset:
  format: coco
  splits: {train: {annotations: data/brought/train/result.json, images: data/brought/train/images}, \
val: {annotations: data/brought/val/result.json, images: data/brought/val/images}}
  match: base-name   # the last part of `file_name` names the image
""",
    "darknet": "dataset: {format: darknet, path: data/brought}\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_new_finds_what_it_is(workspace: Path, brought: Path, form: str) -> None:
    """`new` accepts the folder as well as the file that describes it."""
    given = bring(form, brought, draw)
    for data in ("data/brought", f"data/brought/{given}"):
        (workspace / "recipes" / "mine.yaml").unlink(missing_ok=True)
        assert new(workspace, data) == 0
        assert block(workspace) == BLOCKS[form]
        stages = by_stage(plan_good(workspace)["mine@host"])
        assert '"classes":["cell","egg"]' in stages["evaluate-onnx"].params
        assert '"paths":["images/val"]' in stages["evaluate-onnx"].params


def test_one_folder_is_shared_out(workspace: Path, brought: Path) -> None:
    """labelImg's folder has no splits, so a share of it becomes val."""
    (brought / "a.jpg").touch()
    (brought / "classes.txt").write_text("egg\ncell\n")
    (brought / "a.txt").write_text(share_line(("cell", 0, 0, 32, 32)))
    for data in ("data/brought", "data/brought/classes.txt"):
        (workspace / "recipes" / "mine.yaml").unlink(missing_ok=True)
        assert new(workspace, data) == 0
        assert block(workspace) == (
            "dataset:\n  format: darknet\n  path: data/brought\n  split: {val: 0.2, seed: 0}\n"
        )
    assert (
        '"classes":["egg","cell"]'
        in by_stage(plan_good(workspace)["mine@host"])["evaluate-onnx"].params
    )
    shutil.rmtree(brought)
    (brought / "mine").mkdir(parents=True)
    (brought / "mine" / "a.jpg").touch()
    (brought / "mine" / "a.xml").write_text(voc_text("a.jpg", (("no", 0, 0, 32, 32),)))
    (workspace / "recipes" / "mine.yaml").unlink()
    assert new(workspace, "data/brought/mine/a.xml") == 0
    assert '  classes: ["no"] ' in block(workspace)
    assert "  path: data/brought/mine\n" in block(workspace)
    plan_good(workspace)


def test_images_alone_calibrate(
    workspace: Path, brought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images without labels cannot be trained on, but calibrate int8 for given weights."""
    for name in ("a.jpg", "day/b.jpg"):
        (brought / name).parent.mkdir(exist_ok=True)
        (brought / name).write_bytes(b"pixels")
    assert new(workspace, "data/brought") == 2
    assert "or trained weights: --from weights/best.pt" in capsys.readouterr().err
    words = ("--from", "weights/boxes.pt", "--target", "grove-vision-ai-v2")
    assert new(workspace, "data/brought", *words) == 0
    text = (workspace / "recipes" / "mine.yaml").read_text()
    assert '\n  calibration: {images: "data/brought/**/*.jpg", count: 2, seed: 0}\n' in text
    source = by_stage(plan_good(workspace)["mine@grove-vision-ai-v2"])["calibration"].inputs[0]
    assert source.source is not None
    assert source.source.parts == ("**/*.jpg",)


def test_a_folder_of_nothing_says_what_there_could_be(
    workspace: Path, brought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message lists every supported form; two datasets in one folder are rejected."""
    assert new(workspace, "data/brought") == 2
    told = capsys.readouterr().err
    assert "has no data in a format that buildsys reads" in told
    assert "Pascal VOC's folders (Annotations, JPEGImages), darknet's obj.data" in told
    for year in ("VOC2007", "VOC2012"):
        bring("voc", brought / "VOCdevkit" / year, draw)
    assert new(workspace, "data/brought") == 2
    assert "has several datasets in Pascal VOC format" in capsys.readouterr().err
    assert new(workspace, "data/brought/VOCdevkit/VOC2007") == 0


PLAIN = "dataset: {path: GIVEN}\n"
LINES = {
    "voc": "write `dataset: {format: voc, path: data/brought, classes: [cell, egg]}`",
    "darknet": "write `dataset: {format: darknet, path: data/brought}`",
    "roboflow": "write `dataset: {format: ultralytics, path: data/brought/data.yaml}`",
    "label-studio": "train/images}, val: {annotations: data/brought/val/result.json, images:"
    " data/brought/val/images}}, match: base-name}`",
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_a_data_yaml_is_refused_with_the_line(
    workspace: Path, brought: Path, form: str
) -> None:
    """The message contains the right line for a folder or another format's file as Ultralytics
    `path`.
    """
    bring(form, brought, draw)
    before, after = RECIPE.index("dataset:"), RECIPE.index("input:")
    recipe = RECIPE[:before] + PLAIN + RECIPE[after:]
    write_recipe(workspace, "mine", recipe.replace("GIVEN", "data/brought"))
    (error,) = plan_all(workspace).errors
    assert error.message == "data/brought is a directory; `path` names its data.yaml"
    assert LINES[form] in error.hint
    assert (error.line, error.column) == (3, 17)


def test_a_file_that_is_not_a_data_yaml(workspace: Path, brought: Path) -> None:
    """JSON and lists of names are not read as YAML; for a folder of images the message explains its
    use.
    """
    bring("label-studio", brought / "studio", draw)
    bring("darknet", brought / "darknet", draw)
    bring("voc", brought / "old" / "VOC2007", draw)
    (brought / "cam").mkdir()
    (brought / "cam" / "a.png").touch()
    before, after = RECIPE.index("dataset:"), RECIPE.index("input:")
    for given, message, hint in (
        ("studio/train/result.json", "is not a data.yaml", "write `dataset: {format: coco, "),
        ("darknet/obj.names", "is not a data.yaml", "write `dataset: {format: darknet, "),
        (
            "cam",
            "is a directory",
            'calibrate: `quantization: {calibration: {images: "data/brought/cam/**',
        ),
        ("old, format: voc", "is not the dataset", "write `path: …/VOC2007`"),
    ):
        block = PLAIN.replace("GIVEN", f"data/brought/{given}")
        write_recipe(workspace, "mine", RECIPE[:before] + block + RECIPE[after:])
        (error,) = plan_all(workspace).errors
        assert message in error.message
        assert hint in error.hint


@pytest.mark.parametrize("form", ["voc", "voc, difficult", "darknet", "label-studio"])
def test_a_val_split_without_labels_is_reported_before_training(
    workspace: Path, brought: Path, form: str
) -> None:
    """A val split without labels is an error before any work."""
    bring(form.split(",", maxsplit=1)[0], brought, draw)
    assert new(workspace, "data/brought") == 0
    for path in brought.rglob("cd34-*.xml"):
        path.write_text(path.read_text().replace("<difficult>0", "<difficult>1"))
        if form == "voc":
            path.unlink()
    for path in brought.rglob("cd34-*.txt"):
        path.write_text(" \n")
    if form == "label-studio":
        data = json.loads((brought / "val" / "result.json").read_text())
        (brought / "val" / "result.json").write_text(json.dumps({**data, "annotations": []}))
    (error,) = plan_all(workspace).errors
    assert error.message.startswith("no image of the val split has a label")
    assert error.path.startswith("data/brought/")


def test_folders_in_another_case_are_named_for_darknet(workspace: Path, brought: Path) -> None:
    """`Images` and `Labels` of Windows are the reason why darknet's labels are not found."""
    for name, text in (("Images/a.jpg", ""), ("Labels/a.txt", "0 .5 .5 .1 .1\n")):
        (brought / name).parent.mkdir(parents=True)
        (brought / name).write_text(text)
    (brought / "classes.txt").write_text("tag\n")
    new(workspace, "data/brought")
    error = plan_all(workspace).errors[0]
    assert error.message.startswith("no image of the train split has a label")
    assert error.hint.startswith("rename Labels to labels and Images to images")


def test_a_declared_split_is_not_replaced_by_a_random_share(
    workspace: Path, brought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If darknet's `valid` names a missing list, `new` and `check` report it."""
    bring("darknet", brought, draw)
    (brought / "valid.txt").unlink()
    message = 'data/brought/obj.data:3:1: error: `valid` names "data/valid.txt", which is not here'
    assert new(workspace, "data/brought") == 2
    assert message in capsys.readouterr().err
    assert not (workspace / "recipes" / "mine.yaml").exists()
    write_recipe(workspace, "mine", RECIPE.replace("voc", "darknet"))
    (error,) = plan_all(workspace).errors
    assert error.render().startswith(message)
    write_recipe(workspace, "mine", RECIPE.replace("voc", "darknet") + "evaluate: none\n")
    assert plan_all(workspace).errors == ()


def test_classes_of_the_recipe_are_in_its_order(workspace: Path, brought: Path) -> None:
    """Without `classes` in the recipe they are read again when an annotation file changes."""
    bring("voc", brought, draw)
    write_recipe(workspace, "mine", RECIPE)
    assert (
        '"classes":["cell","egg"]' in by_stage(plan_good(workspace)["mine@host"])["prepare"].params
    )
    path = brought / "Annotations" / "ab12-a.xml"
    path.write_text(path.read_text().replace("<name>egg", "<name>a new one"))
    stages = by_stage(plan_good(workspace)["mine@host"])
    assert '"classes":["a new one","cell","egg"]' in stages["prepare"].params
    listed = RECIPE.replace("brought}", "brought, classes: [egg, cell]}")
    write_recipe(workspace, "mine", listed)
    (error,) = plan_all(workspace).errors
    assert (error.path, error.line, error.column) == (
        "data/brought/Annotations/ab12-a.xml",
        14,
        2,
    )
    assert error.message == '"a new one" is not one of the classes'
    path.write_text(path.read_text().replace("<name>a new one", "<name>egg"))
    assert (
        '"classes":["egg","cell"]' in by_stage(plan_good(workspace)["mine@host"])["prepare"].params
    )


def test_mistakes_are_reported_at_once(
    workspace: Path, brought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mistakes are reported with file, line and column before any work; a long list ends with a
    count.
    """
    bring("voc", brought, draw)
    write_recipe(workspace, "mine", RECIPE)
    path = brought / "Annotations" / "ab12-a.xml"
    path.write_text(path.read_text().replace("<xmin>16<", "<xmin>left<"))
    (brought / "Annotations" / "cd34-e.xml").write_text("<annotation>")
    assert cli.main(["-C", str(workspace), "check"]) == 2
    compare(capsys.readouterr().out, HERE / "brought" / "voc.yaml", ())
    for number in range(30):
        (brought / "Annotations" / f"x{number}.xml").write_text("<annotation>")
    (brought / "ImageSets" / "Main" / "train.txt").unlink()
    (brought / "ImageSets" / "Main" / "val.txt").unlink()
    errors = plan_all(workspace).errors
    assert len(errors) == 21
    assert errors[-1].message.startswith("… and ")


def test_facts_are_kept_for_machines_without_the_data(workspace: Path, brought: Path) -> None:
    """buildsys.lock holds the facts that planning needs, for every format."""
    from buildsys.lockfile import Lock, content_line, write_lock
    from buildsys.recorded_facts import RecordedDataset

    bring("darknet", brought, draw)
    write_recipe(workspace, "mine", RECIPE.replace("voc", "darknet"))
    plan = plan_good(workspace)["mine@host"]
    (fact,) = plan.facts
    assert isinstance(fact.facts, RecordedDataset)
    assert (fact.key, fact.facts.format) == ("dataset data/brought", "darknet")
    lines = (content_line(fact.key, "0" * 64, fact.facts),)
    write_lock(workspace / "buildsys.lock", Lock(lines=lines))
    shutil.rmtree(brought)
    assert plan_good(workspace)["mine@host"] == plan


def test_an_archive_of_another_format(workspace: Path, tmp_path: Path) -> None:
    """A dataset in a folder of an archive is found; mistakes have paths inside the archive."""
    digest = "5" * 64
    url = f"url: https://example.org/a.tar, sha256: {digest}"
    write_recipe(workspace, "mine", RECIPE.replace("path: data/brought", url))
    (waiting,) = plan_all(workspace).plans
    assert isinstance(waiting, WaitingPlan)
    assert waiting.waiting_for == "https://example.org/a.tar"
    unpacked = tmp_path / "cache" / "buildsys" / "datasets" / digest
    bring("voc", unpacked / "VOCdevkit" / "VOC2007", draw)
    stages = by_stage(plan_good(workspace)["mine@host"])
    assert '"classes":["cell","egg"]' in stages["prepare"].params
    source = stages["prepare"].inputs[0].source
    assert source is not None
    assert source.path == str(unpacked / "VOCdevkit" / "VOC2007")
    (unpacked / "VOCdevkit" / "VOC2007" / "Annotations" / "ab12-a.xml").write_text("<annotation>")
    (error,) = plan_all(workspace).errors
    assert (error.path, error.line) == ("Annotations/ab12-a.xml", 1)
    shutil.rmtree(unpacked)
    bring("darknet", unpacked / "export", draw)
    write_recipe(workspace, "mine", RECIPE.replace("voc, path: data/brought", f"darknet, {url}"))
    assert (
        '"classes":["cell","egg"]' in by_stage(plan_good(workspace)["mine@host"])["prepare"].params
    )


@pytest.mark.parametrize("form", FORMS)
def test_what_cannot_be_read_is_one_message_each(
    workspace: Path, brought: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In every format, a name in another encoding, an endless link and a link out of the workspace
    give one message each, which does not show the linked content.
    """
    bring(form, brought, draw)
    assert new(workspace, "data/brought") == 0
    folder = next(path.parent for path in sorted(brought.rglob("*")) if is_image(path))
    secret = workspace.parent / "secret"
    secret.write_text("hidden words")
    (folder / os.fsdecode(b"\xff.db")).touch()
    (folder / "loop").symlink_to(".")
    for ending in ("txt", "xml"):
        (folder / f"zz.{ending}").symlink_to(secret)
    capsys.readouterr()
    for words in (("check",), ("plan",), ("new", "other", "--data", "data/brought")):
        assert cli.main(["-C", str(workspace), *words]) == 2
        told = "".join(capsys.readouterr())
        assert told.count(r"\udcff.db' is a name that is not UTF-8") == 1
        assert told.count("loop is a link that leads back to a folder around it") == 1
        assert told.count("leads out of the dataset and of the workspace") == 1
        assert "buildsys.yaml" in told
        assert "hidden" not in told


@pytest.mark.parametrize("words", [["--data"], ["--copy", "--data"], ["--from"]])
def test_a_given_name_that_no_recipe_can_hold(
    workspace: Path, brought: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The message shows the name in ASCII, and no recipe is written."""
    given = os.fsdecode(bytes(brought) + b"/\xff")
    bring("roboflow", Path(given), draw)
    assert cli.main(["-C", str(workspace), "new", "mine", *words, given]) == 2
    assert r"/\udcff': error: has a name that is not UTF-8" in capsys.readouterr().err
    assert not (workspace / "recipes" / "mine.yaml").exists()


def test_classes_and_calibration_images_are_looked_at_too(
    workspace: Path, brought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same checks apply to class folders and to patterns of images."""
    for name in ("train/cell/a.jpg", "train/cell/b.jpg"):
        (brought / name).parent.mkdir(parents=True, exist_ok=True)
        (brought / name).touch()
    (brought / "train" / os.fsdecode(b"\xff")).mkdir()
    assert new(workspace, "data/brought") == 2
    assert r"'train/\udcff' is a name that is not UTF-8" in capsys.readouterr().out
    write_recipe(
        workspace,
        "cal",
        RECIPE.replace("dataset: {format: voc, path: data/brought}\n", "").replace(
            "train: {epochs: 1}",
            "quantization: {scheme: int8, calibration: {images: data/cam/*.jpg, count: 2}}",
        ),
    )
    (workspace / "data" / "cam" / "out.jpg").symlink_to("/etc/hostname")
    assert cli.main(["-C", str(workspace), "check"]) == 2
    assert "out.jpg leads out of the dataset and of the workspace" in capsys.readouterr().out


LEFT = (".DS_Store", "Thumbs.db", "desktop.ini")


@pytest.mark.parametrize("name", [*LEFT, "__MACOSX", "._a.xml"])
def test_what_an_archive_leaves_out_is_no_persons_own_in_a_folder_either(name: str) -> None:
    """Names of operating systems' files are the same for archives and for folders."""
    assert is_junk(name)
    assert not is_visible(name)


def leave(root: Path) -> None:
    """Leave what macOS and Windows leave in every folder and beside every file of `root`."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    for path in files:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7Mac OS X        ")
        double = root / "__MACOSX" / path.relative_to(root).with_name(f"._{path.name}")
        double.parent.mkdir(parents=True, exist_ok=True)
        double.write_bytes(b"\0\5\x16\7Mac OS X        ")
        for name in LEFT:
            (path.parent / name).write_bytes(b"\0\0\0\1Bud1")


@pytest.mark.parametrize("form", FORMS)
def test_files_that_an_operating_system_left_change_nothing(
    workspace: Path, brought: Path, form: str
) -> None:
    """Data that was copied from a Mac has a hidden file beside each file."""
    bring(form, brought, draw)
    leave(brought)
    assert new(workspace, "data/brought") == 0
    assert block(workspace) == BLOCKS[form]
    stages = by_stage(plan_good(workspace)["mine@host"])
    assert '"classes":["cell","egg"]' in stages["evaluate-onnx"].params


def test_a_hidden_annotation_file_labels_no_image(workspace: Path, brought: Path) -> None:
    """A step does not get hidden files, so that `check` does not count their objects either."""
    bring("voc", brought, draw)
    shutil.rmtree(brought / "ImageSets")
    for path in sorted((brought / "Annotations").iterdir()):
        path.rename(path.with_name(f".{path.name}"))
    text = voc_text("ab12-a.bmp", (("egg", 16, 8, 48, 40),))
    (brought / "Annotations" / "ab12-a.xml").write_text(text)
    assert new(workspace, "data/brought") == 0
    assert "classes: [egg] " in block(workspace)


@pytest.mark.parametrize("folders", [("Annotations", "JPEGImages"), ("train", "train")])
def test_hidden_annotation_files_have_no_images_to_miss(
    workspace: Path, folders: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake about all annotation files neither counts nor names hidden ones."""
    home = workspace / "data" / "mac"
    for folder in folders:
        (home / folder).mkdir(parents=True, exist_ok=True)
    annotations = home / folders[0]
    (annotations / "a.xml").write_text(voc_text("a.jpg", (("egg", 16, 8, 48, 40),)))
    write_recipe(workspace, "mine", RECIPE.replace("data/brought", "data/mac"))
    words = ["-C", str(workspace), "check"]
    assert cli.main(words) == 2
    shown = capsys.readouterr().out
    message = f'none of its 1 images is in {folders[1]}, the first is "a"'
    assert f"{Path('data/mac', folders[0])}: error: {message}" in shown
    leave(home)
    assert cli.main(words) == 2
    assert capsys.readouterr().out == shown
    (annotations / "a.xml").unlink()
    assert cli.main(words) == 2
    assert "data/mac: error: has no annotation file in Pascal VOC format" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["roboflow", "voc", "darknet", "classes"])
def test_an_archive_of_a_mac_has_one_dataset(workspace: Path, tmp_path: Path, form: str) -> None:
    """A folder `__MACOSX` beside the dataset is not a second one."""
    digest = "5" * 64
    unpacked = tmp_path / "cache" / "buildsys" / "datasets" / digest
    if form == "classes":
        for split in ("train", "val"):
            for name in ("fig", "kiwi"):
                (unpacked / "d" / split / name).mkdir(parents=True)
                (unpacked / "d" / split / name / "a.jpg").write_bytes(name.encode())
    else:
        bring(form, unpacked / "d", draw)
    leave(unpacked)
    kind = "ultralytics" if form in ("roboflow", "classes") else form
    archive = f"{{format: {kind}, url: https://example.org/d.zip, sha256: {digest}}}"
    recipe = RECIPE.replace("{format: voc, path: data/brought}", archive)
    if form == "classes":
        recipe = recipe.replace("task: detect", "task: classify").replace("yolov8n", "yolov8n-cls")
    write_recipe(workspace, "mine", recipe)
    assert plan_good(workspace)["mine@host"].package
