"""Triton model repositories, validated by Triton's schema, without a server."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildsys.digest import digest_file
from buildsys.execution.tools import environments
from buildsys.registry import PACKAGE
from tests.conftest import REPOSITORY
from tests.tools.places import by_hand, doit, draw, make_workspace, read

pytestmark = pytest.mark.tools

_RECIPE = """\
name: {task}
source: {{family: ultralytics, task: {task}, architecture: {architecture}, weights: random}}
input: {{size: 64}}
evaluate: none
quantization: {{calibration: {{images: "pictures/*.bmp", count: 4}}}}
targets:
  - {{target: triton-onnx, as: single, quantization: {{scheme: float32}}}}
  - {{target: triton-onnx, as: half, quantization: {{scheme: float16}}}}
  - {{target: triton-onnx, as: whole, quantization: {{scheme: int8}}}}
  - target: triton-onnx
    as: many
    export: {{batch: {{min: 1, opt: 2, max: 8}}}}
    quantization: {{scheme: int8}}
"""
_READ = """
import json, sys
from pathlib import Path
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2 as messages
config = text_format.Parse(Path(sys.argv[1]).read_text(), messages.ModelConfig())
print(json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True)))
"""
_ASK = """
import sys; sys.path.insert(0, sys.argv[1])
from types import SimpleNamespace as Stand
import client, json, looking, numpy, pictures, tritonclient.utils as utils
class Given:
    def __init__(self, *words): pass
    def set_data_from_numpy(self, values): pass
def say(*words, **named):
    if sys.argv[2] == "refuse":
        raise utils.InferenceServerException("no such\\nmodel")
    return Stand(as_numpy=json.loads(sys.argv[2]).get)
triton = Stand(InferInput=Given, InferRequestedOutput=Given)
batch = numpy.zeros((1, 3, 64, 64), numpy.float32)
try:
    client.infer(triton, Stand(infer=say), looking.read_facts(), batch)
except pictures.Failure as error:
    print(error.code, error)
"""
_PACK = """
import json, sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from buildsys.steps.lib.packages import network_description; from buildsys.steps import package_engine as step
batch, library, task, outputs = json.loads(sys.argv[2])
net = network_description.Network(
    name="net", label="an engine", task=task, head="decoded", outputs=tuple(outputs),
    classes=("cat", "dog"), keypoints=0, keypoint_dims=0, preprocessing=None, scheme="float32",
    batch=tuple(batch),
)
axis = -1 if batch[0] != batch[2] else batch[0]
tensor = lambda name, *shape: {"name": name, "shape": [axis, *shape], "dtype": "FLOAT"}
facts = {
    "library": library, "version": "10.3.0", "compute_capability": "8.7", "gpu": "Orin",
    "inputs": [tensor("images", 3, 64, 64)],
    "outputs": [tensor(name, *shape) for name, shape in outputs.items()],
}
Path("facts.json").write_text(json.dumps(facts))
Path("made.engine").write_bytes(b"an engine")
inputs = {"engine": Path("made.engine"), "engine-facts": Path("facts.json"),
          "templates": Path(sys.argv[1]) / "buildsys" / "templates"}
step.run(inputs, {"package": Path("package")}, step.Params(
    network=net, library=library, version_compatible=False,
    hardware_compatibility="none"))
"""


def _triton(*words: str, cwd: Path | None = None) -> str:
    _, python = environments.ensure("triton", print)
    run = subprocess.run(
        [str(python), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=by_hand(),
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def _config(path: Path) -> dict[str, Any]:
    """Parse a configuration by Triton's schema."""
    found: dict[str, Any] = json.loads(_triton("-c", _READ, str(path)))
    return found


def _pack(folder: Path, batch: tuple[int, int, int], task: str, outputs: dict[str, Any]) -> Any:
    """A TensorRT engine packaged by package_engine, and its configuration."""
    words = json.dumps([batch, "tensorrt", task, outputs])
    _triton("-c", _PACK, str(REPOSITORY), words, cwd=folder)
    return _config(folder / "package" / "triton" / "net" / "config.pbtxt")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two tasks in three precisions. Read-only."""
    recipes = {
        task: _RECIPE.format(task=task, architecture=architecture)
        for task, architecture in (("detect", "yolov8n"), ("classify", "yolov8n-cls"))
    }
    root = make_workspace(tmp_path_factory.mktemp("triton") / "place", **recipes)
    draw(root / "pictures", 64, 4)
    run = doit(root)
    assert run.returncode == 0, run.stderr
    yield root
    shutil.rmtree(root)


@pytest.fixture
def client(tmp_path: Path) -> Path:
    """client.py and its modules, with the facts of a network that a request needs."""
    from buildsys.steps import package_triton

    templates = package_triton.STEP.templates
    assert templates is not None
    for name in templates.files:
        shutil.copy(PACKAGE / "templates" / name, tmp_path)
    facts = {"served_as": "net", "inputs": [{"name": "images"}], "outputs": [{"name": "boxes"}]}
    (tmp_path / "model.json").write_text(json.dumps(facts))
    return tmp_path


@pytest.mark.parametrize("build", ["single", "half", "whole"])
def test_the_configuration_for_a_server_matches_the_file(built: Path, build: str) -> None:
    """The configuration matches the engine's inputs and outputs."""
    folder = built / "build" / "detect" / build
    config = _config(folder / "triton" / "detect" / "config.pbtxt")
    assert (config["name"], config["backend"]) == ("detect", "onnxruntime")
    assert "max_batch_size" not in config  # 0: the batch is an axis of the shapes
    assert "dynamic_batching" not in config
    (given,) = config["input"]
    assert given == {
        "name": "images",
        "data_type": "TYPE_FP32",
        "dims": ["1", "3", "64", "64"],
    }
    told = {tensor["name"]: tensor["dims"] for tensor in config["output"]}
    assert told["box_s8"] == ["1", "64", "64"]
    assert {tensor["data_type"] for tensor in config["output"]} == {"TYPE_FP32"}
    facts = read(folder / "model.json")
    assert [tensor["name"] for tensor in facts["outputs"]] == list(told)
    assert digest_file(folder / facts["file"]) == facts["sha256"]
    assert any(
        "no server was here" in note for note in read(folder / "manifest.json")["unverified"]
    )


def test_a_file_of_any_batch_lets_the_server_put_requests_together(built: Path) -> None:
    """A batch range gives dynamic batching with the preferred size."""
    folder = built / "build" / "detect" / "many"
    config = _config(folder / "triton" / "detect" / "config.pbtxt")
    assert (config["max_batch_size"], config["input"][0]["dims"]) == (8, ["3", "64", "64"])
    assert config["dynamic_batching"] == {"preferred_batch_size": [2]}
    assert config["output"][0]["dims"] == ["64", "64"]
    assert "up to 8 images, preferably 2" in (folder / "README.md").read_text()


def test_classes_of_an_image_are_labelled_by_the_server(built: Path) -> None:
    """The labels file gives Triton's classification its names."""
    folder = built / "build" / "classify" / "single" / "triton" / "classify"
    (output,) = _config(folder / "config.pbtxt")["output"]
    assert output["label_filename"] == "labels.txt"
    assert len((folder / "labels.txt").read_text().splitlines()) == int(output["dims"][-1])


def test_the_client_tells_that_the_library_is_missing(built: Path) -> None:
    """Without the HTTP library, client.py prints one sentence."""
    folder = built / "build" / "detect" / "single"
    run = subprocess.run(
        [sys.executable, str(folder / "client.py"), "photo.jpg"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 4
    assert run.stderr.startswith("error: the Python package tritonclient is missing: ")
    # it is not in an engine's requirements.txt
    assert run.stderr.endswith('"tritonclient[http]"\n')


@pytest.mark.parametrize(
    "url",
    ["localhost:abc", "localhost:99999", "https://localhost:8000", "ftp://localhost:8000", ""],
)
def test_the_client_tells_that_an_address_is_none(client: Path, url: str) -> None:
    """An invalid address is reported in one sentence, with or without the HTTP library."""
    run = subprocess.run(
        [sys.executable, str(client / "client.py"), "photo.jpg", "--url", url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 3
    assert run.stderr.startswith(f"error: --url {url}: ")
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("hello", "3 the response does not come from a Triton server (JSONDecodeError)"),
        ("null", "3 the response does not come from a Triton server (AttributeError)"),
        ("{}", "3 the response lacks the outputs boxes: is it a Triton server?"),
        ("refuse", "3 the server reports an error: no such model"),
    ],
)
def test_the_client_tells_that_no_triton_answers(client: Path, answer: str, told: str) -> None:
    """A server that is not Triton is reported in one sentence."""
    assert _triton("-c", _ASK, str(client), answer) == told + "\n"


def test_an_engine_lies_where_a_server_looks_for_it(tmp_path: Path) -> None:
    """The engine is in the package once, where Triton loads it."""
    config = _pack(tmp_path, (1, 1, 1), "detect", {"detections": [6, 84]})
    assert (config["platform"], config["output"][0]["dims"]) == ("tensorrt_plan", ["1", "6", "84"])
    assert "max_batch_size" not in config
    folder = tmp_path / "package"
    facts = read(folder / "engine.json")
    assert (facts["file"], facts["served_as"]) == ("triton/net/1/model.plan", "net")
    assert (folder / facts["file"]).read_bytes() == b"an engine"
    assert not list(folder.glob("*.engine"))
    assert (folder / "triton" / "net" / "labels.txt").read_text() == "cat\ndog\n"
    text = (folder / "README.md").read_text()
    assert "TensorRT 10.3.0 (no other version)" in text
    assert "compute capability 8.7, as it was built on: Orin" in text
    assert "tritonserver:YY.MM-py3-igpu tritonserver --model-repository=/models" in text
    assert "venv .venv-client\n" in text  # that of run.py has the system's packages
    run = subprocess.run(
        [sys.executable, str(folder / "run.py")], capture_output=True, text=True, check=False
    )
    assert run.returncode == 4
    assert (
        run.stderr
        == "error: TensorRT is missing: JetPack and NVIDIA's TensorRT packages bring it\n"
    )


@pytest.mark.parametrize(
    ("batch", "largest", "preferred"),
    [((1, 4, 8), 8, [4]), ((1, 1, 8), 8, None), ((2, 4, 8), None, None), ((4, 4, 4), None, None)],
)
def test_requests_are_put_together_where_any_number_fits(
    tmp_path: Path, batch: tuple[int, int, int], largest: int | None, preferred: list[int] | None
) -> None:
    """The configured batch sizes are those that the engine accepts."""
    config = _pack(tmp_path, batch, "detect", {"detections": [6, 84]})
    assert config.get("max_batch_size") == largest
    assert ("dynamic_batching" in config) is (largest is not None)
    assert config.get("dynamic_batching", {}).get("preferred_batch_size") == preferred
    held = ["3", "64", "64"]
    axis = "-1" if batch[0] != batch[2] else str(batch[0])
    assert config["input"][0]["dims"] == (held if largest else [axis, *held])


def test_the_client_asks_by_the_schema_that_the_configuration_is_made_of() -> None:
    """The client's version is that of the environment whose schema validates the configuration."""
    from buildsys.steps import package_triton

    lock = (PACKAGE / "envs" / "triton" / "lock.txt").read_text()
    version = package_triton.REQUIREMENTS[0].rsplit("==", 1)[-1]
    assert f"tritonclient=={version} \\\n" in lock
