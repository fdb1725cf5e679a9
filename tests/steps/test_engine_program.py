"""The program that builds engines, as devices run it: its messages if it cannot.

Its calls per TensorRT version are tested in tests/tools/test_bindings.py, TensorRT-RTX in
tests/tools/test_bundle.py.
"""

import ast
import enum
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from buildsys.steps.build_engine import Params, make_request
from buildsys.steps.lib.tensorrt import (
    builder_process,
    bundle_program,
    engine_program,
    engine_weakly_typed,
    separate_process,
)

_ORIN = Params(
    library="tensorrt",
    version="10.3",
    compute_capability="8.7",
    workspace_gib=2,
    optimization_level=3,
    version_compatible=False,
    hardware_compatibility="none",
    scheme="int8",
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A step's folder with a network, on a simulated Jetson."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine_program, "find_gpu", lambda: ("Orin", "8.7"))
    (tmp_path / "model.onnx").write_bytes(b"a network")
    return tmp_path


def build(monkeypatch: pytest.MonkeyPatch, installed: str = "10.3.0.30", **changes: Any) -> int:
    """Run the program with an installed TensorRT of which only the version is read."""
    trt: Any = ModuleType("tensorrt")
    trt.__version__ = installed
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    request = {**make_request(_ORIN, quantized=True, calibrated=False), **changes}
    Path("engine.json").write_text(json.dumps(request))
    monkeypatch.setattr(sys, "argv", ["engine_program.py", "engine.json"])
    return engine_program.main()


def test_a_repeated_warning_is_printed_once_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """TensorRT-RTX repeats a warning dozens of times: it is printed at once, and its number at the
    end.
    """

    class Severity(enum.IntEnum):
        ERROR = 1
        WARNING = 2
        INFO = 3

    class ILogger:
        pass

    trt: Any = ModuleType("tensorrt")
    trt.ILogger = ILogger
    ILogger.Severity = Severity  # type: ignore[attr-defined]
    logger = engine_program._make_logger(trt)
    for _ in range(3):
        logger.log(Severity.WARNING, "scales become fp32.")
    logger.log(Severity.ERROR, "no memory")
    logger.log(Severity.INFO, "slow")
    logger.print_repeated()
    assert capsys.readouterr().out.splitlines() == [
        "warning: scales become fp32.",
        "error: no memory",
        "warning: scales become fp32. (3 times)",
    ]
    assert logger.last == "no memory"


@pytest.mark.parametrize(
    "program",
    [
        *builder_process.programs().values(),
        Path(separate_process.__file__),
        Path(bundle_program.__file__),
    ],
    ids=lambda p: p.name,
)
def test_devices_have_an_older_python(program: Path) -> None:
    """The program is valid for Python 3.8 (JetPack 5 has 3.8, JetPack 6 has 3.10)."""
    ast.parse(program.read_text(), feature_version=(3, 8))


def test_the_unverified_part_is_small() -> None:
    """The part that could not be run here does not grow."""
    text = Path(engine_weakly_typed.__file__).read_text()
    assert len(text.splitlines()) <= 60
    assert "UNVERIFIED" in text


@pytest.mark.parametrize(
    ("version", "changes", "said"),
    [
        ("10.30.0.1", {}, "TensorRT 10.3 is wanted, and 10.30.0.1 is installed here"),
        ("11.4.0.1", {}, "TensorRT 10.3 is wanted, and 11.4.0.1 is installed here"),
        (
            "10.3.0.30",
            {"compute_capability": "8.0", "gpu": "A100"},
            "a GPU of compute capability 8.0 (A100) is wanted, and the one here, Orin, has 8.7",
        ),
    ],
)
def test_another_machine_is_refused_in_one_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch, version: str, changes: dict[str, Any], said: str
) -> None:
    """Another version, GPU or system is refused in one sentence before the build."""
    code = build(monkeypatch, version, **changes)
    assert (code, Path("refused.txt").read_text()) == (3, said)
    assert not Path("model.engine").exists()


def test_a_machine_without_the_driver(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the driver is reported in one sentence."""
    monkeypatch.undo()
    monkeypatch.chdir(place)

    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", absent)
    code = build(monkeypatch)
    assert code == 3
    expected = "no NVIDIA GPU is here: the driver's libcuda.so.1 is missing"
    assert Path("refused.txt").read_text() == expected


def test_a_machine_without_the_library(tmp_path: Path) -> None:
    """A machine without the library is reported in one sentence, before the GPU is checked."""
    for name, program in builder_process.programs().items():
        (tmp_path / name).write_bytes(program.read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"a network")
    request = make_request(_ORIN, quantized=True, calibrated=False)
    (tmp_path / "engine.json").write_text(json.dumps(request))
    command = [sys.executable, "-s", "engine_program.py", "engine.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (4, "")
    assert (tmp_path / "refused.txt").read_text() == "TensorRT 10.3 is missing"
    (tmp_path / "engine.json").write_text("{}")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("the request lacks library, version, ")
