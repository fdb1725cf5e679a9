"""The second pipeline with its real tools: a complete small form of recipes/shapes-yolox.yaml.

One training and one export serve two converters, an accelerator and every board that is added.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from buildsys.execution.store.store import Store
from tests.conftest import REPOSITORY
from tests.tools.bright import ONNX_FILE
from tests.tools.places import make_workspace, read, statuses, store_of

pytestmark = pytest.mark.tools

# 56 training steps give enough boxes to compare
BASE = """\
source: {family: yolox, task: detect, architecture: yolox-nano, weights: random}
dataset: {generator: shapes, format: coco, train: 16, val: 6, size: 96, seed: 0}
input: {size: 96, color: rgb, resize: letterbox}
train: {epochs: 14, batch: 4, seed: 0, learning_rate: 0.008, flip: 0.0, scale: 0.0, threads: 1}
export: {opset: 13, head: split}
"""
CAMERA = """\
name: camera
extends: _tiny
quantization: {scheme: float16}
evaluate: {split: val, gates: {box.mAP50: {max_drop: 0.1, min: 0.05}}}
matrix: {convert.tool: [onnx-tf, onnx2tf]}
targets: [linux-arm64-tflite]
"""
EDGE = """\
name: edge
extends: _tiny
quantization: {scheme: int8, calibration: {split: train, count: 8}}
targets: [{target: grove-vision-ai-v2, firmware: unchecked}]
"""
GIVEN = """\
name: given
source:
  family: onnx
  task: detect
  weights: {path: given.onnx}
  decoder: yolox-split
  classes: [bar, egg]
  pixels: {color: rgb, values: 0..1}
input: {size: 96}
evaluate: none
targets: [onnx-file]
"""
BOARD = """\
name: my-camera
extends: linux-arm64-tflite
label: a camera of mine
"""
TOOLS = ("onnx-tf", "onnx2tf")
BUILDS = tuple(f"camera-{tool}@linux-arm64-tflite" for tool in TOOLS)
GROVE = "edge@grove-vision-ai-v2"


def call(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a buildsys command with the workspace's own store and a text report."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "BUILDSYS_STORE": str(store_of(root)),
        "BUILDSYS_REPORT": "text",
    }
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def ran(said: str) -> Counter[str]:
    """How often each stage ran, from a run's output."""
    done = (line for line in said.splitlines() if "): done in" in line)
    return Counter(line.partition("] ")[2].partition(" (")[0] for line in done)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which three files were made in one run; its output is in first.txt."""
    recipes = {"_tiny": BASE, "camera": CAMERA, "edge": EDGE}
    root = make_workspace(tmp_path_factory.mktemp("yolox") / "place", **recipes)
    run = call(root, "doit", "-n", "2")
    assert run.returncode == 0, run.stdout + run.stderr
    assert set(statuses(root).values()) == {"built"}
    (root / "first.txt").write_text(run.stderr)
    return root


def fetch(root: Path, stage: str, name: str, target: Path) -> Path:
    """A step's output in the store, by its digest in the manifest."""
    (step,) = (s for s in manifest_of(root, BUILDS[0])["steps"] if s["stage"] == stage)
    Store(store_of(root)).fetch(step["outputs"][name], target, tree=name == "dataset")
    return target


def folder_of(root: Path, build: str) -> Path:
    """A build's package folder."""
    return root / "build" / Path(*build.split("@"))


def manifest_of(root: Path, build: str) -> dict[str, Any]:
    """A build's manifest."""
    return read(folder_of(root, build) / "manifest.json")


def test_one_training_and_one_export_serve_all(built: Path) -> None:
    """Another converter or accelerator shares the training."""
    often = ran((built / "first.txt").read_text())
    once = (
        "dataset",
        "write-coco",
        "prepare",
        "dataset-coco",
        "train",
        "export",
        "probe",
        "evaluate-checkpoint",
        "record-checkpoint",
        "evaluate-onnx",
        "record-onnx",
        "compile",
    )
    assert {stage: often[stage] for stage in once} == dict.fromkeys(once, 1)
    assert often["convert"] == 2, "one a converter; Grove takes the camera's"
    assert often["quantize"] == often["package"] == 3


@pytest.mark.parametrize("build", BUILDS)
def test_a_package_holds_what_its_board_needs(built: Path, build: str) -> None:
    """A package has model, labels, programs and figures, all under the family's licence."""
    folder = folder_of(built, build)
    model = f"{build.partition('@')[0]}.tflite"
    assert {path.name for path in folder.iterdir()} == {
        model,
        "labels.txt",
        "preprocessing.json",
        "model.json",
        "metrics.json",
        "manifest.json",
        "build.json",
        "logs",
        "curves",
        "training",
        "README.md",
        "detect.py",
        "benchmark.py",
        "network.py",
        "vision.py",
        "pictures.py",
        "figures.py",
        "requirements.txt",
    }
    assert (folder / "labels.txt").read_text().split() == ["bar", "egg"]
    assert (folder / model).stat().st_size < 2_000_000
    found = read(folder / "model.json")
    assert (found["head"], found["classes"]) == ("yolox-split", ["bar", "egg"])
    manifest = manifest_of(built, build)
    assert any("Apache-2.0" in text for text in manifest["licences"])
    assert not any("AGPL" in text for text in manifest["licences"])


@pytest.mark.parametrize("build", BUILDS)
def test_every_form_has_the_accuracy_of_the_checkpoint(built: Path, build: str) -> None:
    """Checkpoint and files agree in accuracy, which is above zero."""
    figures = {
        name: found["metrics"]
        for name, found in read(folder_of(built, build) / "metrics.json").items()
    }
    assert set(figures) == {"checkpoint", "onnx", "tflite"}
    for name, value in figures["checkpoint"].items():
        assert figures["onnx"][name] == pytest.approx(value, abs=1e-3)
    evidence = manifest_of(built, build)["evidence"]
    assert evidence["gate"]["figures"]["box.mAP50"]["value"] == figures["tflite"]["box.mAP50"] > 0
    assert evidence["parity"]["passed"]
    assert evidence["parity"]["rungs"][-1]["detections"]["in_both"] > 0


def test_both_files_find_what_the_onnx_finds(built: Path, tmp_path: Path) -> None:
    """Class, score within a hundredth, box within a pixel, on every image of the val split.

    The ONNX file is a recipe of its own, as of somebody who was given it.
    """
    pictures = fetch(built, "prepare", "dataset", tmp_path / "data") / "images" / "val"
    fetch(built, "export", "onnx", built / "given.onnx")
    (built / "targets").mkdir()
    (built / "targets" / "onnx-file.yaml").write_text(ONNX_FILE)
    (built / "recipes" / "given.yaml").write_text(GIVEN)
    run = call(built, "doit", "build:given@onnx-file")
    assert run.returncode == 0, run.stdout + run.stderr
    wanted = predict(built, "given@onnx-file", pictures)
    assert sum(item["score"] >= SURE for row in wanted for item in row) > 5
    for build in BUILDS:
        found = predict(built, build, pictures)
        assert len(found) == len(wanted) == 6
        for one, other in zip(wanted, found, strict=True):
            assert [item for item in one if not is_among(item, other)] == []
            assert [item for item in other if not is_among(item, one)] == []


SURE, ASKED = 0.1, 0.08
"""The compared and the required confidence; a score may differ by 0.01."""


def predict(root: Path, build: str, pictures: Path) -> list[list[dict[str, Any]]]:
    """The objects of every image."""
    run = call(root, "buildsys", "predict", build, str(pictures), "--confidence", str(ASKED))
    assert run.returncode == 0, run.stderr
    found = read(root / "build" / ".predictions" / build / "predictions.json")
    return [row["objects"] for row in found["pictures"]]


def is_among(item: dict[str, Any], others: list[dict[str, Any]]) -> bool:
    """Whether the other file found the object, too; uncertain objects are not compared."""
    return item["score"] < SURE or any(
        other["class"] == item["class"]
        and other["score"] == pytest.approx(item["score"], abs=0.01)
        and other["box"] == pytest.approx(item["box"], abs=1)
        for other in others
    )


def test_another_threshold_is_judged_and_nothing_is_measured(built: Path) -> None:
    """Both gates judge again; packages with the same verdict stay."""
    path = built / "recipes" / "camera.yaml"
    path.write_text(CAMERA.replace("min: 0.05", "min: 0.06"))
    run = call(built, "doit")
    assert run.returncode == 0, run.stderr
    assert ran(run.stderr) == {"gate": 2}
    path.write_text(CAMERA)


def test_a_board_is_one_yaml_file(built: Path) -> None:
    """The other target shares every step but the package."""
    (built / "targets").mkdir(exist_ok=True)
    (built / "targets" / "my-camera.yaml").write_text(BOARD)
    path = built / "recipes" / "camera.yaml"
    path.write_text(CAMERA.replace("tflite]", "tflite, my-camera]"))
    run = call(built, "doit")
    assert run.returncode == 0, run.stderr
    assert ran(run.stderr) == {"package": 2}
    for build in BUILDS:
        ours, theirs = (
            manifest_of(built, name) for name in (f"{build.split('@')[0]}@my-camera", build)
        )
        model = f"{build.partition('@')[0]}.tflite"
        assert ours["files"][model] == theirs["files"][model]
    path.write_text(CAMERA)


def test_a_board_whose_firmware_cannot_decode_it_is_refused(built: Path) -> None:
    """A board whose firmware cannot decode YOLOX is refused with the possible choices."""
    path = built / "recipes" / "edge.yaml"
    path.write_text(EDGE.replace(", firmware: unchecked", ""))
    run = call(built, "buildsys", "check")
    path.write_text(EDGE)
    assert run.returncode == 2, run.stdout + run.stderr
    assert "decodes yolov8 networks, but the recipe has yolox-nano, family yolox" in run.stdout
    assert "`firmware: unchecked`" in run.stdout
    assert "linux-arm64-tflite" in run.stdout


def test_unchecked_it_is_compiled_and_says_what_is_not_verified(built: Path) -> None:
    """With `firmware: unchecked` the manifest states that the decoder is not verified."""
    folder = folder_of(built, GROVE)
    manifest = manifest_of(built, GROVE)
    (compiled,) = (step for step in manifest["steps"] if step["stage"] == "compile")
    assert compiled["tool"].startswith("vela 4.5")
    assert read(folder / "model.json")["operators"]["ethos-u"] == 1
    told = "Not verified: whether a firmware decodes this model (`firmware: unchecked`)."
    assert told in manifest["unverified"]
    assert read(folder / "metrics.json")["tflite"]["metrics"]["box.mAP50"] > 0
