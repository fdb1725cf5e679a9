"""Write the files of a training's artifact `training`, from which its curves are drawn.

    history.csv    a row an epoch. `epoch`; `train/…` and `val/…` are losses, `metrics/…` accuracy on the
                   val split, `lr/…` learning rates: Ultralytics' names. A cell is empty where an epoch
                   was not validated.
    training.json  `Summary`
    examples/      01.jpg, …: images of the first batch as the network received them, with their labels

They hold no times, so that the same training gives the same bytes; the step's record and log have
its duration.
"""

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path

HISTORY, SUMMARY, EXAMPLES = "history.csv", "training.json", "examples"
MOST_EXAMPLES = 8
"""Number of images of the first batch that are kept."""
ACCURACY = {
    "metrics/mAP50-95(B)": "box mAP50-95",
    "metrics/mAP50-95(P)": "kpt mAP50-95",
    "metrics/mAP50-95(M)": "mask mAP50-95",
    "metrics/accuracy_top1": "top-1",
}
"""The main accuracy columns and their common names; an obb network's `metrics/mAP50-95(B)` is for
oriented boxes.
"""

Row = dict[str, float]
"""Values of one epoch by column, without `epoch`."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The summary of a training; epochs count from 1.

    `epochs`: requested number; `ran`: completed number; `kept`: the epoch whose weights are the
    checkpoint; `best`: the epoch with the highest `fitness` (Ultralytics': a weighted sum of the
    accuracies), 0 without validation. `validated_every`: epochs between validations, 0: never;
    `patience`: epochs without improvement that end the training, 0: never.
    """

    epochs: int
    ran: int
    kept: int
    best: int = 0
    fitness: float = 0.0
    validated_every: int = 0
    patience: int = 0
    images: int = 0
    validation_images: int = 0


def write(folder: Path, rows: list[Row], summary: Summary) -> None:
    """Write history.csv and training.json, with six digits like Ultralytics."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (folder / HISTORY).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["epoch", *columns])
        for number, row in enumerate(rows, 1):
            cells = [f"{row[name]:.6g}" if name in row else "" for name in columns]
            writer.writerow([number, *cells])
    text = json.dumps(asdict(summary), indent=1) + "\n"
    (folder / SUMMARY).write_text(text, encoding="utf-8")


def describe(row: Row) -> str:
    """Return one epoch as text: its losses, and its accuracy if measured."""
    losses = [
        f"{name.removeprefix('train/').removesuffix('_loss')} {value:.4g}"
        for name, value in row.items()
        if name.startswith("train/")
    ]
    measured = [f"{words} {row[name]:.4f}" for name, words in ACCURACY.items() if name in row]
    return "; ".join(", ".join(part) for part in (losses, measured) if part)
