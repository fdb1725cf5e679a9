"""The required CPU features, and the libraries that are pinned at their import."""

import platform
import sys
from pathlib import Path

import pytest

from buildsys.steps.lib.runtime import pinned_arithmetic
from buildsys.steps.lib.runtime.progress import StepError


def cpu(folder: Path, flags: str) -> Path:
    """Write a /proc/cpuinfo."""
    path = folder / "cpuinfo"
    path.write_text(f"processor\t: 0\nmodel name\t: some CPU\nflags\t\t: {flags}\n")
    return path


def test_a_cpu_without_the_floor_is_reported_with_what_is_missing_and_a_solution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU without the required features is refused with a message that names them and a solution."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(
        pinned_arithmetic, "_CPUINFO", cpu(tmp_path, "sse2 avx abm bmi1 bmi2 f16c movbe")
    )
    with pytest.raises(StepError, match=r"no AVX2 and no FMA.*share its store"):
        pinned_arithmetic.pin()


def test_of_other_processors_nothing_is_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processors have no requirements, and nothing is pinned there."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    before = list(sys.meta_path)
    pinned_arithmetic.pin()
    assert sys.meta_path == before


def test_a_cpu_without_a_description_is_taken_to_have_the_floor(tmp_path: Path) -> None:
    """Without /proc/cpuinfo or its flags, the CPU is assumed to have the required features."""
    assert pinned_arithmetic.missing_of_floor(tmp_path / "none") == []
    assert (
        pinned_arithmetic.missing_of_floor(cpu(tmp_path, " ".join(pinned_arithmetic.FLOOR))) == []
    )
    assert pinned_arithmetic.missing_of_floor(cpu(tmp_path, "abm avx2 bmi1 bmi2 f16c movbe")) == [
        "FMA"
    ]


def test_a_library_is_pinned_whoever_imports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library is pinned at its import by any module."""
    (tmp_path / "cv2.py").write_text(
        "optimized = True\ndef setUseOptimized(on):\n    global optimized\n    optimized = on\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(pinned_arithmetic, "_CPUINFO", tmp_path / "none")
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    pinned_arithmetic.pin()
    import cv2

    monkeypatch.delitem(sys.modules, "cv2")
    assert cv2.optimized is False
