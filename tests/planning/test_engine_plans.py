"""Engines in plans: the steps of each scheme, shared steps, the effect of an entry."""

import json
from pathlib import Path
from typing import Any

import pytest

from buildsys.graph import BuildPlan, Step
from tests.authoring.sample_workspace import TRAINED, by_stage, plan_good, write_recipe

_ENTRIES = """\
  - {target: nvidia-rtx-aot, as: single, quantization: {scheme: float32}}
  - {target: nvidia-rtx-aot, as: half, quantization: {scheme: float16}}
  - {target: nvidia-rtx-aot, as: whole}
"""


def _plans(workspace: Path, entries: str = _ENTRIES) -> dict[str, BuildPlan]:
    head = TRAINED.partition("targets:")[0]
    write_recipe(workspace, "tags", f"{head}targets:\n{entries}")
    return {build.split("@")[1]: plan for build, plan in plan_good(workspace).items()}


def _params(step: Step) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(step.params)
    return found


def _inputs(step: Step) -> set[str]:
    return {item.name for item in step.inputs}


def test_three_engines_come_from_one_export(workspace: Path) -> None:
    """Three precisions share training, export and float evaluation."""
    plans = _plans(workspace)
    for stage in ("train", "export", "evaluate-checkpoint", "evaluate-onnx"):
        assert len({by_stage(plan)[stage].id for plan in plans.values()}) == 1, stage
    assert len({by_stage(plan)["engine"].id for plan in plans.values()}) == 3


def test_float32_is_built_from_the_export_itself(workspace: Path) -> None:
    """A float32 engine is built from the export, without conversion or calibration images."""
    stages = by_stage(_plans(workspace)["single"])
    assert _inputs(stages["engine"]) == {"onnx"}
    assert not {"quantize", "calibration", "evaluate-quantized-onnx"} & stages.keys()


@pytest.mark.parametrize(("build", "pictures"), [("half", False), ("whole", True)])
def test_other_precisions_are_in_the_file(workspace: Path, build: str, pictures: bool) -> None:
    """float16 and int8 engines are built from converted files; only int8 uses calibration images."""
    stages = by_stage(_plans(workspace)[build])
    assert ("calibration" in _inputs(stages["quantize"])) is pictures
    assert _inputs(stages["engine"]) == {"quantized-onnx", "verdict-signal"}
    assert stages["engine"].tool_env == "tensorrt-rtx-1.7"
    assert _params(stages["quantize"])["granularity"] == ("per-channel" if pictures else "")


def test_the_file_before_the_engine_is_what_the_gate_judges(workspace: Path) -> None:
    """The gate judges the ONNX file from which the engine is built."""
    plan = _plans(workspace)["whole"]
    stages = by_stage(plan)
    measured = {item.name: item.step for item in stages["gate"].inputs}
    assert measured["metrics"] == stages["evaluate-quantized-onnx"].id
    assert measured["baseline"] == stages["evaluate-checkpoint"].id
    assert stages["evaluate-quantized-onnx"].module == "evaluate_onnx"
    assert "verdict-gate" in _inputs(stages["package"])
    assert plan.shipped is not None
    assert plan.shipped.name == "engine"
    assert any("Not verified: the engine itself" in note for note in plan.notes)


@pytest.mark.parametrize("build", ["half", "whole"])
def test_a_file_that_fails_the_signal_check_stops_before_the_engine(
    workspace: Path, build: str
) -> None:
    """The signal check comes before the engine and before the evaluation."""
    plan = _plans(workspace)[build]
    stages = by_stage(plan)
    judge = stages["signal"]
    assert _inputs(judge) == {"onnx", "quantized-onnx", "pictures"}
    assert judge.id in plan.verdicts
    assert "verdict" in _inputs(stages["evaluate-quantized-onnx"])
    assert "signal" not in by_stage(_plans(workspace)["single"])


def test_it_is_not_called_tensorrt(workspace: Path) -> None:
    """An engine of TensorRT-RTX is never labelled TensorRT."""
    plan = _plans(workspace)["whole"]
    told = " ".join((plan.label, *plan.notes, *(step.tool for step in plan.steps)))
    assert "TensorRT-RTX" in told
    assert "TensorRT" not in told.replace("TensorRT-RTX", "")


def test_an_entry_changes_the_engine_alone(workspace: Path) -> None:
    """An entry's GPU and workspace size change only the engine's step."""
    entries = """\
  - {target: nvidia-rtx-aot, as: any}
  - {target: nvidia-rtx-aot, as: ada, tensorrt: {compute_capability: "8.9"}}
  - {target: nvidia-rtx-aot, as: wide, tensorrt: {workspace_gib: 4}}
"""
    plans = _plans(workspace, entries)
    stages = {name: by_stage(plan) for name, plan in plans.items()}
    assert len({found["quantize"].id for found in stages.values()}) == 1
    assert len({found["evaluate-quantized-onnx"].id for found in stages.values()}) == 1
    assert len({found["engine"].id for found in stages.values()}) == 3
    assert _params(stages["ada"]["engine"])["compute_capability"] == "8.9"
    assert _params(stages["wide"]["engine"])["workspace_gib"] == 4
    (place,) = (o for o in stages["wide"]["engine"].origins if o.parameter == "workspace_gib")
    assert (place.label, place.path) == ("tensorrt.workspace_gib", "recipes/tags.yaml")


def test_what_int8_leaves_is_half_in_the_file_or_by_a_flag(workspace: Path) -> None:
    """Layers that int8 leaves out are float16 in the file or by a builder flag, depending on the
    TensorRT version; an explicit choice is kept.
    """
    entries = """\
  - {target: nvidia-a100, as: file}
  - {target: nvidia-a100, as: chosen, quantization: {unquantized: float32}}
  - {target: nvidia-a100, as: old, tensorrt: {version: "8.6"}}
  - {target: nvidia-a100, as: kept, quantization: {unquantized: float32}, tensorrt: {version: "8.6"}}
  - {target: jetson-orin, as: device, tensorrt: {int8: calibrator}}
  - {target: triton-onnx, as: served}
"""
    stages = {name: by_stage(plan) for name, plan in _plans(workspace, entries).items()}
    rest = {
        name: _params(made["quantize"])["unquantized"]
        for name, made in stages.items()
        if "quantize" in made and name != "device"
    }
    assert rest == {
        "file": "float16",
        "chosen": "float32",
        "old": "float32",
        "kept": "float32",
        "served": "float32",
    }
    flags = {
        name: _params(made["engine"])["half"] for name, made in stages.items() if "engine" in made
    }
    assert flags == {"file": False, "chosen": False, "old": True, "kept": False, "device": True}


def test_other_images_quantize_anew(workspace: Path) -> None:
    """Other calibration images quantize again."""
    first = by_stage(_plans(workspace)["whole"])
    head = TRAINED.partition("targets:")[0].replace("count: 1", "count: 2")
    write_recipe(workspace, "tags", f"{head}targets:\n{_ENTRIES}")
    second = by_stage(plan_good(workspace)["tags@whole"])
    changed = {stage for stage in first if first[stage].id != second[stage].id}
    assert changed == {
        "calibration",
        "quantize",
        "signal",
        "evaluate-quantized-onnx",
        "engine",
        "gate",
        "package",
        "overlap",
        "evaluate-engine",
    }


_BATCHES = """\
  - {target: nvidia-rtx-aot, as: one}
  - {target: nvidia-rtx-aot, as: four, export: {batch: 4}}
  - {target: nvidia-rtx-aot, as: some, export: {batch: {min: 1, opt: 8, max: 16}}}
  - {target: nvidia-rtx-aot, as: more, export: {batch: {min: 1, opt: 8, max: 32}}}
"""


def test_the_batch_is_the_engine_s_too(workspace: Path) -> None:
    """`export.batch` applies to the engine, too."""
    stages = {name: by_stage(plan) for name, plan in _plans(workspace, _BATCHES).items()}
    found = {name: _params(made["engine"])["batch"] for name, made in stages.items()}
    assert found == {
        "one": [1, 1, 1],
        "four": [4, 4, 4],
        "some": [1, 8, 16],
        "more": [1, 8, 32],
    }
    for stage in ("export", "quantize"):
        assert _params(stages["some"][stage])["batch"] == [1, 8, 16]
    (place,) = (o for o in stages["four"]["engine"].origins if o.parameter == "batch")
    assert (place.label, place.path) == ("export.batch", "recipes/tags.yaml")


def test_the_batch_of_a_training_is_another(workspace: Path) -> None:
    """The batch of a training and `export.batch` are distinguished in reasons."""
    train = by_stage(_plans(workspace, _BATCHES)["some"])["train"]
    (place,) = (o for o in train.origins if o.parameter == "batch")
    assert place.label == "train.batch"


def test_what_a_gpu_alone_can_show_is_in_no_key_but_its_own(workspace: Path) -> None:
    """Facts of the GPU are only in the keys of steps that depend on them."""
    before = by_stage(_plans(workspace)["whole"])
    head = TRAINED.partition("targets:")[0] + "benchmark: {runs: 20}\n"
    write_recipe(workspace, "tags", f"{head}targets:\n{_ENTRIES}")
    plan = plan_good(workspace)["tags@whole"]
    after = by_stage(plan)
    assert {name: step.id for name, step in after.items() if name in before} == {
        name: step.id for name, step in before.items()
    }
    assert after.keys() - before.keys() == {
        "benchmark-engine",
        "benchmark-onnx",
        "benchmark-quantized-onnx",
    }
    timed, measured = after["benchmark-engine"], after["evaluate-engine"]
    assert {timed.id, measured.id} <= set(plan.proofs)
    assert not {timed.id, measured.id} & set(plan.verdicts)
    assert (timed.local, timed.alone, timed.gpu) == (True, True, True)
    assert (measured.local, measured.gpu) == (False, True)
    assert timed.requires == measured.requires == "tensorrt-rtx 1.7 any"
    assert not any(item.step in (timed.id, measured.id) for s in plan.steps for item in s.inputs)


def test_a_quantized_onnx_file_is_timed_as_it_ships(workspace: Path) -> None:
    """`benchmark` times the ONNX file that ships, beside the float32 file that it was made from."""
    head = TRAINED.partition("targets:")[0] + "benchmark: {runs: 20}\n"
    write_recipe(workspace, "tags", f"{head}targets: [triton-onnx]\n")
    plan = plan_good(workspace)["tags@triton-onnx"]
    stages = by_stage(plan)
    (timed,) = stages["benchmark-quantized-onnx"].inputs
    assert (timed.step, timed.output) == (stages["quantize"].id, "quantized-onnx")
    assert plan.shipped is not None
    assert plan.shipped.step == timed.step
    (source,) = stages["benchmark-onnx"].inputs
    assert source.step != timed.step


def test_an_open_batch_is_timed_at_its_ends_and_at_its_best(workspace: Path) -> None:
    """An engine with an open batch is timed at its smallest, optimal and largest batch."""
    head = TRAINED.partition("targets:")[0]
    head += "export: {batch: {min: 1, opt: 4, max: 8}}\nbenchmark: {runs: 20}\n"
    write_recipe(workspace, "tags", f"{head}targets: [nvidia-a100]\n")
    stages = by_stage(plan_good(workspace)["tags@nvidia-a100"])
    found = _params(stages["benchmark-engine"])
    assert (found["batches"], found["height"], found["width"]) == ([1, 4, 8], 192, 192)
    assert _params(stages["evaluate-engine"])["least"] == 1
    assert found["library"] == {"name": "tensorrt", "version": "11.4", "compute_capability": "8.0"}
