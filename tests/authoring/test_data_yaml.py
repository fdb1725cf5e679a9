"""data.yaml files of Roboflow, Ultralytics and users are accepted or rejected at the right line."""

from pathlib import Path

import pytest

from buildsys.authoring.datasets.data_yaml import DataYaml, read_dataset
from buildsys.authoring.datasets.unnamed_labels import describe_unnamed
from buildsys.errors import InputError
from buildsys.steps.lib.datasets import readers
from buildsys.steps.lib.datasets.labels import Layout
from buildsys.steps.lib.datasets.ultralytics_layout import Split
from tests.authoring.sample_workspace import TRAINED, plan_all, write_recipe

PLAIN = "train: images/train\nval: images/val\nnames: [box, lid]\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder data/set with two splits of one labelled image each; tests write its data.yaml."""
    return fill(tmp_path / "data" / "set")


def fill(folder: Path, *names: str) -> Path:
    """Write images and labels: images/train and images/val, or other image folders."""
    for name in names or ("images/train", "images/val"):
        labels = folder / name.replace("images", "labels")
        for place in (folder / name, labels):
            place.mkdir(parents=True, exist_ok=True)
        (folder / name / "a.jpg").touch()
        (labels / "a.txt").write_text("0 .5 .5 .1 .1\n")
    return folder


def read(folder: Path, text: str, name: str = "data.yaml", inside: int = 2) -> DataYaml:
    """Read a data.yaml in a folder; the workspace is two folders above."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_dataset(path, f"data/set/{name}", path.parents[inside])


def told(folder: Path, text: str) -> list[str]:
    """The findings of `check` for a data.yaml: line, column, message, hint."""
    with pytest.raises(InputError) as caught:
        read(folder, text)
    return [f"{d.line}:{d.column}: {d.message}; {d.hint}" for d in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "trian: images/train\nval: images/val\nnmaes: [box]\nnc: 1\n",
            ["1:1: unknown key `trian`", "3:1: unknown key `nmaes`"],
        ),
        (f"{PLAIN}kpt_shpae: [4, 3]\n", ["4:1: unknown key `kpt_shpae`"]),
        (PLAIN.replace("val:", "Val:"), ["2:1: unknown key `Val`"]),
        (PLAIN.replace("val:", "vla:"), ["2:1: unknown key `vla`"]),
        (
            f"tarin: images/train\nnames: [box, box]\n{'x' * 9}: 1\n",
            ["1:1: unknown key `tarin`", "2:14: duplicate class name `box`: class 0 and class 1"],
        ),
    ],
)
def test_a_misspelled_key_is_found_where_it_stands(data: Path, text: str, found: list[str]) -> None:
    """With the other mistakes of the file, and what was meant."""
    lines = told(data, text)
    assert sorted(line.partition("; ")[0] for line in lines) == sorted(found), lines
    assert all("did you mean `" in line for line in lines if "unknown key" in line), lines


def test_keys_of_other_tools_are_allowed(data: Path) -> None:
    """Also such as resemble one of ours that is there, or is not needed."""
    text = "kpt_names: {0: [a]}\nskeleton: []\nname: x\ntests: y\ndownload: z\nroboflow: {}\n"
    assert read(data, f"{PLAIN}{text}").facts.names == ("box", "lid")


def test_roboflow_s_paths_are_tried_without_their_dots(tmp_path: Path) -> None:
    """`train: ../train/images` is found next to data.yaml; a missing test split is ignored."""
    folder = fill(tmp_path / "data" / "set", "train/images", "valid/images")
    text = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\n"
    found = read(folder, f"{text}names: ['box', 'lid']\n")
    assert found.facts.root == str(folder)
    assert found.facts.given == (("train", ("train/images",)), ("val", ("valid/images",)))
    assert found.facts.splits == (("train", ("images/train",)), ("val", ("images/val",)))
    assert [(lack.split, lack.what) for lack in found.missing_parts] == [("test", "images")]
    assert found.missing_parts[0].diagnostic.line == 3


def test_an_empty_list_names_no_split(data: Path) -> None:
    """`val: []` means that the split does not exist."""
    found = read(data, "train: images/train\nval: []\ntest:\nnames: [box, lid]\n")
    assert [split for split, _ in found.facts.given] == ["train"]
    assert not found.missing_parts


def test_splits_that_are_beside_the_folder_are_taken_from_there(tmp_path: Path) -> None:
    """If splits are next to the folder of data.yaml, the dataset's root is their common parent."""
    fill(tmp_path / "data" / "set", "train/images", "valid/images")
    (tmp_path / "data" / "set" / "about").mkdir()
    text = "train: ../train/images\nval: ../valid/images\nnames: [box, lid]\n"
    found = read(tmp_path / "data" / "set" / "about", text, inside=3)
    assert found.facts.root == str(tmp_path / "data" / "set")
    assert found.parts == (
        "about/data.yaml",
        "train/images",
        "train/labels",
        "valid/images",
        "valid/labels",
    )


@pytest.mark.parametrize("path", ["../datasets/set", "/content/drive/set", "."])
def test_a_path_of_another_machine_is_passed_over(data: Path, path: str) -> None:
    """A `path` of another machine is ignored if the splits exist here."""
    found = read(data, f"path: {path}\n{PLAIN}")
    assert (found.facts.root, found.missing_parts) == (str(data), ())


@pytest.mark.parametrize("path", ["C:/Users/me/set", r"C:\Users\me\set", r"\\server\set"])
def test_a_path_of_windows_is_passed_over_without_splits_too(data: Path, path: str) -> None:
    """A drive or a server of Windows is ignored; the mistakes are those of the splits."""
    assert not read(data, f"path: {path}\n{PLAIN}").missing_parts
    text = "train: images\\train\nval: images\\val\nnames: [box]\n"
    parts = read(data, f"path: {path}\n{text}").missing_parts
    assert [(part.diagnostic.line, part.diagnostic.message) for part in parts] == [
        (2, r"the path `images\train` has a backslash in it"),
        (3, r"the path `images\val` has a backslash in it"),
    ]


def test_all_mistakes_of_a_data_yaml_come_at_once(data: Path) -> None:
    """A mistake in one key does not hide those of others."""
    text = (
        "path: ..\\set\ntrain: images\\train\nval: images/val\nnames: [box, box]\nkpt_shape: [4]\n"
    )
    assert [line.partition(" ")[0] for line in told(data, text)] == ["4:14:", "5:12:", "2:8:"]
    lines = told(data, text.replace("val: images/val", r"val: images\val"))
    assert [line.partition(" ")[0] for line in lines] == ["4:14:", "5:12:", "1:7:", "2:8:", "3:6:"]


def test_an_absolute_path_into_the_workspace_is_taken(data: Path) -> None:
    """An absolute path into the workspace is accepted."""
    (data.parent / "lists").mkdir()
    found = read(data.parent / "lists", f"path: {data}\n{PLAIN}")
    assert found.facts.given == (("train", ("images/train",)), ("val", ("images/val",)))
    assert found.facts.root == str(data)


def test_a_path_that_leads_out_is_refused_at_its_line(data: Path) -> None:
    """A path out of the workspace is an error at its line."""
    (line,) = told(data, "path: /elsewhere/set\ntrain: photos\nnames: [box]\n")
    assert line.startswith("1:7: the path `/elsewhere/set` is absolute")
    assert line.endswith("remove it: paths are relative to this file's folder")


def test_data_yml_and_validation_are_understood(data: Path) -> None:
    """`data.yml` and the split name `validation` are accepted, as in Ultralytics."""
    found = read(data, PLAIN.replace("val:", "validation:"), "data.yml")
    assert found.facts.split("val") == ("images/val",)
    assert found.parts[0] == "data.yml"


def test_a_dataset_in_a_folder_called_images(tmp_path: Path) -> None:
    """Labels are found within the dataset, even if its folder is named `images`."""
    folder = tmp_path / "data" / "set"
    fill(folder)
    text = "train: train\nval: val\nnames: [box, lid]\n"
    found = read(folder / "images", text, inside=3)
    assert found.facts.root == str(folder)
    assert found.parts == (
        "images/data.yaml",
        "images/train",
        "labels/train",
        "images/val",
        "labels/val",
    )
    moved = fill(tmp_path / "images" / "data" / "set")
    assert read(moved, PLAIN).facts.given == (
        ("train", ("images/train",)),
        ("val", ("images/val",)),
    )


def test_a_split_without_labels_is_known_before_any_work(data: Path) -> None:
    """A split with only empty or blank label files counts as unlabelled, which is an error if the
    recipe trains or measures on it.
    """
    label = data / "labels" / "val" / "a.txt"
    for content in ("", " \n\n", "\ufeff"):
        label.write_text(content)
        (lack,) = read(data, PLAIN).missing_parts
        assert (lack.split, lack.what, lack.diagnostic.line) == ("val", "labels", 2)
    assert lack.diagnostic.message == "no image of the val split has a label: images/val"


@pytest.mark.parametrize(
    ("images", "labels", "hint"),
    [
        ("images", "Labels", "rename Labels to labels: "),
        ("Images", "labels", "rename Images to images, also where its path is written: "),
        ("IMAGES", "LABELS", "rename LABELS to labels and IMAGES to images, also where "),
    ],
)
def test_folders_in_another_case_are_named(data: Path, images: str, labels: str, hint: str) -> None:
    """`Images` and `Labels` of Windows are the reason why no label is found."""
    (data / "images").rename(data / images)
    (data / "labels").rename(data / labels)
    (data / "data.yaml").unlink(missing_ok=True)
    found = describe_unnamed(data, "data/set")
    assert found is not None
    assert found[1].startswith(hint)
    parts = read(data, PLAIN.replace("images", images)).missing_parts
    assert [part.what for part in parts] == ["labels", "labels"]
    assert parts[0].diagnostic.hint.startswith(hint)


def test_labels_beside_their_images_are_the_same_to_check_and_steps(data: Path) -> None:
    """Labels next to their images are found in the same way by `check` and by steps."""
    for split in ("train", "val"):
        (data / "labels" / split / "a.txt").rename(data / "images" / split / "a.txt")
    found = read(data, PLAIN)
    assert found.missing_parts == ()
    splits = tuple(Split(name=name, paths=paths) for name, paths in found.facts.given)
    layout = Layout(classes=found.facts.names, keypoints=0, dims=0)
    reading = readers.read(data, "ultralytics", splits, layout)
    assert [(len(sample.objects), sample.labels) for sample in reading.samples] == [
        (1, "images/train/a.txt"),
        (1, "images/val/a.txt"),
    ]
    assert reading.findings == ()
    (data / "images" / "val" / "a.txt").rename(data / "images" / "val" / "b.txt")
    (lack,) = read(data, PLAIN).missing_parts
    assert (lack.split, lack.what) == ("val", "labels")
    reading = readers.read(data, "ultralytics", splits[1:], layout)
    assert (reading.samples[0].objects, reading.samples[0].labels) == ((), "")


def test_a_split_without_images_says_what_an_image_is(data: Path) -> None:
    """For a folder of unsupported images, the message lists the supported endings."""
    (data / "images" / "train" / "a.jpg").rename(data / "images" / "train" / "a.heic")
    (lack,) = read(data, PLAIN).missing_parts
    assert lack.diagnostic.message == "the train split has no images: images/train"
    assert lack.diagnostic.hint.startswith("images end in .bmp, .jpeg")


def test_a_list_that_leads_nowhere_is_reported_at_its_line(data: Path) -> None:
    """A wrong line of a list is reported with the list's line."""
    (data / "lists").mkdir()
    (data / "lists" / "val.txt").write_text("images/val/a.png\n")
    (data / "train.txt").write_text("\n/home/me/images/train/a.jpg\n")
    text = PLAIN.replace("images/train", "train.txt").replace("images/val", "lists/val.txt")
    told_ = [lack.diagnostic for lack in read(data, text).missing_parts]
    assert [(d.path, d.line, d.column) for d in told_] == [
        ("data/set/train.txt", 2, 1),
        ("data/set/lists/val.txt", 1, 1),
    ]
    assert told_[0].hint == "write images/train/a.jpg"
    assert told_[1].message == "lists images/val/a.png, which does not exist"
    (lack,) = read(data, PLAIN.replace("images/train", "images/train/a.jpg")).missing_parts
    assert lack.diagnostic.path == "data/set/data.yaml"
    assert lack.diagnostic.message.endswith("it is not a folder or a .txt list")


def test_names_with_gaps_and_a_count_that_is_text(data: Path) -> None:
    """The suggested line has the existing names with their numbers."""
    splits = "train: images/train\nval: images/val\n"
    assert told(data, splits + "names: {0: box, 2: lid}\n") == [
        "3:8: the numbers of the classes in `names` must be 0, 1, 2, …, without gaps; write `names: {0: box, 1:"
        " class_1, 2: lid}`, with your own names"
    ]
    assert told(data, splits + "names: {a: box}\n")[0].endswith("write `names: {0: tag}`")
    assert told(data, PLAIN + 'nc: "2"\n') == [
        "4:5: `nc` must be a number, not text; write `nc: 2`"
    ]
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    assert told(data, pointer) == [
        "0:0: this is a Git LFS pointer, not the file itself; `git lfs pull` brings the file"
    ]


def test_a_recipe_gets_only_the_messages_about_its_needs(workspace: Path) -> None:
    """Missing labels or images are only reported for splits that the recipe uses."""
    write_recipe(workspace, "tags", TRAINED)
    data = workspace / "data" / "tags" / "data.yaml"
    data.write_text(data.read_text() + "test: images/nix\n")
    assert plan_all(workspace).diagnostics == ()
    (workspace / "data" / "tags" / "labels" / "val" / "0.txt").write_text("")
    (told_,) = plan_all(workspace).diagnostics
    assert told_.render().startswith(
        "data/tags/data.yaml:2:6: error: no image of the val split has a label: images/val"
    )
    text = TRAINED.replace("evaluate: {gates: {box.mAP50-95: {max_drop: 0.01}}}", "evaluate: none")
    write_recipe(workspace, "tags", text)
    assert plan_all(workspace).diagnostics == ()


def test_after_a_warning_gates_and_firmware_are_looked_at(workspace: Path) -> None:
    """After a warning about the data, mistakes in gates and firmware are still reported."""
    data = workspace / "data" / "tags" / "data.yaml"
    lines = data.read_text().splitlines(keepends=True)
    data.write_text("".join(line for line in lines if not line.startswith("flip_idx")))
    write_recipe(workspace, "tags", TRAINED.replace("box.mAP50-95", "bax.mAP50-95"))
    found = {known.severity: known.message for known in plan_all(workspace).diagnostics}
    assert found == {
        "warning": "`flip_idx` is missing, so training does not mirror images",
        "error": "there is no metric `bax.mAP50-95` for task pose",
    }


def test_keypoints_without_a_mirror_are_a_warning(data: Path) -> None:
    """Keypoints without `flip_idx` give a warning."""
    (lack,) = read(data, f"{PLAIN}kpt_shape: [4, 3]\n").missing_parts
    assert (lack.what, lack.diagnostic.severity, lack.diagnostic.line) == ("flip", "warning", 4)
    found = read(data, f"{PLAIN}kpt_shape: [4, 3]\nflip_idx: [1, 0, 3, 2]\n")
    assert (found.facts.flip, found.missing_parts) == ((1, 0, 3, 2), ())
    (line,) = told(data, f"{PLAIN}kpt_shape: [4, 3]\nflip_idx: [1, 0]\n")
    assert line == "5:11: `flip_idx` must list each keypoint from 0 to 3 once; "


@pytest.mark.parametrize(
    ("names", "lines"),
    [
        (
            "names: [no, yes]",
            [
                '1:9: class names must be strings; `no` is not one; write `names: ["no", "yes"]`',
                '1:13: class names must be strings; `yes` is not one; write `names: ["no", "yes"]`',
            ],
        ),
        (
            "names: {0: 7, 1: ok}",
            ['1:12: class names must be strings; `7` is not one; write `names: ["7", "ok"]`'],
        ),
        (
            "names: [true, box]",
            ['1:9: class names must be strings; `true` is not one; write `names: ["true", "box"]`'],
        ),
        (
            'names: [box, ""]',
            [
                "1:14: the name of class 1 is empty or cannot be printed; give the class"
                " a printable name"
            ],
        ),
        (
            "names: [box, lid, box]",
            [
                "1:19: duplicate class name `box`: class 0 and class 2; give every"
                " class a different name"
            ],
        ),
        (
            "nc: 2",
            [
                "1:1: `names` lists no classes; write `names: [class_0, class_1]`, which are"
                " Ultralytics' defaults, or your own names"
            ],
        ),
        (
            "nc: 3\nnames: [box, lid]",
            [
                "1:5: `nc` is 3, but `names` has 2; write `nc: 2`, remove it, or name the"
                " other classes"
            ],
        ),
    ],
)
def test_class_names_are_strings_each_once_and_counted(
    data: Path, names: str, lines: list[str]
) -> None:
    """Class names must be unique strings, and `nc` their number."""
    assert told(data, f"{names}\ntrain: images/train\n") == lines


def test_quoted_words_and_letters_are_names(data: Path) -> None:
    """Quoted words such as "no" and single letters are valid class names."""
    found = read(data, "train: images/train\nnames: [\"no\", 'on', N, y]\n")
    assert found.facts.names == ("no", "on", "N", "y")
