"""Write the README.md of a package with an engine: which library loads it, how, and what is not
verified.
"""

from dataclasses import dataclass

from buildsys.escaping import code_cell, markdown
from buildsys.steps.lib.packages import triton_readme
from buildsys.steps.lib.packages.network_description import Network
from buildsys.steps.quantize_onnx import RECOMMENDED

_NAMES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}


@dataclass(frozen=True, kw_only=True)
class Described:
    """The facts for the text. `gpus`: text that follows "of"; `newer`: newer versions load it, too;
    `pictures`: number of calibration images, 0 without calibration; `largest_batch`: the largest
    batch that a server may assemble, 0 if it may not; `tensors`: names and shapes of the outputs;
    `lowered`: the measured file is float32, but the engine is not; `jetson`: Triton has other
    containers for its GPU.
    """

    network: Network
    library: str
    version: str
    file: str
    bytes: int
    sha256: str
    gpus: str
    newer: bool
    pictures: int
    largest_batch: int
    tensors: tuple[tuple[str, tuple[int, ...]], ...]
    measured: bool
    lowered: bool
    jetson: bool

    @property
    def rtx(self) -> bool:
        """Return whether it is an engine of TensorRT-RTX."""
        return self.library == "tensorrt-rtx"


def describe(package: Described) -> str:
    """Return the whole text."""
    parts = [_contents(package), _loading(package), _timing(package)]
    if not package.rtx:
        parts += [_serving(package), triton_readme.asking(".venv-client", ' "tritonclient[http]"')]
    outputs = triton_readme.tell_outputs(package.network, package.tensors)
    parts += [outputs, _verified(package)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _contents(package: Described) -> str:
    net, name = package.network, _NAMES[package.library]
    rows = triton_readme.companions(package.measured, package.pictures, package.lowered)
    other = "TensorRT" if package.rtx else "TensorRT-RTX"
    served = (
        ""
        if package.rtx
        else (
            f"\n| `triton/` | a model repository of Triton Inference Server: this engine as {code_cell(net.name)} |"
            "\n| `client.py` | asks a Triton server instead |"
        )
    )
    return f"""
# {markdown(net.name)} for {markdown(net.label)}

An engine of NVIDIA {name}; {other} is another product, and neither loads the other's engines.

| File | What it is |
| --- | --- |
| {code_cell(package.file)} | the engine, {markdown(net.scheme)}, {package.bytes:,} bytes, sha256 `{package.sha256}` |
| `engine.json` | the library's version, GPUs, task, head, inputs and outputs, classes |
| `run.py` | loads the engine and tells what it sees on a photograph |
| `benchmark.py` | how long it takes |{served}
| `runtime.py`, `cudart.py` | the engine in Python: numpy, the library, the CUDA runtime |
| `looking.py`, `shapes.py`, `pictures.py`, `vision.py`, `figures.py`, `requirements.txt` | what the programs rest on |
| `labels.txt` | the classes in their order, where they are known |
| `preprocessing.json` | how a photograph becomes the network's input |{rows}
| `manifest.json` | how all of it was made |

The programs are under the Apache License 2.0; the network is under the licence that `manifest.json`
names, and the library under NVIDIA's. They need nothing of the build; they are written for Python 3.8
and later, and tested with 3.11."""


def _loading(package: Described) -> str:
    name, version = _NAMES[package.library], package.version
    which = f"{version} or a newer one" if package.newer else f"{version} and no other version"
    if package.rtx:
        library = f'"tensorrt-rtx-cu13=={version}" nvidia-cuda-runtime'
        where = "On the first load the library compiles the engine for the GPU that it finds, which takes a\nwhile."
        venv = "python3 -m venv .venv"
    else:
        library = ""
        where = "The library is the system's: JetPack brings it, elsewhere NVIDIA's packages of TensorRT do."
        venv = "python3 -m venv --system-site-packages .venv"
    install = f".venv/bin/python -m pip install -r requirements.txt {library}".rstrip()
    return f"""
## Running it

With {name} {which}, on an NVIDIA GPU of {markdown(package.gpus)}:

    {venv}
    {install}
    .venv/bin/python run.py photo.jpg --draw seen.jpg

{where}

`run.py` prints a line for each thing that it sees, best first, or as `--json`; without a picture it runs the engine once, on zeros. Another version, another GPU and a damaged file are refused in one
sentence. Exit codes: 0 done, 2 a picture or an option is wrong, 3 the engine cannot be used
here, 4 a library or a Python package is missing."""


def _timing(package: Described) -> str:
    return """
## Timing it

    .venv/bin/python benchmark.py --json figures.json

prints mean, least, percentiles and most of 200 runs after 20 to warm up, of the engine alone and end
to end, with the batch. The JSON names the engine's sha256, `engine` (the library), its `version`,
`gpu`, `compute_capability`, `machine`, `python`, `batch`, `warmup` and `runs`; `mean_ms`, `min_ms`,
`p50_ms` to `p99_ms` and `max_ms` are milliseconds of the whole batch by the engine alone, and
`end_to_end` has the same, copies to and from the GPU included.

In the workspace, `buildsys import-benchmark BUILD figures.json --device NAME`, BUILD as
`manifest.json` names it, takes the engine's figures into the report."""


def _serving(package: Described) -> str:
    jetson = f"""

A Jetson with JetPack 6 has containers of its own, with `-igpu` behind their name:
{triton_readme.IGPU}"""
    return f"""
## Serving it

{triton_readme.JETSON if package.jetson else triton_readme.DOCKER}

YY.MM is a month whose container has TensorRT {package.version}; a server with another one does not
load the engine. Which container has which:
{triton_readme.CONTAINERS}{jetson if package.jetson else ""}

{triton_readme.batching(package.network, package.largest_batch)}"""


def _verified(package: Described) -> str:
    net, few, whole, served = package.network, "", "", ""
    if 0 < package.pictures < RECOMMENDED:
        few = (
            f"\n- more than {package.pictures} calibration pictures; {RECOMMENDED} are recommended"
        )
    if net.scheme == "int8" and package.rtx:
        whole = """
- whether the GPU computes the convolutions in int8: the file says so by quantize and dequantize
  operators, and NVIDIA's support matrix of TensorRT-RTX lists int8 for weights of matrix products"""
    if not package.rtx:
        served = "\n- that a Triton server loads and serves it, and `client.py`: none was here"
    engine = (
        "the engine itself: it was built without a GPU, and never loaded or run"
        if package.rtx
        else "the engine itself, unless `manifest.json` tells of a measurement of it"
    )
    return f"""
## Verified, and not

{triton_readme.measuring(package.measured, net.scheme if package.lowered else "")} The decoders are tested against the build's own. That a
missing library is told, and with TensorRT-RTX that another version and a machine without a GPU are
refused, was tried. Not verified:

- {engine}
- `run.py` and `benchmark.py` from the loaded engine on: nobody has run them on a GPU{whole}{served}{few}"""
