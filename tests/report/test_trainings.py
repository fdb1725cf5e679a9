"""A training's page: the chosen settings, and charts with its task's terms."""

from pathlib import Path
from typing import Any

import pytest

from buildsys.report.trainings import settings_of
from buildsys.steps.lib.report import training_charts, training_reading
from tests.report import training_sample


@pytest.mark.parametrize(
    ("params", "shown"),
    [
        ({"mosaic": 0.0, "seed": 0}, {"mosaic": "0.0", "seed": "0"}),
        (
            {"validate": 0, "patience": 0, "quantization_aware": "no", "smooth_visibility": False},
            {},
        ),
        ({"smooth_visibility": True, "task": "pose"}, {"smooth_visibility": "yes"}),
        (
            {"options": {"close_mosaic": 0, "cos_lr": False, "auto_augment": None}},
            {"close_mosaic": "0", "cos_lr": "no", "auto_augment": "none"},
        ),
        ({"options": {"freeze": [0, "23.cv2"]}}, {"freeze": "0, 23.cv2"}),
    ],
)
def test_settings_are_those_that_were_chosen(params: dict[str, Any], shown: dict[str, str]) -> None:
    """The page shows chosen settings: 0 is a value, disabled ones are omitted, all `options` are
    shown.
    """
    assert dict(settings_of(params)) == shown


def test_a_chart_of_oriented_boxes_says_so(tmp_path: Path) -> None:
    """Charts name oriented boxes by the training's task, not by its architecture's name."""
    training_sample.make_training(tmp_path / "training")
    rows, _ = training_reading.read(tmp_path / "training")
    assert list(training_charts.find_accuracies(rows, "pose")) == ["boxes", "keypoints"]
    assert next(iter(training_charts.find_accuracies(rows, "obb"))) == "turned boxes"
