"""A table of the steps that each line of a recipe or target makes stale, for engines."""

from pathlib import Path

import pytest

from buildsys.graph import Step
from tests.authoring.sample_workspace import TRAINED, by_stage, plan_good, write_recipe

_SHARED = {"train", "export", "evaluate-checkpoint", "evaluate-onnx", "samples", "dataset"}
_ENGINE = {"engine", "package", "evaluate-engine"}
_QUANTIZED = {"quantize", "signal", "evaluate-quantized-onnx", "gate", *_ENGINE}
_EXPORTED = {"export", "evaluate-onnx", *_QUANTIZED}
_A100 = "{target: nvidia-a100, as: board}"
_ORIN = "{target: jetson-orin, as: board, tensorrt: {int8: calibrator}}"


def _stages(workspace: Path, entry: str, *edits: tuple[str, str]) -> dict[str, Step]:
    text = f"{TRAINED.partition('targets:')[0]}targets:\n  - {entry}\n"
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    write_recipe(workspace, "tags", text)
    return by_stage(plan_good(workspace)["tags@board"])


_TABLE = {
    "version": ("as: board", 'as: board, tensorrt: {version: "10.9"}', _ENGINE),
    "capability": ("as: board", 'as: board, tensorrt: {compute_capability: "9.0"}', _ENGINE),
    "workspace": ("as: board", "as: board, tensorrt: {workspace_gib: 8}", _ENGINE),
    "level": ("as: board", "as: board, tensorrt: {optimization_level: 5}", _ENGINE),
    "portable": ("as: board", "as: board, tensorrt: {version_compatible: true}", _ENGINE),
    "gpus": ("as: board", "as: board, tensorrt: {hardware_compatibility: ampere-plus}", _ENGINE),
    "granularity": ("as: board", "as: board, quantization: {granularity: per-tensor}", _QUANTIZED),
    "pictures": ("count: 1", "count: 2", {"calibration", "overlap", *_QUANTIZED}),
    "batch": ("as: board", "as: board, export: {batch: 8}", _EXPORTED),
    "open batch": ("as: board", "as: board, export: {batch: {min: 1, opt: 8, max: 16}}", _EXPORTED),
    "benchmark": ("targets:", "benchmark: {runs: 50}\ntargets:", set()),
    "another name": ("as: board", "as: board, tensorrt: {gpu: my card}", set()),
}


@pytest.mark.parametrize("case", _TABLE)
def test_one_line_makes_stale_exactly(workspace: Path, case: str) -> None:
    """Changing one line makes exactly the steps in the table stale."""
    old, new, wanted = _TABLE[case]
    before = _stages(workspace, _A100)
    after = _stages(workspace, _A100, (old, new))
    assert {name for name in before if before[name].id != after[name].id} == wanted
    assert before.keys() >= _SHARED - {"dataset"}


def test_another_scheme_shares_what_comes_before(workspace: Path) -> None:
    """Precisions share the export, and float32 has no quantization."""
    before = _stages(workspace, _A100)
    single = _stages(workspace, "{target: nvidia-a100, as: board, quantization: {scheme: float32}}")
    half = _stages(workspace, "{target: nvidia-a100, as: board, quantization: {scheme: float16}}")
    same = {name for name in before if name in single and before[name].id == single[name].id}
    assert same >= _SHARED - {"dataset"}
    assert before["engine"].id != single["engine"].id != half["engine"].id
    assert "quantize" not in single
    assert "calibration" not in half


def test_the_calibration_cache_is_an_artifact_of_its_own(workspace: Path) -> None:
    """The calibration cache has its own step, which depends on the images and not on the workspace
    size.
    """
    before = _stages(workspace, _ORIN)
    assert "quantize" not in before
    assert {item.name for item in before["engine"].inputs} == {"onnx", "calibration-cache"}
    wide = _stages(workspace, _ORIN, ("int8: calibrator", "int8: calibrator, workspace_gib: 8"))
    assert {name for name in before if before[name].id != wide[name].id} == _ENGINE
    fewer = _stages(workspace, _ORIN, ("count: 1", "count: 2"))
    changed = {name for name in before if before[name].id != fewer[name].id}
    assert changed == {"calibration", "calibrate", "overlap", *_ENGINE}
    batch = ("as: board", "as: board, export: {batch: {min: 1, opt: 8, max: 16}}")
    more = _stages(workspace, _ORIN, batch)
    changed = {name for name in before if before[name].id != more[name].id}
    assert changed == {"export", "evaluate-onnx", "calibrate", "gate", *_ENGINE}


@pytest.mark.parametrize(
    ("entry", "lowered"), [(_ORIN, True), ("{target: jetson-orin, as: board}", False)]
)
def test_the_float_file_does_not_vouch_for_int8(workspace: Path, entry: str, lowered: bool) -> None:
    """The float file's accuracy is not used as the int8 engine's."""
    write_recipe(workspace, "tags", f"{TRAINED.partition('targets:')[0]}targets:\n  - {entry}\n")
    notes = plan_good(workspace)["tags@board"].notes
    assert any("Not verified: the accuracy of int8." in note for note in notes) is lowered


def test_what_is_local_has_the_key_of_the_same_words(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `local` target has the same key as a target with the same GPU and version written out."""
    named = _stages(
        workspace, '{target: nvidia-a100, as: board, tensorrt: {version: "10.3", workspace_gib: 2}}'
    )
    from buildsys.execution.tools import host_facts

    here = host_facts.HostLibrary(
        python="/usr/bin/python3",
        version="10.3.0.30",
        file="/nowhere/tensorrt.py",
        gpu="NVIDIA A100",
        compute_capability="8.0",
    )
    assert (
        _stages(workspace, "{target: nvidia-local, as: board}")["engine"].id != named["engine"].id
    )
    monkeypatch.setattr(host_facts, "find_library", lambda: here)
    found = _stages(workspace, "{target: nvidia-local, as: board}")
    assert found["engine"].id == named["engine"].id
    assert found["engine"].requires == "tensorrt 10.3 8.0"
