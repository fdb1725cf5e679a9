"""The parity ladder of one build: what each form of the network answers to the same pictures. Pure.

checkpoint → ONNX → float TFLite → the file that ships → TFLite Micro → the firmware's decoder.
"""

import dataclasses
from typing import Any

from buildsys.authoring.recipes.families import step_for
from buildsys.authoring.recipes.recipe import CALIBRATED
from buildsys.graph import Input
from buildsys.planning.plan_builder import Blueprint, output
from buildsys.registry import step_module
from buildsys.spec import Format, Quantization

_BOXES = ("detect", "pose")
"""Tasks whose detections are compared, too; of the others the outputs alone."""
PICTURES = 20
"""Of the split that is measured on: enough for figures, few enough for TFLite Micro's plain kernels."""


def judge_parity(blue: Blueprint) -> None:
    """Recordings of every form that the build makes, and the verdict over them."""
    if Format.TFLITE not in blue.made or blue.model.preprocessing is None:
        return
    pictures = probe(blue)
    recordings: dict[str, Input] = {}
    if Format.CHECKPOINT in blue.made:
        _record(blue, recordings, "checkpoint", blue.made[Format.CHECKPOINT], pictures)
    if Format.ONNX in blue.made:
        _record(blue, recordings, "onnx", blue.made[Format.ONNX], pictures)
    float_file = _float_file(blue)
    if float_file is not None:
        _record(blue, recordings, "float-tflite", float_file, pictures)
    _record(blue, recordings, "tflite", blue.made[Format.TFLITE], pictures)
    if runs_on_micro(blue):
        _record_tflm(blue, recordings, pictures)
    if len(recordings) < 2 and not _decoder(blue):
        return
    blue.judge("parity", step_module("compare_recordings"), _params(blue), recordings)


def runs_on_micro(blue: Blueprint) -> bool:
    """Whether TFLite Micro runs the file in the end, on the CPU or around an NPU's operator."""
    target = blue.build.target
    return blue.model.quantization.scheme == "int8" and (
        target.vela is not None or target.flash is not None
    )


def _params(blue: Blueprint) -> Any:
    return step_module("compare_recordings").Params(decoder=_decoder(blue), **reading(blue))


def reading(blue: Blueprint) -> dict[str, Any]:
    """How two forms of the network are read to be compared."""
    model = blue.model
    return {
        "head": model.head if model.outputs and model.task in _BOXES else "none",
        "classes": len(model.classes),
        "keypoints": model.keypoints,
        "keypoint_dims": model.keypoint_dims,
        "preprocessing": model.preprocessing,
        "scheme": model.quantization.scheme,
        "trained": model.trained,
    }


def _decoder(blue: Blueprint) -> str:
    contract = blue.build.contract
    known = contract is not None and contract.decoder is not None and bool(blue.model.outputs)
    return str(contract.decoder) if contract is not None and known else ""


def probe(blue: Blueprint) -> Input | None:
    """Pictures of the split that accuracy is measured on; else those that calibrate; else none."""
    recipe, facts = blue.build.recipe, blue.build.dataset
    split = recipe.evaluate.split
    places = facts.split(split) if facts is not None and recipe.evaluate.measure else None
    if not places or "dataset" not in blue.made:
        return blue.made.get("calibration") or blue.made.get("samples")
    module = step_module("prepare_pictures")
    params = module.Params(
        split=module.Split(name=split, paths=places),
        count=PICTURES,
        seed=0,
        preprocessing=blue.model.preprocessing,
    )
    inputs = {"dataset": blue.made["dataset"]}
    step = blue.add("probe", module, params, inputs, {Format.PICTURES: True})
    blue.made["probe"] = output(step, Format.PICTURES)
    return blue.made["probe"]


def _float_file(blue: Blueprint) -> Input | None:
    """The same network as float TFLite, where the file that ships is quantized from it."""
    saved = blue.made.get(Format.SAVED_MODEL)
    if saved is None or blue.model.quantization.scheme == "float32":
        return None
    module = step_module("convert_tflite")
    exact = Quantization(scheme="float32", granularity="per-channel", io="float32")
    params = module.plan(
        module.Settings(), dataclasses.replace(blue.model, quantization=exact), blue.board
    )
    inputs: dict[str, Input] = {Format.SAVED_MODEL: saved}
    inputs |= {"samples": blue.made["samples"]} if "samples" in blue.made else {}
    step = blue.add("float", module, params, inputs, {Format.TFLITE: False})
    return output(step, Format.TFLITE)


def _record(
    blue: Blueprint, recordings: dict[str, Input], form: str, model: Input, pictures: Input | None
) -> None:
    kind = "tflite" if form.endswith("tflite") else form
    module = step_for("record", kind, blue.model.family)
    if module is None:
        return
    integers = form == "tflite" and blue.model.quantization.scheme in CALIBRATED
    own: dict[str, Any] = {"tflite": {"reference_kernels": integers}}.get(kind, {})
    names = _names(blue, form)
    if form == Format.CHECKPOINT:
        params = module.plan(blue.model, names, PICTURES)
    else:
        params = module.Params(
            names=names, count=PICTURES, preprocessing=blue.model.preprocessing, **own
        )
    inputs = {kind: model} | ({"pictures": pictures} if pictures else {})
    step = blue.add(f"record-{form}", module, params, inputs, {Format.RECORDING: False})
    recordings[form] = blue.made[f"recording-{form}"] = output(step, Format.RECORDING)


def _record_tflm(blue: Blueprint, recordings: dict[str, Input], pictures: Input | None) -> None:
    module = step_module("record_tflm")
    params = module.Params(
        names=_names(blue, "tflm"), count=PICTURES, preprocessing=blue.model.preprocessing
    )
    inputs: dict[str, Input] = {Format.TFLITE: blue.made[Format.TFLITE]}
    inputs |= {"pictures": pictures} if pictures else {}
    step = blue.add("tflm", module, params, inputs, {Format.RECORDING: False, "arena": False})
    recordings["tflm"] = output(step, Format.RECORDING)
    blue.made["arena"] = output(step, "arena")


def _names(blue: Blueprint, form: str) -> tuple[str, ...]:
    """Canonical names: in file order for TFLite, whose order the firmware's contract decides."""
    names = tuple(tensor.name for tensor in blue.model.outputs)
    bound = form in ("tflite", "tflm") and set(blue.board.output_order) == set(names)
    return blue.board.output_order if bound else names
