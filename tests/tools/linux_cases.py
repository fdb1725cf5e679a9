"""Compares the results of a Linux package's programs with the build's own steps; needs numpy.

`python -m tests.tools.linux_cases` runs every function `check_*` and prints {name: fault or ""}.
"""

import importlib.util
import json
import sys
import traceback
from pathlib import Path
from typing import Any

from buildsys.spec import STRIDES, Preprocessing
from buildsys.steps.check_operators import EVERY, judge_list
from buildsys.steps.check_operators import Params as Registered
from buildsys.steps.lib.datasets.ultralytics_layout import Split
from buildsys.steps.lib.heads import choosing, yolov8_decoding
from buildsys.steps.lib.heads.branches import is_raw, layout
from buildsys.steps.lib.heads.outputs import HEADS, head_outputs
from buildsys.steps.lib.heads.placement import Placement, to_photo
from buildsys.steps.lib.images import prepared_images
from buildsys.steps.lib.metrics import accuracy
from buildsys.steps.lib.runtime.tensorflow_setup import quantize

sys.path.insert(0, str(Path(yolov8_decoding.__file__).parents[3] / "templates" / "linux"))
sys.path.insert(0, str(Path(yolov8_decoding.__file__).parents[3] / "templates" / "common"))
import network
import vision

HEIGHT, WIDTH = 64, 96
CELLS = sum((HEIGHT // stride) * (WIDTH // stride) for stride in STRIDES)


def frame(height: int = HEIGHT, width: int = WIDTH, resize: str = "letterbox") -> Preprocessing:
    """A preprocessing of that size."""
    return Preprocessing(height=height, width=width, color="rgb", resize=resize)


def reading(head: str, classes: int, keypoints: int, dims: int, task: str) -> accuracy.Params:
    """How evaluation reads such a network."""
    return accuracy.Params(
        split=Split(name="val", paths=()),
        classes=tuple(map(str, range(classes))),
        keypoints=keypoints,
        keypoint_dims=dims,
        sigmas=(),
        head=head,
        preprocessing=frame(),
        task=task,
    )


def facts(params: accuracy.Params) -> dict[str, Any]:
    """model.json of such a network."""
    return {
        "head": params.head,
        "classes": list(params.classes),
        "keypoints": params.keypoints,
        "keypoint_dims": params.keypoint_dims,
        "task": params.task,
    }


def check_images_are_placed_as_in_training() -> None:
    """Images are resized and placed exactly as in training, for any scale and shape."""
    import numpy as np

    rng = np.random.default_rng(0)
    sizes = [
        (64, 96),
        (128, 192),
        (480, 640),
        (37, 501),
        (501, 37),
        (1, 1),
        (2, 300),
        (33, 47),
        (1080, 1920),
        (3, 900),
    ]
    for resize in ("letterbox", "center-crop"):
        for height, width in sizes:
            photo = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            for side in (frame(resize=resize), frame(416, 416, resize), frame(192, 160, resize)):
                wanted, at = prepared_images.letterbox(photo[..., ::-1], side)
                placed = vision.place(photo, side.height, side.width, resize)
                assert np.array_equal(placed.pixels, wanted), (resize, height, width, side)
                assert placed.photo == (at.width, at.height)
                assert placed.gains == (at.gain_x, at.gain_y)
                assert (placed.left, placed.top) == (at.left, at.top)


def check_every_head_of_yolov8_and_yolo26_is_decoded_alike() -> None:
    """Boxes, scores, keypoints and remaining objects are equal up to rounding."""
    heads = [head for head in HEADS if not head.startswith("yolox-")]
    assert {"raw", "yolo26-raw", "yolo26-raw-one-to-one", "split-one-to-one"} <= set(heads)
    for head in heads:
        for keypoints, dims in ((0, 0), (4, 3), (4, 2)):
            if not keypoints or layout(head) != "split":
                task = "pose" if keypoints else "detect"
                params = reading(head, 3, keypoints, dims, task)
                _compare(params, _answers(params, seed=keypoints + dims))


def _answers(params: accuracy.Params, seed: int) -> dict[str, Any]:
    """Random outputs with a few clear objects."""
    import numpy as np

    rng, values = np.random.default_rng(seed), {}
    wanted = head_outputs(
        params.head,
        HEIGHT,
        WIDTH,
        len(params.classes),
        params.keypoints,
        params.keypoint_dims,
        params.task,
    )
    for tensor in wanted:
        if is_raw(params.head):
            values[tensor.name] = rng.normal(-1, 3, tensor.shape).astype(np.float32)
        elif tensor.name == "detections":
            found = rng.random(tensor.shape)
            found[:, :4] *= 1 if layout(params.head) == "normalized" else 60
            values[tensor.name] = found.astype(np.float32)
        else:
            values[tensor.name] = rng.random(tensor.shape).astype(np.float32)
    return values


def _compare(params: accuracy.Params, outputs: dict[str, Any]) -> None:
    import numpy as np

    ours = accuracy.decode(outputs, params)
    theirs = vision.decode(outputs, facts(params), HEIGHT, WIDTH)
    for wanted, found in zip(ours, theirs, strict=True):
        assert wanted.shape == found.shape, (params.head, wanted.shape, found.shape)
        assert np.allclose(wanted, found, atol=1e-9), params.head
    _compare_choice(ours, theirs, params.head)


def _compare_choice(ours: Any, theirs: Any, head: str) -> None:
    """Compare the remaining objects in the photograph's pixels; its border cuts some boxes."""
    import numpy as np

    placed = vision.Placed(np.zeros(1), (120, 90), (0.37, 0.36), 5, -3)
    place = Placement(width=120, height=90, gain_x=0.37, gain_y=0.36, left=5, top=-3)
    kept = choosing.choose(head, *ours, choice=yolov8_decoding.prediction(0.25))
    alone = vision.is_one_to_one({"head": head})
    found = vision.choose(theirs, placed, 0.25, yolov8_decoding.IOU, alone)
    assert len(found) == len(kept.scores) > 3
    boxes = to_photo(kept.boxes, place)
    assert np.allclose([item.box for item in found], boxes)
    assert np.allclose([item.score for item in found], kept.scores)
    assert [item.category for item in found] == kept.classes.tolist()
    if kept.keypoints.shape[1]:
        points = kept.keypoints
        points[..., :2] = to_photo(points[..., :2], place)
        assert np.allclose([item.keypoints for item in found], points)


def check_a_box_is_reported_as_one_class_and_measured_as_all() -> None:
    """As in Ultralytics, `predict` reports a box's best class, and `val` counts all likely ones."""
    import numpy as np

    boxes, points = np.array([[5.0, 5, 40, 40]]), np.zeros((1, 0, 3))
    scores = np.array([[0.3, 0.6, 0.25]])
    placed = vision.Placed(np.zeros(1), (90, 90), (1.0, 1.0), 0, 0)
    (told,) = vision.choose((boxes, scores, points), placed, 0.25, yolov8_decoding.IOU)
    assert (told.category, told.score) == (1, 0.6)
    choice = yolov8_decoding.prediction(0.25)
    assert yolov8_decoding.select(boxes, scores, choice)[1].tolist() == [1]
    assert yolov8_decoding.select(boxes, scores)[1].tolist() == [1, 0, 2]


def check_nothing_is_suppressed_of_a_one_to_one_head() -> None:
    """Overlapping boxes of a one-to-one head are not suppressed, those of other heads are."""
    import numpy as np

    boxes, points = np.array([[5.0, 5, 45, 45], [5, 5, 45, 41]]), np.zeros((2, 0, 3))
    answer = (boxes, np.array([[0.9], [0.8]]), points)
    placed = vision.Placed(np.zeros(1), (90, 90), (1.0, 1.0), 0, 0)
    for head, count in (("decoded", 1), ("decoded-one-to-one", 2)):
        alone = vision.is_one_to_one({"head": head})
        assert len(vision.choose(answer, placed, 0.25, yolov8_decoding.IOU, alone)) == count
        assert len(choosing.choose(head, *answer).scores) == count


def check_every_head_of_yolox_is_decoded_by_its_formula() -> None:
    """Every YOLOX head is decoded as by its formula and by the build's decoder."""
    import numpy as np

    rng = np.random.default_rng(1)
    rows = rng.normal(0, 0.7, (1, CELLS, 4 + 1 + 3)).astype(np.float32)
    rows[..., 4:] = rng.random((1, CELLS, 4)) ** 0.5
    boxes, scores, number = np.zeros((CELLS, 4)), np.zeros((CELLS, 3)), 0
    for stride in STRIDES:
        for y in range(HEIGHT // stride):
            for x in range(WIDTH // stride):
                dx, dy, w, h, objectness, *classes = rows[0, number].astype(np.float64)
                middle = np.array([(dx + x) * stride, (dy + y) * stride])
                half = np.exp([w, h]) * stride / 2
                boxes[number] = (*(middle - half), *(middle + half))
                scores[number] = objectness * np.array(classes)
                number += 1
    decoded = rows.copy()
    decoded[0, :, :2] = (boxes[:, :2] + boxes[:, 2:]) / 2
    decoded[0, :, 2:4] = boxes[:, 2:] - boxes[:, :2]
    heads = {
        "yolox-decoded": {"detections": decoded},
        "yolox-concatenated": {"predictions": rows},
        "yolox-split": {
            "boxes": rows[..., :4],
            "objectness": rows[..., 4:5],
            "classes": rows[..., 5:],
        },
    }
    for head, outputs in heads.items():
        params = reading(head, 3, 0, 0, "detect")
        found = vision.decode(outputs, facts(params), HEIGHT, WIDTH)
        assert np.allclose(found[0], boxes, atol=1e-3), head
        assert np.allclose(found[1], scores), head
        _compare_choice((boxes, scores, np.zeros((CELLS, 0, 3))), (boxes, scores, found[2]), head)
        if importlib.util.find_spec("buildsys.steps.lib.heads.yolox_decoding") is not None:
            ours = importlib.import_module("buildsys.steps.lib.heads.yolox_decoding")
            for one, other in zip(ours.decode(outputs, head, 3, HEIGHT, WIDTH), found, strict=True):
                assert np.allclose(one, other, atol=1e-6), head


def check_classes_of_an_image() -> None:
    """At most five classes are reported, from logits or probabilities."""
    import numpy as np

    logits = np.random.default_rng(2).normal(0, 2, (1, 9)).astype(np.float32)
    for head, name in (("raw", "logits"), ("decoded", "probabilities")):
        shares = accuracy.decode_classes({name: logits}, reading(head, 9, 0, 0, "classify"))
        found = vision.classify({name: logits}, head, -9)
        order = np.argsort(-shares, kind="stable")[:5]
        assert [item.category for item in found] == order.tolist()
        assert np.allclose([item.score for item in found], shares[order])


def check_an_operator_that_was_added_is_refused() -> None:
    """A file with custom operators is refused, since LiteRT has none."""
    params = Registered(firmware="linux-tflite", operators=(EVERY,), accelerator="")
    assert judge_list({"CONV_2D": ("a",), "GELU": ("b",)}, params) == []
    (told,) = judge_list({"CONV_2D": ("a",), "FlexErf": ("layer;x",)}, params)
    assert "does not register FlexErf (1: layer), in the file" in told
    assert "It registers every builtin operator." in told


class _Interpreter:
    """A stand-in for LiteRT's interpreter with given outputs."""

    def __init__(self, dtype: Any, outputs: list[Any]) -> None:
        self.dtype, self.values, self.given = dtype, outputs, None

    def set_tensor(self, index: int, values: Any) -> None:
        assert values.dtype == self.dtype
        self.given = values

    def invoke(self) -> None:
        assert self.given is not None

    def get_tensor(self, index: int) -> Any:
        return self.values[index]


def check_integers_become_real_numbers_and_back() -> None:
    """The input is quantized and outputs are dequantized, for int8, uint8, int16 and float."""
    import numpy as np

    rng = np.random.default_rng(3)
    picture = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    edges = (
        (np.int8, 1 / 255, -128),
        (np.uint8, 1 / 255, 0),
        (np.int16, 1 / 32767, 0),
        (np.float32, 0.0, 0),
    )
    for dtype, scale, zero in edges:
        kind = np.dtype(dtype)
        low, high = (0, 2) if kind.kind == "f" else (np.iinfo(kind).min, np.iinfo(kind).max)
        answer = rng.integers(low, high, (1, 5)).astype(kind)
        detail = {"index": 0, "dtype": dtype, "quantization": (scale, zero)}
        model = network.Model.__new__(network.Model)
        model.interpreter, model.input = _Interpreter(kind, [answer]), detail
        model.outputs = {"scores": detail}
        found = model.run(picture)["scores"]
        real = answer.astype(np.float32)
        assert np.array_equal(found, (real - zero) * np.float32(scale) if scale else real)
        wanted = quantize(picture[None].astype(np.float32) / 255, detail)
        assert np.array_equal(model.interpreter.given, wanted)


def main() -> None:
    """Every check, and what went wrong in it."""
    faults = {}
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            try:
                check()
                faults[name] = ""
            except Exception:  # noqa: BLE001 - told by the test, with its traceback
                faults[name] = traceback.format_exc()
    print(json.dumps(faults))


if __name__ == "__main__":
    main()
