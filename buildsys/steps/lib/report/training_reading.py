"""Read the files of a training's artifact `training`; see `training_files`."""

import csv
import json
from dataclasses import fields
from pathlib import Path

from buildsys.steps.lib.training.training_files import HISTORY, SUMMARY, Row, Summary


def read(folder: Path) -> tuple[list[Row], Summary]:
    """Return the rows in order of epochs, and the summary. Raises OSError, ValueError, TypeError if
    the folder has another format.
    """
    with (folder / HISTORY).open(encoding="utf-8", newline="") as stream:
        rows = [
            {name: float(cell) for name, cell in row.items() if name != "epoch" and cell}
            for row in csv.DictReader(stream)
        ]
    found = json.loads((folder / SUMMARY).read_bytes())
    known = {field.name for field in fields(Summary)}
    return rows, Summary(**{name: value for name, value in found.items() if name in known})
