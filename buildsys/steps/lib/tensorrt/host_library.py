"""The TensorRT of this machine: what names it, and the Python that has it; never installed.

On a Jetson it comes with JetPack, on a server with NVIDIA's packages or a container: in a Python of
the machine's, not in ours. `BUILDSYS_TENSORRT_PYTHON` names that Python; without it `python3` is
looked for in the folders that steps see. Steps start it as a child (see build_engine).
"""

import os

VARIABLE = "BUILDSYS_TENSORRT_PYTHON"
SEARCHED = "/usr/local/bin:/usr/bin:/bin"
"""The folders that steps see."""
TITLES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
"""Of the libraries that a target can name."""
MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx_bindings"}
"""What a library's Python package is called."""


def interpreter() -> str:
    """The machine's Python that is asked for TensorRT; empty where there is none."""
    import shutil

    named = os.environ.get(VARIABLE, "")
    return named or shutil.which("python3", path=SEARCHED) or ""


def is_version(exact: str, wanted: str) -> bool:
    """Whether "10.3.0.30" is a "10.3"."""
    return exact == wanted or exact.startswith(f"{wanted}.")
