"""A recipe's spelling changes no plan; a changed value changes exactly what depends on it."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildsys.authoring.syntax.document import parse_document
from buildsys.graph import BuildPlan
from tests.authoring.sample_workspace import TAGS_SHA256, by_stage, make_workspace, plan_good
from tests.authoring.spellings import STEADY, KeyPath, Value, documents, replaced

_RECIPE: dict[str, Value] = {
    "name": "tags",
    "source": {
        "family": "ultralytics",
        "task": "pose",
        "architecture": "yolov8n-pose",
        "weights": {"path": "weights/tags.pt", "sha256": TAGS_SHA256},
    },
    "dataset": {"format": "ultralytics", "path": "data/tags/data.yaml"},
    "input": {"size": [192, 192], "color": "rgb", "resize": "letterbox"},
    "train": {"epochs": 4, "batch": 16, "seed": 0, "learning_rate": 0.0002, "device": "auto"},
    "export": {"opset": 13},
    "quantization": {
        "scheme": "int8",
        "granularity": "per-tensor",
        "io": "int8",
        "calibration": {"split": "train", "count": 100, "seed": 0},
    },
    "evaluate": {
        "split": "val",
        "gates": {
            "box.mAP50-95": {"max_drop": 0.01},
            "keypoints.mAP50-95": {"max_drop": 0.01, "min": 0.75},
        },
    },
    "targets": [
        {"target": "grove-vision-ai-v2", "as": "board", "vela": {"version": "4.5"}},
        "xiao-esp32s3",
        {"target": "host", "quantization": {"scheme": "float16", "calibration": None}},
    ],
}
_BOARD = "tags@board"

Meaning = dict[str, list[tuple[str, str, str]]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One workspace for all examples of a property, since planning writes nothing."""
    return make_workspace(tmp_path_factory.mktemp("meaning") / "workspace")


class _Baseline(dict[str, BuildPlan]):
    """Plans with a short `repr`, so that hypothesis can print a failure."""

    def __repr__(self) -> str:
        return "baseline"


@pytest.fixture(scope="module")
def baseline(place: Path) -> dict[str, BuildPlan]:
    """The plans of the unchanged recipe."""
    return _Baseline(_plan_data(place, _RECIPE))


def _plan(place: Path, text: str) -> dict[str, BuildPlan]:
    (place / "recipes" / "tags.yaml").write_text(text, encoding="utf-8")
    return plan_good(place)


def _plan_data(place: Path, data: dict[str, Value]) -> dict[str, BuildPlan]:
    return _plan(place, json.dumps(data))


def _meaning(plans: dict[str, BuildPlan]) -> Meaning:
    return {
        build: [(step.id, step.module, step.params) for step in plan.steps]
        for build, plan in plans.items()
    }


@given(text=documents(_RECIPE))
@STEADY
def test_spelling_means_nothing(place: Path, baseline: dict[str, BuildPlan], text: str) -> None:
    """Formatting and comments change no plan."""
    assert _meaning(_plan(place, text)) == _meaning(baseline)


@given(text=documents(_RECIPE))
@STEADY
def test_every_place_is_where_it_says(text: str) -> None:
    """Every value's line and column are where the value is in the text."""
    document = parse_document(text, "tags.yaml")
    assert document.data == _RECIPE
    for path, mark in document.keys.items():
        shown = document.lines[mark.line - 1][mark.column - 1 :][: mark.length]
        assert shown.strip("\"'") == path[-1]


@dataclass(frozen=True, kw_only=True)
class Change:
    """Another value at one path, and the stages that read it directly."""

    path: KeyPath
    values: st.SearchStrategy[Value]
    read_by: frozenset[str]


def _change(path: str, values: st.SearchStrategy[Value], *stages: str) -> Change:
    """A change at `path`, with slashes because names of metrics contain dots."""
    parts = tuple(int(part) if part.isdigit() else part for part in path.split("/"))
    return Change(path=parts, values=values, read_by=frozenset(stages))


_COUNTS = st.integers(101, 500)
_SHARES = st.floats(0.02, 0.7)
_CHANGES = (
    _change("train/epochs", _COUNTS, "train"),
    _change("train/batch", _COUNTS, "train"),
    _change("train/seed", _COUNTS, "train"),
    _change("train/learning_rate", _SHARES, "train"),
    _change("train/device", st.sampled_from(["cpu", "cuda"])),
    _change("export/opset", st.integers(14, 20), "export"),
    _change("quantization/granularity", st.just("per-channel"), "quantize"),
    _change("quantization/io", st.just("float32"), "quantize", "bind"),
    _change("quantization/calibration/count", _COUNTS, "calibration"),
    _change("quantization/calibration/seed", _COUNTS, "calibration"),
    _change("quantization/calibration/split", st.just("val"), "calibration", "samples"),
    _change(
        "evaluate/split",
        st.just("train"),
        "evaluate-start",
        "evaluate-checkpoint",
        "evaluate-onnx",
        "evaluate-tflite",
        "probe",
        "overlap",
        "drawings",
    ),
    _change("evaluate/gates/box.mAP50-95/max_drop", _SHARES, "gate"),
    _change("evaluate/gates/keypoints.mAP50-95/min", _SHARES, "gate"),
    _change("targets/0/vela/version", st.sampled_from(["3.9", "5.2"]), "compile"),
    _change("targets/0/vela/optimise", st.just("Size"), "compile"),
    _change(
        "targets/0/firmware",
        st.just("unchecked"),
        "contract",
        "bind",
        "parity",
        "operators",
        "fit",
        "package",
    ),
)


def _resting_on(plan: BuildPlan, stages: frozenset[str]) -> set[str]:
    """The stages and all stages that depend on them."""
    reached = {by_stage(plan)[stage].id for stage in stages}
    for step in plan.steps:
        if any(item.step in reached for item in step.inputs):
            reached.add(step.id)
    return {step.stage for step in plan.steps if step.id in reached}


@pytest.mark.parametrize("change", _CHANGES, ids=lambda change: "/".join(map(str, change.path)))
@given(data=st.data())
@settings(STEADY, max_examples=3)
def test_change_reaches_what_depends_on_it(
    place: Path, baseline: dict[str, BuildPlan], change: Change, data: st.DataObject
) -> None:
    """A changed value changes exactly the stages that depend on it."""
    before = baseline[_BOARD]
    recipe = replaced(_RECIPE, change.path, data.draw(change.values))
    after = by_stage(_plan_data(place, recipe)[_BOARD])
    changed = {
        stage
        for stage, step in by_stage(before).items()
        if stage not in after or step.id != after[stage].id
    }
    assert changed == _resting_on(before, change.read_by)


def test_size_of_one_target_shares_the_training(place: Path) -> None:
    """An input size for one target shares the training."""
    recipe = replaced(_RECIPE, ("targets", 1), {"target": "xiao-esp32s3", "input": {"size": 96}})
    plans = _plan_data(place, recipe)
    board, small = by_stage(plans[_BOARD]), by_stage(plans["tags@xiao-esp32s3"])
    assert board["train"].id == small["train"].id
    assert board["export"].id != small["export"].id


def test_name_is_read_by_the_package_alone(workspace: Path, baseline: dict[str, BuildPlan]) -> None:
    """Renaming a recipe changes only the package."""
    renamed = json.dumps(replaced(_RECIPE, ("name",), "labels"))
    (workspace / "recipes" / "labels.yaml").write_text(renamed, encoding="utf-8")
    before, after = by_stage(baseline[_BOARD]), by_stage(plan_good(workspace)["labels@board"])
    assert {stage for stage in before if before[stage].id != after[stage].id} == {"package"}
