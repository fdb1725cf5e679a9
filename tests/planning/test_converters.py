"""The second converter in plans: environments, shared steps, targets without a converter."""

from pathlib import Path

import pytest

from tests.authoring.sample_workspace import (
    ONNX,
    TRAINED,
    by_stage,
    plan_all,
    plan_good,
    write_recipe,
)

_BOTH = "matrix: {convert.tool: [onnx2tf, onnx-tf]}\n"


@pytest.mark.parametrize("tool", ["onnx2tf", "onnx-tf"])
def test_every_step_in_tensorflow_runs_where_its_converter_does(workspace: Path, tool: str) -> None:
    """Every step that uses TensorFlow runs in its converter's environment."""
    write_recipe(workspace, "tags", TRAINED + f"convert: {{tool: {tool}}}\n")
    stages = by_stage(plan_good(workspace)["tags@xiao-esp32s3"])
    assert stages["convert"].module == f"convert_{tool.replace('-', '_')}"
    assert {stages[stage].tool_env for stage in ("convert", "quantize")} == {tool}


def test_onnx2tf_is_the_default(workspace: Path) -> None:
    """Naming the default converter, onnx2tf, changes nothing."""
    write_recipe(workspace, "plain", TRAINED)
    write_recipe(workspace, "written", TRAINED + "convert: {tool: onnx2tf}\n")
    plans = plan_good(workspace)
    ids = [
        {step.id for step in plans[f"{name}@xiao-esp32s3"].steps if step.stage != "package"}
        for name in ("plain", "written")
    ]
    assert ids[0] == ids[1]


def test_two_converters_side_by_side_share_what_goes_before(workspace: Path) -> None:
    """Two converters share training and export."""
    write_recipe(workspace, "tags", TRAINED + _BOTH)
    plans = plan_good(workspace)
    one, other = (by_stage(plans[f"tags-{tool}@xiao-esp32s3"]) for tool in ("onnx2tf", "onnx-tf"))
    shared = {stage for stage in one if one[stage].id == other[stage].id}
    assert {"train", "export", "samples", "calibration", "record-onnx"} <= shared
    assert not {"convert", "quantize", "bind", "parity", "package"} & shared


def test_a_saved_model_ships_as_it_is(workspace: Path) -> None:
    """A SavedModel package is published without conversion to TFLite and is subject to the gate."""
    recipe = TRAINED.replace("[grove-vision-ai-v2, xiao-esp32s3]", "[tensorflow-saved-model]")
    recipe = recipe.replace("scheme: int8", "scheme: float32") + "convert: {tool: onnx-tf}\n"
    write_recipe(workspace, "tags", recipe)
    plan = plan_good(workspace)["tags@tensorflow-saved-model"]
    stages = by_stage(plan)
    assert "quantize" not in stages
    assert plan.shipped is not None
    assert plan.shipped.step == stages["convert"].id
    assert stages["gate"].id in plan.verdicts


def test_torch_is_converted_without_onnx(workspace: Path) -> None:
    """No export, no TensorFlow: traced, converted and quantized, and the ladder has one rung fewer."""
    write_recipe(workspace, "tags", TRAINED + "convert: {tool: litert-torch}\n")
    stages = by_stage(plan_good(workspace)["tags@xiao-esp32s3"])
    chain = {stage: stages[stage].module for stage in ("trace", "convert", "quantize")}
    assert chain == {
        "trace": "trace_ultralytics",
        "convert": "convert_litert_torch",
        "quantize": "quantize_litert_torch",
    }
    assert not {"export", "evaluate-onnx", "record-onnx"} & set(stages)
    assert {item.name for item in stages["parity"].inputs} == {
        "checkpoint",
        "float-tflite",
        "tflite",
        "tflm",
    }
    assert stages["record-float-tflite"].inputs[0].step == stages["convert"].id
    assert {"gate", "contract", "bind", "drawings"} <= set(stages)


def test_all_schemes_of_a_network_share_one_conversion(workspace: Path) -> None:
    """What a scheme adds is its quantization; float32 is the converted file as it is."""
    recipe = TRAINED.replace("[grove-vision-ai-v2, xiao-esp32s3]", "[host]")
    recipe = recipe.replace("scheme: int8, ", "") + "convert: {tool: litert-torch}\n"
    matrix = "matrix: {quantization.scheme: [float32, float16, dynamic-range, int8, int16x8]}\n"
    write_recipe(workspace, "tags", recipe + matrix)
    plans = [by_stage(plan) for plan in plan_good(workspace).values()]
    assert len(plans) == 5
    assert len({stages["convert"].id for stages in plans}) == 1
    assert len({stages["quantize"].id for stages in plans}) == 5
    assert sum("record-float-tflite" in stages for stages in plans) == 4


def test_a_converter_without_effect_is_reported(workspace: Path) -> None:
    """A `converter` that the target does not use gives a warning."""
    recipe = ONNX.replace("ethos-u55-128-high-end", "checkpoint").replace("int8", "float32")
    write_recipe(workspace, "given", recipe + "convert: {tool: onnx-tf}\n")
    plans = plan_all(workspace)
    (told,) = [found for found in plans.diagnostics if "convert" in found.message]
    assert told.severity == "warning"
    assert told.message == "`convert` has no effect: no file is converted to TFLite for checkpoint"
    write_recipe(workspace, "given", recipe)
    assert not plan_all(workspace).diagnostics


def test_a_converter_of_some_targets_stands_in_their_entries(workspace: Path) -> None:
    """The hint beside an NVIDIA target leads to a recipe without a warning."""
    mixed = TRAINED.replace("[grove-vision-ai-v2, xiao-esp32s3]", "[host, ENGINE]")
    mixed = mixed.replace("ENGINE", "jetson-orin")
    write_recipe(workspace, "tags", mixed + "convert: {tool: litert-torch}\n")
    (told,) = [found for found in plan_all(workspace).diagnostics if "convert" in found.message]
    assert told.message == (
        "`convert` has no effect: no file is converted to TFLite for jetson-orin"
    )
    assert told.hint == (
        "write it in the entries of targets that take TFLite files; without any, remove it"
    )
    entry = "{target: host, convert: {tool: litert-torch}}"
    write_recipe(workspace, "tags", mixed.replace("[host,", f"[{entry},"))
    assert not plan_all(workspace).diagnostics
    assert by_stage(plan_good(workspace)["tags@host"])["convert"].module == "convert_litert_torch"
