"""What plans use from the machine: its name and GPU, queried once and only if needed."""

import json
import os
from pathlib import Path

import pytest

from buildsys.execution.places import Workspace
from buildsys.execution.session.loading import load_plans, make_plans, read_builds
from buildsys.execution.state import fingerprint
from buildsys.execution.tools import host_facts
from buildsys.execution.tools.host_facts import cpu_name, name_machine, read_instructions
from buildsys.graph import build_plans
from buildsys.steps.lib.tensorrt.host_library import VARIABLE
from tests.authoring.sample_workspace import TRAINED, by_stage, make_workspace, write_recipe

X86 = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD  EPYC 9B45\n\nprocessor\t: 1\n"
PI = "processor\t: 0\nBogoMIPS\t: 108.00\nCPU part\t: 0xd0b\n\nModel\t\t: Raspberry Pi 5\n"
OLD_ARM = "Processor\t: ARMv7 Processor rev 4 (v7l)\nHardware\t: BCM2835\n"


@pytest.mark.parametrize(
    ("board", "cpuinfo", "processor", "architecture", "name"),
    [
        ("", X86, "x86_64", "x86_64", "AMD EPYC 9B45 (x86_64)"),
        (
            "Raspberry Pi 5 Model B Rev 1.0",
            PI,
            "",
            "aarch64",
            "Raspberry Pi 5 Model B Rev 1.0 (aarch64)",
        ),
        ("", OLD_ARM, "", "armv7l", "ARMv7 Processor rev 4 (v7l) (armv7l)"),
        ("", "", "Apple M2", "arm64", "Apple M2 (arm64)"),
        ("", "", "", "", "unknown CPU (unknown architecture)"),
    ],
)
def test_a_machine_is_named_by_its_processor(
    board: str, cpuinfo: str, processor: str, architecture: str, name: str
) -> None:
    """A machine's name contains its processor, so that figures are not restored on another machine."""
    assert name_machine(board, cpuinfo, processor, architecture) == name


@pytest.mark.parametrize(
    ("cpuinfo", "found"),
    [
        ("flags\t\t: fpu avx avx2 fma avx512f hypervisor\n", ("avx", "avx2", "fma", "avx512f")),
        ("Features\t: fp asimd crc32 sve\n", ("asimd", "sve")),
        (PI, ()),
        ("", ()),
    ],
)
def test_what_libraries_choose_their_kernels_by(cpuinfo: str, found: tuple[str, ...]) -> None:
    """Only the CPU flags by which libraries choose their kernels are used."""
    assert read_instructions(cpuinfo) == found


def test_this_machine_has_a_name_and_keeps_it() -> None:
    """This machine's name is the same in every call, since it is part of a key."""
    assert cpu_name() == cpu_name()
    assert cpu_name().endswith(")")


class Machine:
    """A driver and a Python that reports the machine's TensorRT and counts its starts."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.driver, self.python = folder / "nvidiactl", folder / "python3"
        self.library, self._starts = folder / "tensorrt.py", folder / "starts"
        self.driver.touch()
        self._starts.touch()
        self.library.touch()
        self.answers("10.3.0.30")

    def answers(self, version: str) -> None:
        """Set the TensorRT version that is found, or none."""
        file = str(self.library) if version else ""
        found = {"version": version, "file": file, "gpu": "A100", "compute_capability": "8.0"}
        answer = self.python.with_suffix(".json")
        answer.write_text(json.dumps(found) + "\n")
        if not self.python.exists():
            self.python.write_text(f"#!/bin/sh\necho >> {self._starts}\ncat {answer}\n")
            self.python.chmod(0o755)

    @property
    def starts(self) -> int:
        """The number of starts of the Python."""
        return self._starts.read_text().count("\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with an A100 and TensorRT 10.3, in a new process."""
    found = Machine(tmp_path / "machine")
    monkeypatch.setattr(host_facts, "MARKS", (str(found.driver),))
    monkeypatch.setenv(VARIABLE, str(found.python))
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A workspace with datasets and weights, without a recipe."""
    return make_workspace(tmp_path / "place")


def write(place: Path, name: str, targets: str, more: str = "") -> None:
    """Write a recipe for these targets."""
    write_recipe(place, name, f"{TRAINED.partition('targets:')[0]}{more}targets: [{targets}]\n")


def required(place: Path) -> str:
    """The requirement of the only build's engine."""
    (plan,) = build_plans(load_plans(Workspace(place)).plans)
    return by_stage(plan)["engine"].requires


def test_reading_a_recipe_starts_no_process(place: Path, machine: Machine) -> None:
    """Reading a recipe with `local` or `benchmark` does not query the machine."""
    write(place, "tags", "nvidia-local, nvidia-a100", "benchmark: {runs: 50}\n")
    assert len(read_builds(Workspace(place))) == 2
    assert machine.starts == 0


def test_plans_that_need_no_gpu_start_no_process(place: Path, machine: Machine) -> None:
    """Plans for boards, and for engines that name their GPU, do not query the GPU."""
    write(place, "boards", "grove-vision-ai-v2, host", "benchmark: {runs: 50}\n")
    write(place, "engines", "nvidia-a100, jetson-orin")
    assert not make_plans(Workspace(place)).errors
    assert machine.starts == 0


def test_the_machine_is_asked_once_a_run(place: Path, machine: Machine) -> None:
    """The machine is queried once per run."""
    write(place, "one", "nvidia-local, nvidia-a100", "benchmark: {runs: 50}\n")
    write(place, "two", "nvidia-local")
    plans = {plan.build: by_stage(plan) for plan in build_plans(make_plans(Workspace(place)).plans)}
    assert plans["two@nvidia-local"]["engine"].requires == "tensorrt 10.3 8.0"
    assert '"machine":"A100, ' in plans["one@nvidia-a100"]["benchmark-engine"].params
    assert machine.starts == 1


def as_if_a_new_process() -> None:
    """Clear the caches, as in a new process."""
    host_facts._ask.cache_clear()


def test_a_cached_plan_notices_another_tensorrt(place: Path, machine: Machine) -> None:
    """A cached plan is planned again after TensorRT was upgraded."""
    write(place, "tags", "nvidia-local")
    os.utime(place / "recipes" / "tags.yaml", (1, 1))
    assert required(place) == "tensorrt 10.3 8.0"
    as_if_a_new_process()
    assert required(place) == "tensorrt 10.3 8.0"
    machine.answers("10.9.0.1")
    machine.library.write_text("# upgraded")
    as_if_a_new_process()
    assert required(place) == "tensorrt 10.9 8.0"


def test_a_cached_plan_notices_that_tensorrt_was_installed(place: Path, machine: Machine) -> None:
    """A plan made without TensorRT is not cached, since no file shows its installation."""
    machine.answers("")
    write(place, "tags", "nvidia-local")
    assert required(place) == "tensorrt local local"
    machine.answers("10.3.0.30")
    as_if_a_new_process()
    assert required(place) == "tensorrt 10.3 8.0"


def test_another_cpu_is_another_installation(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workspace on another machine with the same host name measures again."""
    before = fingerprint.installation(Workspace(place))
    (tmp_path / "cpuinfo").write_text("model name\t: Another CPU\n")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(host_facts, "_CPU", tmp_path / "cpuinfo")
        cpu_name.cache_clear()
        assert fingerprint.installation(Workspace(place)) != before
    cpu_name.cache_clear()
