"""Check that an ONNX file of lower precision keeps the signal of the float file (signal check).

Both files run on the same few images. The file is rejected if outputs are constant in it alone, or
keep too little of the float file's signal. It takes a second, before minutes go into building an
engine.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.spec import STRIDE_SETS, Format, Preprocessing, Resources, StepSpec

if TYPE_CHECKING:
    from buildsys.steps.lib.parity.parity_ladder import Ladder, Rung
    from buildsys.steps.lib.parity.recording_files import Recording

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.QUANTIZED_ONNX,),
    produces=Format.VERDICT,
    also_produces=(Format.EVIDENCE,),
    resources=Resources(memory_mib=1000),
)
_FORMS = (Format.ONNX, Format.QUANTIZED_ONNX)
_MORE_DIGITS = "keep more digits (`scheme: float16`)"
_TRAIN_LONGER = (
    "train longer, because the outputs hardly vary, by a few steps of float16; or keep float32"
)
_FEW_STEPS = 10
"""Steps of float16 in an output's standard deviation, below which rounding alone is seen: those of trained
networks are hundreds.
"""
_NO_OVERFLOW = "look for a division or an exponential that overflows in float16; keep float32"


@dataclass(frozen=True, kw_only=True)
class Params:
    """How to read the outputs: canonical `names`, `head` as in ModelSpec (none: not decoded).

    `scheme` float16 | int8; `count`: number of images. `trained`: False for random weights, which
    are only checked for finite numbers.
    """

    names: tuple[str, ...]
    head: str
    classes: int
    keypoints: int
    keypoint_dims: int
    preprocessing: Preprocessing
    scheme: str
    trained: bool
    count: int


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Check. `inputs`: onnx, quantized-onnx, and optionally pictures.

    `outputs`: verdict, only the result and its reason, because an engine's key depends on it and
    figures differ slightly between machines; evidence, the verdict with its figures.
    """
    forms = {str(name): _answer(inputs, name, params) for name in _FORMS}
    rung = climb(forms, params)
    failures = [f"{rung.title}: {text}" for text in rung.failures]
    if params.trained and params.scheme == "int8":
        # one cause, one sentence: a constant output has no signal either
        failures = _standstill(forms, params) or failures
    verdict = {"passed": not failures, "failures": failures}
    evidence = {
        **verdict,
        "pictures": len(forms[Format.ONNX][0].values),
        "first_failing": rung.title if failures else None,
        "rungs": [{**rung.as_json(), "passed": not failures}],
    }
    for name, content in (("verdict", verdict), ("evidence", evidence)):
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        outputs[name].write_text(text, encoding="utf-8")


def _answer(inputs: dict[str, Path], form: str, params: Params) -> "Recording":
    """Return the outputs of one of the files for the images, by canonical names."""
    from buildsys.steps.lib.networks import onnx_session
    from buildsys.steps.lib.parity import recording_files

    network = onnx_session.network(inputs[form])
    answers = []
    for picture in recording_files.pictures(
        inputs.get("pictures"), params.preprocessing, params.count
    ):
        values = network(picture)
        names = recording_files.name_outputs(list(values), params.names, inputs[form])
        answers.append(
            tuple(
                recording_files.Output(name=name, values=value)
                for name, value in zip(names, values.values(), strict=True)
            )
        )
    return recording_files.gather(answers)


def climb(forms: "dict[str, Recording]", params: Params) -> "Rung":
    """Return the comparison of both files, with the advice that suits its failures."""
    cure = _NO_OVERFLOW
    if params.scheme == "int8":
        from buildsys.steps.lib.parity import output_figures

        cure = f"{output_figures.CALIBRATE}; or {_MORE_DIGITS}"
    (rung,) = _ladder(params, cure).climb(forms)
    if params.scheme == "float16" and rung.failures and _hardly_vary(forms, rung, params):
        (rung,) = _ladder(params, _TRAIN_LONGER).climb(forms)
    return rung


def _hardly_vary(forms: "dict[str, Recording]", rung: "Rung", params: Params) -> bool:
    """Return whether the outputs that failed are finite, and vary by a few steps of float16 in the
    float file.
    """
    import numpy as np

    from buildsys.steps.lib.parity import output_parts

    reduced = {output.name: output for output in forms[Format.QUANTIZED_ONNX]}
    failed = {name for name, figure in rung.outputs.items() if not figure.passed}
    for output in forms[Format.ONNX]:
        parts = output_parts.split(output.name, output.values, params.classes, params.keypoints)
        for part in (part for part in parts if part.name in failed):
            step = float(np.spacing(np.float16(min(np.abs(part.values).max(), 60000.0))))
            if not part.values.std() < _FEW_STEPS * step:
                return False
            if not np.isfinite(reduced[output.name].values).all():
                return False
    return bool(failed)


def _ladder(params: Params, cure: str) -> "Ladder":
    from buildsys.steps.lib.firmware import output_layout
    from buildsys.steps.lib.parity import parity_ladder

    network = output_layout.Network(
        height=params.preprocessing.height,
        width=params.preprocessing.width,
        classes=params.classes,
        keypoints=params.keypoints,
        keypoint_dims=params.keypoint_dims,
    )
    return parity_ladder.Ladder(
        head=params.head,
        network=network,
        scheme=params.scheme,
        trained=params.trained,
        cure=cure,
    )


def _standstill(forms: "dict[str, Recording]", params: Params) -> list[str]:
    """Return sentences for parts of outputs that are the same in every cell here but not in the
    float file.
    """
    from buildsys.steps.lib.heads.formulas import count_cells
    from buildsys.steps.lib.parity import output_figures, output_parts, signal

    frame, problems = params.preprocessing, []
    cells = [count_cells(frame.height, frame.width, strides) for strides in STRIDE_SETS]
    whole, reduced = ({o.name: o for o in forms[name]} for name in _FORMS)
    for name, output in reduced.items():
        if output.values.ndim != 3 or name not in whole:
            continue
        axis = 2 if output.values.shape[2] in cells else 1
        sides = (
            output_parts.split(name, o.values, params.classes, params.keypoints)
            for o in (whole[name], output)
        )
        for before, after in zip(*sides, strict=True):
            cure = f"{_MORE_DIGITS}; or {output_figures.CALIBRATE}"
            still = signal.standstill(after.name, after.values, axis, cure)
            if not signal.standstill(before.name, before.values, axis):
                problems += still
    return problems
