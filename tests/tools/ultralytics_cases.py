"""One checkpoint through our evaluation and through Ultralytics' own `predict` and `val`.

`python -m tests.tools.ultralytics_cases REQUEST` in the environment `ultralytics` prints JSON: the
accuracy of both, and how far apart the detections are. REQUEST, JSON: `checkpoint`, `data` (the
data.yaml, or the folder of a classify set), `task`, `size` [height, width], `split`, `scratch`;
`keypoints`, `dims`, `sigmas`; `head`: decoded, or that of the one-to-one branch; `cut`: the set
that `data` is to be cut from; `ways`: other settings of `val`, by name.
"""

import contextlib
import io
import json
import random
import sys
from pathlib import Path
from typing import Any

from buildsys.spec import Preprocessing
from buildsys.steps import evaluate_ultralytics
from buildsys.steps.lib.datasets import labels
from buildsys.steps.lib.datasets.ultralytics_layout import Split, list_images
from buildsys.steps.lib.families import ultralytics_setup
from buildsys.steps.lib.heads import yolov8_decoding
from buildsys.steps.lib.heads.branches import is_one_to_one
from buildsys.steps.lib.images import decoding
from buildsys.steps.lib.metrics import accuracy, predictions

CONFIDENCE = 0.25
METRICS = {
    "box.mAP50": "metrics/mAP50(B)",
    "box.mAP50-95": "metrics/mAP50-95(B)",
    "keypoints.mAP50-95": "metrics/mAP50-95(P)",
    "masks.mAP50-95": "metrics/mAP50-95(M)",
    "obb.mAP50-95": "metrics/mAP50-95(B)",
    "top1": "metrics/accuracy_top1",
}
"""Our figures and their names in Ultralytics."""


def reading(request: dict[str, Any], names: dict[int, str]) -> accuracy.Params:
    """How our evaluation reads the checkpoint."""
    height, width = request["size"]
    split = request["split"]
    place = split if request["task"] == "classify" else f"images/{split}"
    return accuracy.Params(
        split=Split(name=split, paths=(place,)),
        classes=tuple(names[number] for number in range(len(names))),
        keypoints=request.get("keypoints", 0),
        keypoint_dims=request.get("dims", 0),
        sigmas=tuple(request.get("sigmas", ())),
        head=request.get("head", "decoded"),
        preprocessing=Preprocessing(
            height=height,
            width=width,
            color="rgb",
            resize="center-crop" if request["task"] == "classify" else "letterbox",
        ),
        task=request["task"],
    )


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Both accuracies by figure, what COCO makes of Ultralytics' detections, and those of both
    compared.
    """
    scratch = Path(request["scratch"])
    scratch.mkdir(parents=True, exist_ok=True)
    checkpoint, data = Path(request["checkpoint"]), Path(request["data"])
    root = data if data.is_dir() else data.parent
    ultralytics_setup.prepare(scratch)
    from ultralytics import YOLO

    theirs = YOLO(str(checkpoint))
    params = reading(request, theirs.names)
    network = evaluate_ultralytics.open_network(
        checkpoint, request["task"], params.head, len(params.classes)
    )
    accuracy.measure(checkpoint, root, network, params, scratch / "metrics.json", "checkpoint")
    ours = json.loads((scratch / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    found = {"ours": ours}
    counted = request["task"] in ("detect", "pose", "segment")
    for name, words in request.get("ways", {"val": {"rect": False, "save_json": counted}}).items():
        validated = theirs.val(
            data=str(data if data.is_dir() else _absolute(data, scratch)),
            split=request["split"],
            imgsz=max(request["size"]),
            workers=0,
            batch=16,
            plots=False,
            verbose=False,
            project=str(scratch),
            exist_ok=True,
            **({"nms": False} if is_one_to_one(params.head) else {}),
            **words,
        )
        stats = validated.results_dict
        found[name] = {
            figure: round(float(stats[word]), 6)
            for figure, word in METRICS.items()
            if figure in ours and word in stats
        }
        written = Path(validated.save_dir) / "predictions.json"
        if words.get("save_json") and written.is_file():
            rows = json.loads(written.read_text(encoding="utf-8"))
            found[f"{name}, counted by COCO"] = count(root, params, rows)
    if not is_one_to_one(params.head):  # of that `predict` tells a cell of two classes twice
        found["detections"] = compare_detections(request, params, root, network, theirs)
    return found


def count(
    root: Path, params: accuracy.Params, rows: list[dict[str, Any]]
) -> dict[str, float | None]:
    """COCO's figures of what `val` has written as predictions.json: boxes in the images' pixels,
    which end at the border, where `val` itself counts boxes in the network's image, which do not.
    """
    from buildsys.steps.lib.metrics import coco_metrics

    tally = coco_metrics.Tally(params.classes, params.keypoints, yolov8_decoding.MOST_DETECTIONS)
    numbers: dict[int | str, int] = {}
    for path in list_images(root, params.split):
        height, width = decoding.read_image(path).shape[:2]
        objects = accuracy.labels_of(root, path, params)
        name = int(path.stem) if path.stem.isnumeric() else path.stem
        numbers[name] = tally.add_picture(width, height, objects)
    for row in rows:
        kept = {key: row[key] for key in ("bbox", "score", "keypoints") if key in row}
        place = {"image_id": numbers[row["image_id"]], "category_id": row["category_id"] - 1}
        tally.rows.append(kept | place)
    found = tally.measure("bbox", "box")
    if params.keypoints:
        found |= tally.measure("keypoints", "keypoints", params.sigmas)
    return found


def _absolute(data: Path, scratch: Path) -> Path:
    """Write an absolute `path`, since Ultralytics resolves a relative one in its own folder."""
    target = scratch / "data.yaml"
    lines = [line for line in data.read_text().splitlines() if not line.startswith("path:")]
    target.write_text("\n".join([f"path: {data.parent}", *lines]) + "\n")
    return target


def compare_detections(
    request: dict[str, Any], params: accuracy.Params, root: Path, network: Any, theirs: Any
) -> dict[str, Any]:
    """Compare a split: the number of common objects, and the largest differences in pixels and
    score.
    """
    import numpy as np

    counts = {"images": 0, "ours": 0, "theirs": 0, "unmatched": 0}
    apart = {"box": 0.0, "score": 0.0, "keypoints": 0.0, "corners": 0.0}
    for path in list_images(root, params.split):
        image = decoding.read_image(path)
        ours = predictions.detect(image, network, params, CONFIDENCE)
        (result,) = theirs.predict(
            str(path), imgsz=request["size"], rect=False, conf=CONFIDENCE, verbose=False
        )
        wanted = read_result(result, request["task"])
        counts["images"] += 1
        counts["ours"] += len(ours)
        counts["theirs"] += len(wanted)
        for one in ours:
            twin = _twin(one, wanted)
            if twin is None:
                counts["unmatched"] += 1
                continue
            wanted.remove(twin)
            apart["score"] = max(apart["score"], abs(one.score - twin["score"]))
            for name in ("box", "keypoints", "corners"):
                if name in twin:
                    gap = np.abs(_places(one, name) - _ordered(name, twin[name]))
                    apart[name] = max(apart[name], float(gap.max(initial=0)))
        counts["unmatched"] += len(wanted)
    return {**counts, **{name: round(value, 5) for name, value in apart.items()}}


def _twin(one: predictions.Seen, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The nearest object of the same class and score, since equal scores have no order."""
    import numpy as np

    name = "corners" if rows and "corners" in rows[0] else "box"
    alike = [
        row
        for row in rows
        if row["category"] == one.category and abs(row["score"] - one.score) < 0.01
    ]
    return min(
        alike,
        key=lambda row: (
            np.abs(_places(one, name) - _ordered(name, row[name])).max() if name in row else 0.0
        ),
        default=None,
    )


def _places(one: predictions.Seen, name: str) -> Any:
    values = {
        "box": one.box,
        "keypoints": [point[:2] for point in one.keypoints],
        "corners": one.outline,
    }
    return _ordered(name, values[name])


def _ordered(name: str, values: Any) -> Any:
    """Corners ordered from the upper left one, since a box can start at any corner."""
    import numpy as np

    array = np.asarray(values, np.float64)
    if name == "corners":
        middle = array.mean(0)
        order = np.argsort(np.arctan2(*(array - middle).T), kind="stable")
        array = array[order]
    return array


def read_result(result: Any, task: str) -> list[dict[str, Any]]:
    """Ultralytics' Results as rows, best first."""
    if task == "classify":
        shares = result.probs.data.tolist()
        order = sorted(range(len(shares)), key=lambda i: -shares[i])[:5]
        return [{"category": i, "score": shares[i]} for i in order if shares[i] >= CONFIDENCE]
    found = result.obb if task == "obb" else result.boxes
    rows = []
    for index in range(len(found)):
        row = {
            "category": int(found.cls[index]),
            "score": float(found.conf[index]),
        }
        if task == "obb":
            row["corners"] = found.xyxyxyxy[index].tolist()
        else:
            row["box"] = found.xyxy[index].tolist()
        if task == "pose":
            row["keypoints"] = result.keypoints.xy[index].tolist()
        rows.append(row)
    return rows


def cut(source: Path, target: Path, split: str, keypoints: int, dims: int) -> None:
    """A set whose objects are cut by the border: of each image a window that leaves out a part of
    its first object; sizes that no frame divides. Labels end at the border, as people draw them.
    """
    import cv2
    import numpy as np

    rng = random.Random(0)
    layout = labels.Layout(classes=("",) * 99, keypoints=keypoints, dims=dims)
    for part in ("images", "labels"):
        (target / part / split).mkdir(parents=True)
    for number, path in enumerate(
        list_images(source, Split(name=split, paths=(f"images/{split}",)))
    ):
        image = decoding.read_image(path)
        h, w = image.shape[:2]
        label = labels.find_labels(source, path)
        text = label.read_text() if label.is_file() else ""
        objects = [item for _, item in labels.parse(text, path.name, layout)[0]]
        window = (0, 0, w - number % 7, h - number % 5)
        if objects:
            cx, cy, bw, bh = rng.choice(objects).box
            share = rng.uniform(-0.25, 0.25)
            x, y = round((cx + share * bw) * w), round((cy + share * bh) * h)
            sides = ((x, 0, w, h), (0, 0, x, h), (0, y, w, h), (0, 0, w, y))
            window = max(sides, key=_area)
        x1, y1, x2, y2 = window
        cv2.imwrite(str(target / "images" / split / f"{path.stem}.png"), image[y1:y2, x1:x2])
        lines = []
        for item in objects:
            cx, cy, bw, bh = np.array(item.box) * (w, h, w, h)
            left, right = np.clip([cx - bw / 2, cx + bw / 2], x1, x2) - x1
            top, bottom = np.clip([cy - bh / 2, cy + bh / 2], y1, y2) - y1
            if right - left < 0.2 * bw or bottom - top < 0.2 * bh:
                continue
            size = np.array([x2 - x1, y2 - y1])
            box = np.array([left + right, top + bottom, 2 * (right - left), 2 * (bottom - top)]) / 2
            values = [*(box / (*size, *size))]
            for px, py, seen in item.keypoints:
                place = (np.array([px * w, py * h]) - (x1, y1)) / size
                inside = bool((place >= 0).all() and (place <= 1).all())
                values += [*place, seen] if inside else [0, 0, 0]
            lines.append(" ".join([str(item.category), *(f"{value:.6f}" for value in values)]))
        (target / "labels" / split / f"{path.stem}.txt").write_text("\n".join(lines))
    told = (source / "data.yaml").read_text().splitlines()
    kept = [line for line in told if not line.startswith(("train:", "test:", "val:", "path:"))]
    kept += [f"train: images/{split}", f"val: images/{split}"]
    (target / "data.yaml").write_text("\n".join(kept) + "\n")


def _area(window: tuple[int, int, int, int]) -> int:
    return (window[2] - window[0]) * (window[3] - window[1])


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    with contextlib.redirect_stdout(io.StringIO()):
        if "cut" in asked:
            place = Path(asked["data"]).parent
            cut(Path(asked["cut"]), place, asked["split"], asked["keypoints"], asked["dims"])
        answer = measure(asked)
    print(json.dumps(answer, indent=1))
