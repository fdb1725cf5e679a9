"""The first pipeline with its real tools, on the smallest useful input.

The tool environments are synced into the user's cache when they are not there yet.
"""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildsys.digest import digest_file
from buildsys.execution.store.store import Store
from buildsys.execution.tools import environments
from buildsys.execution.tools.host_facts import cpu_name
from buildsys.registry import shipped_targets
from buildsys.steps.lib.report import training_reading
from tests.tools.board_program import check_alike, report_both
from tests.tools.places import (
    START,
    by_hand,
    doit,
    make_workspace,
    needs_qemu,
    read,
    statuses,
    store_of,
)
from tests.tools.single_steps import examine
from tests.tools.ultralytics_peer import COUNTED, check_detections, compare

pytestmark = pytest.mark.tools

TINY = f"""\
name: tiny
source:
  family: ultralytics
  task: pose
  architecture: yolov8n-pose
  weights: {{path: start.pt, sha256: {START}}}
dataset: {{generator: fiducials, train: 24, val: 12, seed: 5, size: 128}}
input: {{size: 96}}
train: {{epochs: 1, batch: 8, learning_rate: 0.0002, validate: true}}
quantization:
  scheme: int8
  granularity: per-tensor
  calibration: {{split: train, count: 8}}
evaluate: {{gates: {{box.mAP50: {{min: 0.1}}}}}}
targets:
  - grove-vision-ai-v2
  - xiao-esp32s3
  - {{target: ethos-u55-128-high-end, export: {{opset: 13}}}}
  - {{target: host, as: half, quantization: {{scheme: float16}}}}
  - {{target: raspberry-pi-5, as: board, quantization: {{scheme: float16}}}}
"""

STRAIGHT = """\
name: straight
source: {family: tflite, weights: {path: tiny.tflite, sha256: SHA}}
targets: [{target: grove-vision-ai-v2, vela: {version: "3.9"}}]
"""


SEEED = ("grove-vision-ai-v2", "xiao-esp32s3")
TWICE = ("grove-vision-ai-v2", "half")
FIRST = "first-run.json"
"""The statuses in the run that made the workspace; later runs change them."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace in which the small recipe was built for all targets."""
    root = make_workspace(tmp_path_factory.mktemp("tools") / "one", tiny=TINY)
    run = doit(root, "-n", "2", store=store_of(root), pages=True)
    assert run.returncode == 0, run.stderr
    (root / FIRST).write_text(json.dumps(statuses(root)))
    yield root
    shutil.rmtree(root)


def evidence(root: Path, target: str) -> dict[str, Any]:
    """A manifest's evidence by stage."""
    manifest = read(root / "build" / "tiny" / target / "manifest.json")
    found: dict[str, Any] = manifest["evidence"]
    return found


def stages_run(root: Path) -> set[str]:
    """The stages that the last run built."""
    return {
        f"{path.parent.name}/{step['stage']}"
        for path in root.glob("build/*/*/build.json")
        for step in read(path)["steps"]
        if step["this_run"] == "built"
    }


def test_every_target_gets_its_package(built: Path) -> None:
    """A package has model, labels, figures, manifest, build.json and logs."""
    assert set(read(built / FIRST).values()) == {"built"}
    folder = built / "build" / "tiny" / "grove-vision-ai-v2"
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "tiny_vela.tflite",
        "labels.txt",
        "metrics.json",
        "model.json",
        "vela.json",
        "calibration.json",
        "manifest.json",
        "build.json",
        "logs",
        "flash.json",
        "README.md",
    }
    diary = {step["stage"]: step for step in read(folder / "build.json")["steps"]}
    made = [step for step in diary.values() if step["seconds"] is not None]
    assert {step["cpu"] for step in made} == {cpu_name()}
    assert {"torch", "oneDNN", "MKL", "NumPy"} <= set(diary["train"]["kernels"])
    manifest = read(folder / "manifest.json")
    assert any("AGPL" in line for line in manifest["licences"])
    assert any("NPU" in line for line in manifest["unverified"])
    assert len(read(folder / "calibration.json")) == 8


def test_the_training_leaves_its_curves(built: Path) -> None:
    """A training keeps losses, accuracy and labelled images, without times."""
    rows, summary = training_reading.read(built / "build/tiny/grove-vision-ai-v2/training")
    (row,) = rows
    assert {"train/kobj_loss", "metrics/mAP50-95(P)", "val/pose_loss"} <= row.keys()
    assert (summary.best, summary.kept, summary.images, summary.validation_images) == (1, 1, 24, 12)


def test_objects_that_the_border_cuts_are_seen_as_in_ultralytics(
    built: Path, tmp_path: Path
) -> None:
    """Boxes and keypoints end at the border, of images that no frame divides, by its `predict` and
    in what its `val` writes. `detect.py` on a board reports what our `predict` does.

    Its `val` rounds a scaled side up, its `predict` and we to the nearest pixel: of these 16
    objects one is 0.7 px elsewhere.
    """
    found = compare(built, "tiny/half", tmp_path, cut=True)
    check_detections(found, 10)
    for figure in ("box.mAP50-95", "keypoints.mAP50-95"):
        assert found["ours"][figure] == pytest.approx(found[COUNTED][figure], abs=0.03), figure
    images = sorted((tmp_path / "cut" / "images" / "val").iterdir())
    check_alike(*report_both(built, "tiny@board", images, tmp_path), 10)


def test_the_grove_file_is_what_its_firmware_decodes(built: Path) -> None:
    """The compiled file has one NPU operator, seven raw outputs, and an input of `u8 - 128`."""
    model = read(built / "build" / "tiny" / "grove-vision-ai-v2" / "model.json")
    assert model["operators"] == {"ethos-u": 1}
    (image,) = model["inputs"]
    assert image["dtype"] == "int8"
    assert image["zero_points"] == [-128]
    assert image["scales"][0] == pytest.approx(1 / 255, abs=1e-7)
    shapes = sorted(tuple(output["shape"]) for output in model["outputs"])
    assert shapes == sorted(
        [(1, 144, 64), (1, 36, 64), (1, 9, 64), (1, 144, 1), (1, 36, 1), (1, 9, 1), (1, 189, 12)]
    )


def test_the_same_tflite_without_vela_goes_to_the_esp32s3(built: Path) -> None:
    """All operators are in the firmware's list."""
    folder = built / "build" / "tiny" / "xiao-esp32s3"
    model = read(folder / "model.json")
    assert "ethos-u" not in model["operators"]
    assert [output["name"] for output in model["outputs"]] == [
        "box_s8",
        "box_s16",
        "box_s32",
        "cls_s8",
        "cls_s16",
        "cls_s32",
        "keypoints",
    ]


def test_formats_agree_on_accuracy(built: Path) -> None:
    """Checkpoint (Ultralytics' decode) and ONNX (ours) within 1e-3; figures name their file."""
    metrics = read(built / "build" / "tiny" / "grove-vision-ai-v2" / "metrics.json")
    assert set(metrics) == {"start", "checkpoint", "onnx", "tflite"}
    for name, value in metrics["checkpoint"]["metrics"].items():
        assert metrics["onnx"]["metrics"][name] == pytest.approx(value, abs=1e-3)
    assert len(metrics["tflite"]["model"]["sha256"]) == 64
    assert metrics["tflite"]["metrics"]["box.mAP50"] > 0.3


@pytest.mark.parametrize("target", SEEED)
def test_the_manifest_holds_the_whole_ladder(built: Path, target: str) -> None:
    """The ladder compares every file of the network up to the firmware's decoder."""
    parity = evidence(built, target)["parity"]
    rungs = {f"{rung['from']} → {rung['to']}": rung for rung in parity["rungs"]}
    assert list(rungs) == [
        "checkpoint → onnx",
        "onnx → float-tflite",
        "float-tflite → tflite",
        "tflite → tflm",
        "tflm → decoder",
    ]
    assert all(rung["passed"] for rung in rungs.values())
    assert (parity["passed"], parity["first_failing"], parity["pictures"]) == (True, None, 12)
    kernels = rungs["tflite → tflm"]["outputs"]
    assert len(kernels) == 7
    assert {figure["figure"] for figure in kernels.values()} == {"largest difference, steps"}
    assert max(figure["value"] for figure in kernels.values()) <= 2
    found = rungs["tflm → decoder"]["detections"]
    assert found["decoder"] == "sscma-pose"
    assert found["candidates"] > 0


@pytest.mark.parametrize("trained", [False, True])
def test_int8_keeps_the_outputs_of_the_raw_head(built: Path, tmp_path: Path, trained: bool) -> None:
    """The signal check passes with and without images; a standard export fails (test_contracts)."""
    folder = built / "build" / "tiny" / "xiao-esp32s3"
    (probe,) = (s for s in read(folder / "manifest.json")["steps"] if s["stage"] == "probe")
    pictures = tmp_path / "pictures"
    Store(store_of(built)).fetch(probe["outputs"]["pictures"], pictures, tree=True)
    verdict = examine(tmp_path, folder / "tiny.tflite", pictures, classes=1, trained=trained)
    assert verdict["passed"], verdict["failures"]
    assert verdict["pictures"] == 2
    assert all(output["distinct_values"] > 1 for output in verdict["outputs"])
    verdict = examine(tmp_path, folder / "tiny.tflite", None, classes=1, trained=trained)
    assert verdict["passed"]
    assert verdict["pictures"] == 0


@pytest.mark.parametrize("target", SEEED)
def test_what_the_board_has_holds_the_model(built: Path, target: str) -> None:
    """The manifest has arena and flash with the remaining bytes, operators, and the driver's
    header.
    """
    found = evidence(built, target)
    fit = found["fit"]
    for room in (fit["arena"], fit["flash"]):
        assert 0 < room["need_bytes"] <= room["has_bytes"]
        assert room["margin_bytes"] == room["has_bytes"] - room["need_bytes"]
    compiled = target == SEEED[0]
    assert fit["arena"]["by"].startswith("Vela's plan" if compiled else "TFLite Micro on this")
    operators = found["operators"]
    assert operators["passed"]
    model = read(built / "build" / "tiny" / target / "model.json")
    assert operators["operators"] == model["operators"]
    drivers = operators["driver"]
    assert [(each["fourcc"], each["npu"]) for each in drivers] == (
        [("COP1", "ethos-u55-64")] if compiled else []
    )


@needs_qemu
def test_a_firmware_has_loaded_the_model(built: Path) -> None:
    """On an emulated Cortex-M55, TFLite Micro's arena is close to Vela's figure."""
    load = evidence(built, "grove-vision-ai-v2")["load"]
    assert (load["passed"], load["tested"]) == (True, True)
    assert abs(load["difference_bytes"]) <= 4096
    vela = read(built / "build" / "tiny" / "grove-vision-ai-v2" / "vela.json")
    assert load["planned_bytes"] == vela["sram_bytes"]
    assert load["operators"] == ["ethos-u"]


@pytest.mark.parametrize("target", SEEED)
def test_the_flash_plan_is_of_the_file_beside_it(built: Path, target: str) -> None:
    """The digest in the plan, in the manifest and of the bytes are equal."""
    folder = built / "build" / "tiny" / target
    (region,) = read(folder / "flash.json")["regions"]
    assert region["sha256"] == digest_file(folder / region["file"])
    assert region["sha256"] == read(folder / "manifest.json")["files"][region["file"]]["sha256"]
    assert region["size"] == (folder / region["file"]).stat().st_size


def test_a_second_run_does_nothing(built: Path) -> None:
    """A second run does nothing, and every build is up to date."""
    run = doit(built, store=store_of(built), pages=True)
    assert run.returncode == 0
    assert set(statuses(built).values()) == {"up-to-date"}
    assert run.stderr == ""


def test_another_memory_mode_compiles_once_more(built: Path) -> None:
    """A change in one target entry runs only Vela and the package of that build."""
    path = built / "recipes" / "tiny.yaml"
    before = path.read_text()
    path.write_text(
        before.replace("- xiao-esp32s3", "- xiao-esp32s3 # a comment").replace(
            "export: {opset: 13}}", "vela: {memory_mode: Sram_Only}}"
        )
    )
    assert doit(built, store=store_of(built)).returncode == 0
    assert stages_run(built) >= {"ethos-u55-128-high-end/compile", "ethos-u55-128-high-end/package"}
    now = statuses(built)
    assert now.pop("tiny@ethos-u55-128-high-end") == "built"
    assert set(now.values()) == {"up-to-date"}
    path.write_text(before)
    assert doit(built, store=store_of(built)).returncode == 0
    assert statuses(built)["tiny@ethos-u55-128-high-end"] == "restored"


def test_two_clean_builds_make_the_same_bytes(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another folder, another store, isolated by Landlock alone: dataset, training, every file and
    every manifest. Of an int8 file with its compiler's, and of a float16 one; the other two are
    made alike.
    """
    monkeypatch.setenv("BUILDSYS_ISOLATION", "landlock")
    other = make_workspace(tmp_path / "elsewhere" / "two", tiny=TINY)
    builds = [f"build:tiny@{name}" for name in TWICE]
    run = doit(other, "-n", "2", *builds, store=store_of(other))
    assert run.returncode == 0, run.stderr
    for path in (path for name in TWICE for path in sorted(built.glob(f"build/tiny/{name}/*"))):
        if path.is_file() and path.name != "build.json":
            twin = other / path.relative_to(built)
            assert twin.read_bytes() == path.read_bytes(), path.name
    assert all(
        step["isolation"].startswith("landlock") or step["this_run"] == "restored"
        for name in TWICE
        for step in read(other / "build" / "tiny" / name / "build.json")["steps"]
    )


def test_one_quantized_file_serves_two_firmwares(person: Path) -> None:
    """Himax needs an order, SSCMA accepts any: one export, one quantization, two bindings."""
    himax, seeed = (
        read(person / "build/person" / name / "manifest.json")
        for name in ("himax", "grove-vision-ai-v2")
    )
    for stage in ("export", "quantize"):
        keys = [
            step["action_key"]
            for m in (himax, seeed)
            for step in m["steps"]
            if step["stage"] == stage
        ]
        assert len(keys) == 2
        assert keys[0] == keys[1]
    outputs = [tuple(o["shape"]) for o in read(person / "build/person/himax/model.json")["outputs"]]
    assert outputs == [
        (1, 16, 64),
        (1, 64, 64),
        (1, 4, 1),
        (1, 84, 51),
        (1, 64, 1),
        (1, 4, 64),
        (1, 16, 1),
    ]


def test_a_tflite_file_goes_straight_to_vela(built: Path, tmp_path: Path) -> None:
    """The compiled file equals that of `vela` run manually with the same ini file."""
    root = make_workspace(tmp_path / "straight")
    shutil.copyfile(built / "build/tiny/xiao-esp32s3/tiny.tflite", root / "tiny.tflite")
    digest = hashlib.sha256((root / "tiny.tflite").read_bytes()).hexdigest()
    (root / "recipes" / "straight.yaml").write_text(STRAIGHT.replace("SHA", digest))
    run = doit(root)
    assert run.returncode == 0, run.stderr
    _, python = environments.ensure("vela-3.9", print)
    ini = shipped_targets() / "vela" / "himax.ini"
    command = [
        str(python.parent / "vela"),
        "tiny.tflite",
        "--output-dir",
        "by-hand",
        "--config",
        str(ini),
        "--accelerator-config",
        "ethos-u55-64",
        "--system-config",
        "My_Sys_Cfg",
        "--memory-mode",
        "My_Mem_Mode_Parent",
    ]
    subprocess.run(command, cwd=root, check=True, capture_output=True, env=by_hand())
    ours = root / "build/straight/grove-vision-ai-v2/straight_vela.tflite"
    assert ours.read_bytes() == (root / "by-hand/tiny_vela.tflite").read_bytes()
