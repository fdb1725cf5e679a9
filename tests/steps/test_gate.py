"""The gate compares metrics with thresholds, and reports what was not measured."""

import json
from pathlib import Path
from typing import cast

from buildsys.steps import gate


def judge(place: Path, metric: str, **figures: float | None) -> dict[str, object]:
    """The verdict on one threshold, with the same metrics before and after."""
    named = {key.replace("_", "."): value for key, value in figures.items()}
    return decide(place, gate.Threshold(metric=metric, min=0.2, max_drop=0.1), named, named)


def decide(
    place: Path,
    threshold: gate.Threshold,
    before: dict[str, float | None],
    after: dict[str, float | None],
) -> dict[str, object]:
    """The verdict on one threshold."""
    for name, figures in (("metrics", after), ("baseline", before)):
        (place / name).write_text(json.dumps({"metrics": figures}))
    inputs = {"metrics": place / "metrics", "baseline": place / "baseline"}
    gate.run(inputs, {"verdict": place / "verdict"}, gate.Params(thresholds=(threshold,)))
    return cast("dict[str, object]", json.loads((place / "verdict").read_text()))


def test_a_drop_equal_to_the_limit_passes(tmp_path: Path) -> None:
    """A drop of 0.01 passes `max_drop: 0.01` at every accuracy, one of 0.010001 does not; so does
    a value equal to `min`.
    """
    for percent in range(2, 101):
        before, after = percent / 100, (percent - 1) / 100
        threshold = gate.Threshold(metric="top1", min=after, max_drop=0.01)
        verdict = decide(tmp_path, threshold, {"top1": before}, {"top1": after})
        assert verdict["failures"] == []
        verdict = decide(tmp_path, threshold, {"top1": before}, {"top1": round(after - 1e-6, 6)})
        assert len(cast("list[str]", verdict["failures"])) == 2


def test_a_failure_states_the_digits_that_make_it_one(tmp_path: Path) -> None:
    """A sentence never states a value that passes: where four digits equal the limit, it has six."""
    cases = [
        (0.83998, "fell by 0.010020 (0.850000 to 0.839980)", "is 0.839980"),
        (0.8398, "fell by 0.0102 (0.8500 to 0.8398)", "is 0.8398"),
    ]
    for after, drop, value in cases:
        threshold = gate.Threshold(metric="top1", min=0.84, max_drop=0.01)
        verdict = decide(tmp_path, threshold, {"top1": 0.85}, {"top1": after})
        assert verdict["failures"] == [
            f"top1 {value}, below 0.84",
            f"top1 {drop}, at most 0.01 is allowed",
        ]


def test_a_class_without_objects_cannot_pass(tmp_path: Path) -> None:
    """A gate on a class without objects fails with this reason, not with a value of 0."""
    verdict = judge(tmp_path, "top1.pear", top1=0.5, top1_pear=None)
    assert verdict["failures"] == [
        "top1.pear was not measured: the split has no objects of this class"
    ]
    assert verdict["figures"] == {}
    verdict = judge(tmp_path, "keypoints.mAP50-95", **{"keypoints.mAP50-95": None})
    assert verdict["failures"] == [
        "keypoints.mAP50-95 was not measured: the split has no labelled keypoints"
    ]


def test_an_unknown_metric_is_reported_with_the_known_ones(tmp_path: Path) -> None:
    """A metric that was not measured is listed with those that were."""
    verdict = judge(tmp_path, "top5", top1=0.5)
    assert verdict["failures"] == ["top5 was not measured (there are top1)"]


def test_a_value_above_the_threshold_passes(tmp_path: Path) -> None:
    """A value within both limits passes and is part of the verdict."""
    verdict = judge(tmp_path, "top1", top1=0.5)
    assert verdict["passed"]
    assert verdict["figures"] == {"top1": {"value": 0.5, "baseline": 0.5}}
