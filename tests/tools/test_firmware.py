"""A real network on TFLite Micro: on this machine, and on an emulated Cortex-M55."""

import json
import os
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from buildsys.execution.running.runner import LAUNCHER
from buildsys.execution.tools import environments
from buildsys.steps.lib.files.flatbuffer import FlatBuffer
from tests.conftest import REPOSITORY
from tests.tiny_elf import LOADED_AT, make_elf
from tests.tools.places import PICTURES, needs_qemu, read, tool_environment

pytestmark = pytest.mark.tools

FRAME = {"height": 64, "width": 64, "color": "rgb", "resize": "letterbox"}
COUNT = PICTURES
STUBS = {
    "arm_ethosu_npu_init": "00207047",
    "ethosu_invoke_v3": "00207047",
    "ethosu_reserve_driver": "00207047",
    "ethosu_release_driver": "7047",
    "ethosu_pmu_init": "7047",
    "ethosu_get_pmu_counters": "7047",
}
ARENA = "_ZN3arm3appL13activationBufE"


@dataclass(frozen=True, kw_only=True)
class Built:
    """The file before the compiler, Vela's file, and prepared images."""

    plain: Path
    compiled: Path
    pictures: Path


@pytest.fixture(scope="module")
def built(person: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A random network as TFLite and as Vela's file, and 20 prepared images."""
    work = tmp_path_factory.mktemp("firmware")
    params = {"split": {"name": "all", "paths": ["pictures"]}, "seed": 0, "preprocessing": FRAME}
    places = {"dataset": person}, {"pictures": work / "prepared"}
    run(work, "evaluate", "prepare_pictures", *places, {**params, "count": COUNT})
    packages = person / "build" / "person"
    return Built(
        plain=packages / "xiao-esp32s3" / "person.tflite",
        compiled=packages / "grove-vision-ai-v2" / "person_vela.tflite",
        pictures=work / "prepared",
    )


def try_run(
    folder: Path,
    env: str,
    module: str,
    inputs: dict[str, Path],
    outputs: dict[str, Path],
    params: dict[str, Any],
) -> tuple[int, str]:
    """Run a step in its tool environment; return the exit code and messages."""
    _, python = environments.ensure(env, print)
    error = folder / "error.txt"
    error.unlink(missing_ok=True)
    given, made = ({key: str(path) for key, path in each.items()} for each in (inputs, outputs))
    request = {"inputs": given, "outputs": made, "params": params, "error": str(error)}
    (folder / "request.json").write_text(json.dumps(request))
    command = [str(python), "-s", str(LAUNCHER), module, str(folder / "request.json")]
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=tool_environment(python, folder),
    )
    return done.returncode, error.read_text() if error.exists() else done.stderr


def run(folder: Path, env: str, module: str, *request: Any) -> None:
    """Run a step that must succeed."""
    code, told = try_run(folder, env, module, *request)
    assert code == 0, told


def record_tflm(folder: Path, model: Path, pictures: Path) -> tuple[int, str]:
    """Run the TFLite Micro rung for a model."""
    outputs = {"recording": folder / "tflm.npz", "arena": folder / "arena.json"}
    params = {"names": [], "count": COUNT, "preprocessing": FRAME}
    inputs = {"tflite": model, "pictures": pictures}
    return try_run(folder, "tflite-micro", "record_tflm", inputs, outputs, params)


def load(folder: Path, model: Path, summary: dict[str, int], **params: Any) -> tuple[int, str]:
    """Run the load test for a model with Vela's figures."""
    (folder / "summary.json").write_text(json.dumps(summary))
    inputs = {"vela-tflite": model, "summary": folder / "summary.json"}
    outputs = {"verdict": folder / "verdict.json"}
    settings = {"accelerator": "ethos-u55-64", **params}
    return try_run(folder, "load-test", "load_firmware", inputs, outputs, settings)


def test_tflite_micro_answers_as_litert_with_reference_kernels(
    built: Built, tmp_path: Path
) -> None:
    """TFLite Micro's outputs equal those of LiteRT's reference kernels, and two recordings are
    byte-equal.
    """
    pictures = built.pictures
    assert record_tflm(tmp_path, built.plain, pictures) == (0, "")
    litert = tmp_path / "litert.npz"
    params = {"names": [], "count": COUNT, "preprocessing": FRAME, "reference_kernels": True}
    inputs = {"tflite": built.plain, "pictures": pictures}
    run(tmp_path, "evaluate", "record_tflite", inputs, {"recording": litert}, params)
    assert (tmp_path / "tflm.npz").read_bytes() == litert.read_bytes()
    arena = read(tmp_path / "arena.json")
    assert arena["arena_bytes"] == arena["head_bytes"] + arena["tail_bytes"]
    assert arena["runtime"].startswith("tflite-micro ")
    assert "64-bit" in arena["note"]


def test_a_compiled_model_is_not_run_on_this_machine(built: Built, tmp_path: Path) -> None:
    """A compiled file is refused, and the message says which file to use."""
    code, told = record_tflm(tmp_path, built.compiled, built.pictures)
    assert code == 3
    assert told.startswith("person_vela.tflite is compiled for an NPU, which alone can run")


def test_an_operator_that_tflite_micro_lacks_is_named(built: Built, tmp_path: Path) -> None:
    """An operator without a kernel (GELU) is reported."""
    model = tmp_path / "gelu.tflite"
    model.write_bytes(turn_operator(built.plain.read_bytes(), 14, 150))
    code, told = record_tflm(tmp_path, model, built.pictures)
    assert code == 3
    assert told.startswith("TFLite Micro does not load gelu.tflite: it has no operator GELU.")


def turn_operator(data: bytes, old: int, new: int) -> bytes:
    """Replace a built-in operator's number in the file's list of operators."""
    file, changed = FlatBuffer(data), bytearray(data)
    for code in file.tables(file.field(file.number(0, "I"), 1)):
        if file.number(file.field(code, 3), "i") == old:
            changed[file.field(code, 0)] = min(new, 127)
            struct.pack_into("<i", changed, file.field(code, 3), new)
    return bytes(changed)


@needs_qemu
def test_the_compiled_model_is_loaded_by_the_firmware(built: Built, tmp_path: Path) -> None:
    """The load test's result has operators, inputs, outputs and arena; the firmware is not kept."""
    folder = built.compiled.parent
    assert load(tmp_path, built.compiled, read(folder / "vela.json")) == (0, "")
    verdict = read(tmp_path / "verdict.json")
    assert verdict["passed"], verdict["failures"]
    assert verdict["tested"]
    assert 0 < verdict["difference_bytes"] <= 4096
    model = read(folder / "model.json")
    assert set(verdict["operators"]) == set(model["operators"])
    for side in ("inputs", "outputs"):
        shapes = [tensor["shape"] for tensor in model[side]]
        assert [tensor["shape"] for tensor in verdict[side]] == shapes
    assert "registers all" in verdict["covers"]
    assert not list(tmp_path.glob("*.axf"))


@needs_qemu
def test_an_arena_in_dram_is_held_against_the_right_figure(built: Built, tmp_path: Path) -> None:
    """On Ethos-U65 with Dedicated_Sram, weights in Vela's DRAM figure are excluded."""
    params = {
        "version": "5.2",
        "accelerator": "ethos-u65-256",
        "system_config": "Ethos_U65_High_End",
        "memory_mode": "Dedicated_Sram",
        "optimise": "Performance",
    }
    model, summary = tmp_path / "u65.tflite", tmp_path / "vela.json"
    outputs = {"vela-tflite": model, "summary": summary}
    run(tmp_path, "vela-5.2", "compile_vela", {"tflite": built.plain}, outputs, params)
    assert read(summary)["dram_bytes"] > 1_000_000
    assert load(tmp_path, model, read(summary), accelerator="ethos-u65-256") == (0, "")
    verdict = read(tmp_path / "verdict.json")
    assert verdict["passed"], verdict["failures"]
    assert "U65" in verdict["runner"]["file"]


@needs_qemu
def test_an_unknown_operator_is_a_red_verdict(built: Built, tmp_path: Path) -> None:
    """An unknown operator is a red verdict with the firmware's message."""
    model = tmp_path / "other.tflite"
    model.write_bytes(built.compiled.read_bytes().replace(b"ethos-u\0", b"ethos-x\0"))
    assert load(tmp_path, model, {"sram_bytes": 100_000}) == (0, "")
    verdict = read(tmp_path / "verdict.json")
    assert not verdict["passed"]
    assert "Failed to get registration from op code CUSTOM" in verdict["failures"][0]


@needs_qemu
def test_a_model_too_large_for_the_runner_is_not_tested(built: Built, tmp_path: Path) -> None:
    """A model that exceeds the runner's memory neither passes nor fails."""
    assert load(tmp_path, built.compiled, {"sram_bytes": 3_000_000}) == (0, "")
    verdict = read(tmp_path / "verdict.json")
    assert verdict["passed"]
    assert not verdict["tested"]
    assert verdict["reason"].startswith("Vela planned 3000000 bytes of tensor arena;")


@needs_qemu
def test_what_is_no_verdict_fails_the_step(built: Built, tmp_path: Path) -> None:
    """A truncated file and an accelerator without a runner fail the step."""
    summary = {"sram_bytes": 100_000}
    half = tmp_path / "half.tflite"
    half.write_bytes(built.compiled.read_bytes()[:100_000])
    model = built.compiled
    for code, told in (
        load(tmp_path, half, summary),
        load(tmp_path, model, summary, accelerator="ethos-u85-256"),
    ):
        assert code == 3
        assert told.count("half.tflite: the file is damaged") + told.count("Corstone-320") == 1
    assert not (tmp_path / "verdict.json").exists()


def patch(folder: Path, elf: bytes) -> subprocess.CompletedProcess[str]:
    """Run `disable_driver` in its tool environment; the patched file is `out.axf`."""
    _, python = environments.ensure("load-test", print)
    (folder / "in.axf").write_bytes(elf)
    code = (
        "from pathlib import Path; from buildsys.steps.lib.firmware.inference_runner import disable_driver;"
        "data, size = disable_driver(Path('in.axf').read_bytes());"
        "Path('out.axf').write_bytes(data); print(size)"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [str(python), "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_the_driver_is_stubbed_where_the_symbols_say(tmp_path: Path) -> None:
    """Exactly the bytes of the driver's functions are patched."""
    code = bytes(range(1, 97))
    symbols = {name: (LOADED_AT + 16 * i + 1, 16) for i, name in enumerate(STUBS)}
    elf = make_elf(code, {**symbols, ARENA: (0x31000000, 2048)})
    done = patch(tmp_path, elf)
    assert done.stdout == "2048\n", done.stderr
    wanted = bytearray(code)
    for index, stub in enumerate(STUBS.values()):
        wanted[16 * index : 16 * index + len(stub) // 2] = bytes.fromhex(stub)
    assert (tmp_path / "out.axf").read_bytes() == elf.replace(code, bytes(wanted))


def test_a_runner_without_the_symbols_is_another_build(tmp_path: Path) -> None:
    """A runner without the driver's symbols is refused in one sentence."""
    symbols = {name: (LOADED_AT + 1, 4) for name in STUBS if name != "ethosu_pmu_init"}
    done = patch(tmp_path, make_elf(bytes(64), {**symbols, ARENA: (0, 1)}))
    assert done.returncode
    assert "has no symbol ethosu_pmu_init: it is another build" in done.stderr
