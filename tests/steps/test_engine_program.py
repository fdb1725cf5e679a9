"""The program that builds engines, as devices run it: what it asks of which TensorRT, and what it says.

No TensorRT is here: a stand-in notes what it is asked for. The real builder of TensorRT-RTX runs in
tests/tools/test_bundle.py.
"""

import ast
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from buildsys.steps.build_engine import Params, make_request
from buildsys.steps.lib.tensorrt import (
    builder_process,
    bundle_program,
    engine_calibration,
    engine_program,
    engine_weakly_typed,
    separate_process,
)
from tests.steps import tensorrt_stand_in

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
    """A step's folder on a Jetson, with a network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine_program, "find_gpu", lambda: ("Orin", "8.7"))
    (tmp_path / "model.onnx").write_bytes(b"a network")
    return tmp_path


def build(
    monkeypatch: pytest.MonkeyPatch,
    installed: str = "10.3.0.30",
    shape: tuple[int, ...] = (1, 3, 32, 32),
    quantized: bool = True,
    calibrated: bool = False,
    **changes: Any,
) -> tuple[int, Any]:
    """Run the program; its exit code, and what TensorRT was asked for."""
    trt, asked = tensorrt_stand_in.make(installed, shape)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    request = {**make_request(_ORIN, quantized, calibrated), **changes}
    Path("engine.json").write_text(json.dumps(request))
    monkeypatch.setattr(sys, "argv", ["engine_program.py", "engine.json"])
    return engine_program.main(), asked


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
    """JetPack 5 has 3.8, JetPack 6 has 3.10: a word of 3.11 is a SyntaxError there."""
    ast.parse(program.read_text(), feature_version=(3, 8))


def test_the_unverified_part_is_small() -> None:
    """What nobody could run grows."""
    text = Path(engine_weakly_typed.__file__).read_text()
    assert len(text.splitlines()) <= 60
    assert "UNVERIFIED" in text


@pytest.mark.parametrize(("version", "flags"), [("10.3.0.30", 2), ("11.4.0.1", 2)])
def test_a_quantized_file_is_a_strongly_typed_network(
    place: Path, monkeypatch: pytest.MonkeyPatch, version: str, flags: int
) -> None:
    """A builder that may choose makes float32 of int8; TensorRT 11 has no flags to set."""
    code, asked = build(monkeypatch, version, version=version[:4])
    assert (code, asked.network, asked.flags, asked.cleared) == (0, flags, [], ["TF32"])
    assert asked.settings == {"workspace": 2 << 30, "builder_optimization_level": 3}
    facts = json.loads(Path("facts.json").read_text())
    assert facts["version"] == version
    assert (facts["compute_capability"], facts["gpu"]) == ("8.7", "Orin")
    assert facts["inputs"] == [{"name": "images", "shape": [1, 3, 32, 32], "dtype": "FLOAT"}]
    assert Path("model.engine").read_bytes() == b"an engine"


def test_tensorrt_8_is_allowed_what_the_file_says(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8.6 has no strongly typed networks, and reads ONNX only with an explicit batch."""
    code, asked = build(monkeypatch, "8.6.1", version="8.6", typed=False)
    assert (code, asked.network, asked.flags) == (0, 1, ["INT8"])
    code, _ = build(monkeypatch, "8.6.1", version="8.6", typed=True)
    assert code == 3
    assert "8.6.1 has no strongly typed networks" in Path("refused.txt").read_text()


def test_settings_reach_the_builder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word of the recipe is read, in the key, and without effect."""
    changes: dict[str, Any] = {"version_compatible": True, "hardware_compatibility": "ampere-plus"}
    code, asked = build(monkeypatch, optimization_level=5, **changes)
    assert (code, asked.flags) == (0, ["VERSION_COMPATIBLE"])
    assert asked.settings["hardware_compatibility_level"] == "AMPERE_PLUS"
    assert asked.settings["builder_optimization_level"] == 5


def test_a_dynamic_batch_has_a_profile(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one nothing is built; with another network's sizes it is refused at run time."""
    code, asked = build(monkeypatch, shape=(-1, 3, 32, 32), batch=[1, 4, 8])
    assert code == 0
    assert asked.profiles == [{"images": [(1, 3, 32, 32), (4, 3, 32, 32), (8, 3, 32, 32)]}]
    assert build(monkeypatch, shape=(-1, 3, 32, -1))[0] == 3
    assert "images is open (? x 3 x 32 x ?)" in Path("refused.txt").read_text()
    assert build(monkeypatch, batch=[1, 4, 8])[0] == 3
    assert "images takes 1, and a batch of 1 to 8 is wanted" in Path("refused.txt").read_text()


@pytest.mark.parametrize("scheme", ["float16", "float32"])
def test_a_float_file_is_lowered_by_a_flag(
    place: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """Up to TensorRT 10 the file may stay float32."""
    code, asked = build(monkeypatch, typed=False, scheme=scheme)
    assert (code, asked.network) == (0, 0)
    assert asked.flags == (["FP16"] if scheme == "float16" else [])


def _pictures(count: int, side: int = 32) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, 3, {side}, {side}), }}"
    text = header.ljust(117) + "\n"
    values = b"".join(struct.pack("<f", i) * (3 * side * side) for i in range(count))
    Path("pictures.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text.encode() + values
    )


def test_calibration_is_fed_in_batches(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a dynamic network the calibration's own batch; half a batch is no batch."""
    _pictures(5)
    words: dict[str, Any] = {"pictures": "pictures.npy", "calibration_batch": 2, "batch": [1, 1, 4]}
    code, asked = build(
        monkeypatch, shape=(-1, 3, 32, 32), quantized=False, calibrated=True, **words
    )
    assert (code, asked.flags) == (0, ["INT8"])
    assert asked.settings["calibration_profile"] == {"images": [(2, 3, 32, 32)] * 3}
    calibrator = asked.settings["int8_calibrator"]
    assert calibrator.get_batch_size() == 2
    batches = list(engine_calibration.read_batches(Path("pictures.npy"), [2, 3, 32, 32]))
    assert [len(data) for data in batches] == [4 * 2 * 3 * 32 * 32] * 2
    assert struct.unpack("<f", batches[1][-4:]) == (3.0,)
    assert calibrator.read_calibration_cache() is None
    many = {**words, "calibration_batch": 100}
    _, asked = build(monkeypatch, shape=(-1, 3, 32, 32), quantized=False, calibrated=True, **many)
    assert asked.settings["int8_calibrator"].get_batch_size() == 5
    calibrator.write_calibration_cache(memoryview(b"scales"))
    assert calibrator.read_calibration_cache() == b"scales"
    assert Path("calibration.cache").read_bytes() == b"scales"


def test_pictures_of_another_size_are_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of one size read as another calibrate on noise."""
    _pictures(2, side=16)
    code, _ = build(monkeypatch, quantized=False, calibrated=True, pictures="pictures.npy")
    assert code == 3
    said = Path("refused.txt").read_text()
    assert said == "the pictures are (2, 3, 16, 16); (1, 3, 32, 32) make one batch"


def test_a_second_build_reads_the_timings_of_the_first(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Minutes of timing are spent twice; or the timings of another version are read."""
    assert build(monkeypatch, timing_cache="timings")[0] == 0
    kept = Path("timings/tensorrt-10.3.0.30-8.7.cache")
    first = kept.read_bytes()
    assert "0 bytes were read" in capsys.readouterr().out
    assert build(monkeypatch, timing_cache="timings")[0] == 0
    assert f"{len(first)} bytes were read" in capsys.readouterr().out
    assert kept.read_bytes() == first + b" one more"
    assert build(monkeypatch, "10.3.1.0", timing_cache="timings")[0] == 0
    assert "0 bytes were read" in capsys.readouterr().out
    assert len(list(Path("timings").iterdir())) == 2


def test_damaged_timings_are_passed_over(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that was cut off makes every build fail."""
    Path("timings").mkdir()
    kept = Path("timings/tensorrt-10.3.0.30-8.7.cache")
    kept.write_bytes(b"of another GPU")
    assert build(monkeypatch, timing_cache="timings")[0] == 0
    assert "it is passed over" in capsys.readouterr().out
    assert kept.read_bytes().startswith(b"timings of this GPU")


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
    """Minutes of building for an engine that the target does not load."""
    code, _ = build(monkeypatch, version, **changes)
    assert (code, Path("refused.txt").read_text()) == (3, said)
    assert not Path("model.engine").exists()


def test_a_machine_without_the_driver(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`OSError: libcuda.so.1: cannot open shared object file`."""
    monkeypatch.undo()
    monkeypatch.chdir(place)

    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", absent)
    code, _ = build(monkeypatch)
    assert code == 3
    expected = "no NVIDIA GPU is here: the driver's libcuda.so.1 is missing"
    assert Path("refused.txt").read_text() == expected


def test_a_machine_without_the_library(tmp_path: Path) -> None:
    """`ModuleNotFoundError`, or a GPU that is looked for first."""
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
