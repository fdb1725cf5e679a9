"""Engines from the real builder without a GPU: every precision of a small random network."""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildsys.digest import digest_file
from buildsys.execution.store.store import Store
from buildsys.execution.tools import environments
from buildsys.registry import PACKAGE
from buildsys.steps import package_engine
from tests.conftest import REPOSITORY
from tests.tools.places import (
    WARNINGS_ARE_ERRORS,
    doit,
    draw,
    make_workspace,
    read,
    statuses,
    store_of,
    tool_environment,
)

pytestmark = pytest.mark.tools

_NO_GPU = pytest.mark.skipif(bool(shutil.which("nvidia-smi")), reason="there is a GPU here")
_TINY = """\
name: tiny
source: {family: ultralytics, task: detect, architecture: yolov8n, weights: random}
input: {size: 64}
evaluate: none
quantization: {calibration: {images: "pictures/*.bmp", count: 4}}
targets:
  - {target: nvidia-rtx-aot, as: single}
  - {target: nvidia-rtx-aot, as: half, quantization: {scheme: float16}}
  - {target: nvidia-rtx-aot, as: whole, quantization: {scheme: int8}}
  - {target: nvidia-rtx-aot, as: wide, quantization: {scheme: int8, unquantized: float32}}
  - nvidia-a100
  - {target: jetson-orin, quantization: {scheme: int8}}
"""
_BROKEN = """\
name: broken
source: {family: onnx, weights: {path: broken.onnx}}
input: {size: 64}
evaluate: none
targets: [nvidia-rtx-aot]
"""
_UNKNOWN = """
import sys
from onnx import TensorProto as T, helper as h, save
ends = [h.make_tensor_value_info(name, T.FLOAT, [1, 3, 64, 64]) for name in ("images", "out")]
ends[1] = h.make_tensor_value_info("out", T.FLOAT, [1, 3])
node = h.make_node("Det", ["images"], ["out"], name="the_fancy_one")
graph = h.make_graph([node], "unknown", ends[:1], ends[1:])
save(h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8), sys.argv[1])
"""
_LOOK = """
import sys, json, onnx
from onnx import TensorProto as T
model = onnx.load(sys.argv[1])
onnx.checker.check_model(model, full_check=True)
graph = model.graph
kind = {t.name: T.DataType.Name(t.data_type) for t in graph.initializer}
made = {name: node for node in graph.node for name in node.output}
kernels = []
for node in graph.node:
    if node.op_type == "Conv":
        name = node.input[1]
        kernels.append(kind[made[name].input[0] if name in made else name])
ends = {T.DataType.Name(v.type.tensor_type.elem_type) for v in (*graph.input, *graph.output)}
print(json.dumps({"ends": sorted(ends), "kernels": sorted(set(kernels)),
                  "kernel_count": len(kernels), "scales": sorted({kind[node.input[1]] for node in graph.node
                                                                if node.op_type == "DequantizeLinear"}),
                  "float_kernels": kernels.count("FLOAT") + kernels.count("FLOAT16"),
                  "quantized": kernels.count("INT8")}))
"""
_AGAIN = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from buildsys.steps import build_engine as step
params = step.Params(
    library="tensorrt-rtx", version="1.7", compute_capability="", workspace_gib=1,
    optimization_level=3, version_compatible=False, hardware_compatibility="none",
    scheme=sys.argv[3],
)
outputs = {"engine": Path("again.engine").resolve(), "engine-facts": Path("again.json").resolve()}
step.run({"quantized-onnx": Path(sys.argv[2])}, outputs, params)
"""


_SMALL = """
import sys; sys.path.insert(0, sys.argv[1])
import json
import numpy as np
import onnx
from onnx import TensorProto as T, helper as h, numpy_helper as n
from buildsys.steps import quantize_onnx as step
scales = np.array([0.1234567, 1e-5, 1e-9], np.float32)
steps = np.array([100, 127, 127], np.int8).reshape(3, 1, 1, 1)
held = [n.from_array(a, name) for name, a in (
    ("w", steps), ("s", scales), ("z", np.zeros(3, np.int8)), ("e", np.float32(0.0039)), ("o", np.int8(0)))]
nodes = [h.make_node("QuantizeLinear", ["images", "e", "o"], ["q"], name="q"),
         h.make_node("DequantizeLinear", ["q", "e", "o"], ["d"], name="d"),
         h.make_node("DequantizeLinear", ["w", "s", "z"], ["k"], name="k", axis=0),
         h.make_node("Conv", ["d", "k"], ["out"], name="c")]
ends = [h.make_tensor_value_info("images", T.FLOAT, [1, 1, 4, 4]),
        h.make_tensor_value_info("out", T.FLOAT, [1, 3, 4, 4])]
model = h.make_model(h.make_graph(nodes, "small", ends[:1], ends[1:], held),
                     opset_imports=[h.make_opsetid("", 13)], ir_version=8)
made = step._for_half(model)
onnx.checker.check_model(made, full_check=True)
values = {t.name: n.to_array(t) for t in made.graph.initializer}
half = values["s"].astype(np.float16)
print(json.dumps({"opset": made.opset_import[0].version, "exact": bool((half == values["s"]).all()),
                  "weights": (values["w"].ravel() * values["s"]).tolist()}))
"""
_ANSWER = """
import json, sys
import numpy as np
from PIL import Image
facts = json.load(open(sys.argv[1]))
outputs = {t["name"]: np.full(t["shape"], -20, np.float32) for t in facts["outputs"]}
outputs["box_s8"].reshape(1, 64, 4, 16)[0, 10, :, 2] = 20
outputs["cls_s8"][0, 10, 7] = 4
np.savez(sys.argv[2], **outputs)
Image.new("RGB", (128, 128)).save(sys.argv[3])
"""
CHECKS = re.findall(
    r"^def (check_\w+)",
    (REPOSITORY / "tests" / "tools" / "engine_cases.py").read_text(),
    re.MULTILINE,
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with the four engines, and builds that wait for a GPU. Read-only."""
    root = make_workspace(tmp_path_factory.mktemp("engines") / "place", tiny=_TINY)
    draw(root / "pictures", 64, 4)
    run = doit(root, store=store_of(root))
    assert run.returncode == 0, run.stderr
    yield root
    shutil.rmtree(root)


@pytest.mark.parametrize("build", ["single", "half", "whole"])
def test_an_engine_is_packed_with_what_its_reader_needs(built: Path, build: str) -> None:
    """A package names its library, and the outputs of the engine."""
    folder = built / "build" / "tiny" / build
    facts = read(folder / "engine.json")
    assert (facts["library"], facts["version"]) == ("tensorrt-rtx", "1.7.1.116")
    assert facts["inputs"] == [{"name": "images", "shape": [1, 3, 64, 64], "dtype": "FLOAT"}]
    assert [tensor["name"] for tensor in facts["outputs"]][:2] == ["box_s8", "box_s16"]
    assert {tensor["dtype"] for tensor in facts["outputs"]} == {"FLOAT"}
    text = (folder / "README.md").read_text()
    assert "never loaded or run" in text
    assert ("4 calibration images; 500 are recommended" in text) is (build == "whole")
    assert any(
        "Not verified: the engine itself" in note
        for note in read(folder / "manifest.json")["unverified"]
    )


@_NO_GPU
def test_what_waits_for_a_gpu_is_no_failure(built: Path) -> None:
    """Without a GPU a build waits: exit code 10 if requested by name, otherwise 0."""
    waiting = {
        "tiny@nvidia-a100": "waiting for TensorRT 11.4, compute capability 8.0",
        "tiny@jetson-orin": "waiting for TensorRT 10.3, compute capability 8.7",
    }
    everything = doit(built, store=store_of(built))
    assert everything.returncode == 0, everything.stderr
    assert waiting.items() <= statuses(built).items()
    for build, told in waiting.items():
        asked = doit(built, f"build:{build}", store=store_of(built))
        assert asked.returncode == 10
        assert told in asked.stdout + asked.stderr
        assert "Traceback" not in asked.stdout + asked.stderr


def test_half_of_the_weights_is_half_of_the_file(built: Path) -> None:
    """The precision changes the engine's size."""
    sizes = {
        build: (built / "build" / "tiny" / build / "tiny.engine").stat().st_size
        for build in ("single", "half", "whole", "wide")
    }
    assert sizes["half"] < 0.75 * sizes["single"]
    assert sizes["whole"] < sizes["wide"] < sizes["single"]


def test_the_file_before_the_engine_says_the_precision(built: Path) -> None:
    """The ONNX file before the engine states int8 or float16 for a strongly typed builder."""
    half = _look(built, "half")
    assert (half["ends"], half["kernels"]) == (["FLOAT"], ["FLOAT16"])
    for build, rest in (("whole", "FLOAT16"), ("wide", "FLOAT")):
        look = _look(built, build)
        assert (look["ends"], look["kernels"]) == (["FLOAT"], [rest, "INT8"])
        assert look["scales"] == [rest]
        # an input and a weight of every convolution but the last one of each of the six branches
        assert look["float_kernels"] == 6
        assert look["quantized"] == look["kernel_count"] - 6


def test_weights_too_small_for_scales_of_float16_keep_what_they_can() -> None:
    """Scales below float16's smallest number do not make a channel zero."""
    _, python = environments.ensure("evaluate", print)
    command = [str(python), "-c", _SMALL, str(REPOSITORY)]
    run = subprocess.run(
        command, capture_output=True, text=True, check=True, env=tool_environment(python)
    )
    found = json.loads(run.stdout)
    assert (found["opset"], found["exact"]) == (19, True)
    assert found["weights"] == pytest.approx([12.34567, 1.27e-3, 0], rel=3e-2)


def _blob(root: Path, build: str, output: str) -> Path:
    """The store's path of an output of a build's step."""
    steps = read(root / "build" / "tiny" / build / "manifest.json")["steps"]
    (digest,) = (s["outputs"][output] for s in steps if output in s["outputs"])
    return Store(store_of(root)).blob(digest)


def _look(root: Path, build: str) -> dict[str, Any]:
    """The operators and types of the file from which the engine was built."""
    _, python = environments.ensure("evaluate", print)
    command = [str(python), "-c", _LOOK, str(_blob(root, build, "quantized-onnx"))]
    run = subprocess.run(
        command, capture_output=True, text=True, check=True, env=tool_environment(python)
    )
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("build", ["half", "whole"])
def test_the_same_network_gives_the_same_engine(built: Path, tmp_path: Path, build: str) -> None:
    """`buildsys verify` finds no difference if nothing changed."""
    shipped = built / "build" / "tiny" / build
    first = _build_again(built, tmp_path / "a place", build)
    second = _build_again(built, tmp_path / "in a folder with another name", build)
    assert first.stat().st_size == (shipped / "tiny.engine").stat().st_size
    if build == "whole":
        assert digest_file(first) == digest_file(shipped / "tiny.engine")
    # float16 bytes depend on memory addresses, which differ between isolated and manual runs
    shuffled = "addresses are shuffled" in (shipped / "logs" / "engine.log").read_text()
    assert digest_file(first) == digest_file(second) or (build == "half" and shuffled)


def _build_again(built: Path, place: Path, build: str) -> Path:
    """Build a build's engine manually in a folder."""
    place.mkdir()
    _, python = environments.ensure("tensorrt-rtx-1.7", print)
    scheme = {"half": "float16", "whole": "int8"}[build]
    words = [str(REPOSITORY), str(_blob(built, build, "quantized-onnx")), scheme]
    run = subprocess.run(
        [str(python), "-c", _AGAIN, *words],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        env=tool_environment(python, place),
    )
    assert run.returncode == 0, run.stderr
    return place / "again.engine"


def _load(python: Path, folder: Path, program: str = "run.py") -> subprocess.CompletedProcess[str]:
    """Run a package's program in an environment with the library and numpy."""
    _, other = environments.ensure("evaluate", print)
    numpy = next(other.parent.parent.glob("lib/python3*/site-packages"))
    return subprocess.run(
        [str(python), str(folder / program)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(numpy)},
    )


def test_the_loader_refuses_another_version(built: Path, tmp_path: Path) -> None:
    """An engine of another library version is refused in one sentence."""
    folder = tmp_path / "package"
    shutil.copytree(built / "build" / "tiny" / "single", folder, symlinks=True)
    facts = (folder / "engine.json").read_text()
    (folder / "engine.json").write_text(facts.replace("1.7.1.116", "1.6.0.1"))
    _, python = environments.ensure("tensorrt-rtx-1.7", print)
    run = _load(python, folder)
    assert (run.returncode, run.stdout) == (3, "")
    assert run.stderr.startswith(
        "error: the engine was built by TensorRT-RTX 1.6.0.1, and 1.7.1.116 is"
    )
    assert run.stderr.count("\n") == 1


@_NO_GPU
def test_the_loader_refuses_a_machine_without_a_gpu(built: Path) -> None:
    """Without a GPU the program prints one sentence."""
    _, python = environments.ensure("tensorrt-rtx-1.7", print)
    run = _load(python, built / "build" / "tiny" / "single")
    assert run.returncode == 3
    assert run.stderr.startswith(
        "error: tiny.engine cannot be loaded here (it is for an NVIDIA GPU of"
    )
    assert run.stderr.count("\n") == 1


def test_a_damaged_engine_is_reported(built: Path, tmp_path: Path) -> None:
    """A truncated engine is reported in one sentence."""
    shutil.copytree(built / "build" / "tiny" / "single", tmp_path / "package", symlinks=True)
    engine = tmp_path / "package" / "tiny.engine"
    engine.write_bytes(engine.read_bytes()[:-1])
    _, python = environments.ensure("tensorrt-rtx-1.7", print)
    for program in ("run.py", "benchmark.py"):
        run = _load(python, tmp_path / "package", program)
        assert run.returncode == 3
        assert run.stderr.startswith("error: tiny.engine is not the file that was packed")


@pytest.fixture(scope="module")
def faults() -> dict[str, str]:
    """The faults by check, run in one process of the evaluation environment."""
    _, python = environments.ensure("evaluate", print)
    run = subprocess.run(
        [str(python), *WARNINGS_ARE_ERRORS, "-m", "tests.tools.engine_cases"],
        cwd=REPOSITORY,
        env=tool_environment(python),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, str] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("check", CHECKS)
def test_the_programs_compute_what_the_build_does(check: str, faults: dict[str, str]) -> None:
    """Each check is documented in engine_cases.py."""
    assert not faults[check], faults[check]


def test_the_programs_are_written_for_old_machines() -> None:
    """The package's programs are valid for the devices' older Python."""
    templates = package_engine.STEP.templates
    assert templates is not None
    for name in templates.files:
        path = PACKAGE / "templates" / name
        if path.suffix == ".py":
            ast.parse(path.read_text(), feature_version=(3, 8))
            assert len(path.read_text().splitlines()) < 300, name


def test_answers_from_elsewhere_are_decoded_without_a_gpu(built: Path, tmp_path: Path) -> None:
    """Outputs from another machine or a server are decoded without a GPU."""
    folder = built / "build" / "tiny" / "single"
    words = (
        str(folder / "engine.json"),
        str(tmp_path / "answers.npz"),
        str(tmp_path / "photo.png"),
    )
    _, python = environments.ensure("ultralytics", print)  # numpy and Pillow
    subprocess.run([str(python), "-c", _ANSWER, *words], check=True, env=tool_environment(python))
    done = subprocess.run(
        [
            str(python),
            str(folder / "run.py"),
            words[2],
            "--outputs",
            words[1],
            "--draw",
            "seen.png",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    # a cell of stride 8, column 2, row 1, two cells to each side, in a photograph of twice the size,
    # at whose upper border the box ends
    assert done.stdout == f"{words[2]}: class-7 0.98 at 8,0 64x56\n"
    assert (tmp_path / "seen.png").stat().st_size > 100


def test_the_loader_says_what_is_missing(built: Path) -> None:
    """Without the library the program prints one sentence."""
    run = _load(Path(sys.executable), built / "build" / "tiny" / "single")
    assert run.returncode == 4
    expected = "error: TensorRT-RTX is missing: pip install tensorrt-rtx-cu13==1.7.1.116\n"
    assert run.stderr == expected


def test_a_file_that_the_parser_refuses(tmp_path: Path) -> None:
    """An operator that TensorRT lacks is reported by name."""
    root = make_workspace(tmp_path / "place", broken=_BROKEN)
    _, python = environments.ensure("evaluate", print)
    command = [str(python), "-c", _UNKNOWN, str(root / "broken.onnx")]
    subprocess.run(command, check=True, env=tool_environment(python))
    run = doit(root)
    assert statuses(root) == {"broken@nvidia-rtx-aot": "failed at engine"}, run.stderr
    assert "the ONNX parser refuses the network: " in run.stderr + run.stdout
    assert "the_fancy_one" in run.stderr + run.stdout
    assert "Traceback" not in run.stderr + run.stdout
