"""Starts a step by its launcher, then notes which kernels its libraries took on this CPU.

`python -s kernels.py LAUNCHER MODULE REQUEST`, under the step's own Python. It imports the standard
library alone, asks only libraries that the step has loaded, and only when the step is done: nothing
that it does can change a result, so that it is no part of the step's code. What it finds goes into
the diary that BUILDSYS_DIARY names, a fact each: "kernels NumPy": "X86_V3".
"""

import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from typing import Any

PREFIX = "kernels "
"""How the names of these facts begin."""
BY_THE_CPU = "by the CPU"
"""Of a library that chooses by itself, and does not tell what."""
_CORE_NAMES = (
    "scipy_openblas_get_corename64_",
    "scipy_openblas_get_corename",
    "openblas_get_corename64_",
    "openblas_get_corename",
)
"""OpenBLAS under the names that NumPy's builds give it."""


def main() -> int:
    """The launcher's exit code."""
    sys.argv = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("buildsys_launcher", sys.argv[0])
    assert spec is not None
    assert spec.loader is not None
    launcher = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(launcher)
    code: int = launcher.main()
    if code == 0:
        with contextlib.suppress(Exception):  # a record, never a reason to fail
            add_to_diary(os.environ.get("BUILDSYS_DIARY", ""), find_kernels(sys.modules))
    return code


def add_to_diary(place: str, found: dict[str, str]) -> None:
    """Beside what the step wrote there itself. Raises OSError, ValueError."""
    if not place or not found:
        return
    with open(place, encoding="utf-8") as stream:
        facts = json.loads(stream.read() or "{}")
    facts |= {PREFIX + library: kernels for library, kernels in found.items()}
    with open(place, "w", encoding="utf-8") as stream:
        json.dump(facts, stream)


def find_kernels(loaded: dict[str, Any]) -> dict[str, str]:
    """Library -> the kernels that it takes here; `loaded`: modules by name, as in `sys.modules`."""
    found = {}
    for library, module, ask in _LIBRARIES:
        if module in loaded:
            with contextlib.suppress(Exception):
                kernels = ask(loaded[module])
                if kernels:
                    found[library] = kernels
    return found


def _torch(torch: Any) -> str:
    return str(torch.backends.cpu.get_cpu_capability())


def _numpy(numpy: Any) -> str:
    """The highest of its targets that this CPU has, and nobody disabled."""
    core = getattr(numpy, "_core", None) or numpy.core
    umath = core._multiarray_umath
    features = umath.__cpu_features__
    return next(
        (
            name
            for name in reversed((*umath.__cpu_baseline__, *umath.__cpu_dispatch__))
            if features.get(name)
        ),
        "",
    )


def _openblas(numpy: Any) -> str:
    import ctypes
    import glob

    for path in glob.glob(os.path.join(os.path.dirname(numpy.__file__) + ".libs", "*blas*")):
        library = ctypes.CDLL(path)  # loaded by NumPy already: this one, not another
        for name in _CORE_NAMES:
            if hasattr(library, name):
                ask = getattr(library, name)
                ask.restype = ctypes.c_char_p
                return str(ask().decode())
    return ""


def _opencv(cv2: Any) -> str:
    if not cv2.useOptimized():
        return "without SIMD"
    words = [word.strip("*") for word in cv2.getCPUFeaturesLine().split()]
    highest = next((word for word in reversed(words) if not word.endswith("?")), "")
    return f"{highest} with IPP" if cv2.ipp.useIPP() else highest


def _pinned(variable: str) -> Callable[[Any], str]:
    """Of a library that takes its orders from the environment, and answers no questions."""
    return lambda module: os.environ.get(variable) or BY_THE_CPU


def _tensorflow(tensorflow: Any) -> str:
    """Eigen's kernels are chosen when TensorFlow is built, oneDNN's where it runs."""
    return "without oneDNN" if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0" else BY_THE_CPU


def _by_the_cpu(module: Any) -> str:
    return BY_THE_CPU


_LIBRARIES: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("torch", "torch", _torch),
    ("oneDNN", "torch", _pinned("ONEDNN_MAX_CPU_ISA")),
    ("MKL", "torch", _pinned("MKL_CBWR")),
    ("NumPy", "numpy", _numpy),
    ("OpenBLAS", "numpy", _openblas),
    ("OpenCV", "cv2", _opencv),
    ("onnxruntime", "onnxruntime", _by_the_cpu),
    ("LiteRT", "ai_edge_litert", _by_the_cpu),
    ("TensorFlow", "tensorflow", _tensorflow),
)
"""(library, its module, how it is asked)."""


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)  # as the launcher does
