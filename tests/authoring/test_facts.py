"""Facts of datasets and checkpoints, and messages about wrong ones."""

import random
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from buildsys.authoring.datasets.data_yaml import read_dataset
from buildsys.errors import InputError
from buildsys.spec import CheckpointFacts
from buildsys.steps.lib.families.ultralytics_file import read_checkpoint
from tests.authoring.sample_workspace import Data, Head, expecting, write_checkpoint, write_data
from tests.authoring.spellings import STEADY
from tests.repetitions import repetitions


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """A data.yaml, and the expected message with line and column."""

    text: str
    message: str
    place: tuple[int, int]


_WRONG = {
    "no-classes": Wrong(
        text="train: images/train\nnames: []\n", message="`names` lists no classes", place=(2, 8)
    ),
    "names-missing": Wrong(
        text="train: images/train\n", message="`names` lists no classes", place=(1, 1)
    ),
    "names-by-word": Wrong(text="names: {tag: 0}\n", message="`names`", place=(1, 8)),
    "names-with-a-gap": Wrong(text="names: {0: qr, 2: aruco}\n", message="`names`", place=(1, 8)),
    "shape-is-number": Wrong(
        text="names: [tag]\nkpt_shape: 4\n",
        message="`kpt_shape` must be [number of keypoints, 2 or 3]",
        place=(2, 12),
    ),
    "shape-of-nine-values": Wrong(
        text="names: [tag]\nkpt_shape: [4, 9]\n",
        message="`kpt_shape` must be [number of keypoints, 2 or 3]",
        place=(2, 12),
    ),
    "sigmas-are-words": Wrong(
        text="names: [tag]\nkpt_shape: [1, 3]\nkpt_oks_sigmas: [wide]\n",
        message="`kpt_oks_sigmas`",
        place=(3, 17),
    ),
    "sigmas-too-few": Wrong(
        text="names: [tag]\nkpt_shape: [4, 3]\nkpt_oks_sigmas: [0.1]\n",
        message="`kpt_oks_sigmas`",
        place=(3, 17),
    ),
    "list": Wrong(text="- tag\n", message="this file is not a data.yaml", place=(0, 0)),
    "tab": Wrong(text="names:\n\t0: tag\n", message="not valid YAML", place=(2, 1)),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset whose data.yaml the tests rewrite."""
    write_data(tmp_path / "tags", Data(classes=("tag",), keypoints=4))
    return tmp_path / "tags"


@pytest.mark.parametrize("wrong", expecting(_WRONG, {}))
def test_wrong_data_yaml_is_reported_at_its_line(folder: Path, wrong: Wrong) -> None:
    """A mistake in data.yaml is reported at its line, before training."""
    path = folder / "data.yaml"
    path.write_text(wrong.text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_dataset(path, "data/tags/data.yaml")
    (told,) = caught.value.diagnostics
    assert told.path == "data/tags/data.yaml"
    assert wrong.message in told.message
    assert (told.line, told.column) == wrong.place


def test_data_yaml_is_understood(folder: Path) -> None:
    """Classes, keypoints and splits are read as by the trainer."""
    facts = read_dataset(folder / "data.yaml", "data/tags/data.yaml").facts
    assert (facts.names, facts.keypoints, facts.keypoint_dims) == (("tag",), 4, 3)
    assert facts.split("val") == ("images/val",)
    assert facts.split("test") is None


def test_names_follow_their_numbers(folder: Path) -> None:
    """Names are ordered by their numbers, in any order of the file, also above nine."""
    rows = [f"  {number}: class-{number}" for number in reversed(range(12))]
    (folder / "data.yaml").write_text("\n".join(["names:", *rows]), encoding="utf-8")
    facts = read_dataset(folder / "data.yaml", "data.yaml").facts
    assert facts.names == tuple(f"class-{number}" for number in range(12))


def test_labels_belong_to_the_data(folder: Path) -> None:
    """A changed label changes the digest of the data."""
    parts = read_dataset(folder / "data.yaml", "data.yaml").parts
    assert parts == ("data.yaml", "images/train", "labels/train", "images/val", "labels/val")


@pytest.mark.parametrize("name", ["tags.yaml", "../tags.yaml"])
def test_file_of_another_name_belongs_to_the_data(folder: Path, name: str) -> None:
    """A description with another file name is part of the data."""
    path = folder / name
    path.write_text(f"path: {folder}\ntrain: images/train\nnames: [tag]\n", encoding="utf-8")
    found = read_dataset(path, name)
    parts = [Path(found.facts.root) / part for part in found.parts]
    assert path.resolve() in [part.resolve() for part in parts]


def test_checkpoint_is_understood(tmp_path: Path) -> None:
    """Task, classes and keypoints of a checkpoint are read."""
    path = tmp_path / "model.pt"
    write_checkpoint(path, Head(kind="Pose", classes=("qr", "aruco"), keypoints=4))
    assert read_checkpoint(path) == CheckpointFacts(
        task="pose", names=("qr", "aruco"), keypoints=4, keypoint_dims=3
    )


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        ("Detect", "detect"),
        ("v10Detect", "detect"),
        ("Segment", "segment"),
        ("Classify", "classify"),
        ("OBB", "obb"),
    ],
)
def test_head_names_the_task(tmp_path: Path, kind: str, task: str) -> None:
    """The class of the head determines the task."""
    write_checkpoint(tmp_path / "model.pt", Head(kind=kind, classes=("tag",)))
    facts = read_checkpoint(tmp_path / "model.pt")
    assert facts is not None
    assert (facts.task, facts.keypoints) == (task, 0)


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (Head(kind="WorldDetect", classes=("tag",)), "it gets its classes as words"),
        (Head(kind="RTDETRDecoder", classes=("tag",)), "RT-DETR's decoder has no step here"),
        (
            Head(kind="Pose26", classes=("tag",), keypoints=4),
            "its head is YOLO26's, and the file does not say",
        ),
        (Head(kind="OBB26", classes=("tag",)), "its head is YOLO26's, and the file does not say"),
        (Head(kind="Segment26", classes=("tag",)), "its head is YOLO26's, and the file does not"),
        (Head(kind="YOLOESegment26", classes=("tag",)), "it gets its classes as words"),
        (Head(kind="Detect", classes=("tag",), levels=4), "its head has 4 grids of cells"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_networks_that_no_step_takes_are_known_by_their_checkpoint(
    tmp_path: Path, head: Head, why: str
) -> None:
    """Unsupported networks are recognized by their head, not by the architecture's name."""
    write_checkpoint(tmp_path / "model.pt", head)
    facts = read_checkpoint(tmp_path / "model.pt")
    assert facts is not None
    assert facts.problem is not None
    assert why in facts.problem[0]


@pytest.mark.parametrize(
    ("kind", "architecture", "task"),
    [
        ("Detect", "yolo26n", "detect"),
        ("Pose26", "yolo26s-pose", "pose"),
        ("OBB26", "yolo26n-obb", "obb"),
    ],
)
def test_yolo26_is_known_by_the_name_in_its_checkpoint(
    tmp_path: Path, kind: str, architecture: str, task: str
) -> None:
    """YOLO26 is recognized by its name, because its head class alone is ambiguous."""
    keypoints = 4 if task == "pose" else 0
    head = Head(kind=kind, classes=("tag",), keypoints=keypoints, architecture=architecture)
    write_checkpoint(tmp_path / "model.pt", head)
    facts = read_checkpoint(tmp_path / "model.pt")
    assert facts is not None
    assert (facts.task, facts.architecture, facts.problem) == (task, architecture, None)


def test_checkpoint_that_runs_code_is_only_read(tmp_path: Path) -> None:
    """Reading a checkpoint never executes code in it."""
    victim = tmp_path / "victim"
    victim.write_text("here", encoding="utf-8")
    attack = b"\x80\x02cos\nremove\nX" + len(str(victim)).to_bytes(4, "little")
    attack += str(victim).encode() + b"\x85R."
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("archive/data.pkl", attack)
    assert read_checkpoint(tmp_path / "model.pt") is None
    assert victim.exists()


@given(seed=st.integers(0, 10_000))
@settings(STEADY, max_examples=repetitions(50), phases=(Phase.generate,))  # a seed cannot be shrunk
def test_damaged_checkpoint_says_nothing(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """A damaged checkpoint gives no facts and no traceback."""
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    write_checkpoint(path, Head(kind="Pose", classes=("tag",), keypoints=4))
    content, chance = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(3):
        content[chance.randrange(len(content))] = chance.randrange(256)
    path.write_bytes(content[: chance.choice([len(content), chance.randrange(len(content))])])
    read_checkpoint(path)
