"""The programs that build and run engines, with NVIDIA's own bindings of one TensorRT version.

`python -m tests.tools.bindings_cases VERSION LIBRARY` runs every function `check_*` for this
version and prints {"calls": {call: outcome}, "names": {name: outcome}, "checks": {name: fault or
""}}. `LIBRARY` is the compiled tests/tools/tensorrt_stand_in.c; the bindings are found by
PYTHONPATH, their libraries by LD_LIBRARY_PATH.
"""

import ast
import contextlib
import hashlib
import io
import json
import os
import runpy
import shutil
import struct
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from buildsys.steps import package_engine
from buildsys.steps.build_engine import Params, make_request
from buildsys.steps.lib.tensorrt import engine_program
from tests.tools.tensorrt_stand_in import CACHE, CALLS, PLAN, Machine, Scene

VERSIONS = ("8.6.1", "10.0.1", "10.3.0", "10.16.1.11", "11.0.0.114", "11.4.0.106")
BUILDSYS = Path(engine_program.__file__).parents[3]
TEMPLATES = BUILDSYS / "templates"
_PROGRAMS = (
    BUILDSYS / "steps" / "lib" / "tensorrt" / "engine_program.py",
    BUILDSYS / "steps" / "lib" / "tensorrt" / "engine_calibration.py",
    BUILDSYS / "steps" / "lib" / "tensorrt" / "engine_weakly_typed.py",
    TEMPLATES / "engine" / "runtime.py",
)
_ASKED_FOR = (
    "trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
    "trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED",
    "trt.HardwareCompatibilityLevel.AMPERE_PLUS",
    "trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY",
)
"""Names that the programs look up by `getattr`, or by another name."""
_OF_RTX = ("trt.ComputeCapability",)

Check = Callable[["Place"], None]
_ONLY: dict[str, tuple[int, int]] = {}
"""The first and last major version of checks that do not apply to all."""


def only(first: int, last: int) -> Callable[[Check], Check]:
    """Mark a check that applies to some versions."""

    def note(check: Check) -> Check:
        _ONLY[check.__name__] = (first, last)
        return check

    return note


def checks(version: str) -> list[str]:
    """The names of the checks for a version."""
    major = int(version.split(".", maxsplit=1)[0])
    names = [name for name in sorted(globals()) if name.startswith("check_")]
    return [
        name
        for name in names
        if _ONLY.get(name, (0, 99))[0] <= major <= _ONLY.get(name, (0, 99))[1]
    ]


def names() -> list[str]:
    """Every name in TensorRT's module that our programs use, such as "trt.BuilderFlag.TF32"."""
    found = set(_ASKED_FOR)
    for program in _PROGRAMS:
        tree = ast.parse(program.read_text())
        inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and id(node) not in inner:
                text = ast.unparse(node)
                text = text.replace("trt.__version__.startswith", "trt.__version__")
                if text.startswith("trt.") and "(" not in text and not text.startswith(_OF_RTX):
                    found.add(text)
    return sorted(found)


def look_up(trt: Any, name: str) -> str:
    """Whether the bindings have a name."""
    place = trt
    for part in name.split(".")[1:]:
        if not hasattr(place, part):
            return "absent"
        place = getattr(place, part)
    return "yes"


class Place:
    """A machine with TensorRT, and a folder in which programs run. `said`: their output."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine, self.folder, self.said = machine, folder, ""
        self.version = str(machine.trt.__version__)
        self.minor = ".".join(self.version.split(".")[:2])

    @property
    def scene(self) -> Scene:
        """The machine's current scene."""
        return self.machine.scene

    def build(self, quantized: bool = True, calibrated: bool = False, **changes: Any) -> int:
        """Run the building program on a simulated Orin; return its exit code."""
        params = Params(
            library="tensorrt",
            version=self.minor,
            compute_capability="8.7",
            workspace_gib=2,
            optimization_level=3,
            version_compatible=False,
            hardware_compatibility="none",
            scheme="int8",
        )
        Path("model.onnx").write_bytes(b"a network")
        request = {**make_request(params, quantized, calibrated), **changes}
        Path("engine.json").write_text(json.dumps(request))
        Path("model.engine").unlink(missing_ok=True)
        with self._run("engine_program.py", "engine.json"):
            return engine_program.main()

    def calibrate(self, **changes: Any) -> int:
        """Calibrate and build as `calibrate_engine` does."""
        shutil.copyfile(TEMPLATES / "engine" / "cudart.py", "cudart.py")
        words = {"pictures": "pictures.npy", "calibration_batch": 2, "cudart": "cudart.py"}
        return self.build(quantized=False, calibrated=True, **{**words, **changes})

    def refused(self) -> str:
        """The builder's message."""
        return Path("refused.txt").read_text()

    def pack(self, plan: bytes = PLAN, **facts: Any) -> Path:
        """A package with an engine: its programs and engine.json."""
        folder = self.folder / "package"
        folder.mkdir()
        assert package_engine.STEP.templates is not None
        for name in package_engine.STEP.templates.files:
            shutil.copyfile(TEMPLATES / name, folder / Path(name).name)
        (folder / "net.engine").write_bytes(plan)
        known = {
            "library": "tensorrt",
            "version": self.version,
            "compute_capability": "8.7",
            "file": "net.engine",
            "sha256": hashlib.sha256(plan).hexdigest(),
        }
        (folder / "engine.json").write_text(json.dumps({**known, **facts}))
        return folder

    def run(self, program: Path, *words: str) -> int:
        """Run a package's program; return its exit code."""
        for name in (
            "cudart",
            "figures",
            "looking",
            "pictures",
            "run",
            "runtime",
            "shapes",
            "vision",
        ):
            sys.modules.pop(name, None)
        sys.path.insert(0, str(program.parent))
        try:
            with self._run(str(program), *words):
                runpy.run_path(str(program), run_name="__main__")
        except SystemExit as end:
            return int(end.code or 0)
        finally:
            sys.path.pop(0)
        raise AssertionError("it did not say how it ended")

    @contextlib.contextmanager
    def _run(self, *words: str) -> Iterator[None]:
        """Run with a command line and keep the output; a fault of the simulated machine fails the
        check.
        """
        heard, sys.argv = io.StringIO(), list(words)
        try:
            with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
                yield
        finally:
            self.said = heard.getvalue()
        assert not self.machine.faults, self.machine.faults


# ---- building -----------------------------------------------------------------------------------


@only(10, 11)
def check_a_quantized_file_is_a_strongly_typed_network(place: Place) -> None:
    """A quantized file gives a strongly typed network, so that the builder does not choose float32."""
    assert place.build() == 0, place.refused()
    scene, flags = place.scene, place.machine.trt.NetworkDefinitionCreationFlag
    assert (scene.network, scene.flags, scene.cleared) == (
        1 << int(flags.STRONGLY_TYPED),
        [],
        ["TF32"],
    )
    assert scene.settings == {"WORKSPACE": 2 << 30, "level": 3}
    facts = json.loads(Path("facts.json").read_text())
    assert facts["version"] == place.version
    assert (facts["compute_capability"], facts["gpu"]) == ("8.7", "Orin")
    assert facts["inputs"] == [{"name": "images", "shape": [1, 3, 2, 2], "dtype": "FLOAT"}]
    assert facts["outputs"] == [{"name": "twice", "shape": [1, 3, 2, 2], "dtype": "FLOAT"}]
    assert Path("model.engine").read_bytes() == PLAN


@only(8, 8)
def check_tensorrt_8_is_allowed_what_the_file_says(place: Place) -> None:
    """For TensorRT 8.6 the flags allow the file's types, and the batch is explicit."""
    assert place.build() == 0
    assert (place.scene.network, place.scene.flags) == (1, ["INT8"])
    place.scene.flags.clear()
    assert place.build(half=True) == 0
    assert sorted(place.scene.flags) == ["FP16", "INT8"]
    assert place.build(typed=True) == 3
    assert "8.6.1 has no strongly typed networks" in place.refused()


def check_settings_reach_the_builder(place: Place) -> None:
    """The recipe's settings are set in the builder."""
    words: dict[str, Any] = {
        "version_compatible": True,
        "hardware_compatibility": "ampere-plus",
    }
    assert place.build(optimization_level=5, **words) == 0
    assert "VERSION_COMPATIBLE" in place.scene.flags
    assert (place.scene.settings["hardware"], place.scene.settings["level"]) == ("AMPERE_PLUS", 5)


def check_a_level_that_the_version_lacks_is_reported(place: Place) -> None:
    """A compatibility level that the version lacks is reported in one sentence."""
    level = place.machine.trt.HardwareCompatibilityLevel
    code = place.build(hardware_compatibility="same-compute-capability")
    if hasattr(level, "SAME_COMPUTE_CAPABILITY"):
        assert (code, place.scene.settings["hardware"]) == (0, "SAME_COMPUTE_CAPABILITY")
    else:
        assert code == 3
        assert place.refused().endswith("no hardware compatibility level SAME_COMPUTE_CAPABILITY")


def check_a_dynamic_batch_has_a_profile(place: Place) -> None:
    """A dynamic batch gets a profile with the network's sizes."""
    place.scene.shape = (-1, 3, 32, 32)
    assert place.build(batch=[1, 4, 8]) == 0
    wanted = [{"images": [(1, 3, 32, 32), (4, 3, 32, 32), (8, 3, 32, 32)]}]
    assert place.scene.profiles == wanted, place.scene.profiles
    place.scene.shape = (-1, 3, 32, -1)
    assert place.build(batch=[1, 4, 8]) == 3
    assert "images is open (? x 3 x 32 x ?)" in place.refused()
    place.scene.shape = (1, 3, 32, 32)
    assert place.build(batch=[1, 4, 8]) == 3
    assert "images takes 1, and a batch of 1 to 8 is wanted" in place.refused()


def check_open_inputs_share_a_profile(place: Place) -> None:
    """All open inputs share one profile."""
    place.scene.shape, place.scene.inputs = (-1, 3, 2, 2), 2
    assert place.build(batch=[1, 1, 2]) == 0
    shapes = [(1, 3, 2, 2), (1, 3, 2, 2), (2, 3, 2, 2)]
    assert place.scene.profiles == [{"images": shapes, "more": shapes}]


@only(8, 10)
def check_a_float_file_is_lowered_by_a_flag(place: Place) -> None:
    """Up to TensorRT 10 a float32 file is lowered by a builder flag."""
    for scheme, flags in (("float16", ["FP16"]), ("float32", [])):
        place.scene.flags.clear()
        assert place.build(typed=False, scheme=scheme) == 0
        assert place.scene.flags == flags


def check_the_parser_says_what_it_refuses(place: Place) -> None:
    """The parser's error is reported with the operator's name, if the version provides it."""
    place.machine.scene.nothing = frozenset({"Parser.parse"})
    assert place.build() == 3
    node = "" if place.version.startswith("8.") else " (node the_fancy_one, Det)"
    why = "no importer registered for op: Det"
    assert place.refused() == f"the ONNX parser refuses the network: {why}{node}"


def check_what_does_not_start_is_reported(place: Place) -> None:
    """A builder or runtime that does not start, as with an old driver, is reported in one sentence."""
    place.scene.logged = "CUDA initialization failure with error: 35\n"
    for name in ("Builder", "Builder.create_network", "Parser", "Builder.create_builder_config"):
        place.scene.nothing = frozenset({name})
        assert place.build() == 3, name
        expected = f"TensorRT {place.version} does not start here: {place.scene.logged.strip()}"
        assert place.refused() == expected, (name, place.refused())
        assert not Path("model.engine").exists()
    place.scene.logged, place.scene.nothing = "", frozenset({"Builder"})
    assert place.build() == 3
    assert "does not start here: it does not say why; a driver that is too old" in place.refused()


def check_a_builder_that_gives_nothing_says_why(place: Place) -> None:
    """If the builder returns nothing, its last error is reported."""
    place.scene.nothing = frozenset({"Builder.build_serialized_network"})
    place.scene.logged = "Could not find any implementation for node /model.0/conv/Conv."
    assert place.build() == 3
    assert place.refused() == f"the builder gives no engine: {place.scene.logged.rstrip('.')}"
    assert f"error: {place.scene.logged}" in place.said


def check_a_second_build_reads_the_timings_of_the_first(place: Place) -> None:
    """A second build reads the timing cache of the first, per version."""
    assert place.build(timing_cache="timings") == 0
    (kept,) = Path("timings").iterdir()
    assert kept.name == f"tensorrt-{place.version}-8.7.cache"
    first = kept.read_bytes()
    assert "0 bytes were read" in place.said
    assert place.build(timing_cache="timings") == 0
    assert f"{len(first)} bytes were read" in place.said
    assert kept.read_bytes() == first + b" one more"


def check_damaged_timings_are_passed_over(place: Place) -> None:
    """A damaged timing cache is ignored."""
    Path("timings").mkdir()
    kept = Path(f"timings/tensorrt-{place.version}-8.7.cache")
    kept.write_bytes(b"of another GPU")
    assert place.build(timing_cache="timings") == 0
    assert "it is passed over" in place.said
    assert kept.read_bytes() == b"timings: one more"


# ---- calibration --------------------------------------------------------------------------------


def _write_images(count: int, side: int = 2) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, 3, {side}, {side}), }}"
    text = header.ljust(117) + "\n"
    values = b"".join(struct.pack("<f", i) * (3 * side * side) for i in range(count))
    Path("pictures.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text.encode() + values
    )


@only(8, 10)
def check_calibration_is_fed_in_batches(place: Place) -> None:
    """Calibration gets complete batches, for a dynamic network of the calibration's size."""
    _write_images(5)
    place.scene.shape = (-1, 3, 2, 2)
    assert place.calibrate(batch=[1, 1, 4]) == 0, place.refused()
    scene = place.scene
    assert (scene.flags, scene.settings["batch"]) == (["INT8"], 2)
    assert scene.settings["calibration"] == {"images": [(2, 3, 2, 2)] * 3}
    assert [struct.unpack("<24f", batch)[::12] for batch in scene.batches] == [(0, 1), (2, 3)]
    assert Path("calibration.cache").read_bytes() == CACHE
    assert "calibrates on 2 batches of 2 images" in place.said
    Path("calibration.cache").unlink()
    assert place.calibrate(calibration_batch=100, batch=[1, 1, 4]) == 0
    assert scene.settings["batch"] == 5


@only(8, 10)
def check_a_calibration_cache_is_read_whole(place: Place) -> None:
    """A calibration cache is read completely, and no image is calibrated again."""
    known = bytes(range(256)) * 100
    Path("calibration.cache").write_bytes(known)
    assert place.build(quantized=False, calibrated=True) == 0
    assert (place.scene.settings["cache"], place.scene.batches) == (known, [])


@only(8, 10)
def check_a_cache_that_is_not_taken_is_reported(place: Place) -> None:
    """A cache that TensorRT does not accept is reported."""
    Path("calibration.cache").write_bytes(b"of another version")
    place.scene.takes_cache = False
    assert place.build(quantized=False, calibrated=True) == 3
    expected = "calibration: TensorRT does not take the calibration cache, and asks for images"
    assert place.refused() == f"the builder gives no engine: {expected}"


@only(8, 10)
def check_calibration_that_breaks_off_gives_no_engine(place: Place) -> None:
    """A calibration that fails gives no engine."""
    _write_images(6)
    for name, count in (("cudaMemcpyAsync", 2), ("cudaStreamSynchronize", 2)):
        place.scene.batches.clear()
        place.scene.failing, place.scene.failing_from = name, count
        assert place.calibrate() == 3
        expected = f"calibration: CUDA does not do {name}: out of memory"
        assert place.refused() == f"the builder gives no engine: {expected}"
        assert len(place.scene.batches) == 1
        assert not Path("model.engine").exists()
        assert not Path("calibration.cache").exists(), "what the next build would take for whole"
    place.scene.failing = ""
    Path("calibration.cache").symlink_to("nowhere/at-all")
    assert place.calibrate() == 3
    assert "calibration: [Errno 2] No such file" in place.refused()


@only(8, 10)
def check_what_can_fail_fails_before_the_build(place: Place) -> None:
    """Missing, truncated and unsuitable calibration images are reported before the build."""
    _write_images(4, side=1)
    assert place.calibrate() == 3
    assert place.refused() == "the images are (4, 3, 1, 1); (1, 3, 2, 2) make one batch"
    _write_images(4)
    whole = Path("pictures.npy").read_bytes()
    Path("pictures.npy").write_bytes(whole[:-1])
    assert place.calibrate() == 3
    assert place.refused() == "pictures.npy is cut off: copy it again"
    Path("pictures.npy").unlink()
    assert place.calibrate() == 3
    assert place.refused() == "pictures.npy: No such file or directory"
    _write_images(4)
    place.scene.failing = "cudaMalloc"
    assert place.calibrate() == 3
    assert place.refused() == "CUDA does not do cudaMalloc: out of memory"
    assert "Builder.build_serialized_network" not in place.scene.reached


@only(8, 10)
def check_the_cuda_runtime_of_a_python_package_is_found(place: Place) -> None:
    """The CUDA runtime of the package nvidia-cuda-runtime-cu12 is found; without any there is one
    sentence.
    """
    _write_images(2)
    lib = place.folder / "site" / "nvidia" / "cuda_runtime" / "lib"
    lib.mkdir(parents=True)
    (lib / "libcudart.so.12").symlink_to(os.environ["STAND_IN"])
    import ctypes

    load, asked = ctypes.CDLL, []

    def only_packages(name: str, *rest: Any, **more: Any) -> Any:
        asked.append(name)
        if "cudart" in name and "/nvidia/" not in name:
            raise OSError(name)
        return load(name, *rest, **more)

    ctypes.CDLL = only_packages  # type: ignore[assignment,misc]
    try:
        assert place.calibrate() == 3
        assert place.refused().startswith("the CUDA runtime (libcudart) is missing: ")
        assert "Builder.build_serialized_network" not in place.scene.reached
        sys.path.append(str(place.folder / "site"))
        try:
            assert place.calibrate() == 0, place.refused()
        finally:
            sys.path.pop()
    finally:
        ctypes.CDLL = load  # type: ignore[misc]
    assert asked[-1] == str(lib / "libcudart.so.12")


# ---- running ------------------------------------------------------------------------------------


def check_run_py_loads_and_runs_the_engine(place: Place) -> None:
    """run.py loads and runs the engine and frees its GPU memory."""
    assert place.run(place.pack() / "run.py") == 0, place.said
    assert place.said == "twice: (1, 3, 2, 2), 0 to 0\n"


def check_run_py_runs_what_a_newer_version_may_load(place: Place) -> None:
    """run.py allows a version-compatible engine its own runtime."""
    package = place.pack(version="8.6.0", version_compatible=True)
    assert place.run(package / "run.py") == 0, place.said
    assert place.scene.settings["host code"]


def check_benchmark_py_times_the_engine(place: Place) -> None:
    """benchmark.py excludes the warm-up, and measures end to end by the clock."""
    program = place.pack() / "benchmark.py"
    assert place.run(program, "--runs", "7", "--warmup", "3", "--json", "times.json") == 0, (
        place.said
    )
    times = json.loads(Path("times.json").read_text())
    assert (times["version"], times["gpu"]) == (place.version, "Orin")
    assert (times["compute_capability"], times["batch"], times["runs"]) == ("8.7", 1, 7)
    assert (times["min_ms"], times["max_ms"]) == (1.5, 1.5)
    assert times["end_to_end"]["mean_ms"] != 1.5
    assert place.scene.reached.count("Context.execute_async_v3") == 20


def check_a_runtime_that_does_not_start_is_reported(place: Place) -> None:
    """`TypeError: factory function returned nullptr`, where the driver is too old."""
    package = place.pack()
    for logged in ("CUDA initialization failure with error: 35\n", ""):
        place.scene.nothing, place.scene.logged = frozenset({"Runtime"}), logged
        assert place.run(package / "run.py") == 3
        why = logged.strip() or "the library does not start; the driver may be too old for it"
        assert place.said == f"error: net.engine cannot be loaded here: {why}\n", place.said


def check_an_engine_without_a_context_is_reported(place: Place) -> None:
    """An engine without an execution context, as with full GPU memory, is reported."""
    place.scene.nothing = frozenset({"Engine.create_execution_context"})
    place.scene.logged = "Requested amount of GPU memory (1048576 bytes) could not be allocated."
    assert place.run(place.pack() / "run.py") == 3
    why = place.scene.logged.rstrip(".")
    assert place.said == f"error: net.engine cannot be loaded here: {why}\n", place.said


def check_a_file_that_is_no_engine_is_reported(place: Place) -> None:
    """A file that is not an engine is reported with the reason."""
    assert place.run(place.pack(plan=b"an engine of elsewhere") / "run.py") == 3
    why = "Serialization assertion magicTag == kMAGIC_TAG failed"
    assert place.said == f"error: net.engine cannot be loaded here: {why}\n"


def check_an_error_of_the_gpu_is_reported(place: Place) -> None:
    """An error of the GPU during a run is reported, not returned as zeros."""
    package = place.pack()
    for name in ("execute_async_v3", "set_tensor_address", "set_input_shape"):
        place.scene.nothing = frozenset({f"Context.{name}"})
        assert place.run(package / "run.py") == 3, name
        assert place.said.startswith("error: the engine does not "), place.said
    place.scene.nothing, place.scene.failing = frozenset(), "cudaMemcpyAsync"
    assert place.run(package / "run.py") == 3
    assert place.said == "error: CUDA does not do cudaMemcpyAsync: out of memory\n"


def check_a_batch_arrives_whole_and_no_other_is_taken(place: Place) -> None:
    """A batch is transferred completely and in order; other batch sizes are refused."""
    import numpy as np

    place.scene.shape = (-1, 3, 2, 2)
    runtime, engine = _open(place)
    assert (engine.batch, engine.shape, engine.outputs) == ((1, 2, 4), (-1, 3, 2, 2), ("twice",))
    before = place.machine.memory
    for count in (1, 4, 2, 2):
        batch = np.random.default_rng(count).random((count, 3, 2, 2)).astype(np.float32)
        assert np.array_equal(engine.infer(batch)["twice"], batch * 2)
    assert place.machine.memory == before + 2  # one input, one output
    for shape in ((5, 3, 2, 2), (1, 3, 4, 4), (3, 2, 2)):
        code = 0
        try:
            engine.infer(np.zeros(shape, np.float32))
        except runtime.Refused as error:
            code = error.code
        assert code == 2, shape


def check_an_engine_outlives_what_made_it(place: Place) -> None:
    """The runtime and its logger exist as long as the engine."""
    runtimes = place.machine.alive("Runtime")
    _, engine = _open(place)
    assert place.machine.alive("Runtime") == runtimes + 1
    assert place.machine.alive("Context") >= 1
    del engine
    assert place.machine.alive("Runtime") == runtimes


def _open(place: Place) -> tuple[Any, Any]:
    """A package's module `runtime`, and its engine."""
    package = place.pack()
    for name in ("cudart", "runtime"):
        sys.modules.pop(name, None)
    sys.path.insert(0, str(package))
    try:
        import runtime
    finally:
        sys.path.pop(0)
    facts = json.loads((package / "engine.json").read_text())
    return runtime, runtime.open_engine(facts, package / "net.engine")


def _run_check(machine: Machine, name: str) -> str:
    """Run a check in its own folder and machine; return the fault or ""."""
    machine.scene = Scene()
    machine.faults.clear()
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            globals()[name](Place(machine, Path(folder)))
            return "; ".join(machine.faults)
        except Exception:  # noqa: BLE001 - reported by the test, with its traceback
            return traceback.format_exc()
        finally:
            os.chdir(here)


def main() -> None:
    """Run every call, name and check of one version."""
    version, library = sys.argv[1:]
    os.environ["STAND_IN"] = library
    machine = Machine(Path(library))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the bindings' own
        import tensorrt_bindings as trt
    sys.modules["tensorrt"] = trt
    assert trt.__version__ == version, trt.__version__
    calls = machine.learn(trt)
    assert set(calls) == {f"{call.kind}.{call.name}" for call in CALLS}
    found = {
        "calls": calls,
        "names": {name: look_up(trt, name) for name in names()},
        "checks": {name: _run_check(machine, name) for name in checks(version)},
    }
    print(json.dumps(found), flush=True)
    os._exit(0)  # the bindings' objects outlive the stand-in


if __name__ == "__main__":
    main()
