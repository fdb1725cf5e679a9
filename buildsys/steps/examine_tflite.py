"""Check that quantization kept the signal of a TFLite file, with two images, before accuracy is
measured.

It finds scores that share a scale with pixel values, constant outputs and saturated outputs, and
names what to do. It runs on LiteRT's optimized kernels, in well under a second for small networks.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import Format, Resources, StepSpec
from buildsys.steps.lib.heads.branches import usual
from buildsys.steps.lib.runtime.progress import StepError

if TYPE_CHECKING:
    from buildsys.steps.lib.files.tflite import Tensor
    from buildsys.steps.lib.parity.recording_files import Output
    from buildsys.steps.lib.parity.signal import Edge

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.TFLITE,),
    produces=Format.VERDICT,
    resources=Resources(memory_mib=500),
)
_PICTURES = 2


@dataclass(frozen=True, kw_only=True)
class Params:
    """`classes`: splits a joint output, 0 if unknown. `trained`: False for random weights, whose
    scores are nearly constant: only scales and finite numbers are checked. `head`: as in
    `ModelSpec.head`, for the advice. `described`: False for a given file without a description of
    its outputs, which LiteRT only has to run.
    """

    classes: int
    trained: bool
    head: str = ""
    described: bool = True


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Check. `inputs`: tflite, and optionally pictures."""
    from buildsys.steps.lib.files import tflite
    from buildsys.steps.lib.parity import output_figures, signal

    file = tflite.read(inputs["tflite"])
    edges = tuple(_edge(tensor) for tensor in file.outputs)
    sides = [side for edge in edges for side in edge.shape]
    cells = _cells(file.inputs[0].shape, sides) if file.inputs else 0
    try:
        answers, failed = _answer(inputs), []
    except StepError as error:
        answers, failed = (), [str(error)]
    joint = signal.joint(edges, cells) if params.described else ()
    cure = output_figures.head_cure(usual(params.head))
    problems = failed + (signal.shared_scale(edges, cells, cure) if params.described else [])
    rows = []
    for place, edge in enumerate(edges):
        row: dict[str, Any] = {"name": edge.name, "dtype": edge.dtype, "scale": edge.scale}
        if edge in joint and edge.scale:
            row["score_steps"] = round(1 / edge.scale, 1)
        if answers:
            failures, figures = _examine(edge, answers[place], edge in joint, cells, params)
            row |= figures
            # one cause, one sentence: with such a scale the scores are constant, too
            known = (problems and edge in joint) or not params.described
            problems += [] if known else failures
        rows.append(row)
    verdict = {
        "passed": not problems,
        "failures": problems,
        "pictures": len(answers[0].values) if answers else 0,
        "outputs": rows,
    }
    outputs["verdict"].write_text(json.dumps(verdict, indent=1) + "\n", encoding="utf-8")


def _edge(tensor: "Tensor") -> "Edge":
    from buildsys.steps.lib.parity import signal

    scale = tensor.scales[0] if tensor.scales and "int" in tensor.dtype else None
    return signal.Edge(name=tensor.name, shape=tensor.shape, dtype=tensor.dtype, scale=scale)


def _cells(image: tuple[int, ...], sides: list[int]) -> int:
    """Return the number of cells of all strides for an input [1, height, width, channels]; 0 for
    any other input.

    `sides`: the axis lengths of the outputs, which identify networks with an additional grid.
    """
    from buildsys.steps.lib.heads.formulas import count_cells, find_strides

    if len(image) != 4:
        return 0
    _, height, width, _ = image
    return count_cells(height, width, find_strides(sides, (), height, width))


def _answer(inputs: dict[str, Path]) -> "tuple[Output, ...]":
    """Return the outputs for the first images; without images only load the file.

    Raises StepError if LiteRT cannot load it.
    """
    import numpy as np

    from buildsys.steps.lib.networks import litert_raw
    from buildsys.steps.lib.parity import recording_files

    model = litert_raw.Raw(inputs["tflite"])
    if "pictures" not in inputs:
        return ()
    pictures = np.load(inputs["pictures"] / "pictures.npy", mmap_mode="r")[:_PICTURES]
    return recording_files.gather(
        [tuple(model.answer(np.asarray(p), model.names)) for p in pictures]
    )


def _examine(
    edge: "Edge", output: "Output", joint: bool, cells: int, params: Params
) -> tuple[list[str], dict[str, Any]]:
    """Return what is wrong with one output of the file, as sentences, and its figures."""
    import numpy as np

    from buildsys.steps.lib.parity import output_figures, signal

    values, cure = output.values, output_figures.still_cure(usual(params.head))
    problems = signal.not_numbers(edge.name, values)
    share, full = signal.saturated(edge.name, values)
    figures = {"distinct_values": len(np.unique(values)), "saturated": round(share, 4)}
    if problems or not params.trained or values.ndim != 3:
        return problems, figures
    # Probabilities are 0 wherever nothing is detected: that is not an error, and two images may
    # well show nothing.
    whole = edge.scale is not None and 0.9 < edge.scale * 255 < 1.1
    probabilities = whole or edge.name in output_figures.PROBABILITIES
    if joint:
        rows = values if values.shape[2] == cells else values.transpose(0, 2, 1)
        objectness = output_figures.has_objectness(values.shape, params.classes)
        end = 4 + objectness + params.classes if params.classes else None
        boxes = signal.standstill(f"{edge.name} (boxes)", rows[:, :4], 2, cure)
        scores = signal.standstill(f"{edge.name} (scores)", rows[:, 4:end], 2, cure)
        return boxes + ([] if probabilities else scores), figures
    if probabilities:
        return [], figures
    axis = 2 if values.shape[2] == cells else 1
    still = signal.standstill(edge.name, values, axis, cure)
    return still + ([] if still else full), figures
