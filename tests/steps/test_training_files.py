"""The files of a training's curves."""

from pathlib import Path

from buildsys.steps.lib.report import training_reading
from buildsys.steps.lib.training import training_files
from buildsys.steps.lib.training.training_files import Summary

ROWS = [
    {"train/box_loss": 1.25, "lr/pg0": 0.001},
    {"train/box_loss": 0.5, "metrics/mAP50-95(B)": 0.87654321, "val/box_loss": 0.75, "lr/pg0": 0.0},
]
SUMMARY = Summary(epochs=5, ran=2, kept=2, best=2, fitness=0.876543, validated_every=2, patience=3)


def test_history_has_a_row_an_epoch(tmp_path: Path) -> None:
    """The history has a row per epoch, with empty cells without validation, six digits and no
    times.
    """
    training_files.write(tmp_path / "training", ROWS, SUMMARY)
    assert (tmp_path / "training" / "history.csv").read_text() == (
        "epoch,train/box_loss,lr/pg0,metrics/mAP50-95(B),val/box_loss\n"
        "1,1.25,0.001,,\n"
        "2,0.5,0,0.876543,0.75\n"
    )


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """History and summary are read as they were written."""
    training_files.write(tmp_path, ROWS, SUMMARY)
    rows, summary = training_reading.read(tmp_path)
    assert rows[0] == ROWS[0]
    assert rows[1]["metrics/mAP50-95(B)"] == 0.876543
    assert summary == SUMMARY


def test_an_epoch_in_words_has_losses_and_accuracy() -> None:
    """An epoch's log line has losses and accuracy."""
    assert training_files.describe(ROWS[0]) == "box 1.25"
    assert training_files.describe(ROWS[1]) == "box 0.5; box mAP50-95 0.8765"
