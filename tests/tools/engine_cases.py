"""Compares the outputs decoded by an engine package's programs with the build's own steps.

`python -m tests.tools.engine_cases` runs every function `check_*` and prints {name: fault or ""}.
"""

import json
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

from buildsys.spec import BoardSpec, ModelSpec, Quantization
from buildsys.steps.lib.heads import instance_masks, oriented_boxes, yolov8_decoding
from buildsys.steps.lib.heads.branches import is_raw, layout
from buildsys.steps.lib.heads.outputs import head_outputs
from buildsys.steps.lib.images import prepared_images
from buildsys.steps.lib.metrics import predictions
from buildsys.steps.lib.metrics.accuracy import Params as Reading
from buildsys.steps.lib.packages import network_description
from tests.tools.linux_cases import HEIGHT, WIDTH, frame, reading
from tests.tools.mask_cases import paint

sys.path.insert(0, str(Path(yolov8_decoding.__file__).parents[3] / "templates" / "common"))
import pictures
import shapes
import vision

CONFIDENCE = 0.25
_LATER = ("yolo26-raw", "yolo26-raw-one-to-one", "decoded-one-to-one")
HEADS = {
    "detect": ("raw", "decoded", "normalized", "split"),
    "pose": ("raw", "decoded", "normalized", *_LATER),
    "segment": ("raw", "decoded", "normalized", *_LATER),
    "obb": ("raw", "decoded", "normalized", *_LATER),
    "classify": ("raw", "decoded"),
}


def facts(params: Reading) -> dict[str, Any]:
    """engine.json of such a network, without the file."""
    dims = params.keypoint_dims
    outputs = head_outputs(
        params.head, HEIGHT, WIDTH, len(params.classes), params.keypoints, dims, params.task
    )
    model = ModelSpec(
        name="some",
        family="onnx",
        task=params.task,
        architecture="",
        classes=params.classes,
        keypoints=params.keypoints,
        keypoint_dims=dims,
        preprocessing=frame(),
        head=params.head,
        outputs=outputs,
        quantization=Quantization(scheme="float32", granularity="", io="float32"),
    )
    board = BoardSpec(name="b", label="b", firmware="", output_order=(), operators=())
    net = network_description.network(model, board.label)
    file = Path(__file__)
    found: dict[str, Any] = network_description.describe(
        net, file, file.parent, [t.name for t in outputs]
    )
    return found


def answers(params: Reading, seed: int) -> dict[str, Any]:
    """Random outputs with some clear objects, with the batch axis."""
    import numpy as np

    rng, values = np.random.default_rng(seed), {}
    for tensor in head_outputs(
        params.head,
        HEIGHT,
        WIDTH,
        len(params.classes),
        params.keypoints,
        params.keypoint_dims,
        params.task,
    ):
        if is_raw(params.head) or tensor.name == "prototypes":
            values[tensor.name] = rng.normal(-1, 3, tensor.shape).astype(np.float32)
        elif tensor.name == "detections":
            found = rng.random(tensor.shape)
            found[:, 4 : 4 + len(params.classes)] **= 6
            found[:, 4 + len(params.classes) :] -= 0.5
            found[:, :4] *= 1 if layout(params.head) == "normalized" else 60
            values[tensor.name] = found.astype(np.float32)
        else:
            values[tensor.name] = rng.random(tensor.shape).astype(np.float32)
    return values


def cases() -> Any:
    """Every task with every head: how to read it, outputs, and an RGB image."""
    import numpy as np

    for task, heads in HEADS.items():
        for seed, head in enumerate(heads):
            points, dims = (4, 3 if seed % 2 else 2) if task == "pose" else (0, 0)
            params = reading(head, 3, points, dims, task)
            shape = (48, 200, 3) if seed % 2 else (150, 90, 3)
            photo = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
            yield params, answers(params, seed), photo


def seen(params: Reading, outputs: Any, photo: Any) -> tuple[Any, Any]:
    """The objects of the program, and those of `buildsys predict`."""
    placed = vision.place(photo, HEIGHT, WIDTH, "letterbox")
    told = facts(params)
    theirs = shapes.see(outputs, told, photo, placed, told["confidence"], told["iou"])
    ours = predictions.detect(photo[..., ::-1], lambda picture: outputs, params, CONFIDENCE)
    return theirs, ours


def check_every_task_and_head_is_decoded_alike() -> None:
    """Classes, scores, boxes, keypoints and corners are equal and in the same order."""
    import numpy as np

    for params, outputs, photo in cases():
        theirs, ours = seen(params, outputs, photo)
        place = (params.task, params.head)
        assert len(theirs) == len(ours) > 0, (*place, len(theirs), len(ours))
        assert [item.category for item in theirs] == [item.category for item in ours], place
        assert np.allclose([i.score for i in theirs], [i.score for i in ours], atol=1e-6), place
        if params.task == "classify":
            continue
        assert np.allclose([i.box for i in theirs], [i.box for i in ours], atol=1e-4), place
        if params.task == "pose":
            points = [[item.keypoints for item in side] for side in (theirs, ours)]
            assert np.allclose(*points, atol=1e-4), place
        if params.task == "obb":
            corners = [i.corners for i in theirs], [i.outline for i in ours]
            assert np.allclose(*corners, atol=1e-4), place


def check_many_turned_boxes_are_suppressed_block_by_block() -> None:
    """Suppression in blocks gives the same result as all at once."""
    import numpy as np

    rng = np.random.default_rng(0)
    boxes = np.column_stack([rng.random((900, 2)) * 90, 5 + rng.random((900, 3)) * 20])
    scores = rng.random((900, 1))
    order = np.argsort(-scores[:, 0])
    overlaps = oriented_boxes.overlap(boxes[order], boxes[order]) > yolov8_decoding.IOU
    wanted = np.flatnonzero(~np.triu(overlaps, 1).any(0))
    assert 100 < len(wanted) < 800
    choice = yolov8_decoding.Choice(confidence=0.0, every_class=True, most=900)
    found = oriented_boxes.suppress(boxes, scores, choice=choice)
    assert np.array_equal(found.boxes, boxes[order[wanted]])
    alive = shapes.unsuppressed(boxes[order], yolov8_decoding.IOU)
    assert np.array_equal(np.flatnonzero(alive), wanted)


def check_masks_are_the_builds_own() -> None:
    """Masks are equal except for some pixels at edges, due to a different order of sums."""
    import numpy as np

    for params, outputs, photo in cases():
        if params.task != "segment":
            continue
        theirs, _ = seen(params, outputs, photo)
        boxes, scores, _ = vision.decode(outputs, facts(params), HEIGHT, WIDTH)
        rows, classes = vision.select(scores, CONFIDENCE)
        alone = vision.is_one_to_one({"head": params.head})
        kept = list(vision.keep(boxes[rows], classes, yolov8_decoding.IOU, alone))
        coefficients = instance_masks.decode_coefficients(outputs, params.head, len(params.classes))
        _, place = prepared_images.letterbox(photo[..., ::-1], frame())
        around = np.array([item.box for item in theirs])
        wanted = instance_masks.draw_masks(
            coefficients[rows[kept]], outputs["prototypes"][0], around, place
        )
        for item, mask in zip(theirs, wanted, strict=True):
            assert (item.mask != paint(mask)).mean() < 1e-3, params.head
        assert sum(item.mask.sum() for item in theirs) > 1000


def check_a_mask_in_a_box_is_a_part_of_the_whole_one() -> None:
    """The pixels in a box are those of the mask of the whole image, also for photos larger and
    smaller than the input, and of its size.
    """
    import numpy as np

    for seed, (height, width) in enumerate(((48, 200), (150, 90), (HEIGHT, WIDTH), (700, 500))):
        rng = np.random.default_rng(seed)
        photo = np.zeros((height, width, 3), np.uint8)
        placed = vision.place(photo, HEIGHT, WIDTH, "letterbox")
        logits = rng.normal(0, 1, (HEIGHT // 4, WIDTH // 4)).astype(np.float32)
        whole = shapes.draw(logits, np.array([0, 0, width, height]), photo, placed)
        assert whole.any()
        assert not whole.all()
        for _ in range(9):
            low, high = np.sort(rng.random((2, 2)), 0) * (width, height)
            wanted = np.zeros_like(whole)
            y, x = np.mgrid[:height, :width]
            inside = (x >= low[0]) & (x < high[0]) & (y >= low[1]) & (y < high[1])
            wanted[inside] = whole[inside]
            found = shapes.draw(logits, np.concatenate([low, high]), photo, placed)
            assert np.array_equal(found, wanted), (height, width)
        nothing = shapes.draw(logits, np.array([np.nan, 0, width, height]), photo, placed)
        assert not nothing.any()


def check_masks_are_written_as_in_coco() -> None:
    """Run lengths of masks are read by pycocotools as the same masks."""
    import numpy as np
    from pycocotools import mask as coco

    for seed in range(4):
        mask = np.random.default_rng(seed).random((7, 5)) > 0.5
        mask[0, 0] = bool(seed % 2)
        told = pictures.run_lengths(mask)
        packed = coco.frPyObjects(told, *told["size"])
        with warnings.catch_warnings():  # pycocotools is older than this numpy
            warnings.simplefilter("ignore", DeprecationWarning)
            assert np.array_equal(coco.decode(packed).astype(bool), mask)


def check_answers_of_another_name_are_understood() -> None:
    """Outputs with other names, such as `output0`, are decoded."""
    params = reading("decoded", 3, 0, 0, "detect")
    net = network_description.Network(
        name="some",
        label="",
        task="detect",
        head="decoded",
        outputs=("detections",),
        classes=params.classes,
        keypoints=0,
        keypoint_dims=0,
        preprocessing=frame(),
        scheme="float32",
        batch=(1, 1, 1),
    )
    file = Path(__file__)
    assert network_description.describe(net, file, file.parent, ["output0"])["named"] == {
        "output0": "detections"
    }
    assert network_description.describe(net, file, file.parent, ["detections"])["named"] == {}


def main() -> None:
    """Run every check and print its fault."""
    found = {}
    for name, check in sorted(globals().items()):
        if name.startswith("check_"):
            try:
                check()
                found[name] = ""
            except Exception:  # noqa: BLE001 - told by the test, with its traceback
                found[name] = traceback.format_exc()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
