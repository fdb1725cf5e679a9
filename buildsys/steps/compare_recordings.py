"""Compare recordings of one network in all its forms (the parity ladder), and report the first rung
that fails.

Checkpoint → ONNX → float TFLite → quantized TFLite (on the kernels that accuracy is measured
on) → TFLite Micro → the firmware's decoder. Limits and their reasons: `tolerances`.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import Format, Preprocessing, StepSpec
from buildsys.steps.lib.runtime.progress import fail

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.RECORDING,),
    produces=Format.VERDICT,
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """How to read the outputs. `head`: as in `ModelSpec.head`. `scheme`: that of the file `tflite`.

    `decoder`: himax-od | himax-pose | sscma-yolov8 | sscma-world | sscma-pose, or empty if no
    firmware decodes; `trained`: False for random weights, whose quantization is not judged.
    """

    head: str
    classes: int
    keypoints: int
    keypoint_dims: int
    preprocessing: Preprocessing
    scheme: str
    trained: bool
    decoder: str = ""


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Compare. `inputs`: recordings, any of checkpoint, onnx, float-tflite, tflite, tflm."""
    from buildsys.steps.lib.firmware import output_layout
    from buildsys.steps.lib.parity import parity_ladder, recording_files

    if params.decoder and params.decoder not in output_layout.DECODERS:
        known = ", ".join(output_layout.DECODERS)
        fail(f"there is no firmware decoder `{params.decoder}`; there are {known}.")
    recordings = {
        form: recording_files.load(inputs[form]) for form in parity_ladder.ORDER if form in inputs
    }
    counts = {form: len(recording[0].values) for form, recording in recordings.items()}
    if len(set(counts.values())) != 1:
        fail(f"the recordings are not of the same images: {counts}")
    network = output_layout.Network(
        height=params.preprocessing.height,
        width=params.preprocessing.width,
        classes=params.classes,
        keypoints=params.keypoints,
        keypoint_dims=params.keypoint_dims,
    )
    ladder = parity_ladder.Ladder(
        head=params.head,
        network=network,
        scheme=params.scheme,
        trained=params.trained,
        decoder=params.decoder,
    )
    rungs = ladder.climb(recordings)
    failing = [rung.title for rung in rungs if rung.failures]
    verdict = {
        "passed": not failing,
        "failures": [f"{rung.title}: {text}" for rung in rungs for text in rung.failures],
        "pictures": next(iter(counts.values())),
        "first_failing": failing[0] if failing else None,
        "rungs": [rung.as_json() for rung in rungs],
    }
    text = json.dumps(verdict, indent=1, ensure_ascii=False) + "\n"
    outputs["verdict"].write_text(text, encoding="utf-8")
