"""The parity ladder of one build: the outputs of every form of the network for the same images.

Pure. checkpoint → ONNX → float TFLite → the file that ships → TFLite Micro → the firmware's
decoder; without ONNX where torch is converted to TFLite at once.
"""

from buildsys.authoring.recipes.families import step_for
from buildsys.authoring.recipes.model import on_reference_kernels, runs_on_micro
from buildsys.graph import Input
from buildsys.planning.plan_builder import PlanBuilder
from buildsys.planning.plan_steps import output
from buildsys.registry import read_step
from buildsys.spec import Format, Intermediate
from buildsys.steps import (
    allocate_tflm,
    compare_recordings,
    prepare_pictures,
    record_tflm,
)
from buildsys.steps.bind_outputs import bound_order
from buildsys.steps.lib.datasets.ultralytics_layout import Split
from buildsys.steps.lib.heads.bound_names import names_in_order

_BOXES = ("detect", "pose")
"""Tasks whose detections are compared as well; for the others, only the outputs."""
IMAGES = 20
"""Images of the split that is measured on: enough for figures, few enough for TFLite Micro's plain
kernels.
"""


def judge_parity(builder: PlanBuilder) -> None:
    """Add recordings of every form that the build makes, and the verdict over them."""
    if Format.TFLITE not in builder.artifacts or builder.model.preprocessing is None:
        return
    images = probe(builder)
    recordings: dict[str, Input] = {}
    if Format.CHECKPOINT in builder.artifacts:
        _record(builder, recordings, "checkpoint", builder.artifacts[Format.CHECKPOINT], images)
    if Format.ONNX in builder.artifacts:
        _record(builder, recordings, "onnx", builder.artifacts[Format.ONNX], images)
    float_file = _float_file(builder)
    if float_file is not None:
        _record(builder, recordings, "float-tflite", float_file, images)
    _record(builder, recordings, "tflite", builder.artifacts[Format.TFLITE], images)
    if _is_recorded_on_micro(builder):
        _record_tflm(builder, recordings, images)
    if len(recordings) < 2 and not _decoder(builder):
        return
    params = reading(builder)
    builder.judge("parity", read_step(compare_recordings), params, recordings)


def _is_recorded_on_micro(builder: PlanBuilder) -> bool:
    """Return whether TFLite Micro's outputs are a rung: integers are equal there, bit for bit."""
    return runs_on_micro(builder.build) and builder.model.quantization.scheme == "int8"


def judge_allocation(builder: PlanBuilder) -> None:
    """Add TFLite Micro's own verdict on a file that is not recorded there."""
    if not runs_on_micro(builder.build) or Format.TFLITE not in builder.artifacts:
        return
    if _is_recorded_on_micro(builder) and builder.model.preprocessing is not None:
        return
    inputs: dict[str, Input] = {Format.TFLITE: builder.artifacts[Format.TFLITE]}
    step = builder.judge("tflm", read_step(allocate_tflm), allocate_tflm.Params(), inputs)
    builder.artifacts["arena"] = output(step, Format.VERDICT)


def reading(builder: PlanBuilder) -> compare_recordings.Params:
    """Return how forms of the network are compared, if there is an image to compare on."""
    model = builder.model
    assert model.preprocessing is not None
    return compare_recordings.Params(
        head=model.head if model.outputs and model.task in _BOXES else "none",
        classes=len(model.classes),
        keypoints=model.keypoints,
        keypoint_dims=model.keypoint_dims,
        preprocessing=model.preprocessing,
        scheme=model.quantization.scheme,
        trained=model.trained,
        decoder=_decoder(builder),
    )


def _decoder(builder: PlanBuilder) -> str:
    contract = builder.build.contract
    known = contract is not None and contract.decoder is not None and bool(builder.model.outputs)
    return str(contract.decoder) if contract is not None and known else ""


def probe(builder: PlanBuilder) -> Input | None:
    """Return images of the split that accuracy is measured on, otherwise calibration images, or
    None.
    """
    recipe, facts = builder.build.recipe, builder.build.dataset
    split = recipe.evaluate.split
    places = facts.split(split) if facts is not None and recipe.evaluate.measure else None
    frame = builder.model.preprocessing
    if not places or "dataset" not in builder.artifacts or frame is None:
        return builder.artifacts.get("calibration") or builder.artifacts.get("samples")
    params = prepare_pictures.Params(
        split=Split(name=split, paths=places),
        count=IMAGES,
        seed=0,
        preprocessing=frame,
    )
    inputs = {"dataset": builder.artifacts["dataset"]}
    step = builder.add("probe", read_step(prepare_pictures), params, inputs)
    builder.artifacts["probe"] = output(step, Format.PICTURES)
    return builder.artifacts["probe"]


def _float_file(builder: PlanBuilder) -> Input | None:
    """Return the same network as float TFLite, if the shipped file is quantized from it."""
    if builder.model.quantization.scheme == "float32":
        return None
    return builder.artifacts.get(Intermediate.FLOAT_TFLITE)


def _record(
    builder: PlanBuilder,
    recordings: dict[str, Input],
    form: str,
    model: Input,
    images: Input | None,
) -> None:
    kind = "tflite" if form.endswith("tflite") else form
    definition = step_for("record", kind, builder.model.family)
    if definition is None:
        return
    reference = form == "tflite" and on_reference_kernels(builder.build)
    own = {"reference_kernels": reference} if kind == "tflite" else {}
    names = _names(builder, form)
    if form == Format.CHECKPOINT:
        settings = definition.settings(names=names, count=IMAGES)
        params = definition.plan(settings, builder.model, builder.board)
    else:
        params = definition.params(
            names=names, count=IMAGES, preprocessing=builder.model.preprocessing, **own
        )
    inputs = {kind: model} | ({"pictures": images} if images else {})
    step = builder.add(f"record-{form}", definition, params, inputs)
    recordings[form] = builder.artifacts[f"recording-{form}"] = output(step, Format.RECORDING)


def _record_tflm(builder: PlanBuilder, recordings: dict[str, Input], images: Input | None) -> None:
    frame = builder.model.preprocessing
    assert frame is not None
    params = record_tflm.Params(names=_names(builder, "tflm"), count=IMAGES, preprocessing=frame)
    inputs: dict[str, Input] = {Format.TFLITE: builder.artifacts[Format.TFLITE]}
    inputs |= {"pictures": images} if images else {}
    step = builder.add("tflm", read_step(record_tflm), params, inputs)
    recordings["tflm"] = output(step, Format.RECORDING)
    builder.artifacts["arena"] = output(step, "arena")


def _names(builder: PlanBuilder, form: str) -> tuple[str, ...]:
    """Return canonical names of outputs: in file order for TFLite, as the firmware's contract
    decides.
    """
    order = bound_order(builder.board) if form in ("tflite", "tflm") else ()
    return names_in_order(builder.model, order)
