"""The machine and libraries that made a result, in the diary, and differences between two."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from buildsys.execution.running.kernels import add_to_diary, find_kernels
from buildsys.execution.running.made_on import MadeOn, describe_difference, read_made_on

AMD = MadeOn(cpu="AMD EPYC (x86_64)", instructions=("avx2", "avx512f"), kernels=(("NumPy", "V4"),))


@pytest.mark.parametrize(
    ("published", "here", "text"),
    [
        (AMD, AMD, ""),
        (MadeOn(), AMD, ""),
        (AMD, MadeOn(), ""),
        (
            AMD,
            MadeOn(cpu="Intel (x86_64)", instructions=("avx2",), kernels=(("NumPy", "V4"),)),
            "published by AMD EPYC (x86_64), with avx512f; this machine has Intel (x86_64)",
        ),
        (
            AMD,
            MadeOn(cpu=AMD.cpu, instructions=AMD.instructions, kernels=(("NumPy", "V3"),)),
            "published by NumPy V4; this machine has NumPy V3",
        ),
        (
            AMD,
            MadeOn(cpu=AMD.cpu, instructions=("avx2",), kernels=AMD.kernels),
            "published by a CPU with avx512f; this machine has a CPU without them",
        ),
    ],
)
def test_only_what_differs_is_named(published: MadeOn, here: MadeOn, text: str) -> None:
    """Only differences are named, both sides in one line."""
    assert describe_difference(published, here) == text


def test_the_diary_gives_the_machine_back(tmp_path: Path) -> None:
    """The diary returns the machine, in addition to the step's own entries."""
    place = tmp_path / "diary.json"
    place.write_text("")
    add_to_diary(str(place), {"torch": "AVX2"})
    assert json.loads(place.read_text()) == {"kernels torch": "AVX2"}
    place.write_text('{"device": "cpu"}')
    add_to_diary(str(place), {"torch": "AVX2", "NumPy": "X86_V3"})
    facts = {**json.loads(place.read_text()), "cpu": "A CPU", "instructions": "avx2 fma"}
    assert facts["device"] == "cpu"
    assert read_made_on(facts.items()) == MadeOn(
        cpu="A CPU", instructions=("avx2", "fma"), kernels=(("NumPy", "X86_V3"), ("torch", "AVX2"))
    )


def test_libraries_that_a_step_loaded_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded libraries report their kernels; libraries without an answer are omitted."""
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    umath = SimpleNamespace(
        __cpu_baseline__=["X86_V2"],
        __cpu_dispatch__=["X86_V3", "X86_V4"],
        __cpu_features__={"X86_V2": True, "X86_V3": True, "X86_V4": False},
    )
    numpy = SimpleNamespace(
        __file__="/nowhere/numpy/__init__.py", _core=SimpleNamespace(_multiarray_umath=umath)
    )
    assert find_kernels({"numpy": numpy, "torch": SimpleNamespace()}) == {
        "NumPy": "X86_V3",
        "MKL": "COMPATIBLE",
        "oneDNN": "by the CPU",
    }
    assert find_kernels({}) == {}
