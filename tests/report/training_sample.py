"""A training and the curves of its files, with invented figures in the steps' formats."""

import hashlib
import math
from pathlib import Path

from buildsys.steps.lib.metrics import curves
from buildsys.steps.lib.report.values import Measured, Training
from buildsys.steps.lib.training import training_files

TRAINING = hashlib.sha256(b"training").hexdigest()
CURVES = {
    name: hashlib.sha256(f"curves {name}".encode()).hexdigest() for name in ("checkpoint", "tflite")
}
_KINDS = ("tag", "plate")


def training(measured: Measured, builds: tuple[str, ...]) -> Training:
    """A training of a pose network with twelve epochs."""
    return Training(
        files=TRAINING,
        recipe="tags",
        checkpoint=measured.sha256,
        tool="ultralytics 8.4.190",
        took="1 min 34 s",
        settings=(("architecture", "yolov8n-pose"), ("epochs", "20"), ("patience", "4")),
        builds=builds,
        curves=CURVES["checkpoint"],
        measured=measured,
    )


def write_files(folder: Path, epochs: int = 12) -> None:
    """Write all files by digest, as the report's data refers to them."""
    make_training(folder / TRAINING, epochs)
    for name, digest in CURVES.items():
        write_curves(folder / digest, name)


def write_curves(path: Path, name: str) -> None:
    """Write the curves of one measured file."""
    curves.write(path, _measured(name))


def make_training(folder: Path, epochs: int = 12) -> training_files.Summary:
    """Write a training's files, with eight placeholders for images."""
    rows = []
    for epoch in range(1, epochs + 1):
        loss, fit = math.exp(-epoch / 4), 0.86 * (1 - math.exp(-epoch / 3)) - 0.002 * epoch
        row = {f"train/{name}_loss": size * (0.3 + loss) for name, size in _LOSSES.items()}
        row |= {f"val/{name}_loss": size * (0.4 + loss) for name, size in _LOSSES.items()}
        row |= {"metrics/mAP50-95(B)": fit, "metrics/mAP50(B)": min(0.99, fit * 1.25)}
        row |= {"metrics/mAP50-95(P)": fit * 0.9, "metrics/mAP50(P)": fit * 1.1}
        rows.append(row)
    best = min(8, epochs)
    summary = training_files.Summary(
        epochs=20,
        ran=epochs,
        kept=best,
        best=best,
        fitness=0.81,
        validated_every=1,
        patience=4,
        images=400,
        validation_images=300,
    )
    training_files.write(folder, rows, summary)
    examples = folder / training_files.EXAMPLES
    examples.mkdir()
    for number in range(1, 9):
        (examples / f"{number:02}.jpg").write_bytes(b"\xff\xd8\xff\xd9")
    return summary


_LOSSES = {"box": 1.4, "cls": 3.1, "dfl": 1.2, "pose": 9.0, "kobj": 0.7}


def _measured(name: str) -> curves.Measured:
    worse = 0.06 if name == "tflite" else 0.0
    found = []
    for kind in ("box", "keypoints"):
        rankings = [
            _ranking(word, worse + 0.1 * (i + (kind != "box"))) for i, word in enumerate(_KINDS)
        ]
        found.append(curves.join(kind, rankings))
    counts = ((288, 6, 11), (2, 214, 7), (10, 21, 0))
    confusion = curves.Confusion(
        classes=_KINDS, confidence=curves.CONFIDENCE, overlap=curves.OVERLAP, counts=counts
    )
    return curves.Measured(
        sha256=hashlib.sha256(name.encode()).hexdigest(),
        split="val",
        pictures=300,
        curves=tuple(found),
        confusion=confusion,
    )


def _ranking(name: str, worse: float, objects: int = 270) -> curves.Ranking:
    """Detections whose precision and score fall with recall."""
    right: list[bool] = []
    scores: list[float] = []
    for hit in range(1, round((0.98 - worse) * objects)):
        recall = hit / objects
        wrong = round(hit / (1 - worse - 0.4 * recall**5)) - hit - right.count(False)
        right += [False] * wrong + [True]
        scores += [0.97 - 0.9 * recall**3] * (wrong + 1)
    return curves.Ranking(name=name, objects=objects, right=tuple(right), scores=tuple(scores))
