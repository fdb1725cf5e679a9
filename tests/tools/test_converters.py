"""Two converters for one network with their real tools: the files differ, the results do not."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildsys.execution.places import Workspace
from buildsys.execution.running.runner import LAUNCHER
from buildsys.execution.tools import environments
from buildsys.operations.published_model import find_published
from tests.conftest import REPOSITORY
from tests.tools.bright import BRIGHT, LIVELY
from tests.tools.places import (
    doit,
    draw,
    make_workspace,
    read,
    shared_store,
    statuses,
    tool_environment,
)

pytestmark = pytest.mark.tools

_TOOLS = ("onnx2tf", "onnx-tf")
_BOTH = (
    BRIGHT.replace("name: bright", "name: both").partition("targets:")[0]
    + """\
matrix: {convert.tool: [onnx2tf, onnx-tf]}
quantization: {calibration: {images: "pictures/*.bmp", count: 4}}
targets:
  - tensorflow-saved-model
  - {target: host, as: whole, quantization: {scheme: int8}}
"""
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with a network for bright spots from both converters. Read-only."""
    root = make_workspace(tmp_path_factory.mktemp("converters") / "place", both=_BOTH)
    draw(root / "pictures", 96, 4)
    _, python = environments.ensure("onnx2tf", print)
    command = [str(python), "-c", LIVELY, str(root / "bright.onnx")]
    subprocess.run(command, check=True, env=tool_environment(python))
    run = doit(root)
    assert run.returncode == 0, run.stderr
    yield root
    shutil.rmtree(root)


def _predict(root: Path, build: str) -> list[list[dict[str, Any]]]:
    """The objects in every image."""
    run = _buildsys(root, "predict", build, "pictures")
    assert run.returncode == 0, run.stderr
    found = read(root / "build" / ".predictions" / build / "predictions.json")
    return [row["objects"] for row in found["pictures"]]


def _buildsys(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a buildsys command with the shared store."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "BUILDSYS_STORE": str(shared_store()),
    }
    return subprocess.run(
        [sys.executable, "-m", "buildsys", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_both_files_see_the_same(built: Path) -> None:
    """Both converters' files find the same objects; float16 is tested in test_yolox_pipeline."""
    one, other = (_predict(built, f"both-{tool}@whole") for tool in _TOOLS)
    assert sum(map(len, one)) > 10, "nothing was seen, so nothing was compared"
    for left, right in zip(one, other, strict=True):
        assert [item["class"] for item in left] == [item["class"] for item in right]
        for a, b in zip(left, right, strict=True):
            assert a["score"] == pytest.approx(b["score"], abs=0.01)
            assert a["box"] == pytest.approx(b["box"], abs=1)


@pytest.mark.parametrize("tool", _TOOLS)
def test_every_step_says_whose_tensorflow_it_was(built: Path, tool: str) -> None:
    """Each manifest names its own converter."""
    manifest = read(built / "build" / f"both-{tool}" / "whole" / "manifest.json")
    tools = {step["stage"]: step["tool"] for step in manifest["steps"]}
    for stage in ("convert", "quantize"):
        assert tools[stage].startswith(f"{tool} ")
    assert manifest["evidence"]["parity"]["passed"]
    assert manifest["evidence"]["signal"]["passed"]


@pytest.mark.parametrize("tool", _TOOLS)
def test_a_saved_model_is_loaded_as_its_readme_says(built: Path, tool: str, tmp_path: Path) -> None:
    """A SavedModel package runs by its README's four lines, also with the other converter's
    TensorFlow.
    """
    folder = built / "build" / f"both-{tool}" / "tensorflow-saved-model"
    assert {path.name for path in folder.iterdir()} >= {
        f"both-{tool}_saved_model",
        "labels.txt",
        "preprocessing.json",
        "README.md",
        "manifest.json",
    }
    text = (folder / "README.md").read_text()
    code = "\n".join(line[4:] for line in text.splitlines() if line.startswith("    "))
    assert len(code.splitlines()) == 4
    (other,) = set(_TOOLS) - {tool}  # its own already read it for the TFLite files
    _, python = environments.ensure(other, print)
    run = subprocess.run(
        [str(python), "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=tool_environment(python, tmp_path),
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "box_s8" in run.stdout
    assert not list(folder.rglob("fingerprint.pb")), "a random name in every build"


def test_a_package_with_a_folder_is_verified_and_reported(built: Path) -> None:
    """`verify` and the report work for a package that is a folder."""
    build = "both-onnx-tf@tensorflow-saved-model"
    assert statuses(built)[build] in ("built", "up-to-date")
    run = _buildsys(built, "verify", build)
    assert run.returncode == 0, run.stdout + run.stderr
    published = find_published(Workspace(built), build)
    assert published.format == "saved-model"
    report = (built / "build" / "report" / "report.md").read_text()
    assert published.sha256 in report


_SMALL = """
import sys
import numpy as np, onnx
from onnx import TensorProto as T, helper as h, numpy_helper as n
opset, ir, sizes = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
random, values, nodes = np.random.default_rng(0), [], []
def constant(name, array):
    values.append(n.from_array(np.asarray(array), name))
    return name
def axes(place):  # an attribute before opset 13
    name = f"axis{place}"
    return ([constant(name, [place])], {}) if opset >= 13 else ([], {"axes": [place]})
weights = random.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)
nodes.append(h.make_node("Conv", ["input:0", constant("_w", weights)], ["stem"], pads=[1] * 4))
halves = ([constant("halves", [2, 6])], {}) if opset >= 13 else ([], {"split": [2, 6]})
nodes.append(h.make_node("Split", ["stem", *halves[0]], ["few", "many"], axis=1, **halves[1]))
deep = random.normal(0, 0.3, (6, 1, 3, 3)).astype(np.float32)
nodes.append(h.make_node("Conv", ["many", constant("deep", deep)], ["own"], group=6, pads=[1] * 4))
nodes.append(h.make_node("Concat", ["own", "few"], ["joined"], axis=1))
more, said = axes(2)
nodes.append(h.make_node("Unsqueeze", ["joined", *more], ["wide"], **said))
nodes.append(h.make_node("Squeeze", ["wide", *more], ["flat"], **said))
scales = constant("scales", np.array([1, 1, 2, 2], np.float32))
if sizes == "resize":
    nodes.append(h.make_node("Resize", ["flat", constant("roi", np.zeros(0, np.float32)), scales], ["last"], mode="nearest",
                             coordinate_transformation_mode="asymmetric", nearest_mode="floor"))
else:
    nodes.append(h.make_node("Sigmoid", ["flat"], ["last"]))
side = 64 if sizes == "resize" else 32
graph = h.make_graph(nodes, "small", [h.make_tensor_value_info("input:0", T.FLOAT, [1, 3, 32, 32])],
                     [h.make_tensor_value_info("last", T.FLOAT, [1, 8, side, side])], values)
model = h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=ir)
onnx.save(model, sys.argv[1])
"""
"""A network with the known faults of onnx-tf 1.10: uneven splits, axes as input, random names."""


def _convert(folder: Path, opset: int, ir: int, last: str) -> tuple[int, str]:
    """Run convert_onnx_tf in its own folder; return exit code and messages."""
    folder.mkdir()
    _, newest = environments.ensure("evaluate", print)
    words = [str(folder / "small.onnx"), str(opset), str(ir), last]
    subprocess.run([str(newest), "-c", _SMALL, *words], check=True, env=tool_environment(newest))
    request = {
        "inputs": {"onnx": str(folder / "small.onnx")},
        "outputs": {
            "saved-model": str(folder / "saved"),
            "layouts": str(folder / "layouts.json"),
            "float-tflite": str(folder / "float.tflite"),
        },
        "params": {
            "output_names": ["answer"],
            "preprocessing": {"height": 32, "width": 32, "color": "rgb", "resize": "letterbox"},
        },
        "error": str(folder / "error.txt"),
    }
    (folder / "request.json").write_text(json.dumps(request))
    _, python = environments.ensure("onnx-tf", print)
    command = [str(python), "-s", str(LAUNCHER), "convert_onnx_tf", str(folder / "request.json")]
    run = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=tool_environment(python, folder),
    )
    told = folder / "error.txt"
    return run.returncode, told.read_text() if told.exists() else run.stdout + run.stderr


def test_an_opset_with_axes_as_attributes_is_converted(tmp_path: Path) -> None:
    """A file of a current onnx version with old operator versions is converted."""
    code, told = _convert(tmp_path / "old", 11, ir=12, last="resize")
    assert code == 0, told


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    """Converting again in another folder and process gives the same bytes."""
    for name in ("one", "two"):
        code, told = _convert(tmp_path / name, 13, ir=12, last="resize")
        assert code == 0, told
    files = [path for path in (tmp_path / "one" / "saved").rglob("*") if path.is_file()]
    assert "saved_model.pb" in {path.name for path in files}
    for path in files:
        twin = tmp_path / "two" / "saved" / path.relative_to(tmp_path / "one" / "saved")
        assert twin.read_bytes() == path.read_bytes(), path.name


def test_an_opset_that_it_does_not_know_is_reported(tmp_path: Path) -> None:
    """An opset that the converter does not support is reported in one sentence."""
    code, told = _convert(tmp_path / "new", 18, ir=8, last="resize")
    assert code == 3, told
    assert told == (
        "onnx-tf cannot convert this network of opset 18: Split version 18 is not implemented."
        " Cure: export: {opset: 13}; or convert: {tool: onnx2tf}."
    )
