"""Check that the outputs of a given file are those that the plan has, and those of a classifier
probabilities where the decoder reads probabilities.

A plan is made before a file with a `url` exists, and the shapes of an ONNX file may be open. Steps
that find outputs by their position would take one for another.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.spec import Format, Preprocessing, Resources, StepSpec
from buildsys.steps.lib.files import onnx_header, tflite_rounding
from buildsys.steps.lib.heads import given_outputs
from buildsys.steps.lib.heads.classifier_values import explain_logits
from buildsys.steps.lib.heads.output_names import assign

if TYPE_CHECKING:
    import numpy as np

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.ONNX, Format.TFLITE),
    produces=Format.VERDICT,
    resources=Resources(memory_mib=1000),
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """The network that the recipe describes, and its outputs' names in the order of the plan.

    `by_order`: whether a step finds outputs by their position alone; `fetched`: whether the file has
    a `url`.
    """

    head: str
    task: str
    classes: int
    keypoints: int
    keypoint_dims: int
    preprocessing: Preprocessing
    order: tuple[str, ...]
    by_order: bool
    fetched: bool


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Check the file; `inputs` has either `onnx` or `tflite`."""
    problem = _find_problem(inputs, params)
    verdict = {"passed": not problem, "failures": [f"the file {problem}"] if problem else []}
    outputs["verdict"].write_text(json.dumps(verdict, indent=1) + "\n", encoding="utf-8")


def _find_problem(inputs: dict[str, Path], params: Params) -> str:
    frame, answers = params.preprocessing, _run(inputs, params.preprocessing)
    answer = answers[0]
    found = [(name, value.shape) for name, value in answer.items()]
    counts = (params.classes, params.keypoints, params.keypoint_dims)
    wanted = given_outputs.expect(
        found, params.head, (frame.height, frame.width), counts, params.task
    )
    if problem := given_outputs.find_problem(wanted, found, params.by_order):
        return problem
    names = given_outputs.find_order(wanted, found, params.order, params.by_order)
    if names:
        cure = "give it by `path`" if params.fetched else "export it with fixed shapes"
        return (
            f"has its outputs in the order {', '.join(names)}, but the plan, which was made without"
            f" them, has {', '.join(params.order)}: {cure}, where any order is accepted"
        )
    named = dict(zip(assign(wanted, found) or answer, answer.values(), strict=True))
    if given_outputs.has_pixel_keypoints(named, params.head, params.classes, params.keypoint_dims):
        return f"{given_outputs.PIXEL_KEYPOINTS}: {given_outputs.PIXEL_KEYPOINTS_CURE}"
    return _explain_logits(answers, inputs, params) if len(named) == 1 else ""


def _explain_logits(
    answers: "list[dict[str, np.ndarray]]", inputs: dict[str, Path], params: Params
) -> str:
    """Return why the values of a classifier are not probabilities; "" if they are."""
    if params.order != given_outputs.CLASSIFIED[0]:
        return ""
    rows = [next(iter(answer.values())).reshape(-1).tolist() for answer in answers]
    if Format.ONNX in inputs:
        steps = onnx_header.read_header(inputs[Format.ONNX]).steps
    else:
        steps = tflite_rounding.read_steps(inputs[Format.TFLITE])
    return explain_logits(rows, steps[0])


def _run(inputs: dict[str, Path], frame: Preprocessing) -> "list[dict[str, np.ndarray]]":
    """Return the outputs for each synthetic image, in the order of the file."""
    from buildsys.steps.lib.images import prepared_images
    from buildsys.steps.lib.networks import litert, onnx_session

    pictures = prepared_images.load(None, frame)
    if Format.ONNX in inputs:
        ask = onnx_session.network(inputs[Format.ONNX])
    else:
        ask = litert.Runner(inputs[Format.TFLITE])
    return [ask(picture) for picture in pictures]
