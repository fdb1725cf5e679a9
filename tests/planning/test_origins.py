"""How reasons name the parameters of steps: by the line that sets them, or in words."""

import pytest

from buildsys.planning.origins import find_origins

PLACES = {
    "quantization.calibration.split": ("recipes/a.yaml", 4),
    "evaluate.split": ("recipes/a.yaml", 5),
    "dataset.split.val": ("recipes/a.yaml", 6),
    "input.size": ("recipes/a.yaml", 7),
    "train.flip": ("recipes/a.yaml", 8),
}


@pytest.mark.parametrize(
    ("stage", "block", "params", "label", "line"),
    [
        ("split", "dataset.split", {"description": {"classes": ["a"]}}, "the dataset's classes", 0),
        ("prepare", "dataset", {"classes": ["a"]}, "the dataset's classes", 0),
        ("prepare", "dataset", {"splits": []}, "the dataset's folders", 0),
        ("evaluate-onnx", "", {"classes": ["a"]}, "the network's classes", 0),
        ("drawings", "", {"reading": {"keypoints": 4}}, "the network's number of keypoints", 0),
        (
            "contract",
            "",
            {"contract": {"input_dtype": "int8"}},
            "input dtype of the firmware's contract",
            0,
        ),
        ("split", "dataset.split", {"val": 0.2}, "dataset.split.val", 6),
        ("calibration", "", {"split": {"name": "val"}}, "quantization.calibration.split", 4),
        ("samples", "", {"split": {"name": "val"}}, "quantization.calibration.split", 4),
        ("samples", "", {"count": 8}, "samples.count", 0),
        ("evaluate-onnx", "", {"split": {"name": "val"}}, "evaluate.split", 5),
        ("drawings", "", {"reading": {"preprocessing": {"height": 96}}}, "input.size", 7),
        ("train", "train", {"flip": 0.5}, "train.flip", 8),
    ],
)
def test_a_parameter_is_named_by_its_line_or_in_words(
    stage: str, block: str, params: object, label: str, line: int
) -> None:
    """What no line sets is named in words, never by a path inside a step's parameters."""
    (origin,) = find_origins(stage, block, params, PLACES)
    assert (origin.label, origin.line) == (label, line)


@pytest.mark.parametrize("stage", ["samples", "calibration"])
def test_images_of_a_pattern_are_named_by_the_pattern_s_line(stage: str) -> None:
    """`images` is written instead of `split`; the line of `evaluate.split` is not blamed."""
    places = {"quantization.calibration.images": ("recipes/a.yaml", 4), "evaluate.split": ("b", 5)}
    (origin,) = find_origins(stage, "", {"split": {"name": "data/*.jpg"}}, places)
    assert (origin.label, origin.line) == ("quantization.calibration.images", 4)
