"""Starts a step by its launcher, then records which kernels its libraries used on this CPU.

`python -s kernels.py LAUNCHER MODULE REQUEST`, under the step's own Python. It imports only the
standard library, and queries only libraries that the step has loaded, after the step is done: it
cannot change a result, and so is not part of the step's code. Each fact goes to the diary that
BUILDSYS_DIARY names: "kernels NumPy": "X86_V3".
"""

import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from typing import Any

PREFIX = "kernels "
"""Prefix of these facts' names."""
BY_THE_CPU = "by the CPU"
"""For a library that chooses by itself without reporting its choice."""
_CORE_NAMES = (
    "scipy_openblas_get_corename64_",
    "scipy_openblas_get_corename",
    "openblas_get_corename64_",
    "openblas_get_corename",
)
"""Names that NumPy's builds give to OpenBLAS."""


def main() -> int:
    """Return the launcher's exit code."""
    sys.argv = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("buildsys_launcher", sys.argv[0])
    assert spec is not None
    assert spec.loader is not None
    launcher = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(launcher)
    code: int = launcher.main()
    if code == 0:
        with contextlib.suppress(Exception):  # a failed record must not fail the step
            add_to_diary(os.environ.get("BUILDSYS_DIARY", ""), find_kernels(sys.modules))
    return code


def add_to_diary(place: str, found: dict[str, str]) -> None:
    """Add facts to those that the step wrote itself. Raises OSError, ValueError."""
    if not place or not found:
        return
    with open(place, encoding="utf-8") as stream:
        facts = json.loads(stream.read() or "{}")
    facts |= {PREFIX + library: kernels for library, kernels in found.items()}
    with open(place, "w", encoding="utf-8") as stream:
        json.dump(facts, stream)


def find_kernels(loaded: dict[str, Any]) -> dict[str, str]:
    """Return {library: kernels that it uses here}.

    `loaded`: modules by name, as in `sys.modules`.
    """
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
    """Return the highest of NumPy's targets that this CPU supports and that is not disabled."""
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
        library = ctypes.CDLL(path)  # already loaded by NumPy: the same copy is used
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
    """Return a function for a library that reads its choice from a variable and does not
    report it.
    """
    return lambda module: os.environ.get(variable) or BY_THE_CPU


def _tensorflow(tensorflow: Any) -> str:
    """Return TensorFlow's kernels: Eigen's are chosen when it is built, oneDNN's where it runs."""
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
"""(library, its module, the function that queries it)."""


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)  # like the launcher
