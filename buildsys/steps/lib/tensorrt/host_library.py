"""Find the TensorRT that is installed on this machine, and the Python that has it; nothing is
installed.

On a Jetson it comes with JetPack, on a server with NVIDIA's packages or a container, in a Python of
the machine. `BUILDSYS_TENSORRT_PYTHON` names that Python; without it `python3` is searched in the
folders visible to steps. Steps start it as a child (see build_engine).
"""

import os

VARIABLE = "BUILDSYS_TENSORRT_PYTHON"
SEARCHED = "/usr/local/bin:/usr/bin:/bin"
"""The folders visible to steps."""


def interpreter() -> str:
    """Return the machine's Python that should have TensorRT; "" if there is none."""
    import shutil

    named = os.environ.get(VARIABLE, "")
    return named or shutil.which("python3", path=SEARCHED) or ""


def is_version(exact: str, wanted: str) -> bool:
    """Return whether a version matches: "10.3.0.30" is a "10.3"."""
    return exact == wanted or exact.startswith(f"{wanted}.")
