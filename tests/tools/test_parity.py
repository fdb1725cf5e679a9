"""Parity ladder, decoder emulation and collapse detector, where numpy and the real tools are."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildsys.execution.running.runner import LAUNCHER
from buildsys.execution.tools import environments
from buildsys.steps.lib.heads.outputs import head_outputs
from tests.conftest import REPOSITORY
from tests.tools.places import tool_environment

pytestmark = pytest.mark.tools

_GOLDEN = Path(__file__).parent / "golden"
_CASES = REPOSITORY / "tests" / "tools" / "parity_cases.py"
_CHECKS = [
    line.removeprefix("def ").split("(")[0]
    for line in _CASES.read_text().splitlines()
    if line.startswith("def check_")
]
_SIDE = 96
_COCO = 80
"""Classes of an architecture that was given no data."""
_FRAME = {"height": _SIDE, "width": _SIDE, "color": "rgb", "resize": "letterbox"}


def _python(env: str) -> Path:
    return environments.ensure(env, print)[1]


@pytest.fixture(scope="module")
def faults() -> dict[str, str]:
    """What went wrong, by check; all of them run in one process of the evaluation environment."""
    run = subprocess.run(
        [str(_python("evaluate")), "-W", "error", "-m", "tests.tools.parity_cases"],
        cwd=REPOSITORY,
        env=tool_environment(_python("evaluate")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, str] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("check", _CHECKS)
def test_with_numpy(check: str, faults: dict[str, str]) -> None:
    """Each in parity_cases.py, with its own sentence."""
    assert not faults[check], faults[check]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the forms of a network answered, one of them otherwise. Only read."""
    folder = tmp_path_factory.mktemp("recordings")
    subprocess.run(
        [str(_python("evaluate")), "-m", "tests.tools.parity_cases", str(folder)],
        cwd=REPOSITORY,
        env=tool_environment(_python("evaluate")),
        check=True,
    )
    return folder


def test_the_verdict_of_a_ladder_that_breaks(recordings: Path, tmp_path: Path) -> None:
    """The whole file, reviewed like code: rungs, figures, limits, sentences."""
    forms = ("checkpoint", "onnx", "float-tflite", "tflite", "tflm")
    verdict = tmp_path / "verdict.json"
    step(
        tmp_path,
        "evaluate",
        "compare_recordings",
        {form: recordings / f"{form}.npz" for form in forms},
        {"verdict": verdict},
        {
            "head": "raw",
            "classes": 1,
            "keypoints": 17,
            "keypoint_dims": 3,
            "preprocessing": {**_FRAME, "height": 64, "width": 64},
            "scheme": "int8",
            "trained": True,
            "decoder": "sscma-pose",
        },
    )
    assert verdict.read_text() == (_GOLDEN / "ladder-boxes-lost.json").read_text()


def test_recordings_of_other_pictures_are_refused(recordings: Path, tmp_path: Path) -> None:
    """And a decoder that nobody knows."""
    params = {
        "head": "raw",
        "classes": 1,
        "keypoints": 17,
        "keypoint_dims": 3,
        "preprocessing": _FRAME,
        "scheme": "int8",
        "trained": True,
        "decoder": "sscma-yolov9",
    }
    told = step(
        tmp_path,
        "evaluate",
        "compare_recordings",
        {"onnx": recordings / "onnx.npz"},
        {"verdict": tmp_path / "v.json"},
        params,
        code=3,
    )
    assert told == (
        "there is no firmware decoder `sscma-yolov9`; there are himax-od, himax-pose,"
        " sscma-yolov8, sscma-world, sscma-pose."
    )


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Ultralytics' own way: one output for everything, full int8; random weights at 96 px."""
    folder = tmp_path_factory.mktemp("stock")
    make_pictures(folder / "pictures")
    step(
        folder,
        "ultralytics",
        "initialize_ultralytics",
        {},
        {"checkpoint": folder / "c.pt"},
        {"task": "detect", "architecture": "yolov8n", "seed": 0},
    )
    names = [tensor.name for tensor in head_outputs("decoded", _SIDE, _SIDE, _COCO, 0, 0)]
    convert(folder, "detect", "decoded", names, classes=_COCO)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The raw head of trained weights, in int8."""
    folder = tmp_path_factory.mktemp("sound")
    make_pictures(folder / "pictures")
    shutil.copyfile(REPOSITORY / "weights" / "fiducials-start.pt", folder / "c.pt")
    names = [tensor.name for tensor in head_outputs("raw", _SIDE, _SIDE, 1, 4, 3)]
    convert(folder, "pose", "raw", names, classes=1)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("trained", [False, True])
def test_int8_destroys_the_outputs_of_a_stock_export(stock: Path, trained: bool) -> None:
    """Pain 6: it converts without a word, and detects nothing."""
    verdict = examine(stock, {"classes": _COCO, "trained": trained})
    (told,) = verdict["failures"]
    assert told.startswith("detections [1, 84, 189] holds boxes and scores in one int8 tensor")
    assert "export the raw head (leave `export.head` out)" in told
    assert verdict["outputs"][0]["score_steps"] < 16


@pytest.mark.parametrize("trained", [False, True])
def test_the_raw_head_is_not(sound: Path, trained: bool) -> None:
    """With pictures and without."""
    verdict = examine(sound, {"classes": 1, "trained": trained})
    assert verdict["passed"], verdict["failures"]
    assert verdict["pictures"] == 2
    assert all(output["distinct_values"] > 1 for output in verdict["outputs"])
    verdict = examine(sound, {"classes": 1, "trained": trained}, pictures=False)
    assert verdict["passed"]
    assert verdict["pictures"] == 0


def test_the_ladder_of_a_real_network(sound: Path) -> None:
    """Checkpoint, ONNX, float and int8 TFLite, the firmware's decoder: every rung with figures."""
    verdict = climb(sound, "pose", "raw", keypoints=4, trained=True, decoder="sscma-pose")
    assert verdict["passed"], verdict["failures"]
    assert [rung["to"] for rung in verdict["rungs"]] == [
        "onnx",
        "float-tflite",
        "tflite",
        "decoder",
    ]
    again = (sound / "tflite.npz").read_bytes()
    record(sound, "tflite", "q.tflite", _names(sound), reference_kernels=True)
    assert (sound / "tflite.npz").read_bytes() == again


def test_the_ladder_of_a_stock_export(stock: Path) -> None:
    """Random weights judge no quantization; the decoder that cannot read it is told."""
    verdict = climb(stock, "detect", "decoded", keypoints=0, trained=False, decoder="himax-od")
    assert verdict["first_failing"] == "tflite → decoder"
    assert verdict["failures"] == [
        "tflite → decoder: himax-od decodes [1, 4, 189], [1, 189, 80] in this order; the file has"
        " [1, 84, 189]."
    ]
    assert "not judged" in verdict["rungs"][2]["note"]


def step(
    folder: Path,
    env: str,
    module: str,
    inputs: dict[str, Path],
    outputs: dict[str, Path],
    params: dict[str, Any],
    code: int = 0,
) -> str:
    """Run a step as the runner does; returns what it told."""
    python = _python(env)
    error, request = folder / "error.txt", folder / "request.json"
    error.unlink(missing_ok=True)
    places = {
        name: {key: str(path) for key, path in group.items()}
        for name, group in (("inputs", inputs), ("outputs", outputs))
    }
    request.write_text(json.dumps({**places, "params": params, "error": str(error)}))
    run = subprocess.run(
        [str(python), "-s", str(LAUNCHER), module, str(request)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=tool_environment(python, folder),
    )
    told = error.read_text() if error.exists() else run.stderr
    assert run.returncode == code, told
    return told


def make_pictures(folder: Path) -> None:
    """Four pictures of smooth noise, as prepared pictures stand on disk."""
    code = (
        "import sys, numpy as np; from pathlib import Path; from buildsys.steps.lib.datasets import prepared_images;"
        f"r = np.random.default_rng(0); c = r.integers(0, 256, (4, {_SIDE // 8}, {_SIDE // 8}, 3));"
        "p = np.kron(c, np.ones((1, 8, 8, 1))).astype(np.uint8);"
        "p[:, 0, 0], p[:, 0, 1] = 0, 255;"
        "prepared_images.save(Path(sys.argv[1]), p, ['noise'] * 4)"
    )
    command = [str(_python("evaluate")), "-c", code, str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, env=tool_environment(_python("evaluate")))


def convert(folder: Path, task: str, head: str, names: list[str], classes: int) -> None:
    """c.pt -> m.onnx -> f.tflite (float) and q.tflite (int8 per tensor)."""
    samples = {"samples": folder / "pictures"}
    step(
        folder,
        "ultralytics",
        "export_ultralytics",
        {"checkpoint": folder / "c.pt", **samples},
        {"onnx": folder / "m.onnx"},
        {
            "task": task,
            "head": head,
            "opset": 13,
            "preprocessing": _FRAME,
            "output_names": names,
            "batch": [1, 1, 1],
        },
    )
    step(
        folder,
        "onnx2tf",
        "convert_onnx2tf",
        {"onnx": folder / "m.onnx", **samples},
        {"saved-model": folder / "saved", "layouts": folder / "layouts.json"},
        {"output_names": names, "preprocessing": _FRAME},
    )
    for scheme, io, name in (("float32", "float32", "f.tflite"), ("int8", "int8", "q.tflite")):
        step(
            folder,
            "onnx2tf",
            "convert_tflite",
            {"saved-model": folder / "saved", "calibration": folder / "pictures", **samples},
            {"tflite": folder / name},
            {
                "quantization": {"scheme": scheme, "granularity": "per-tensor", "io": io},
                "preprocessing": _FRAME,
                "classes": classes,
            },
        )


def examine(folder: Path, params: dict[str, Any], pictures: bool = True) -> dict[str, Any]:
    """The verdict on q.tflite."""
    inputs = {"tflite": folder / "q.tflite"}
    inputs |= {"pictures": folder / "pictures"} if pictures else {}
    step(folder, "evaluate", "examine_tflite", inputs, {"verdict": folder / "e.json"}, params)
    verdict: dict[str, Any] = json.loads((folder / "e.json").read_text())
    return verdict


def _names(folder: Path) -> list[str]:
    raw, decoded = (
        head_outputs("raw", _SIDE, _SIDE, 1, 4, 3),
        head_outputs("decoded", _SIDE, _SIDE, _COCO, 0, 0),
    )
    return [tensor.name for tensor in (raw if "sound" in folder.name else decoded)]


def record(folder: Path, form: str, file: str, names: list[str], **more: Any) -> None:
    """<form>.npz of a model file."""
    kind = "tflite" if file.endswith(".tflite") else {"c.pt": "checkpoint", "m.onnx": "onnx"}[file]
    env, tool = ("ultralytics",) * 2 if kind == "checkpoint" else ("evaluate", kind)
    step(
        folder,
        env,
        f"record_{tool}",
        {kind: folder / file, "pictures": folder / "pictures"},
        {"recording": folder / f"{form}.npz"},
        {"names": names, "count": 4, "preprocessing": _FRAME, **more},
    )


def climb(
    folder: Path, task: str, head: str, keypoints: int, trained: bool, decoder: str
) -> dict[str, Any]:
    """Record every form, compare them."""
    names = _names(folder)
    record(folder, "checkpoint", "c.pt", names, task=task, head=head)
    record(folder, "onnx", "m.onnx", names)
    record(folder, "float-tflite", "f.tflite", names)
    record(folder, "tflite", "q.tflite", names, reference_kernels=True)
    forms = ("checkpoint", "onnx", "float-tflite", "tflite")
    step(
        folder,
        "evaluate",
        "compare_recordings",
        {form: folder / f"{form}.npz" for form in forms},
        {"verdict": folder / "v.json"},
        {
            "head": head,
            "classes": 1 if keypoints else _COCO,
            "keypoints": keypoints,
            "keypoint_dims": 3,
            "preprocessing": _FRAME,
            "scheme": "int8",
            "trained": trained,
            "decoder": decoder,
        },
    )
    verdict: dict[str, Any] = json.loads((folder / "v.json").read_text())
    return verdict
