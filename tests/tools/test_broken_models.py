"""Invalid models in the real tools: every step that opens a model names the file in one sentence."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from buildsys.execution.running.runner import LAUNCHER
from buildsys.execution.tools import environments
from tests.tools.places import tool_environment

pytestmark = pytest.mark.tools

_FRAME = {"height": 64, "width": 64, "color": "rgb", "resize": "letterbox"}
_SPLIT = {"name": "val", "paths": ["images"]}
_MEASURE = {
    "split": _SPLIT,
    "classes": ["tag"],
    "keypoints": 0,
    "keypoint_dims": 0,
    "sigmas": [],
    "head": "raw",
    "preprocessing": _FRAME,
    "reference_kernels": False,
}
_PACK: dict[str, Any] = {
    "stem": "x",
    "classes": [],
    "preprocessing": None,
    "outputs": [],
    "flash": None,
}
_CONTRACT = {
    "name": "f",
    "label": "F",
    "outputs": [{"name": "boxes", "shape": ["1", "4", "N"]}],
    "in_order": True,
    "dtype": "int8",
    "granularity": "per-tensor",
    "classes": 0,
    "refused_classes": [],
    "keypoint_values": 0,
    "keypoint_dims": 0,
    "input_dtype": "int8",
    "input_scale": 0.0,
    "input_zero_point": 0,
    "square": True,
    "cure": "",
}
_CHECK = {"contract": _CONTRACT, "height": 64, "width": 64, "classes": 1, "keypoints": 0}
_OPERATORS = {"firmware": "f", "operators": ["ADD"], "accelerator": "ethos-u55-64"}
_BENCHMARK = {"threads": 1, "runs": 1, "warmup": 0, "machine": "here"}
_VELA = {
    "accelerator": "ethos-u55-64",
    "system_config": "Ethos_U55_High_End_Embedded",
    "memory_mode": "Shared_Sram",
    "optimise": "Performance",
}
_RECORD = {"names": [], "count": 1, "preprocessing": _FRAME}
_EXAMINE = {
    "names": [],
    "head": "raw",
    "classes": 1,
    "keypoints": 0,
    "keypoint_dims": 0,
    "preprocessing": _FRAME,
    "scheme": "int8",
    "trained": True,
    "count": 1,
}
_OUTPUTS = {
    "head": "raw",
    "task": "detect",
    "classes": 1,
    "keypoints": 0,
    "keypoint_dims": 0,
    "preprocessing": _FRAME,
    "order": [],
    "by_order": True,
    "fetched": True,
}
_CONVERT = {"output_names": [], "preprocessing": _FRAME}
_QUANTIZE = {
    "quantization": {"scheme": "float16", "granularity": "per-channel", "io": "float32"},
    "preprocessing": _FRAME,
}
_NETWORK = {
    "name": "x",
    "label": "X",
    "task": "",
    "head": "none",
    "outputs": [],
    "classes": [],
    "keypoints": 0,
    "keypoint_dims": 0,
    "preprocessing": None,
    "scheme": "float32",
    "batch": [1, 1, 1],
}
_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
_LOOKS_LIKE_TFLITE = b"\x1c\0\0\0TFL3" + bytes(range(256)) * 20

_STEPS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("evaluate", "evaluate_tflite", "tflite", _MEASURE),
    ("evaluate", "check_contract", "tflite", _CHECK),
    ("evaluate", "bind_outputs", "tflite", {"check": _CHECK, "order": ["boxes"]}),
    ("evaluate", "check_operators", "vela-tflite", _OPERATORS),
    ("evaluate", "benchmark_tflite", "tflite", _BENCHMARK),
    ("evaluate", "record_tflite", "tflite", _RECORD),
    ("evaluate", "examine_tflite", "tflite", {"classes": 1, "trained": True}),
    ("evaluate", "record_onnx", "onnx", _RECORD),
    ("evaluate", "package_flash", "tflite", _PACK),
    ("vela-3.9", "compile_vela", "tflite", {"version": "3.9", **_VELA}),
    ("vela-4.5", "compile_vela", "tflite", {"version": "4.5", **_VELA}),
    ("vela-5.2", "compile_vela", "tflite", {"version": "5.2", **_VELA}),
    ("tflite-micro", "record_tflm", "tflite", _RECORD),
    ("tflite-micro", "allocate_tflm", "tflite", {}),
    ("load-test", "load_firmware", "vela-tflite", {"accelerator": "ethos-u55-64"}),
    ("evaluate", "evaluate_onnx", "onnx", _MEASURE),
    ("evaluate", "benchmark_onnx", "onnx", _BENCHMARK),
    ("evaluate", "examine_onnx", "onnx", _EXAMINE),
    ("evaluate", "check_outputs", "onnx", _OUTPUTS),
    ("evaluate", "check_outputs", "tflite", _OUTPUTS),
    ("onnx2tf", "convert_onnx2tf", "onnx", _CONVERT),
    ("onnx-tf", "convert_onnx_tf", "onnx", _CONVERT),
    ("triton", "package_triton", "onnx", {"network": _NETWORK}),
    ("litert-torch", "quantize_litert_torch", "float-tflite", _QUANTIZE),
]


def _run(folder: Path, env: str, module: str, request: dict[str, Any]) -> tuple[int, str]:
    _, python = environments.ensure(env, print)
    error = folder / "error.txt"
    error.unlink(missing_ok=True)
    (folder / "request.json").write_text(json.dumps({**request, "error": str(error)}))
    command = [str(python), "-s", str(LAUNCHER), module, str(folder / "request.json")]
    run = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=tool_environment(python, folder),
    )
    return run.returncode, error.read_text() if error.exists() else run.stderr


@pytest.mark.parametrize(
    ("env", "module", "kind", "params"), _STEPS, ids=[f"{step[0]}-{step[1]}" for step in _STEPS]
)
@pytest.mark.parametrize(
    "content", [b"", _POINTER, _LOOKS_LIKE_TFLITE], ids=["empty", "pointer", "tfl"]
)
def test_garbage_is_reported_by_name(
    tmp_path: Path, env: str, module: str, kind: str, params: dict[str, Any], content: bytes
) -> None:
    """Invalid model bytes give one sentence with the file's name."""
    file = tmp_path / f"mine.{kind}"
    file.write_bytes(content)
    link = tmp_path / f"{kind}.{kind}"  # as the runner links an input
    link.symlink_to(file)
    names = (
        "metrics",
        "tflite",
        "vela-tflite",
        "summary",
        "saved-model",
        "package",
        "verdict",
        "recording",
        "arena",
        "latency",
    )
    outputs = {name: str(tmp_path / f"out-{name}") for name in names}
    inputs = {kind: str(link), "dataset": str(tmp_path)}
    request = {"inputs": inputs, "outputs": outputs, "params": params}
    code, told = _run(tmp_path, env, module, request)
    assert code == 3, told
    assert f"mine.{kind}" in told
    assert "Traceback" not in told


def test_broken_images_are_reported_at_once_by_their_paths(tmp_path: Path) -> None:
    """Broken images are reported together, with their paths."""
    (tmp_path / "images").mkdir()
    for name, content in (("a", b""), ("b", b"\xff\xd8\xff\xe0 no picture"), ("c", b"<html>")):
        (tmp_path / "images" / f"{name}.jpg").write_bytes(content)
    params = {"split": _SPLIT, "count": 3, "seed": 0, "preprocessing": _FRAME}
    outputs = {"pictures": str(tmp_path / "out")}
    request = {"inputs": {"dataset": str(tmp_path)}, "outputs": outputs, "params": params}
    code, told = _run(tmp_path, "evaluate", "prepare_pictures", request)
    assert code == 3, told
    first, *places = told.splitlines()
    assert first.startswith("3 of 3 images of ")
    assert sorted(place.split()[0] for place in places) == [f"images/{x}.jpg" for x in "abc"]
