"""A tiny chain of both families on this CPU and on an emulated one: every artifact has the same bytes."""

import shutil
from pathlib import Path

import pytest

from benchmarks.same_bytes import EMULATOR, compare

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(
        shutil.which(EMULATOR) is None,
        reason=f"{EMULATOR} is not installed (Debian: qemu-user): no other CPU can be emulated here",
    ),
]

EMULATED = frozenset(
    {
        "train_ultralytics",
        "train_yolox",
        "quantize_onnx",
        "convert_tflite",
        "evaluate_onnx",
        "evaluate_tflite",
        "compile_vela",
    }
)
"""Those that compute most, each once: an emulated step takes twenty times as long as a native one, and a
conversion from ONNX three minutes. `benchmarks/same_bytes.py` does all."""


def test_every_artifact_is_the_same_under_another_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both trainings, both quantizations, Vela and measured accuracy, on Intel's Haswell."""
    monkeypatch.setenv("BUILDSYS_ISOLATION", "none")  # `compare` sets both itself
    monkeypatch.setenv("BUILDSYS_STORE", str(tmp_path / "plans"))
    rows = list(compare(tmp_path, ("Haswell",), 32, EMULATED, once=True))
    assert [f"{row.stage}: {row.made}" for row in rows if not row.equal] == []
    assert {row.module for row in rows} == EMULATED
