"""Our TensorRT programs with NVIDIA's own Python bindings, from 8.6 to 11.4, without a GPU.

The bindings are wheels of a megabyte that need a dozen functions of TensorRT's libraries: a stand-in in C has
them (tensorrt_stand_in.c). So every name, signature and conversion that our programs use is the real one;
what TensorRT and a GPU compute is not tried.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from buildsys.digest import digest_file
from buildsys.execution.running.runner import LAUNCHER
from buildsys.execution.tools import environments
from buildsys.execution.tools.uv_commands import find_uv, uv_settings
from buildsys.steps.build_engine import Params, make_request
from buildsys.steps.lib.tensorrt import builder_process, bundle_program, separate_process
from buildsys.steps.lib.tensorrt.host_library import VARIABLE
from tests.conftest import REPOSITORY
from tests.tools.bindings_cases import VERSIONS, checks
from tests.tools.places import tool_environment

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(
        (sys.platform, platform.machine()) != ("linux", "x86_64"),
        reason="the stand-in speaks the calling convention of Linux on x86-64",
    ),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler is here"),
]
WHEELS = {
    "8.6.1": "705cfab5c60f0bed7d939559d880165a761bd9ac0f4203004948a760eef99838",
    "10.0.1": "f7cfe4edc7d1db20aa2a765cb0acb0dae8a6c4583b99aeade397f9e8f87f4a74",
    "10.3.0": "59ace22d7f2ca1e9dcde2cb0cb5916912cb3cd5a9d72dd7852be0160d9b3a0ee",
    "10.16.1.11": "150ef2b672487e29a8ea916353467c3e199994fb33589167e3641a928e243aa7",
    "11.0.0.114": "887896f07fe188707f6f01d982673e8a25735ad46ed5cd846e84e5ff59d19a87",
    "11.4.0.106": "e2ab48f316bbff6a7a44a30e94a9ceb0d2cf6645ff39feadecfa68d7cb7a94bf",
}
"""sha256 of each version's wheel for Python 3.11 on x86-64: of tensorrt-bindings, then tensorrt-cu12-bindings."""
_ON_A_JETSON = "10.3.0"
_TENSORRT = """
from pathlib import Path
import tensorrt_bindings
from tensorrt_bindings import *
from tensorrt_bindings import __version__
from tests.tools.tensorrt_stand_in import Machine
machine = Machine(Path({library!r}))
machine.learn(tensorrt_bindings)
"""
"""The package `tensorrt`, which re-exports its bindings."""
_IMAGES = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
import numpy as np
from buildsys.steps.lib.images import prepared_images
from buildsys.steps.lib.tensorrt import calibration_images
images = np.arange(5 * 12, dtype=np.uint8).reshape(5, 2, 2, 3)
prepared_images.save(Path("calibration"), images, [""] * 5)
calibration_images.save(Path("pictures.npy"), images)
"""
TABLE = Path(__file__).parent / "golden" / "tensorrt_calls.md"
_LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin", "nvparsers")
_CUDA = ("libcuda.so.1", "libcudart.so", "libcudart.so.12", "libcudart.so.13")
CASES = [(version, name) for version in VERSIONS for name in checks(version)]


def compile_stand_in(folder: Path) -> Path:
    """Compile the stand-in under every library name that bindings and programs use; return its
    file.
    """
    made, source = folder / "stand_in.so", Path(__file__).parent / "tensorrt_stand_in.c"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(made), str(source)]
    subprocess.run(command, check=True)
    for name in _LIBRARIES:
        for major in (8, 10, 11):
            (folder / f"lib{name}.so.{major}").symlink_to(made.name)
    for name in _CUDA:
        (folder / name).symlink_to(made.name)
    return made


def fetch(version: str, python: Path, folder: Path) -> None:
    """Install NVIDIA's bindings, from uv's cache if possible."""
    package = "tensorrt-bindings" if version.startswith("8.") else "tensorrt-cu12-bindings"
    wanted = folder / f"{version}.txt"
    wanted.write_text(f"{package}=={version} --hash=sha256:{WHEELS[version]}\n")
    command = [find_uv(), "pip", "install", "--quiet", "--python", str(python), "--no-deps"]
    command += ["--require-hashes", "--target", str(folder / version), "-r", str(wanted)]
    environment = {**os.environ, **uv_settings(os.environ)}
    known = subprocess.run(
        [*command, "--offline"], check=False, capture_output=True, env=environment
    )
    if known.returncode:
        subprocess.run(command, check=True, env=environment)


def run_cases(version: str, python: Path, folder: Path, library: Path) -> dict[str, Any]:
    """Run the calls, names and checks of one version in a process."""
    fetch(version, python, folder)
    done = subprocess.run(
        [str(python), "-m", "tests.tools.bindings_cases", version, str(library)],
        cwd=REPOSITORY,
        env={
            **tool_environment(python),
            "PYTHONPATH": str(folder / version),
            "LD_LIBRARY_PATH": str(library.parent),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_all(folder: Path) -> dict[str, dict[str, Any]]:
    """By version."""
    _, python = environments.ensure("evaluate", print)
    library = compile_stand_in(folder)
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda v: run_cases(v, python, folder, library), VERSIONS)
        return dict(zip(VERSIONS, found, strict=True))


def render(found: dict[str, dict[str, Any]]) -> str:
    """Names and calls by version, as Markdown."""
    head = ("", *VERSIONS)
    rows = [head, tuple("---" for _ in head)]
    for part in ("names", "calls"):
        for name in found[VERSIONS[-1]][part]:
            outcomes = (found[version][part][name] for version in VERSIONS)
            rows.append((f"`{name}`", *outcomes))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The results of every version. Read-only."""
    return run_all(tmp_path_factory.mktemp("bindings"))


def test_every_call_is_one_of_the_bindings(found: dict[str, dict[str, Any]]) -> None:
    """Every call exists in each version's bindings, or its absence is handled."""
    if os.environ.get("UPDATE_GOLDEN"):
        TABLE.write_text(render(found))
    assert render(found) == TABLE.read_text()


@pytest.mark.parametrize(("version", "check"), CASES)
def test_programs_over_the_bindings(
    version: str, check: str, found: dict[str, dict[str, Any]]
) -> None:
    """Each check is documented in bindings_cases.py."""
    fault = found[version]["checks"][check]
    assert not fault, fault


@pytest.fixture(scope="module")
def jetson(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A Python with TensorRT, and the environment variables for its libraries."""
    root = tmp_path_factory.mktemp("jetson")
    library = compile_stand_in(root)
    _, python = environments.ensure("evaluate", print)
    fetch(_ON_A_JETSON, python, root)
    subprocess.run([str(python), "-m", "venv", "--without-pip", str(root / "host")], check=True)
    (site,) = (root / "host").glob("lib/python*/site-packages")
    (numpy,) = python.parents[1].glob("lib/python*/site-packages")
    (site / "places.pth").write_text(f"{numpy}\n{root / _ON_A_JETSON}\n{REPOSITORY}\n")
    (site / "tensorrt.py").write_text(_TENSORRT.format(library=str(library)))
    host = root / "host" / "bin" / "python"
    return host, {"LD_LIBRARY_PATH": str(root), VARIABLE: str(host)}


def draw_images(folder: Path) -> None:
    """Write five prepared calibration images, in the steps' and in the builder's format."""
    _, python = environments.ensure("evaluate", print)
    command = [str(python), "-c", _IMAGES, str(REPOSITORY)]
    subprocess.run(command, cwd=folder, check=True, env=tool_environment(python))


def run_step(
    module: str, folder: Path, more: dict[str, str], inputs: dict[str, str], **request: Any
) -> None:
    """Run a step by its launcher, with outputs in the folder."""
    _, python = environments.ensure("evaluate", print)
    outputs = {name: str(folder / name) for name in request.pop("outputs")}
    places = {name: str(folder / path) for name, path in inputs.items()}
    words = {"inputs": places, "outputs": outputs, "error": str(folder / "error.txt"), **request}
    (folder / "request.json").write_text(json.dumps(words))
    done = subprocess.run(
        [str(python), "-s", str(LAUNCHER), module, str(folder / "request.json")],
        cwd=folder,
        env={**tool_environment(python, folder), **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_steps_of_an_engine_run_in_processes_of_their_own(
    tmp_path: Path, jetson: tuple[Path, dict[str, str]]
) -> None:
    """Calibration, the engine and its latency run as processes in the host's Python."""
    _, more = jetson
    draw_images(tmp_path)
    (tmp_path / "net.onnx").write_bytes(b"a network")
    templates = str(REPOSITORY / "buildsys" / "templates" / "engine")
    known = {"version": "10.3", "compute_capability": "8.7"}
    run_step(
        "calibrate_engine",
        tmp_path,
        more,
        {"onnx": "net.onnx", "calibration": "calibration", "templates": templates},
        outputs=["calibration-cache"],
        params={
            **known,
            "preprocessing": {"height": 2, "width": 2, "color": "rgb", "resize": "letterbox"},
            "batch": [1, 1, 1],
        },
    )
    assert (tmp_path / "calibration-cache").read_bytes() == b"scales"
    run_step(
        "build_engine",
        tmp_path,
        more,
        {"onnx": "net.onnx", "calibration-cache": "calibration-cache"},
        outputs=["engine", "engine-facts"],
        params={
            **known,
            "library": "tensorrt",
            "workspace_gib": 1,
            "optimization_level": 3,
            "version_compatible": False,
            "hardware_compatibility": "none",
            "scheme": "int8",
            "batch": [1, 1, 1],
        },
    )
    facts = json.loads((tmp_path / "engine-facts").read_text())
    assert (facts["version"], facts["gpu"]) == (_ON_A_JETSON, "Orin")
    run_step(
        "benchmark_engine",
        tmp_path,
        more,
        {"engine": "engine", "engine-facts": "engine-facts", "templates": templates},
        outputs=["latency"],
        params={
            "library": {"name": "tensorrt", **known},
            "batches": [1],
            "height": 2,
            "width": 2,
            "runs": 4,
            "warmup": 2,
            "machine": "a stand-in",
        },
    )
    entries = json.loads((tmp_path / "latency").read_text())["entries"]
    assert [(entry["what"], entry["batch"]) for entry in entries] == [
        ("engine only", 1),
        ("end to end", 1),
    ]
    assert entries[0]["mean_ms"] == 1.5


def test_a_bundle_calibrates_on_the_device(
    tmp_path: Path, jetson: tuple[Path, dict[str, str]]
) -> None:
    """`build.py` calibrates with the bundled images and finds the CUDA runtime."""
    host, more = jetson
    draw_images(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"a network")
    programs = {
        **builder_process.programs(),
        "separate_process.py": Path(separate_process.__file__),
        "build.py": Path(bundle_program.__file__),
        "cudart.py": REPOSITORY / "buildsys" / "templates" / "engine" / "cudart.py",
    }
    for name, path in programs.items():
        (tmp_path / name).write_bytes(path.read_bytes())
    params = Params(
        library="tensorrt",
        version="10.3",
        compute_capability="8.7",
        workspace_gib=1,
        optimization_level=3,
        version_compatible=False,
        hardware_compatibility="none",
        scheme="int8",
    )
    request = make_request(params, quantized=False, calibrated=True)
    request |= {"pictures": "pictures.npy", "calibration_batch": 1, "cudart": "cudart.py"}
    files = {name: digest_file(tmp_path / name) for name in (*programs, "model.onnx")}
    bundle = {"files": files, "request": request, "build": "net@orin", "install": ""}
    (tmp_path / "bundle.json").write_text(json.dumps(bundle))
    done = subprocess.run(
        [str(host), "build.py"],
        cwd=tmp_path,
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "calibrates on 5 batches of 1 images" in done.stdout
    assert (tmp_path / "result" / "calibration.cache").read_bytes() == b"scales"
