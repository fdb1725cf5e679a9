"""Segmentation, oriented boxes and classification with the real tools: all files of a network
agree.

Networks are trained for seconds on generated shapes: enough that the figures are not zero.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from buildsys.authoring.scaffold.starters import LOADER_CONFIG
from buildsys.execution.tools import environments
from buildsys.steps.lib.heads import meanings
from buildsys.steps.lib.metrics import curves
from buildsys.steps.lib.report import training_reading
from tests.conftest import REPOSITORY
from tests.tools.board_program import check_alike, report_both
from tests.tools.places import store_of, tool_environment
from tests.tools.ultralytics_peer import (
    COUNTED,
    check_detections,
    compare,
    fetch_inputs,
)

pytestmark = pytest.mark.tools

# 100 steps of training: batch norm's running averages need them. All images calibrate: of some, the
# range of an output that has hardly been trained is left to chance
RECIPE = """\
name: shapes
source: {family: ultralytics, task: segment, architecture: yolov8n-seg, weights: random}
dataset: {generator: shapes, train: 40, val: 48, size: 64}
input: {size: 64}
train: {epochs: 10, batch: 4, learning_rate: 0.004, validate: 5}
matrix:
  task:
    segment: {}
    obb: {source: {task: obb, architecture: yolov8n-obb}}
    classify: {source: {task: classify, architecture: yolov8n-cls}}
targets:
  - {target: host, as: half, quantization: {scheme: float16}}
  - {target: raspberry-pi-5, as: board, quantization: {scheme: float16}}
  - {target: host, as: whole, quantization: {scheme: int8, calibration: {split: train, count: 40}}}
"""
HISTORY = {
    "segment": "metrics/mAP50-95(M)",
    "obb": "metrics/mAP50-95(B)",
    "classify": "metrics/accuracy_top1",
}
MAIN = {"segment": "masks.mAP50-95", "obb": "obb.mAP50-95", "classify": "top1"}
OUTPUTS = {
    "segment": {"box_s8", "cls_s8", "mask_coefficients", "prototypes"},
    "obb": {"box_s8", "cls_s8", "angles"},
    "classify": {"logits"},
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which three networks were built in two schemes."""
    root = tmp_path_factory.mktemp("tasks")
    (root / "recipes").mkdir()
    (root / "recipes" / "shapes.yaml").write_text(RECIPE)
    (root / "doit.cfg").write_text(LOADER_CONFIG)
    run = call(root, "doit", "-n", "2")
    assert run.returncode == 0, run.stderr
    return root


def call(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of ours, with a store of the workspace's own."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "BUILDSYS_STORE": str(store_of(root)),
    }
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def figures(root: Path, task: str, target: str) -> dict[str, dict[str, float]]:
    """The figures of each file."""
    text = (root / "build" / f"shapes-{task}" / target / "metrics.json").read_text()
    return {name: found["metrics"] for name, found in json.loads(text).items()}


@pytest.mark.parametrize("task", MAIN)
def test_the_kept_epoch_has_the_accuracy_of_the_checkpoint(built: Path, task: str) -> None:
    """Every fifth of ten epochs is validated; the kept one has the accuracy measured afterwards."""
    folder = built / "build" / f"shapes-{task}" / "half"
    rows, summary = training_reading.read(folder / "training")
    validated = [n for n, row in enumerate(rows, 1) if HISTORY[task] in row]
    assert (len(rows), validated, summary.kept) == (10, [5, 10], summary.best)
    assert (summary.images, summary.validation_images) == (40, 48)
    assert len(list((folder / "training" / "examples").iterdir())) == 4
    own = figures(built, task, "half")["checkpoint"][MAIN[task]]
    assert rows[summary.kept - 1][HISTORY[task]] == pytest.approx(own, abs=0.05)


@pytest.mark.parametrize("task", MAIN)
def test_every_format_has_the_accuracy_of_the_checkpoint(built: Path, task: str) -> None:
    """Ultralytics' own decode of the checkpoint, ours of ONNX and of float16, whose weights are
    rounded: among so few objects one that crosses a threshold of overlap moves the mean.
    """
    found = figures(built, task, "half")
    assert set(found) == {"checkpoint", "onnx", "tflite"}
    traced = [
        curves.read(built / "build" / f"shapes-{task}" / "half" / "curves" / f"{name}.json")
        for name in found
    ]
    kinds = {"segment": ["box", "masks"], "obb": ["obb"], "classify": []}[task]
    for measured in traced:
        assert [item.kind for item in measured.curves] == kinds
        assert all(item.best.f1 > 0.1 for item in measured.curves)
        counts = measured.confusion.counts
        assert sum(counts[i][i] for i in range(len(counts) - 1)) > 0
        objects = {item.name: item.objects for each in measured.curves for item in each.classes}
        for number, name in enumerate(measured.confusion.classes if objects else ()):
            assert sum(row[number] for row in counts) == objects[name]
    assert found["checkpoint"][MAIN[task]] > 0.1
    for name, value in found["checkpoint"].items():
        assert found["onnx"][name] == pytest.approx(value, abs=1e-3), name
    main = found["checkpoint"][MAIN[task]]
    assert found["tflite"][MAIN[task]] == pytest.approx(main, abs=4e-3)


@pytest.mark.parametrize("task", MAIN)
def test_a_checkpoint_sees_what_it_sees_in_ultralytics(
    built: Path, task: str, tmp_path: Path
) -> None:
    """Its own `predict` finds the same objects, and what its `val` finds is worth as much.

    Masks are left out: `val` compares them at a quarter of the size, we as COCO does.
    """
    found = compare(built, f"shapes-{task}/half", tmp_path)
    check_detections(found, 10)
    figure, theirs = MAIN[task].replace("masks", "box"), found.get(COUNTED, found["val"])
    assert found["ours"][figure] == pytest.approx(theirs[figure], abs=3e-3)


def test_a_board_classifies_as_predict_does(built: Path, tmp_path: Path) -> None:
    """A board's program scales large images with the same antialiasing as `predict`, without torch."""
    fetch_inputs(built, "shapes-classify/board", tmp_path)
    images = sorted((tmp_path / "data" / "val").rglob("*.*"))[::4]
    check_alike(*report_both(built, "shapes-classify@board", images, tmp_path), len(images))


@pytest.mark.parametrize("task", MAIN)
def test_the_int8_file_is_measured(built: Path, task: str) -> None:
    """int8 files are evaluated through integer outputs with their own scales, also per class."""
    found = figures(built, task, "whole")
    assert found["tflite"][MAIN[task]] > 0.5 * found["checkpoint"][MAIN[task]]
    assert {f"{MAIN[task]}.bar", f"{MAIN[task]}.egg"} <= set(found["tflite"])


@pytest.mark.parametrize("task", MAIN)
def test_outputs_keep_a_scale_each(built: Path, task: str) -> None:
    """Outputs are named as in buildsys.spec, and all are int8."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "import json; from ai_edge_litert.interpreter import Interpreter\n"
        "found = Interpreter(sys.argv[1]).get_signature_runner().get_output_details()\n"
        "print(json.dumps({k: [str(v['dtype']), *v['quantization']] for k, v in found.items()}))\n"
    )
    model = built / "build" / f"shapes-{task}" / "whole" / f"shapes-{task}.tflite"
    found = json.loads(in_evaluate(script, str(model)))
    assert set(found) >= OUTPUTS[task]
    assert all("int8" in dtype and scale > 0 for dtype, scale, _ in found.values())


@pytest.mark.parametrize("task", MAIN)
def test_predict_tells_what_the_task_sees(built: Path, task: str) -> None:
    """`predict` gives outlines, corners or classes for an image of the val split."""
    picture = write_picture(built / f"{task}.bmp")
    run = call(
        built,
        "buildsys",
        "predict",
        f"shapes-{task}@whole",
        str(picture),
        "--confidence",
        "0.05",
        "--out",
        f"seen-{task}",
    )
    assert run.returncode == 0, run.stdout + run.stderr
    (row,) = json.loads((built / f"seen-{task}" / "predictions.json").read_text())["pictures"]
    assert row["objects"]
    best = row["objects"][0]
    assert (
        set(best)
        == {"class", "score"}
        | {
            "segment": {"box", "outline"},
            "obb": {"box", "corners"},
            "classify": set(),
        }[task]
    )


def test_a_look_at_the_data_understands_every_label(built: Path) -> None:
    """Generated data has no findings, and images of each class."""
    run = call(built, "buildsys", "check", "--data")
    assert run.returncode == 0, run.stdout + run.stderr
    reports = [json.loads(p.read_text()) for p in built.glob("build/.data/*/report.json")]
    assert {report["shape"] for report in reports} == {"outline", "corners", "folder"}
    for report in reports:
        assert not [f for f in report["findings"] if f["severity"] == "error"]
        assert all(sum(split["classes"].values()) for split in report["splits"])
        assert report["sheet"]


def test_turned_boxes_are_compared_as_shapes() -> None:
    """The overlap of oriented boxes does not depend on their description, and decreases with
    distance and angle.
    """
    script = """
import sys; sys.path.insert(0, sys.argv[1])
import json, numpy as np
from buildsys.steps.lib.heads import oriented_boxes as o
from buildsys.steps.lib.heads.box_corners import corners_of
from buildsys.steps.lib.metrics import oriented_accuracy as a
box = np.array([[50, 40, 30, 10, 0.3]])
other = np.array([[50, 40, 10, 30, 0.3 + np.pi / 2], [50, 40, 30, 10, 0.3 + np.pi],
                  [52, 40, 30, 10, 0.3], [50, 40, 30, 10, 0.8], [500, 40, 30, 10, 0.3]])
back = o.overlap(box, o.fit_corners(corners_of(box)[0])[None])
right = a.match(o.Turned(boxes=np.repeat(box, 2, 0), scores=np.array([.9, .8]), classes=np.zeros(2, int)),
                box, np.zeros(1, int))
ap = [a.average_precision(np.array([[hit] * 10 for hit in row], bool), n)[0]
      for row, n in (([1, 1], 2), ([0, 1], 1), ([1], 2), ([], 1))]
print(json.dumps([o.overlap(box, other)[0].tolist(), back[0, 0], right.all(1).tolist(), ap]))
"""
    overlaps, back, right, precision = json.loads(in_evaluate(script))
    assert overlaps[:2] == pytest.approx([1, 1], abs=1e-3)
    assert 0.5 < overlaps[2] < 0.95
    assert 0.2 < overlaps[3] < 0.8
    assert overlaps[4] < 1e-3
    assert back == pytest.approx(1, abs=1e-2)
    assert right == [True, False]  # an object counts once
    # all found; found behind a false one; half found: 50 of 100 steps and the fall to 0; none
    assert precision == pytest.approx([0.995, 0.5, 0.5, 0], abs=0.01)


def test_a_confusion_matrix_is_that_of_ultralytics() -> None:
    """On crowded images with random objects and detections, of boxes and of oriented boxes."""
    script = """
import sys; sys.path.insert(0, sys.argv[1])
import json, numpy as np, torch
from ultralytics.utils.metrics import ConfusionMatrix
from buildsys.steps.lib.datasets.labels import Object
from buildsys.steps.lib.heads.oriented_boxes import Turned
from buildsys.steps.lib.metrics import coco_metrics, oriented_accuracy
rng, names, result = np.random.default_rng(0), ("a", "b", "c"), []
def draw(count, angles):
    boxes = np.concatenate([rng.uniform(20, 60, (count, 2)), rng.uniform(10, 40, (count, 2))], 1)
    return np.concatenate([boxes, rng.uniform(0, 1, (count, 1))], 1) if angles else boxes
for turned in (False, True):
    theirs = ConfusionMatrix(names=dict(enumerate(names)), task="obb" if turned else "detect")
    tally = oriented_accuracy.Tally(names) if turned else coco_metrics.Tally(names, 0, 300)
    for _ in range(100):
        truth, found = draw(rng.integers(0, 9), turned), draw(rng.integers(0, 20), turned)
        kinds, seen = rng.integers(0, 3, len(truth)), rng.integers(0, 3, len(found))
        scores = rng.permutation(np.arange(2, 34))[:len(found)] / 32
        if turned:
            order = np.argsort(-scores)
            tally.add_picture(Turned(boxes=found[order], scores=scores[order], classes=seen[order]), list(truth), kinds.tolist())
        else:
            number = tally.add_picture(100, 100, [Object(category=int(kind), box=tuple(box / 100), keypoints=())
                                                  for kind, box in zip(kinds, truth)])
            tally.rows += [{"image_id": number, "category_id": int(kind), "score": float(score),
                            "bbox": [x - w / 2, y - h / 2, w, h]}
                           for kind, score, (x, y, w, h) in zip(seen, scores, found)]
            truth, found = (np.concatenate([b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2], 1) for b in (truth, found))
        tensor = lambda values: torch.as_tensor(values, dtype=torch.float32)
        theirs.process_batch({"cls": tensor(seen), "conf": tensor(scores), "bboxes": tensor(found)},
                             {"cls": tensor(kinds), "bboxes": tensor(truth)})
    result.append([tally.confuse().counts, theirs.matrix.astype(int).tolist()])
print(json.dumps(result))
"""
    for ours, theirs in json.loads(run_in("ultralytics", script)):
        assert ours == theirs
        assert min(map(min, theirs[:3])) > 0


CELLS = """
import sys; sys.path.insert(0, sys.argv[1])
import json, numpy as np
from buildsys.steps.lib.heads import decoders, yolo26_decoding, yolov8_decoding
from buildsys.steps.lib.heads.box_corners import corners_of
rng, cells, result = np.random.default_rng(0), {8: 8, 16: 4, 32: 2}, []
order = [(stride, row, column) for stride, n in cells.items() for row in range(n) for column in range(n)]
for head, channels, decoding in (("raw", 64, yolov8_decoding), ("yolo26-raw", 4, yolo26_decoding)):
    outputs = {f"{kind}_s{stride}": rng.normal(0, 2, (1, n * n, count))
               for kind, count in (("box", channels), ("cls", 1)) for stride, n in cells.items()}
    outputs["angles"] = rng.normal(0, 2, (1, len(order), 1))
    logits = np.concatenate([outputs[f"cls_s{stride}"][0, :, 0] for stride in cells])
    boxes, scores = decoders.decode_turned(outputs, head, 64, 64, 1)
    sides = decoding.decode_sides(outputs)
    for cell, place in enumerate(order):
        name = "value" if head == "raw" else "angle"
        given = dict(zip(("stride", "row", "column"), place)) | {name: outputs["angles"][0, cell, 0]}
        given |= dict(zip(("left", "top", "right", "bottom"), sides[cell].tolist())) | {"logit": logits[cell]}
        result.append([head, given, boxes[cell].tolist(), scores[cell, 0], corners_of(boxes)[cell].tolist()])
print(json.dumps(result))
"""
"""Prints random cells of raw oriented boxes: what the formula is of, and what our decoder finds."""


def test_the_formula_of_oriented_boxes_gives_what_is_decoded() -> None:
    """The formula that a package prints has the boxes, scores and corners of our decoder."""
    for head, given, box, score, corners in json.loads(in_evaluate(CELLS)):
        values = given | {"sigmoid": lambda x: 1 / (1 + math.exp(-x)), "pi": math.pi}
        values |= {"sin": math.sin, "cos": math.cos, "u": box[2] / 2, "v": -box[3] / 2}
        for line in meanings.tell_formula(head, "obb").splitlines():
            names, _, expression = line.partition(" = ")
            try:
                found = eval(expression.strip(), values)
            except SyntaxError:
                continue  # a sentence
            each = [name.strip() for name in names.split(",")]
            values |= zip(each, found, strict=True) if len(each) > 1 else [(each[0], found)]
        told = [values[name] for name in ("cx", "cy", "w", "h", "angle")]
        assert told == pytest.approx(box)
        assert values["score"] == pytest.approx(score)
        assert values["corner"] == pytest.approx(corners[1])


def test_images_to_classify_are_cut_in_their_middle() -> None:
    """As Ultralytics prepares them; a wide photograph loses its sides, not its height. A pixel of
    the network's image is the mean of all that it covers.
    """
    script = """
import sys; sys.path.insert(0, sys.argv[1])
import json, numpy as np
from buildsys.spec import Preprocessing
from buildsys.steps.lib.images import prepared_images
photo = np.zeros((60, 120, 3), np.uint8); photo[:, 30:90] = 200; photo[:, 59:61, 0] = 50
rule = Preprocessing(height=60, width=60, color="rgb", resize="center-crop")
picture, place = prepared_images.letterbox(photo, rule)
photo[::6] = 0
small, half = prepared_images.letterbox(photo, Preprocessing(height=10, width=10, color="rgb", resize="center-crop"))
print(json.dumps([picture.shape, int(picture[..., 1].min()), picture[0, 29:31].tolist(), place.gain_x,
                  [place.left, place.top], small.shape, half.gain_y, small[3:7, 2, 1].tolist()]))
"""
    shape, least, middle, gain, corner, small, sixth, mean = json.loads(in_evaluate(script))
    assert (shape, least, gain, corner) == ([60, 60, 3], 200, 1, [-30, 0])
    assert middle == [[200, 200, 50], [200, 200, 50]]
    assert (small, sixth) == ([10, 10, 3], pytest.approx(1 / 6))
    assert all(160 < value < 175 for value in mean)  # 5 of 6 lines are light


def test_what_does_not_occur_has_no_accuracy() -> None:
    """Metrics of a class without objects are None, those of keypoints also of a class without a
    labelled keypoint; the best threshold is that of the other classes. pycocotools ignores both.
    """
    script = """
import sys; sys.path.insert(0, sys.argv[1])
import json, numpy as np
from buildsys.steps.lib.datasets.labels import Object
from buildsys.steps.lib.heads import oriented_boxes
from buildsys.steps.lib.metrics import accuracy, coco_metrics, oriented_accuracy
def seen(*found, labelled=True):
    tally = coco_metrics.Tally(("a", "b", "c"), 1, 300)
    number = tally.add_picture(100, 100, [
        Object(category=0, box=(.5, .5, .2, .2), keypoints=((.5, .5, 2 * labelled),)),
        Object(category=1, box=(.2, .2, .2, .2), keypoints=((.2, .2, 0),))])
    for category, at in found:
        tally.rows.append({"image_id": number, "category_id": category, "score": 0.75,
                           "bbox": [at - 10, at - 10, 20, 20], "keypoints": [at, at, 1]})
    metrics = tally.measure("bbox", "box") | tally.measure("keypoints", "keypoints", (0.25,))
    return [metrics, [[c.name for c in kind.classes] for kind in tally.curves], tally.curves[1].best.f1]
turned = oriented_accuracy.Tally(("a", "b"))
box = np.array([[50, 40, 30, 10, 0.3]])
turned.add_picture(oriented_boxes.Turned(boxes=box, scores=np.array([.9]), classes=np.array([0])), [box[0]], [0])
print(json.dumps([seen((0, 50), (1, 20), (2, 50)), seen(), seen(labelled=False),
                  accuracy.present(turned.measure("obb"), "obb.mAP50-95", ("a", "b"), {0}),
                  accuracy.shares(np.zeros(1, int), np.zeros(1, int), ("a", "b"))]))
"""
    found, blind, unlabelled, turned, whole = json.loads(in_evaluate(script))
    for metrics, kinds, _ in (found, blind):
        assert kinds == [["a", "b"], ["a"]]
        nothing = {name for name, value in metrics.items() if value is None}
        kept = {"box.mAP50-95.c", "keypoints.mAP50-95.b", "keypoints.mAP50-95.c"}
        assert nothing == kept
    assert (found[0]["keypoints.mAP50"], found[2]) == (1, 1)
    assert (blind[0]["keypoints.mAP50"], blind[2]) == (0, 0)
    assert unlabelled[0]["keypoints.mAP50"] is None
    assert unlabelled[0]["box.mAP50"] == 0
    assert (turned["obb.mAP50-95.a"], turned["obb.mAP50-95.b"]) == (
        pytest.approx(0.995, abs=0.01),
        None,
    )
    assert whole == {"top1": 1, "top5": 1, "top1.a": 1, "top1.b": None}


def test_the_best_confidence_is_of_the_detections_from_it_on() -> None:
    """For boxes, keypoints and oriented boxes: the curves have the counted mean precision, and the
    best confidence the precision of all detections from it on.
    """
    script = """
import sys; sys.path.insert(0, sys.argv[1])
import dataclasses, json, numpy as np
from buildsys.steps.lib.datasets.labels import Object
from buildsys.steps.lib.heads import oriented_boxes
from buildsys.steps.lib.metrics import coco_metrics, oriented_accuracy
# class, score, number of the object; objects 0 to 3 are of class 0, 4 and 5 of class 1, others are none
found = [(0, .9, 0), (0, .85, 6), (0, .8, 7), (0, .6, 1), (0, .5, 2), (0, .4, 3),
         (1, .95, 4), (1, .6, 5), (1, .55, 8), (1, .54, 9), (1, .53, 10)]
place = lambda number: (50 + 100 * number, 40)
tally = coco_metrics.Tally(("a", "b"), 1, 300)
turned = oriented_accuracy.Tally(("a", "b"))
objects = [Object(category=int(n > 3), box=((50 + 100 * n) / 2000, .4, .01, .2),
                  keypoints=(((50 + 100 * n) / 2000, .4, 2),)) for n in range(6)]
number = tally.add_picture(2000, 100, objects)
for category, score, at in found:
    x, y = place(at)
    tally.rows.append({"image_id": number, "category_id": category, "score": score,
                       "bbox": [x - 10, y - 10, 20, 20], "keypoints": [x, y, 1]})
found.sort(key=lambda row: -row[1])
boxes = lambda numbers: np.array([[*place(number), 30, 10, 0.3] for number in numbers])
turned.add_picture(
    oriented_boxes.Turned(boxes=boxes([row[2] for row in found]), scores=np.array([row[1] for row in found]),
                          classes=np.array([row[0] for row in found])), list(boxes(range(6))), [0, 0, 0, 0, 1, 1])
metrics = tally.measure("bbox", "box") | tally.measure("keypoints", "keypoints", (0.25,)) | turned.measure("obb")
print(json.dumps([[metrics[each.kind + ".mAP50"], np.mean([item.precision for item in each.classes]),
                   dataclasses.asdict(each.best)] for each in (*tally.curves, *turned.curves)]))
"""
    kinds = json.loads(in_evaluate(script))
    assert len(kinds) == 3
    for counted, drawn, best in kinds:
        assert drawn == pytest.approx(counted, abs=0.01)
        assert best == {"confidence": 0.6, "precision": 0.75, "recall": 0.75, "f1": 0.75}


def test_masks_come_back_to_the_photograph() -> None:
    """Masks are at the photograph's size, without padding, inside the box."""
    script = """
import sys; sys.path.insert(0, sys.argv[1])
import json, numpy as np
from buildsys.steps.lib.heads import instance_masks
from buildsys.steps.lib.heads.placement import Placement
from tests.tools import mask_cases
prototypes = np.zeros((16, 16, 32), np.float32)
prototypes[..., 0] = -1; prototypes[4:12, 8:, 0] = 1       # the right half of what is no padding
frame = Placement(height=64, width=128, gain_x=0.5, gain_y=0.5, left=0, top=16)
coefficients = np.zeros((2, 32)); coefficients[:, 0] = 1
boxes = np.array([[0, 0, 128, 64], [100, 10, 120, 20]], float)
masks = list(instance_masks.draw_masks(coefficients, prototypes, boxes, frame))
first, second = map(mask_cases.paint, masks)
print(json.dumps([first.shape, float(first[:, 70:].mean()), float(first[:, :58].mean()),
                  int(second.sum()), instance_masks.find_outline(masks[1])]))
"""
    shape, inside, outside, pixels, outline = json.loads(in_evaluate(script))
    assert shape == [64, 128]
    assert (inside, outside, pixels) == (1, 0, 200)
    assert sorted(outline) == [[100, 10], [100, 19], [119, 10], [119, 19]]


def test_masks_are_those_of_the_whole_image() -> None:
    """Masks in their boxes alone are exactly those drawn over the whole image, with the same run
    lengths and outlines.
    """
    script = "import sys; sys.path.insert(0, sys.argv[1]); from tests.tools import mask_cases as m; m.main()"
    found = json.loads(in_evaluate(script))
    assert found["compared"] > 200
    assert not found["faults"]


def test_classes_of_whole_images_are_measured(tmp_path: Path) -> None:
    """An evaluation writes the shares of right answers, and null for a class without images."""
    for name in ("val/a", "val/b"):
        (tmp_path / name).mkdir(parents=True)
    script = """
import sys; sys.path.insert(0, sys.argv[2])
import json, numpy as np
from pathlib import Path
from PIL import Image
from buildsys.spec import Preprocessing
from buildsys.steps.lib.datasets.ultralytics_layout import Split
from buildsys.steps.lib.metrics import accuracy
root = Path(sys.argv[1])
for name in ("a/1", "b/1"):
    Image.new("RGB", (8, 8)).save(root / "val" / f"{name}.png")
(root / "model").write_bytes(b"x")
params = accuracy.Params(
    split=Split(name="val", paths=("val",)), classes=("a", "b", "c"), keypoints=0, keypoint_dims=0,
    sigmas=(), head="raw", task="classify",
    preprocessing=Preprocessing(height=8, width=8, color="rgb", resize="center-crop"))
predict = lambda picture: {"logits": np.array([[2.0, 1.0, 0.0]])}
accuracy.measure(root / "model", root, predict, params, root / "metrics.json", "tflite", "", root / "curves.json")
print((root / "metrics.json").read_text().replace(chr(10), ""))
"""
    found = json.loads(in_evaluate(script, str(tmp_path)))
    assert found["metrics"] == {"top1": 0.5, "top1.a": 1, "top1.b": 0, "top1.c": None, "top5": 1}


def test_integers_without_a_scale_are_no_images() -> None:
    """An input of integers without a scale ends the step; such outputs are unchanged."""
    script = """
import sys; sys.path.insert(0, sys.argv[1])
import json, numpy as np
from pathlib import Path
from buildsys.steps.lib.networks import litert
from buildsys.steps.lib.runtime import tensorflow_setup
from buildsys.steps.lib.runtime.progress import StepError
detail = {"shape": [1, 2, 2, 3], "dtype": np.uint8, "quantization": (0.0, 0)}
picture = np.full((2, 2, 3), 255, np.uint8)
try:
    litert.fill(Path("odd.tflite"), detail, picture)
except StepError as error:
    told = str(error)
filled = litert.fill(Path("odd.tflite"), detail | {"quantization": (1 / 255, 0)}, picture)
real = tensorflow_setup.dequantize(np.array([7], np.uint8), detail)
print(json.dumps([told, filled.ravel().tolist(), real.tolist()]))
"""
    told, filled, real = json.loads(in_evaluate(script))
    assert (
        told == "odd.tflite takes uint8 images without a scale: what its integers mean is unknown."
    )
    assert filled == [255] * 12
    assert real == [7]


def in_evaluate(script: str, *words: str) -> str:
    """Run a script in the evaluation environment; see `run_in`."""
    return run_in("evaluate", script, *words)


def run_in(environment: str, script: str, *words: str) -> str:
    """Run a script in a tool environment; return the last line of its output. Its last argument is
    the repository.
    """
    _, python = environments.ensure(environment, print)
    run = subprocess.run(
        [str(python), "-c", script, *words, str(REPOSITORY)],
        env=tool_environment(python),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip().splitlines()[-1]


def write_picture(path: Path) -> Path:
    """Write a light bar on a dark background, 96 x 64."""
    import struct

    def pixel(x: int, y: int) -> bytes:
        return b"\xe6\xe6\xe6" if 30 <= x < 62 and 25 <= y < 40 else b"\x28\x28\x28"

    pixels = b"".join(pixel(x, y) for y in range(64) for x in range(96))
    head = struct.pack("<2sIHHI", b"BM", 54 + len(pixels), 0, 0, 54)
    more = struct.pack("<IiiHHIIiiII", 40, 96, 64, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    path.write_bytes(head + more + pixels)
    return path
