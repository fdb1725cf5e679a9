"""What a bundle says of itself: README.md, and how to get the library that builds it."""

import textwrap
from dataclasses import dataclass

from buildsys.steps.build_engine import Params
from buildsys.steps.lib.tensorrt.engine_program import TITLES

_JETPACK = "8.7"
"""Orin's compute capability: its TensorRT is JetPack's."""
_TRTEXEC = "/usr/src/tensorrt/bin"
"""Of its package libnvinfer-bin; no PATH has it."""
_WHAT = {
    "build.py": "what to run there",
    "engine_program.py": "looks at the machine, and builds by the library's Python API",
    "separate_process.py": "starts that in a process of its own",
    "engine_calibration.py": "int8 of TensorRT up to 10, as far as it could be tried",
    "engine_weakly_typed.py": "the rest of it: nobody has run it yet",
    "model.onnx": "the network",
    "pictures.npy": "calibration pictures, prepared, float32",
}


@dataclass(frozen=True, kw_only=True)
class BundleReadme:
    """What the text is about. `gpu`: its name, or ""; `files`: names of what is in the bundle."""

    build: str
    label: str
    install: str
    params: Params
    gpu: str
    files: tuple[str, ...]

    @property
    def library(self) -> str:
        """As people name it."""
        return f"{TITLES[self.params.library]} {self.params.version}"

    @property
    def machine(self) -> str:
        """The machine that builds it."""
        if self.params.library == "tensorrt-rtx":
            return f"{self.library}; no GPU is asked"
        gpu = f" ({self.gpu})" if self.gpu else ""
        return (
            f"{self.library} and an NVIDIA GPU of compute capability"
            f" {self.params.compute_capability}{gpu}"
        )


def how_to_install(params: Params, locked: str) -> str:
    """In words for a sentence. `locked`: the exact version of TensorRT-RTX that this project builds by."""
    if params.library == "tensorrt-rtx":
        return f"pip install tensorrt-rtx-cu13=={locked}"
    if params.compute_capability == _JETPACK:
        return "it comes with JetPack, as the Debian package python3-libnvinfer"
    return f"pip install tensorrt=={params.version}.*, or NVIDIA's container with that version"


def describe(told: BundleReadme) -> str:
    """The whole text."""
    rows = [f"| `{name}` | {_WHAT.get(name, '')} |" for name in told.files]
    rows.append("| `bundle.json` | what is asked for, and the keys that the result belongs to |")
    timings = (_figures(told.params),) if told.params.library == "tensorrt" else ()
    back = f"    buildsys import FOLDER\n    doit build:{told.build}"
    paragraphs = (
        f"The engine of `{told.build}` for {told.label} is built on a machine with {told.machine}:",
        "    python3 build.py",
        "with Python 3.8 or later and nothing but its standard library and the library that builds"
        f" ({told.install}). It first holds these files and the machine against `bundle.json`, and"
        " stops with one sentence where something is missing or another. Then there is a folder"
        " `result`; bring it back, or all of this folder, and where the recipes are:",
        back,
        *timings,
        "\n".join(("| File | What it is |", "| --- | --- |", *rows)),
        "Exit codes of build.py: 0 done, 2 the bundle is damaged, 3 this machine cannot build it or"
        " the builder refuses, 4 the library is missing, 130 interrupted. `python3 build.py --help` says"
        " what it does, and what it leaves to `doit`.",
    )
    filled = [text if text[0] in " |" else textwrap.fill(text, 100) for text in paragraphs]
    return "\n\n".join((f"# {told.build}, to be built elsewhere", *filled)) + "\n"


def _figures(params: Params) -> str:
    where = f" (JetPack has it in {_TRTEXEC})" if params.compute_capability == _JETPACK else ""
    return (
        "Timings that the builder takes are kept in `timing-caches` for the next build, and go back with"
        " the result. So do figures, where `trtexec --loadEngine=result/model.engine"
        f" --exportTimes=result/benchmark.json` writes them{where}."
    )
