"""How a training's settings become options of Ultralytics' trainer."""

import dataclasses
from typing import Any

import pytest

from buildsys.spec import BoardSpec, ModelSpec, Quantization
from buildsys.steps import train_ultralytics
from buildsys.steps.lib.families import ultralytics_options
from buildsys.steps.lib.runtime.progress import StepError
from buildsys.steps.train_ultralytics import Settings

MODEL = ModelSpec(
    name="tags",
    family="ultralytics",
    task="pose",
    architecture="yolov8n-pose",
    classes=("tag",),
    keypoints=4,
    keypoint_dims=3,
    preprocessing=None,
    head="raw",
    outputs=(),
    quantization=Quantization(scheme="float32", granularity="per-channel", io="float32"),
)
BOARD = BoardSpec(name="host", label="", firmware="", output_order=(), operators=())


def plan(task: str = "pose", **settings: Any) -> train_ultralytics.Params:
    """Parameters for three epochs."""
    model = dataclasses.replace(MODEL, task=task)
    return train_ultralytics.plan(Settings(epochs=3, **settings), model, BOARD)


@pytest.mark.parametrize(
    ("task", "settings", "smooth"),
    [
        ("pose", {}, False),
        ("pose", {"smooth_visibility": True}, True),
        ("pose", {"quantization_aware": "per-tensor"}, True),
        ("pose", {"quantization_aware": "per-tensor", "smooth_visibility": False}, False),
        ("detect", {"quantization_aware": "per-tensor"}, False),
    ],
)
def test_visibility_is_smoothed_where_it_is_asked_for(
    task: str, settings: dict[str, Any], smooth: bool
) -> None:
    """Visibility is smoothed if requested, or for quantization-aware training."""
    assert plan(task, **settings).smooth_visibility is smooth


@pytest.mark.parametrize(("validate", "every"), [(False, 0), (True, 1), (5, 5)])
def test_epochs_are_validated_every_so_often(validate: bool | int, every: int) -> None:
    """The interval between validated epochs; never by default."""
    assert (plan(validate=validate).validate, plan(validate=validate).patience) == (every, 0)


def test_every_setting_is_allowed_or_refused_with_what_to_do() -> None:
    """Every setting of Ultralytics is allowed, or refused with what to do instead."""
    assert {"degrees", "hsv_h", "optimizer", "freeze", "box", "cos_lr"} <= set(
        ultralytics_options.allowed()
    )
    for name in set(ultralytics_options.known()) - set(ultralytics_options.allowed()):
        (problem,) = ultralytics_options.check({name: 1}, "detect")
        assert problem.message.startswith(f"`{name}` ")
        assert problem.hint, name


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("degrees", 10, float("nan")),
        ("hsv_h", 1.0, True),
        ("freeze", [0, "23.cv2"], {"a": 1}),
        ("fraction", [100, 0.5], "half"),
        ("close_mosaic", 5, 5.5),
        ("cache", "ram", 1),
        ("cos_lr", False, 0),
        ("optimizer", "adamw", "Lion"),
        ("warmup_epochs", 2.5, None),
        ("auto_augment", "augmix", "none"),
        ("freeze", None, "10"),
        ("freeze", 0, [True]),
        ("freeze", 10, 9999),
        ("freeze", ["22.cv2"], ["a"]),
        ("freeze", [3], [-1]),
        ("fraction", 1, 0),
        ("fraction", 0.5, -1),
        ("fraction", [0.5, 1, 0], ["x"]),
        ("fraction", [10, 10], [1]),
        ("cache", "Disk", "foo"),
        ("close_mosaic", 0, -5),
        ("box", 0, -1),
        ("warmup_epochs", 0, -1),
        ("degrees", -90, 1000),
        ("shear", 45, 90),
        ("kobj", 1, 10**400),
        ("auto_augment", "randaugment", "RandAugment"),
    ],
)
def test_values_have_the_types_that_the_trainer_takes(name: str, good: object, bad: object) -> None:
    """Values must have the trainer's types; integers are numbers, booleans are not."""
    task = "classify" if name == "auto_augment" else "detect"
    assert ultralytics_options.check({name: good}, task) == []
    assert len(ultralytics_options.check({name: bad}, task)) == 1


def test_a_limit_is_reported_with_its_reason() -> None:
    """A value out of range is refused with the reason before the training."""
    (problem,) = ultralytics_options.check({"close_mosaic": -5}, "detect")
    assert problem.message == "`close_mosaic` is at least 0, not -5"
    assert problem.hint == "it is the number of epochs at the end that are without mosaic"


def test_limits_are_of_settings_that_a_recipe_can_write() -> None:
    """Limits exist only for settings that a recipe can contain."""
    assert set(ultralytics_options._LIMITS) <= set(ultralytics_options.allowed())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"momentum": 1}, "below 1 with the optimizer AdamW"),
        ({"optimizer": "adam", "momentum": 1}, "below 1 with the optimizer adam"),
        ({"optimizer": "SGD", "momentum": 0}, "above 0 with the optimizer SGD"),
        ({"optimizer": "SGD", "momentum": 1}, ""),
        ({"momentum": 0}, ""),
    ],
)
def test_momentum_is_one_that_the_optimizer_takes(options: dict[str, object], words: str) -> None:
    """Momentum out of the optimizer's range is refused before the training."""
    settings = train_ultralytics.Settings(epochs=1, options=options)
    problems = train_ultralytics._check_settings(settings, "detect")
    assert [words] * bool(words) == [
        problem.message.removeprefix("`momentum` is ").partition(",")[0] for problem in problems
    ]


def test_what_the_trainer_refuses_names_the_options() -> None:
    """Errors before the first epoch name the options; later errors are reported unchanged."""
    with (
        pytest.raises(StepError) as told,
        train_ultralytics._setting_up({"freeze": 99, "box": 1.5}),
    ):
        raise RuntimeError("froze the entire model\nReduce it")
    assert str(told.value) == (
        "Ultralytics cannot set up a training with the train.options freeze: 99, box: 1.5:"
        " froze the entire model"
    )
    with pytest.raises(RuntimeError, match="a fault"):
        _fail_once_it_trains()


def _fail_once_it_trains() -> None:
    with train_ultralytics._setting_up({"freeze": 99}) as started:
        started(None)
        raise RuntimeError("a fault")


def test_null_turns_a_setting_off_where_the_trainer_takes_that() -> None:
    """`null` turns a setting off if the trainer allows it, such as `auto_augment: null`."""
    assert ultralytics_options.check({"auto_augment": None}, "classify") == []
    (problem,) = ultralytics_options.check({"optimizer": None}, "detect")
    assert problem.message == "`optimizer` is text, not null"
