"""YOLOX with the real tools on images of 96 px: trained, resumed, exported, refused."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from buildsys.steps.lib.report import training_reading
from tests.tools import yolox_place as place
from tests.tools.yolox_place import CLASSES, FRAME, HEADS, TRAIN, ask, draw_dataset, refusal, run

pytestmark = pytest.mark.tools

EXPORT = {
    "architecture": "yolox-nano",
    "classes": list(CLASSES),
    "opset": 13,
    "batch": [1, 1, 1],
    "preprocessing": FRAME,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A train split of eight images in COCO format. Read-only."""
    return draw_dataset(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A network after two epochs from random weights."""
    root = tmp_path_factory.mktemp("trained")
    target = ("checkpoint", root / "trained.pt")
    return run("train_yolox", root / "scratch", {"dataset": data}, target, TRAIN)


def export(root: Path, checkpoint: Path, head: str, opset: int = 13) -> Path:
    """The ONNX file of a head."""
    params = EXPORT | {"head": head, "opset": opset, "output_names": HEADS[head]}
    target = ("onnx", root / f"{head}-{opset}.onnx")
    return run("export_yolox", root / "scratch", {"checkpoint": checkpoint}, target, params)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> dict[str, Path]:
    """The ONNX file of each head and opset."""
    root = tmp_path_factory.mktemp("exported")
    files = [export(root, trained, head) for head in HEADS]
    files.append(export(root, trained, "yolox-split", opset=11))
    return {path.stem: path for path in files}


def test_a_killed_training_ends_in_the_same_bytes(
    tmp_path: Path, data: Path, trained: Path
) -> None:
    """A training killed after its first epoch resumes with the same result."""
    scratch, target = tmp_path / "scratch", ("checkpoint", tmp_path / "resumed.pt")
    step = place.start("train_yolox", scratch, {"dataset": data}, target, TRAIN)
    while not (scratch / "last.pt").is_file():
        assert step.poll() is None, step.communicate()[1][-2000:]
        time.sleep(0.005)
    step.kill()
    step.communicate()
    assert not target[1].exists()
    again = place.start("train_yolox", scratch, {"dataset": data}, target, TRAIN)
    said, errors = again.communicate()
    assert again.returncode == 0, errors[-2000:]
    assert "epoch 2 of 2" in said
    assert "epoch 1 of 2" not in said
    assert target[1].read_bytes() == trained.read_bytes()
    curves, whole = (place.curves_of(path) for path in (target[1], trained))
    rows, summary = training_reading.read(whole)
    assert (len(rows), summary.kept, summary.images) == (2, summary.best, 8)
    assert {"train/total_loss", "train/iou_loss", "metrics/mAP50-95(B)", "lr/pg0"} <= rows[0].keys()
    files = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file()]
    assert len(files) == 6
    assert all((curves / name).read_bytes() == (whole / name).read_bytes() for name in files)


def test_a_checkpoint_tells_what_it_is(trained: Path) -> None:
    """Checkpoints are read without running code, with upstream's key for the weights."""
    script = """
import torch
found = torch.load(sys.argv[2], weights_only=True)
print(json.dumps([found["buildsys"], len(found["model"])]))
"""
    about, tensors = ask(script, str(trained))
    assert about == {"architecture": "yolox-nano", "classes": list(CLASSES)}
    assert tensors > 600


def test_the_heads_say_the_same(trained: Path, exported: dict[str, Path]) -> None:
    """Each head is decoded as by upstream, with opset 11 and 13."""
    script = """
import numpy as np, onnxruntime, torch
from pathlib import Path
from buildsys.steps.lib.heads import yolox_decoding; from buildsys.steps.lib.families import yolox_checkpoint, yolox_network
yolox_network.prepare()
picture = np.random.default_rng(0).integers(0, 256, (1, 3, 96, 96)).astype(np.float32)
with torch.no_grad():
    theirs = yolox_checkpoint.load_model(Path(sys.argv[2]), "yolox-nano", 2)(torch.from_numpy(picture))[0].numpy()
corners = np.concatenate([theirs[:, :2] - theirs[:, 2:4] / 2, theirs[:, :2] + theirs[:, 2:4] / 2], 1)
answers = []
for place in sys.argv[3:]:
    head, opset = Path(place).stem.rsplit("-", 1)
    session = onnxruntime.InferenceSession(place)
    values = session.run(None, {"images": np.ascontiguousarray(picture[:, ::-1] / 255)})
    named = {output.name: value for output, value in zip(session.get_outputs(), values)}
    boxes, scores, points = yolox_decoding.decode(named, head, 2, 96, 96)
    answers.append([
        {name: list(value.shape) for name, value in named.items()}, list(points.shape), str(boxes.dtype),
        float(np.abs(boxes - corners).max()), float(np.abs(scores - theirs[:, 4:5] * theirs[:, 5:]).max()),
        session.get_modelmeta().custom_metadata_map,
    ])
print(json.dumps(answers))
"""
    answers = ask(script, str(trained), *map(str, exported.values()))
    cells = 12 * 12 + 6 * 6 + 3 * 3
    split = {"boxes": [1, cells, 4], "objectness": [1, cells, 1], "classes": [1, cells, 2]}
    assert [shapes for shapes, *_ in answers] == [
        {"detections": [1, cells, 7]},
        {"predictions": [1, cells, 7]},
        split,
        split,
    ]
    for _, points, kind, boxes, scores, metadata in answers:
        assert (points, kind, metadata) == ([cells, 0, 3], "float64", {})
        assert boxes < 0.01
        assert scores < 1e-4


def test_an_export_has_the_same_bytes_again(
    tmp_path: Path, trained: Path, exported: dict[str, Path]
) -> None:
    """Exported files contain no dates and paths."""
    first = exported["yolox-split-13"].read_bytes()
    assert export(tmp_path, trained, "yolox-split").read_bytes() == first


def test_random_weights_are_recorded_as_they_are_exported(tmp_path: Path) -> None:
    """The checkpoint's outputs are recorded for the ladder."""
    params: dict[str, Any] = {"architecture": "yolox-tiny", "seed": 0, "classes": list(CLASSES)}
    checkpoint = run(
        "initialize_yolox", tmp_path / "scratch", {}, ("checkpoint", tmp_path / "a.pt"), params
    )
    again = run(
        "initialize_yolox", tmp_path / "scratch", {}, ("checkpoint", tmp_path / "b.pt"), params
    )
    assert checkpoint.read_bytes() == again.read_bytes()
    record = EXPORT | {
        "architecture": "yolox-tiny",
        "head": "yolox-split",
        "names": HEADS["yolox-split"],
        "count": 2,
    }
    del record["opset"], record["batch"]
    recording = run(
        "record_yolox",
        tmp_path / "scratch",
        {"checkpoint": checkpoint},
        ("recording", tmp_path / "r.npz"),
        record,
    )
    script = """
import numpy as np
with np.load(sys.argv[2]) as found:
    print(json.dumps({name: list(found[name].shape) for name in found.files}))
"""
    cells = 12 * 12 + 6 * 6 + 3 * 3
    assert ask(script, str(recording)) == {
        "boxes": [2, cells, 4],
        "objectness": [2, cells, 1],
        "classes": [2, cells, 2],
    }


def test_the_checkpoint_is_measured_by_upstreams_decode(
    tmp_path: Path, data: Path, trained: Path
) -> None:
    """The checkpoint is evaluated with upstream's decoding, with figures for each class."""
    split = {"name": "val", "paths": ["images"]}
    params = {
        "split": split,
        "classes": list(CLASSES),
        "keypoints": 0,
        "keypoint_dims": 0,
        "sigmas": [],
        "head": "decoded",
        "preprocessing": FRAME,
        "task": "detect",
    }
    inputs = {"checkpoint": trained, "dataset": data}
    metrics = run(
        "evaluate_yolox", tmp_path / "scratch", inputs, ("metrics", tmp_path / "m.json"), params
    )
    assert '"objects": 8' in metrics.read_text()
    assert "box.mAP50-95.block" in metrics.read_text()


CODE = """
import torch
class Trap:
    def __reduce__(self):
        return print, ("code ran",)
torch.save({"model": Trap()}, sys.argv[2] + "/code.pth")
torch.save({"model": {"layer.weight": torch.zeros(2)}}, sys.argv[2] + "/foreign.pth")
torch.save([1, 2], sys.argv[2] + "/list.pth")
print(0)
"""


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of invalid checkpoints. Read-only."""
    root = tmp_path_factory.mktemp("foreign")
    ask(CODE, str(root))
    (root / "text.pth").write_text("no archive\n")
    return root


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("text.pth", "text.pth is not a PyTorch checkpoint of plain tensors"),
        ("code.pth", "code.pth is not a PyTorch checkpoint of plain tensors"),
        ("foreign.pth", "foreign.pth holds no yolox-nano network"),
        ("list.pth", "list.pth holds no YOLOX weights"),
    ],
)
def test_a_foreign_checkpoint_is_a_sentence(
    tmp_path: Path, data: Path, foreign: Path, name: str, sentence: str
) -> None:
    """Damaged, hostile, foreign and empty checkpoints are refused."""
    inputs = {"dataset": data, "weights": foreign / name}
    said = refusal(
        "train_yolox", tmp_path / "scratch", inputs, ("checkpoint", tmp_path / "x.pt"), TRAIN
    )
    assert said.startswith(sentence)


def test_weights_of_other_classes_and_networks(tmp_path: Path, data: Path, trained: Path) -> None:
    """A checkpoint with other classes can start a training, with a new class head, but is not
    exported; another network is refused.
    """
    params = EXPORT | {
        "head": "yolox-split",
        "classes": ["one"],
        "output_names": HEADS["yolox-split"],
    }
    target = ("onnx", tmp_path / "x.onnx")
    inputs = {"checkpoint": trained}
    said = refusal("export_yolox", tmp_path / "scratch", inputs, target, params)
    assert said == "trained.pt has 2 classes; the recipe names 1."
    tiny = params | {"architecture": "yolox-tiny"}
    said = refusal("export_yolox", tmp_path / "scratch", inputs, target, tiny)
    assert said.startswith("trained.pt holds no yolox-tiny network")
    eighty = {"architecture": "yolox-nano", "seed": 0, "classes": [f"c{i}" for i in range(80)]}
    wide = run(
        "initialize_yolox", tmp_path / "scratch", {}, ("checkpoint", tmp_path / "w.pt"), eighty
    )
    once = TRAIN | {"epochs": 1}
    inputs = {"dataset": data, "weights": wide}
    fresh = run("train_yolox", tmp_path / "more", inputs, ("checkpoint", tmp_path / "f.pt"), once)
    params = EXPORT | {"head": "yolox-split", "output_names": HEADS["yolox-split"]}
    assert run(
        "export_yolox", tmp_path / "scratch", {"checkpoint": fresh}, target, params
    ).is_file()


def test_images_that_cannot_be_trained_on(tmp_path: Path) -> None:
    """Truncated or missing images, and wrong sizes, are reported."""
    root = draw_dataset(tmp_path / "set", count=2)
    target = ("checkpoint", tmp_path / "x.pt")
    notes = root / "annotations" / "train.json"
    whole = notes.read_text()
    notes.write_text(whole.replace('"width": 96', '"width": 90', 1))
    said = refusal("train_yolox", tmp_path / "scratch", {"dataset": root}, target, TRAIN)
    assert said == "01.bmp is 96 x 96 pixels; the annotations say 90 x 96."
    notes.write_text(whole)
    (root / "images" / "02.bmp").write_bytes(b"BM")
    said = refusal("train_yolox", tmp_path / "scratch", {"dataset": root}, target, TRAIN)
    assert said == "02.bmp does not decode, or does not fit into memory."
    (root / "images" / "02.bmp").unlink()
    said = refusal("train_yolox", tmp_path / "scratch", {"dataset": root}, target, TRAIN)
    assert "02.bmp" in said


OPEN = """
from pathlib import Path
from buildsys.steps.lib.families import yolox_network
yolox_network.prepare()
import cv2
from buildsys.steps.lib.families import yolox_data
read, names = cv2.imread, []
cv2.imread = lambda path: names.append(Path(path).name) or read(path)
changes = yolox_data.Changes(mosaic=float(sys.argv[3]), flip=0.0, scale=0.3)
samples = yolox_data.open_split(Path(sys.argv[2]), 96, changes)
"""


def test_no_image_is_read_before_it_is_trained_on(data: Path) -> None:
    """A training starts and resumes without a pass over its images."""
    script = f"{OPEN}before = len(names)\nsamples[3]\nprint(json.dumps([before, names]))"
    assert ask(script, str(data), "0") == [0, ["04.bmp"]]


def test_a_mosaic_of_images_that_are_long_and_narrow(tmp_path: Path) -> None:
    """An image of 2000 x 10 pixels keeps a pixel of its short side when it is reduced to 96 px."""
    root = draw_dataset(tmp_path / "set", count=2)
    script = """
import cv2, numpy as np
root = Path(sys.argv[2])
notes = root / "annotations" / "train.json"
found = json.loads(notes.read_text())
for image, (width, height) in zip(found["images"], ((2000, 10), (10, 2000))):
    image.update(width=width, height=height)
    cv2.imwrite(str(root / "images" / image["file_name"]), np.zeros((height, width, 3), np.uint8))
notes.write_text(json.dumps(found))
samples = yolox_data.open_split(root, 96, changes)
print(json.dumps([samples[index][0].shape for index in (0, 1)]))
"""
    opening, _, _ = OPEN.rpartition("samples =")
    assert ask(opening + script, str(root), "1") == [[3, 96, 96]] * 2


LACK = """
import os, torch
from pathlib import Path
from buildsys.steps import train_yolox
from buildsys.steps.lib.runtime.launcher import rebuild
from buildsys.steps.lib.runtime.progress import StepError
data, root, params = sys.argv[2:]
os.chdir(root)
backward, batches = torch.Tensor.backward, []
def lack(*given):
    batches.append(given)
    if len(batches) == 3:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return backward(*given)
torch.Tensor.backward = lack
try:
    outputs = {"checkpoint": Path("x.pt"), "training": Path("curves")}
    params = rebuild(train_yolox.Params, json.loads(params))
    train_yolox.run({"dataset": Path(data)}, outputs, params)
except StepError as error:
    print(json.dumps(str(error)))
"""


def test_a_training_that_runs_out_of_memory(tmp_path: Path, data: Path) -> None:
    """The message names the batch, in any epoch."""
    said = ask(LACK, str(data), str(tmp_path), json.dumps(TRAIN | {"validate": 0}))
    expected = "memory does not hold a batch of 4 at 96 px; write a smaller train.batch."
    assert said == f"the machine's {expected}"
