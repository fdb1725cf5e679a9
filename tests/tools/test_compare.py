"""Comparing builds with the real runtimes, and YOLOv4-tiny from its family to a TFLite file."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from buildsys.digest import digest_file
from buildsys.execution.tools.host_facts import cpu_name
from tests.conftest import REPOSITORY
from tests.tools.bright import ONNX_FILE
from tests.tools.places import doit, make_workspace, read, shared_store

pytestmark = pytest.mark.tools

GIVEN = """\
name: {name}
source: {{family: {family}, weights: {{path: bright.{family}}}}}
evaluate: none
targets: [{target}]
"""
YOLOV4 = """\
name: yolov4-tiny
source: {family: yolov4, task: detect, architecture: yolov4-tiny, weights: random}
input: {size: 64}
evaluate: none
quantization: {scheme: float16}
targets: [host]
"""


@pytest.fixture(scope="module")
def pair(bright_place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a network as ONNX and TFLite file in two recipes, compared."""
    one = GIVEN.format(name="one", family="onnx", target="onnx-file")
    two = GIVEN.format(name="two", family="tflite", target="host")
    root = make_workspace(tmp_path_factory.mktemp("compare") / "pair", one=one, two=two)
    (root / "targets").mkdir()
    (root / "targets" / "onnx-file.yaml").write_text(ONNX_FILE)
    shutil.copyfile(bright_place / "bright.onnx", root / "bright.onnx")
    shutil.copyfile(bright_place / "build/bright/host/bright.tflite", root / "bright.tflite")
    run = doit(root, pages=True)
    assert run.returncode == 0, run.stderr
    run = compare(root)
    assert run.returncode == 0, run.stderr
    assert "compare (2 builds): done" in run.stderr
    assert re.search(
        r"^two@host +tflite +\d+ +1 +\d+\.\d+ +\d+\.\d\d +not measured$", run.stdout, re.M
    )
    return root


def compare(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `buildsys compare` with the shared store."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "BUILDSYS_STORE": str(shared_store()),
    }
    command = ("compare", "--runs", "10", "--warmup", "2", *arguments, "two@host", "one@*")
    return subprocess.run(
        [sys.executable, "-m", "buildsys", *command],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_two_recipes_are_compared(pair: Path) -> None:
    """The record has runtime, size, operators, times and ratio of each file, by digest."""
    (record,) = (pair / "build" / ".comparisons").iterdir()
    data = read(record)
    told = {key: data[key] for key in ("label", "device", "threads", "runs", "warmup", "what")}
    assert told == {
        "label": "measured here",
        "device": cpu_name(),
        "threads": 1,
        "runs": 10,
        "warmup": 2,
        "what": "engine only",
    }
    onnx, tflite = data["rows"]
    assert (onnx["engine"], tflite["engine"]) == ("onnxruntime", "litert")
    assert (onnx["builds"], tflite["builds"]) == (["one@onnx-file"], ["two@host"])
    for row, file in ((onnx, "bright.onnx"), (tflite, "bright.tflite")):
        assert (row["sha256"], row["bytes"]) == (
            digest_file(pair / file),
            (pair / file).stat().st_size,
        )
        assert 0 < row["min_ms"] <= row["mean_ms"] <= row["max_ms"]
        assert row["runs"] == 10
    assert (onnx["operators"], onnx["transposes"]) == (18, 6)
    assert tflite["operators"] > 0
    assert min(onnx["ratio"], tflite["ratio"]) == 1.0


def test_the_page_has_the_table(pair: Path) -> None:
    """The report's table is labelled as measured here, with machine and threads, and has a row per
    build.
    """
    page = (pair / "build" / "report" / "index.html").read_text()
    assert page.count("<h2>Comparison</h2>") == 1
    section = page.partition("<h2>Comparison</h2>")[2].partition("</section>")[0]
    assert "Measured here on" in section
    assert "1 thread: 10 runs after 2 to warm up, one run of each file in turn" in section
    assert re.findall(r'<a href="#([^"]+)">', section).count("two@host") == 1
    assert section.count("not measured") == 2


def test_a_second_comparison_measures_nothing(pair: Path) -> None:
    """A second comparison prints the record and does not change the report."""
    before = (pair / "build" / "report" / "index.html").read_bytes()
    run = compare(pair, "--json")
    assert (run.returncode, run.stderr) == (0, "")
    (record,) = (pair / "build" / ".comparisons").iterdir()
    assert run.stdout == record.read_text()
    assert (pair / "build" / "report" / "index.html").read_bytes() == before


def test_yolov4_tiny_builds_from_random_weights(tmp_path: Path) -> None:
    """A family of two modules and a lock is initialized, exported and converted."""
    root = make_workspace(tmp_path / "place", **{"yolov4-tiny": YOLOV4})
    run = doit(root)
    assert run.returncode == 0, run.stderr
    folder = root / "build" / "yolov4-tiny" / "host"
    manifest: dict[str, Any] = read(folder / "manifest.json")
    stages = [step["module"] for step in manifest["steps"]]
    assert stages[:4] == ["initialize_yolov4", "export_yolov4", "convert_onnx2tf", "convert_tflite"]
    assert any("Apache-2.0" in text for text in manifest["licences"])
    assert "Accuracy: not measured." in manifest["unverified"]
    size = (folder / "yolov4-tiny.tflite").stat().st_size
    assert 12_000_000 < size < 12_300_000, "6 million weights, two bytes each"
